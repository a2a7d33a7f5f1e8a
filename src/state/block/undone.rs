//! A block that is given up, the last one that is taken back, and what of a block is kept beside the state.

use std::sync::Arc;

use super::{Block, Inner};
use crate::{
    model::{blame::HostFault, id::BlockHeight},
    state::block::proof,
};

impl Block {
    /// Gives up the open block: the state as of its last commit, read anew.
    pub fn reopened(self) -> Result<Block, HostFault> {
        let Inner { database, slog, directives, audit_every, probe, snapshot_interval, devices, bundles, .. } = *self.0;
        let mut block = Block::load(database, slog)?;
        let inner = &mut *block.0;
        (inner.directives, inner.probe, inner.bundles) = (directives, probe, bundles);
        (inner.audit_every, inner.snapshot_interval) = (audit_every, snapshot_interval);
        inner.devices = devices.iter().map(Arc::clone).collect();
        Ok(block)
    }

    /// Has each commit from now on leave the record by which it can be undone, or ends that.
    pub fn keep_undo(&mut self, keeps: bool) -> Result<(), HostFault> {
        if keeps { self.0.database.keep_undo() } else { self.0.database.keep_no_undo() }
    }

    /// Refuses where the last commit cannot be undone.
    pub fn check_undo(&self) -> Result<(), HostFault> {
        self.0.database.check_undo()
    }

    /// Undoes the last commit, durably, and gives up the open block.
    pub fn undone(mut self) -> Result<Block, HostFault> {
        self.0.database.undo_last(|database| proof::read(database).map(drop))?;
        self.reopened()
    }

    /// Makes room for the results of blocks.
    pub fn keep_results(&mut self) -> Result<(), HostFault> {
        self.0.database.keep_results()
    }

    /// Keeps the result of the open block, with its commit; [`keep_results`](Block::keep_results) comes first.
    pub fn put_result(&mut self, result: Vec<u8>) {
        self.0.result = Some(result);
    }

    /// Returns the result of a committed block, if it is kept.
    pub fn result_of(&self, height: BlockHeight) -> Result<Option<Vec<u8>>, HostFault> {
        self.0.database.block_result(height.0)
    }
}
