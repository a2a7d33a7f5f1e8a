//! The scrub: what a host did not read when it opened a state is read and proved while it runs, by a thread that keeps out of its way.
//!
//! ```text
//!   Host::open ─▶ rows left in the file? ─▶ a thread: one read transaction, every row, the digest that the same commit attests ─▶ told
//!   Host::run_block ─▶ found something? ─▶ the host halts: a HostFault that names the row
//! ```
//!
//! Invariants: the scrub reads, and changes nothing; what it proves is one commit, whatever is committed meanwhile. A host that is
//! dropped waits for it no longer than for one row.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    host::controller::Host,
    model::blame::HostFault,
    state::block::{Block, proof, stored},
    store::Database,
};

/// Rows that are read without a rest.
const PIECE: u64 = 256;

/// So many times as long as it read the scrub rests.
const REST: u32 = 3;

/// A scrub that runs, or is over.
#[derive(Debug)]
pub(super) struct Scrub {
    shared: Arc<Proving>,
    of: u64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Proving {
    rows: AtomicU64,
    stops: AtomicBool,
    /// How it ended, once it has.
    end: Mutex<Option<Result<(), HostFault>>>,
}

/// The progress of a scrub.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubProgress {
    /// The rows that were read and proved.
    pub rows: u64,
    /// The rows that there were when it began.
    pub of: u64,
    /// Whether all of them were proved, and their digest is the one that was committed.
    pub is_done: bool,
}

impl Scrub {
    /// Begins to prove what of a state stayed in its file; nothing where all of it was proved when it was opened.
    pub(super) fn of(block: &Block, dir: &Path) -> Option<Scrub> {
        let left = proof::left(block.tables());
        if left.is_empty() {
            return None;
        }
        let of = stored::rows_left(block);
        let (shared, dir) = (Arc::new(Proving::default()), dir.to_owned());
        let mine = shared.clone();
        let run = move || {
            let end = read(&dir, &left, &mine);
            if !mine.stops.load(Ordering::Relaxed) {
                *mine.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
            }
        };
        // Without a thread the rows are proved as they are read, as they are anyway.
        let thread = thread::Builder::new().name("scrub".to_owned()).spawn(run).ok();
        Some(Scrub { shared, of, thread })
    }

    pub(super) fn progress(&self) -> ScrubProgress {
        let is_done = matches!(*self.end(), Some(Ok(())));
        ScrubProgress { rows: self.shared.rows.load(Ordering::Relaxed), of: self.of, is_done }
    }

    /// Refuses to go on where it has found something.
    pub(super) fn check(&self) -> Result<(), HostFault> {
        self.end().clone().unwrap_or(Ok(()))
    }

    fn end(&self) -> std::sync::MutexGuard<'_, Option<Result<(), HostFault>>> {
        self.shared.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how far a host has proved the rows that it did not read when it opened the state; nothing where it read all. What the scrub
/// finds to be damaged is the fault of the next block.
pub fn progress(host: &Host) -> Option<ScrubProgress> {
    host.scrub.as_ref().map(Scrub::progress)
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot panic but by a bug, of which the panic has told.
            let _ = thread.join();
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "how long it rests depends on how long it read, and nothing on that")]
fn read(dir: &Path, left: &[&str], shared: &Proving) -> Result<(), HostFault> {
    let database = Database::open_read_only(dir)?;
    let Some(meta) = database.meta()? else { return Ok(()) };
    let mut since = Instant::now();
    proof::rows(&database, &meta, left, &mut |rows| {
        shared.rows.store(rows, Ordering::Relaxed);
        if rows.is_multiple_of(PIECE) {
            thread::park_timeout((REST * since.elapsed()).min(Duration::from_millis(100)));
            since = Instant::now();
        }
        if shared.stops.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map_err(|it| it.within(format_args!("prove the state `{}` while it runs", dir.display())))
}
