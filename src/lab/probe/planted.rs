//! Planted bugs: bugs of the kernel's own, on order, to rehearse what they lead to. Only for states made as experimental.
//! A bug that lasts does so until the kernel is replaced, so that this can be rehearsed: in a state that began with an older one.
//!
//! Every invariant of the table in `kernel` can be tripped by its name at a chosen crank. The others are realistic bugs:
//!
//! * `resolve-non-decider`: from that crank on the authority check is missing at the boundary, and a guest's lie meets the
//!   invariant behind it (in SwingSet the check stands on that side, and a vat can panic the kernel).
//! * `lost-decref`: a count that is never given back. Nothing notices until an audit.
//! * `poison-queue`: an entry in the run-queue whose routing panics, in a later crank that has no vat to blame.
//! * `replay-charges`: a replay leaves a mark in the state, so that replicas differ by who was evicted when.
//! * `half-commit`: a block is written in two transactions, and the process ends between them: neither state is left.
//! * `host-abort`, `host-hang`: the process ends, or never ends.

use std::{fmt, str::FromStr};

use crate::{
    directive::plant::{DEADLY, LASTING, PLANTS},
    model::id::CrankNum,
};

/// A fault of the kernel, and the place at which it is planted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlantedBug {
    /// The name of an invariant, or of a realistic bug.
    pub name: &'static str,
    /// The place of the fault.
    pub at: PlantedAt,
}

/// The place where a fault is planted. A fault that a message's content triggers is like a real bug of the kernel: a
/// `skip` of the message avoids it, a `pause` puts it off, and an `upgrade` of the vat does not touch it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlantedAt {
    /// `crank-12`: whatever that crank does.
    Crank(CrankNum),
    /// `method-deposit`: wherever a message with this method is delivered.
    Method(String),
    /// Every delivery of the message whose hash has this prefix: `message-5f3a9c01`. At least eight hexadecimal
    /// digits.
    Message(String),
}

impl PlantedBug {
    /// Makes a fault that is planted in this crank.
    pub fn in_crank(name: &'static str, crank: CrankNum) -> PlantedBug {
        PlantedBug { name, at: PlantedAt::Crank(crank) }
    }

    /// Returns whether the fault breaks this crank, which is about to deliver a message of this method and hash, if
    /// any.
    pub fn is_due(&self, crank: CrankNum, message: Option<(&str, &str)>) -> bool {
        match (&self.at, message) {
            (PlantedAt::Crank(at), _) => *at == crank,
            (PlantedAt::Method(wanted), Some((method, _))) => wanted == method,
            (PlantedAt::Message(wanted), Some((_, hash))) => hash.starts_with(wanted.as_str()),
            (_, None) => false,
        }
    }

    /// Returns whether the fault was planted in an earlier crank.
    pub fn is_before(&self, crank: CrankNum) -> bool {
        matches!(self.at, PlantedAt::Crank(at) if at < crank)
    }

    /// Returns whether the fault was planted in this crank or an earlier one.
    pub fn is_since(&self, crank: CrankNum) -> bool {
        matches!(self.at, PlantedAt::Crank(at) if at <= crank)
    }
}

/// A text that names no plant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a plant like `object.counts@crank-12`, `object.counts@method-deposit` or `object.counts@message-5f3a9c01` \
     (what lasts, or ends the process, needs a crank); there are: {known}", known = PLANTS.join(", "))]
pub struct ParsePlantError(String);

impl FromStr for PlantedBug {
    type Err = ParsePlantError;
    fn from_str(text: &str) -> Result<PlantedBug, ParsePlantError> {
        let parsed = text.split_once('@').and_then(|(name, at)| {
            let name = *PLANTS.iter().find(|it| **it == name)?;
            let at: PlantedAt = at.parse().ok()?;
            // What lasts, or ends the process, does so from a crank on.
            let needs_crank = LASTING.contains(&name) || DEADLY.contains(&name);
            (!needs_crank || matches!(at, PlantedAt::Crank(_))).then_some(PlantedBug { name, at })
        });
        parsed.ok_or_else(|| ParsePlantError(text.to_owned()))
    }
}

impl FromStr for PlantedAt {
    type Err = ();
    fn from_str(text: &str) -> Result<PlantedAt, ()> {
        if let Some(method) = text.strip_prefix("method-").filter(|it| !it.is_empty()) {
            return Ok(PlantedAt::Method(method.to_owned()));
        }
        if let Some(hash) = text.strip_prefix("message-") {
            let is_hash = (8..=64).contains(&hash.len()) && hash.bytes().all(|it| it.is_ascii_hexdigit());
            return if is_hash { Ok(PlantedAt::Message(hash.to_ascii_lowercase())) } else { Err(()) };
        }
        text.parse().map(PlantedAt::Crank).map_err(|_| ())
    }
}

impl fmt::Display for PlantedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlantedAt::Crank(crank) => crank.fmt(f),
            PlantedAt::Method(method) => write!(f, "method-{method}"),
            PlantedAt::Message(hash) => write!(f, "message-{hash}"),
        }
    }
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.at)
    }
}
