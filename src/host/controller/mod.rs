//! The controller: opens a state, gives it a scenario's vats and messages, takes in what comes from outside, runs blocks, and commits
//! them. It is what the command line is built on, and what a node or a test embeds.
//!
//! ```text
//!   open ─▶ install (a new state only; block 0) ─▶ run_block ─▶ run_block ─▶ … ─▶ quiescent
//!             send, receive_mail, schedule_* ─────────▲ │└─▶ outcome, outbox, BlockEnd::console
//!                                                       └──▶ Halt: the block is gone, the state is at the last commit
//! ```
//!
//! Invariants: what comes from outside is on disk before any crank of its block runs, so that a crash or a kernel panic meets the
//! same block again; what goes outside was committed before.
//!
//! An example is on the crate's front page.

mod add;
mod device;
mod input;
mod schedule;
mod upgrade;

pub use input::{Arg, Outcome, Sent, To};
pub use schedule::Refusal;
pub use upgrade::UPGRADE;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use input::Input;
use serde_json::{Map, json};

pub use crate::state::block::BlockPolicy;
use crate::{
    directive::plant::{End, Plant},
    directive::{Class, Directive, DirectiveSet, Missed},
    host::{
        epitaph::{Course, Epitaph, Standing},
        report::Report,
        scenario::Scenario,
    },
    kernel::{self, Halt, Position, Ran, Workers},
    model::{
        blame::{Fault, HostFault},
        id::{BlockHeight, BundleId, DeviceId, KRef, PromiseId, VatId},
        kernel_version, smallcaps,
        value::CapData,
    },
    slog::{Detail, Event, Slog},
    state::{
        block::{Block, Heard, Printed},
        device::Device,
        snapshot::Image,
        table::{DeviceRow, Mailbox, Outgoing, Tables},
    },
    store::{Database, Disk, Pace, StateHash},
    vat::{CoreDump, Interrupter, Warehouse, engine_id},
};

/// The options for opening a state.
#[derive(Debug, Default)]
pub struct HostOptions {
    /// The folder of the state. Without one, the state lives in memory.
    pub state: Option<PathBuf>,
    /// Only to look at it: nothing is ever committed to it.
    pub read_only: bool,
    /// The flight recorder.
    pub slog: Slog,
    /// The folder for compiled code, if it is kept.
    pub code_cache: Option<PathBuf>,
    /// Checks every invariant after each crank whose number this divides; `None` as the build has it.
    pub audit: Option<u64>,
    /// Makes a new state one for experiments.
    pub experimental: bool,
    /// Faults planted in the kernel: only in a state for experiments.
    pub plants: Vec<Plant>,
    /// The way in which the process ends if a plant orders it: only for a process that was made to die.
    pub end: Option<End>,
    /// At most this many live instances between two cranks; those that waited longest for a delivery are evicted.
    /// `None`: as many as this machine has mappings and addresses for.
    pub max_live: Option<usize>,
    /// Bytes that live instances may take, between two cranks; the same are evicted. `None`: half of this machine's memory.
    pub memory_max: Option<u64>,
    /// Deliveries of a vat from one snapshot to the next, instead of the vats' options; 0 is never.
    pub snapshot_interval: Option<u64>,
    /// Whether to find changed pages by comparing them, even if the system could tell: slower, with the same result.
    pub compare_pages: bool,
    /// The disk between the state and its files: only in an experiment.
    pub disk: Option<Disk>,
    /// Devices of the program itself. A new state gets all of them, for its life; one that has some needs the same.
    pub devices: Vec<Arc<dyn Device>>,
}

/// A block that was run and committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockEnd {
    /// The height of the block.
    pub height: BlockHeight,
    /// Cranks that it ran now.
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
    /// The lines that vats wrote to the console in this time.
    pub console: Vec<Printed>,
    /// The lines that vats wrote to their own consoles, including those of undone cranks.
    pub heard: Heard,
}

/// An open state, and its vats.
#[derive(Debug)]
pub struct Host {
    /// `None` once the host has halted.
    block: Option<Block>,
    warehouse: Warehouse,
    standing: Standing,
    /// The block's; it outlives it.
    slog: Slog,
    /// The inputs from outside since the last block.
    inputs: Vec<Input>,
    /// Whether the start is recorded. This happens once the directives are known, or something is done without any.
    announced: bool,
    core_dump: Option<CoreDump>,
    /// The devices of the program that let messages leave: none if the state is only looked at.
    devices: Vec<Arc<dyn Device>>,
    /// The number of the last message of each that left.
    left: BTreeMap<DeviceId, u64>,
}

impl Host {
    /// Opens a state to run or to read. It is refused if another engine or another kernel made it.
    pub fn open(open: HostOptions) -> Result<Host, HostFault> {
        let mut block = match &open.state {
            Some(dir) if open.read_only => Block::open_read_only(dir)?,
            Some(dir) => {
                let database = Database::open_on(dir, &Tables::layout(), open.disk.as_ref())?;
                Block::over(database, open.slog.clone())?
            }
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
        let standing = Standing { run: course(&open), ..Standing::default() };
        device::check(&block, &open.devices, open.read_only)?;
        block.set_devices(open.devices.clone());
        block.set_plants(open.plants);
        open.end.into_iter().for_each(|it| block.set_end(it));
        let mut warehouse = Warehouse::new(open.code_cache.as_deref())?;
        warehouse.set_max_live(open.max_live);
        warehouse.set_memory_max(open.memory_max);
        if open.compare_pages {
            warehouse.compare_pages();
        }
        let mut controller = Host {
            block: Some(block),
            warehouse,
            standing,
            slog: open.slog,
            inputs: Vec::new(),
            announced: false,
            core_dump: None,
            devices: if open.read_only { Vec::new() } else { open.devices },
            left: BTreeMap::new(),
        };
        controller.stand();
        Ok(controller)
    }

    /// Returns the block and the warehouse that the host is made of, for a run that is not to be committed.
    pub fn into_parts(self) -> Result<(Block, Warehouse), Box<Halt>> {
        Ok((self.block.ok_or_else(gone)?, self.warehouse))
    }

    /// Returns the state, for changes outside of its rows.
    pub fn block_mut(&mut self) -> Result<&mut Block, Box<Halt>> {
        self.block.as_mut().ok_or_else(gone)
    }

    /// Returns the state to read; an error after a halt.
    pub fn block(&self) -> Result<&Block, Box<Halt>> {
        self.block.as_ref().ok_or_else(gone)
    }

    /// Returns what is known of the last commit, also after a halt.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    fn stand(&mut self) {
        if let Some(block) = &self.block {
            let globals = block.tables().globals();
            self.standing = Standing {
                kernel_version: globals.kernel_version,
                height: globals.height.0,
                state_hash: block.committed_hash().to_string(),
                directives_digest: block.directives().digest().to_string(),
                directives: block.directives().iter().map(ToString::to_string).collect(),
                run: std::mem::take(&mut self.standing.run),
            };
        }
    }

    /// Puts directives in force, and returns the class of each. Refused if the state is past one that is in consensus
    /// and has no record of it, unless that is accepted.
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
        self.announce();
        Ok(classes)
    }

    /// Gives the state a bundle to upgrade to: stored with the next block, and in no hash until a vat runs it.
    pub fn put_bundle(&mut self, wasm: &[u8]) -> Result<BundleId, Box<Halt>> {
        self.block.as_mut().map(|it| it.put_bundle(wasm)).ok_or_else(gone)
    }

    /// Records the start, once.
    fn announce(&mut self) {
        let Some(block) = self.block.as_mut().filter(|_| !self.announced) else { return };
        self.announced = true;
        let (state_hash, globals, engine) = (block.committed_hash(), block.tables().globals(), engine_id());
        let directives = block.directives();
        let digest = (!directives.is_empty()).then(|| directives.digest().to_string());
        block.slog().record(Detail::Cranks, || Event::HostStart {
            version: env!("CARGO_PKG_VERSION"),
            kernel_version: globals.kernel_version,
            engine: &engine,
            state_hash,
            directives_digest: digest.as_deref(),
            height: globals.height.0,
        });
        block.slog().record(Detail::Cranks, || Event::ImportKernelFinish);
    }

    /// Takes the block, to change it: once all has left that was committed, since the next block forgets it.
    fn take(&mut self) -> Result<Block, Box<Halt>> {
        self.announce();
        self.let_leave()?;
        self.block.take().ok_or_else(gone)
    }

    /// Returns whether nothing was ever committed to the state.
    pub fn is_new(&self) -> bool {
        self.block.as_ref().is_some_and(|it| it.meta().engine.is_empty())
    }

    /// Gives a new state the vats and messages of a scenario, and commits them as block 0: whatever happens then, they are there.
    pub fn install(&mut self, scenario: &Scenario) -> Result<(), Box<Halt>> {
        self.try_install(scenario).inspect_err(|halt| self.record_halt(halt))
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
        let own: Vec<String> = self.devices.iter().map(|it| it.name().to_owned()).collect();
        let (block, ()) = kernel::outside(block, |crank| {
            if let Some(version) = scenario.kernel {
                crank.set_kernel_version(version);
            }
            for (name, wasm) in &scenario.bundles {
                crank.name_bundle(name, BundleId::of(wasm));
            }
            let mut devices: Vec<KRef> =
                scenario.devices.iter().map(|it| crank.add_device(it.clone()).into()).collect();
            devices.extend(own.iter().map(|name| KRef::from(crank.add_own_device(name))));
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
                let slots = roots.iter().copied().chain(devices).chain([crank.vat_admin()?.into()]).collect();
                let data = CapData { body: bootstrap_body(scenario, &own).into(), slots };
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

    /// Ends a block from another thread, in the middle of a delivery: its [`stop`](Interrupter::stop) makes `run_block` return as
    /// if the crank before had been the last. Where directives had begun the crank it is a halt, and the block is lost.
    pub fn interrupter(&self) -> Interrupter {
        self.warehouse.interrupter()
    }

    /// Returns the policy that cut the state's last blocks: a run that is to reach the same hashes as others must
    /// keep it.
    pub fn policy(&self) -> BlockPolicy {
        self.block.as_ref().map(Block::policy).unwrap_or_default()
    }

    /// Has the state keep how its blocks are cut from now on, as [`run_block`](Host::run_block) does. Where that is another way
    /// than before, every replica must change with it: the way before, and the new one.
    pub fn keep_policy(&mut self, policy: &BlockPolicy) -> Option<[Pace; 2]> {
        self.block.as_mut()?.keep_policy(policy)
    }

    /// Runs one block, or the rest of one that was interrupted, and commits it. `each` sees every crank, and says
    /// whether to continue; if it says no, what was run is committed and the block stays open.
    pub fn run_block(
        &mut self,
        policy: &BlockPolicy,
        each: &mut dyn FnMut(&Ran) -> bool,
    ) -> Result<BlockEnd, Box<Halt>> {
        self.try_run_block(policy, each).inspect_err(|halt| self.record_halt(halt))
    }

    fn try_run_block(
        &mut self,
        policy: &BlockPolicy,
        each: &mut dyn FnMut(&Ran) -> bool,
    ) -> Result<BlockEnd, Box<Halt>> {
        let mut block = self.begin_block(policy)?;
        let globals = block.tables().globals();
        let (height, time) = (globals.height, globals.time);
        block.slog().record(Detail::Cranks, || Event::BeginBlock { block_height: height, block_time: time });
        let begun = clock();
        let is_full = |block: &Block| {
            let wall = policy.wall_millis.map(Duration::from_millis);
            block.is_full(policy) || wall.is_some_and(|max| clock().duration_since(begun) >= max)
        };
        let (mut cranks, mut goes_on) = (0, true);
        let interrupter = self.warehouse.interrupter();
        while goes_on && !is_full(&block) && !interrupter.is_stopping() {
            let (next, ran) = kernel::crank(block, &mut self.warehouse).map_err(|halt| self.clear_up(halt))?;
            block = next;
            // Nothing is left, or the delivery was interrupted.
            let Some(ran) = ran else { break };
            cranks += 1;
            goes_on = each(&ran);
        }
        interrupter.go_on();
        let closed = kernel::is_quiescent(&block) || is_full(&block);
        let fuel = block.fuel();
        block = commit(block, height, time, closed)?;
        let (state_hash, quiescent) = (block.committed_hash(), kernel::is_finished(&block));
        self.block = Some(block);
        self.stand();
        self.let_leave()?;
        // Not before: what was written stays with the block where something could not leave.
        let block = self.block_mut()?;
        let (console, heard) = (block.take_printed(), block.take_heard());
        Ok(BlockEnd { height, cranks, quiescent, closed, fuel, state_hash, console, heard })
    }

    /// No instance outlives its block. Of the guest that the kernel broke with, what is left is kept.
    fn clear_up(&mut self, halt: Box<Halt>) -> Box<Halt> {
        if let (Fault::Kernel(_), Some((vat, ..))) = (&halt.fault, halt.position.delivery) {
            self.core_dump = self.warehouse.core_dump(vat);
        }
        self.warehouse.evict_all();
        halt
    }

    /// Records the halt as the last event. An error of the recorder is reported by the next flush, at the end.
    fn record_halt(&mut self, halt: &Halt) {
        let Some(mut epitaph) = Epitaph::of(halt, &self.standing, None) else { return };
        epitaph.guest_backtrace = self.core_dump.as_ref().and_then(CoreDump::backtrace);
        if let Ok(epitaph) = serde_json::to_value(epitaph) {
            self.slog.record(Detail::Cranks, || Event::KernelPanic { epitaph: &epitaph });
        }
    }

    /// Returns what is left of the guest of the broken delivery after a kernel panic, if the guest was live.
    pub fn core_dump(&self) -> Option<&CoreDump> {
        self.core_dump.as_ref()
    }

    /// Ends every instance; the vats come back from their snapshots and transcripts when they are needed.
    pub fn evict_all(&mut self) {
        self.warehouse.evict_all();
    }

    /// Returns the number of vats that have an instance.
    pub fn live(&self) -> usize {
        self.warehouse.live()
    }

    /// Returns the heap of a vat that is alive, as it is after its last delivery, with all its pages. The vat is
    /// brought up if need be.
    pub fn heap(&mut self, vat: VatId) -> Result<Image, Box<Halt>> {
        let mut block = self.take()?;
        let image = image_of(&mut block, &mut self.warehouse, vat);
        self.block = Some(block);
        image.map_err(|fault| {
            // It may have got half of its heap.
            self.warehouse.stop(vat);
            Box::new(Halt { fault, position: Position::default(), taken: None })
        })
    }

    /// Returns whether there is nothing left to do, now or at a later time, and no block is open.
    pub fn is_quiescent(&self) -> Result<bool, Box<Halt>> {
        Ok(self.inputs.is_empty() && kernel::is_finished(self.block()?))
    }

    /// Obeys what is ordered before the crank that would come next, although nothing is left to do: a halt, an expectation, a break.
    pub fn obey_at_rest(&self) -> Result<(), Box<Halt>> {
        kernel::obey_at_rest(self.block()?)
    }

    /// Sends a message with the next block. Refused if it names what does not exist.
    pub fn send<'a>(
        &mut self,
        to: impl Into<To<'a>>,
        method: &str,
        args: impl IntoIterator<Item = Arg>,
    ) -> Result<Sent, HostFault> {
        let block = self.block.as_ref().ok_or_else(halted)?;
        let tables = block.tables();
        let (target, to) = input::target(tables, to.into())?;
        let data = input::methargs(tables, method, args.into_iter().collect())?;
        Ok(self.queue_send(target, to, method, data))
    }

    fn queue_send(&mut self, target: input::Target, to: String, method: &str, data: CapData<KRef>) -> Sent {
        let next = self.block.as_ref().map_or(0, |it| it.tables().globals().next_promise.0);
        let before = self.inputs.iter().filter(|it| matches!(it, Input::Send { .. })).count() as u64;
        let promise = PromiseId(next + before);
        self.inputs.push(Input::Send { target, data, to, method: method.to_owned(), promise });
        Sent(promise)
    }

    /// Returns how a message was answered so far. A result is kept, with all that it names, until it is forgotten.
    pub fn outcome(&self, sent: Sent) -> Result<Outcome, Box<Halt>> {
        Ok(input::outcome(self.block()?, sent))
    }

    /// Lets a result go, with the next block; an answer that comes later is dropped. Without it results are kept for ever.
    pub fn forget(&mut self, sent: Sent) {
        self.inputs.push(Input::Forget(sent.0));
    }

    /// Returns the mailbox of the state, if it has one, with the messages that come in with the next block.
    pub fn mailbox(&self) -> Option<Mailbox> {
        let mut mailbox = self.block.as_ref()?.tables().mailbox()?;
        for input in &self.inputs {
            match input {
                Input::Mail(number, _) | Input::RefuseMail(number, _) => mailbox.received = *number,
                Input::AcknowledgeMail(number) => mailbox.taken = mailbox.taken.max(*number),
                Input::Send { .. } | Input::Forget(_) | Input::Device(..) => (),
            }
        }
        Some(mailbox)
    }

    /// Returns whether a vat handles the mailbox's messages. None does before a vat asked to, nor after that vat
    /// ended, or was upgraded and did not ask again.
    pub fn handles_mail(&self) -> bool {
        self.block.as_ref().is_some_and(|it| it.tables().mail_handler().is_some())
    }

    /// Puts a message into the mailbox with the next block. Whether it is taken: only the one after the last that was, and only
    /// where a vat handles the messages. One that is too long for a vat is taken, and refused.
    pub fn receive_mail(&mut self, number: u64, message: serde_json::Value) -> bool {
        let taken = self.is_next_mail(number);
        if taken {
            self.inputs.push(Input::Mail(number, message));
        }
        taken
    }

    /// Refuses a message to the mailbox, with the next block: it counts as received, no vat receives it, and the
    /// outside is sent the reason. Returns whether the message is the next one.
    pub fn refuse_mail(&mut self, number: u64, why: &str) -> bool {
        let taken = self.is_next_mail(number);
        if taken {
            self.inputs.push(Input::RefuseMail(number, why.to_owned()));
        }
        taken
    }

    fn is_next_mail(&self, number: u64) -> bool {
        self.handles_mail() && self.mailbox().is_some_and(|it| it.received.checked_add(1) == Some(number))
    }

    /// Says, with the next block, that the outside has the mailbox's messages up to this one: they are no longer kept.
    pub fn acknowledge_mail(&mut self, number: u64) {
        if self.mailbox().is_some_and(|it| it.taken < number) {
            self.inputs.push(Input::AcknowledgeMail(number));
        }
    }

    /// Returns the outgoing messages of the mailbox that the outside has not acknowledged, by number, as of the last
    /// committed block.
    pub fn outbox(&self) -> impl Iterator<Item = (u64, Outgoing<'_>)> {
        self.outbox_from(0)
    }

    /// Returns the unacknowledged outgoing messages, from this number on.
    pub fn outbox_from(&self, from: u64) -> impl Iterator<Item = (u64, Outgoing<'_>)> {
        let block = self.block.iter();
        block.flat_map(move |it| it.tables().outbox.range(from..)).map(|(number, it)| (*number, Outgoing::of(it)))
    }

    /// Returns a summary of the state.
    pub fn report(&self) -> Result<Report, Box<Halt>> {
        Ok(Report::of(self.block()?))
    }

    /// Returns the flight recorder. It can be used, and should be flushed, after a halt too.
    pub fn slog(&self) -> &Slog {
        &self.slog
    }
}

fn commit(mut block: Block, block_height: BlockHeight, block_time: u64, closed: bool) -> Result<Block, Box<Halt>> {
    let cranks = block.cranks();
    block.slog().record(Detail::Cranks, || Event::EndBlockStart { block_height, block_time });
    let mut block = block.commit_after(!closed, |slog, state_hash| {
        slog.record(Detail::Cranks, || Event::EndBlockFinish { block_height, block_time, state_hash, cranks });
    })?;
    let state_hash = block.committed_hash();
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

#[allow(clippy::disallowed_methods, reason = "a block may end by the clock: outside consensus, and above the kernel")]
fn clock() -> Instant {
    Instant::now()
}

fn gone() -> Box<Halt> {
    halted().into()
}

fn halted() -> HostFault {
    HostFault::new("use a state", "the host has halted: open it anew")
}

fn course(open: &HostOptions) -> Course {
    let plants = open.plants.iter().map(ToString::to_string).collect();
    Course { audit: open.audit, plants, ..Course::default() }
}

/// Refuses a state that another engine or another kernel made.
pub(crate) fn check_engine(block: &Block) -> Result<(), HostFault> {
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

/// `bootstrap({ vats, devices, vatAdmin })`, with a presence of each root and each device.
fn bootstrap_body(scenario: &Scenario, own: &[String]) -> String {
    let mut slots = 0..;
    let mut presence = |name: &str| {
        let at = slots.next().unwrap_or(0);
        (smallcaps::text(name), json!(format!("${at}.Alleged: {name}")))
    };
    let vats: Map<_, _> = scenario.vats.iter().map(|it| presence(&it.name)).collect();
    let devices = scenario.devices.iter().map(DeviceRow::name).chain(own.iter().map(String::as_str));
    let devices: Map<_, _> = devices.map(&mut presence).collect();
    let (_, admin) = presence("vatAdmin");
    format!("#{}", json!(["bootstrap", [{ "vats": vats, "devices": devices, "vatAdmin": admin }]]))
}
