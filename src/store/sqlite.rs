//! Functions of SQLite that rusqlite does not offer.

#![allow(unsafe_code, reason = "a few C functions, each proved at its place")]

use std::{
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use rusqlite::{Connection, ffi};

use crate::model::blame::HostFault;

/// Pages of the log from which on a commit copies them into the file: 32 MiB. SQLite's own default is an eighth of
/// that; then a block that changes the rows of ten thousand vats is copied at once, and its pages are written twice
/// for every block.
const LOG_PAGES: c_int = 8_000;

/// Bytes of a page of the database: SQLite's default.
pub(super) const PAGE_BYTES: u64 = 4_096;

/// Returns the system's number of the error that a connection met last, if it was one of input or output.
pub(super) fn system_errno(connection: &Connection) -> Option<i32> {
    // SAFETY: the handle is open for as long as the connection, and nothing of it is kept.
    let number = unsafe { ffi::sqlite3_system_errno(connection.handle()) };
    (number != 0).then_some(number)
}

/// A file of an open database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StateFile {
    Main,
    Log,
}

/// Reads bytes of a file of an open database through SQLite's own handle: were it opened a second time, closing that would end the locks
/// that this process has on it. Returns whether the file has all of them; a database without a log has none of that.
pub(super) fn read_file(connection: &Connection, file: StateFile, at: u64, into: &mut [u8]) -> Result<bool, HostFault> {
    let op = match file {
        StateFile::Main => ffi::SQLITE_FCNTL_FILE_POINTER,
        StateFile::Log => ffi::SQLITE_FCNTL_JOURNAL_POINTER,
    };
    let what = "read a file of the state";
    let len = c_int::try_from(into.len()).map_err(|err| HostFault::new(what, err))?;
    let mut handle: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, and its handle is written where SQLite is told. What that points to is SQLite's, and stays as long as
    // nobody uses the connection, whose owner is here; without methods it is not open.
    let code = unsafe {
        let name = c"main".as_ptr();
        match ffi::sqlite3_file_control(connection.handle(), name, op, (&raw mut handle).cast()) {
            ffi::SQLITE_OK if handle.is_null() || (*handle).pMethods.is_null() => return Ok(false),
            ffi::SQLITE_OK => match (*(*handle).pMethods).xRead {
                Some(read) => read(handle, into.as_mut_ptr().cast(), len, at.cast_signed()),
                None => ffi::SQLITE_IOERR,
            },
            code => code,
        }
    };
    match code {
        ffi::SQLITE_OK => Ok(true),
        ffi::SQLITE_IOERR_SHORT_READ => Ok(false),
        code => Err(HostFault::new(what, rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))),
    }
}

/// Has the log copied into the file by the commit that makes it long, as SQLite does by itself; but keeps the error,
/// which SQLite would keep from everybody, and try again after a sync that failed. Clones tell of the same connection.
#[derive(Clone, Debug)]
pub(super) struct Copying(Arc<StepOutcome>);

/// The outcome of the last commit's copying.
#[derive(Debug)]
struct StepOutcome {
    failed: AtomicI32,
    /// Pages of the log that could not be copied, since somebody reads the state as it was before them.
    held: AtomicI32,
}

impl Copying {
    /// Watches this connection, which must be closed before the value, or the last of its clones, is dropped.
    pub(super) fn on(connection: &Connection) -> Copying {
        let outcome = Arc::new(StepOutcome { failed: AtomicI32::new(ffi::SQLITE_OK), held: AtomicI32::new(0) });
        let context = ptr::from_ref(&*outcome).cast_mut().cast();
        // SAFETY: what the hook is given stays where it is for as long as the connection is open, and is changed atomically.
        unsafe { ffi::sqlite3_wal_hook(connection.handle(), Some(committed), context) };
        Copying(outcome)
    }

    /// Takes the error of the last commit's copying, once.
    pub(super) fn error(&self) -> Option<rusqlite::Error> {
        let code = self.0.failed.swap(ffi::SQLITE_OK, Ordering::Relaxed);
        (code != ffi::SQLITE_OK).then(|| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    /// Returns the number of pages of the log that a reader keeps from being copied: it grows while the reader reads.
    pub(super) fn held_pages(&self) -> u64 {
        u64::try_from(self.0.held.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

unsafe extern "C" fn committed(
    outcome: *mut c_void,
    connection: *mut ffi::sqlite3,
    database: *const c_char,
    pages: c_int,
) -> c_int {
    // SAFETY: it is that of a `Copying`, which outlives the connection, and is changed atomically.
    let outcome = unsafe { &*outcome.cast::<StepOutcome>() };
    let mut held = 0;
    if pages >= LOG_PAGES {
        let passive = ffi::SQLITE_CHECKPOINT_PASSIVE;
        let (mut log, mut copied) = (0, 0);
        // SAFETY: SQLite's own arguments, of the commit that it calls from, and two numbers that it fills in.
        let code = unsafe { ffi::sqlite3_wal_checkpoint_v2(connection, database, passive, &mut log, &mut copied) };
        // Where somebody reads the next commit does it.
        match code & 0xff {
            ffi::SQLITE_BUSY => held = pages,
            ffi::SQLITE_OK => held = log.saturating_sub(copied),
            _ => outcome.failed.store(code, Ordering::Relaxed),
        }
    }
    outcome.held.store(held, Ordering::Relaxed);
    // An error here would be the commit's, without saying which.
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_a_reader_holds_is_known_as_such_until_he_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Connection::open(dir.path().join("db")).expect("opens");
        let writer = open();
        writer
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE it (value BLOB)")
            .expect("a table");
        let copying = Copying::on(&writer);
        let write = || {
            writer.execute("INSERT INTO it VALUES (zeroblob(34000000))", []).expect("written");
            copying.held_pages()
        };
        let reader = open();
        reader.execute_batch("BEGIN; SELECT count(*) FROM it").expect("reads");
        assert!(write() >= u64::from(LOG_PAGES.unsigned_abs()));
        assert!(copying.error().is_none());
        reader.execute_batch("COMMIT").expect("done");
        assert_eq!(write(), 0);
    }
}
