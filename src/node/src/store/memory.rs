use std::collections::BTreeMap;

use vathost::{host::staged::BlockResult, model::blame::HostFault};

use super::{DecidedBlock, ExecutedBlock, Store, SubmissionAnswer, answer_of};
use crate::{block::Proposal, keys::Digest};

/// A store in memory, for tests and simulations. A clone of it is what a disk holds at that moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore {
    undecided: Vec<Proposal>,
    decided: BTreeMap<u64, DecidedBlock>,
    executed: BTreeMap<u64, BlockResult>,
    answers: BTreeMap<Digest, SubmissionAnswer>,
}

impl Store for MemoryStore {
    fn put_undecided(&mut self, proposal: &Proposal) -> Result<(), HostFault> {
        if !self.undecided.contains(proposal) {
            self.undecided.push(proposal.clone());
        }
        Ok(())
    }

    fn undecided(&self, height: u64) -> Result<Vec<Proposal>, HostFault> {
        let mut found: Vec<_> = self.undecided.iter().filter(|it| it.block.height == height).cloned().collect();
        found.sort_by_key(|it| it.round);
        Ok(found)
    }

    fn put_decided(&mut self, decided: &DecidedBlock) -> Result<(), HostFault> {
        self.decided.entry(decided.block.height).or_insert_with(|| decided.clone());
        Ok(())
    }

    fn decided(&self, height: u64) -> Result<Option<DecidedBlock>, HostFault> {
        Ok(self.decided.get(&height).cloned())
    }

    fn decided_heights(&self) -> Result<Option<(u64, u64)>, HostFault> {
        Ok(self.decided.keys().next().copied().zip(self.decided.keys().next_back().copied()))
    }

    fn put_executed(&mut self, executed: &ExecutedBlock) -> Result<(), HostFault> {
        let ExecutedBlock { result, ids } = executed;
        let height = result.header.height;
        self.undecided.retain(|it| it.block.height > height);
        self.executed.insert(height, result.clone());
        for (position, id) in ids.iter().enumerate() {
            self.answers.insert(*id, answer_of(result, position));
        }
        for settled in &result.settled {
            let promise = Some(settled.result.to_string());
            for answer in self.answers.values_mut().filter(|it| it.promise == promise) {
                answer.status = settled.status.clone();
                answer.settled = Some(height);
                answer.body = Some(settled.body.clone());
                answer.slots = settled.slots.clone();
            }
        }
        Ok(())
    }

    fn executed(&self, height: u64) -> Result<Option<BlockResult>, HostFault> {
        Ok(self.executed.get(&height).cloned())
    }

    fn last_executed(&self) -> Result<Option<u64>, HostFault> {
        Ok(self.executed.keys().next_back().copied())
    }

    fn forget_executed_above(&mut self, height: u64) -> Result<(), HostFault> {
        self.executed.retain(|it, _| *it <= height);
        self.answers.retain(|_, it| it.height <= height);
        for answer in self.answers.values_mut().filter(|it| it.settled.is_some_and(|at| at > height)) {
            answer.status = "pending".to_owned();
            (answer.settled, answer.body, answer.slots) = (None, None, vec![]);
        }
        Ok(())
    }

    fn answer(&self, id: &Digest) -> Result<Option<SubmissionAnswer>, HostFault> {
        Ok(self.answers.get(id).cloned())
    }

    fn ids_since(&self, height: u64) -> Result<Vec<(u64, Digest)>, HostFault> {
        let since = self.answers.iter().filter(|(_, it)| it.height >= height);
        Ok(since.map(|(id, it)| (it.height, *id)).collect())
    }
}
