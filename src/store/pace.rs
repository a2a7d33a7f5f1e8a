//! The rule by which the blocks of a state are cut: it decides every hash, so all replicas must use the same one, and
//! it is kept with the state.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::BlockHeight;

/// The limits at which the blocks of a state end, and the time between blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// A block ends after this many cranks.
    pub cranks: u64,
    /// A block ends after the crank that brings its fuel to this.
    pub fuel: Option<u64>,
    /// Seconds from one block to the next, as the vats see them.
    pub seconds: u64,
    /// The first block that was cut so.
    pub since: BlockHeight,
}

impl Pace {
    /// Returns whether two paces cut blocks in the same way, regardless of their first block.
    pub fn is_like(&self, other: &Pace) -> bool {
        (self.cranks, self.fuel, self.seconds) == (other.cranks, other.fuel, other.seconds)
    }
}

/// Without the block since which it holds.
impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cranks, if self.cranks == 1 { "crank" } else { "cranks" })?;
        if let Some(fuel) = self.fuel {
            write!(f, " or {fuel} fuel")?;
        }
        write!(f, " a block, {} s apart", self.seconds)
    }
}
