//! What a step of a block holds until its end: who acts in it, the items that it sent, what may have become garbage. The block keeps
//! the room for them from step to step.
//!
//! Invariant: a step begins with none of it, but for the vats whose workers are to be stopped.

use std::collections::{BTreeSet, VecDeque};

use super::{Block, console::Printed};
use crate::{
    model::id::{CrankNum, KRef, VatId},
    state::table::{Load, Waiting},
};

/// The notes of the open step.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// The crank that has begun, or will begin next.
    pub(crate) number: CrankNum,
    /// The vat in whose name things are posted.
    pub(crate) by: Option<VatId>,
    /// The load that was posted in that vat's name.
    pub(crate) posted: Load,
    /// The items that were sent, until they are accepted at the step's end.
    pub(crate) sent: VecDeque<Waiting>,
    /// The references that may have become garbage.
    pub(crate) candidates: Candidates,
    /// The lines that vats wrote to the console.
    pub(crate) printed: Vec<Printed>,
    /// Set if a part of the step is in the block already.
    pub(crate) sealed: bool,
    /// The block's fuel before the step.
    pub(crate) fuel_before: u64,
    /// The vats whose workers are to be stopped before the next delivery; to stop one for nothing costs only time.
    pub(crate) doomed: Vec<VatId>,
}

impl Pending {
    /// Forgets what the step did so far in anybody's name.
    pub(crate) fn clear(&mut self) {
        self.by = None;
        self.posted = Load::default();
        self.sent.clear();
        self.candidates.clear();
        self.printed.clear();
    }
}

/// The references that were decremented to zero, in that order, each once. Like SwingSet's set, it does not take anew
/// what was looked at already: an object that only then loses its last hold is garbage at its next decrement.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub(crate) order: Vec<KRef>,
    known: BTreeSet<KRef>,
}

impl Candidates {
    pub(crate) fn insert(&mut self, kref: KRef) {
        if self.known.insert(kref) {
            self.order.push(kref);
        }
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        if !self.order.is_empty() {
            self.order.clear();
            self.known.clear();
        }
    }

    /// From here on it is a candidate anew (kernel version 2).
    pub(crate) fn forget(&mut self, kref: KRef) {
        self.known.remove(&kref);
    }
}

/// Returns the notes of the open step.
pub(crate) fn of(block: &Block) -> &Pending {
    &block.0.pending
}

/// Returns the notes of the open step, to change them.
pub(crate) fn of_mut(block: &mut Block) -> &mut Pending {
    &mut block.0.pending
}
