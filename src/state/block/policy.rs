//! The limits at which a block ends, and the part of them that a state keeps.

use super::Block;
use crate::{
    model::id::BlockHeight,
    store::{Meta, Pace},
};

/// The limits at which a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPolicy {
    /// After this many cranks.
    pub cranks: u64,
    /// After the crank that brings the block's fuel to this.
    pub fuel: Option<u64>,
    /// After so many milliseconds. Outside consensus: replicas that end blocks by the clock do not agree.
    pub wall_millis: Option<u64>,
    /// Seconds from one block to the next, as the vats see them.
    pub block_time: u64,
}

impl Default for BlockPolicy {
    fn default() -> BlockPolicy {
        BlockPolicy { cranks: 1_000, fuel: None, wall_millis: None, block_time: 5 }
    }
}

impl BlockPolicy {
    /// Returns the policy that these facts keep, or the default if they keep none because no block was run.
    pub fn kept(meta: &Meta) -> BlockPolicy {
        match meta.pace {
            Some(Pace { cranks, fuel, seconds, .. }) => {
                BlockPolicy { cranks, fuel, wall_millis: None, block_time: seconds }
            }
            None => BlockPolicy::default(),
        }
    }

    /// Returns whether the open block has reached a limit of the policy.
    pub fn is_reached(&self, block: &Block) -> bool {
        block.cranks() >= self.cranks || self.fuel.is_some_and(|max| block.fuel() >= max)
    }

    /// Keeps this as the way in which blocks are cut from now on, with the next commit. Where that is another way than
    /// before: the way before, and the new one.
    pub fn keep(&self, block: &mut Block) -> Option<[Pace; 2]> {
        let new = self.pace(block.current_height());
        let kept = &mut block.0.meta.pace;
        if kept.is_some_and(|it| it.is_like(&new)) {
            return None;
        }
        kept.replace(new).map(|old| [old, new])
    }

    fn pace(&self, since: BlockHeight) -> Pace {
        Pace { cranks: self.cranks, fuel: self.fuel, seconds: self.block_time, since }
    }
}

impl Block {
    /// Returns the height of the block that the next crank belongs to: of the one that has begun, or else the next.
    pub fn current_height(&self) -> BlockHeight {
        let height = self.tables().globals().height;
        // What begins a block extends the chain.
        let has_begun = self.meta().open || self.has_begun();
        if has_begun { height } else { height.next() }
    }
}

/// Returns the bytes of the state's log that a reader of it keeps from being copied into its file.
pub fn held_bytes(block: &Block) -> u64 {
    block.0.database.held_bytes()
}
