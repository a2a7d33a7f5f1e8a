//! What SQLite can do and rusqlite has no word for.

#![allow(unsafe_code, reason = "two C functions, each proved at its place")]

use std::{
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::atomic::{AtomicI32, Ordering},
};

use rusqlite::{Connection, ffi};

/// Pages of the log from which on a commit copies them into the file: 32 MiB. SQLite's own default is an eighth of that; then a block that
/// changes the rows of ten thousand vats is copied at once, and its pages are written twice for every block.
const LOG_PAGES: c_int = 8_000;

/// The system's number of the error that a connection met last, where it was one of input or output.
pub(super) fn system_errno(connection: &Connection) -> Option<i32> {
    // SAFETY: the handle is open for as long as the connection, and nothing of it is kept.
    let number = unsafe { ffi::sqlite3_system_errno(connection.handle()) };
    (number != 0).then_some(number)
}

/// Has the log copied into the file by the commit that makes it long, as SQLite does by itself; but keeps the error, which SQLite
/// would keep from everybody, and try again after a sync that failed.
#[derive(Debug)]
pub(super) struct Copying(Box<AtomicI32>);

impl Copying {
    /// On this connection, which must be closed before this is dropped.
    pub(super) fn on(connection: &Connection) -> Copying {
        let failed = Box::new(AtomicI32::new(ffi::SQLITE_OK));
        let context = ptr::from_ref(&*failed).cast_mut().cast();
        // SAFETY: what the hook is given stays where it is for as long as the connection is open, and is changed atomically.
        unsafe { ffi::sqlite3_wal_hook(connection.handle(), Some(committed), context) };
        Copying(failed)
    }

    /// The error of the last commit's copying, once.
    pub(super) fn error(&self) -> Option<rusqlite::Error> {
        let code = self.0.swap(ffi::SQLITE_OK, Ordering::Relaxed);
        (code != ffi::SQLITE_OK).then(|| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }
}

unsafe extern "C" fn committed(
    failed: *mut c_void,
    connection: *mut ffi::sqlite3,
    database: *const c_char,
    pages: c_int,
) -> c_int {
    if pages >= LOG_PAGES {
        let passive = ffi::SQLITE_CHECKPOINT_PASSIVE;
        // SAFETY: SQLite's own arguments, of the commit that it calls from; where no counts are wanted null is given. `failed` is
        // that of a `Copying`, which outlives the connection.
        let (code, failed) = unsafe {
            let code = ffi::sqlite3_wal_checkpoint_v2(connection, database, passive, ptr::null_mut(), ptr::null_mut());
            (code, &*failed.cast::<AtomicI32>())
        };
        // Where somebody reads the next commit does it.
        if code & 0xff != ffi::SQLITE_BUSY {
            failed.store(code, Ordering::Relaxed);
        }
    }
    // An error here would be the commit's, without saying which.
    ffi::SQLITE_OK
}
