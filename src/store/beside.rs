//! What a server keeps beside a state: rows of its own, written with a block or by themselves, and in no hash.
//!
//! Invariants: what is written with a block is durable with it, or not at all; the kernel never reads a row of these. Each row bears
//! a checksum; that none is missing is attested by nobody.

use rusqlite::params;

use crate::{
    model::blame::HostFault,
    store::{
        database::{Database, Transaction},
        hash::RowHash,
        proof::DAMAGED,
    },
};

pub(super) const LAYOUT: &str =
    "CREATE TABLE beside (key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;";

/// A row that is kept beside a state: its key and its value.
pub type KeptRow = (Vec<u8>, Vec<u8>);

/// A row to write, by its key; `None` removes it.
pub type BesideRow = (Vec<u8>, Option<Vec<u8>>);

fn checksum(key: &[u8], value: &[u8]) -> i64 {
    RowHash::of_parts("beside", &[key, value]).checksum()
}

impl Database {
    /// Reads all rows that a server keeps beside the state, in order of their keys.
    pub fn beside(&self) -> Result<Vec<KeptRow>, HostFault> {
        let what = "read what a server keeps beside the state";
        let failed = |err| self.failed(what, &err);
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare("SELECT key, value, checksum FROM beside ORDER BY key").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let blob = |at| row.get::<_, Vec<u8>>(at).map_err(failed);
            let (key, value) = (blob(0)?, blob(1)?);
            if row.get::<_, i64>(2).map_err(failed)? != checksum(&key, &value) {
                return Err(self.damaged(what, DAMAGED, "beside"));
            }
            found.push((key, value));
        }
        Ok(found)
    }

    /// Writes rows beside the state by themselves, durably.
    pub fn keep_beside(&mut self, rows: &[BesideRow]) -> Result<(), HostFault> {
        let transaction = self.transaction()?;
        transaction.put_beside(rows)?;
        transaction.commit()
    }
}

impl Transaction<'_> {
    /// Writes or removes rows beside the state.
    pub fn put_beside(&self, rows: &[BesideRow]) -> Result<(), HostFault> {
        let what = "write beside the state";
        for (key, value) in rows {
            match value {
                Some(value) => {
                    let row = params![key, value, checksum(key, value)];
                    self.execute(what, "INSERT OR REPLACE INTO beside VALUES (?, ?, ?)", row)?
                }
                None => self.execute(what, "DELETE FROM beside WHERE key = ?", [key])?,
            };
        }
        Ok(())
    }
}
