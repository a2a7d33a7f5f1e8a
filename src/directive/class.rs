//! Past, spent and missing directives: death before confusion.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    directive::{Action, Directive, DirectiveSet, SetDigest, Trigger},
    model::id::{BlockHeight, CrankNum, DeliveryNum, VatId},
};

/// The record of an in-consensus directive that was obeyed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// In this crank.
    pub crank: CrankNum,
    /// The directive's canonical text.
    pub text: String,
    /// The digest of the set that held it.
    pub digest: SetDigest,
    /// The effect of the directive.
    pub effect: Effect,
}

/// The effect of a directive that was obeyed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Effect {
    /// The directive was done as it says.
    #[default]
    Done,
    /// Nothing: the vat was paused already.
    AlreadyPaused,
    /// Nothing: the vat was not paused.
    NotPaused,
    /// Nothing: the vat was dead already.
    AlreadyDead,
    /// Nothing: the kernel had that version already, or a later one.
    AlreadyThere,
    /// The directive was done as it says, and the skipped item was no delivery: this queue entry.
    Consumed(String),
}

impl Effect {
    /// Returns the effect as the status of the directive, in the slog and in the summary of a run.
    pub fn status(&self) -> &'static str {
        match self {
            Effect::Done | Effect::Consumed(_) => "applied",
            Effect::AlreadyPaused => "no effect: already paused",
            Effect::NotPaused => "no effect: not paused",
            Effect::AlreadyDead => "no effect: already dead",
            Effect::AlreadyThere => "no effect: that version runs already",
        }
    }

    /// Returns the queue entry that a `skip` consumed, if that was no delivery.
    pub fn consumed(&self) -> Option<&str> {
        match self {
            Effect::Consumed(entry) => Some(entry),
            _ => None,
        }
    }
}

/// The position of a state: what the class of a directive is decided by.
pub struct Committed<'a> {
    /// The number of the crank that will run next.
    pub next_crank: CrankNum,
    /// The last block that was begun, open or not.
    pub height: BlockHeight,
    /// The version of the kernel that it committed with.
    pub kernel_version: u32,
    /// The version of the engine that it committed with.
    pub engine_version: u32,
    /// The number of the next delivery to a vat; 0 for a vat that does not exist yet.
    pub next_delivery: &'a dyn Fn(VatId) -> DeliveryNum,
    /// All records there are.
    pub applied: &'a [Applied],
}

impl fmt::Debug for Committed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed")
            .field("next_crank", &self.next_crank)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}

impl Committed<'_> {
    /// Returns whether the place has passed: what is there has run.
    fn is_past(&self, trigger: Trigger) -> bool {
        match trigger {
            Trigger::Crank(crank) => crank < self.next_crank,
            Trigger::Delivery(vat, delivery) => delivery < (self.next_delivery)(vat),
            Trigger::Block(height) => height <= self.height,
            // A set of directives holds none; an experiment asks its own run.
            Trigger::Spot(_) => false,
        }
    }
}

/// The class of a directive at the start of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// The place is still to come.
    Pending,
    /// The directive was obeyed in this crank.
    Applied(CrankNum),
    /// A kernel or an engine of that version or a later one runs already.
    Expired,
    /// The place has passed, and there is no record of the directive. No records are kept of directives outside
    /// consensus: for them nothing more can be said, and it is harmless.
    Missed,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Class::Pending => f.write_str("pending"),
            Class::Applied(crank) => write!(f, "applied at {crank}"),
            Class::Expired => f.write_str("expired"),
            Class::Missed => f.write_str("missed"),
        }
    }
}

impl Directive {
    /// Returns the directive's class in a state at that position.
    pub fn class(&self, committed: &Committed<'_>) -> Class {
        let text = self.to_string();
        if let Some(record) = committed.applied.iter().find(|it| it.text == text) {
            return Class::Applied(record.crank);
        }
        match self.action {
            Action::ReplaceKernel(version) if version <= committed.kernel_version => Class::Expired,
            Action::ReplaceEngine(version) if version <= committed.engine_version => Class::Expired,
            _ if committed.is_past(self.trigger) => Class::Missed,
            _ => Class::Pending,
        }
    }
}

impl DirectiveSet {
    /// Refuses a start with directives that all replicas should have obeyed and this state did not.
    ///
    /// # Errors
    ///
    /// All of them.
    pub fn refuse_missed(&self, committed: &Committed<'_>) -> Result<(), Missed> {
        let is_missed = |it: &&Directive| it.in_consensus() && it.class(committed) == Class::Missed;
        let missed: Vec<Directive> = self.iter().filter(is_missed).cloned().collect();
        if missed.is_empty() { Ok(()) } else { Err(Missed(missed)) }
    }
}

/// In-consensus directives whose places lie behind the state, which has no record of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed(pub Vec<Directive>);

impl Missed {
    /// The two ways out.
    pub const HINT: &'static str =
        "restore a state from before that place, or start with --accept-missed-directives to go on without";
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state is past these directives and has no record of them:")?;
        self.0.iter().try_for_each(|it| write!(f, "\n    {it}"))?;
        write!(f, "\n  {}", Missed::HINT)
    }
}

impl std::error::Error for Missed {}
