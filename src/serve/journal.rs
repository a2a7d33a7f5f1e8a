//! What a server tells its operator while it runs: of requests that it refused, and of clients that it held back.
//!
//! Invariants: no token and no word of a client's is told; whoever floods does not flood the operator: of each second so many events are
//! told, and the rest is counted.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Events that are told of each second.
const TOLD_A_SECOND: u32 = 20;

/// An event that an operator may want to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServeEvent {
    /// A request was refused: nothing was done.
    Refused {
        /// The status of the answer.
        status: u16,
        /// The kind of the problem: the last part of its `type`.
        problem: &'static str,
        /// The way of the request, without what it names: `POST /cap`.
        route: String,
        /// The address that it came from.
        client: Option<IpAddr>,
    },
    /// A client was held back, since it, or all together, asked too much: `what` of it.
    Limited {
        /// The bound that was met.
        what: &'static str,
        /// The address that it came from.
        client: Option<IpAddr>,
    },
    /// So many events before this one were not told: there were too many in one second.
    LeftOut {
        /// The number of events.
        count: u64,
    },
}

/// Takes the events, on any thread.
pub trait Journal: Send + Sync {
    /// Tells of one event.
    fn tell(&self, event: &ServeEvent);
}

/// A journal that tells so much of each second.
pub(super) struct Paced {
    journal: Box<dyn Journal>,
    pace: Mutex<Pace>,
}

#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Paced {
    pub(super) fn new(journal: Box<dyn Journal>) -> Paced {
        Paced { journal, pace: Mutex::default() }
    }

    #[expect(clippy::disallowed_methods, reason = "how much is told depends on the clock, and nothing else does")]
    pub(super) fn tell(&self, event: &ServeEvent) {
        self.tell_at(Instant::now(), event);
    }

    fn tell_at(&self, now: Instant, event: &ServeEvent) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            let count = std::mem::take(&mut pace.left_out);
            *pace = Pace { since: Some(now), ..Pace::default() };
            if count > 0 {
                self.journal.tell(&ServeEvent::LeftOut { count });
            }
        }
        if pace.told >= TOLD_A_SECOND {
            pace.left_out += 1;
            return;
        }
        pace.told += 1;
        self.journal.tell(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Default, Clone)]
    struct ToldEvents(Arc<Mutex<Vec<ServeEvent>>>);

    impl Journal for ToldEvents {
        fn tell(&self, event: &ServeEvent) {
            self.0.lock().expect("nobody panicked").push(event.clone());
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "one time to count from")]
    fn a_flood_of_refusals_is_counted_and_not_told() {
        let kept = ToldEvents::default();
        let journal = Paced::new(Box::new(kept.clone()));
        let event = ServeEvent::Limited { what: "queue", client: None };
        let begun = Instant::now();
        (0..1_000).for_each(|_| journal.tell_at(begun, &event));
        assert_eq!(kept.0.lock().expect("nobody panicked").len(), TOLD_A_SECOND as usize);
        journal.tell_at(begun + Duration::from_secs(1), &event);
        let told = kept.0.lock().expect("nobody panicked").clone();
        let left_out = ServeEvent::LeftOut { count: 1_000 - u64::from(TOLD_A_SECOND) };
        assert_eq!(told[TOLD_A_SECOND as usize..], [left_out, event]);
    }
}
