//! A campaign's own invariants: asked while an experiment runs.

use serde_json::Value;

use crate::{lab::experiment::Golden, state::block::Block};

/// The times at which an invariant is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// After every crank.
    EveryCrank,
    /// After every block.
    EveryBlock,
    /// When the run has ended.
    End,
}

/// The point of a run that an invariant is asked about.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The state at that point.
    pub block: &'a Block,
    /// The golden run.
    pub golden: &'a Golden,
    /// When it is asked.
    pub when: When,
    /// What happened since the base, as the slog has it: only where a watcher needs history.
    pub events: &'a [Value],
}

/// The answer of a watcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// All is well.
    Holds,
    /// All is well, and what is only to be now and then is: goes into the outcome.
    Noted,
    /// The invariant is broken.
    Broken,
}

/// A watcher that is of no use: the golden run is not what it says, or it does not say.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the invariant `{name}` {what}")]
pub struct Useless {
    /// The invariant's name.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
}

/// The part of a run that a watcher looks at, from little to much.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Looks {
    /// Rows that the state digest is of: equal states give equal answers.
    State,
    /// Also at what it is not of: numbers of cranks, blocks and deliveries, the chained hash. Then what was seen of one
    /// experiment says nothing of another.
    Numbers,
    /// Also at what happened since the base: then no experiment ends early.
    History,
}

/// An invariant that is asked during a run.
/// It must hold of the golden run: an experiment that meets that is not asked again. What it answers depends on
/// what it is shown alone.
pub trait Watcher: Send {
    /// Returns the invariant's name.
    fn name(&self) -> &str;

    /// When it is to be asked.
    fn when(&self) -> When;

    /// An experiment begins.
    fn begin(&mut self) {}

    /// Whether it holds.
    ///
    /// # Errors
    ///
    /// Why that cannot be said: the experiment is then of the class HARNESS.
    fn ask(&mut self, view: &View<'_>) -> Result<Answer, String>;

    /// Says what the invariant saw where it is broken, for people: a value each.
    fn saw(&mut self, view: &View<'_>) -> Vec<String> {
        let _ = view;
        Vec::new()
    }

    /// How much it looks at.
    fn looks_at(&self) -> Looks {
        Looks::Numbers
    }
}
