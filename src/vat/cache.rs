//! Compiled modules on disk, in a folder of this user's: `<bundle>-<engine version>-<runtime>.cwasm`.
//!
//! Invariants: a file is used only if it begins with the keyed hash of what follows, of the bundle, of the engine version and
//! of the runtime with its configuration. So a file that is damaged, or of another version or module, is compiled again and replaced. The bytes that were checked
//! are the bytes that run, because they are read and not mapped. The key is random, made once for a folder, and no other user can
//! read it: a process that can write a file here and cannot read the key cannot have its code run. The folder has a bound; the
//! files that were unused for longest are removed. A cache that fails only makes the host slower.

use std::{
    fs::{self, File, FileTimes},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use wasmtime::{Engine, Module};

use crate::{
    model::{
        blame::{Fault, HostFault},
        id::BundleId,
    },
    vat::{CodeTarget, compiler},
};

/// Bytes of compiled code that a folder keeps: some hundreds of large modules, and little on today's disks.
const BYTES_MAX: u64 = 1 << 30;
/// Name of the key's file.
const KEY: &str = "key";
/// The ending of the name of compiled code, also while it is being written: what a crash left is dropped like the
/// rest.
const SUFFIX: &str = ".cwasm";
/// Bytes of a key, and of a keyed hash.
const HASH_LEN: usize = blake3::OUT_LEN;

/// The cache of compiled modules; without a folder it keeps nothing.
#[derive(Debug)]
pub(super) struct CodeCache {
    folder: Option<Folder>,
}

/// A folder that only this user can write to.
#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    key: [u8; HASH_LEN],
}

impl CodeCache {
    /// Keeps compiled code in this folder, made if absent. One that others could write to is not used.
    pub(super) fn new(dir: Option<&Path>) -> CodeCache {
        CodeCache { folder: dir.and_then(Folder::open) }
    }

    /// Returns the compiled module: from the cache, or compiled now. `wasm` makes the bytes to compile, and says what
    /// they cost.
    pub(super) fn module(
        &self,
        engine: &Engine,
        target: &CodeTarget,
        id: BundleId,
        wasm: impl FnOnce() -> Result<(Vec<u8>, u64), Fault>,
    ) -> Result<Module, Fault> {
        let name = Name::new(engine, target, id);
        if let Some(module) = self.folder.as_ref().and_then(|it| load(engine, &it.read(&name)?)) {
            return Ok(module);
        }
        let (wasm, cost) = wasm()?;
        let code = compiler::compile(engine, target, id, &wasm, cost)?;
        let module = load(engine, &code);
        if let Some(folder) = self.folder.as_ref().filter(|_| module.is_some()) {
            // A cache that cannot be written is only slow.
            let _ = folder.write(&name, &code);
        }
        module.ok_or_else(|| {
            let what = format_args!("load the compiled code of bundle {id}");
            HostFault::new(what, "the compiling process is of another build, or its answer was cut off").into()
        })
    }
}

/// The name of compiled code: the bundle that it was made from, and what it was made for.
struct Name {
    id: BundleId,
    /// The engine version, whose load pass instrumented the module.
    version: u32,
    /// The hash of all that the code depends on in the runtime.
    runtime: [u8; HASH_LEN],
}

impl Name {
    fn new(engine: &Engine, target: &CodeTarget, id: BundleId) -> Name {
        let mut hasher = Blake3(blake3::Hasher::new());
        std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
        std::hash::Hash::hash(target.runtime.name(), &mut hasher);
        Name { id, version: target.version, runtime: *hasher.0.finalize().as_bytes() }
    }

    fn file(&self) -> String {
        let runtime = blake3::Hash::from_bytes(self.runtime).to_hex();
        format!("{}-{}-{}{SUFFIX}", self.id, self.version, runtime.get(..16).unwrap_or(&runtime))
    }

    fn seal(&self, key: &[u8; HASH_LEN], code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(&self.runtime).update(&self.version.to_le_bytes());
        hasher.update(self.id.to_string().as_bytes()).update(b"\n").update(code);
        hasher.finalize()
    }
}

/// A hasher for `Hash` with BLAKE3, so that nobody can make two values collide.
struct Blake3(blake3::Hasher);

impl std::hash::Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        hash.as_bytes().first_chunk().map_or(0, |it| u64::from_le_bytes(*it))
    }
}

impl Folder {
    fn open(dir: &Path) -> Option<Folder> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).ok()?;
        let about = fs::metadata(dir).ok()?;
        if !about.is_dir() || !is_mine(&about, 0o022) {
            return None;
        }
        let path = dir.join(KEY);
        let key = read_key(&path).or_else(|| {
            let _ = make_key(dir, &path);
            // Another process may have been first.
            read_key(&path)
        })?;
        Some(Folder { dir: dir.to_owned(), key })
    }

    /// The code in a file, if it is whole and ours. Then the file counts as used now.
    fn read(&self, name: &Name) -> Option<Vec<u8>> {
        let mut file = File::open(self.dir.join(name.file())).ok()?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let (seal, code) = bytes.split_first_chunk::<HASH_LEN>()?;
        if name.seal(&self.key, code) != blake3::Hash::from_bytes(*seal) {
            return None;
        }
        let _ = file.set_times(FileTimes::new().set_modified(now()));
        bytes.drain(..HASH_LEN);
        Some(bytes)
    }

    /// Writes to the side and renames, so that others see the whole file or none; first makes room.
    fn write(&self, name: &Name, code: &[u8]) -> std::io::Result<()> {
        self.make_room(BYTES_MAX.saturating_sub(code.len() as u64))?;
        let mut file = tempfile::Builder::new().suffix(SUFFIX).tempfile_in(&self.dir)?;
        file.write_all(name.seal(&self.key, code).as_bytes())?;
        file.write_all(code)?;
        file.persist(self.dir.join(name.file())).map(drop).map_err(std::io::Error::other)
    }

    /// Removes the files that were unused for longest until at most this many bytes are left.
    fn make_room(&self, bytes_max: u64) -> std::io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(SUFFIX)
                && let Ok(about) = entry.metadata()
            {
                kept.push((about.modified()?, entry.path(), about.len()));
            }
        }
        kept.sort();
        let mut bytes: u64 = kept.iter().map(|it| it.2).sum();
        for (_, path, len) in kept {
            if bytes <= bytes_max {
                break;
            }
            // Another process may have removed it.
            let _ = fs::remove_file(path);
            bytes -= len;
        }
        Ok(())
    }
}

/// The key in a file, if nobody else can read or write it.
fn read_key(path: &Path) -> Option<[u8; HASH_LEN]> {
    let mut file = File::open(path).ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || !is_mine(&about, 0o077) || about.len() != HASH_LEN as u64 {
        return None;
    }
    let mut key = [0; HASH_LEN];
    file.read_exact(&mut key).ok()?;
    Some(key)
}

/// Returns whether a file belongs to this user, and nobody else has any of these rights to it.
fn is_mine(about: &fs::Metadata, rights: u32) -> bool {
    about.uid() == rustix::process::geteuid().as_raw() && about.mode() & rights == 0
}

/// Makes a random key, readable by this user only. It replaces one that cannot be used, whose files are then compiled again.
fn make_key(dir: &Path, path: &Path) -> std::io::Result<()> {
    let mut key = [0; HASH_LEN];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    // A temporary file is readable by its user only.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&key)?;
    let _ = fs::remove_file(path);
    file.persist_noclobber(path).map(drop).map_err(std::io::Error::other)
}

#[allow(clippy::disallowed_methods, reason = "when a file was used decides what leaves the cache, and nothing else")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[allow(unsafe_code, reason = "wasmtime cannot check native code; see SAFETY")]
fn load(engine: &Engine, code: &[u8]) -> Option<Module> {
    // SAFETY: this program compiled these bytes: they come from the compiler itself, or from a file whose keyed hash was checked over
    // these very bytes, with a key that only this user can read. wasmtime refuses what another version or configuration made.
    unsafe { Module::deserialize(engine, code) }.ok()
}
