//! Speculation: guests run ahead of their turn, in parallel, and what they did is applied when their turn comes.
//!
//! ```text
//!   round:  run-queue ─▶ forecast: one delivery for each of some live vats ─▶ the Speculator runs their guests, on threads
//!             ├ closed part: those that may read their vatstore; all end before the next crank
//!             │    └ syscalls.rs: answered from the tables, recorded
//!             └ open part: the others, while cranks run
//!                  └ syscalls.rs: recorded; a read of the vatstore gives the speculation up
//!   crank:  take ─▶ … ─▶ translate ─▶ as forecast? ─yes─▶ apply: the recorded syscalls, in order, by the code of a live delivery
//!                                        │                  └ an answer differs ─▶ taken back; run again, live from there on
//!                                        └no─▶ taken back: the heap is as it was ─▶ the guest runs
//! ```
//!
//! Invariant: a speculation changes no result. A guest is a function of its heap, its delivery, its fuel limit and the answers
//! to its syscalls. A record is used only if all four are equal to those of the live delivery, and its syscalls have their effects
//! only then, through the code that a running guest calls. Everything else that concerns a vat waits for its guest, and takes its
//! speculation back first ([`Workers::worker`] does both). With a probe in the block there are no rounds.

mod forecast;
mod syscalls;

use std::{mem, sync::Arc};

pub use forecast::Forecast;
pub(super) use syscalls::{Again, Guess};

use crate::{
    kernel::{Halt, Position, Syscalls, Usage, Workers, probe::probe_of, replay::bring_up},
    model::{
        blame::{Fault, KernelPanic},
        id::{VRef, VatId},
        value::{Answer, Delivery, Syscall},
    },
    state::{block::Block, table::Tables},
};

/// One thing that a guest did during a delivery, as its host functions saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GuestAct {
    /// A syscall, and the answer that the guest was given.
    Syscall(Syscall<VRef>, Answer),
    /// A line for the log, and the bytes that it takes there.
    Console {
        /// The level of the line.
        level: &'static str,
        /// The line.
        text: String,
        /// Bytes that the line takes in the slog.
        bytes: u64,
    },
}

/// A delivery that a guest made ahead of its turn, and that went well.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// All that the guest did, in order.
    pub acts: Vec<GuestAct>,
    /// The fuel and memory that the delivery used.
    pub usage: Usage,
}

/// The part of the [`Workers`] that runs guests ahead of their turn.
pub trait Speculator {
    /// Returns whether a new round is to begin before this crank.
    fn is_due(&mut self) -> bool;

    /// Returns whether it is worth it to run this vat ahead of its turn: it is live, expensive, and seldom taken back.
    fn wants(&mut self, vat: VatId) -> bool;

    /// Runs guests of a round, or begins to. Their syscalls are [`Syscalls::ahead`]: of these tables for guests that have ended when
    /// this returns, and of none for those that are still to run.
    fn run(&mut self, tables: &Arc<Tables>, forecasts: Vec<Forecast>);

    /// Returns whether the vat's heap need not be as its last delivery left it: its guest runs, or is to run, or it is ahead, or lost.
    fn holds(&self, vat: VatId) -> bool;

    /// Returns whether the vat's heap was lost when a speculation was taken back, and is to be made anew by a replay.
    fn is_lost(&mut self, vat: VatId) -> bool;

    /// Notes that a lost heap was made anew.
    fn restored(&mut self, vat: VatId);

    /// Returns the record of the vat's speculation, if it is one of this delivery with this fuel limit.
    fn record(&mut self, vat: VatId, delivery: &Delivery<VRef>, fuel_max: u64) -> Option<Arc<Record>>;

    /// Notes that the vat's speculation has become its delivery: the heap is as it is to be.
    fn confirm(&mut self, vat: VatId);
}

/// Runs a round, if one is due and if there is enough to run.
pub(super) fn round(block: &mut Block, speculator: &mut dyn Speculator) -> Result<(), Box<Halt>> {
    if !speculator.is_due() || probe_of(block).is_some() {
        return Ok(());
    }
    let forecasts = forecast::all(block.tables(), |vat| speculator.wants(vat));
    // The threads share the tables for the closed part of the round, in which nothing changes.
    let tables = Arc::new(mem::take(block.tables_mut()));
    speculator.run(&tables, forecasts);
    match Arc::into_inner(tables) {
        Some(tables) => *block.tables_mut() = tables,
        None => {
            let fault = KernelPanic::new("worker.brought-up", "a speculation still holds the tables").into();
            return Err(Box::new(Halt { fault, position: Position::default(), taken: None }));
        }
    }
    Ok(())
}

/// Returns whether the vat holds a speculation. One that ran on another engine version than the next delivery is as good as none.
pub(super) fn holds(workers: &mut dyn Workers, tables: &Tables, vat: VatId) -> bool {
    if !workers.speculator().is_some_and(|it| it.holds(vat)) {
        return false;
    }
    workers.set_engine_version(tables.engine_version());
    workers.speculator().is_some_and(|it| it.holds(vat))
}

/// Makes a delivery to a vat that holds a speculation: applies its record if it is one of this delivery, and otherwise runs the guest.
pub(super) fn deliver(
    workers: &mut dyn Workers,
    vat: VatId,
    delivery: &Delivery<VRef>,
    fuel_max: u64,
    mut syscalls: Syscalls,
) -> Result<(Syscalls, Result<Usage, Fault>), Fault> {
    let record = workers.speculator().and_then(|it| it.record(vat, delivery, fuel_max));
    let Some(record) = record else { return run(workers, vat, delivery, fuel_max, syscalls) };
    let result = match apply(&record, &mut syscalls) {
        Applied::All => Ok(record.usage),
        // The guest would have ended here; its heap is rolled back as after any fault.
        Applied::Ended(fault) => Err(fault),
        Applied::Parted { acts, answer } => {
            let syscalls = syscalls.again(vat, record, acts, answer)?;
            return run(workers, vat, delivery, fuel_max, syscalls);
        }
    };
    if let Some(speculator) = workers.speculator() {
        speculator.confirm(vat);
    }
    Ok((syscalls, result))
}

/// Runs the guest, whose heap is first made what its last delivery left.
fn run(
    workers: &mut dyn Workers,
    vat: VatId,
    delivery: &Delivery<VRef>,
    fuel_max: u64,
    mut syscalls: Syscalls,
) -> Result<(Syscalls, Result<Usage, Fault>), Fault> {
    // A replay may be interrupted as well as a delivery.
    if let Err(fault) = bring_up(syscalls.block_mut()?, workers, vat) {
        return Ok((syscalls, Err(fault)));
    }
    let worker = workers.worker(vat).ok_or_else(|| KernelPanic::new("worker.brought-up", vat))?;
    Ok(worker.deliver(delivery, fuel_max, syscalls))
}

/// The result of applying a record.
enum Applied {
    /// All of it was applied, and each answer was the one that the guest was given.
    All,
    /// A syscall was refused: the vat's fault.
    Ended(Fault),
    /// After so many acts, the guest was given another answer than this.
    Parted { acts: usize, answer: Result<Answer, Fault> },
}

fn apply(record: &Record, syscalls: &mut Syscalls) -> Applied {
    for (acts, act) in record.acts.iter().enumerate() {
        let (syscall, given) = match act {
            GuestAct::Syscall(syscall, given) => (syscall, given),
            GuestAct::Console { level, text, bytes } => {
                syscalls.console(level, text, *bytes);
                continue;
            }
        };
        match syscalls.call(syscall.clone()) {
            Ok(answer) if answer == *given => (),
            Err(fault @ Fault::Vat(_)) => return Applied::Ended(fault),
            // After a fault of the kernel the guest runs again, too: so a core dump shows the syscall that it was in.
            answer => return Applied::Parted { acts, answer },
        }
    }
    Applied::All
}
