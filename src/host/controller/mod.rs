//! The controller: [`Host`] opens a state, installs a scenario, takes in inputs from outside, and runs and commits blocks. The command line
//! is built on it, and programs embed it.
//!
//! ```text
//!   open ─▶ install (a new state only; block 0) ─▶ run_block ─▶ run_block ─▶ … ─▶ quiescent     (run_blocks: many at once)
//!             send, receive_mail, order ──────────────▲ │└─▶ outcome, outbox, BlockEnd::console
//!                                                       └──▶ Halt: the block is gone, the state is at the last commit
//! ```
//!
//! Invariants: inputs from outside are durable before any crank of their block runs, or ([`Inputs::WithBlock`]) together with its cranks, and
//! alone if those halt: so after a kernel panic the same block is met again. What leaves the host was committed before. (The staged form
//! commits nothing before its engine says so.) After a halt the block is gone: all that needs it is refused.
//!
//! [`Inputs::WithBlock`]: crate::host::options::Inputs::WithBlock
//!
//! An example is on the crate's front page.

mod add;
mod beside;
mod blocks;
mod device;
mod halt;
mod input;
mod install;
mod mail;
mod prove;
mod run;
mod schedule;
mod session;
pub mod staged;
mod upgrade;

pub use beside::VatAct;
pub use blocks::TellEnd;
pub(crate) use input::expired;
pub use input::{Arg, Outcome, Sent, To};
pub use prove::{RuntimeProof, prove_runtime};
pub use run::BlockEnd;
pub use schedule::Refusal;
pub use session::{SessionEvent, SessionId, SessionRefusal, SessionSummary};
pub use upgrade::UPGRADE;

use std::{collections::BTreeMap, sync::Arc};

use blocks::CommitThread;
use input::Input;

use crate::{
    directive::{Class, Directive, DirectiveSet, Missed},
    host::{
        epitaph::{Epitaph, HostPosition, RunSettings},
        mailbox::MailboxFiles,
        report::Report,
        scrub::Scrub,
    },
    kernel::{self, Halt, Position, Workers},
    model::{
        blame::{Fault, HostFault},
        engine_version,
        id::{BundleId, DeviceId, KRef, PromiseId, VatId},
        kernel_version,
        value::CapData,
    },
    slog::{Detail, Event, Slog},
    state::{
        block::{Block, classes, heap, history, stored},
        device::Device,
        snapshot::Image,
        table::Tables,
    },
    store::{Database, Pace},
    vat::{CoreDump, Interrupter, Speculations, Warehouse, shares, stack},
};
pub use crate::{host::options::HostOptions, state::block::BlockPolicy};
pub(in crate::host) use mail::waiting_mail;

/// An open state, and its vats.
#[derive(Debug)]
pub struct Host {
    /// `None` once the host has halted.
    block: Option<Block>,
    warehouse: Warehouse,
    standing: HostPosition,
    /// The block's recorder, which outlives the block.
    slog: Slog,
    /// The options that it was opened with, except for the directives.
    options: HostOptions,
    /// The inputs from outside since the last block.
    inputs: Vec<Input>,
    /// The time of the next block to begin, if [`Host::tell_time`] gave one.
    clock: Option<u64>,
    /// Whether the start is recorded: once the directives are known, or when something is done without any.
    announced: bool,
    core_dump: Option<CoreDump>,
    /// The epitaph of the kernel panic that ended it.
    epitaph: Option<Epitaph>,
    /// The files that could not be written beside the state at that halt, and why.
    unburied: Vec<String>,
    /// The files of the mailbox, if it has any.
    mailbox_files: MailboxFiles,
    /// The devices of the program, through which messages leave: none if the state is only read.
    devices: Vec<Arc<dyn Device>>,
    /// The proof of what of the state was not read when it was opened.
    pub(in crate::host) scrub: Option<Scrub>,
    /// The number of the last message of each device that left.
    left: BTreeMap<DeviceId, u64>,
    /// The thread that writes the commits that are handed over, once there was one.
    commit_thread: Option<CommitThread>,
}

impl Host {
    /// Opens a state to run or to read. It is refused if it runs an engine or kernel version that this binary does not have. If another
    /// runtime ran it last, it is proved before it runs on ([`prove_runtime`]).
    pub fn open(open: HostOptions) -> Result<Host, HostFault> {
        let mut block = open_block(&open)?;
        let is_run = !open.read_only && open.files.is_none();
        let scrub = open.state.as_ref().filter(|_| is_run).and_then(|dir| Scrub::of(&block, dir));
        if open.experimental && block.meta().runtime.is_empty() {
            block.set_experimental();
        }
        let plants = open.probe.as_ref().is_some_and(|it| !it.planted().is_empty());
        if plants && !block.meta().experimental {
            let why = "this state is not one for experiments: only one made with --experimental is";
            return Err(HostFault::new("plant a fault", why));
        }
        kernel::set_probe(&mut block, open.probe.clone());
        for wasm in &open.bundles {
            block.put_bundle(wasm);
        }
        let mut warehouse = Warehouse::on(&open.runtime, open.code_cache.as_deref())?;
        warehouse.set_max_live(open.max_live);
        warehouse.set_memory_max(shares(open.memory_max).heaps);
        warehouse.set_threads(open.threads, open.ahead_fuel_min);
        if open.compare_pages {
            warehouse.compare_pages();
        }
        let mut host = Host {
            block: Some(block),
            warehouse,
            standing: HostPosition { run: course(&open), ..HostPosition::default() },
            slog: open.slog.clone(),
            inputs: Vec::new(),
            clock: None,
            announced: false,
            core_dump: None,
            epitaph: None,
            unburied: Vec::new(),
            mailbox_files: MailboxFiles::default(),
            scrub,
            devices: if open.read_only { Vec::new() } else { open.devices.clone() },
            left: BTreeMap::new(),
            commit_thread: None,
            options: open,
        };
        host.stand();
        host.inputs.extend(input::keep_answers(&host));
        let directives = std::mem::take(&mut host.options.directives);
        if !directives.is_empty() {
            let missed = |it: Refusal| HostFault::new("open the state with these directives", it);
            host.set_directives(directives, host.options.accept_missed_directives).map_err(missed)?;
        }
        Ok(host)
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

    /// Refuses an input for a host that has halted.
    fn check_alive(&self) -> Result<(), HostFault> {
        if self.block.is_some() { Ok(()) } else { Err(halted()) }
    }

    /// Returns what is known of the last commit, also after a halt.
    pub fn standing(&self) -> &HostPosition {
        &self.standing
    }

    fn stand(&mut self) {
        if let Some(block) = &self.block {
            self.standing = position(self, block);
        }
    }

    /// Puts directives in force in place of the present ones, and returns the class of each. Refused if the state is past one that is in
    /// consensus, and has no record of it, unless `accept_missed`.
    pub fn set_directives(
        &mut self,
        set: DirectiveSet,
        accept_missed: bool,
    ) -> Result<Vec<(Directive, Class)>, Refusal> {
        let block = self.block.as_mut().ok_or(Refusal::Halted)?;
        let classes = classes(block, &set);
        if !accept_missed {
            let missed = classes.iter().filter(|(it, class)| it.in_consensus() && *class == Class::Missed);
            let missed: Vec<_> = missed.map(|(it, _)| it.clone()).collect();
            if !missed.is_empty() {
                return Err(Missed(missed).into());
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
        let (state_hash, globals) = (block.committed_hash(), block.tables().globals());
        let engine_version = block.tables().engine_version();
        let engine = self.options.runtime.name();
        let directives = block.directives();
        let digest = (!directives.is_empty()).then(|| directives.digest().to_string());
        block.slog().record(Detail::Cranks, || Event::HostStart {
            version: env!("CARGO_PKG_VERSION"),
            kernel_version: globals.kernel_version,
            engine_version,
            engine,
            state_hash,
            directives_digest: digest.as_deref(),
            height: globals.height.0,
        });
        block.slog().record(Detail::Cranks, || Event::ImportKernelFinish);
    }

    /// Takes the block, to change it. First the devices' committed messages leave, since the next block forgets them.
    fn take(&mut self) -> Result<Block, Box<Halt>> {
        self.announce();
        prove_runtime(self, &mut |_| ())?;
        self.let_leave()?;
        self.block.take().ok_or_else(gone)
    }

    /// Returns whether nothing was ever committed to the state.
    pub fn is_new(&self) -> bool {
        self.block.as_ref().is_some_and(|it| it.meta().runtime.is_empty())
    }

    /// Returns the means to end a block from another thread, in the middle of a delivery: its [`stop`](Interrupter::stop) makes `run_block`
    /// return as if the crank before had been the last. If directives had taken effect in the crank, it is a halt, and the block is lost.
    pub fn interrupter(&self) -> Interrupter {
        self.warehouse.interrupter()
    }

    /// Returns the policy for the next blocks: as the options say, and otherwise as the state's last blocks were cut. Replicas reach the same
    /// hashes only with the same policy.
    pub fn policy(&self) -> BlockPolicy {
        self.options.blocks.over(self.block.as_ref().map(|it| BlockPolicy::kept(it.meta())).unwrap_or_default())
    }

    /// Has the state keep how its blocks are cut from now on, as [`run_block`](Host::run_block) does. If that differs from before, it returns
    /// the old way and the new one; every replica must change with it.
    pub fn keep_policy(&mut self, policy: &BlockPolicy) -> Result<Option<[Pace; 2]>, Box<Halt>> {
        Ok(policy.keep(self.block_mut()?))
    }

    /// Ends every instance; the vats come back from their snapshots and transcripts when they are needed.
    pub fn evict_all(&mut self) {
        self.warehouse.evict_all();
    }

    /// Returns the number of vats that have an instance.
    pub fn live(&self) -> usize {
        self.warehouse.live()
    }

    /// Returns the heap of a vat that is alive, after its last delivery, with all its pages. The vat is brought up if it is not
    /// live.
    pub fn heap(&mut self, vat: VatId) -> Result<Image, Box<Halt>> {
        let mut block = self.take()?;
        let image = stack::for_block(|| image_of(&mut block, &mut self.warehouse, vat));
        self.block = Some(block);
        image.map_err(|fault| {
            // The instance may have got half of its heap.
            self.warehouse.stop(vat);
            Box::new(Halt { fault, position: Position::default(), taken: None })
        })
    }

    /// Returns whether there is nothing left to do, now or at a later time, and no block is open.
    pub fn is_quiescent(&self) -> Result<bool, Box<Halt>> {
        Ok(self.inputs.is_empty() && kernel::is_finished(self.block()?))
    }

    /// Obeys the directives before the next crank although nothing is left to run: those that halt, expect a state, or break.
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

    /// Returns the reference that a text `@name` in a message means: the root of a vat by its name or number, an object, or a promise.
    pub fn named(&self, name: &str) -> Result<KRef, HostFault> {
        input::named(self.block.as_ref().ok_or_else(halted)?.tables(), name)
    }

    /// Returns how a message was answered so far. A result is kept, with all that it names, until it is forgotten, or for as many blocks
    /// as the state keeps answers; after that it is [`Outcome::Expired`].
    pub fn outcome(&self, sent: Sent) -> Result<Outcome, Box<Halt>> {
        Ok(input::outcome(self.block()?, sent))
    }

    /// Lets a result go, with the next block; an answer that comes later is dropped. A result that is never forgotten is kept for
    /// ever, unless the state lets answers expire.
    pub fn forget(&mut self, sent: Sent) -> Result<(), HostFault> {
        self.block.as_ref().ok_or_else(halted)?;
        self.inputs.push(Input::Forget(sent.0));
        Ok(())
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

impl Speculations {
    /// Returns what became of the deliveries that a host's guests made ahead of their turn, since the host was opened.
    pub fn of(host: &Host) -> Speculations {
        host.warehouse.speculations()
    }
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

/// Returns what is to be known of the last commit, once this block's is durable.
fn position(host: &Host, block: &Block) -> HostPosition {
    let globals = block.tables().globals();
    HostPosition {
        kernel_version: globals.kernel_version,
        runtime: host.options.runtime.name().to_owned(),
        height: globals.height.0,
        is_open: block.meta().open,
        state_hash: block.committed_hash().to_string(),
        directives_digest: block.directives().digest().to_string(),
        directives: block.directives().iter().map(ToString::to_string).collect(),
        run: host.standing.run.clone(),
    }
}

fn gone() -> Box<Halt> {
    halted().into()
}

fn halted() -> HostFault {
    HostFault::new("use a state", "the host has halted: open it anew")
}

/// Opens the state that the options name, or makes a new one in memory.
fn open_block(open: &HostOptions) -> Result<Block, HostFault> {
    let mut block = match (&open.over, &open.state) {
        (Some(overlay), _) => Block::over(overlay.open()?, open.slog.clone())?,
        (None, Some(dir)) if open.read_only => Block::open_read_only(dir)?,
        (None, Some(dir)) => {
            let database =
                Database::open_on(dir, &Tables::layout(), open.files.as_deref(), open.upgrade_watch.clone())?;
            Block::over(database, open.slog.clone())?
        }
        (None, None) => Block::memory(open.slog.clone())?,
    };
    if let Some(every) = open.audit.interval() {
        if every > 0 {
            stored::hold_references(&mut block)?;
        }
        block.set_audit(every);
    }
    heap::set_interval(&mut block, open.snapshot_interval);
    stored::set_memory(&mut block, shares(open.memory_max).rows);
    if !open.read_only {
        history::set_keep(&mut block, open.keep);
        history::set_archive(&mut block, open.archive.as_deref());
    }
    check_versions(&block)?;
    device::check(&block, &open.devices, open.read_only)?;
    block.set_devices(open.devices.clone());
    Ok(block)
}

fn course(open: &HostOptions) -> RunSettings {
    let plants = open.probe.as_ref().map(|it| it.planted()).unwrap_or_default();
    RunSettings { audit: open.audit.interval(), plants, ..RunSettings::default() }
}

/// Refuses a state that runs an engine or kernel version which this binary does not have.
pub(crate) fn check_versions(block: &Block) -> Result<(), HostFault> {
    let version = block.tables().engine_version();
    if !engine_version::is_known(version) {
        let why = format!(
            "its vats run on engine version {version}, this binary can run {}: use a vathost that has it",
            engine_version::known()
        );
        return Err(HostFault::new("open the state", why));
    }
    let version = block.tables().globals().kernel_version;
    if !kernel_version::is_known(version) {
        let why = format!("its kernel has version {version}, this binary can run {}", kernel_version::known());
        return Err(HostFault::new("open the state", why));
    }
    Ok(())
}
