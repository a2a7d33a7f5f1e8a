//! The flight recorder: newline-delimited JSON, one event a line, or the same in binary; in it the fatal delivery.
//!
//! ```text
//!   kernel, controller ─▶ Slog ─▶ Recorder (Writer) ─▶ FILE ─▶ Reader ─▶ inspect::recording
//! ```
//!
//! Invariants: write-only, so nothing that the kernel does depends on whether, or how, it is recorded; a recording is
//! never overwritten; all events before the point at which a recording breaks off can be read.

mod clock;
mod event;
pub(crate) mod index;
mod packed;
pub(crate) mod reader;
mod recorded;
mod rotation;
mod scribe;
mod shape;
mod sink;
mod text;
mod writer;
mod zstd_tail;

use std::{
    fmt, hint, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

pub use event::{At, CListMode, Event};
pub use index::Indexing;
pub use reader::{ReadError, Reader, Record};
pub use recorded::{Operation, QueuedItem, RecordedEvent, RecordedMessage, RecordedResolution};
pub use rotation::Rotation;
pub use shape::{Data, DeliverResult, ErrorText, Queued, Shape, SyscallResult};
pub use writer::Writer;

/// The format of a recording that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SlogFormat {
    /// JSON, one event a line; compressed if the file's name ends in `.zst`.
    #[default]
    Json,
    /// Pages of packed events, compressed: a tenth of the time to write, and of the bytes. Readers make the same lines of it.
    Binary,
}

/// The level of detail of a recording. Each level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Detail {
    /// Nothing is recorded.
    #[default]
    None,
    /// Blocks, cranks, and what happens to vats.
    Cranks,
    /// Deliveries and their results.
    Deliveries,
    /// Syscalls and c-list entries.
    Syscalls,
}

impl Detail {
    /// Returns the least detail at which events of this type are recorded.
    pub(crate) fn of(kind: &str) -> Detail {
        match kind {
            "clist" | "syscall" | "syscall-result" => Detail::Syscalls,
            "deliver" | "deliver-result" | "console" => Detail::Deliveries,
            _ => Detail::Cranks,
        }
    }
}

/// Takes the events, as they happen.
pub trait Recorder: Send {
    /// Records one more event. An error is reported by the next [`flush`](Recorder::flush).
    fn record(&mut self, event: &Event<'_>);
    /// Makes sure that what was recorded can be read, whatever happens next.
    ///
    /// # Errors
    ///
    /// Returns the first error since the last call.
    fn flush(&mut self) -> io::Result<()>;
    /// Returns the change in the recording's state since the last call, without waiting for anything.
    fn news(&mut self) -> Option<News> {
        None
    }
}

/// A change in the state of a recording, for the operator of a host.
#[derive(Debug)]
pub enum News {
    /// For this reason nothing is recorded any more.
    Broken(io::Error),
    /// Recording works again; what happened in between is missing.
    GoesOn,
    /// The file could not be rotated, for this reason: recording continues in it, and it grows.
    NotRotated(io::Error),
}

/// The recorder of a state, and how much it wants to know. Clones record to the same place.
#[derive(Clone, Default)]
pub struct Slog {
    detail: Detail,
    recorder: Option<Arc<Mutex<dyn Recorder>>>,
}

impl fmt::Debug for Slog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slog").field("detail", &self.detail).finish_non_exhaustive()
    }
}

impl Slog {
    /// Records this much with this.
    pub fn new(detail: Detail, recorder: impl Recorder + 'static) -> Slog {
        Slog { detail, recorder: Some(Arc::new(Mutex::new(recorder))) }
    }

    /// Returns whether events of this detail are recorded.
    #[inline]
    pub fn wants(&self, detail: Detail) -> bool {
        if self.detail < detail {
            return false;
        }
        // So what is recorded does not lie in the way of a host that records nothing.
        hint::cold_path();
        true
    }

    /// Records the event that `make` makes, if it wants that much.
    #[inline]
    pub fn record<'a>(&mut self, detail: Detail, make: impl FnOnce() -> Event<'a>) {
        if self.wants(detail) {
            self.record_wanted(make);
        }
    }

    /// Records an event. Apart from what asks for it, which passes over it where nothing is recorded.
    #[inline(never)]
    fn record_wanted<'a>(&mut self, make: impl FnOnce() -> Event<'a>) {
        if let Some(recorder) = &self.recorder {
            let event = make();
            locked(recorder).record(&event);
        }
    }

    /// Returns the recorder's news, as [`Recorder::news`] does.
    pub fn news(&self) -> Option<News> {
        self.recorder.as_ref().and_then(|it| locked(it).news())
    }

    /// Flushes the recorder, as [`Recorder::flush`] does.
    pub fn flush(&self) -> io::Result<()> {
        self.recorder.as_ref().map_or(Ok(()), |it| locked(it).flush())
    }

    /// Returns a function that flushes from another thread on the way out of the process. It does not wait for ever,
    /// because the thread that holds the recorder may be stuck in a full pipe. It does not keep the recorder alive.
    #[allow(clippy::disallowed_methods, reason = "on the way out of the process, and into a file: no vat waits")]
    pub fn last_flush(&self) -> impl Fn() + Send + 'static {
        let recorder = self.recorder.as_ref().map(Arc::downgrade);
        move || {
            let Some(recorder) = recorder.as_ref().and_then(|it| it.upgrade()) else { return };
            for _ in 0..50 {
                match recorder.try_lock() {
                    Ok(mut it) => return drop(it.flush()),
                    Err(TryLockError::Poisoned(it)) => return drop(it.into_inner().flush()),
                    Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
    }
}

/// A recorder that panicked is used on: there may be more to say on the way down.
fn locked<'a>(recorder: &'a Mutex<dyn Recorder + 'static>) -> MutexGuard<'a, dyn Recorder + 'static> {
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}
