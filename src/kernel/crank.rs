//! One crank, from the queue to its end: the stages in the order in which they happen.
//!
//! ```text
//!   take ─▶ obey ─▶ admit ─▶ deliver ─▶ settle ─▶ collect ─▶ finish
//!    │       │       │         │          │          └ what was sent is accepted, garbage is found
//!    │       │       │         │          └ done: charged; exit, fault: undone, then terminate, hold, or skip
//!    │       │       │         └ translated, run by the vat's worker, which makes syscalls; kept in the transcript
//!    │       │       └ a paused vat's item is put aside
//!    │       └ directives due at this crank: checked, carried out, sealed; then the item is taken again, or skipped
//!    └ the first item of the queue whose turn it is, routed; what no vat receives is done here
//! ```
//!
//! A crank is passed on by value: whoever meets a fault of the kernel or the machine drops it, and the block with it.
//! What is to be told of it then stands in its log, which it only borrows.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    kernel::{
        Ended, Halt, Ledger, Position, Ran, Workers,
        deliver::DeliveryOutcome,
        meter::{fuel_limit, undoing_fee},
        probe::probe_of,
        take::{Source, Taken, Work},
    },
    model::{
        blame::{Fault, KernelPanic, VatFault},
        body,
        id::{CrankNum, KRef, PromiseId, VatId},
        value::{CapData, Delivery},
    },
    state::{
        block::{Block, Step, stored},
        table::{Item, OnFault, Turn},
        transcript::End,
    },
};

/// The crank that runs: the ledger that it changes, and the workers that run its vats.
pub struct Crank<'h> {
    pub(crate) ledger: Ledger,
    pub(crate) workers: &'h mut dyn Workers,
    pub(crate) log: &'h mut CrankLog,
}

/// The notes of a crank: what it is about, and how far it has come.
#[derive(Debug)]
pub(crate) struct CrankLog {
    pub(super) position: Position,
    pub(crate) ran: Ran,
    /// The place from which the crank's item was taken.
    pub(crate) source: Option<Source>,
    /// The turn as it is once the item is taken; nothing where there are no turns.
    pub(super) turn: Option<Turn>,
    /// The work that is left to do.
    pub(crate) work: Work,
    /// The queue entry that the crank dealt with, where that was no delivery.
    pub(super) entry: Option<Arc<Item>>,
    /// The work and the entry as they were first taken, for a halt to tell.
    taken: (Work, Option<Arc<Item>>),
    /// The delivery that was made, whose consequences are still to be taken.
    pub(super) delivered: Option<Delivered>,
    /// Set if the crank's delivery was interrupted: the crank is to be given up.
    pub(super) interrupted: bool,
}

/// A delivery that was made to a vat.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) vat: VatId,
    pub(super) delivery: Delivery<KRef>,
    /// The promise for the vat's root and admin facet, where it was the vat's first delivery and somebody waits.
    pub(super) result: Option<PromiseId>,
    pub(super) outcome: DeliveryOutcome,
}

/// Runs the next crank. Nothing ran where its delivery was interrupted: the block is as it was before.
pub(super) fn run(block: Block, workers: &mut dyn Workers) -> Result<(Block, Option<Ran>), Box<Halt>> {
    let mut log = CrankLog::of(block.tables().globals().next_crank);
    let file = stored::file_of(&block);
    let crank = Crank::begin(block, workers, &mut log);
    // A bug of ours is no reason to lose what is known of it: what the crank owns is gone either way.
    match caught(|| crank.run()) {
        Ok(block) => Ok((block, (!log.interrupted).then_some(log.ran))),
        // A row that could not be read seemed to be absent: whatever came of that is no fault of the kernel.
        Err(fault) => {
            let unread = file.and_then(|it| it.check().err());
            Err(Box::new(log.halt(unread.map_or(fault, Fault::from))))
        }
    }
}

/// Does this, and makes a panic in it a fault of the kernel.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let panicked = |payload: Box<dyn std::any::Any + Send>| KernelPanic::new("kernel.no-panic", panic_text(&*payload));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(panicked(payload).into()))
}

/// Returns what a panic says of itself.
pub(super) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a text")
}

impl<'h> Crank<'h> {
    /// Opens the next crank, and counts it.
    pub(super) fn begin(block: Block, workers: &'h mut dyn Workers, log: &'h mut CrankLog) -> Crank<'h> {
        let mut crank = Crank { ledger: Ledger::open(block), workers, log };
        crank.count();
        crank
    }

    /// Runs the crank: its stages, in order.
    fn run(self) -> Result<Block, Fault> {
        self.take()?.obey()?.admit()?.deliver()?.settle()?.collect()?.finish()
    }

    fn count(&mut self) {
        let next = self.ledger.number().next();
        self.ledger.tables_mut().update_globals(|it| it.next_crank = next);
    }

    /// Undoes everything since the last seal but that the crank was begun.
    pub(crate) fn rewind(&mut self) {
        self.ledger.rewind();
        self.count();
    }

    /// Puts the work aside if its vat is paused: it receives no deliveries. (An upgrade is no delivery to the vat: it
    /// replaces the vat.)
    fn admit(mut self) -> Result<Self, Fault> {
        match &self.log.work {
            Work::Item(_, Item::UpgradeVat { .. }) => (),
            Work::Item(vat, _) | Work::Gc(vat, _) if self.ledger.tables().is_paused(*vat) => {
                let work = self.log.take_work();
                self.ledger.hold(work)?;
            }
            _ => (),
        }
        if !self.log.interrupted
            && let Some(probe) = self.ledger.probe()
        {
            probe.before_delivery(&mut self)?;
        }
        Ok(self)
    }

    /// Takes the consequences of the delivery that was made.
    fn settle(mut self) -> Result<Self, Fault> {
        if let Some(delivered) = self.log.delivered.take() {
            self.take_consequences(delivered)?;
        }
        if !self.log.interrupted
            && let Some(probe) = self.ledger.probe()
        {
            probe.after_delivery(&mut self)?;
        }
        Ok(self)
    }

    /// Accepts what was sent, and collects garbage.
    fn collect(mut self) -> Result<Self, Fault> {
        if !self.log.interrupted {
            self.ledger.settle_down()?;
        }
        Ok(self)
    }

    /// Ends the crank: it is a step of the block now, or was never begun.
    fn finish(self) -> Result<Block, Fault> {
        let number = self.ledger.number();
        if self.log.interrupted { self.ledger.give_up() } else { self.ledger.close(Step::Crank(number)) }
    }

    /// The delivery is paid for; what is the fault of the vat is undone.
    fn take_consequences(&mut self, Delivered { vat, delivery, result, outcome }: Delivered) -> Result<(), Fault> {
        match outcome {
            DeliveryOutcome::Done(usage) => {
                self.ledger.charge(vat, usage.fuel)?;
                self.ledger.soil(vat, &delivery);
                self.ledger.settle_creation(vat, result)
            }
            DeliveryOutcome::Exit { failure, info, usage } => {
                if failure {
                    self.rewind();
                    self.ledger.act_for(Some(vat));
                }
                self.ledger.charge(vat, usage.fuel)?;
                self.end(vat, Ended { aborted: failure, info, fault: None })?;
                // What was undone stands in its queue again, and is settled from there.
                if failure { Ok(()) } else { self.ledger.settle_creation(vat, result) }
            }
            DeliveryOutcome::Fault(fault) => self.punish(vat, fault, matches!(delivery, Delivery::StartVat(_))),
            DeliveryOutcome::Interrupted => Ok(()),
        }
    }

    /// Undoes the delivery of a vat that is at fault; then its options decide.
    #[cold]
    fn punish(&mut self, vat: VatId, fault: VatFault, starting: bool) -> Result<(), Fault> {
        self.rewind();
        self.ledger.act_for(Some(vat));
        let limit = fuel_limit(self.ledger.tables(), vat)?;
        // How much it used is not known exactly after a trap: it pays for all that it might have.
        let undone = undoing_fee(self.ledger.tables(), vat, limit.fuel, starting);
        self.ledger.charge(vat, limit.fuel.saturating_add(undone))?;
        let starved = fault == VatFault::OutOfFuel && limit.by_meter;
        let on_fault = self.ledger.tables().vats.get(&vat).map_or(OnFault::Terminate, |it| it.options.on_fault);
        let illegal = matches!(fault, VatFault::IllegalSyscall { .. });
        match on_fault {
            OnFault::Pause if !starved => {
                self.take_back(vat)?;
                let work = self.retake()?;
                self.ledger.leave_entry(vat, End::Faulted(fault.clone()))?;
                self.ledger.pause(vat, &fault.to_string())?;
                self.ledger.hold(work)
            }
            OnFault::Reject if !starved && !illegal && !starting => {
                self.take_back(vat)?;
                let work = self.retake()?;
                self.ledger.leave_entry(vat, End::Faulted(fault.clone()))?;
                // In the order of what it settled itself.
                self.ledger.act_for(Some(vat));
                self.ledger.skip(work, body::error(&fault.told()))
            }
            _ => self.end(vat, Ended { aborted: true, info: info_of(&fault), fault: Some(fault) }),
        }
    }

    /// Rolls back the heap of a vat that stays alive to where it was before the delivery.
    #[cold]
    pub(super) fn take_back(&mut self, vat: VatId) -> Result<(), Fault> {
        if probe_of(self.ledger.block()).is_some_and(|it| it.changes_heaps()) {
            self.workers.stop(vat);
            return Ok(());
        }
        self.workers.roll_back(vat)
    }

    /// Ends a vat, and its worker.
    #[cold]
    pub(crate) fn end(&mut self, vat: VatId, ended: Ended) -> Result<(), Fault> {
        self.workers.stop(vat);
        self.ledger.terminate(vat, &ended)?;
        self.log.ran.ended = Some(Box::new(ended));
        Ok(())
    }
}

impl CrankLog {
    pub(super) fn of(crank: CrankNum) -> CrankLog {
        CrankLog {
            position: Position { crank: Some(crank), ..Position::default() },
            ran: Ran { crank, delivery: None, fuel: 0, ended: None },
            source: None,
            turn: None,
            work: Work::Done,
            entry: None,
            taken: (Work::Done, None),
            delivered: None,
            interrupted: false,
        }
    }

    /// Takes the work, so that none is left.
    pub(super) fn take_work(&mut self) -> Work {
        std::mem::replace(&mut self.work, Work::Done)
    }

    /// Remembers what was taken, for a halt to tell.
    pub(super) fn remember(&mut self, entry: Option<Arc<Item>>) {
        self.taken = (self.work.clone(), entry);
    }

    fn halt(self, fault: Fault) -> Halt {
        let (work, entry) = self.taken;
        Halt { fault, position: self.position, taken: Some(Taken::of(&work, entry.as_deref())) }
    }
}

/// Returns the public reason for a vat's fault: SwingSet's text for an illegal syscall.
fn info_of(fault: &VatFault) -> CapData<KRef> {
    match fault {
        VatFault::IllegalSyscall { .. } => body::error("syscall translation error: prepare to die"),
        fault => body::error(&fault.told()),
    }
}
