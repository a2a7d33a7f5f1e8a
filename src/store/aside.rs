//! A state on its way into being: written where nobody takes it for one, then put in its place at once.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rusqlite::OpenFlags;
use tempfile::TempDir;

use crate::{
    model::blame::HostFault,
    store::database::{Database, FILE},
};

/// A folder beside the one that is to be. Dropped, it is gone; after a crash, a hidden folder is left without a state
/// in it.
#[derive(Debug)]
pub struct Aside {
    dir: TempDir,
    target: PathBuf,
}

impl Aside {
    /// Prepares to write a state apart and put it in this folder, which must be absent or empty.
    pub fn new(target: &Path) -> Result<Aside, HostFault> {
        let what = format!("make the folder `{}`", target.display());
        let target = std::path::absolute(target).map_err(|err| HostFault::new(&what, err))?;
        if Aside::is_taken(&target) {
            return Err(HostFault::new(&what, "it exists, and something is in it"));
        }
        let parent = target.parent().ok_or_else(|| HostFault::new(&what, "it is the root of all folders"))?;
        let make = || {
            fs::create_dir_all(parent)?;
            tempfile::Builder::new()
                .permissions(Permissions::from_mode(0o700))
                .prefix(".vathost-")
                .suffix(".part")
                .tempdir_in(parent)
        };
        Ok(Aside { dir: make().map_err(|err| HostFault::new(&what, err))?, target })
    }

    /// Returns whether this folder (or file) cannot become a state because something is there.
    pub fn is_taken(target: &Path) -> bool {
        match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(err) => err.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Returns the folder that is there until the state is placed.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the file to write the database to.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join(FILE).with_extension("part")
    }

    /// Opens the state as it was written, only to read it.
    pub fn open(&self) -> Result<Database, HostFault> {
        let opening = format!("read the copy for `{}`", self.target.display());
        Database::open_file(&self.file(), OpenFlags::SQLITE_OPEN_READ_ONLY, opening)
    }

    /// Removes the snapshots from what was written.
    pub fn forget_snapshots(&self) -> Result<(), HostFault> {
        Database::forget_snapshots(&self.file())
    }

    /// Makes the complete state durable, and puts it in its place.
    pub fn place(self) -> Result<(), HostFault> {
        let what = format!("put the state in `{}`", self.target.display());
        let place = || {
            File::open(self.file())?.sync_all()?;
            fs::rename(self.file(), self.dir.path().join(FILE))?;
            File::open(self.dir.path())?.sync_all()?;
            // Fails where somebody was faster: it replaces nothing but an empty folder.
            fs::rename(self.dir.path(), &self.target)?;
            self.target.parent().map_or(Ok(()), |it| File::open(it)?.sync_all())
        };
        place().map_err(|err: io::Error| HostFault::new(&what, err))
        // The `TempDir` finds nothing left to remove.
    }
}
