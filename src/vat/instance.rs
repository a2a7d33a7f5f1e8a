//! One live vat: an instance and its store.

use std::{pin::pin, sync::Arc, task};

use wasmtime::{
    Error, InstancePre, Memory, ResourceLimiter, Store, Trap, TypedFunc, UpdateDeadline, Val, WasmParams, WasmResults,
};

use crate::{
    fault::{Fault, HostFault, VatFault},
    id::{BundleId, VRef},
    kernel::{Syscalls, Usage, Worker},
    limits,
    snapshot::{Heap, Image, Snapshot},
    table::Options,
    value::{Bytes, Delivery},
    vat::{
        abi::{self, Host},
        core_dump::{self, CoreDump, Frame},
        debugger::{Attached, Code, Handler},
        dirty::{Detector, Pages},
        heap,
        module::{self, GLOBAL_EXPORT, STACK_EXPORT},
        stopped::clear_breakpoints,
    },
};

/// A live vat.
pub(super) struct Instance {
    store: Store<Host>,
    deliver: TypedFunc<u32, ()>,
    memory: Memory,
    stack: wasmtime::Global,
    /// What the call-depth counter is between two deliveries.
    depth: Val,
    /// The guest's mutable globals, in the order of the module.
    globals: Vec<wasmtime::Global>,
    pages: Pages,
    /// What a debugger needs to know of it, where the engine is one for debugging.
    debuggee: Option<Debuggee>,
    /// The calls that the kernel broke in.
    broken_in: Vec<Frame>,
}

struct Debuggee {
    code: Arc<Code>,
    instance: wasmtime::Instance,
    debugger: Option<Attached>,
}

/// A module that is ready to be instantiated.
pub(super) struct Loaded {
    pub(super) pre: InstancePre<Host>,
    /// Where the engine is one for debugging.
    pub(super) code: Option<Arc<Code>>,
}

/// What wasmtime asks before it grants something, and tells when it could not. A guest is answered -1 where its module or its vat sets the
/// bound; what is left for the `_failed` functions is then this machine's failure alone.
impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, desired: usize, declared_max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.memory_max && declared_max.is_none_or(|max| desired <= max))
    }

    /// Asked once for each table, before the first instruction: no accepted module grows one, and the load pass bounds their sizes.
    fn table_growing(&mut self, _: usize, desired: usize, declared_max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(declared_max.is_none_or(|max| desired <= max))
    }

    /// This machine has no memory left: the guest must not see what another replica's does not see.
    fn memory_grow_failed(&mut self, err: Error) -> wasmtime::Result<()> {
        Err(Fault::from(HostFault::new("grow a vat's memory", format_args!("{err:#}"))).into())
    }

    /// The same of a table, should the load pass ever let one grow.
    fn table_grow_failed(&mut self, err: Error) -> wasmtime::Result<()> {
        Err(Fault::from(HostFault::new("grow a vat's table", format_args!("{err:#}"))).into())
    }

    /// One store, one instance.
    fn instances(&self) -> usize {
        1
    }

    /// One instance, one memory.
    fn memories(&self) -> usize {
        1
    }

    /// As many as a module that validates can have.
    fn tables(&self) -> usize {
        module::limits::TABLES_MAX
    }
}

/// Guest code runs on a native stack of this size at least, whichever thread the host is called on.
const STACK_BYTES: usize = module::limits::NATIVE_STACK_MIN + (1 << 20);

fn with_stack<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_BYTES, 2 * STACK_BYTES, run)
}

/// Calls guest code. A debugged guest runs on a stack of its own, larger still, as wasmtime wants it; it never yields.
fn call<P, R>(store: &mut Store<Host>, function: &TypedFunc<P, R>, parameters: P) -> Result<R, Error>
where
    P: WasmParams + Sync,
    R: WasmResults + Sync,
{
    if !store.engine().get_guest_debug() {
        return with_stack(|| function.call(store, parameters));
    }
    let mut call = pin!(function.call_async(store, parameters));
    let mut context = task::Context::from_waker(task::Waker::noop());
    loop {
        if let task::Poll::Ready(result) = call.as_mut().poll(&mut context) {
            return result;
        }
    }
}

impl Instance {
    /// Instantiates; then runs `_initialize` if there is one, or takes over the heap of a snapshot.
    pub(super) fn start(
        loaded: &Loaded,
        options: &Options,
        snapshot: Option<Snapshot<'_>>,
        detector: &Detector,
    ) -> Result<Instance, Fault> {
        let pre = &loaded.pre;
        let memory_max = usize::try_from(options.memory_max).unwrap_or(usize::MAX);
        let host = Host { syscalls: None, input: Vec::new(), answer: Bytes::default(), memory: None, memory_max };
        let needed = pre.module().get_export("memory").and_then(|it| it.memory().map(|it| it.minimum() << 16));
        if needed.is_some_and(|it| it > options.memory_max) {
            let why = format!("it needs {} bytes of memory, its limit is {memory_max}", needed.unwrap_or_default());
            return Err(VatFault::Start(why).into());
        }
        let mut store = Store::new(pre.module().engine(), host);
        store.limiter(|host| host);
        if loaded.code.is_some() {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        }
        store.set_fuel(limits::FUEL_INITIALIZE).map_err(broken)?;
        let instance = pre.instantiate(&mut store).map_err(|err| start_fault(blame(err, false)))?;
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| missing("memory"))?;
        let stack = instance.get_global(&mut store, STACK_EXPORT).ok_or_else(|| missing(STACK_EXPORT))?;
        let deliver = instance.get_typed_func(&mut store, "vat_deliver").map_err(broken)?;
        let exports = pre.module().exports().filter(|it| it.name().starts_with(GLOBAL_EXPORT));
        let globals: Option<_> = exports.map(|it| instance.get_global(&mut store, it.name())).collect();
        let globals: Vec<_> = globals.ok_or_else(|| missing(GLOBAL_EXPORT))?;
        store.data_mut().memory = Some(memory);
        let depth = stack.get(&mut store);
        let mut pages = detector.pages(memory.data_ptr(&store) as usize, memory_max);
        if let Some(snapshot) = snapshot {
            heap::restore(&mut store, memory, &globals, &mut pages, snapshot)?;
        } else if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
            store.set_fuel(limits::FUEL_INITIALIZE).map_err(broken)?;
            let result = call(&mut store, &initialize, ());
            let exhausted = is_exhausted(stack, &mut store);
            result.map_err(|err| start_fault(blame(err, exhausted)))?;
        }
        let debuggee = loaded.code.clone().map(|code| Debuggee { code, instance, debugger: None });
        Ok(Instance { store, deliver, memory, stack, depth, globals, pages, debuggee, broken_in: Vec::new() })
    }

    /// Live deliveries are stopped by this debugger from now on, or by none. Only where the engine is one for debugging.
    pub(super) fn attach(&mut self, debugger: Option<Attached>) {
        if let Some(debuggee) = &mut self.debuggee {
            debuggee.debugger = debugger;
        }
    }

    /// Makes it what the snapshot says, whatever it was, a trap in the middle of a delivery included. Returns whether it could.
    pub(super) fn reset(&mut self, options: &Options, snapshot: Snapshot<'_>) -> Result<bool, HostFault> {
        if !heap::put_back(&mut self.store, self.memory, &self.globals, &mut self.pages, snapshot)? {
            return Ok(false);
        }
        let set = self.stack.set(&mut self.store, self.depth);
        set.map_err(|err| HostFault::new("reset a vat", format_args!("{err:#}")))?;
        let host = self.store.data_mut();
        (host.syscalls, host.answer) = (None, Bytes::default());
        host.memory_max = usize::try_from(options.memory_max).unwrap_or(usize::MAX);
        Ok(true)
    }

    fn run(&mut self, len: u32, fuel_max: u64, live: bool) -> Result<Usage, Fault> {
        self.store.set_fuel(fuel_max).map_err(broken)?;
        self.broken_in.clear();
        let result = match self.handler().filter(|_| live) {
            Some(handler) => self.call_debugged(len, handler)?,
            None => call(&mut self.store, &self.deliver, len),
        };
        if let Err(err) = result {
            if let Some(Fault::Kernel(_)) = err.downcast_ref() {
                self.broken_in = core_dump::frames(&err);
            }
            let exhausted = is_exhausted(self.stack, &mut self.store);
            return Err(blame(err, exhausted));
        }
        let left = self.store.get_fuel().map_err(broken)?;
        let memory = self.memory.data_size(&self.store) as u64;
        Ok(Usage { fuel: fuel_max - left, memory })
    }

    fn handler(&self) -> Option<Handler> {
        let Debuggee { code, instance, debugger } = self.debuggee.as_ref()?;
        let module = instance.module(&self.store).clone();
        Some(Handler::new(debugger.clone()?, code.clone(), module, *instance))
    }

    /// A delivery that stops at its first instruction, and where the debugger wants. Afterwards nothing stops any more.
    fn call_debugged(&mut self, len: u32, handler: Handler) -> Result<Result<(), Error>, Fault> {
        let no_edit = || broken(Error::msg("this engine is not one for debugging"));
        self.store.set_debug_handler(handler.clone());
        self.store.edit_breakpoints().ok_or_else(no_edit)?.single_step(true).map_err(broken)?;
        let result = call(&mut self.store, &self.deliver, len);
        self.store.clear_debug_handler();
        clear_breakpoints(&mut self.store);
        handler.ended(result.is_ok());
        Ok(result)
    }

    /// What is left of it, after the kernel broke. A copy: it may be large.
    pub(super) fn core_dump(&mut self, bundle: BundleId) -> Option<CoreDump> {
        let globals = self.globals.iter().map(|it| heap::value_of(it.get(&mut self.store)));
        let globals = globals.collect::<Result<_, _>>().ok()?;
        let memory = self.memory.data(&self.store).to_vec();
        Some(CoreDump { bundle, frames: std::mem::take(&mut self.broken_in), memory, globals })
    }
}

impl Worker for Instance {
    fn deliver(
        &mut self,
        delivery: &Delivery<VRef>,
        fuel_max: u64,
        syscalls: Syscalls,
    ) -> (Syscalls, Result<Usage, Fault>) {
        let host = self.store.data_mut();
        abi::encode(delivery, &mut host.input);
        host.answer = Bytes::default();
        let live = syscalls.is_live();
        host.syscalls = Some(syscalls);
        let result = match u32::try_from(host.input.len()) {
            Ok(len) => self.run(len, fuel_max, live),
            Err(err) => Err(HostFault::new("encode a delivery", err).into()),
        };
        let syscalls = self.store.data_mut().syscalls.take();
        (syscalls.expect("put there above; no host function takes it"), result)
    }

    fn image(&mut self, base: Option<&Heap>) -> Result<Option<Image>, HostFault> {
        heap::image(&mut self.store, self.memory, &self.globals, &mut self.pages, base).map(Some)
    }

    fn fingerprint(&mut self) -> Result<Option<[u8; 32]>, HostFault> {
        heap::fingerprint(&mut self.store, self.memory, &self.globals, &mut self.pages).map(Some)
    }

    fn memory(&mut self) -> Option<&mut [u8]> {
        Some(self.memory.data_mut(&mut self.store))
    }
}

fn is_exhausted(stack: wasmtime::Global, store: &mut Store<Host>) -> bool {
    stack.get(store).i32().is_some_and(|it| it < 0)
}

fn missing(export: &str) -> Fault {
    HostFault::new("instantiate a vat", format_args!("an accepted module does not export `{export}`")).into()
}

/// An error that no guest can cause.
fn broken(err: Error) -> Fault {
    HostFault::new("run a vat", format_args!("{err:#}")).into()
}

/// Whose fault it is that guest code did not return.
fn blame(err: Error, stack_exhausted: bool) -> Fault {
    let err = match err.downcast::<Fault>() {
        Ok(fault) => return fault,
        Err(err) => err,
    };
    match err.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => VatFault::OutOfFuel.into(),
        Some(Trap::UnreachableCodeReached) if stack_exhausted => VatFault::StackExhausted.into(),
        // The call-depth counter should have trapped first; how deep this one lies depends on the machine.
        None | Some(Trap::StackOverflow) => broken(err),
        Some(trap) => VatFault::Trap(trap.to_string()).into(),
    }
}

/// A vat's fault before its first delivery.
fn start_fault(fault: Fault) -> Fault {
    match fault {
        Fault::Vat(fault) => VatFault::Start(fault.to_string()).into(),
        other => other,
    }
}
