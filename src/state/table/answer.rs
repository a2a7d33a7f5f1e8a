//! Answers to messages from outside, and how long a state keeps them.
//!
//! ```text
//!   a message ──▶ its result is settled in block 10 ──▶ a row: 10 ──(answer_blocks = 5)──▶ block 15 begins: row, promise and answer go
//!                                                       └──▶ the program forgets it: the same at once
//! ```
//!
//! Invariant: where answers expire, the rows are the results from outside that are settled; in any other state there are none.

use std::{collections::BTreeSet, num::NonZeroU64};

use crate::{
    model::{
        id::{BlockHeight, PromiseId},
        value::Bytes,
    },
    state::table::Tables,
    store::{Index, Table},
};

/// The name of the option that says for how many blocks answers are kept.
const ANSWER_BLOCKS: &str = "answer_blocks";

/// The block that gave each answer, in a state whose answers expire.
pub type Answers = Table<PromiseId, BlockHeight, ByBlock>;

/// The answers in the order of their blocks.
#[derive(Debug, Default)]
pub struct ByBlock(BTreeSet<(BlockHeight, PromiseId)>);

impl Index<PromiseId, BlockHeight> for ByBlock {
    fn changed(&mut self, promise: &PromiseId, old: Option<&BlockHeight>, new: Option<&BlockHeight>) {
        if let Some(old) = old {
            self.0.remove(&(*old, *promise));
        }
        if let Some(new) = new {
            self.0.insert((*new, *promise));
        }
    }
}

impl Answers {
    /// Iterates over the answers that were given in this block or before it, oldest first.
    fn until(&self, block: BlockHeight) -> impl Iterator<Item = PromiseId> {
        self.index().0.range(..=(block, PromiseId(u64::MAX))).map(|(_, promise)| *promise)
    }
}

impl Tables {
    /// Returns for how many blocks this state keeps an answer to a message from outside; `None` is until it is forgotten.
    pub fn answer_blocks(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(*self.options.get(&ANSWER_BLOCKS.into())?)
    }

    /// Returns the answers that go when the block of this height begins, oldest first.
    pub fn answers_expiring_at(&self, height: BlockHeight) -> impl Iterator<Item = PromiseId> {
        let last = self.answer_blocks().and_then(|blocks| height.0.checked_sub(blocks.get()));
        last.into_iter().flat_map(|last| self.answers.until(BlockHeight(last)))
    }

    /// Returns whether the answer of a message from outside is not there any more, in a state whose answers expire.
    pub fn has_expired(&self, result: PromiseId) -> bool {
        let was_there = result < self.globals().next_promise && !self.promises.contains(&result);
        was_there && self.answer_blocks().is_some()
    }

    /// Notes that the result of a message is settled, if it is one from outside and answers expire.
    pub(crate) fn note_answer(&mut self, result: PromiseId) {
        if self.answer_blocks().is_some() && self.outside.contains(&result) {
            let height = self.globals().height;
            self.answers.insert(result, height);
        }
    }

    /// Keeps answers for this many blocks from now on; `None` is until they are forgotten. Where answers did not expire before, those
    /// that are there count as given now.
    pub(crate) fn keep_answers(&mut self, blocks: Option<NonZeroU64>) {
        let name = Bytes::from(ANSWER_BLOCKS);
        let Some(blocks) = blocks else {
            self.options.remove(&name);
            let noted: Vec<PromiseId> = self.answers.iter().map(|(promise, _)| *promise).collect();
            for promise in noted {
                self.answers.remove(&promise);
            }
            return;
        };
        let did_expire = self.answer_blocks().is_some();
        self.options.insert(name, blocks.get());
        if !did_expire {
            let is_settled = |it: &PromiseId| self.settled(*it).is_some();
            let settled: Vec<PromiseId> = self.outside.iter().map(|(promise, _)| *promise).filter(is_settled).collect();
            settled.into_iter().for_each(|it| self.note_answer(it));
        }
    }
}
