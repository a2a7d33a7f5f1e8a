//! The recorder's clock. No other part of the kernel's process needs to know what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Clock that stamps the events of a recording. The time of day is read from the system now and then, and counted on
/// from there.
#[derive(Debug)]
pub(super) struct Clock {
    begun: Instant,
    /// The time of day when it began, by when that was last asked.
    epoch: Duration,
}

/// The two times at which an event happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since the Unix epoch.
    pub(super) wall: Duration,
    /// Since the recorder began; never goes back.
    pub(super) monotonic: Duration,
}

#[allow(clippy::disallowed_methods, reason = "the slog is write-only: its times reach no vat and no hash")]
impl Clock {
    pub(super) fn start() -> Clock {
        let mut clock = Clock { begun: Instant::now(), epoch: Duration::ZERO };
        clock.set();
        clock
    }

    /// Reads the time of day.
    pub(super) fn set(&mut self) {
        // A clock before 1970 is a broken one, and no reason to stop.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.epoch = wall.saturating_sub(self.begun.elapsed());
    }

    pub(super) fn now(&self) -> Now {
        let monotonic = self.begun.elapsed();
        Now { wall: self.epoch + monotonic, monotonic }
    }
}
