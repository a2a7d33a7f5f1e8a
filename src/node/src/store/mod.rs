//! The node's own durable records, beside the state of the kernel: values that are not decided yet, decided blocks with their
//! certificates, and what became of each submission.
//!
//! ```text
//!   put_undecided ─▶ put_decided ─▶ (the kernel commits the block) ─▶ put_executed
//!      durable          durable              durable                 made anew, if it is lost
//! ```
//!
//! Invariants: what `put_undecided` and `put_decided` took is durable when they return, so the engine is answered only after them; what a
//! store has when it is opened is durable too, since the kernel commits on the strength of it; a decided block is never replaced by
//! another; what `put_executed` writes follows from the decided block and the kernel's own record of it. After a crash only the last one
//! can be missing, and whoever opens the store writes it again.

mod memory;
mod sqlite;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use vathost::{host::staged::BlockResult, model::blame::HostFault};

use crate::{
    block::{Block, Proposal},
    certificate::Certificate,
    keys::Digest,
};

/// A block that was decided, and the proof of it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DecidedBlock {
    /// The block.
    pub block: Block,
    /// The proof that it was decided.
    pub certificate: Certificate,
}

/// The record of a block that was executed and committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutedBlock {
    /// The result of the block, as the kernel keeps it.
    pub result: BlockResult,
    /// The ids of the block's submissions, in order. Their receipts come first in the result.
    pub ids: Vec<Digest>,
}

/// The answer to a submission that a block holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubmissionAnswer {
    /// The height of the block that holds it.
    pub height: u64,
    /// The place in that block, from 0.
    pub position: u64,
    /// The word `pending`, `done`, `refused`, `fulfilled` or `rejected`.
    pub status: String,
    /// The promise for the answer to a message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub promise: Option<String>,
    /// The reason why the kernel refused the input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
    /// The height of the block in which the answer was settled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settled: Option<u64>,
    /// The body of the answer, in smallcaps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<String>,
    /// What the body names.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub slots: Vec<String>,
}

/// The durable records of a node. A test, or a simulation of crashes, has another one than [`SqliteStore`].
pub trait Store {
    /// Keeps a proposal that is not decided. It is durable when this returns.
    fn put_undecided(&mut self, proposal: &Proposal) -> Result<(), HostFault>;

    /// Returns the proposals of this height that are not decided, in order of their rounds.
    fn undecided(&self, height: u64) -> Result<Vec<Proposal>, HostFault>;

    /// Keeps a block that was decided. It is durable when this returns.
    fn put_decided(&mut self, decided: &DecidedBlock) -> Result<(), HostFault>;

    /// Returns the decided block of this height, if it is kept.
    fn decided(&self, height: u64) -> Result<Option<DecidedBlock>, HostFault>;

    /// Returns the lowest and the highest height of the decided blocks that are kept.
    fn decided_heights(&self) -> Result<Option<(u64, u64)>, HostFault>;

    /// Keeps what came of a block, and drops the proposals up to its height. A crash may lose it.
    fn put_executed(&mut self, executed: &ExecutedBlock) -> Result<(), HostFault>;

    /// Returns the result of the executed block of this height, if it is kept.
    fn executed(&self, height: u64) -> Result<Option<BlockResult>, HostFault>;

    /// Returns the height of the last block whose result is kept.
    fn last_executed(&self) -> Result<Option<u64>, HostFault>;

    /// Drops what came of the blocks above this height: they were undone.
    fn forget_executed_above(&mut self, height: u64) -> Result<(), HostFault>;

    /// Returns what became of this submission, if a block that was executed holds it.
    fn answer(&self, id: &Digest) -> Result<Option<SubmissionAnswer>, HostFault>;

    /// Returns the ids of the submissions in executed blocks from this height on, with their heights.
    fn ids_since(&self, height: u64) -> Result<Vec<(u64, Digest)>, HostFault>;
}

/// Returns the answer that a block's receipt for one of its inputs is, before anything is settled.
fn answer_of(result: &BlockResult, position: usize) -> SubmissionAnswer {
    let receipt = result.receipts.get(position).cloned();
    let (promise, refused) = receipt.map_or((None, None), |it| (it.result.map(|it| it.to_string()), it.refused));
    let status = match (&promise, &refused) {
        (_, Some(_)) => "refused",
        (Some(_), None) => "pending",
        (None, None) => "done",
    };
    let (height, position) = (result.header.height, position as u64);
    SubmissionAnswer {
        height,
        position,
        status: status.to_owned(),
        promise,
        refused,
        settled: None,
        body: None,
        slots: vec![],
    }
}
