//! Directives: what the operators order at an exact crank, delivery or block. Types, parser, set, classes; no files, no kernel.
//!
//! ```text
//!   bytes ──parse──▶ Directive ──rules──▶ DirectiveSet ──due(crank, delivery)──▶ the kernel, once per crank
//!                                              └──classes(committed)──▶ pending | applied | expired | missed, at start
//! ```
//!
//! Invariants: `Display` is the canonical text, and what it prints parses to the same value; a set holds no two directives
//! that contradict; its digest depends on what it holds alone, not on comments, blanks or the order of lines; a look-up
//! depends on the numbers asked for alone, so that live run, replay, debugger and experiment get the same answer.

mod class;
mod fault;
mod grammar;
mod hex;

mod line;
pub mod plant;
mod problem;
mod rules;
mod set;
mod suggest;
mod token;

pub use class::{Applied, Class, Committed, Effect, Missed};
pub use fault::{Bit, Disturbance, SYSCALL_ERRORS, Spot, SyscallError};
pub use grammar::{FAULT_GRAMMAR, GRAMMAR};
pub use hex::{HexPrefix, HexPrefixError};
pub use problem::{Problem, Refused};
pub use rules::Contradiction;
pub use set::{DirectiveSet, Due, Placed, SetDigest, refuse_contradictions};
pub(crate) use suggest::nearest;

use std::{fmt, str::FromStr};

use crate::model::id::{BlockHeight, CrankNum, DeliveryNum, VatId};

/// A place in the history of a machine, known before it is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Trigger {
    /// `crank-7890`: before anything of that crank is translated or delivered.
    Crank(CrankNum),
    /// `v56/delivery-1234`: in the crank of that attempt to deliver to that vat.
    Delivery(VatId, DeliveryNum),
    /// `block-120`: before the first crank of that block.
    Block(BlockHeight),
    /// A place that only an experiment knows.
    Spot(Spot),
}

impl Trigger {
    /// Returns the vat of the place, if it has one.
    pub fn vat(&self) -> Option<VatId> {
        match self {
            Trigger::Delivery(vat, _) => Some(*vat),
            Trigger::Spot(spot) => spot.vat(),
            Trigger::Crank(_) | Trigger::Block(_) => None,
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::Crank(crank) => crank.fmt(f),
            Trigger::Delivery(vat, delivery) => write!(f, "{vat}/{delivery}"),
            Trigger::Block(height) => height.fmt(f),
            Trigger::Spot(spot) => spot.fmt(f),
        }
    }
}

/// Reads a place as it is written in a directive file, with the same hints.
impl FromStr for Trigger {
    type Err = Box<Problem>;
    fn from_str(text: &str) -> Result<Trigger, Box<Problem>> {
        line::parse_place(text)
    }
}

/// The action that a directive orders. The order of the variants is the order in which the directives of one crank
/// take effect.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Halt unless the state hash has this prefix there.
    Expect {
        /// A prefix of the chained hash before that place.
        state: HexPrefix,
    },
    /// Stop before that crank.
    Halt,
    /// From that block on, this version of the kernel's behaviour.
    ReplaceKernel(u32),
    /// From that block on, this version of the engine.
    ReplaceEngine(u32),
    /// Break into the debugger, if one is attached.
    Break,
    /// Replace the vat's code just before the delivery.
    Upgrade {
        /// The vat to act on.
        vat: VatId,
        /// The bundle that the vat runs from then on.
        bundle: HexPrefix,
        /// The reason, for people and for the record.
        why: Option<String>,
    },
    /// The vat receives nothing from this delivery on.
    Pause {
        /// The vat; `None` is the one of the delivery.
        vat: Option<VatId>,
        /// The reason, for people and for the record.
        why: Option<String>,
    },
    /// End the vat's pause: the deliveries that were held back go to the front of the run-queue.
    Resume(VatId),
    /// The vat dies just before the delivery.
    Terminate {
        /// The vat; `None` is the one of the delivery.
        vat: Option<VatId>,
        /// The reason, for people and for the record.
        why: Option<String>,
    },
    /// The delivery is consumed and not given to the vat.
    Skip {
        /// Halt unless the delivery is to this vat.
        guard: Option<VatId>,
        /// Halt unless the message's hash has this prefix.
        expect: Option<HexPrefix>,
    },
    /// An action that only an experiment can order.
    Disturb(Disturbance),
}

impl Action {
    /// Returns the vat that the line names, if it names one.
    pub fn vat(&self) -> Option<VatId> {
        match self {
            Action::Upgrade { vat, .. } | Action::Resume(vat) => Some(*vat),
            Action::Pause { vat, .. } | Action::Terminate { vat, .. } | Action::Skip { guard: vat, .. } => *vat,
            Action::Disturb(Disturbance::Flip { vat, .. }) => Some(*vat),
            Action::Expect { .. }
            | Action::Halt
            | Action::ReplaceKernel(_)
            | Action::ReplaceEngine(_)
            | Action::Break
            | Action::Disturb(_) => None,
        }
    }
}

struct Why<'a>(&'a Option<String>);

/// The string is one of JSON's: every text has a spelling on one line.
impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(why) => write!(f, " reason {}", grammar::quoted(why)),
            None => Ok(()),
        }
    }
}

struct Named<'a, T>(&'a str, &'a Option<T>);

impl<T: fmt::Display> fmt::Display for Named<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.as_ref().map_or(Ok(()), |it| write!(f, " {}{it}", self.0))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Expect { state } => write!(f, "expect state {state}"),
            Action::Halt => f.write_str("halt"),
            Action::ReplaceKernel(version) => write!(f, "replace-kernel {version}"),
            Action::ReplaceEngine(version) => write!(f, "replace-engine {version}"),
            Action::Break => f.write_str("break"),
            Action::Upgrade { vat, bundle, why } => write!(f, "upgrade {vat} bundle {bundle}{}", Why(why)),
            Action::Pause { vat, why } => write!(f, "pause{}{}", Named("", vat), Why(why)),
            Action::Resume(vat) => write!(f, "resume {vat}"),
            Action::Terminate { vat, why } => write!(f, "terminate{}{}", Named("", vat), Why(why)),
            Action::Skip { guard, expect } => write!(f, "skip{}{}", Named("", guard), Named("expect ", expect)),
            Action::Disturb(disturbance) => disturbance.fmt(f),
        }
    }
}

/// One line of a directive file. Sorts by place, then in the order of effect.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Directive {
    /// The place at which the directive fires.
    pub trigger: Trigger,
    /// The action that it orders.
    pub action: Action,
}

impl Directive {
    /// Returns whether the directive changes the state: then it is recorded in the store, in the slog and in the
    /// crank's hash, and all replicas must have it.
    pub fn in_consensus(&self) -> bool {
        !matches!(self.action, Action::Expect { .. } | Action::Halt | Action::Break | Action::Disturb(_))
    }

    /// Returns whether only an experiment can obey the directive.
    pub fn is_for_experiments(&self) -> bool {
        matches!(self.trigger, Trigger::Spot(_)) || matches!(self.action, Action::Disturb(_))
    }

    /// Returns the vat that the directive is about: the one named, or that of the place. `None` if only the crank
    /// will tell.
    pub fn vat(&self) -> Option<VatId> {
        self.trigger.vat().or_else(|| self.action.vat())
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Expect { .. } => write!(f, "{} before {}", self.action, self.trigger),
            action => write!(f, "{}: {action}", self.trigger),
        }
    }
}
