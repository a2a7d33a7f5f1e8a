//! Planted faults: bugs of the kernel's own, on order, to rehearse what they lead to. Only for states made as experimental.
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

use crate::model::id::CrankNum;

/// A fault of the kernel, and the place at which it is planted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plant {
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

impl Plant {
    /// Makes a fault that is planted in this crank.
    pub fn in_crank(name: &'static str, crank: CrankNum) -> Plant {
        Plant { name, at: PlantedAt::Crank(crank) }
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

/// Every fault that can be planted.
pub const PLANTS: &[&str] = &[
    "object.known",
    "object.counts",
    "promise.known",
    "promise.refs",
    "promise.settled-once",
    "promise.decider",
    "promise.policy",
    "clist.known",
    "vat.known",
    "vat.critical",
    "worker.brought-up",
    "kernel.no-panic",
    "audit.clist-bijection",
    "audit.clist-target",
    "audit.object-counts",
    "audit.promise-refs",
    "audit.decider",
    "audit.settlement",
    "audit.queue",
    "audit.reap",
    "audit.dead-vat",
    RESOLVE_NON_DECIDER,
    LOST_DECREF,
    POISON_QUEUE,
    REPLAY_CHARGES,
    HALF_COMMIT,
    HOST_ABORT,
    HOST_HANG,
];

/// The authority check is missing at the boundary, from that crank on.
pub const RESOLVE_NON_DECIDER: &str = "resolve-non-decider";
/// A count is never given back.
pub const LOST_DECREF: &str = "lost-decref";

/// The plant that puts an entry whose routing panics into the run-queue: the panic comes in a later crank, which has
/// no vat.
pub const POISON_QUEUE: &str = "poison-queue";
/// From that crank on, a vat that is brought up by replay pays for the replay: a state that depends on who was evicted when.
pub const REPLAY_CHARGES: &str = "replay-charges";
/// From that crank on, a block is written in two transactions.
pub const HALF_COMMIT: &str = "half-commit";
/// The process aborts, as where a native stack overflows.
pub const HOST_ABORT: &str = "host-abort";
/// The host goes round for ever.
pub const HOST_HANG: &str = "host-hang";

/// The function that ends a process that was made to die, for a plant of this name: [`HOST_ABORT`], [`HOST_HANG`] or
/// [`HALF_COMMIT`].
pub type End = fn(&str);

/// Plants that end their process. Only a process that was made to die allows them; others refuse them.
pub const DEADLY: &[&str] = &[HALF_COMMIT, HOST_ABORT, HOST_HANG];

/// Plants that are in force from their crank on, and not only in it.
pub const LASTING: &[&str] = &[RESOLVE_NON_DECIDER, REPLAY_CHARGES, HALF_COMMIT];

/// A text that names no plant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a plant like `object.counts@crank-12`, `object.counts@method-deposit` or `object.counts@message-5f3a9c01` \
     (what lasts, or ends the process, needs a crank); there are: {known}", known = PLANTS.join(", "))]
pub struct ParsePlantError(String);

impl FromStr for Plant {
    type Err = ParsePlantError;
    fn from_str(text: &str) -> Result<Plant, ParsePlantError> {
        let parsed = text.split_once('@').and_then(|(name, at)| {
            let name = *PLANTS.iter().find(|it| **it == name)?;
            let at: PlantedAt = at.parse().ok()?;
            // What lasts, or ends the process, does so from a crank on.
            let needs_crank = LASTING.contains(&name) || DEADLY.contains(&name);
            (!needs_crank || matches!(at, PlantedAt::Crank(_))).then_some(Plant { name, at })
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

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.at)
    }
}
