//! Blocks: what the validators decide. A block holds the submissions of its height, the time, and what its proposer came to in the block
//! before: whoever came to something else does not vote for it.
//!
//! ```text
//!   block H   ─▶ executed ─▶ state hash, result, directives obeyed ─┐
//!   block H+1 = { height, time, parent: { id of H, ◀────────────────┘ }, submissions }
//! ```
//!
//! So a certificate for H+1 vouches for the state behind H, and for the directives that were obeyed in H.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use vathost::host::staged::BlockHeader;

use crate::{genesis::Genesis, keys::Digest, submit::Submission};

/// The most submissions of a block.
pub const SUBMISSIONS_MAX: usize = 1_000;

/// The most bytes of a block's submissions. The engine's messages, which are larger, hold a block.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// The outcome of the block before: the same on each replica that is right.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    /// The id of the block; that of the chain before the first.
    pub block: Digest,
    /// The state hash behind it.
    pub state_hash: Digest,
    /// The digest of its result, in which the answers to its messages are.
    pub result: Digest,
    /// The directives that were obeyed in it, each with its crank.
    pub fired: Vec<String>,
}

/// The inputs of one height, and where they go in: what a decision is about.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The height of the block.
    pub height: u64,
    /// The time of the block, in seconds since 1970; not earlier than that of the block before.
    pub time: u64,
    /// The outcome of the block before, as the proposer has it.
    pub parent: Parent,
    /// The submissions, in order.
    pub submissions: Vec<Submission>,
}

impl Block {
    /// Returns the id of the block, which votes name.
    pub fn id(&self) -> Digest {
        Digest::of("vathost-node block", self)
    }

    /// Returns the canonical bytes of the block.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A vector takes everything that is written to it.
        borsh::to_vec(self).unwrap_or_default()
    }

    /// Reads a block from its canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Block, String> {
        borsh::from_slice(bytes).map_err(|err| format!("it is not a block: {err}"))
    }

    /// Returns the header for the host.
    pub fn header(&self) -> BlockHeader {
        BlockHeader { height: self.height, time: self.time, prev_state_hash: self.parent.state_hash.to_string() }
    }

    /// Checks what can be checked of a block alone: how much it holds, and each of its submissions.
    ///
    /// # Errors
    ///
    /// The reason why no right validator votes for it.
    pub fn check_form(&self, genesis: &Genesis, chain: &Digest) -> Result<(), String> {
        let count = self.submissions.len();
        if count > SUBMISSIONS_MAX {
            return Err(format!("it has {count} submissions: {SUBMISSIONS_MAX} at the most"));
        }
        let bytes: usize = self.submissions.iter().map(Submission::size).sum();
        if bytes > BLOCK_BYTES_MAX {
            return Err(format!("its submissions have {bytes} bytes: {BLOCK_BYTES_MAX} at the most"));
        }
        for (at, it) in self.submissions.iter().enumerate() {
            it.check(genesis, chain, self.height).map_err(|why| format!("submission {at}: {why}"))?;
        }
        Ok(())
    }
}

/// A block that a validator proposes in a round.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The round of the proposal.
    pub round: u32,
    /// The round in which two thirds voted for the block already, if they did.
    pub valid_round: Option<u32>,
    /// The proposer's address.
    pub proposer: crate::keys::Address,
    /// The block.
    pub block: Block,
}
