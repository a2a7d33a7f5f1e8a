//! Sessions: the vats of a kind without code, through which the world outside holds references.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        id::{VRef, VatId},
        limits,
        value::{CapData, Delivery},
    },
    state::table::{Tables, Vat},
    store::{Index, Table},
};

/// A session: what a vat's row does not tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The name, which no other session has as long as the row exists.
    pub name: String,
    /// The number of the next event for the outside, from 1.
    pub next: u64,
    /// Set once the session has ended; the reason is in the vat's row.
    pub ended: bool,
}

/// An event for the outside: what happened to its session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SessionEvent {
    /// A delivery, in the session's references.
    Delivery(Delivery<VRef>),
    /// The outside asked for this reference, and holds it.
    Given {
        /// The number under which it was asked for.
        tag: u64,
        /// The session's reference.
        vref: VRef,
    },
    /// The outside asked for a reference to something that is gone.
    NotGiven {
        /// The number under which it was asked for.
        tag: u64,
        /// The reason, for people.
        reason: String,
    },
    /// The session has ended. Nothing follows.
    Ended {
        /// The reason, for people.
        reason: String,
    },
}

impl SessionEvent {
    /// Returns the bytes that the event counts for: its bodies, eight for each reference, and what a row takes.
    pub fn bytes(&self) -> u64 {
        let data = |it: &CapData<VRef>| it.body.len() as u64;
        let content = match self {
            SessionEvent::Delivery(delivery) => {
                let bodies = match delivery {
                    Delivery::Message { message, .. } => data(&message.methargs),
                    Delivery::Notify(resolutions) => resolutions.iter().map(|it| data(&it.data)).sum(),
                    Delivery::StartVat(it) | Delivery::ChangeOptions(it) => data(it),
                    _ => 0,
                };
                bodies + 8 * delivery.refs_count() as u64
            }
            SessionEvent::Given { .. } => 8,
            SessionEvent::NotGiven { reason, .. } | SessionEvent::Ended { reason } => reason.len() as u64,
        };
        limits::SESSION_EVENT_OVERHEAD + content
    }
}

/// The sessions; the index finds them by their names, and those that have ended.
pub type Sessions = Table<VatId, Session, SessionNames>;

/// The names of all sessions, and those of them that have ended.
#[derive(Debug, Default)]
pub struct SessionNames {
    by_name: BTreeMap<String, VatId>,
    ended: std::collections::BTreeSet<VatId>,
}

impl Index<VatId, Session> for SessionNames {
    fn changed(&mut self, key: &VatId, old: Option<&Session>, new: Option<&Session>) {
        let name = |it: Option<&Session>| it.map(|it| it.name.clone());
        if name(old) != name(new) {
            name(old).map(|it| self.by_name.remove(&it));
            name(new).map(|it| self.by_name.insert(it, *key));
        }
        if new.is_some_and(|it| it.ended) {
            self.ended.insert(*key);
        } else {
            self.ended.remove(key);
        }
    }
}

impl Sessions {
    /// Returns the session of this name, alive or ended.
    pub fn named(&self, name: &str) -> Option<VatId> {
        self.index().by_name.get(name).copied()
    }

    /// Iterates over the sessions that have ended, the oldest first.
    pub fn ended(&self) -> impl Iterator<Item = VatId> {
        self.index().ended.iter().copied()
    }

    /// Counts the index's names: as many as there are rows, if all are different.
    pub(crate) fn names_len(&self) -> usize {
        self.index().by_name.len()
    }
}

/// The events that the outside has not acknowledged, by session and number.
pub type SessionOutbox = Table<(VatId, u64), SessionEvent, SessionSums>;

/// The number of events of each session, and their bytes; and the bytes of all.
#[derive(Debug, Default)]
pub struct SessionSums {
    sessions: BTreeMap<VatId, (u64, u64)>,
    bytes: u64,
}

impl Index<(VatId, u64), SessionEvent> for SessionSums {
    fn changed(&mut self, (vat, _): &(VatId, u64), old: Option<&SessionEvent>, new: Option<&SessionEvent>) {
        let (events, bytes) = self.sessions.entry(*vat).or_default();
        if let Some(old) = old.map(SessionEvent::bytes) {
            *events -= 1;
            *bytes -= old;
            self.bytes -= old;
        }
        if let Some(new) = new.map(SessionEvent::bytes) {
            *events += 1;
            *bytes += new;
            self.bytes += new;
        }
        if *events == 0 {
            self.sessions.remove(vat);
        }
    }
}

impl SessionOutbox {
    /// Returns the number of a session's unacknowledged events, and their bytes.
    pub fn sums(&self, session: VatId) -> (u64, u64) {
        self.index().sessions.get(&session).copied().unwrap_or_default()
    }

    /// Returns the bytes of the unacknowledged events of all sessions.
    pub fn bytes(&self) -> u64 {
        self.index().bytes
    }

    /// Iterates over the sessions that have unacknowledged events.
    pub fn sessions(&self) -> impl Iterator<Item = VatId> {
        self.index().sessions.keys().copied()
    }

    /// Iterates over the events of a session, from this number on.
    pub fn of(&self, session: VatId, from: u64) -> impl Iterator<Item = (u64, &SessionEvent)> {
        self.range((session, from)..=(session, u64::MAX)).map(|((_, number), it)| (*number, it))
    }
}

impl Tables {
    /// Returns the first vat of this name that is no session.
    pub fn vat_named(&self, name: &str) -> Option<VatId> {
        let is_it = |(vat, row): &(&VatId, &Vat)| row.name == name && !self.is_session(**vat);
        self.vats.iter().find(is_it).map(|(vat, _)| *vat)
    }

    /// Returns whether this vat is a session: it has no code, and what it is delivered waits for the outside.
    pub fn is_session(&self, vat: VatId) -> bool {
        self.sessions.contains(&vat)
    }
}
