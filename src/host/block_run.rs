//! Blocks, run crank by crank: the one place that begins them, fills them, and finds their ends.
//!
//! ```text
//!   begin ─▶ step ─▶ step ─▶ … ─▶ BlockEnd ──(commit: a host)───▶ begin ─▶ …
//!                                          ├─(commit, over a state that is only looked at: debugger)─▶ begin ─▶ …
//!                                          └─(close: without a commit: laboratory, replay)
//! ```
//!
//! Invariants: a block ends behind the crank that reaches a limit of the policy, or that leaves nothing to do; a state with nothing
//! to do, now or at a later time, gets no further block.

use crate::{
    kernel::{self, Ahead, Halt, Ran, Workers},
    model::{blame::HostFault, id::BlockHeight},
    state::block::{Block, BlockPolicy, branch},
};

/// A state whose blocks are run crank by crank.
#[derive(Debug)]
pub struct BlockRun {
    /// `None` once a crank has halted.
    block: Option<Block>,
    policy: BlockPolicy,
}

/// The result of one [`BlockRun::step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A crank ran.
    Crank(Ran),
    /// The block is full, or nothing is left to do in it: it is to be committed, or closed.
    BlockEnd,
    /// Nothing is left to do, now or at a later time, and no block is open.
    Quiescent,
    /// The crank's delivery was interrupted: all of the crank is undone.
    Interrupted,
}

impl BlockRun {
    /// Makes a run of this state's blocks; a block that is open is continued.
    pub fn new(block: Block, policy: BlockPolicy) -> BlockRun {
        BlockRun { block: Some(block), policy }
    }

    /// Makes a run that continues a block which was begun with its inputs.
    pub fn begun(mut block: Block, policy: BlockPolicy) -> BlockRun {
        branch::open_up(&mut block);
        BlockRun::new(block, policy)
    }

    /// Returns the state; an error after a halt.
    pub fn block(&self) -> Result<&Block, Box<Halt>> {
        self.block.as_ref().ok_or_else(gone)
    }

    /// Returns the state, for changes outside of its rows.
    pub fn block_mut(&mut self) -> Result<&mut Block, Box<Halt>> {
        self.block.as_mut().ok_or_else(gone)
    }

    /// Returns whether a crank has halted, and taken the state with it.
    pub fn has_halted(&self) -> bool {
        self.block.is_none()
    }

    /// Takes the state out.
    pub fn into_block(self) -> Result<Block, Box<Halt>> {
        self.block.ok_or_else(gone)
    }

    /// Returns the policy by which its blocks end.
    pub fn policy(&self) -> &BlockPolicy {
        &self.policy
    }

    /// Begins the next block, if none is open and something is left to do.
    pub fn begin(&mut self) -> Result<(), Box<Halt>> {
        if !self.is_open()? && !kernel::is_finished(self.block()?) {
            let mut block = kernel::begin_block(self.take()?, self.policy.block_time)?;
            branch::open_up(&mut block);
            self.block = Some(block);
        }
        Ok(())
    }

    /// Runs the next crank. If no block is open, it begins one; if the open one has ended, it runs nothing and says so.
    pub fn step(&mut self, workers: &mut dyn Workers) -> Result<Step, Box<Halt>> {
        self.begin()?;
        if !self.is_open()? {
            return Ok(Step::Quiescent);
        }
        if self.is_over()? {
            return Ok(Step::BlockEnd);
        }
        let (block, ran) = kernel::crank(self.take()?, workers)?;
        self.block = Some(block);
        Ok(ran.map_or(Step::Interrupted, Step::Crank))
    }

    /// Looks at the next crank, and runs nothing; `None` if no queue holds an item.
    pub fn look(&mut self) -> Result<Option<Ahead>, Box<Halt>> {
        let (block, ahead) = kernel::look(self.take()?);
        self.block = Some(block);
        Ok(ahead)
    }

    /// Returns whether the open block has ended.
    pub fn is_over(&self) -> Result<bool, Box<Halt>> {
        let block = self.block()?;
        Ok(block.meta().open && (self.policy.is_reached(block) || kernel::is_quiescent(block)))
    }

    /// Commits the open block if it has ended. Returns its height then.
    pub fn commit_if_over(&mut self) -> Result<Option<BlockHeight>, Box<Halt>> {
        if !self.is_over()? {
            return Ok(None);
        }
        let block = self.take()?.commit(false)?;
        let height = block.tables().globals().height;
        self.block = Some(block);
        Ok(Some(height))
    }

    /// Ends the open block as a commit would, and writes nothing. Returns its height.
    pub fn close(&mut self) -> Result<BlockHeight, Box<Halt>> {
        let block = self.block_mut()?;
        block.close()?;
        Ok(block.tables().globals().height)
    }

    /// Closes the open block if it has ended. Returns its height then.
    pub fn close_if_over(&mut self) -> Result<Option<BlockHeight>, Box<Halt>> {
        if self.is_over()? { self.close().map(Some) } else { Ok(None) }
    }

    fn is_open(&self) -> Result<bool, Box<Halt>> {
        Ok(self.block()?.meta().open)
    }

    fn take(&mut self) -> Result<Block, Box<Halt>> {
        self.block.take().ok_or_else(gone)
    }
}

fn gone() -> Box<Halt> {
    HostFault::new("run a block", "a crank has halted, and the open block is gone").into()
}
