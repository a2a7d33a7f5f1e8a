//! Files of a state, for its owner alone: the folder is 0700, what is in it 0600.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use crate::store::database::FILE;

/// The mode of a state's folder.
const FOLDER: u32 = 0o700;
/// The mode of its files.
const PRIVATE: u32 = 0o600;

/// Makes a folder for a state, so that it is there after a loss of power: SQLite sees to the names in it, but not to its own. One
/// that exists is closed to others if it is a state's already, or empty; in one that holds other things only the files are.
pub(super) fn make_folder(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        let is_states = dir.join(FILE).exists() || fs::read_dir(dir)?.next().is_none();
        return if is_states { restrict(dir, FOLDER) } else { Ok(()) };
    }
    fs::DirBuilder::new().recursive(true).mode(FOLDER).create(dir)?;
    match std::path::absolute(dir)?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes an empty file that its owner alone can read, or closes the one that is there to others. SQLite gives its log and its index the
/// mode of the database. One that is there is not opened: to close it again would give back the locks that this process has on it.
pub(super) fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().create_new(true).write(true).mode(PRIVATE).open(path) {
        Ok(_) => Ok(()),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => restrict(path, PRIVATE),
        Err(err) => Err(err),
    }
}

/// Opens a file that its owner alone can read, and makes it if it is not there.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE).open(path)?;
    restrict(path, PRIVATE)?;
    Ok(file)
}

/// Copies a file, so that its owner alone can read and write the copy: also of one that nobody may write.
pub(super) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, open_file(to)?);
    to.set_len(0)?;
    io::copy(&mut from, &mut to).map(drop)
}

/// Writes a file beside a state, which its owner alone can read.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(PRIVATE).open(path)?;
    io::Write::write_all(&mut file, bytes)?;
    restrict(path, PRIVATE)
}

/// Closes a file to others, if it is there.
pub(super) fn close_to_others(path: &Path) -> io::Result<()> {
    if path.exists() { restrict(path, PRIVATE) } else { Ok(()) }
}

fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::metadata(path)?.permissions().mode() & 0o777;
    // What its owner made narrower stays so.
    if found & !mode == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(found & mode))
}
