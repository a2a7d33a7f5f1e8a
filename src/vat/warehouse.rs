//! The live vats of a state, and the compiled modules that they share.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use wasmtime::{Engine, Linker};

use crate::{
    fault::{Fault, HostFault, VatFault},
    id::{BundleId, VatId},
    kernel::{Worker, Workers},
    snapshot::Snapshot,
    table::Vat,
    vat::{
        CoreDump, Debugger, Interrupter, Purpose,
        abi::{self, Host},
        cache::CodeCache,
        debugger::{Attached, Code},
        dirty::Detector,
        instance::{Instance, Loaded},
        module::{self, Rules},
    },
};

/// The workers of wasm vats.
pub struct Warehouse {
    engine: Engine,
    purpose: Purpose,
    linker: Linker<Host>,
    cache: CodeCache,
    modules: BTreeMap<BundleId, Loaded>,
    live: BTreeMap<VatId, Live>,
    max_live: usize,
    uses: u64,
    detector: Detector,
    debugger: Option<(VatId, Attached)>,
    /// Instances that were stopped, to be used again; only in an experiment.
    parked: Option<BTreeMap<VatId, Live>>,
    /// Who was used, started or stopped since it was last asked.
    stirred: BTreeSet<VatId>,
}

struct Live {
    instance: Instance,
    bundle: BundleId,
    /// When it was last used, counted in uses of any.
    used: u64,
}

impl std::fmt::Debug for Warehouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warehouse").field("live", &self.live.len()).finish_non_exhaustive()
    }
}

impl Warehouse {
    /// An empty one; compiled code is kept in this folder, if any.
    pub fn new(cache: Option<&Path>) -> Result<Warehouse, HostFault> {
        Warehouse::with_engine(Purpose::Running, cache)
    }

    /// An empty one whose vats a debugger can be attached to. They come to the same results, at the same fuel, some five times slower.
    pub fn for_debugger(cache: Option<&Path>) -> Result<Warehouse, HostFault> {
        Warehouse::with_engine(Purpose::Debugging, cache)
    }

    fn with_engine(purpose: Purpose, cache: Option<&Path>) -> Result<Warehouse, HostFault> {
        let engine = super::engine(purpose)?;
        let mut linker = Linker::new(&engine);
        abi::define(&mut linker).map_err(|err| HostFault::new("define the guest ABI", format_args!("{err:#}")))?;
        let cache = CodeCache::new(cache, purpose);
        let (modules, live) = (BTreeMap::new(), BTreeMap::new());
        Ok(Warehouse {
            engine,
            purpose,
            debugger: None,
            linker,
            cache,
            modules,
            live,
            max_live: usize::MAX,
            uses: 0,
            detector: Detector::best(),
            parked: None,
            stirred: BTreeSet::new(),
        })
    }

    /// Between cranks there are this many instances at the most; without a number as many as there are vats.
    pub fn set_max_live(&mut self, max_live: Option<usize>) {
        self.max_live = max_live.unwrap_or(usize::MAX);
    }

    /// Finds changed pages by comparing them, even where the system could tell.
    pub fn compare_pages(&mut self) {
        self.detector = Detector::Comparison;
    }

    /// Keeps instances that are stopped, so that the next experiment need not make them anew.
    pub fn keep_stopped(&mut self) {
        self.parked.get_or_insert_default();
    }

    /// The vats that were used, started or stopped since this was last asked.
    pub fn take_stirred(&mut self) -> BTreeSet<VatId> {
        std::mem::take(&mut self.stirred)
    }

    /// How many vats are live.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Ends every instance. The vats are brought up again when they are delivered to.
    pub fn evict_all(&mut self) {
        let all: Vec<VatId> = self.live.keys().copied().collect();
        all.into_iter().for_each(|it| self.stop(it));
    }

    /// An instance that was stopped, with the heap of a snapshot.
    fn reuse(&mut self, vat: VatId, row: &Vat, snapshot: Snapshot<'_>) -> Result<Option<Instance>, HostFault> {
        let Some(mut live) = self.parked.as_mut().and_then(|it| it.remove(&vat)) else { return Ok(None) };
        let fits = live.bundle == row.bundle && live.instance.reset(&row.options, snapshot)?;
        Ok(fits.then_some(live.instance))
    }

    /// Lets a debugger stop the live deliveries of this vat, and no other's, until [`detach`](Warehouse::detach). Refused where
    /// the warehouse was not made for it.
    pub fn attach(&mut self, vat: VatId, debugger: impl Debugger + 'static) -> Result<(), HostFault> {
        if self.purpose != Purpose::Debugging {
            return Err(HostFault::new("attach a debugger", "these vats run on an engine that cannot be stopped"));
        }
        self.debugger = Some((vat, Arc::new(Mutex::new(debugger))));
        Ok(())
    }

    /// No delivery is stopped any more.
    pub fn detach(&mut self) {
        self.debugger = None;
    }

    /// Stops a debugged delivery while it runs.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.engine.clone())
    }

    /// What is left of the guest of a vat after the kernel broke: as it is now, with the calls that were under way in its last delivery if
    /// that did not end. `None` of a vat that is not up.
    pub fn core_dump(&mut self, vat: VatId) -> Option<CoreDump> {
        let live = self.live.get_mut(&vat)?;
        live.instance.core_dump(live.bundle)
    }

    fn module(&mut self, id: BundleId, bundle: &dyn Fn() -> Result<Vec<u8>, HostFault>) -> Result<&Loaded, Fault> {
        if !self.modules.contains_key(&id) {
            let prepare = |wasm: &[u8]| {
                let prepared = module::prepare(wasm, &Rules::default());
                prepared.map_err(|refusals| Fault::from(VatFault::Start(refusals.to_string())))
            };
            let (module, code) = match self.purpose {
                Purpose::Running => {
                    let prepared = || prepare(&bundle()?).map(|it| (it.wasm, it.cost.total));
                    (self.cache.module(&self.engine, id, prepared)?, None)
                }
                // A debugger is shown the code as it was built, compiled or not.
                Purpose::Debugging => {
                    let wasm = bundle()?;
                    let prepared = prepare(&wasm)?;
                    let module = self.cache.module(&self.engine, id, || Ok((prepared.wasm, prepared.cost.total)))?;
                    (module, Some(Arc::new(Code { wasm, offsets: prepared.offsets })))
                }
            };
            let pre = self.linker.instantiate_pre(&module);
            let pre = pre.map_err(|err| HostFault::new(format_args!("link {id}"), format_args!("{err:#}")))?;
            self.modules.insert(id, Loaded { pre, code });
        }
        self.modules.get(&id).ok_or_else(|| HostFault::new("link a module", "it is gone").into())
    }
}

impl Workers for Warehouse {
    fn worker(&mut self, vat: VatId) -> Option<&mut dyn Worker> {
        let live = self.live.get_mut(&vat)?;
        self.uses += 1;
        live.used = self.uses;
        let debugger = self.debugger.as_ref().filter(|(it, _)| *it == vat);
        live.instance.attach(debugger.map(|(_, it)| it.clone()));
        if self.parked.is_some() {
            self.stirred.insert(vat);
        }
        Some(&mut live.instance)
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
        let instance = match reused {
            Some(instance) => instance,
            None => {
                let detector = self.detector.clone();
                Instance::start(self.module(row.bundle, bundle)?, &row.options, snapshot, &detector)?
            }
        };
        self.uses += 1;
        if self.parked.is_some() {
            self.stirred.insert(vat);
        }
        self.live.insert(vat, Live { instance, bundle: row.bundle, used: self.uses });
        Ok(())
    }

    /// The least recently used.
    fn surplus(&self) -> Option<VatId> {
        let oldest = || self.live.iter().min_by_key(|(_, it)| it.used).map(|(vat, _)| *vat);
        (self.live.len() > self.max_live).then(oldest).flatten()
    }

    fn stop(&mut self, vat: VatId) {
        let stopped = self.live.remove(&vat);
        if let (Some(parked), Some(stopped)) = (&mut self.parked, stopped) {
            self.stirred.insert(vat);
            parked.insert(vat, stopped);
        }
    }
}
