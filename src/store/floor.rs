//! The cost of a durable commit without a kernel: the floor of the commits of blocks, to be measured in the same run.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::{
    model::blame::HostFault,
    store::database::{FILE, fault, make_durable},
};

/// A database of one table, committed as a state is: WAL, and on disk when a commit returns.
#[derive(Debug)]
pub struct CommitFloor {
    connection: Connection,
    next: i64,
}

impl CommitFloor {
    /// Makes the database of the measurement in this folder, which must have none yet.
    pub fn new(dir: &Path) -> Result<CommitFloor, HostFault> {
        let what = "set up a floor for commits";
        let connection = Connection::open(dir.join(FILE)).map_err(fault(what))?;
        make_durable(&connection, what)?;
        let table = "CREATE TABLE row (id INTEGER PRIMARY KEY, value BLOB NOT NULL);";
        connection.execute_batch(table).map_err(fault(what))?;
        Ok(CommitFloor { connection, next: 0 })
    }

    /// Commits one transaction that writes one row.
    pub fn commit(&mut self, value: &[u8]) -> Result<(), HostFault> {
        self.next += 1;
        let run = || {
            let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO row VALUES (?, ?)")?;
            statement.execute(params![self.next % 16, value])
        };
        run().map(drop).map_err(fault("commit a row"))
    }
}
