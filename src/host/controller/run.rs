//! Running blocks: begun with their inputs, run crank by crank, and committed; and keeping the inputs of a block that halts.
//!
//! Invariant: the inputs of a block that halted are on disk, without its cranks, so that a host which opens the state meets the same
//! block again. (If the disk itself fails, they are not: [`HostPosition`](crate::host::epitaph::HostPosition) tells.)

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    directive::DirectiveSet,
    host::{
        block_run::{BlockRun, Step},
        controller::{
            Host,
            input::{self, Input},
        },
        options::{HostOptions, Inputs},
        scrub::Scrub,
    },
    kernel::{self, Halt, Ledger, Ran},
    model::{
        blame::{Fault, HostFault},
        id::{BlockHeight, VatId},
    },
    slog::{Detail, Event, Slog},
    state::block::{Block, BlockPolicy, Heard, Printed, beside},
    store::{BesideRow, StateHash},
    vat::stack,
};

/// A block that was run and committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockEnd {
    /// The height of the block.
    pub height: BlockHeight,
    /// The number of cranks that this call ran.
    pub cranks: u64,
    /// Whether nothing is left to do, now or at a later time.
    pub quiescent: bool,
    /// Whether the block is closed. It is not if its caller interrupted it: the next `run_block` continues it, to the
    /// same hash.
    pub closed: bool,
    /// Fuel that the block was charged so far, including the time before an interruption.
    pub fuel: u64,
    /// The chained hash.
    pub state_hash: StateHash,
    /// The lines that vats wrote to the console device in this time.
    pub console: Vec<Printed>,
    /// The lines that vats wrote to the host's log by the import `console`, including those of undone cranks.
    pub heard: Heard,
    /// The names of the vats that wrote them.
    pub names: BTreeMap<VatId, String>,
}

/// A block whose cranks ran, and which is not committed yet.
pub(super) struct FilledBlock {
    pub(super) block: Block,
    pub(super) facts: BlockFacts,
}

/// The facts of a block that are known before its commit.
#[derive(Clone, Copy)]
pub(super) struct BlockFacts {
    pub(super) height: BlockHeight,
    pub(super) time: u64,
    /// The number of cranks that were run now.
    pub(super) cranks: u64,
    /// Whether it has ended, and was not interrupted.
    pub(super) closed: bool,
    fuel: u64,
}

impl BlockFacts {
    /// Makes the end of this block, once it is committed or handed over: takes the lines of its vats.
    pub(super) fn end(self, block: &mut Block) -> BlockEnd {
        let BlockFacts { height, cranks, closed, fuel, .. } = self;
        let (state_hash, quiescent) = (block.committed_hash(), kernel::is_finished(block));
        let (console, heard) = (block.console().take_printed(), block.console().take_heard());
        let wrote = console.iter().chain(&heard.lines).map(|it| it.vat);
        let name = |vat: VatId| Some((vat, block.tables().vats.get(&vat)?.name.clone()));
        let names = wrote.filter_map(name).collect();
        BlockEnd { height, cranks, quiescent, closed, fuel, state_hash, console, heard, names }
    }
}

/// The inputs of a block, and what else decides how it begins.
#[derive(Debug)]
pub(super) struct ToKeep {
    inputs: Vec<Input>,
    clock: Option<u64>,
    policy: BlockPolicy,
    directives: DirectiveSet,
    /// The state hash before the inputs.
    before: StateHash,
}

impl Host {
    /// Runs one block, or the rest of one that was interrupted, and commits it. `each` sees every crank, and says
    /// whether to continue; if it says no, what was run is committed and the block stays open.
    pub fn run_block(
        &mut self,
        policy: &BlockPolicy,
        each: &mut dyn FnMut(&Ran) -> bool,
    ) -> Result<BlockEnd, Box<Halt>> {
        self.run_block_keeping(policy, each, &mut |_| Vec::new())
    }

    /// Runs a block as [`run_block`](Host::run_block) does. Before the commit it calls `beside`, and writes the rows that this returns beside
    /// the state, in the same commit.
    pub fn run_block_keeping(
        &mut self,
        policy: &BlockPolicy,
        each: &mut dyn FnMut(&Ran) -> bool,
        beside: &mut dyn FnMut(&Block) -> Vec<BesideRow>,
    ) -> Result<BlockEnd, Box<Halt>> {
        self.read_mailbox()?;
        let kept = self.to_keep(policy);
        stack::for_block(|| try_run_block(self, policy, each, beside)).inspect_err(|halt| {
            self.record_halt(halt);
            self.keep(kept);
        })
    }

    /// Makes inputs from outside durable, as the beginning of a block that the next [`run_block`](Host::run_block)
    /// continues, to the same hash as if it had run at once.
    pub fn take_in(&mut self, policy: &BlockPolicy) -> Result<(), Box<Halt>> {
        if !self.inputs.is_empty() {
            let block = self.begin_block(policy)?;
            self.block = Some(block.commit(true)?);
            self.stand();
        }
        Ok(())
    }

    /// Sets the time of the next block to begin, in the vats' seconds: an input, as from a clock, in the place of the policy's
    /// `block_time`. A time before that of the last block counts as that of the last block. A host that is closed forgets it.
    ///
    /// # Errors
    ///
    /// The host has halted.
    pub fn tell_time(&mut self, seconds: u64) -> Result<(), HostFault> {
        self.check_alive()?;
        self.clock = Some(seconds);
        Ok(())
    }

    /// Returns the time at which a vat asked to be woken first, if one did.
    pub fn next_wakeup(&self) -> Result<Option<u64>, Box<Halt>> {
        Ok(self.block()?.tables().wakeups.iter().next().map(|((time, _), _)| *time))
    }

    /// Begins a block together with an input, or continues the open one with it.
    pub(super) fn begin_with<T>(
        &mut self,
        block: Block,
        policy: &BlockPolicy,
        input: impl FnOnce(&mut Ledger) -> Result<T, Fault>,
    ) -> Result<(Block, T), Box<Halt>> {
        match self.clock.take_if(|_| !block.meta().open) {
            Some(time) => kernel::begin_block_at(block, time, input),
            None => kernel::begin_block_with(block, policy.block_time, input),
        }
    }

    /// Begins a block with the inputs that wait, or continues the open one with them. Nothing of it is durable yet.
    pub(super) fn begin_block(&mut self, policy: &BlockPolicy) -> Result<Block, Box<Halt>> {
        self.standing.run.set_policy(policy);
        let mut block = self.take()?;
        self.scrub.as_ref().map_or(Ok(()), Scrub::check)?;
        policy.keep(&mut block);
        let inputs = input::in_order(std::mem::take(&mut self.inputs));
        if inputs.is_empty() && (self.clock.is_none() || block.meta().open) {
            return kernel::begin_block(block, policy.block_time);
        }
        let take_in = |ledger: &mut Ledger| inputs.into_iter().try_for_each(|it| it.apply(ledger));
        Ok(self.begin_with(block, policy, take_in)?.0)
    }

    /// Returns whether anything from outside comes in with the next block. A time that was told counts, if a block is to be begun.
    fn has_inputs(&self) -> bool {
        let begins = self.block.as_ref().is_some_and(|it| !it.meta().open);
        !self.inputs.is_empty() || (self.clock.is_some() && begins)
    }

    /// Returns what is to be kept of the next block if it halts: nothing if its inputs are durable before it runs.
    pub(super) fn to_keep(&self, policy: &BlockPolicy) -> Option<ToKeep> {
        let with_block = self.options.inputs == Inputs::WithBlock && self.has_inputs();
        let block = self.block.as_ref().filter(|_| with_block)?;
        let (inputs, clock, before) = (self.inputs.clone(), self.clock, block.committed_hash());
        Some(ToKeep { inputs, clock, before, policy: *policy, directives: block.directives().clone() })
    }

    /// Commits the inputs of a block that halted, alone, as [`Inputs::First`] would have before it. If that fails too, or the state was in
    /// memory, the state is as it was before them: [`HostPosition`](crate::host::epitaph::HostPosition) says which.
    pub(super) fn keep(&mut self, kept: Option<ToKeep>) {
        let Some(kept) = kept.filter(|_| self.options.state.is_some() && !self.options.read_only) else { return };
        // The slog has the inputs already.
        let options = HostOptions { slog: Slog::default(), ..self.options.clone() };
        let Ok(mut block) = super::open_block(&options) else { return };
        block.set_directives(kept.directives);
        // A commit may fail after it has become durable.
        if block.committed_hash() == kept.before {
            self.block = Some(block);
            (self.inputs, self.clock) = (kept.inputs, kept.clock);
            let committed = self.begin_block(&kept.policy).and_then(|it| Ok(it.commit(true)?));
            let Ok(committed) = committed else { return };
            block = committed;
        }
        self.block = Some(block);
        self.stand();
        self.block = None;
    }
}

fn try_run_block(
    host: &mut Host,
    policy: &BlockPolicy,
    each: &mut dyn FnMut(&Ran) -> bool,
    beside: &mut dyn FnMut(&Block) -> Vec<BesideRow>,
) -> Result<BlockEnd, Box<Halt>> {
    let mut filled = fill_block(host, policy, each)?;
    let rows = beside(&filled.block);
    beside::put(&mut filled.block, rows);
    commit_filled(host, filled)
}

/// Begins a block, or continues the open one, and runs its cranks.
pub(super) fn fill_block(
    host: &mut Host,
    policy: &BlockPolicy,
    each: &mut dyn FnMut(&Ran) -> bool,
) -> Result<FilledBlock, Box<Halt>> {
    let has_inputs = host.has_inputs();
    let mut block = host.begin_block(policy)?;
    if has_inputs && host.options.inputs == Inputs::First {
        block = block.commit(true)?;
    }
    let globals = block.tables().globals();
    let (height, time) = (globals.height, globals.time);
    block.slog().record(Detail::Cranks, || Event::BeginBlock { block_height: height, block_time: time });
    let begun = clock();
    let wall = policy.wall_millis.map(Duration::from_millis);
    let is_late = || wall.is_some_and(|max| clock().duration_since(begun) >= max);
    let (mut cranks, mut goes_on) = (0, true);
    let interrupter = host.warehouse.interrupter();
    let mut run = BlockRun::begun(block, *policy);
    while goes_on && !is_late() && !interrupter.is_stopping() {
        let Step::Crank(ran) = run.step(&mut host.warehouse).map_err(|halt| host.clear_up(halt))? else { break };
        cranks += 1;
        goes_on = each(&ran);
    }
    interrupter.go_on();
    let closed = run.is_over()? || is_late();
    let block = run.into_block()?;
    let fuel = block.fuel();
    Ok(FilledBlock { block, facts: BlockFacts { height, time, cranks, closed, fuel } })
}

/// Commits a block whose cranks ran, and lets leave what it sends.
pub(super) fn commit_filled(host: &mut Host, filled: FilledBlock) -> Result<BlockEnd, Box<Halt>> {
    let FilledBlock { block, facts } = filled;
    host.block = Some(commit(block, facts.height, facts.time, facts.closed)?);
    host.stand();
    host.let_leave()?;
    host.write_mailbox()?;
    // Not before: if something could not leave, the lines stay with the block.
    Ok(facts.end(host.block_mut()?))
}

pub(super) fn commit(mut block: Block, height: BlockHeight, time: u64, closed: bool) -> Result<Block, Box<Halt>> {
    let record = record_end(&mut block, height, time);
    let mut block = block.commit_after(!closed, record)?;
    let state_hash = block.committed_hash();
    record_commit(block.slog(), height, time, state_hash);
    Ok(block)
}

/// Records that a block ends; what this returns records that it has ended, once its hash is known.
pub(super) fn record_end(
    block: &mut Block,
    block_height: BlockHeight,
    block_time: u64,
) -> impl FnOnce(&mut Slog, StateHash) + use<> {
    let cranks = block.cranks();
    block.slog().record(Detail::Cranks, || Event::EndBlockStart { block_height, block_time });
    move |slog, state_hash| {
        slog.record(Detail::Cranks, || Event::EndBlockFinish { block_height, block_time, state_hash, cranks });
    }
}

/// Records that a block is durable.
pub(super) fn record_commit(slog: &mut Slog, block_height: BlockHeight, block_time: u64, state_hash: StateHash) {
    slog.record(Detail::Cranks, || Event::CommitFinish { block_height, block_time, state_hash });
}

#[allow(clippy::disallowed_methods, reason = "a block may end by the clock: outside consensus, and above the kernel")]
fn clock() -> Instant {
    Instant::now()
}
