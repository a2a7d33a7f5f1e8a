//! The controller: opens a state, gives it a scenario's vats and messages, runs blocks, and commits them.
//!
//! ```text
//!   open ─▶ install (a new state only; block 0) ─▶ run_block ─▶ run_block ─▶ … ─▶ quiescent
//!                                                     └─▶ Halt: the block is gone, the state is at the last commit
//! ```
//!
//! ```
//! use vathost::{controller::{Controller, Policy}, scenario::Scenario};
//!
//! # fn main() -> anyhow::Result<()> {
//! let scenario = Scenario::read(concat!(env!("CARGO_MANIFEST_DIR"), "/vats/globals").as_ref())?;
//! let mut controller = Controller::open(Default::default())?;
//! controller.install(&scenario)?;
//! while !controller.run_block(&Policy::default(), &mut |_| true)?.quiescent {}
//! assert_eq!(controller.report()?.vats.len(), scenario.vats.len());
//! # Ok(())
//! # }
//! ```

use std::path::PathBuf;

use crate::{
    block::Block,
    directive::{Class, Directive, DirectiveSet, Missed},
    epitaph::{Epitaph, Standing},
    fault::{Fault, HostFault},
    id::{BlockHeight, BundleId, KRef, VatId},
    kernel::{self, Halt, Position, Ran, Workers},
    kernel_version,
    plant::Plant,
    report::Report,
    scenario::Scenario,
    slog::{Detail, Event, Slog},
    snapshot::Image,
    store::StateHash,
    value::CapData,
    vat::{Warehouse, engine_id},
};

/// How to open a state.
#[derive(Debug, Default)]
pub struct Open {
    /// Its folder; without one it lives in memory.
    pub state: Option<PathBuf>,
    /// Only to look at it: nothing is ever committed to it.
    pub read_only: bool,
    /// The flight recorder.
    pub slog: Slog,
    /// Where compiled code is kept, if anywhere.
    pub code_cache: Option<PathBuf>,
    /// Checks every invariant after each crank whose number this divides; `None` as the build has it.
    pub audit: Option<u64>,
    /// Makes a new state one for experiments.
    pub experimental: bool,
    /// Faults planted in the kernel: only in a state for experiments.
    pub plants: Vec<Plant>,
    /// Live instances at the most, between two cranks; the least recently delivered to are evicted.
    pub max_live: Option<usize>,
    /// Deliveries of a vat from one snapshot to the next, instead of the vats' options; 0 is never.
    pub snapshot_interval: Option<u64>,
    /// Finds the pages that changed by comparing them, even where the system could tell: slower, and the same.
    pub compare_pages: bool,
}

/// Where a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// After this many cranks.
    pub cranks: u64,
    /// After the crank that brings the block's fuel to this.
    pub fuel: Option<u64>,
    /// Seconds from one block to the next, as the vats are told.
    pub block_time: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { cranks: 1_000, fuel: None, block_time: 5 }
    }
}

/// A block that was run and committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEnd {
    /// Its height.
    pub height: BlockHeight,
    /// Cranks that it ran now.
    pub cranks: u64,
    /// Whether nothing is left to do.
    pub quiescent: bool,
    /// Whether it is closed. It is not where its caller interrupted it: it goes on at the next `run_block`, to the same hash.
    pub closed: bool,
    /// The chained hash.
    pub state_hash: StateHash,
}

/// An open state, and its vats.
#[derive(Debug)]
pub struct Controller {
    /// `None` once the host has halted.
    block: Option<Block>,
    warehouse: Warehouse,
    standing: Standing,
    /// The block's; it outlives it.
    slog: Slog,
}

impl Controller {
    /// Opens a state. Refused where another engine or another kernel made it.
    pub fn open(open: Open) -> Result<Controller, HostFault> {
        let mut block = match &open.state {
            Some(dir) if open.read_only => Block::open_read_only(dir)?,
            Some(dir) => Block::open(dir, open.slog.clone())?,
            None => Block::memory(open.slog.clone())?,
        };
        if let Some(every) = open.audit {
            block.set_audit(every);
        }
        block.set_snapshot_interval(open.snapshot_interval);
        check_engine(&block)?;
        if open.experimental && block.meta().engine.is_empty() {
            block.set_experimental();
        }
        if !open.plants.is_empty() && !block.is_experimental() {
            let why = "this state is not one for experiments: only one made with --experimental is";
            return Err(HostFault::new("plant a fault", why));
        }
        block.set_plants(open.plants);
        let (state_hash, globals) = (block.state_hash(), block.tables().globals());
        let engine = engine_id();
        block.slog().record(Detail::Cranks, || Event::HostStart {
            version: env!("CARGO_PKG_VERSION"),
            kernel_version: globals.kernel_version,
            engine: &engine,
            state_hash,
            directives_digest: None,
            height: globals.height.0,
        });
        let mut warehouse = Warehouse::new(open.code_cache.as_deref())?;
        warehouse.set_max_live(open.max_live);
        if open.compare_pages {
            warehouse.compare_pages();
        }
        block.slog().record(Detail::Cranks, || Event::ImportKernelFinish);
        let mut controller =
            Controller { block: Some(block), warehouse, standing: Standing::default(), slog: open.slog };
        controller.stand();
        Ok(controller)
    }

    /// What it is made of, for a run that is not to be committed.
    pub fn into_parts(self) -> Result<(Block, Warehouse), Box<Halt>> {
        Ok((self.block.ok_or_else(gone)?, self.warehouse))
    }

    /// The state, to be changed in what its rows are not.
    pub fn block_mut(&mut self) -> Result<&mut Block, Box<Halt>> {
        self.block.as_mut().ok_or_else(gone)
    }

    /// The state.
    pub fn block(&self) -> Result<&Block, Box<Halt>> {
        self.block.as_ref().ok_or_else(gone)
    }

    /// What is known of the last commit, also after a halt.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    fn stand(&mut self) {
        if let Some(block) = &self.block {
            let globals = block.tables().globals();
            self.standing = Standing {
                kernel_version: globals.kernel_version,
                height: globals.height.0,
                state_hash: block.state_hash().to_string(),
                directives_digest: block.directives().digest().to_string(),
            };
        }
    }

    /// Puts directives in force, and says how each stands to the state. Refused where the state is past one that is in
    /// consensus and has no record of it, unless that is accepted.
    pub fn set_directives(
        &mut self,
        set: DirectiveSet,
        accept_missed: bool,
    ) -> Result<Vec<(Directive, Class)>, Missed> {
        let Some(block) = &mut self.block else { return Ok(Vec::new()) };
        let classes = block.classes(&set);
        if !accept_missed {
            let missed = classes.iter().filter(|(it, class)| it.in_consensus() && *class == Class::Missed);
            let missed: Vec<_> = missed.map(|(it, _)| it.clone()).collect();
            if !missed.is_empty() {
                return Err(Missed(missed));
            }
        }
        block.set_directives(set);
        self.stand();
        Ok(classes)
    }

    fn take(&mut self) -> Result<Block, Box<Halt>> {
        self.block.take().ok_or_else(gone)
    }

    /// Whether nothing was ever committed to the state.
    pub fn is_new(&self) -> bool {
        self.block.as_ref().is_some_and(|it| it.meta().engine.is_empty())
    }

    /// Gives a new state the vats and messages of a scenario, and commits them as block 0: whatever happens then, they are there.
    pub fn install(&mut self, scenario: &Scenario) -> Result<(), Box<Halt>> {
        self.try_install(scenario).inspect_err(|halt| record_halt(&mut self.slog, halt, &self.standing))
    }

    fn try_install(&mut self, scenario: &Scenario) -> Result<(), Box<Halt>> {
        let mut block = self.take()?;
        let globals = block.tables().globals();
        let (height, time) = (globals.height, globals.time);
        block.slog().record(Detail::Cranks, || Event::BeginBlock { block_height: height, block_time: time });
        block.describe(&engine_id(), &scenario.digest());
        for wasm in scenario.vats.iter().map(|it| &it.wasm).chain(scenario.bundles.values()) {
            block.put_bundle(wasm);
        }
        let (block, ()) = kernel::outside(block, |crank| {
            for (name, wasm) in &scenario.bundles {
                crank.name_bundle(name, BundleId::of(wasm));
            }
            let mut roots = Vec::new();
            for vat in &scenario.vats {
                let bundle = BundleId::of(&vat.wasm);
                let parameters = CapData::plain(&vat.parameters);
                let id = crank.create_vat(&vat.name, bundle, vat.options.clone(), parameters)?;
                let root = crank.root(id)?;
                crank.pin(root)?;
                roots.push(KRef::from(root));
            }
            if let Some((name, at)) = scenario.bootstrap.as_ref().and_then(|it| Some((it, scenario.position(it)?))) {
                let mut slots = roots.clone();
                slots.push(crank.vat_admin()?.into());
                let data = CapData { body: bootstrap_body(scenario).into(), slots };
                crank.send_from_outside(roots[at], data, Some((name, "bootstrap")))?;
            }
            for send in &scenario.sends {
                let (body, slots) = scenario.methargs(send).map_err(|why| HostFault::new("send", why))?;
                let slots = slots.into_iter().map(|at| roots[at]).collect();
                let to = scenario.position(&send.to).ok_or_else(|| HostFault::new("send", "no such vat"))?;
                crank.send_from_outside(
                    roots[to],
                    CapData { body: body.into(), slots },
                    Some((&send.to, &send.method)),
                )?;
            }
            Ok(())
        })?;
        self.block = Some(commit(block, height, time, true)?);
        self.stand();
        Ok(())
    }

    /// Runs one block, or the rest of one that was interrupted, and commits it. `each` sees every crank, and says whether to
    /// go on; where it says no, what was run is committed and the block stays open.
    pub fn run_block(&mut self, policy: &Policy, each: &mut dyn FnMut(&Ran) -> bool) -> Result<BlockEnd, Box<Halt>> {
        self.try_run_block(policy, each).inspect_err(|halt| record_halt(&mut self.slog, halt, &self.standing))
    }

    fn try_run_block(&mut self, policy: &Policy, each: &mut dyn FnMut(&Ran) -> bool) -> Result<BlockEnd, Box<Halt>> {
        let mut block = self.take()?;
        let mut globals = block.tables().globals();
        if !block.meta().open {
            let height = globals.height.next();
            let time = height.0 * policy.block_time;
            block = kernel::outside(block, |crank| {
                crank.begin_block(height, time);
                Ok(())
            })?
            .0;
            globals = block.tables().globals();
        }
        let (height, time) = (globals.height, globals.time);
        block.slog().record(Detail::Cranks, || Event::BeginBlock { block_height: height, block_time: time });
        let (mut cranks, mut goes_on, mut quiescent) = (0, true, false);
        while goes_on && block.cranks() < policy.cranks && policy.fuel.is_none_or(|max| block.fuel() < max) {
            let (next, ran) = kernel::crank(block, &mut self.warehouse).inspect_err(|_| self.warehouse.evict_all())?;
            block = next;
            let Some(ran) = ran else {
                quiescent = true;
                break;
            };
            cranks += 1;
            goes_on = each(&ran);
        }
        let quiescent = quiescent || kernel::is_quiescent(&block);
        let full = block.cranks() >= policy.cranks || policy.fuel.is_some_and(|max| block.fuel() >= max);
        let closed = quiescent || full;
        block = commit(block, height, time, closed)?;
        let state_hash = block.state_hash();
        self.block = Some(block);
        self.stand();
        Ok(BlockEnd { height, cranks, quiescent, closed, state_hash })
    }

    /// Ends every instance; the vats come back from their snapshots and transcripts when they are needed.
    pub fn evict_all(&mut self) {
        self.warehouse.evict_all();
    }

    /// How many vats have an instance.
    pub fn live(&self) -> usize {
        self.warehouse.live()
    }

    /// The heap of a vat that is alive, as it is after its last delivery, with all its pages. It is brought up if need be.
    pub fn heap(&mut self, vat: VatId) -> Result<Image, Box<Halt>> {
        let mut block = self.take()?;
        let image = image_of(&mut block, &mut self.warehouse, vat);
        self.block = Some(block);
        image.map_err(|fault| {
            // It may have got half of its heap.
            self.warehouse.stop(vat);
            Box::new(Halt { fault, position: Position::default(), message_hash: None })
        })
    }

    /// Whether there is nothing left to do, and no block is open.
    pub fn is_quiescent(&self) -> Result<bool, Box<Halt>> {
        let block = self.block()?;
        Ok(kernel::is_quiescent(block) && !block.meta().open)
    }

    /// The state, summed up.
    pub fn report(&self) -> Result<Report, Box<Halt>> {
        Ok(Report::of(self.block()?))
    }

    /// The flight recorder. It can be used, and should be flushed, after a halt too.
    pub fn slog(&self) -> &Slog {
        &self.slog
    }
}

/// The last words. An error of the recorder is told by whoever flushes it next, at the end.
fn record_halt(slog: &mut Slog, halt: &Halt, standing: &Standing) {
    if let Some(epitaph) = Epitaph::of(halt, standing, None)
        && let Ok(epitaph) = serde_json::to_value(epitaph)
    {
        slog.record(Detail::Cranks, || Event::KernelPanic { epitaph: &epitaph });
    }
}

fn commit(mut block: Block, block_height: BlockHeight, block_time: u64, closed: bool) -> Result<Block, Box<Halt>> {
    let (state_hash, cranks) = (block.state_hash(), block.cranks());
    block.slog().record(Detail::Cranks, || Event::EndBlockStart { block_height, block_time });
    block.slog().record(Detail::Cranks, || Event::EndBlockFinish { block_height, block_time, state_hash, cranks });
    let mut block = block.commit(!closed)?;
    block.slog().record(Detail::Cranks, || Event::CommitFinish { block_height, block_time, state_hash });
    Ok(block)
}

fn image_of(block: &mut Block, workers: &mut Warehouse, vat: VatId) -> Result<Image, Fault> {
    let none = || HostFault::new("look at a heap", format_args!("{vat} is not alive"));
    if !block.tables().is_alive(vat) {
        return Err(none().into());
    }
    kernel::bring_up(block, workers, vat)?;
    let image = workers.worker(vat).ok_or_else(none)?.image(None)?;
    Ok(image.unwrap_or_default())
}

fn gone() -> Box<Halt> {
    HostFault::new("use a state", "the host has halted: open it anew").into()
}

fn check_engine(block: &Block) -> Result<(), HostFault> {
    let (made, mine) = (&block.meta().engine, engine_id());
    if !made.is_empty() && *made != mine {
        let why =
            format!("its vats ran on `{made}`, this binary has `{mine}`: use the version of vathost that made it");
        return Err(HostFault::new("open the state", why));
    }
    let version = block.tables().globals().kernel_version;
    if !kernel_version::is_known(version) {
        let why = format!("its kernel has version {version}, this binary can run {}", kernel_version::known());
        return Err(HostFault::new("open the state", why));
    }
    Ok(())
}

/// `bootstrap({ vats, devices, vatAdmin })`, with a presence of each root.
fn bootstrap_body(scenario: &Scenario) -> String {
    let vats: serde_json::Map<_, _> = scenario
        .vats
        .iter()
        .enumerate()
        .map(|(at, vat)| (vat.name.clone(), serde_json::json!(format!("${at}.Alleged: {}", vat.name))))
        .collect();
    let admin = format!("${}.Alleged: vatAdmin", scenario.vats.len());
    format!("#{}", serde_json::json!(["bootstrap", [{ "vats": vats, "devices": {}, "vatAdmin": admin }]]))
}
