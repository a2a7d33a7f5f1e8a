//! CapTP, as the npm package `@endo/captp` speaks it: a connection's messages become the syscalls of a session, and what the session
//! is told becomes messages. Nothing here reads or writes: whoever has the socket and the host passes both on.
//!
//! ```text
//!   client ─▶ CTP_CALL, CTP_RETURN, CTP_RESOLVE, CTP_DROP ─▶ Connection::receive ─▶ Turn ─▶ syscalls ─▶ Host::act
//!     ▲                                                                              └──▶ messages
//!     └────────── CTP_RETURN, CTP_CALL, CTP_RESOLVE ◀─ Connection::tell ◀─ the session's outbox
//! ```
//!
//! | in messages | in the session |
//! | --- | --- |
//! | the client's object `o+5` (to it: `o-5`) | its export `o+5` |
//! | the client's promise `p+5` | its promise `p+15` |
//! | the answer to the client's question `q-5`, called before it came or not | its promise `p+16` |
//! | the host's object `o+50` (to it: `o-50`) | its import `o-50` |
//! | the host's promise `p+60` | its import `p-60` |
//!
//! A question of the host, `q-1`, is a message to an object of the client; its answer settles the promise that the message wants settled.
//! A session forgets a promise that is settled, and the client may still speak of it: what it was settled with is remembered. The bootstrap
//! object is a record with a member for each exported root.
//!
//! The package forgets an export that it is told to drop, and does not remember it anew when it is passed once more; so no `CTP_DROP` is
//! sent: a client keeps what it passed until it disconnects.
//!
//! Invariants: whatever a client sends is an answer, an exception, or the end of its connection; the session drops a reference when the
//! client has dropped it as often as it was sent; a syscall names nothing that the session does not have.

mod body;
mod incoming;
mod kept;
mod known;
mod outgoing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{
    id::{VRef, VRefKind},
    value::{CapData, Resolution, Syscall},
};

pub(super) use kept::ConnectionHead;
use kept::Noted;
use known::ClientRefs;

/// A client that is connected.
#[derive(Debug)]
pub struct Connection {
    /// The roots that the client is given by name.
    exports: BTreeMap<String, VRef>,
    /// References that the client has, and settlements that it may speak of.
    known: ClientRefs,
    /// Questions to the client that it has not answered, each with the promise that its answer settles.
    asked: Noted<u64, Option<VRef>>,
    /// The number of the next question to the client.
    next_question: u64,
    /// The next number of a promise of our own.
    next_own: u64,
    /// Syscalls behind those of the message that is being read.
    later: Vec<Syscall<VRef>>,
    /// Imports that the session was given, and the client was not told of.
    untold: BTreeSet<VRef>,
    ended: bool,
    broken: bool,
}

/// The consequences of a message, or of an event.
#[derive(Debug, Default, PartialEq)]
pub struct Turn {
    /// Syscalls in the session's name, for [`Host::act`](crate::Host::act).
    pub syscalls: Vec<Syscall<VRef>>,
    /// Messages to the client. Those of a [`Connection::receive`] are to be sent once the syscalls are durable.
    pub messages: Vec<Value>,
    /// Set if the connection has ended, and the session is to end for this reason.
    pub ended: Option<String>,
}

/// A settlement that the client may speak of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settlement {
    rejected: bool,
    data: CapData<VRef>,
}

impl Connection {
    /// Makes a connection whose bootstrap object has these roots, which the session was given.
    pub fn new(exports: BTreeMap<String, VRef>) -> Connection {
        let mut known = ClientRefs::default();
        exports.values().for_each(|it| known.sent(*it));
        Connection {
            exports,
            known,
            asked: Noted::default(),
            next_question: 1,
            next_own: 0,
            later: Vec::new(),
            untold: BTreeSet::new(),
            ended: false,
            broken: false,
        }
    }

    /// Returns whether the connection has ended: messages and events are passed over from then on.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns whether it has ended because of what the client sent, which no client of this protocol sends.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Returns the objects that the client has.
    pub fn held(&self) -> Vec<VRef> {
        self.known.imports.keys().copied().collect()
    }

    /// Notes that the client has this object, although no message named it.
    pub(super) fn hold(&mut self, vref: VRef) {
        self.known.sent(vref);
    }

    /// Returns the questions that the client has not answered.
    pub fn asked(&self) -> Vec<u64> {
        self.asked.keys().copied().collect()
    }

    /// Ends the connection from the host's side; the client is told why.
    pub fn disconnect(&mut self, reason: &str) -> Turn {
        let mut turn = Turn::default();
        self.end(reason, &mut turn);
        turn
    }

    fn end(&mut self, reason: &str, turn: &mut Turn) {
        if !std::mem::replace(&mut self.ended, true) {
            turn.messages.push(json!({ "type": "CTP_DISCONNECT", "epoch": EPOCH, "reason": reason }));
            turn.syscalls.clear();
            turn.ended = Some(reason.to_owned());
        }
    }

    /// A promise of the session's that nobody knows yet.
    fn new_promise(&mut self) -> VRef {
        let number = self.next_own;
        self.next_own += 1;
        own_promise(number, OURS)
    }

    /// Returns the reference by which the session can speak of a promise that is settled: a new promise, settled alike.
    fn settled_anew(&mut self, settlement: Settlement) -> VRef {
        let promise = self.new_promise();
        let Settlement { rejected, data } = settlement;
        // What names it comes first: it makes it known.
        self.later.push(Syscall::Resolve(vec![Resolution { promise, rejected, data }]));
        promise
    }
}

const EPOCH: u64 = 0;

/// The greatest number in a client's reference: three times it is a number of the session's.
const NUMBER_MAX: u64 = 1 << 53;

/// A promise of the client's, among the session's own.
const THEIRS: u64 = 0;
/// The answer to a question of the client's.
const ANSWER: u64 = 1;
/// A promise that the connection made itself.
const OURS: u64 = 2;

fn own_promise(number: u64, kind: u64) -> VRef {
    VRef::own_promise(3 * number + kind)
}

/// Returns the number and the kind of a promise of the session's own.
fn parse_own(promise: VRef) -> (u64, u64) {
    (promise.number() / 3, promise.number() % 3)
}

/// Returns how the client is told of a reference, as its sender writes it.
fn to_slot(vref: VRef) -> String {
    match (vref.kind(), vref.is_own()) {
        (VRefKind::Promise, true) => match parse_own(vref) {
            (number, ANSWER) => format!("q+{number}"),
            (number, THEIRS) => format!("p-{number}"),
            // Of those the client learns as of promises of the host.
            (number, _) => format!("p+{}", OURS_FROM + number),
        },
        (VRefKind::Promise, false) => format!("p+{}", vref.number()),
        (_, true) => format!("o-{}", vref.number()),
        (_, false) => format!("o+{}", vref.number()),
    }
}

/// The number in messages of the first promise that the connection made itself; imports are numbered below.
const OURS_FROM: u64 = 1 << 52;
