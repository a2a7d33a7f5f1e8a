//! The connection to the file of a state: one for its database and for the tables whose rows stay in the file, so that both see the same
//! commit.
//!
//! Invariants: the files' other way (see `files`) stands longer than the connection that goes it; a transaction that is dropped is
//! undone; who asks for the connection while another thread writes a commit (see `handover`) gets it after that.

use std::{ops::Deref, sync::Arc};

use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};
use rusqlite::{Connection, config::DbConfig};

use crate::store::{files::RegisteredVfs, handover::CommitOutcome};

/// A connection that is shared.
#[derive(Clone, Debug)]
pub(super) struct SharedConnection(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    connection: ReentrantMutex<Connection>,
    /// The commit that another thread was given to write, until somebody has waited for it.
    handed_over: Mutex<Option<CommitOutcome>>,
    /// Where the connection has another way to its files: dropped after it.
    _vfs: Mutex<Option<Box<dyn RegisteredVfs>>>,
}

/// The connection while somebody uses it; the same thread may take it again.
pub(super) type Held<'a> = ReentrantMutexGuard<'a, Connection>;

impl SharedConnection {
    /// Makes a connection shared, and has a statement mean the same whatever values are bound to it: otherwise SQLite compiles one that uses
    /// an index on an expression anew each time a value is bound.
    pub(super) fn new(connection: Connection, vfs: Option<Box<dyn RegisteredVfs>>) -> SharedConnection {
        // Without it all is slower, and nothing else.
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
        let (connection, vfs) = (ReentrantMutex::new(connection), Mutex::new(vfs));
        SharedConnection(Arc::new(Parts { connection, handed_over: Mutex::default(), _vfs: vfs }))
    }

    /// Takes the connection, once no other thread has it, and no commit is to be written on it.
    pub(super) fn lock(&self) -> Held<'_> {
        // The thread that writes has it already.
        if !self.0.connection.is_owned_by_current_thread() {
            self.settle();
        }
        self.0.connection.lock()
    }

    /// Waits for the commit that was handed over, if one was.
    pub(super) fn settle(&self) {
        // Who comes meanwhile waits for the same.
        let mut handed_over = self.0.handed_over.lock();
        if let Some(outcome) = handed_over.take() {
            // Whoever handed it over hears of a failure, and so does the file's next reader (see `RowFile::check`).
            let _ = outcome.wait();
        }
    }

    /// Keeps the connection from everybody until a commit is written: it is the one that [`begin_handed_over`](Self::begin_handed_over)
    /// begins.
    pub(super) fn hand_over(&self, outcome: CommitOutcome) {
        self.settle();
        *self.0.handed_over.lock() = Some(outcome);
    }

    /// Begins the transaction of the commit that was handed over.
    pub(super) fn begin_handed_over(&self) -> rusqlite::Result<Begun<'_>> {
        let held = self.0.connection.lock();
        held.execute_batch("BEGIN")?;
        Ok(Begun(held))
    }

    /// Begins a transaction on the connection.
    pub(super) fn begin(&self) -> rusqlite::Result<Begun<'_>> {
        let held = self.lock();
        held.execute_batch("BEGIN")?;
        Ok(Begun(held))
    }
}

/// An open transaction, of which the connection can still be asked how its end went.
#[derive(Debug)]
pub(super) struct Begun<'a>(Held<'a>);

impl Deref for Begun<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // What cannot be undone now is undone when the file is opened the next time.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}
