//! A state, run on from its last commit, crank by crank, and back.
//!
//! ```text
//!   state ──looked at──▶ base (never written) ──reopen──▶ block ──advance──▶ block ──▶ …
//!                           ▲                                                   │
//!                           └───────────(back, a halt: run again from here)─────┘
//! ```
//!
//! Invariants: the base is only read, so that every place in the open work can be reached again; blocks are begun and committed as a
//! host would do it, in memory over the base; between two calls the replica is just before a crank, or at the end. Only if the way back
//! fails, or after a halt in `crank_once`, is it nowhere: then calls fail.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use crate::{
    debug::{Base, place::hash_before},
    directive::{DirectiveSet, Trigger},
    host::{
        block_run::{BlockRun, Step},
        controller::check_versions,
    },
    kernel::{self, Ahead, Halt, Position, Probe, Ran, Workers},
    lab::Schedule,
    lab::probe::{Injector, Life, PlantedBug, PlantedBugs, Probes},
    model::{
        blame::{Fault, HostFault},
        id::{CrankNum, VatId},
    },
    slog::Slog,
    state::block::{Block, BlockPolicy, stored},
    vat::{Warehouse, shares},
};

/// The settings that decide, besides the state, which cranks a replica runs: those of its host.
#[derive(Debug, Clone, Default)]
pub struct ReplicaSettings {
    /// The policy for ending blocks.
    pub policy: BlockPolicy,
    /// The directives in force.
    pub directives: DirectiveSet,
    /// Modules that the operators gave the host, which the state may not hold yet.
    pub bundles: Vec<Vec<u8>>,
    /// Faults planted in the host's kernel.
    pub plants: Vec<PlantedBug>,
    /// The faults of an experiment whose state this is, and the seed of all that is random in them.
    pub faults: Option<(Schedule, u64)>,
    /// Checks every invariant after each crank whose number this divides; `None` as the build has it.
    pub audit: Option<u64>,
    /// The folder in which compiled code is kept, if any.
    pub code_cache: Option<PathBuf>,
}

/// A state that is looked at, run to a place in its open work.
pub struct Replica {
    home: Base,
    how: ReplicaSettings,
    slog: Slog,
    observer: Option<Arc<dyn Probe>>,
    /// Modules that the state does not hold.
    modules: Vec<Vec<u8>>,
    warehouse: Warehouse,
    /// The block at the place; `None` if the place could not be reached again.
    run: Option<BlockRun>,
    ahead: Option<Ahead>,
    base: CrankNum,
    /// The number of directives that were obeyed before the last commit.
    base_applied: usize,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}

impl Replica {
    /// Opens a state, at the place at which its host would continue.
    pub fn open(
        home: Base,
        how: ReplicaSettings,
        slog: Slog,
        observer: Option<Arc<dyn Probe>>,
    ) -> Result<Replica, Box<Halt>> {
        let warehouse = Warehouse::new(how.code_cache.as_deref())?;
        let modules = how.bundles.clone();
        let mut machine = Replica {
            home,
            how,
            slog,
            observer,
            modules,
            warehouse,
            run: None,
            ahead: None,
            base: CrankNum(0),
            base_applied: 0,
        };
        machine.reopen()?;
        machine.base = machine.next_crank()?;
        machine.base_applied = machine.block()?.tables().applied.len();
        machine.look()?;
        Ok(machine)
    }

    /// Returns the open block, with all state at this place.
    pub fn block(&self) -> Result<&Block, Box<Halt>> {
        self.run.as_ref().ok_or_else(gone)?.block()
    }

    /// Returns the next crank; `None` if nothing is left to do.
    pub fn ahead(&self) -> Option<&Ahead> {
        self.ahead.as_ref()
    }

    /// Returns whether the replica is just before this place.
    pub fn is_at(&self, place: Trigger) -> Result<bool, Box<Halt>> {
        let block = self.block()?;
        let (height, first) = (block.tables().globals().height, block.cranks() == 0);
        Ok(self.ahead.as_ref().is_some_and(|it| match place {
            Trigger::Crank(crank) => it.crank == crank,
            Trigger::Delivery(vat, number) => it.deliveries.contains(&(vat, number)),
            Trigger::Block(block) => first && height == block,
            // A place of experiments: no reader of this session takes one.
            Trigger::Spot(_) => false,
        }))
    }

    /// Returns the first crank that is not committed: no place before it can be reached.
    pub fn base(&self) -> CrankNum {
        self.base
    }

    /// Returns the crank in which this line was obeyed since the last commit, if it was, and if it is one that the state records.
    pub fn obeyed(&self, line: &str) -> Option<CrankNum> {
        let rows = self.block().ok()?.tables().applied.iter().skip(self.base_applied);
        rows.map(|(_, it)| it).find(|it| it.text == line).map(|it| it.crank)
    }

    /// Returns the directives in force.
    pub fn directives(&self) -> &DirectiveSet {
        &self.how.directives
    }

    /// Puts other directives in force, from the last commit on. If one was obeyed since then, all cranks since then run again, because the
    /// record of it names the whole set.
    pub fn set_directives(&mut self, set: DirectiveSet) -> Result<(), Box<Halt>> {
        let here = self.next_crank()?;
        self.how.directives = set.clone();
        let run = self.run.as_mut().ok_or_else(gone)?;
        if run.block()?.tables().applied.len() > self.base_applied {
            self.run = None;
            return self.stand_before(here);
        }
        run.block_mut()?.set_directives(set);
        run.begin()?;
        self.look()
    }

    /// Provides a module, as an operator would, for an upgrade.
    pub fn bring_module(&mut self, wasm: Vec<u8>) {
        if let Some(Ok(block)) = self.run.as_mut().map(BlockRun::block_mut) {
            block.put_bundle(&wasm);
        }
        self.modules.push(wasm);
    }

    /// Returns the number of the next crank.
    pub fn next_crank(&self) -> Result<CrankNum, Box<Halt>> {
        Ok(self.block()?.tables().globals().next_crank)
    }

    /// Runs the next crank. Returns `None` if nothing is left to do. After a halt the replica is before the same crank again.
    pub fn crank(&mut self) -> Result<Option<Ran>, Box<Halt>> {
        let crank = self.next_crank()?;
        match self.advance() {
            Ok(ran) => {
                self.look()?;
                Ok(ran)
            }
            Err(halt) => {
                self.stand_before(crank)?;
                Err(halt)
            }
        }
    }

    /// Goes to just before this crank, or to the end if that comes first. If the host would halt on the way, the replica stays before
    /// the crank that halts, and the halt is the error.
    pub fn stand_before(&mut self, crank: CrankNum) -> Result<(), Box<Halt>> {
        let Err(halt) = self.run_to(crank) else { return self.look() };
        if let Some(broken) = halt.position.crank.filter(|it| *it < crank) {
            self.run_to(broken)?;
            self.look()?;
        }
        Err(halt)
    }

    fn run_to(&mut self, crank: CrankNum) -> Result<(), Box<Halt>> {
        if self.block().is_err() || self.next_crank()? > crank {
            self.reopen()?;
        }
        while self.next_crank()? < crank && self.advance()?.is_some() {}
        Ok(())
    }

    /// Returns the state hash before the next crank, as a host reports it.
    pub fn state_hash(&self) -> Result<String, Box<Halt>> {
        Ok(hash_before(self.block()?))
    }

    /// Lets the vats run on an engine that a debugger can stop, from here on.
    pub(super) fn debug_guests(&mut self) -> Result<(), HostFault> {
        self.warehouse = Warehouse::for_debugger(self.how.code_cache.as_deref())?;
        Ok(())
    }

    /// Returns the live vats.
    pub(super) fn workers(&mut self) -> &mut Warehouse {
        &mut self.warehouse
    }

    /// Returns the folder in which compiled code is kept, if any.
    pub(super) fn code_cache(&self) -> Option<PathBuf> {
        self.how.code_cache.clone()
    }

    /// Runs the next crank, as [`crank`](Replica::crank) does; but after a halt no other call works.
    pub(super) fn crank_once(&mut self) -> Result<Option<Ran>, Box<Halt>> {
        let ran = self.advance()?;
        self.look()?;
        Ok(ran)
    }

    /// Gives up the open work, and returns the state as it was committed, for a view of a vat's own history.
    pub(super) fn surrender(mut self) -> Result<(Block, Warehouse, Base), Box<Halt>> {
        self.reopen()?;
        let block = self.run.take().ok_or_else(gone)?.into_block()?;
        Ok((block, self.warehouse, self.home))
    }

    /// Returns part of the memory of a vat between two deliveries, without what lies outside of it, and the memory's size. The vat is
    /// brought up for it.
    pub fn memory(&mut self, vat: VatId, at: u64, len: u64) -> Result<(Vec<u8>, u64), Fault> {
        let run = self.run.as_mut().ok_or_else(|| gone().fault)?;
        let block = run.block_mut().map_err(|it| it.fault)?;
        kernel::bring_up(block, &mut self.warehouse, vat)?;
        let worker = self.warehouse.worker(vat).ok_or_else(|| HostFault::new("look at a heap", "the vat is not up"))?;
        let image = worker.image(None)?.unwrap_or_default();
        Ok((image.slice(at, len), image.heap.bytes()))
    }

    fn reopen(&mut self) -> Result<(), Box<Halt>> {
        self.warehouse.evict_all();
        (self.run, self.ahead) = (None, None);
        let mut block = Block::over(self.home.open()?, self.slog.clone())?;
        check_versions(&block)?;
        stored::set_memory(&mut block, shares(None).rows);
        if let Some(every) = self.how.audit {
            stored::hold_references(&mut block)?;
            block.set_audit(every);
        }
        block.set_directives(self.how.directives.clone());
        let bugs = Arc::new(PlantedBugs::new(self.how.plants.clone(), Life::Dear));
        let mut probes = Probes::of_bugs(bugs.clone());
        if let Some((schedule, seed)) = &self.how.faults {
            // The state is the experiment's base: no syscall was counted before it.
            let injector = Injector::new(schedule.clone(), *seed, BTreeMap::new(), bugs);
            injector.with(block.directives())?;
            probes = probes.and(Arc::new(injector));
        }
        if let Some(observer) = &self.observer {
            probes = probes.and(observer.clone());
        }
        probes.attach(&mut block);
        for wasm in &self.modules {
            block.put_bundle(wasm);
        }
        let mut run = BlockRun::new(block, self.how.policy);
        run.begin()?;
        self.run = Some(run);
        Ok(())
    }

    /// Runs the next crank. If the host would then begin another block, that is begun.
    fn advance(&mut self) -> Result<Option<Ran>, Box<Halt>> {
        self.ahead = None;
        let run = self.run.as_mut().ok_or_else(gone)?;
        loop {
            let ran = match run.step(&mut self.warehouse)? {
                Step::Crank(ran) => Some(ran),
                Step::BlockEnd => None,
                Step::Quiescent | Step::Interrupted => return Ok(None),
            };
            if run.commit_if_over()?.is_some() {
                run.begin()?;
            }
            if ran.is_some() {
                return Ok(ran);
            }
        }
    }

    fn look(&mut self) -> Result<(), Box<Halt>> {
        self.ahead = self.run.as_mut().ok_or_else(gone)?.look()?;
        Ok(())
    }
}

fn gone() -> Box<Halt> {
    let fault = HostFault::new("debug", "the machine cannot be brought back to where it stood").into();
    Box::new(Halt { fault, position: Position::default(), taken: None })
}
