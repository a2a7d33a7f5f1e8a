use std::collections::{BTreeMap, BTreeSet};

use crate::{
    block::{BLOCK_BYTES_MAX, SUBMISSIONS_MAX},
    keys::Digest,
    submit::{Refusal, Submission},
};

/// The most submissions that wait at a node.
pub const WAITING_MAX: usize = 10_000;

/// The most bytes of submissions that wait at a node.
pub const WAITING_BYTES_MAX: usize = 32 << 20;

/// The submissions that wait for a block, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Each with its id, by its turn.
    waiting: BTreeMap<u64, (Digest, Submission)>,
    turns: BTreeMap<Digest, u64>,
    next: u64,
    bytes: usize,
}

impl Pool {
    /// Takes a submission that was checked. One more than fits is refused.
    pub(super) fn put(&mut self, id: Digest, submission: Submission) -> Result<(), Refusal> {
        if self.turns.contains_key(&id) {
            return Err(Refusal::Duplicate(id));
        }
        if self.waiting.len() >= WAITING_MAX || self.bytes + submission.size() > WAITING_BYTES_MAX {
            return Err(Refusal::Busy(self.waiting.len()));
        }
        self.bytes += submission.size();
        self.turns.insert(id, self.next);
        self.waiting.insert(self.next, (id, submission));
        self.next += 1;
        Ok(())
    }

    pub(super) fn contains(&self, id: &Digest) -> bool {
        self.turns.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the submissions for a block, the earliest first, as many as it may hold.
    pub(super) fn for_block(&self) -> Vec<Submission> {
        let mut bytes = 0;
        let fits = |it: &&(Digest, Submission)| {
            bytes += it.1.size();
            bytes <= BLOCK_BYTES_MAX
        };
        self.waiting.values().take(SUBMISSIONS_MAX).take_while(fits).map(|(_, it)| it.clone()).collect()
    }

    /// Drops what a block of this height holds, and what no later block may hold.
    pub(super) fn drop_decided(&mut self, ids: &BTreeSet<Digest>, height: u64) {
        let is_over = |(id, it): &(Digest, Submission)| ids.contains(id) || it.last_height <= height;
        let over: Vec<u64> = self.waiting.iter().filter(|(_, it)| is_over(it)).map(|(turn, _)| *turn).collect();
        for turn in over {
            if let Some((id, submission)) = self.waiting.remove(&turn) {
                self.turns.remove(&id);
                self.bytes -= submission.size();
            }
        }
    }
}
