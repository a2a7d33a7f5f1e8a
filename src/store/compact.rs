//! Giving disk space back: the pages of the file that nothing uses any more, and the log.
//!
//! Invariants: no row is changed; a crash meanwhile leaves the state as it was, since SQLite writes the new file through its log.

use std::{fs, path::Path};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::{
    model::blame::HostFault,
    store::{
        Database,
        database::{BUSY_MAX, FILE, LOG, fault, make_durable},
    },
};

/// The disk space of a state before and after it was compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compacted {
    /// Bytes of the file and its log before.
    pub bytes_before: u64,
    /// Bytes of the file and its log after it.
    pub bytes_after: u64,
    /// Whether somebody who reads the state keeps the log from being emptied.
    pub is_held: bool,
}

impl Database {
    /// Returns the bytes that the state in this folder takes: its file, and its log.
    pub fn bytes(dir: &Path) -> u64 {
        [FILE, LOG].iter().map(|name| fs::metadata(dir.join(name)).map_or(0, |it| it.len())).sum()
    }

    /// Gives back the disk space that the state in this folder does not use. The caller is its host, between two commits.
    pub fn compact(dir: &Path) -> Result<Compacted, HostFault> {
        let what = format!("give back the unused space of the state `{}`", dir.display());
        let failed = fault(&what);
        let bytes_before = Database::bytes(dir);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(dir.join(FILE), flags).map_err(&failed)?;
        connection.busy_timeout(BUSY_MAX).map_err(&failed)?;
        make_durable(&connection, &what)?;
        // What the log holds goes into the file first, so that it is not written twice.
        empty_log(&connection).map_err(&failed)?;
        connection.execute_batch("VACUUM").map_err(&failed)?;
        let is_held = empty_log(&connection).map_err(&failed)?;
        drop(connection);
        Ok(Compacted { bytes_before, bytes_after: Database::bytes(dir), is_held })
    }
}

/// Copies the log into the file, and empties it; whether somebody reads what is in it, so that it stays.
fn empty_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? != 0))
}
