//! The connection to the file of a state: one for its database and for the tables whose rows stay in the file, so that both see the same
//! commit.
//!
//! Invariants: a reader leaves no files beside a state at rest; the files' other way (see `files`) stands longer than the connection that
//! goes it; a transaction that is dropped is undone; who asks for the connection while another thread writes a commit (see `handover`) gets
//! it after that.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::store::{
    database::{FILE, LOG},
    files::RegisteredVfs,
    handover::CommitOutcome,
};

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
    /// What a reader leaves behind: dropped after the connection.
    traces: OnceLock<ReaderTraces>,
}

/// The log and the index that SQLite makes for whoever reads a state at rest. They go when this is dropped, if nothing is in the log and
/// nobody else has the state open: SQLite removes them with the last connection that can write.
#[derive(Debug)]
pub(super) struct ReaderTraces(PathBuf);

impl ReaderTraces {
    /// Names the folder of the state.
    pub(super) fn of(dir: &Path) -> ReaderTraces {
        ReaderTraces(dir.to_owned())
    }
}

impl Drop for ReaderTraces {
    fn drop(&mut self) {
        // In the log of a host that was killed are its blocks: they are for the next host.
        if fs::metadata(self.0.join(LOG)).is_ok_and(|it| it.len() == 0) {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let look = |it: Connection| it.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
            // Whoever cannot write leaves them.
            let _ = Connection::open_with_flags(self.0.join(FILE), flags).and_then(look);
        }
    }
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
        let traces = OnceLock::new();
        SharedConnection(Arc::new(Parts { connection, handed_over: Mutex::default(), _vfs: vfs, traces }))
    }

    /// Has the folder of the state be as it was, once nobody has the connection any more: for one that only reads.
    pub(super) fn leave_no_traces(&self, traces: ReaderTraces) {
        let _ = self.0.traces.set(traces);
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
        held.prepare_cached("BEGIN")?.execute([])?;
        Ok(Begun(held))
    }

    /// Begins a transaction on the connection.
    pub(super) fn begin(&self) -> rusqlite::Result<Begun<'_>> {
        let held = self.lock();
        held.prepare_cached("BEGIN")?.execute([])?;
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
