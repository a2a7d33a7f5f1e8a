//! The live vats of a state, and the compiled modules that they share.
//!
//! Invariants: between two cranks no more vats are live than were allowed, nor do they take more memory, though one vat
//! may always be live. Which vats are live, and what is kept of a heap, changes no result. A live vat's guest may be out, on another
//! thread: nobody reaches its instance but through the door in `live.rs`, and the warehouse is not dropped before such guests have ended.
//!
//! ```text
//!              start                      surplus, stop
//!   (nowhere) ───────▶ live ─────────────────────────────────▶ (nowhere; in an experiment: parked)
//!                       │ ▲ put_back: the crank is undone
//!             set_aside ▼ │
//!                      aside ──(the crank has ended)──▶ (nowhere)
//! ```

mod ahead;
mod jobs;
mod live;

pub use ahead::Speculations;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use wasmtime::{Engine, Linker};

use crate::{
    kernel::{Speculator, Worker, Workers},
    model::{
        blame::{Fault, HostFault, VatFault},
        engine_version,
        id::{BundleId, VatId},
    },
    state::{snapshot::Snapshot, table::Vat},
    store::{Leaves, RowMap},
    vat::{
        CodeTarget, CoreDump, Debugger, Interrupter, Purpose, Runtime,
        abi::{self, InstanceData},
        cache::CodeCache,
        capacity::{self, Resident},
        debugger::{Attached, Code},
        dirty::Detector,
        instance::{Instance, Loaded, RolledBack, Standing},
        module::{self, Prepared, Rules},
        warehouse::{ahead::GuestThreads, live::LiveVat},
    },
};

/// The live vats of a state: the kernel's workers, each a wasm instance.
pub struct Warehouse {
    purpose: Purpose,
    /// What runs each engine version.
    carriers: BTreeMap<u32, Carrier>,
    /// The engine version of the instances that are asked for, or started.
    version: u32,
    cache: CodeCache,
    live: Leaves<VatId, Box<LiveVat>>,
    max_live: usize,
    /// The live vats by the time of their last use, or by an earlier use: such a vat gets its right place when it is found.
    by_use: BTreeMap<u64, VatId>,
    uses: u64,
    /// Bytes that live vats may take, and the bytes that they held when they were last weighed.
    memory_max: u64,
    memory: u64,
    resident: Resident,
    /// The vats used since the last crank ended: their memories may have grown.
    used: Vec<VatId>,
    /// The vats whose fault could not be undone in place, since no shadow was kept: from their next start on they keep one.
    faulted: BTreeSet<VatId>,
    /// The vat that is upgraded in this crank, and the instance of its old incarnation, if it was live.
    aside: Option<(VatId, Option<LiveVat>)>,
    interrupter: Interrupter,
    detector: Detector,
    debugger: Option<(VatId, Attached)>,
    /// Whether the debugger stops replayed deliveries, too.
    debugs_replays: bool,
    /// Instances that were stopped, to be used again; only in an experiment.
    parked: Option<BTreeMap<VatId, LiveVat>>,
    /// The vats that were used, started or stopped since they were last taken; only in an experiment.
    stirred: BTreeSet<VatId>,
    /// What runs guests ahead of their turn; `None` if each runs in its turn.
    ahead: Option<GuestThreads>,
}

/// An engine version as the runtime carries it out, and the modules that were compiled for it.
struct Carrier {
    target: CodeTarget,
    engine: Engine,
    linker: Linker<InstanceData>,
    modules: BTreeMap<BundleId, Loaded>,
}

impl Carrier {
    fn new(target: CodeTarget) -> Result<Carrier, HostFault> {
        let engine = super::engine(&target)?;
        let mut linker = Linker::new(&engine);
        abi::define(&mut linker).map_err(|err| HostFault::new("define the guest ABI", format_args!("{err:#}")))?;
        Ok(Carrier { target, engine, linker, modules: BTreeMap::new() })
    }

    fn module(
        &mut self,
        cache: &CodeCache,
        id: BundleId,
        bundle: &dyn Fn() -> Result<Vec<u8>, HostFault>,
    ) -> Result<&Loaded, Fault> {
        if !self.modules.contains_key(&id) {
            let rules = Rules { engine: self.target.version, ..Rules::default() };
            let prepare = |wasm: &[u8]| {
                let prepared = module::prepare(wasm, &rules);
                prepared.map_err(|refusals| Fault::from(VatFault::Start(refusals.to_string())))
            };
            let (module, code) = match self.target.purpose {
                Purpose::Running => {
                    let prepared = || prepare(&bundle()?).map(|it| (it.wasm, it.cost.total));
                    (cache.module(&self.engine, &self.target, id, prepared)?, None)
                }
                // A debugger is shown the code as it was built, compiled or not.
                Purpose::Debugging => {
                    let wasm = bundle()?;
                    let Prepared { wasm: instrumented, cost, offsets, .. } = prepare(&wasm)?;
                    let module = cache.module(&self.engine, &self.target, id, || Ok((instrumented, cost.total)))?;
                    (module, Some(Arc::new(Code { wasm, offsets })))
                }
            };
            let pre = self.linker.instantiate_pre(&module);
            let pre = pre.map_err(|err| HostFault::new(format_args!("link {id}"), format_args!("{err:#}")))?;
            self.modules.insert(id, Loaded { pre, version: self.target.version, code });
        }
        self.modules.get(&id).ok_or_else(|| HostFault::new("link a module", "it is gone").into())
    }
}

/// Bytes that an instance takes besides its memory and its shadow: its tables, its store.
const INSTANCE_BYTES: u64 = 32 << 10;

impl std::fmt::Debug for Warehouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warehouse").field("live", &self.live.count()).finish_non_exhaustive()
    }
}

impl Warehouse {
    /// Makes an empty warehouse; compiled code is kept in this folder, if any.
    pub fn new(cache: Option<&Path>) -> Result<Warehouse, HostFault> {
        Warehouse::on(&Runtime::here(), cache)
    }

    /// Makes an empty warehouse on a runtime that need not be this binary's: other ones are for tests.
    pub fn on(runtime: &Runtime, cache: Option<&Path>) -> Result<Warehouse, HostFault> {
        Warehouse::with(Purpose::Running, runtime, cache)
    }

    /// Makes an empty warehouse whose vats a debugger can be attached to. They reach the same results, at the same
    /// fuel, some five times slower.
    pub fn for_debugger(cache: Option<&Path>) -> Result<Warehouse, HostFault> {
        Warehouse::with(Purpose::Debugging, &Runtime::here(), cache)
    }

    fn with(purpose: Purpose, runtime: &Runtime, cache: Option<&Path>) -> Result<Warehouse, HostFault> {
        let carrier = |version| Carrier::new(CodeTarget { purpose, version, runtime: runtime.clone() });
        let carriers = engine_version::VERSIONS.iter().map(|it| Ok((it.number, carrier(it.number)?)));
        let carriers: BTreeMap<_, _> = carriers.collect::<Result<_, HostFault>>()?;
        let interrupter = Interrupter::new(carriers.values().map(|it| &it.engine));
        Ok(Warehouse {
            purpose,
            carriers,
            version: engine_version::FIRST,
            debugger: None,
            debugs_replays: false,
            cache: CodeCache::new(cache),
            live: Leaves::default(),
            max_live: capacity::instances(),
            by_use: BTreeMap::new(),
            uses: 0,
            memory_max: capacity::shares(None).heaps,
            memory: 0,
            resident: Resident::new(),
            used: Vec::new(),
            faulted: BTreeSet::new(),
            aside: None,
            interrupter,
            detector: Detector::best(),
            parked: None,
            stirred: BTreeSet::new(),
            ahead: None,
        })
    }

    /// Sets the most instances that are live between cranks; without a number, as many as this machine has mappings
    /// for.
    pub fn set_max_live(&mut self, max_live: Option<usize>) {
        self.max_live = max_live.unwrap_or_else(capacity::instances);
    }

    /// Sets the most bytes that instances take between cranks, though one instance is always allowed. Memory that a guest asked for
    /// and never touched counts only once the process has grown beyond that.
    pub fn set_memory_max(&mut self, memory_max: u64) {
        self.memory_max = memory_max;
    }

    /// Finds changed pages by comparing hashes from now on, even if the system can tell which were written.
    pub fn compare_pages(&mut self) {
        self.detector = Detector::Comparison;
    }

    /// Keeps instances that are stopped, so that the next experiment need not make them anew.
    pub fn keep_stopped(&mut self) {
        self.parked.get_or_insert_default();
    }

    /// Takes the vats that were used, started or stopped since the last call. Only after [`keep_stopped`](Warehouse::keep_stopped).
    pub fn take_stirred(&mut self) -> BTreeSet<VatId> {
        std::mem::take(&mut self.stirred)
    }

    /// Returns the number of live vats.
    pub fn live(&self) -> usize {
        self.live.count()
    }

    /// Stops the instances of all vats. Vats are brought up again when they receive a delivery.
    pub fn evict_all(&mut self) {
        let all: Vec<VatId> = self.live.within(..).map(|(vat, _)| *vat).collect();
        all.into_iter().for_each(|it| self.stop(it));
        self.aside = None;
    }

    /// Finds the live vat that was unused for longest.
    fn oldest(&mut self) -> Option<VatId> {
        loop {
            let (listed, vat) = self.by_use.pop_first()?;
            let Some(live) = self.live.find_mut(&vat).filter(|it| it.listed == listed) else { continue };
            live.listed = live.used;
            self.by_use.insert(live.used, vat);
            if live.used == listed {
                return Some(vat);
            }
        }
    }

    /// Makes room for another instance: half of the others leave.
    fn evict_half(&mut self) {
        if let Some(parked) = &mut self.parked {
            parked.clear();
        }
        for _ in 0..self.live.count().div_ceil(2) {
            let Some(oldest) = self.oldest() else { return };
            self.remove(oldest);
        }
    }

    fn insert(&mut self, vat: VatId, mut live: LiveVat) {
        self.remove(vat);
        self.uses += 1;
        (live.used, live.listed, live.bytes) = (self.uses, self.uses, 0);
        self.by_use.insert(self.uses, vat);
        self.live.put(vat, Box::new(live));
        self.used.push(vat);
    }

    fn remove(&mut self, vat: VatId) -> Option<LiveVat> {
        let mut live = *self.live.take(&vat)?;
        self.by_use.remove(&live.listed);
        self.memory -= live.bytes;
        live.recall(vat, &mut self.ahead);
        Some(live)
    }

    /// Puts an instance in the place of a vat's.
    fn seat_anew(&mut self, vat: VatId, instance: Instance, (version, bundle): (u32, BundleId)) {
        let lost = self.live.find_mut(&vat).and_then(|it| it.seat(vat, &mut self.ahead).lost());
        if let (Some(ahead), Some(standing)) = (&mut self.ahead, lost) {
            ahead.lost.insert(vat, standing);
        }
        self.insert(vat, LiveVat::new(instance, version, bundle));
    }

    /// Updates the memory of the vats that were used.
    fn weigh(&mut self) {
        for vat in &self.used {
            if let Some(live) = self.live.find_mut(vat) {
                let bytes = live.held() as u64 + INSTANCE_BYTES;
                self.memory = self.memory - live.bytes + bytes;
                live.bytes = bytes;
            }
        }
        self.used.clear();
    }

    fn is_full(&self) -> bool {
        let is_short = || self.resident.bytes().is_none_or(|it| it > self.memory_max);
        self.live.count() > self.max_live || self.live.count() > 1 && self.memory > self.memory_max && is_short()
    }

    fn make(
        &mut self,
        row: &Vat,
        snapshot: Option<Snapshot<'_>>,
        bundle: &dyn Fn() -> Result<Vec<u8>, HostFault>,
    ) -> Result<Instance, Fault> {
        let (detector, interrupter) = (self.detector.clone(), self.interrupter.clone());
        let Warehouse { cache, carriers, version, .. } = self;
        let unknown = || HostFault::new("run a vat", format_args!("this binary has no engine version {version}"));
        let carrier = carriers.get_mut(version).ok_or_else(unknown)?;
        Instance::start(carrier.module(cache, row.bundle, bundle)?, &row.options, snapshot, &detector, &interrupter)
    }

    /// Resets a parked instance of the vat to the heap of a snapshot, if there is one that fits.
    fn reuse(&mut self, vat: VatId, row: &Vat, snapshot: Snapshot<'_>) -> Result<Option<Instance>, HostFault> {
        let Some(mut live) = self.parked.as_mut().and_then(|it| it.remove(&vat)) else { return Ok(None) };
        let is_same = (live.bundle, live.version) == (row.bundle, self.version);
        let Some(instance) = live.rested(vat, &mut self.ahead) else { return Ok(None) };
        let fits = is_same && instance.reset(&row.options, snapshot)?;
        Ok(if fits { live.into_rested() } else { None })
    }

    /// Lets a debugger stop the live deliveries of this vat, and no other's, until [`detach`](Warehouse::detach).
    /// Refused if the warehouse was not made for a debugger.
    pub fn attach(&mut self, vat: VatId, debugger: impl Debugger + 'static) -> Result<(), HostFault> {
        if self.purpose != Purpose::Debugging {
            return Err(HostFault::new("attach a debugger", "these vats run on an engine that cannot be stopped"));
        }
        self.debugger = Some((vat, Arc::new(Mutex::new(debugger))));
        Ok(())
    }

    /// Lets the attached debugger stop replayed deliveries, too, or no longer.
    pub fn debug_replays(&mut self, on: bool) {
        self.debugs_replays = on;
    }

    /// Detaches the debugger: no delivery is stopped any more.
    pub fn detach(&mut self) {
        self.debugger = None;
    }

    /// Returns a handle that stops a running delivery: shows it to its debugger, or ends it.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Returns a core dump of a vat's guest after a kernel panic, with the calls that were under way if its last delivery
    /// did not end. `None` if the vat is not live.
    pub fn core_dump(&mut self, vat: VatId) -> Option<CoreDump> {
        let live = self.live.find_mut(&vat)?;
        let (bundle, version) = (live.bundle, live.version);
        live.rested(vat, &mut self.ahead)?.core_dump(bundle, version)
    }
}

impl Workers for Warehouse {
    /// An instance of another version is as good as none; it is evicted when it was unused for longest.
    fn set_engine_version(&mut self, version: u32) {
        self.version = version;
    }

    fn worker(&mut self, vat: VatId) -> Option<&mut dyn Worker> {
        let live = self.live.find_mut(&vat).filter(|it| it.version == self.version)?;
        live.use_now(vat, &mut self.uses, &mut self.used);
        let instance = live.rested(vat, &mut self.ahead)?;
        let debugger = self.debugger.as_ref().filter(|(it, _)| *it == vat);
        instance.attach(debugger.map(|(_, it)| it.clone()), self.debugs_replays);
        if self.parked.is_some() {
            self.stirred.insert(vat);
        }
        Some(instance)
    }

    fn speculator(&mut self) -> Option<&mut dyn Speculator> {
        self.as_speculator()
    }

    fn start(
        &mut self,
        vat: VatId,
        row: &Vat,
        snapshot: Option<Snapshot<'_>>,
        bundle: &dyn Fn() -> Result<Vec<u8>, HostFault>,
    ) -> Result<(), Fault> {
        let reused = match snapshot {
            Some(snapshot) => self.reuse(vat, row, snapshot)?,
            None => None,
        };
        let mut instance = match reused {
            Some(instance) => instance,
            None => match self.make(row, snapshot, bundle) {
                // Whatever failed, all that can be done about it is to make room.
                Err(Fault::Host(_)) if self.live.count() > 0 || self.parked.is_some() => {
                    self.evict_half();
                    self.make(row, snapshot, bundle)?
                }
                made => made?,
            },
        };
        if self.faulted.contains(&vat) {
            instance.keep_shadow();
        }
        if self.parked.is_some() {
            self.stirred.insert(vat);
        }
        self.seat_anew(vat, instance, (self.version, row.bundle));
        Ok(())
    }

    /// Returns the least recently used vat, if there is no room for all.
    fn surplus(&mut self) -> Option<VatId> {
        self.aside = None;
        self.weigh();
        self.is_full().then(|| self.oldest()).flatten()
    }

    fn stop(&mut self, vat: VatId) {
        let stopped = self.remove(vat);
        if let (Some(parked), Some(stopped)) = (&mut self.parked, stopped) {
            self.stirred.insert(vat);
            parked.insert(vat, stopped);
        }
    }

    fn roll_back(&mut self, vat: VatId) -> Result<(), Fault> {
        let Some(live) = self.live.find_mut(&vat) else { return Ok(()) };
        let seat = live.seat(vat, &mut self.ahead);
        if seat.is_ahead() || seat.is_lost() {
            // No delivery was made since: there is nothing that could be undone alone.
            self.stop(vat);
            return Ok(());
        }
        let Some(instance) = seat.rested() else { return Ok(()) };
        match instance.roll_back()? {
            RolledBack::Done => return Ok(()),
            RolledBack::NotKept => {
                self.faulted.insert(vat);
                self.stop(vat);
            }
            RolledBack::Grown => {
                let Some(live) = self.remove(vat) else { return Ok(()) };
                let (version, bundle) = (live.version, live.bundle);
                let Some(instance) = live.into_rested() else { return Ok(()) };
                let loaded = self.carriers.get(&version).and_then(|it| it.modules.get(&bundle));
                let loaded = loaded.ok_or_else(|| HostFault::new("undo a delivery", "its module is gone"))?;
                let instance = instance.remade(loaded, &self.detector, &self.interrupter)?;
                self.seat_anew(vat, instance, (version, bundle));
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, vat: VatId) {
        if let Some(live) = self.live.find_mut(&vat) {
            live.rested(vat, &mut self.ahead);
        }
        self.aside = Some((vat, self.remove(vat)));
    }

    fn put_back(&mut self, vat: VatId) {
        if let Some((_, aside)) = self.aside.take_if(|(it, _)| *it == vat) {
            self.remove(vat);
            if let Some(live) = aside {
                self.insert(vat, live);
            }
        }
    }
}
