//! The kernel: a deterministic, single-threaded state machine in the model of SwingSet.
//!
//! One queue item is one crank:
//!
//! ```text
//!   take ─▶ obey ─▶ admit ─▶ deliver ─▶ settle ─▶ collect ─▶ finish          crank.rs: the list of them
//!   take.rs  obey.rs          deliver.rs            gc.rs      ledger.rs
//!   queue.rs                   ├ translate.rs (KRef ─▶ VRef)
//!   route.rs                   ├ the vat's worker ─▶ syscall.rs ─▶ translate.rs (VRef ─▶ KRef) ─▶ promise.rs, gc.rs, …
//!                              └ upgrade.rs
//! ```
//!
//! Guests may run ahead of their turn, in parallel (`speculation`); what they did is applied when their turn comes.
//!
//! The crank changes a [`Ledger`]: the block, and what is not part of it yet. An input from outside (`outside.rs`) is a
//! ledger without a crank. *obey* is the directive layer: what operators ordered for this very crank.
//!
//! A crank ends in one of three ways, by blame: *commit*; *abort* (the vat is at fault: everything is undone, then the
//! vat's `on_fault` decides); or *panic* (an invariant of the kernel is broken: the block is dropped).
//!
//! Nothing here knows wasm, files, clocks or randomness. A [`Worker`] may be a script.
//!
//! # Invariants
//!
//! Each has a stable name, which a kernel panic reports.
//!
//! | name | what must hold | who checks |
//! | --- | --- | --- |
//! | `object.known` | an object that a row or queue refers to exists | every use |
//! | `object.counts` | no count of an object falls below zero, nor recognizable below reachable | every decrement |
//! | `promise.known` | a promise that a row or queue refers to exists | every use |
//! | `promise.refs` | no promise's count falls below zero | every decrement |
//! | `promise.settled-once` | only an unresolved promise is settled | `settle` |
//! | `promise.decider` | a vat settles only what it decides | `resolve` |
//! | `promise.policy` | a promise that the host cannot do without is not rejected | `settle` |
//! | `clist.known` | what a translated syscall names stands in the vat's c-list | every use |
//! | `vat.known` | a vat that a row or queue refers to exists | every use |
//! | `vat.critical` | a critical vat does not end | `terminate` |
//! | `worker.brought-up` | a vat that is delivered to has a worker | `deliver` |
//! | `kernel.no-panic` | the kernel's own code does not panic | every crank |
//! | `audit.clist-bijection` | a c-list is a bijection between references of the same kind | audit |
//! | `audit.clist-target` | a c-list entry refers to a live row, or to an object whose retirement is under way | audit |
//! | `audit.object-counts` | an object's counts equal what a sweep of all references counts | audit |
//! | `audit.promise-refs` | a promise's count equals what a sweep of all references counts | audit |
//! | `audit.decider` | an unresolved promise has a live decider, or none | audit |
//! | `audit.settlement` | a settled promise has a settlement and no subscribers, and a settlement a promise | audit |
//! | `audit.queue` | every queue entry refers to live rows, a settled promise has no queue, and each vat is charged with what it made | audit |
//! | `audit.reap` | a vat is marked as queued for reaping exactly if it is | audit |
//! | `audit.session` | a session has a name of its own, no code, and events in order, the last of which is its end | audit |
//! | `audit.answer` | where answers expire, the block of each settled result from outside is noted, and of nothing else | audit |
//! | `audit.dead-vat` | a dead vat has no rows beyond those that its cleanup will remove | audit |

mod admin;
mod audit;
mod bridge;
mod clist;
mod counts;
pub(crate) mod crank;
pub(crate) mod deliver;
mod device;
mod gc;
mod ledger;
mod lifecycle;
mod look;
mod meter;
pub(crate) mod obey;
mod outside;
mod probe;
mod promise;
mod prove;
mod queue;
mod replay;
mod request;
mod route;
mod script;
mod session;
mod snapshot;
mod speculation;
pub(crate) mod syscall;
pub(crate) mod take;
mod translate;
mod upgrade;

pub use audit::{AuditedRow, audit, audit_seeing};
pub use crank::Crank;
pub use device::mail_methargs;
pub use ledger::Ledger;
pub use look::{Ahead, Fate, look};
pub use obey::{obey_at_rest, vathost_breakpoint};
pub use outside::{begin_block, begin_block_at, begin_block_with, outside};
pub use probe::{BoundaryCheck, Call, Probe, probe_of, set_probe};
pub use prove::{VatProof, prove};
pub use queue::run_order;
pub(crate) use replay::not_again;
pub use replay::{bring_up, bring_up_to, carry_over, check_fuel, redeliver, repeat};
pub use script::{ScriptedVat, Scripts};
pub use session::{SessionInput, SessionTarget};
pub(crate) use snapshot::take as take_snapshot;
pub use speculation::{Forecast, GuestAct, Record, Speculator};
pub use syscall::Syscalls;
pub use take::Taken;

use crate::{
    model::{
        blame::{Fault, Halted, HostFault, VatFault},
        id::{CrankNum, DeliveryNum, KRef, VRef, VatId},
        value::{CapData, Delivery},
    },
    state::{
        block::Block,
        snapshot::{Heap, Image, Snapshot},
        table::{Item, Tables, Vat},
    },
};

/// The fuel and memory that a delivery used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Units of fuel used.
    pub fuel: u64,
    /// Bytes of memory, afterwards.
    pub memory: u64,
}

/// Runs one vat: an instance of its bundle, or a script.
pub trait Worker {
    /// Runs one delivery, on at most this much fuel. The vat may make syscalls meanwhile; a fault that a syscall
    /// returns must end the delivery, and be returned. The syscalls come back in any case.
    fn deliver(
        &mut self,
        delivery: &Delivery<VRef>,
        fuel_max: u64,
        syscalls: Syscalls,
    ) -> (Syscalls, Result<Usage, Fault>);

    /// Returns the vat's heap as it is between two deliveries, without the pages that are at the same place in `base`.
    /// `None` where it has no heap: a script.
    fn image(&mut self, base: Option<&Heap>) -> Result<Option<Image>, HostFault> {
        let _ = base;
        Ok(None)
    }

    /// Returns a hash that tells the vat's heap from others, as it is between two deliveries. `None` where it has no
    /// heap: a script.
    fn fingerprint(&mut self) -> Result<Option<[u8; 32]>, HostFault> {
        Ok(None)
    }

    /// Returns the vat's memory, for an experiment to disturb. `None` where it has none: a script.
    fn memory(&mut self) -> Option<&mut [u8]> {
        None
    }

    /// Fuel of the deliveries that its heap is ahead of its newest snapshot: what a replay would use.
    fn unsaved_fuel(&self) -> u64 {
        0
    }

    /// Returns whether the deliveries since the last snapshot are worth the work that a new one would take now.
    fn can_afford_snapshot(&mut self) -> bool {
        true
    }

    /// Notes that the heap, as it is now, was made the vat's newest snapshot.
    fn saved(&mut self) {}
}

/// The workers of all live vats.
pub trait Workers {
    /// Workers that are asked for or started from now on run on this engine version: one that is up on another counts as
    /// down.
    fn set_engine_version(&mut self, version: u32) {
        let _ = version;
    }

    /// The vat's, if it is up. What it did ahead of its turn is taken back first.
    fn worker(&mut self, vat: VatId) -> Option<&mut dyn Worker>;

    /// Returns whether the vat is up, with the heap that its last delivery left. Cheaper to ask than for the worker.
    fn is_up(&mut self, vat: VatId) -> bool {
        self.worker(vat).is_some()
    }

    /// Returns the [`Worker::unsaved_fuel`] of a vat that is up, and 0 of any other.
    fn unsaved_fuel(&mut self, vat: VatId) -> u64 {
        self.worker(vat).map_or(0, |it| it.unsaved_fuel())
    }

    /// Returns the part of the workers that runs guests ahead of their turn, if it is to.
    fn speculator(&mut self) -> Option<&mut dyn Speculator> {
        None
    }

    /// Makes one: fresh, or with the heap of a snapshot. `bundle` reads the wasm, if it is not at hand.
    fn start(
        &mut self,
        vat: VatId,
        row: &Vat,
        snapshot: Option<Snapshot<'_>>,
        bundle: &dyn Fn() -> Result<Vec<u8>, HostFault>,
    ) -> Result<(), Fault>;

    /// The crank has ended: nothing of it will be undone any more. One that is to be stopped, because there are too
    /// many.
    fn surplus(&mut self) -> Option<VatId> {
        None
    }

    /// Ends it; its heap is gone.
    fn stop(&mut self, vat: VatId);

    /// Takes back what the delivery that a worker just made did to its heap. A worker that cannot go back is stopped
    /// instead.
    fn roll_back(&mut self, vat: VatId) -> Result<(), Fault> {
        self.stop(vat);
        Ok(())
    }

    /// Takes a worker away, for another incarnation of its vat to be started; until the crank has ended it may be put
    /// back.
    fn set_aside(&mut self, vat: VatId) {
        self.stop(vat);
    }

    /// Puts back the worker that was set aside in this crank, in the place of whichever is there now.
    fn put_back(&mut self, vat: VatId) {
        self.stop(vat);
    }
}

/// The place in a run that the kernel had reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The crank, once one has begun.
    pub crank: Option<CrankNum>,
    /// The delivery, where the crank is one.
    pub delivery: Option<(VatId, DeliveryNum, &'static str)>,
    /// The last syscall, from 0.
    pub syscall: Option<(u32, &'static str)>,
}

/// The host must stop: the block is gone.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{fault}", self.place())]
pub struct Halt {
    /// The fault that halted the host: anything but a vat's fault.
    pub fault: Fault,
    /// The place in the run at which the host stopped.
    pub position: Position,
    /// The item that the crank had taken; `None` if the host was in no crank.
    pub taken: Option<Taken>,
}

impl Halt {
    /// Names the place at which a fault of the machine was met. Any other says that itself.
    fn place(&self) -> String {
        match (&self.fault, self.position.crank, self.position.delivery) {
            (Fault::Host(_), Some(crank), Some((vat, number, kind))) => {
                format!("{crank}, {number} to {vat} ({kind}): ")
            }
            (Fault::Host(_), Some(crank), None) => format!("{crank}: "),
            _ => String::new(),
        }
    }
}

impl From<Halted> for Box<Halt> {
    fn from(halted: Halted) -> Box<Halt> {
        let position = Position { crank: Some(halted.crank), ..Position::default() };
        Box::new(Halt { fault: halted.into(), position, taken: None })
    }
}

impl From<HostFault> for Box<Halt> {
    fn from(fault: HostFault) -> Box<Halt> {
        Box::new(Halt { fault: fault.into(), position: Position::default(), taken: None })
    }
}

/// The end of a vat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Set if the vat's crank was undone.
    pub aborted: bool,
    /// The reason that the vat gave, or the kernel's.
    pub info: CapData<KRef>,
    /// The fault, unless it ended itself.
    pub fault: Option<VatFault>,
}

/// A crank that ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// The number of the crank.
    pub crank: CrankNum,
    /// The delivery that it was, attempted or made.
    pub delivery: Option<(VatId, DeliveryNum)>,
    /// Fuel that the delivery used.
    pub fuel: u64,
    /// The end of the vat, if it ended.
    pub ended: Option<Box<Ended>>,
}

/// Runs the next crank. `None` where nothing has changed: every queue is empty, or the crank's delivery was
/// interrupted, and all of it is undone.
pub fn crank(mut block: Block, workers: &mut dyn Workers) -> Result<(Block, Option<Ran>), Box<Halt>> {
    if is_quiescent(&block) {
        return Ok((block, None));
    }
    if let Some(speculator) = workers.speculator() {
        speculation::round(&mut block, speculator)?;
    }
    let (mut block, ran) = crank::run(block, workers)?;
    if let Some(ran) = &ran {
        snapshot::after(&mut block, workers, ran)?;
    }
    Ok((block, ran))
}

/// Returns the vat that an item of the run-queue would go to now, if to any.
pub fn destination(tables: &Tables, item: &Item) -> Option<VatId> {
    match item {
        Item::Send { target, message } => match route::route(tables, *target, &message.methargs.body) {
            Ok((_, route::Route::Vat(vat))) => Some(vat),
            _ => None,
        },
        Item::Notify { vat, .. }
        | Item::StartVat { vat, .. }
        | Item::UpgradeVat { vat, .. }
        | Item::ChangeOptions { vat, .. }
        | Item::Reap(vat)
        | Item::Cleanup(vat) => Some(*vat),
    }
}

/// Returns whether nothing will happen unless something comes from outside.
pub fn is_finished(block: &Block) -> bool {
    is_quiescent(block) && block.tables().wakeups.is_empty() && !block.meta().open
}

/// Returns whether no queue holds anything to run.
pub fn is_quiescent(block: &Block) -> bool {
    queue::is_idle(block.tables()) && !obey::wakes(block)
}
