//! Which directives make no sense, alone or together.

use std::fmt;

use crate::{
    directive::{Action, Directive, Trigger},
    id::BlockHeight,
};

/// A directive that a set cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// It.
    pub directive: Directive,
    /// The one that the set holds already and that it contradicts; `None` where it makes no sense by itself.
    pub other: Option<Directive>,
    /// Why.
    pub why: String,
    /// The part of the line to blame.
    pub(super) part: Part,
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
            None => write!(f, "`{}` makes no sense: {}", self.directive, self.why),
        }
    }
}

impl std::error::Error for Contradiction {}

/// Whether a directive makes sense by itself.
pub(super) fn alone(directive: &Directive) -> Result<(), Contradiction> {
    let refuse = |part, why: String| Err(Contradiction { directive: directive.clone(), other: None, why, part });
    match (&directive.trigger, &directive.action) {
        (Trigger::Block(BlockHeight(0)), _) => {
            refuse(Part::Place, "block 0 is the genesis, it runs no crank".to_owned())
        }
        (Trigger::Block(_), Action::ReplaceKernel(_) | Action::Expect { .. } | Action::Halt | Action::Break) => Ok(()),
        (Trigger::Block(_), _) => refuse(
            Part::Place,
            "this is done at a delivery, and a block is none: name a crank, or a vat and its delivery".to_owned(),
        ),
        (_, Action::ReplaceKernel(_)) => refuse(
            Part::Place,
            "the kernel is replaced between two blocks: name the block, as in `block-120`".to_owned(),
        ),
        (Trigger::Delivery(vat, _), action) => match action.vat() {
            Some(other) if other != *vat => refuse(
                Part::Vat,
                format!("the place is a delivery to {vat}: name {vat}, or nobody, or a crank as the place"),
            ),
            _ => Ok(()),
        },
        (Trigger::Crank(_), _) => Ok(()),
    }
}

/// Whether two directives of one place can both be obeyed.
pub(super) fn together(directive: &Directive, other: &Directive) -> Result<(), Contradiction> {
    match conflict(directive, other).or_else(|| conflict(other, directive)) {
        Some(why) => Err(Contradiction {
            directive: directive.clone(),
            other: Some(other.clone()),
            why: why.to_owned(),
            part: Part::Verb,
        }),
        None => Ok(()),
    }
}

/// Why these two, in this order of kinds, cannot both be obeyed. Only what the lines say is known here: `crank-7: skip` and
/// `crank-7: pause v7` contradict if that crank is a delivery to v7, which only the kernel will see.
fn conflict(a: &Directive, b: &Directive) -> Option<&'static str> {
    use Action::{Expect, Pause, ReplaceKernel, Resume, Skip, Terminate, Upgrade};
    if a == b {
        return Some("it is the same line twice");
    }
    let same_vat = a.vat() == b.vat();
    // A skip is always about the delivery of its place, and so is whatever names no vat.
    let of_the_delivery = |it: &Directive| it.vat().is_none();
    let same_delivery = same_vat || of_the_delivery(b);
    match (&a.action, &b.action) {
        (Skip { .. }, Pause { .. }) if same_delivery => Some("a delivery is either skipped or kept for later"),
        (Skip { .. }, Terminate { .. }) if same_delivery => Some("a delivery is either skipped or meets a dead vat"),
        (Skip { expect: x, .. }, Skip { expect: y, .. }) => {
            let vats = a.vat().is_some() && b.vat().is_some() && !same_vat;
            let hashes = x.as_ref().zip(y.as_ref()).is_some_and(|(x, y)| !x.agrees_with(y));
            (vats || hashes).then_some("both guards cannot hold: one of the two would halt the host")
        }
        (Pause { .. }, Resume(_)) if same_vat => Some("a vat is either paused or resumed"),
        (Pause { .. }, Terminate { .. }) if same_vat => Some("a vat is either paused or dead"),
        (Upgrade { .. }, Terminate { .. }) if same_vat => Some("a vat is either upgraded or dead"),
        (Upgrade { .. }, Upgrade { .. }) if same_vat => Some("a vat is upgraded once at one place"),
        (Pause { .. }, Pause { .. }) | (Terminate { .. }, Terminate { .. }) if same_vat => {
            Some("one line, with one reason, will do")
        }
        (ReplaceKernel(_), ReplaceKernel(_)) => Some("one block runs one version of the kernel"),
        (Expect { state: x }, Expect { state: y }) if !x.agrees_with(y) => Some("no hash begins with both"),
        _ => None,
    }
}
