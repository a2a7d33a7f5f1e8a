//! The flight recorder: newline-delimited JSON, one event a line, in it the fatal delivery.
//!
//! Invariant: write-only. Nothing that the kernel does depends on whether, or how, it is recorded.

mod event;
mod writer;

pub use event::{At, CListMode, Data, DeliverResult, Event, Queued, Shape, SyscallResult};
pub use writer::Writer;

/// How much to record. Each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Detail {
    /// Nothing.
    #[default]
    None,
    /// Blocks, cranks, and what happens to vats.
    Cranks,
    /// Deliveries and their results.
    Deliveries,
    /// Syscalls and c-list entries.
    Syscalls,
}

/// Takes the events, as they happen.
pub trait Recorder: Send {
    /// One more.
    fn record(&mut self, event: &Event<'_>);
    /// Makes sure that what was recorded can be read, whatever happens next.
    fn flush(&mut self);
}

/// The recorder of a state, and how much it wants to know.
#[derive(Default)]
pub struct Slog {
    detail: Detail,
    recorder: Option<Box<dyn Recorder>>,
}

impl std::fmt::Debug for Slog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slog").field("detail", &self.detail).finish_non_exhaustive()
    }
}

impl Slog {
    /// Records this much with this.
    pub fn new(detail: Detail, recorder: Box<dyn Recorder>) -> Slog {
        Slog { detail, recorder: Some(recorder) }
    }

    /// Whether it wants to know.
    pub fn wants(&self, detail: Detail) -> bool {
        self.detail >= detail
    }

    /// Records the event that `make` makes, if it wants that much.
    pub fn record<'a>(&mut self, detail: Detail, make: impl FnOnce() -> Event<'a>) {
        if self.wants(detail)
            && let Some(recorder) = &mut self.recorder
        {
            recorder.record(&make());
        }
    }

    /// See [`Recorder::flush`].
    pub fn flush(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.flush();
        }
    }
}
