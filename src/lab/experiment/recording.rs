//! The events of a run, for watchers that look at more than its state.
//!
//! Invariant: it tells of the run alone, not of the machine that ran it: how a vat was brought up again is left out.

use std::{
    fmt, io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use crate::slog::{Detail, Event, Recorder, Slog};

/// The events of a run. Clones record to the same place.
#[derive(Clone, Default)]
pub(super) struct Recording {
    events: Arc<Mutex<Vec<Value>>>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("events", &self.events().len()).finish()
    }
}

impl Recording {
    fn events(&self) -> MutexGuard<'_, Vec<Value>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slog that records here, from nothing on; one that records nothing where that is not wanted.
    pub(super) fn slog(&self, wanted: bool) -> Slog {
        self.events().clear();
        if wanted { Slog::new(Detail::Deliveries, self.clone()) } else { Slog::default() }
    }

    /// Shows the recorded events.
    pub(super) fn show<T>(&self, look: impl FnOnce(&[Value]) -> T) -> T {
        let events = mem::take(&mut *self.events());
        let seen = look(&events);
        *self.events() = events;
        seen
    }
}

impl Recorder for Recording {
    fn record(&mut self, event: &Event<'_>) {
        let comes_up = matches!(
            event,
            Event::HeapSnapshotLoad { .. }
                | Event::HeapSnapshotSave { .. }
                | Event::StartReplay { .. }
                | Event::FinishReplay { .. }
                | Event::Deliver { replay: true, .. }
                | Event::DeliverResult { replay: true, .. }
        );
        if !comes_up && let Ok(event) = serde_json::to_value(event) {
            self.events().push(event);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
