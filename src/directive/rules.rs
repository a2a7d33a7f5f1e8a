//! Rules for directives that make no sense, alone or together.

use std::fmt;

use crate::{
    directive::{Action, Directive, Disturbance, Spot, SyscallError, Trigger, grammar::Reader},
    model::id::{BlockHeight, VatId},
};

/// A directive that a set cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The directive that is refused.
    pub directive: Directive,
    /// The directive that the set holds already and that this one contradicts; `None` if this one makes no sense by
    /// itself.
    pub other: Option<Directive>,
    /// The reason for the refusal.
    pub why: String,
    /// The part of the line to blame.
    pub(super) part: Part,
    /// The reader whose file the directive does not belong in, if that is the only reason.
    pub(super) reader: Option<Reader>,
}

/// A part of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Place,
    Verb,
    Vat,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.other {
            Some(other) => write!(f, "`{}` contradicts `{other}`: {}", self.directive, self.why),
            None if self.reader.is_some() => write!(f, "`{}` is not for this: {}", self.directive, self.why),
            None => write!(f, "`{}` makes no sense: {}", self.directive, self.why),
        }
    }
}

impl std::error::Error for Contradiction {}

/// Checks that a directive belongs in the reader's file.
pub(super) fn readable(reader: Reader, directive: &Directive) -> Result<(), Box<Contradiction>> {
    let refuse = |part, why: &str| {
        let (directive, why) = (directive.clone(), why.to_owned());
        Err(Box::new(Contradiction { directive, other: None, why, part, reader: Some(reader) }))
    };
    let part = if matches!(directive.trigger, Trigger::Spot(_)) { Part::Place } else { Part::Verb };
    match (reader, &directive.action) {
        (Reader::Operator, _) if directive.is_for_experiments() => {
            refuse(part, "only an experiment does this, on a copy of a state: `vathost fault one STATE LINE`")
        }
        (
            Reader::Experiment,
            Action::Expect { .. } | Action::Halt | Action::Break | Action::ReplaceKernel(_) | Action::ReplaceEngine(_),
        ) => refuse(Part::Verb, "this is no fault: it is for the directive file of a host"),
        _ => Ok(()),
    }
}

/// Checks that a fault of an experiment can be done at that place.
fn fits(trigger: &Trigger, action: &Action) -> Result<(), &'static str> {
    use Action::{Disturb, Pause, Skip, Terminate};
    let at_syscall =
        matches!(action, Disturb(Disturbance::Error(_) | Disturbance::Value(_) | Disturbance::KernelPanic(_)));
    let in_store = matches!(action, Disturb(it) if it.needs_process() && !matches!(it, Disturbance::Plant(_)));
    let at_delivery = match action {
        Disturb(_) => !in_store && (!at_syscall || matches!(action, Disturb(Disturbance::KernelPanic(_)))),
        _ => true,
    };
    let kills = matches!(action, Disturb(Disturbance::Kill));
    match trigger {
        Trigger::Block(_) => Err("a fault happens in a crank, a delivery, a syscall or a commit: a block is none"),
        Trigger::Crank(_) | Trigger::Delivery(..) if at_delivery || kills => Ok(()),
        Trigger::Crank(_) | Trigger::Delivery(..) if in_store => Err("this happens in a commit, as in `commit-4`"),
        Trigger::Crank(_) | Trigger::Delivery(..) => {
            Err("this happens at a syscall, as in `v2/delivery-7/syscall-0` or `v2/syscall-vatstoreGet-5`")
        }
        Trigger::Spot(Spot::DeliveryEvery(_, 0)) => Err("every 0th is none"),
        Trigger::Spot(Spot::DeliveryEvery(..)) if at_delivery => Ok(()),
        Trigger::Spot(Spot::DeliveryEvery(..)) => Err("this cannot be done at a delivery"),
        Trigger::Spot(Spot::DeliveryEnd(..)) => match action {
            Pause { .. } | Terminate { .. } => Ok(()),
            Disturb(Disturbance::Flip { .. } | Disturbance::KernelPanic(_) | Disturbance::Plant(_)) => Ok(()),
            Skip { .. } => Err("at its end a delivery has run"),
            _ => Err("this cannot be done when a delivery has run"),
        },
        Trigger::Spot(Spot::SyscallOfKind(_, _, 0)) => Err("syscalls of a kind are counted from 1"),
        Trigger::Spot(Spot::SyscallOfKind(_, kind, _)) => match action {
            Disturb(Disturbance::Value(_) | Disturbance::Error(SyscallError::Absent)) if !answers(kind) => {
                Err("a syscall of this kind answers with nothing")
            }
            _ if at_syscall => Ok(()),
            _ => Err("this cannot be done at a syscall"),
        },
        Trigger::Spot(Spot::Syscall(..)) if at_syscall => Ok(()),
        Trigger::Spot(Spot::Syscall(..)) => Err("this cannot be done at a syscall"),
        Trigger::Spot(Spot::Commit(BlockHeight(0)) | Spot::StoreOp(BlockHeight(0), _)) => {
            Err("block 0 is the genesis: an experiment begins after its commit")
        }
        Trigger::Spot(Spot::StoreOp(_, 0)) => Err("the operations of a commit are counted from 1"),
        Trigger::Spot(Spot::Commit(_) | Spot::StoreOp(..)) if in_store => Ok(()),
        Trigger::Spot(Spot::Commit(_) | Spot::StoreOp(..)) => Err("this is done in a crank, and a commit is none"),
    }
}

/// Returns whether syscalls of this kind answer with data.
fn answers(kind: &str) -> bool {
    ["vatstoreGet", "vatstoreGetNextKey", "vatstoreScan", "callNow"].contains(&kind)
}

/// Checks that a directive makes sense by itself.
pub(super) fn alone(directive: &Directive) -> Result<(), Box<Contradiction>> {
    let refuse = |part, why: String| {
        Err(Box::new(Contradiction { directive: directive.clone(), other: None, why, part, reader: None }))
    };
    if directive.is_for_experiments()
        && let Err(why) = fits(&directive.trigger, &directive.action)
    {
        return refuse(Part::Place, why.to_owned());
    }
    match (&directive.trigger, &directive.action) {
        (Trigger::Block(BlockHeight(0)), _) => {
            refuse(Part::Place, "block 0 is the genesis, it runs no crank".to_owned())
        }
        (Trigger::Block(_), _) => Ok(()),
        (_, Action::ReplaceKernel(_)) => refuse(
            Part::Place,
            "the kernel is replaced between two blocks: name the block, as in `block-120`".to_owned(),
        ),
        (_, Action::ReplaceEngine(_)) => refuse(
            Part::Place,
            "the engine is replaced between two blocks: name the block, as in `block-120`".to_owned(),
        ),
        // A bit turns over wherever it is, whenever.
        (_, Action::Disturb(_)) | (Trigger::Crank(_), _) => Ok(()),
        (trigger, action) => match trigger.vat().zip(action.vat()) {
            Some((vat, other)) if other != vat => refuse(
                Part::Vat,
                format!("the place is a delivery to {vat}: name {vat}, or nobody, or a crank as the place"),
            ),
            _ => Ok(()),
        },
    }
}

/// Checks that two directives of one place can both be in a set.
pub(super) fn together(directive: &Directive, other: &Directive) -> Result<(), Box<Contradiction>> {
    match repetition(directive, other).or_else(|| conflict(directive, other, None)) {
        Some(why) => Err(contradiction(directive, other, why)),
        None => Ok(()),
    }
}

/// Checks that two directives that fire in one crank, a delivery to `to`, can both be obeyed.
pub(super) fn at_once(directive: &Directive, other: &Directive, to: Option<VatId>) -> Result<(), Box<Contradiction>> {
    conflict(directive, other, to).map_or(Ok(()), |why| Err(contradiction(directive, other, why)))
}

fn contradiction(directive: &Directive, other: &Directive, why: &str) -> Box<Contradiction> {
    let (directive, other) = (directive.clone(), Some(other.clone()));
    Box::new(Contradiction { directive, other, why: why.to_owned(), part: Part::Verb, reader: None })
}

/// Returns the reason why one of two lines of one place is too many, though both can be obeyed.
fn repetition(a: &Directive, b: &Directive) -> Option<&'static str> {
    let same_kind = match (&a.action, &b.action) {
        (Action::Pause { .. }, Action::Pause { .. }) | (Action::Terminate { .. }, Action::Terminate { .. }) => true,
        _ if a == b => return Some("it is the same line twice"),
        _ => false,
    };
    (same_kind && a.vat() == b.vat()).then_some("one line, with one reason, will do")
}

/// Returns whether two disturbances of this kind at one place exclude each other.
fn is_once(disturbance: &Disturbance) -> bool {
    !matches!(disturbance, Disturbance::Plant(_) | Disturbance::Flip { .. })
}

fn conflict(a: &Directive, b: &Directive, to: Option<VatId>) -> Option<&'static str> {
    one_way(a, b, to).or_else(|| one_way(b, a, to))
}

/// Returns the reason why these two, in this order of kinds, cannot both be obeyed. While a file is read the vat of a
/// crank is not known: `crank-7: skip` and `crank-7: pause v7` contradict if that crank is a delivery to v7, which
/// only the kernel will see.
fn one_way(a: &Directive, b: &Directive, to: Option<VatId>) -> Option<&'static str> {
    use Action::{Disturb, Expect, Pause, ReplaceEngine, ReplaceKernel, Resume, Skip, Terminate, Upgrade};
    let vat = |it: &Directive| it.vat().or(to);
    let same_vat = vat(a) == vat(b);
    // A skip is always about the delivery of its place, and so is whatever names no vat.
    let same_delivery = same_vat || vat(b).is_none();
    match (&a.action, &b.action) {
        (Skip { .. }, Pause { .. }) if same_delivery => Some("a delivery is either skipped or kept for later"),
        (Skip { .. }, Terminate { .. }) if same_delivery => Some("a delivery is either skipped or meets a dead vat"),
        (Skip { expect: x, .. }, Skip { expect: y, .. }) => {
            let vats = vat(a).is_some() && vat(b).is_some() && !same_vat;
            let hashes = x.as_ref().zip(y.as_ref()).is_some_and(|(x, y)| !x.agrees_with(y));
            (vats || hashes).then_some("both guards cannot hold: one of the two would halt the host")
        }
        (Pause { .. }, Resume(_)) if same_vat => Some("a vat is either paused or resumed"),
        (Pause { .. }, Terminate { .. }) if same_vat => Some("a vat is either paused or dead"),
        (Upgrade { .. }, Terminate { .. }) if same_vat => Some("a vat is either upgraded or dead"),
        (Upgrade { .. }, Upgrade { .. }) if same_vat => Some("a vat is upgraded once at one place"),
        (ReplaceKernel(_), ReplaceKernel(_)) => Some("one block runs one version of the kernel"),
        (ReplaceEngine(_), ReplaceEngine(_)) => Some("one block runs one version of the engine"),
        (Disturb(Disturbance::Delay { .. } | Disturbance::Duplicate), Skip { .. }) => {
            Some("a delivery is either skipped or made, late or twice")
        }
        (Disturb(x), Disturb(y)) if std::mem::discriminant(x) == std::mem::discriminant(y) && is_once(x) => {
            Some("this can be done once at one place")
        }
        (Disturb(Disturbance::Delay { .. }), Disturb(Disturbance::Duplicate)) => {
            Some("a delivery is either late or twice")
        }
        (Disturb(Disturbance::Error(_)), Disturb(Disturbance::Value(_))) => Some("a syscall answers once"),
        (Expect { state: x }, Expect { state: y }) if !x.agrees_with(y) => Some("no hash begins with both"),
        _ => None,
    }
}
