//! The outcome of an experiment: exactly one class, the first that matches.
//!
//! # Definitions
//!
//! * The *faulted* vats are those that the schedule names: in a place, or as what an action is about; for a fault at a crank,
//!   the vat that the crank delivers to.
//! * The *state* of a run is its rows and the heaps of its vats, except what only counts or dates: the numbers of the next
//!   crank and block, the time (unless a vat holds a device, which might tell it), the tallies of deliveries, syscalls and fuel, and the record of
//!   obeyed directives. Its *state digest* is a sum over these.
//! * The run *deviates* in the first crank after which its state is not that of the golden run after as many cranks.
//! * The *end* of a vat is its status (running, paused or terminated), its incarnation, its vatstore and its heap.
//! * What a vat was *told* is the list of its deliveries, in its own references. It was *merely told* something else if that
//!   list, in any order, is the golden run's except for notifications in which a promise is rejected.
//! * A vat is *changed* if its end is not the golden run's; where only the heap differs, and what it was told is the same
//!   in another order, it is not changed (where things lie in a heap depends on the order), unless its memory was disturbed
//!   directly.
//! * A vat that is not faulted is *hurt* if it is changed in more than the heap, or in its heap without being merely told.
//!   The outside is hurt like a vat if a result that it awaits is fulfilled with something else.
//! * A *signal* is a rejection that the golden run does not have, seen by a vat or from outside, or the fault of a vat at which
//!   the schedule does not aim.
//!
//! # Classes
//!
//! | class | when |
//! | --- | --- |
//! | NOT-REACHED | no fault's place came |
//! | NO-EFFECT | places came, and nothing could be done at any of them; `detail` says why |
//! | HARNESS | the experiment itself failed: a process that does not start or runs out of memory, a base that is not the expected one |
//! | HOST-CRASH | the host's process ended by itself |
//! | HOST-HANG | it did not end in its time |
//! | DURABILITY | after a fault of store or process, the state is neither the last block of which the process said that it is committed nor the next; or it does not open, or does not go on to the golden run's end |
//! | DIVERGED | replicas of the experiment differ in a crank's hash; or history did not repeat where a vat was brought up anew (except for a vat whose memory a fault disturbed) |
//! | KERNEL-PANIC | an invariant of the kernel broke: a clean halt, nothing of the block is committed; `detail` names it |
//! | INVARIANT | an invariant of the campaign does not hold; `detail` names it |
//! | STALLED | at its end a result from outside that the golden run settles is pending, or a vat waits for more promises than there; or the state repeats (proved), or the run is over its limit of cranks or fuel |
//! | LATENT | nothing differs at the end but the heaps of faulted vats, and nobody was told anything else: the damage is there, and has not shown |
//! | CONTAINED | faulted vats are changed, or others merely told, and nobody is hurt |
//! | SPREAD(k) | k are hurt, and there was a signal |
//! | SILENT(k) | k are hurt, and there was none |
//! | RECOVERED | the run deviated, and nobody is changed, hurt or told anything else |
//! | MASKED | it never deviated |
//!
//! After a fault of the process or the store the campaign's invariants are not asked, for their answers are known: it is DURABILITY
//! unless the state is a committed block of the golden run, to the hash, and continues to that run's end; and they hold all along it.
//!
//! A run whose state digest meets one of the golden run's, when no fault is left that could come, ends there: all that
//! follows is the golden run's. One whose state repeats will do so for ever.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lab::Schedule;

/// The class of an experiment. The order is that in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
#[expect(missing_docs, reason = "the table above says what each is")]
pub enum Class {
    NotReached,
    NoEffect,
    Harness,
    HostCrash,
    HostHang,
    Durability,
    Diverged,
    KernelPanic,
    Invariant,
    Stalled,
    Latent,
    Contained,
    Spread,
    Silent,
    Recovered,
    Masked,
}

impl Class {
    /// All classes, in order.
    pub const ALL: [Class; 16] = [
        Class::NotReached,
        Class::NoEffect,
        Class::Harness,
        Class::HostCrash,
        Class::HostHang,
        Class::Durability,
        Class::Diverged,
        Class::KernelPanic,
        Class::Invariant,
        Class::Stalled,
        Class::Latent,
        Class::Contained,
        Class::Spread,
        Class::Silent,
        Class::Recovered,
        Class::Masked,
    ];

    /// Returns the class's name.
    pub fn name(self) -> &'static str {
        match self {
            Class::NotReached => "NOT-REACHED",
            Class::NoEffect => "NO-EFFECT",
            Class::Harness => "HARNESS",
            Class::HostCrash => "HOST-CRASH",
            Class::HostHang => "HOST-HANG",
            Class::Durability => "DURABILITY",
            Class::Diverged => "DIVERGED",
            Class::KernelPanic => "KERNEL-PANIC",
            Class::Invariant => "INVARIANT",
            Class::Stalled => "STALLED",
            Class::Latent => "LATENT",
            Class::Contained => "CONTAINED",
            Class::Spread => "SPREAD",
            Class::Silent => "SILENT",
            Class::Recovered => "RECOVERED",
            Class::Masked => "MASKED",
        }
    }

    /// Returns whether it is a bug of the host, whatever was done to it.
    pub fn is_ours(self) -> bool {
        matches!(self, Class::HostCrash | Class::HostHang | Class::Durability | Class::Diverged)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fate of one fault of the schedule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// The fault's position in the schedule, from 0.
    pub fault: usize,
    /// The crank in which its place came first; `None` where that is a commit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub crank: Option<u64>,
    /// How often its place came.
    pub times: u64,
    /// Why nothing was done there, where nothing was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why_not: Option<String>,
}

/// A step on the way of the damage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The crank's number.
    pub crank: u64,
    /// The vat: `v3`.
    pub vat: String,
    /// What was unlike the golden run there: `rejection`, `message`, `notify`, `missing`, `fault`, …
    pub what: String,
}

/// One result: a line of `results.jsonl`. It holds nothing that differs from run to run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The experiment's name: 16 digits of the hash of base, build, seed and schedule.
    pub id: String,
    /// The schedule, a line a fault.
    pub faults: Schedule,
    /// The seed of all that is random.
    pub seed: u64,
    /// The class of the outcome.
    pub class: Class,
    /// How many are hurt, in the classes that count them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hurt_count: Option<usize>,
    /// The invariant, the reason, what differs: one line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The faults whose places came.
    pub done: Vec<Done>,
    /// The crank in which the run deviated first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deviated: Option<u64>,
    /// The hurt vats, in the order in which their histories left the golden run's; `outside` last.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub hurt: Vec<String>,
    /// How the damage went, the first steps.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub path: Vec<Step>,
    /// What the campaign's watchers noted: the names of those `sometimes` that held.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub noted: Vec<String>,
    /// The values that a broken invariant saw: the sides of its comparisons, and what is not as in the golden run.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub saw: Vec<String>,
    /// How the run ended: `quiescent`, `met-golden`, `repeats`, `limit`, `until`, `halted`, `process`.
    pub end: String,
    /// The number of the first crank that did not run.
    pub cranks: u64,
    /// What to give to `vathost fault repro`.
    pub token: String,
}

impl Outcome {
    /// Returns what a shrunk schedule must keep: the class, what it names, and who is hurt.
    pub fn signature(&self) -> (Class, Option<&str>, &[String]) {
        let named = matches!(self.class, Class::KernelPanic | Class::Invariant).then_some(self.detail.as_deref());
        (self.class, named.flatten(), &self.hurt)
    }

    /// The class as people read it: `SPREAD(3)`.
    pub fn label(&self) -> String {
        match (self.class, self.hurt_count) {
            (Class::Spread | Class::Silent, Some(count)) => format!("{}({count})", self.class),
            _ => self.class.to_string(),
        }
    }
}
