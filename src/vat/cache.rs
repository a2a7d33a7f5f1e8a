//! Compiled modules on disk: `<bundle>-<compatibility>.cwasm` in a folder of this user's, never taken from anywhere else.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use wasmtime::{Engine, Module};

use crate::{fault::HostFault, id::BundleId};

/// The cache; without a folder it keeps nothing.
#[derive(Debug)]
pub(super) struct CodeCache {
    dir: Option<PathBuf>,
}

impl CodeCache {
    /// Keeps compiled code in this folder, made if absent. One that others could write to is not used.
    pub(super) fn new(dir: Option<&Path>) -> CodeCache {
        let usable = |dir: &&Path| {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).is_ok();
            made && fs::metadata(dir).is_ok_and(|it| it.is_dir() && it.mode() & 0o022 == 0)
        };
        CodeCache { dir: dir.filter(usable).map(Path::to_owned) }
    }

    /// The compiled module: from the cache, or compiled now. `wasm` makes the bytes to compile.
    pub(super) fn module(
        &self,
        engine: &Engine,
        id: BundleId,
        wasm: impl FnOnce() -> Result<Vec<u8>, crate::fault::Fault>,
    ) -> Result<Module, crate::fault::Fault> {
        let path = self.dir.as_ref().map(|dir| dir.join(file_name(engine, id)));
        if let Some(module) = path.as_deref().and_then(|path| load(engine, path)) {
            return Ok(module);
        }
        let wasm = wasm()?;
        let module = Module::new(engine, &wasm)
            .map_err(|err| HostFault::new(format_args!("compile {id}"), format_args!("{err:#}")))?;
        if let Some(path) = path {
            // A cache that cannot be written is only slow.
            let _ = save(&module, &path);
        }
        Ok(module)
    }
}

fn file_name(engine: &Engine, id: BundleId) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{id}-{}-{:016x}.cwasm", super::module::PASS_VERSION, hasher.finish())
}

#[allow(unsafe_code, reason = "wasmtime cannot check native code; see SAFETY")]
fn load(engine: &Engine, path: &Path) -> Option<Module> {
    let mine = fs::metadata(path).ok()?.mode() & 0o022 == 0;
    // SAFETY: the file stands in a folder that only this user can write to, and was written by `save` below from a module
    // that this engine compiled; wasmtime refuses what another version or configuration made.
    mine.then(|| unsafe { Module::deserialize_file(engine, path) }.ok())?
}

/// Writes to the side and renames, so that others see the whole file or none.
fn save(module: &Module, path: &Path) -> std::io::Result<()> {
    let bytes = module.serialize().map_err(std::io::Error::other)?;
    // Readable by this user only, under a name of its own.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(&bytes)?;
    file.persist(path).map(drop).map_err(std::io::Error::other)
}
