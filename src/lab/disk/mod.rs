//! A disk that fails on purpose: for experiments and tests. A host that is real has none of it.
//!
//! SQLite reaches it through `vfs`, which asks it before each operation that changes a file, and tells it what was
//! done. Writes go to the real files, so that a process that is killed leaves what a killed process leaves. Beside
//! that the disk keeps, for each file, what would be found after a loss of power:
//!
//! ```text
//!   write, truncate ─▶ pending ──sync──▶ on the disk          (a sync that failed: never, whatever is synced later)
//!   create, delete  ─▶ former  ──sync of the folder──▶ gone   (the first sync of a log syncs its folder; a deletion may)
//! ```
//!
//! Invariants: what is on the disk changes by a sync alone; a loss leaves of what is pending nothing, or sectors that
//! the seed chooses (of a sector only the bytes that were written: SQLite relies on it, and so do disks with a
//! capacitor or a checksum); once it is dead nothing is read from it or written to it.

mod vfs;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    model::blame::HostFault,
    store::{RegisteredVfs, StateFiles},
};

/// An operation that changes something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileOp {
    /// A file is made.
    Create,
    /// Bytes are written.
    Write {
        /// Offset of the first byte.
        at: u64,
        /// Number of bytes.
        len: usize,
    },
    /// A file becomes this long.
    Truncate {
        /// The new length, in bytes.
        len: u64,
    },
    /// The written bytes are forced to the disk.
    Sync,
    /// A file is removed.
    Delete,
    /// The index of the log, which is shared memory, becomes larger. No loss of power can harm it: it is made anew.
    GrowIndex,
}

/// An operation on which a policy decides.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The operation that is about to be done.
    pub op: FileOp,
    /// To which file.
    pub path: &'a Path,
}

/// The operating system's error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Errno {
    /// An input/output error.
    Eio,
    /// No space left on device.
    Enospc,
}

/// The loss of data with which a machine ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Loss {
    /// The process alone: what it wrote is the system's, and will be on the disk.
    Nothing,
    /// Power: all that was not forced to the disk is gone.
    Unsynced,
    /// Power: of what was not forced to the disk, and of the operation under way, some sectors are there.
    Torn {
        /// Bytes of a sector.
        sector: u32,
        /// Seed that selects the surviving sectors.
        seed: u64,
    },
}

/// A policy's decision about an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskVerdict {
    /// The operation is done.
    Go,
    /// The operation fails, and changes nothing.
    Fail(Errno),
    /// A sync that does nothing and says that it did: a disk that lies. Another operation is done.
    Pretend,
    /// The machine ends just before it.
    Die(Loss),
}

/// Decides; asked before each operation, in order.
pub trait DiskPolicy: Send {
    /// Decides what becomes of this operation.
    fn ask(&mut self, asked: &Asked<'_>) -> DiskVerdict;
    /// The machine ended as the policy said, and the files are as it left them.
    fn ended(&mut self) {}
}

impl<F: FnMut(&Asked<'_>) -> DiskVerdict + Send> DiskPolicy for F {
    fn ask(&mut self, asked: &Asked<'_>) -> DiskVerdict {
        self(asked)
    }
}

/// A disk of experiments, which may fail: see the module. Clones are the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Inner>>);

struct Inner {
    policy: Box<dyn DiskPolicy>,
    files: BTreeMap<PathBuf, Known>,
    dead: bool,
    errno: Option<Errno>,
}

/// The record of one file name.
#[derive(Default)]
struct Known {
    /// The bytes of the file that are on the disk; `None` where there is no file.
    synced: Option<Vec<u8>>,
    /// What was done to it since.
    pending: Vec<DiskChange>,
    /// What the folder on the disk still has under this name, where that is another file, or none.
    former: Option<Option<Vec<u8>>>,
}

struct DiskChange {
    what: DiskAct,
    /// A sync of it failed. The system no longer knows that it is not on the disk.
    forsaken: bool,
}

enum DiskAct {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl DiskAct {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            DiskAct::Truncate(len) => file.resize(index(*len), 0),
            DiskAct::Write(at, bytes) => overwrite(file, index(*at), bytes),
        }
    }

    /// Those sectors of it that the choice falls on.
    fn apply_torn(&self, file: &mut Vec<u8>, sector: usize, choose: &mut dyn FnMut() -> bool) {
        let DiskAct::Write(at, bytes) = self else {
            if choose() {
                self.apply(file);
            }
            return;
        };
        let (mut at, mut rest) = (index(*at), bytes.as_slice());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(sector - at % sector));
            if choose() {
                overwrite(file, at, piece);
            }
            (at, rest) = (at + piece.len(), more);
        }
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn overwrite(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(into) = file.get_mut(at..end) {
        into.copy_from_slice(bytes);
    }
}

impl Known {
    fn push(&mut self, what: DiskAct) {
        self.pending.push(DiskChange { what, forsaken: false });
    }

    fn sync(&mut self) {
        let file = self.synced.get_or_insert_default();
        self.pending.drain(..).filter(|it| !it.forsaken).for_each(|it| it.what.apply(file));
    }

    /// Returns the contents found after a loss of power.
    fn after(&self, torn: Option<(usize, &mut dyn FnMut() -> bool)>) -> Option<Vec<u8>> {
        let Some((sector, choose)) = torn else {
            return self.former.clone().unwrap_or_else(|| self.synced.clone());
        };
        if let Some(former) = &self.former
            && !choose()
        {
            return former.clone();
        }
        let mut file = self.synced.clone()?;
        self.pending.iter().for_each(|it| it.what.apply_torn(&mut file, sector, choose));
        Some(file)
    }
}

/// Yes or no, as often as is asked; how often yes is a matter of the seed too.
fn choices(seed: u64) -> impl FnMut() -> bool {
    let mut bytes = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut next = move || {
        let mut byte = [0];
        bytes.fill(&mut byte);
        byte[0]
    };
    let bound = next();
    move || next() <= bound
}

impl Disk {
    /// Makes a disk that behaves as this policy says.
    pub fn new(policy: impl DiskPolicy + 'static) -> Disk {
        let (policy, files) = (Box::new(policy), BTreeMap::new());
        Disk(Arc::new(Mutex::new(Inner { policy, files, dead: false, errno: None })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the machine has ended.
    pub fn is_dead(&self) -> bool {
        self.inner().dead
    }

    /// Ends the machine now, and leaves in the files what it left there.
    ///
    /// # Errors
    ///
    /// Where they cannot be written.
    pub fn lose(&self, loss: Loss) -> io::Result<()> {
        self.inner().lose(loss)
    }

    // ---- for `vfs`

    /// Notes that a file was opened: its present content is on the disk.
    fn opened(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        if !inner.files.contains_key(path) {
            let synced = Some(fs::read(path)?);
            inner.files.insert(path.to_owned(), Known { synced, ..Known::default() });
        }
        Ok(())
    }

    /// Asks the policy what becomes of an operation. If the machine ends, [`end`](Disk::end) is to follow.
    fn ask(&self, op: FileOp, path: &Path) -> DiskVerdict {
        let mut inner = self.inner();
        if inner.dead {
            return DiskVerdict::Die(Loss::Nothing);
        }
        let verdict = inner.policy.ask(&Asked { op, path });
        if let DiskVerdict::Fail(errno) = verdict {
            inner.errno = Some(errno);
            if op == FileOp::Sync {
                let known = inner.files.entry(path.to_owned()).or_default();
                known.pending.iter_mut().for_each(|it| it.forsaken = true);
            }
        }
        verdict
    }

    /// Ends the machine, as the policy said.
    fn end(&self, loss: Loss) {
        let mut inner = self.inner();
        if !inner.dead && inner.lose(loss).is_ok() {
            inner.policy.ended();
        }
    }

    /// Notes that an operation was done. `bytes` are a write's; `folder`: the folder was synced with it.
    fn done(&self, op: FileOp, path: &Path, bytes: &[u8], folder: bool) {
        let mut inner = self.inner();
        let known = inner.files.entry(path.to_owned()).or_default();
        match op {
            FileOp::Create | FileOp::Delete => {
                let new = (op == FileOp::Create).then(Vec::new);
                let old = std::mem::replace(&mut known.synced, new);
                known.former.get_or_insert(old);
                known.pending.clear();
            }
            FileOp::Write { at, .. } => known.push(DiskAct::Write(at, bytes.to_owned())),
            FileOp::Truncate { len } => known.push(DiskAct::Truncate(len)),
            FileOp::Sync => known.sync(),
            FileOp::GrowIndex => (),
        }
        if folder {
            inner.files.values_mut().for_each(|it| it.former = None);
        }
    }

    /// Returns the number of the error that was made last, if one was.
    fn errno(&self) -> Option<i32> {
        let number = |errno| match errno {
            Errno::Eio => rustix::io::Errno::IO,
            Errno::Enospc => rustix::io::Errno::NOSPC,
        };
        self.inner().errno.map(|it| number(it).raw_os_error())
    }
}

impl Inner {
    fn lose(&mut self, loss: Loss) -> io::Result<()> {
        self.dead = true;
        let mut torn = match loss {
            Loss::Nothing => return Ok(()),
            Loss::Unsynced => None,
            Loss::Torn { sector, seed } => Some((index(sector.into()).max(1), choices(seed))),
        };
        for (path, known) in &self.files {
            let torn = torn.as_mut().map(|(sector, choose)| (*sector, choose as &mut dyn FnMut() -> bool));
            match known.after(torn) {
                Some(bytes) => fs::write(path, bytes)?,
                None if path.exists() => fs::remove_file(path)?,
                None => (),
            }
        }
        Ok(())
    }
}

impl StateFiles for Disk {
    fn register(&self) -> Result<Box<dyn RegisteredVfs>, HostFault> {
        vfs::register(self)
    }

    fn forced(&self, path: &Path, bytes: &[u8]) {
        if let Some(known) = self.inner().files.get_mut(path) {
            known.synced = Some(bytes.to_owned());
            known.pending.clear();
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}
