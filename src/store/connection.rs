//! The connection to the file of a state: one for its database and for the tables whose rows stay in the file, so that both see the same
//! commit.
//!
//! Invariants: the files' other way (see `files`) stands longer than the connection that goes it; a transaction that is dropped is
//! undone.

use std::{ops::Deref, sync::Arc};

use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};
use rusqlite::Connection;

use crate::store::files::RegisteredVfs;

/// A connection that is shared.
#[derive(Clone, Debug)]
pub(super) struct SharedConnection(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    connection: ReentrantMutex<Connection>,
    /// Where the connection has another way to its files: dropped after it.
    _vfs: Mutex<Option<Box<dyn RegisteredVfs>>>,
}

/// The connection while somebody uses it; the same thread may take it again.
pub(super) type Held<'a> = ReentrantMutexGuard<'a, Connection>;

impl SharedConnection {
    pub(super) fn new(connection: Connection, vfs: Option<Box<dyn RegisteredVfs>>) -> SharedConnection {
        SharedConnection(Arc::new(Parts { connection: ReentrantMutex::new(connection), _vfs: Mutex::new(vfs) }))
    }

    /// Takes the connection, once no other thread has it.
    pub(super) fn lock(&self) -> Held<'_> {
        self.0.connection.lock()
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
