//! The machine that experiments run on: one block that is never committed, and the instances of its vats.
//!
//! ```text
//!   open ─▶ step ─▶ step ─▶ … ─▶ mark (a checkpoint: rows by journal, heaps by page) ─▶ step ─▶ … ─▶ back to any checkpoint
//! ```
//!
//! Invariants: it runs the blocks that `vathost run` would run, to the same hashes; going back leaves nothing of what ran;
//! a base is only read.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    host::{
        block_run::{BlockRun, Step},
        controller::{Host, HostOptions},
        scenario::Scenario,
    },
    kernel::{self, Halt, Position, Ran, Workers},
    lab::{
        experiment::Base,
        probe::{Counts, Injector, Life, PlantedBugs, Probes, RunWatch},
    },
    model::{
        blame::Fault,
        id::{BlockHeight, CrankNum, DeliveryNum, VatId},
    },
    state::block::{Block, Mark, branch, heap},
    store::{Change, Database, Digest},
    vat::Warehouse,
};

/// A place of the golden run that an experiment can begin from.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Cranks from the base on.
    pub(super) step: usize,
    mark: Mark,
    /// From the checkpoint before to this one.
    changes: Vec<Vec<Change>>,
    counts: BTreeMap<VatId, Counts>,
    /// Of the rows that experiments compare.
    digest: Digest,
}

/// The result of one step.
#[derive(Debug)]
pub(super) enum Stepped {
    /// A crank ran; with the block that it closed, if it did.
    Ran(Ran, Option<BlockHeight>),
    /// Nothing was left to do.
    Quiescent,
}

/// The block and the instances that experiments run on.
pub(super) struct Machine {
    base: Base,
    scenario: Option<Scenario>,
    run: BlockRun,
    pub(super) warehouse: Warehouse,
    pub(super) checkpoints: Vec<Checkpoint>,
    /// The checkpoint that it stands at, or set out from.
    at: usize,
    /// Digest of every row, for the audit; see `Experiments::set_audit`.
    pub(super) audit_every: u64,
    /// Whether this process was made to die, and may be ended by a planted bug.
    pub(super) life: Life,
    /// What is seen of the run.
    watch: Arc<RunWatch>,
    /// The faults that are in force.
    injector: Option<Arc<Injector>>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("base", &self.base.path).field("at", &self.at).finish_non_exhaustive()
    }
}

pub(super) fn halt(fault: impl Into<Fault>) -> Box<Halt> {
    Box::new(Halt { fault: fault.into(), position: Position::default(), taken: None })
}

impl Machine {
    /// Opens a base for experiments.
    pub(super) fn open(base: &Base) -> anyhow::Result<Machine> {
        let is_state = Database::exists(&base.path);
        let scenario = if is_state { None } else { Some(Scenario::read(&base.path)?) };
        let (mut block, mut warehouse) = open(base, scenario.as_ref()).map_err(|it| *it)?;
        let watch = Arc::new(RunWatch::default());
        watch.begin(branch::compared_rows(&mut block)?);
        Probes::default().and(watch.clone()).attach(&mut block);
        warehouse.keep_stopped();
        let (checkpoints, at) = (Vec::new(), 0);
        let mut machine = Machine {
            base: base.clone(),
            scenario,
            run: BlockRun::new(block, base.policy),
            warehouse,
            checkpoints,
            at,
            audit_every: 0,
            life: Life::Dear,
            watch,
            injector: None,
        };
        machine.bring_all_up().map_err(|it| *it)?;
        machine.checkpoint(0).map_err(|it| *it)?;
        Ok(machine)
    }

    pub(super) fn block(&self) -> Result<&Block, Box<Halt>> {
        self.run.block()
    }

    pub(super) fn block_mut(&mut self) -> Result<&mut Block, Box<Halt>> {
        self.run.block_mut()
    }

    /// Returns what was seen of the run so far.
    pub(super) fn watch(&self) -> &RunWatch {
        &self.watch
    }

    /// Returns the faults that are in force.
    pub(super) fn injected(&self) -> Option<&Injector> {
        self.injector.as_deref()
    }

    /// Vats that sleep are woken once, so that no experiment has to replay a long past.
    fn bring_all_up(&mut self) -> Result<(), Box<Halt>> {
        let vats: Vec<VatId> = self.block()?.tables().vats.iter().map(|(vat, _)| *vat).collect();
        for vat in vats {
            if self.has_run(vat)? {
                let block = self.run.block_mut()?;
                kernel::bring_up(block, &mut self.warehouse, vat).map_err(halt)?;
            }
        }
        Ok(())
    }

    /// Whether a vat is alive and has a heap that is not a new one's.
    fn has_run(&self, vat: VatId) -> Result<bool, Box<Halt>> {
        let tables = self.block()?.tables();
        let first = tables.vats.get(&vat).map_or(DeliveryNum(0), |it| it.first_delivery);
        let next = tables.tallies.get(&vat).map_or(0, |it| it.deliveries);
        Ok(tables.is_alive(vat) && !tables.is_session(vat) && next > first.0)
    }

    /// Returns the fingerprint of a vat's heap; `None` if the vat is dead, or has no heap yet.
    pub(super) fn fingerprint(&mut self, vat: VatId) -> Result<Option<[u8; 32]>, Box<Halt>> {
        if !self.has_run(vat)? {
            return Ok(None);
        }
        let block = self.run.block_mut()?;
        kernel::bring_up(block, &mut self.warehouse, vat).map_err(halt)?;
        match self.warehouse.worker(vat) {
            Some(worker) => Ok(worker.fingerprint()?),
            None => Ok(None),
        }
    }

    /// Makes a checkpoint here. `step` is the number of cranks from the base on.
    pub(super) fn checkpoint(&mut self, step: usize) -> Result<(), Box<Halt>> {
        for vat in self.warehouse.take_stirred() {
            let has_run = self.has_run(vat)?;
            let block = self.run.block_mut()?;
            if has_run {
                kernel::bring_up(block, &mut self.warehouse, vat).map_err(halt)?;
                kernel::take_snapshot(block, &mut self.warehouse, vat).map_err(halt)?;
            }
        }
        self.warehouse.take_stirred();
        let block = self.run.block_mut()?;
        let counts = self.injector.as_ref().map(|it| it.counts()).unwrap_or_default();
        let changes = if self.checkpoints.is_empty() { Vec::new() } else { branch::changes(block)? };
        let mark = branch::mark(block)?;
        self.at = self.checkpoints.len();
        self.checkpoints.push(Checkpoint { step, mark, changes, counts, digest: self.watch.digest() });
        Ok(())
    }

    /// The last checkpoint at or before this step.
    pub(super) fn checkpoint_before(&self, step: usize) -> usize {
        self.checkpoints.partition_point(|it| it.step <= step).saturating_sub(1)
    }

    /// Goes to a checkpoint, whatever ran since the one that it set out from.
    pub(super) fn go_to(&mut self, to: usize) -> Result<(), Box<Halt>> {
        if self.run.has_halted() {
            self.rebuild()?;
        }
        let block = self.run.block_mut()?;
        if let Some(here) = self.checkpoints.get(self.at) {
            branch::revert(block, &here.mark);
        }
        let moved = self.at != to;
        while self.at < to {
            self.at += 1;
            branch::travel(block, self.checkpoints.get(self.at).map_or(&[], |it| &it.changes), true)?;
        }
        while self.at > to {
            branch::travel(block, self.checkpoints.get(self.at).map_or(&[], |it| &it.changes), false)?;
            self.at -= 1;
        }
        if let Some(here) = self.checkpoints.get(to) {
            branch::restore(block, &here.mark);
            self.watch.begin(here.digest);
        }
        block.set_audit(self.audit_every);
        self.injector = None;
        Probes::default().and(self.watch.clone()).attach(block);
        // They come back from the checkpoint's pages, when they are needed.
        match moved {
            true => self.warehouse.evict_all(),
            false => self.warehouse.take_stirred().into_iter().for_each(|it| self.warehouse.stop(it)),
        }
        self.warehouse.take_stirred();
        Ok(())
    }

    /// Puts an injector in force at the checkpoint where it stands; it is given the syscalls made before, and the bugs that
    /// it plants.
    pub(super) fn arm(
        &mut self,
        make: impl FnOnce(BTreeMap<VatId, Counts>, Arc<PlantedBugs>) -> Injector,
    ) -> Result<(), Box<Halt>> {
        let counts = self.checkpoints.get(self.at).map(|it| it.counts.clone()).unwrap_or_default();
        let injector = Arc::new(make(counts, Arc::new(PlantedBugs::new(Vec::new(), self.life))));
        let watch = self.watch.clone();
        let block = self.run.block_mut()?;
        injector.with(block.directives())?;
        Probes::of_bugs(injector.bugs()).and(injector.clone()).and(watch).attach(block);
        self.injector = Some(injector);
        Ok(())
    }

    /// A halt has taken the block: makes it anew, at the first checkpoint.
    fn rebuild(&mut self) -> Result<(), Box<Halt>> {
        let (mut block, _) = open(&self.base, self.scenario.as_ref())?;
        branch::mark(&mut block)?;
        self.run = BlockRun::new(block, self.base.policy);
        self.at = 0;
        self.warehouse.evict_all();
        Ok(())
    }

    /// Runs the next crank, and opens and closes the blocks around it.
    pub(super) fn step(&mut self) -> Result<Stepped, Box<Halt>> {
        match self.run.step(&mut self.warehouse)? {
            Step::Crank(ran) => Ok(Stepped::Ran(ran, self.run.close_if_over()?)),
            Step::Quiescent => Ok(Stepped::Quiescent),
            Step::BlockEnd | Step::Interrupted => self.run.close().map(|_| Stepped::Quiescent),
        }
    }

    /// Returns whether nothing is left to do.
    pub(super) fn is_at_rest(&self) -> Result<bool, Box<Halt>> {
        let block = self.block()?;
        Ok(!block.meta().open && kernel::is_finished(block))
    }

    /// The number of the next crank.
    pub(super) fn next_crank(&self) -> Result<CrankNum, Box<Halt>> {
        Ok(self.block()?.tables().globals().next_crank)
    }
}

fn open(base: &Base, scenario: Option<&Scenario>) -> Result<(Block, Warehouse), Box<Halt>> {
    let state = scenario.is_none().then(|| base.path.clone());
    let read_only = state.is_some();
    let open = HostOptions { state, read_only, code_cache: base.code_cache.clone(), ..HostOptions::default() };
    let mut controller = Host::open(open)?;
    if let Some(scenario) = scenario {
        controller.install(scenario)?;
    }
    let (mut block, warehouse) = controller.into_parts()?;
    // Snapshots are taken at checkpoints, and nowhere else.
    heap::set_interval(&mut block, Some(0));
    block.set_audit(0);
    Ok((block, warehouse))
}
