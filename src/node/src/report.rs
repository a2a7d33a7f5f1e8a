//! What a node tells: events for its operator, and the report of a halt.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use vathost::host::staged::BlockResult;

/// Something that a node tells its operator.
#[derive(Debug)]
pub enum NodeEvent {
    /// The home is open, at this height.
    Opened {
        /// The height of the last committed block.
        height: u64,
        /// The state hash there.
        state_hash: String,
    },
    /// The node listens, for the other validators and for people.
    Listening {
        /// The address of the HTTP surface.
        http: String,
    },
    /// A block is committed.
    Block {
        /// The result of the block.
        result: Box<BlockResult>,
        /// The time that the kernel took for it.
        took: Duration,
    },
    /// A proposal that this node does not vote for.
    Objection {
        /// The height of the proposal.
        height: u64,
        /// The round of the proposal.
        round: u32,
        /// The name of its proposer.
        proposer: String,
        /// The reason.
        why: String,
    },
    /// The node has halted.
    Halted(HaltReport),
}

/// The report of a halt: for people as a text, for programs as JSON.
#[derive(Debug, Clone)]
pub struct HaltReport {
    /// The exit code of the process.
    pub exit_code: u8,
    /// The report for people.
    pub text: String,
    /// The report for programs.
    pub json: Value,
}

/// A place where a node tells what happens.
pub trait NodeLog: Send + Sync {
    /// Tells the operator of an event.
    fn say(&self, event: &NodeEvent);

    /// Takes note that the engine was answered in this step. Nobody is told.
    fn answered(&self, _step: &str) {}
}

/// Returns the time of this machine's clock, in seconds since 1970.
#[allow(
    clippy::disallowed_methods,
    reason = "the time of a block is the proposer's clock, agreed on by the validators"
)]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}
