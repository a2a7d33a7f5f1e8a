//! Which directives make no sense, alone or together.

use std::fmt;

use crate::{
    directive::{Action, Directive, Trigger},
    id::{BlockHeight, VatId},
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
pub(super) fn alone(directive: &Directive) -> Result<(), Box<Contradiction>> {
    let refuse =
        |part, why: String| Err(Box::new(Contradiction { directive: directive.clone(), other: None, why, part }));
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

/// Whether two directives of one place can both be in a set.
pub(super) fn together(directive: &Directive, other: &Directive) -> Result<(), Box<Contradiction>> {
    match repetition(directive, other).or_else(|| conflict(directive, other, None)) {
        Some(why) => Err(contradiction(directive, other, why)),
        None => Ok(()),
    }
}

/// Whether two directives that fire in one crank, a delivery to `to`, can both be obeyed.
pub(super) fn at_once(directive: &Directive, other: &Directive, to: Option<VatId>) -> Result<(), Box<Contradiction>> {
    conflict(directive, other, to).map_or(Ok(()), |why| Err(contradiction(directive, other, why)))
}

fn contradiction(directive: &Directive, other: &Directive, why: &str) -> Box<Contradiction> {
    let (directive, other) = (directive.clone(), Some(other.clone()));
    Box::new(Contradiction { directive, other, why: why.to_owned(), part: Part::Verb })
}

/// Why two lines of one place are one too many, though both can be obeyed.
fn repetition(a: &Directive, b: &Directive) -> Option<&'static str> {
    let same_kind = match (&a.action, &b.action) {
        (Action::Pause { .. }, Action::Pause { .. }) | (Action::Terminate { .. }, Action::Terminate { .. }) => true,
        _ if a == b => return Some("it is the same line twice"),
        _ => false,
    };
    (same_kind && a.vat() == b.vat()).then_some("one line, with one reason, will do")
}

fn conflict(a: &Directive, b: &Directive, to: Option<VatId>) -> Option<&'static str> {
    one_way(a, b, to).or_else(|| one_way(b, a, to))
}

/// Why these two, in this order of kinds, cannot both be obeyed. While a file is read the vat of a crank is not known:
/// `crank-7: skip` and `crank-7: pause v7` contradict if that crank is a delivery to v7, which only the kernel will see.
fn one_way(a: &Directive, b: &Directive, to: Option<VatId>) -> Option<&'static str> {
    use Action::{Expect, Pause, ReplaceKernel, Resume, Skip, Terminate, Upgrade};
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
        (Expect { state: x }, Expect { state: y }) if !x.agrees_with(y) => Some("no hash begins with both"),
        _ => None,
    }
}
