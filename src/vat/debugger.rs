//! Stops of a guest for a debugger: at the first instruction of a live delivery, at breakpoints, after steps, at a
//! trap.
//!
//! Invariants: a replayed delivery stops only if the debugger's owner asked for it
//! ([`debug_replays`](crate::vat::Warehouse::debug_replays)); a debugger reads a guest and changes nothing of it, so that fuel, syscalls
//! and heap are those of a delivery without a debugger; what the load pass injected is never shown.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use wasmtime::{DebugEvent, DebugHandler, Engine, Instance, Module, StoreContextMut};

use crate::{
    model::blame::Fault,
    vat::{abi::InstanceData, module::OffsetMap, stopped::Stopped},
};

/// The client of a debugged guest, which decides how the guest continues after each stop. The guest waits meanwhile.
pub trait Debugger: Send {
    /// Reports that the guest has stopped; returns how it continues.
    fn stopped(&mut self, guest: &mut Stopped<'_>, stop: &Stop) -> Resume;

    /// Reports that the delivery has ended, well or not: it stops no more.
    fn ended(&mut self, well: bool);
}

/// The reason why a guest has stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The guest is about to begin a delivery.
    Entry,
    /// The guest reached a breakpoint.
    Breakpoint,
    /// The guest made the step.
    Step,
    /// [`Interrupter::interrupt`] was called, perhaps some time ago, and perhaps for no reason.
    Interrupt,
    /// The guest is at fault, and will not continue: a trap, or a syscall that it may not make. In words.
    Fault(String),
    /// The host cannot continue with the guest: a kernel panic, for example. In words.
    Host(String),
}

/// The way in which a stopped guest continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resume {
    /// Up to the next breakpoint.
    Go,
    /// By one instruction.
    Step,
    /// In the way in which the guest ran before it stopped.
    Same,
    /// To the end of the delivery, whatever breakpoints there are.
    Free,
}

/// A handle that stops the running guest of a warehouse from another thread, at the head of its next loop or function.
#[derive(Clone)]
pub struct Interrupter {
    /// One for each engine version.
    engines: Arc<[Engine]>,
    stopping: Arc<AtomicBool>,
}

impl Interrupter {
    pub(super) fn new<'a>(engines: impl Iterator<Item = &'a Engine>) -> Interrupter {
        Interrupter { engines: engines.cloned().collect(), stopping: Arc::default() }
    }

    /// Shows a debugged guest to its debugger soon, if one is running. The guest continues afterwards.
    pub fn interrupt(&self) {
        self.engines.iter().for_each(Engine::increment_epoch);
    }

    /// Ends the delivery that is under way, or the next one: its crank is undone, and nobody is at fault. A delivery that renews its
    /// deadline at that very moment misses it: to be sure, call it again.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.engines.iter().for_each(Engine::increment_epoch);
    }

    /// Lets deliveries run again after a [`stop`](Interrupter::stop).
    pub(crate) fn go_on(&self) {
        self.stopping.store(false, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupter")
    }
}

/// A debugger that is attached to a vat.
pub(super) type Attached = Arc<Mutex<dyn Debugger>>;

/// A module as its author built it, and the map of its instructions' offsets, for a debugger.
pub(super) struct Code {
    pub(super) wasm: Vec<u8>,
    pub(super) offsets: OffsetMap,
}

/// The handler that wasmtime calls at every debug event of a store.
#[derive(Clone)]
pub(super) struct Handler(Arc<Mutex<GuestWatch>>);

struct GuestWatch {
    debugger: Attached,
    code: Arc<Code>,
    module: Module,
    instance: Instance,
    going: Going,
    breakpoints: BTreeSet<u64>,
}

/// The way in which the guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Going {
    /// To the first instruction that is the guest's own.
    In,
    Step,
    On,
    /// The guest runs freely: no debugger is interested any more.
    Free,
}

impl Going {
    fn steps(self) -> bool {
        matches!(self, Going::In | Going::Step)
    }
}

/// Locks a mutex, even if a debugger panicked while it held it.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handler {
    /// Makes the handler for a delivery that begins in single steps.
    pub(super) fn new(debugger: Attached, code: Arc<Code>, module: Module, instance: Instance) -> Handler {
        let (going, breakpoints) = (Going::In, BTreeSet::new());
        Handler(Arc::new(Mutex::new(GuestWatch { debugger, code, module, instance, going, breakpoints })))
    }

    pub(super) fn ended(&self, well: bool) {
        lock(&lock(&self.0).debugger).ended(well);
    }
}

impl DebugHandler for Handler {
    type Data = InstanceData;

    fn handle(
        &self,
        store: StoreContextMut<'_, InstanceData>,
        event: DebugEvent<'_>,
    ) -> impl Future<Output = ()> + Send {
        lock(&self.0).see(store, &event);
        std::future::ready(())
    }
}

impl GuestWatch {
    fn see(&mut self, store: StoreContextMut<'_, InstanceData>, event: &DebugEvent<'_>) {
        let GuestWatch { debugger, code, module, instance, going, breakpoints } = self;
        let in_host = matches!(event, DebugEvent::HostcallError(_));
        let mut guest = Stopped::new(store, code, module, *instance, in_host, breakpoints);
        let Some(stop) = why(*going, &guest, event) else { return };
        let next = match lock(debugger).stopped(&mut guest, &stop) {
            Resume::Same => return,
            Resume::Go => Going::On,
            Resume::Step => Going::Step,
            Resume::Free => Going::Free,
        };
        guest.single_step(next.steps());
        if next == Going::Free {
            guest.clear_breakpoints();
        }
        *going = next;
    }
}

/// Returns the reason to stop at this event; `None` if the guest is not to stop at all.
fn why(going: Going, guest: &Stopped<'_>, event: &DebugEvent<'_>) -> Option<Stop> {
    Some(match event {
        _ if going == Going::Free => return None,
        // A guest in single steps stops at every instruction, injected ones too.
        DebugEvent::Breakpoint if going.steps() && guest.is_injected() => return None,
        DebugEvent::Breakpoint if going == Going::In => Stop::Entry,
        DebugEvent::Breakpoint if guest.is_at_breakpoint() => Stop::Breakpoint,
        DebugEvent::Breakpoint => Stop::Step,
        DebugEvent::EpochYield => Stop::Interrupt,
        DebugEvent::Trap(trap) => Stop::Fault(trap.to_string()),
        DebugEvent::HostcallError(err) => match err.downcast_ref::<Fault>() {
            Some(Fault::Vat(fault)) => Stop::Fault(fault.to_string()),
            _ => Stop::Host(format!("{err:#}")),
        },
        // No guest can throw.
        DebugEvent::Exception(_) => return None,
    })
}
