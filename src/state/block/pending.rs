//! What a step of a block leaves to be done later: items that it sent, which are accepted at its end, and vats whose workers are to be
//! stopped. The block keeps the room for them from step to step.

use std::collections::VecDeque;

use super::Block;
use crate::{model::id::VatId, state::table::Waiting};

/// Returns the items that the open step sent and that are not accepted yet: none between two steps.
pub(crate) fn sent(block: &Block) -> &VecDeque<Waiting> {
    &block.0.sent
}

/// Returns the items that the open step sent, to add one or to accept one.
pub(crate) fn sent_mut(block: &mut Block) -> &mut VecDeque<Waiting> {
    &mut block.0.sent
}

/// Returns the vats whose workers are to be stopped before the next delivery; to stop one for nothing costs only time.
pub(crate) fn doomed(block: &mut Block) -> &mut Vec<VatId> {
    &mut block.0.doomed
}
