//! One live vat: an instance and its store.

use std::{pin::pin, sync::Arc, task};

use wasmtime::{
    Error, InstancePre, Memory, ResourceLimiter, Store, Trap, TypedFunc, UpdateDeadline, Val, WasmParams, WasmResults,
};

use crate::{
    kernel::{Syscalls, Usage, Worker},
    model::{
        blame::{Fault, HostFault, Interrupted, VatFault},
        engine_version,
        id::{BundleId, VRef},
        limits, price,
        value::{Bytes, Delivery},
    },
    state::{
        snapshot::{Heap, Image, Snapshot},
        table::Options,
    },
    store::PAGE_BYTES,
    vat::{
        abi::{self, InstanceData},
        core_dump::{self, CoreDump, Frame},
        debugger::{Attached, Code, Handler, Interrupter},
        dirty::{Detector, Pages},
        heap,
        module::{self, FUEL_EXPORT, GLOBAL_EXPORT, STACK_EXPORT},
        shadow::Shadow,
        stack,
        stopped::clear_breakpoints,
    },
};

/// The WebAssembly instance of a live vat.
pub(super) struct Instance {
    store: Store<InstanceData>,
    deliver: TypedFunc<u32, ()>,
    memory: Memory,
    stack: wasmtime::Global,
    /// What is left to pay for operands with, if the engine version charges for them here.
    operands: Option<wasmtime::Global>,
    /// Whether a delivery may end well although it used up its fuel: see [`engine_version::overdraws`].
    overdraws: bool,
    /// The value of the call-depth counter between two deliveries.
    depth: Val,
    /// The guest's mutable globals, in the order of the module.
    globals: Vec<wasmtime::Global>,
    pages: Pages,
    /// The heap before the last delivery, once there was a reason to keep it.
    shadow: Option<Shadow>,
    /// Live deliveries since a fault last needed the shadow; `None` if none is to be kept for that.
    calm: Option<u32>,
    /// The same of speculations that were taken back. Whether a shadow is kept for them makes no difference to a fault: it would show
    /// in the recording.
    guarded: Option<u32>,
    /// The cost of the instance's start, which its first delivery pays: its memory, and the fuel of `_initialize`.
    beginning: u64,
    account: Account,
    /// The facts about the guest that a debugger needs, if the engine is one for debugging.
    debuggee: Option<Debuggee>,
    /// The calls that were under way when the kernel panicked.
    broken_in: Vec<Frame>,
}

/// Deliveries without a fault after which a shadow is given up: a vat that faulted once does not pay for it for ever, and one replay
/// among so many deliveries is no burden.
const CALM_MAX: u32 = 1_000;

/// The account that decides whether a snapshot is worth its work: what the deliveries earned since the vat was
/// brought up, less what snapshots took. All in fuel: some 0.7 ns each.
#[derive(Clone, Copy)]
struct Account {
    /// The fuel of a delivery, on average over the last few.
    usual: u64,
    /// The same without what its syscalls take.
    usual_alone: u64,
    /// The fuel that a snapshot may take.
    earned: u64,
    /// The price of the last snapshot that was considered; the next takes no less.
    price: u64,
    /// Fuel of deliveries since the last snapshot.
    unsaved: u64,
    /// Deliveries since the last that read the vatstore; more than any number where none was seen. A vat that was brought up makes its
    /// first delivery in its turn in any case, since its fuel is not known yet.
    since_read: u32,
}

impl Account {
    /// The price of a written page: to hash and keep it takes 3 µs, to store it with the block 15 µs.
    const PAGE: u64 = PAGE_BYTES as u64;
    /// The amount that each delivery earns besides its fuel, for the host's fixed work, which takes as long as some written pages.
    const DELIVERY: u64 = 16 * Account::PAGE;
    /// The price of a syscall, and the fuel for which a guest runs while it is made once more: if it was made ahead of its turn.
    const SYSCALL: u64 = 8_192;
    /// The amount that bringing a vat up earns.
    const BEGINNING: u64 = 64 * Account::PAGE;

    fn new(unsaved: u64) -> Account {
        Account {
            usual: 0,
            usual_alone: 0,
            earned: Account::BEGINNING + unsaved,
            price: 0,
            unsaved,
            since_read: u32::MAX,
        }
    }

    fn earn(&mut self, fuel: u64, syscalls: u64, has_read: bool) {
        let alone = fuel.saturating_sub(syscalls.saturating_mul(Account::SYSCALL));
        self.usual = self.usual - self.usual / 4 + fuel / 4;
        self.usual_alone = self.usual_alone - self.usual_alone / 4 + alone / 4;
        self.earned = self.earned.saturating_add(fuel).saturating_add(Account::DELIVERY);
        self.unsaved = self.unsaved.saturating_add(fuel);
        self.since_read = if has_read { 0 } else { self.since_read.saturating_add(1) };
    }

    /// Returns whether enough was earned. Asked only if that is possible, because counting pages takes time, too.
    /// `pages` counts those that a snapshot would have to look at, up to a number that would be too much.
    fn affords(&mut self, pages: impl FnOnce(usize) -> usize) -> bool {
        if self.earned < self.price {
            return false;
        }
        let enough = usize::try_from(self.earned / Account::PAGE).unwrap_or(usize::MAX);
        self.price = (pages(enough) as u64).saturating_mul(Account::PAGE);
        self.earned >= self.price
    }

    fn saved(&mut self) {
        self.earned = self.earned.saturating_sub(self.price);
        (self.price, self.unsaved) = (0, 0);
    }
}

/// The facts about an instance, beside its heap, that a delivery changes.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    account: Account,
    calm: Option<u32>,
}

/// The result of an attempt to undo a delivery.
pub(super) enum RolledBack {
    /// The heap is as it was.
    Done,
    /// The memory has grown, and cannot shrink: the instance must be made anew.
    Grown,
    /// Nothing was kept.
    NotKept,
}

struct Debuggee {
    code: Arc<Code>,
    instance: wasmtime::Instance,
    debugger: Option<Attached>,
    /// Whether replayed deliveries stop, too.
    replays: bool,
}

/// A module that is ready to be instantiated.
pub(super) struct Loaded {
    pub(super) pre: InstancePre<InstanceData>,
    /// The engine version that it was made ready for.
    pub(super) version: u32,
    /// The code of the guest, if the engine is one for debugging.
    pub(super) code: Option<Arc<Code>>,
}

/// Limits that wasmtime asks for before it grants something, and failures that it reports. `memory.grow` returns -1 to the
/// guest if its module or its vat sets the bound; the guest ends if the pages cost more than its fuel. So what reaches the
/// `_failed` functions is this machine's failure alone.
impl ResourceLimiter for InstanceData {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        declared_max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.memory_max || declared_max.is_some_and(|max| desired > max) {
            return Ok(false);
        }
        let pages = desired.saturating_sub(current) / heap::WASM_PAGE_BYTES;
        self.owed = self.owed.saturating_add(price::GROW.of(0, pages as u64));
        match self.owed > self.owed_max {
            true => Err(Fault::from(VatFault::OutOfFuel).into()),
            false => Ok(true),
        }
    }

    /// Asked once for each table, before the first instruction: no accepted module grows one, and the load pass bounds their sizes.
    fn table_growing(&mut self, _: usize, desired: usize, declared_max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(declared_max.is_none_or(|max| desired <= max))
    }

    /// Reports that this machine has no memory left, as a host fault: the guest must not see what it would not see on another replica.
    fn memory_grow_failed(&mut self, err: Error) -> wasmtime::Result<()> {
        Err(Fault::from(HostFault::new("grow a vat's memory", format_args!("{err:#}"))).into())
    }

    /// Refuses to grow a table for which this machine has no memory, should the load pass ever let one grow.
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

    /// Returns the number of tables that a valid module can have at most.
    fn tables(&self) -> usize {
        module::limits::TABLES_MAX
    }
}

/// Calls guest code. A debugged guest runs on a stack of its own, larger still, as wasmtime wants it; it never yields.
fn call<P, R>(store: &mut Store<InstanceData>, function: &TypedFunc<P, R>, parameters: P) -> Result<R, Error>
where
    P: WasmParams + Sync,
    R: WasmResults + Sync,
{
    if !store.engine().get_guest_debug() {
        return stack::for_guest(|| function.call(store, parameters));
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
        interrupter: &Interrupter,
    ) -> Result<Instance, Fault> {
        let memory_max = usize::try_from(options.memory_max).unwrap_or(usize::MAX);
        let needed = loaded.pre.module().get_export("memory").and_then(|it| it.memory().map(|it| it.minimum() << 16));
        if needed.is_some_and(|it| it > options.memory_max) {
            let why = format!("it needs {} bytes of memory, its limit is {memory_max}", needed.unwrap_or_default());
            return Err(VatFault::Start(why).into());
        }
        let (mut new, instance) = Instance::new(loaded, memory_max, detector, interrupter)?;
        if let Some(snapshot) = snapshot {
            heap::restore(&mut new.store, new.memory, &new.globals, &mut new.pages, snapshot)?;
        } else if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut new.store, "_initialize") {
            new.give_fuel(limits::FUEL_INITIALIZE)?;
            let result = call(&mut new.store, &initialize, ());
            let exhausted = new.exhausted();
            result.map_err(|err| start_fault(blame(err, exhausted)))?;
            let used = new.used_fuel(limits::FUEL_INITIALIZE).map_err(start_fault)?;
            new.account = Account::new(used);
            new.beginning = used;
        }
        let pages = new.memory.size(&new.store);
        new.beginning = new.beginning.saturating_add(price::GROW.of(0, pages));
        Ok(new)
    }

    /// Instantiates, with the heap that the module begins with.
    fn new(
        loaded: &Loaded,
        memory_max: usize,
        detector: &Detector,
        interrupter: &Interrupter,
    ) -> Result<(Instance, wasmtime::Instance), Fault> {
        let pre = &loaded.pre;
        let host = InstanceData {
            syscalls: None,
            asked: 0,
            has_read: false,
            input: Vec::new(),
            answer: Bytes::default(),
            memory: None,
            memory_max,
            owed: 0,
            owed_max: u64::MAX,
            last_error: None,
        };
        let mut store = Store::new(pre.module().engine(), host);
        store.limiter(|host| host);
        // What begins while the host is to stop has no time at all.
        store.set_epoch_deadline(u64::from(!interrupter.is_stopping()));
        let interrupter = interrupter.clone();
        store.epoch_deadline_callback(move |_| match interrupter.is_stopping() {
            true => Err(Fault::from(Interrupted).into()),
            false => Ok(UpdateDeadline::Continue(1)),
        });
        store.set_fuel(limits::FUEL_INITIALIZE).map_err(broken)?;
        let instance =
            pre.instantiate(&mut store).map_err(|err| start_fault(no_room(blame(err, Exhausted::Nothing))))?;
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| missing("memory"))?;
        let stack = instance.get_global(&mut store, STACK_EXPORT).ok_or_else(|| missing(STACK_EXPORT))?;
        let operands = instance.get_global(&mut store, FUEL_EXPORT);
        let deliver = instance.get_typed_func(&mut store, "vat_deliver").map_err(broken)?;
        let exports = pre.module().exports().filter(|it| it.name().starts_with(GLOBAL_EXPORT));
        let globals: Option<_> = exports.map(|it| instance.get_global(&mut store, it.name())).collect();
        let globals: Vec<_> = globals.ok_or_else(|| missing(GLOBAL_EXPORT))?;
        store.data_mut().memory = Some(memory);
        let depth = stack.get(&mut store);
        let pages = detector.pages(memory.data_ptr(&store) as usize, memory_max);
        let debuggee = loaded.code.clone().map(|code| Debuggee { code, instance, debugger: None, replays: false });
        let new = Instance {
            store,
            deliver,
            memory,
            stack,
            operands,
            overdraws: engine_version::overdraws(loaded.version),
            depth,
            globals,
            pages,
            shadow: None,
            calm: None,
            guarded: None,
            beginning: 0,
            account: Account::new(0),
            debuggee,
            broken_in: Vec::new(),
        };
        Ok((new, instance))
    }

    /// Returns the bytes of memory that the instance may hold: the guest's memory, and the shadow.
    pub(super) fn bytes(&self) -> usize {
        self.memory.data_size(&self.store) + self.shadow.as_ref().map_or(0, Shadow::bytes)
    }

    /// Keeps a shadow from the next live delivery on, so that deliveries can be undone.
    pub(super) fn keep_shadow(&mut self) {
        self.calm = Some(0);
    }

    /// Keeps a shadow from the next delivery on, so that speculations can be undone.
    pub(super) fn guard(&mut self) {
        self.guarded = Some(0);
    }

    /// Returns the facts that a delivery changes, to be put back if it is undone.
    pub(super) fn standing(&self) -> Standing {
        Standing { account: self.account, calm: self.calm }
    }

    /// Puts back the facts that a delivery changed.
    pub(super) fn stand(&mut self, standing: Standing) {
        (self.account, self.calm) = (standing.account, standing.calm);
    }

    /// Returns the fuel of a delivery, on average over the last few, that is the guest's own and not that of its syscalls: what another
    /// thread can do instead of the kernel's.
    pub(super) fn usual_fuel_alone(&self) -> u64 {
        self.account.usual_alone
    }

    /// Returns the number of deliveries since the last that read the vatstore.
    pub(super) fn deliveries_since_read(&self) -> u32 {
        self.account.since_read
    }

    /// Returns whether the heap could be made anew for the fuel of so many deliveries, or put back from a shadow.
    pub(super) fn can_be_restored(&self, deliveries: u64) -> bool {
        self.calm.is_some() || self.guarded.is_some() || self.account.unsaved / deliveries <= self.account.usual
    }

    /// Brings the shadow, if one is kept, up to the heap before a live delivery.
    fn follow(&mut self) -> Result<(), HostFault> {
        if self.calm.is_none() && self.guarded.is_none() {
            return Ok(());
        }
        for calm in [&mut self.calm, &mut self.guarded] {
            *calm = calm.map(|it| it + 1).filter(|it| *it <= CALM_MAX);
        }
        if self.calm.is_none() && self.guarded.is_none() {
            self.shadow = None;
            return Ok(());
        }
        let globals = heap::globals(&mut self.store, &self.globals)?;
        let memory = self.memory.data(&self.store);
        let written = self.pages.take_ahead(memory);
        self.shadow.get_or_insert_default().follow(memory, globals, written.as_deref());
        Ok(())
    }

    /// Undoes the last delivery, a live one whose vat was at fault, from the shadow.
    pub(super) fn roll_back(&mut self) -> Result<RolledBack, HostFault> {
        if self.calm.is_none() {
            return Ok(RolledBack::NotKept);
        }
        let rolled_back = self.put_back()?;
        if let RolledBack::Done = rolled_back {
            self.calm = Some(0);
        }
        Ok(rolled_back)
    }

    /// Puts the heap back that was before the last delivery, a live one, from the shadow.
    pub(super) fn put_back(&mut self) -> Result<RolledBack, HostFault> {
        let Some(shadow) = &self.shadow else { return Ok(RolledBack::NotKept) };
        let memory = self.memory.data_mut(&mut self.store);
        let written = self.pages.take_undone(memory);
        if memory.len() != shadow.memory_bytes() {
            return Ok(RolledBack::Grown);
        }
        shadow.put_back(memory, written.as_deref());
        self.pages.put_back(memory);
        heap::set_globals(&mut self.store, &self.globals, &shadow.globals)?;
        self.rest()?;
        Ok(RolledBack::Done)
    }

    /// Replaces the instance by a new one with the shadow's heap.
    pub(super) fn remade(
        self,
        loaded: &Loaded,
        detector: &Detector,
        interrupter: &Interrupter,
    ) -> Result<Instance, Fault> {
        let shadow = self.shadow.ok_or_else(|| HostFault::new("undo a delivery", "nothing was kept"))?;
        let memory_max = self.store.data().memory_max;
        let (mut new, _) = Instance::new(loaded, memory_max, detector, interrupter)?;
        heap::grow(&mut new.store, new.memory, shadow.memory_bytes())?;
        let memory = new.memory.data_mut(&mut new.store);
        shadow.put_back(memory, None);
        new.pages.take_over(self.pages, memory);
        heap::set_globals(&mut new.store, &new.globals, &shadow.globals)?;
        (new.shadow, new.calm, new.account) = (Some(shadow), Some(0), self.account);
        Ok(new)
    }

    /// Resets the instance to the state between two deliveries, whatever the result of the last one.
    fn rest(&mut self) -> Result<(), HostFault> {
        let set = self.stack.set(&mut self.store, self.depth);
        set.map_err(|err| HostFault::new("reset a vat", format_args!("{err:#}")))?;
        let host = self.store.data_mut();
        (host.syscalls, host.answer) = (None, Bytes::default());
        Ok(())
    }

    /// Lets this debugger, or none, stop the live deliveries from now on, and with `replays` the replayed ones too. Nothing happens
    /// on an engine that is not for debugging.
    pub(super) fn attach(&mut self, debugger: Option<Attached>, replays: bool) {
        if let Some(debuggee) = &mut self.debuggee {
            (debuggee.debugger, debuggee.replays) = (debugger, replays);
        }
    }

    /// Resets the instance to a snapshot, even after a trap in the middle of a delivery. Returns whether it could.
    pub(super) fn reset(&mut self, options: &Options, snapshot: Snapshot<'_>) -> Result<bool, HostFault> {
        if !heap::put_back(&mut self.store, self.memory, &self.globals, &mut self.pages, snapshot)? {
            return Ok(false);
        }
        self.rest()?;
        (self.shadow, self.calm, self.guarded, self.account) = (None, None, None, Account::new(0));
        self.store.data_mut().memory_max = usize::try_from(options.memory_max).unwrap_or(usize::MAX);
        Ok(true)
    }

    fn run(&mut self, len: u32, fuel_max: u64, live: bool) -> Result<Usage, Fault> {
        self.give_fuel(fuel_max)?;
        (self.store.data_mut().owed, self.store.data_mut().owed_max) = (0, fuel_max);
        self.broken_in.clear();
        let stops = live || self.debuggee.as_ref().is_some_and(|it| it.replays);
        let result = match self.handler().filter(|_| stops) {
            Some(handler) => self.call_debugged(len, handler)?,
            None => call(&mut self.store, &self.deliver, len),
        };
        self.store.data_mut().owed_max = u64::MAX;
        if let Err(err) = result {
            if let Some(Fault::Kernel(_)) = err.downcast_ref() {
                self.broken_in = core_dump::frames(&err);
            }
            let exhausted = self.exhausted();
            let (place, said) = (core_dump::place(&err), self.store.data_mut().last_error.take());
            return Err(match blame(err, exhausted) {
                Fault::Vat(fault) => fault.with_last_words(place, said.as_deref()).into(),
                other => other,
            });
        }
        let used = self.used_fuel(fuel_max)?;
        let memory = self.memory.data_size(&self.store) as u64;
        Ok(Usage { fuel: used.saturating_add(self.store.data().owed), memory })
    }

    /// Gives the guest fuel: as much for operands as for all the rest.
    fn give_fuel(&mut self, fuel: u64) -> Result<(), Fault> {
        self.store.set_fuel(fuel).map_err(broken)?;
        let Some(operands) = self.operands else { return Ok(()) };
        operands.set(&mut self.store, Val::I64(fuel_for_operands(fuel).cast_signed())).map_err(broken)
    }

    /// Returns the fuel that the guest used of what it was given. Together, operands and the rest must have left some.
    fn used_fuel(&mut self, given: u64) -> Result<u64, Fault> {
        let left = self.store.get_fuel().map_err(broken)?;
        let used = given.saturating_sub(left);
        let of_operands = match self.operands.map(|it| it.get(&mut self.store)) {
            Some(left) => fuel_for_operands(given).cast_signed().saturating_sub(left.i64().unwrap_or_default()),
            None => 0,
        };
        let used = used.saturating_add_signed(of_operands);
        // Behind the last loop and call wasmtime does not look.
        if used >= given && !self.overdraws { Err(VatFault::OutOfFuel.into()) } else { Ok(used) }
    }

    /// Returns which of the counters in the guest ran out, after it trapped.
    fn exhausted(&mut self) -> Exhausted {
        let stack = self.stack.get(&mut self.store).i32().is_some_and(|it| it < 0);
        let operands = self.operands.and_then(|it| it.get(&mut self.store).i64()).is_some_and(|it| it < 0);
        match (stack, operands) {
            (true, _) => Exhausted::Stack,
            (_, true) => Exhausted::Fuel,
            _ => Exhausted::Nothing,
        }
    }

    fn handler(&self) -> Option<Handler> {
        let Debuggee { code, instance, debugger, .. } = self.debuggee.as_ref()?;
        let module = instance.module(&self.store).clone();
        Some(Handler::new(debugger.clone()?, code.clone(), module, *instance))
    }

    /// Makes a delivery that stops at its first instruction, and at the places that the debugger chooses. Afterwards
    /// nothing stops any more.
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

    /// Returns a copy of the guest's memory, globals and call stack after a kernel panic. The copy may be large.
    pub(super) fn core_dump(&mut self, bundle: BundleId, version: u32) -> Option<CoreDump> {
        let globals = self.globals.iter().map(|it| heap::value_of(it.get(&mut self.store)));
        let globals = globals.collect::<Result<_, _>>().ok()?;
        let memory = self.memory.data(&self.store).to_vec();
        Some(CoreDump { bundle, version, frames: std::mem::take(&mut self.broken_in), memory, globals })
    }
}

impl Worker for Instance {
    fn deliver(
        &mut self,
        delivery: &Delivery<VRef>,
        fuel_max: u64,
        syscalls: Syscalls,
    ) -> (Syscalls, Result<Usage, Fault>) {
        let live = syscalls.is_live();
        if live && let Err(fault) = self.follow() {
            return (syscalls, Err(fault.into()));
        }
        let host = self.store.data_mut();
        abi::encode(delivery, &mut host.input);
        // All empty bytes are one allocation, whose count other threads change as well.
        if !host.answer.is_empty() {
            host.answer = Bytes::default();
        }
        (host.last_error, host.asked, host.has_read) = (None, 0, false);
        host.syscalls = Some(syscalls);
        let mut fee = abi::fee(delivery, host.input.len());
        if matches!(delivery, Delivery::StartVat(_)) {
            fee = fee.saturating_add(self.beginning);
        }
        let result = match u32::try_from(host.input.len()) {
            Ok(len) => self.run(len, fuel_max, live),
            Err(err) => Err(HostFault::new("encode a delivery", err).into()),
        };
        let result = result.map(|it| Usage { fuel: it.fuel.saturating_add(fee), ..it });
        let (fuel, host) = (result.as_ref().map_or(0, |usage| usage.fuel), self.store.data());
        self.account.earn(fuel, host.asked, host.has_read);
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

    fn unsaved_fuel(&self) -> u64 {
        self.account.unsaved
    }

    fn can_afford_snapshot(&mut self) -> bool {
        let (pages, memory) = (&mut self.pages, self.memory.data(&self.store));
        self.account.affords(|enough| pages.work(memory, enough))
    }

    fn saved(&mut self) {
        self.account.saved();
    }
}

/// A counter in the guest that is below zero, where the guest traps for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exhausted {
    Nothing,
    Stack,
    Fuel,
}

/// Returns the fuel for operands out of a budget: less than the whole of one that is no limit, since some is given back.
fn fuel_for_operands(budget: u64) -> u64 {
    budget.min(1 << 62)
}

fn missing(export: &str) -> Fault {
    HostFault::new("instantiate a vat", format_args!("an accepted module does not export `{export}`")).into()
}

/// An error that no guest can cause.
fn broken(err: Error) -> Fault {
    HostFault::new("run a vat", format_args!("{err:#}")).into()
}

/// Decides whose fault it is that guest code did not return.
fn blame(err: Error, exhausted: Exhausted) -> Fault {
    let err = match err.downcast::<Fault>() {
        Ok(fault) => return fault,
        Err(err) => err,
    };
    match err.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => VatFault::OutOfFuel.into(),
        Some(Trap::UnreachableCodeReached) if exhausted == Exhausted::Stack => VatFault::StackExhausted.into(),
        Some(Trap::UnreachableCodeReached) if exhausted == Exhausted::Fuel => VatFault::OutOfFuel.into(),
        // The call-depth counter should have trapped first; how deep this one lies depends on the machine.
        None | Some(Trap::StackOverflow) => broken(err),
        Some(trap) => VatFault::Trap(trap.to_string()).into(),
    }
}

/// Adds to a fault of this machine the hint that fewer live vats would make room for this one.
fn no_room(fault: Fault) -> Fault {
    match fault {
        Fault::Host(fault) => {
            let why = format_args!("{}; --max-live and --memory set how many vats are live at once", fault.why);
            HostFault::new("make an instance of a vat", why).into()
        }
        other => other,
    }
}

/// A vat's fault before its first delivery.
fn start_fault(fault: Fault) -> Fault {
    match fault {
        Fault::Vat(fault) => VatFault::Start(fault.to_string()).into(),
        other => other,
    }
}
