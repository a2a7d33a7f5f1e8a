//! A commit that another thread writes, while the block's thread goes on.
//!
//! ```text
//!   block's thread:    Handover::of ─▶ the next block ─▶ … asks for the file? waits ─────────▶ CommitOutcome::wait ─▶ …
//!   writer's thread:        └───────▶ write: a transaction, all of it, synced ─▶ told ───────────────┘
//! ```
//!
//! Invariants: from `of` on nobody but the writer has the connection, until the outcome is told; it is told however the writer ends. A
//! failure is kept with the file before that, so that no crank ends well that read what was not written. When it is told nothing of the
//! state is held by the writer any more: neither its file nor its folder.

use std::sync::{Arc, OnceLock};

use crate::{
    model::blame::HostFault,
    store::{
        connection::SharedConnection,
        database::{Database, Home, Lock, Transaction, begun},
        row_file::RowFile,
    },
};

/// The outcome of a commit that another thread writes: nothing until it is durable, or has failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitOutcome(Arc<OnceLock<Result<(), HostFault>>>);

impl CommitOutcome {
    /// Returns the outcome, if there is one by now.
    pub(crate) fn get(&self) -> Option<&Result<(), HostFault>> {
        self.0.get()
    }

    /// Waits for the outcome.
    pub(crate) fn wait(&self) -> Result<(), HostFault> {
        self.0.wait().clone()
    }
}

/// A commit that is to be written by the thread that gets this.
#[derive(Debug)]
pub(crate) struct Handover {
    file: Option<WriterFile>,
    outcome: CommitOutcome,
}

/// A writer's own hold on the file of a state.
#[derive(Debug)]
struct WriterFile {
    connection: SharedConnection,
    home: Home,
    rows: RowFile,
    _lock: Option<Arc<Lock>>,
}

impl Handover {
    /// Hands the next commit of a database over.
    pub(crate) fn of(database: &Database) -> (Handover, CommitOutcome) {
        let outcome = CommitOutcome::default();
        database.connection.hand_over(outcome.clone());
        let (connection, home) = (database.connection.clone(), database.home.clone());
        let file = WriterFile { connection, home, rows: database.file.clone(), _lock: database.lock.clone() };
        (Handover { file: Some(file), outcome: outcome.clone() }, outcome)
    }

    /// Writes the commit: what `write` writes becomes durable, and the outcome is told.
    pub(crate) fn write(mut self, write: impl FnOnce(&mut Transaction<'_>) -> Result<(), HostFault>) {
        let written = self.file.as_ref().map(|it| it.write(write));
        if let Some(written) = written {
            self.tell(written);
        }
    }

    fn tell(&mut self, written: Result<(), HostFault>) {
        if let Some(file) = self.file.take() {
            let _ = file.rows.or_none(written.clone());
        }
        // The first is the one that counts.
        let _ = self.outcome.0.set(written);
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.tell(Err(HostFault::new("commit a block", "whoever was to write it has ended")));
        }
    }
}

impl WriterFile {
    fn write(&self, write: impl FnOnce(&mut Transaction<'_>) -> Result<(), HostFault>) -> Result<(), HostFault> {
        let mut transaction = begun(self.connection.begin_handed_over(), &self.home)?;
        write(&mut transaction)?;
        transaction.commit()
    }
}
