//! A campaign's own invariants: asked while an experiment runs.

use serde_json::Value;

use crate::{block::Block, experiment::Golden};

/// When an invariant is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// After every crank.
    EveryCrank,
    /// After every block.
    EveryBlock,
    /// When the run has ended.
    End,
}

/// What an invariant is about.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The state.
    pub block: &'a Block,
    /// The golden run.
    pub golden: &'a Golden,
    /// When it is asked.
    pub when: When,
    /// What happened since the base, as the slog has it: only where a watcher needs history.
    pub events: &'a [Value],
}

/// An invariant. It must hold of the golden run: an experiment that meets that is not asked again.
pub trait Watcher: Send {
    /// Its name.
    fn name(&self) -> &str;

    /// When it is to be asked.
    fn when(&self) -> When;

    /// Whether it holds.
    ///
    /// # Errors
    ///
    /// Why that cannot be said: the experiment is then of the class HARNESS.
    fn holds(&mut self, view: &View<'_>) -> Result<bool, String>;

    /// Whether it looks at more than the state: then no experiment ends early.
    fn needs_history(&self) -> bool {
        false
    }

    /// What it noted since the experiment began, beside holding or not: goes into the outcome.
    fn noted(&self) -> Option<String> {
        None
    }

    /// An experiment begins.
    fn begin(&mut self) {}
}
