//! The recorder's clock. No other part of the kernel's process needs to know what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the time.
#[derive(Debug)]
pub(super) struct Clock {
    begun: Instant,
}

/// When something happened.
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
        Clock { begun: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        // A clock before 1970 is a broken one, and no reason to stop.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall, monotonic: self.begun.elapsed() }
    }
}
