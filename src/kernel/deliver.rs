//! One crank, from the queue to its end.
//!
//! ```text
//!   take ─▶ route ─▶ admit ─▶ translate ─▶ worker (syscalls) ─▶ keep ───────────────▶ finish
//!             │        │                        │ fault           │ exit(false)         ▲
//!             │ splat, │ paused: held           ▼                 ▼                     │
//!             │ wait,  │ dead: splat        rewind ─▶ terminate, hold, or skip ─────────┤
//!             │ dropped└────────────────────────────────────────────────────────────────┤
//!             └─────────────────────────────────────────────────────────────────────────┘
//! ```

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    kernel::{
        Crank, Ended, Halt, Position, Ran, Usage, Workers,
        gc::first_gc_action,
        replay,
        syscall::{Live, Syscalls},
        take::{Taken, item_kind},
    },
    model::{
        blame::{Fault, KernelPanic, VatFault},
        body,
        id::{DeliveryNum, KRef, PromiseId, VRef, VatId},
        limits,
        value::{CapData, Delivery, Resolution},
    },
    slog::{At, DeliverResult, Detail, Event, Shape},
    state::{
        block::Block,
        table::{GcKind, Item, OnFault, QueueId, Tables, Waiting},
        transcript::End,
    },
};

/// Returns whether there is nothing to run: no item in the run-queue, and no GC action.
pub(super) fn is_idle(tables: &Tables) -> bool {
    tables.queue.to_run().is_none() && first_gc_action(tables).is_none()
}

/// The work that a crank took from its queue.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Work that no vat receives, already done.
    Done,
    /// Something for this vat, whose references are still held by it.
    Item(VatId, Item),
    /// News of garbage for this vat.
    Gc(VatId, Delivery<KRef>),
    /// An entry of the queue that is no delivery, and is to be skipped: nothing was done with it.
    Entry(Item),
}

impl Work {
    /// Returns the kind of delivery that the work becomes.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Work::Done | Work::Entry(_) => "nothing",
            Work::Gc(_, delivery) => delivery.kind(),
            Work::Item(_, Item::Send { .. }) => "message",
            Work::Item(_, item) => item_kind(item),
        }
    }
}

/// The place from which a crank takes its item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// In this queue, under this number.
    Queue(QueueId, i64),
    /// Among the GC actions: those of this vat and kind.
    Gc(VatId, GcKind),
}

/// The error with which the result of a skipped message is rejected.
pub(super) const SKIPPED: &str = "delivery skipped by directive";

/// The outcome of a delivery.
pub(super) enum Outcome {
    /// Well: it is in the transcript.
    Done(Usage),
    /// The vat ends itself. Not undone yet, where it is to be.
    Exit { failure: bool, info: CapData<KRef>, usage: Usage },
    /// A fault of the vat. Not undone yet.
    Fault(VatFault),
    /// Not at all: somebody wants the host to stop. The crank is to be given up.
    Interrupted,
}

/// Runs the crank that was just begun. Nothing ran where its delivery was interrupted: the block is as it was before.
pub(super) fn run(mut crank: Crank, workers: &mut dyn Workers) -> Result<(Block, Option<Ran>), Box<Halt>> {
    let number = crank.number();
    let mut position = Position { crank: Some(number), ..Position::default() };
    let mut ran = Ran { crank: number, delivery: None, fuel: 0, ended: None };
    let take = AssertUnwindSafe(|| {
        for vat in crank.block().take_doomed() {
            workers.stop(vat);
        }
        crank.take()
    });
    // A bug of ours is no reason to lose what is known of it: what the crank owns is gone either way.
    let taken = catch_unwind(take).unwrap_or_else(|payload| Err(panicked(&*payload).into()));
    let taken = match taken {
        Ok(taken) => taken,
        Err(fault) => {
            crank.rewind();
            let taken = Some(Taken::of(&Work::Done, crank.standing().as_ref()));
            return Err(Box::new(Halt { fault, position, taken }));
        }
    };
    let entry = crank.entry.clone();
    position.delivery = crank.numbers(&taken)[0].map(|(vat, number)| (vat, number, taken.kind()));
    let body = AssertUnwindSafe(|| {
        let (mut crank, work) = crank.obey(workers, taken.clone(), &mut ran, &mut position)?;
        if crank.interrupted {
            return Ok((crank.give_up()?, false));
        }
        let work = crank.admit(work)?;
        if !crank.plants().is_empty() {
            crank.plant(&work)?;
        }
        let crank = crank.perform(workers, work, &mut ran, &mut position)?;
        if crank.interrupted {
            return Ok((crank.give_up()?, false));
        }
        let crank = crank.disturb_end(workers, &mut ran)?;
        Ok((crank.finish("crank")?, true))
    });
    let result = catch_unwind(body).unwrap_or_else(|payload| Err(panicked(&*payload).into()));
    match result {
        Ok((block, has_run)) => Ok((block, has_run.then_some(ran))),
        Err(fault) => Err(Box::new(Halt { fault, position, taken: Some(Taken::of(&taken, entry.as_deref())) })),
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> KernelPanic {
    KernelPanic::new("kernel.no-panic", panic_text(payload))
}

/// Returns what a panic says of itself.
pub(super) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a text")
}

impl Crank {
    /// A paused vat receives no deliveries: they wait. (An upgrade is no delivery to the vat: it replaces the vat.)
    fn admit(&mut self, work: Work) -> Result<Work, Fault> {
        match work {
            Work::Item(_, Item::UpgradeVat { .. }) => Ok(work),
            Work::Item(vat, _) | Work::Gc(vat, _) if self.tables().is_paused(vat) => {
                self.hold(work)?;
                Ok(Work::Done)
            }
            work => Ok(work),
        }
    }

    /// Puts work aside until the vat is resumed, behind what waits already.
    fn hold(&mut self, work: Work) -> Result<(), Fault> {
        match work {
            Work::Done | Work::Entry(_) => (),
            Work::Item(vat, item) => {
                let by = self.by;
                self.tables_mut().queue.push(QueueId::Pause(vat), Waiting { by, item });
            }
            Work::Gc(vat, delivery) => self.restore_gc(vat, &delivery)?,
        }
        Ok(())
    }

    /// Turns an item into the delivery for its vat. The queue holds it no longer.
    pub(super) fn open(&mut self, item: Item) -> Result<Delivery<KRef>, Fault> {
        Ok(match item {
            Item::Send { target, message } => {
                self.decref_message(target, &message)?;
                Delivery::Message { target, message }
            }
            Item::Notify { vat, promise } => {
                self.decref(promise.into())?;
                let (told, rest) = self.retirable(promise)?;
                rest.into_iter().try_for_each(|it| self.notify(vat, it))?;
                Delivery::Notify(told)
            }
            Item::StartVat { parameters, .. } => {
                parameters.slots.iter().try_for_each(|it| self.decref(*it))?;
                Delivery::StartVat(parameters)
            }
            Item::ChangeOptions { options, .. } => {
                options.slots.iter().try_for_each(|it| self.decref(*it))?;
                Delivery::ChangeOptions(options)
            }
            Item::Reap(vat) => {
                self.tables_mut().tallies.update(&vat, |it| it.reap_queued = false);
                Delivery::BringOutYourDead
            }
            Item::UpgradeVat { vat, .. } | Item::Cleanup(vat) => {
                return Err(
                    KernelPanic::new("audit.queue", format_args!("{vat} is delivered what is no delivery")).into()
                );
            }
        })
    }

    /// A settled promise, and the settled promises that its data lead to: depth first, each once, as many as one
    /// delivery may hold. The second list are those that the told ones name and that are still to be told.
    fn retirable(&self, first: PromiseId) -> Result<(Vec<Resolution<KRef>>, Vec<PromiseId>), KernelPanic> {
        let mut told: Vec<Resolution<KRef>> = Vec::new();
        let mut rest = Vec::new();
        let mut seen = BTreeSet::new();
        let mut stack = vec![first];
        let (mut bytes, mut full) = (0, false);
        while let Some(id) = stack.pop() {
            let promise = self.promise(id)?;
            let Some(data) = promise.settlement().and_then(|it| self.tables().settlements.get(&it)) else { continue };
            if !seen.insert(id) {
                continue;
            }
            bytes += data.body.len() + size_of::<u64>() * data.slots.len();
            full |=
                !told.is_empty() && (bytes > limits::NOTIFY_BYTES_MAX || told.len() >= limits::NOTIFY_RESOLUTIONS_MAX);
            if full {
                rest.push(id);
                continue;
            }
            told.push(Resolution { promise: id.into(), rejected: promise.is_rejected(), data: data.clone() });
            stack.extend(data.slots.iter().rev().filter_map(|it| it.promise()));
        }
        Ok((told, rest))
    }

    /// Does the work, and takes the consequences.
    fn perform(
        mut self,
        workers: &mut dyn Workers,
        work: Work,
        ran: &mut Ran,
        position: &mut Position,
    ) -> Result<Crank, Fault> {
        let (vat, creation, delivery) = match work {
            Work::Done | Work::Entry(_) => return Ok(self),
            Work::Item(vat, Item::UpgradeVat { bundle, parameters, result, .. }) => {
                return self.upgrade(workers, vat, bundle, parameters, result, ran, position);
            }
            Work::Item(vat, item) => {
                let creation = match item {
                    Item::StartVat { result, .. } => Some(result),
                    _ => None,
                };
                (vat, creation, self.open(item)?)
            }
            Work::Gc(vat, delivery) => (vat, None, delivery),
        };
        let (mut crank, outcome) = self.deliver(workers, vat, &delivery, ran, position)?;
        match outcome {
            Outcome::Done(usage) => {
                crank.charge(vat, usage.fuel)?;
                crank.soil(vat, &delivery);
                if let Some(result) = creation {
                    crank.settle_creation(vat, result)?;
                }
            }
            Outcome::Exit { failure, info, usage } => {
                if failure {
                    crank.rewind();
                    crank.act_for(Some(vat));
                }
                crank.charge(vat, usage.fuel)?;
                crank.end(workers, vat, Ended { aborted: failure, info, fault: None }, ran)?;
                // What was undone stands in its queue again, and is settled from there.
                if let (false, Some(result)) = (failure, creation) {
                    crank.settle_creation(vat, result)?;
                }
            }
            Outcome::Fault(fault) => crank.punish(workers, vat, fault, creation.is_some(), ran)?,
            Outcome::Interrupted => crank.interrupted = true,
        }
        Ok(crank)
    }

    /// The vat is at fault: everything is undone; then its options decide.
    fn punish(
        &mut self,
        workers: &mut dyn Workers,
        vat: VatId,
        fault: VatFault,
        starting: bool,
        ran: &mut Ran,
    ) -> Result<(), Fault> {
        self.rewind();
        self.act_for(Some(vat));
        let fuel_max = self.fuel_max(vat)?;
        // How much it used is not known exactly after a trap: it pays for all that it might have.
        self.charge(vat, fuel_max.0.saturating_add(self.undoing_fee(vat, fuel_max.0, starting)))?;
        let starved = fault == VatFault::OutOfFuel && fuel_max.1;
        let on_fault = self.tables().vats.get(&vat).map_or(OnFault::Terminate, |it| it.options.on_fault);
        let illegal = matches!(fault, VatFault::IllegalSyscall { .. });
        match on_fault {
            OnFault::Pause if !starved => {
                self.take_back(workers, vat)?;
                let work = self.retake()?;
                self.leave_entry(vat, End::Faulted(fault.clone()))?;
                self.pause(vat, &fault.to_string())?;
                self.hold(work)
            }
            OnFault::Reject if !starved && !illegal && !starting => {
                self.take_back(workers, vat)?;
                let work = self.retake()?;
                self.leave_entry(vat, End::Faulted(fault.clone()))?;
                // In the order of what it settled itself.
                self.act_for(Some(vat));
                self.skip(work, body::error(&fault.told()))
            }
            _ => self.end(workers, vat, Ended { aborted: true, info: info_of(&fault), fault: Some(fault) }, ran),
        }
    }

    /// Rolls back the heap of a vat that stays alive to where it was before the delivery.
    pub(super) fn take_back(&mut self, workers: &mut dyn Workers, vat: VatId) -> Result<(), Fault> {
        // A heap that an experiment disturbs comes back from its past without the disturbance, whatever was kept of it.
        if self.block().injector().is_some() {
            workers.stop(vat);
            return Ok(());
        }
        workers.roll_back(vat)
    }

    fn end(&mut self, workers: &mut dyn Workers, vat: VatId, ended: Ended, ran: &mut Ran) -> Result<(), Fault> {
        workers.stop(vat);
        self.terminate(vat, &ended)?;
        ran.ended = Some(ended);
        Ok(())
    }

    /// Consumes work without giving it to the vat: a message's result is rejected with `data`; anything else is
    /// dropped with the bookkeeping of a delivered one, so that nothing leaks.
    pub(super) fn skip(&mut self, work: Work, data: CapData<KRef>) -> Result<(), Fault> {
        let (vat, delivery) = match work {
            Work::Done | Work::Entry(_) => return Ok(()),
            Work::Item(_, Item::UpgradeVat { parameters, result, .. }) => {
                parameters.slots.iter().try_for_each(|it| self.decref(*it))?;
                return self.settle_queued(result, true, data);
            }
            Work::Item(vat, item) => (vat, self.open(item)?),
            Work::Gc(vat, delivery) => (vat, delivery),
        };
        match &delivery {
            Delivery::Message { message, .. } => {
                if let Some(KRef::Promise(result)) = message.result {
                    self.settle(result, true, data)?;
                }
            }
            Delivery::Notify(resolutions) => {
                for it in resolutions {
                    if let Some(vref) = self.tables().clist.vref(vat, it.promise) {
                        self.remove_entry(vat, vref)?;
                        self.decref(it.promise)?;
                    }
                }
            }
            delivery => self.apply_delivery(vat, delivery)?,
        }
        Ok(())
    }

    /// Records a failed attempt to deliver, which takes its number all the same.
    pub(super) fn leave_entry(&mut self, vat: VatId, end: End) -> Result<(), Fault> {
        let number = self.next_delivery(vat);
        self.entries().nothing(&end)?;
        self.keep_entry(vat, number);
        self.tables_mut().tallies.update(&vat, |it| it.deliveries += 1);
        Ok(())
    }

    /// Makes the entry just written part of what is hashed, and of the vat's transcript. A session has none: no heap is
    /// to come back from it.
    pub(super) fn keep_entry(&mut self, vat: VatId, number: DeliveryNum) {
        let stored = !self.tables().is_session(vat);
        self.entries().keep(vat, number, stored);
    }

    /// Returns the number of the next attempt to deliver to a vat.
    pub(super) fn next_delivery(&self, vat: VatId) -> DeliveryNum {
        DeliveryNum(self.tables().tallies.get(&vat).map_or(0, |it| it.deliveries))
    }

    /// Brings the vat up if need be, translates, and delivers.
    pub(super) fn deliver(
        mut self,
        workers: &mut dyn Workers,
        vat: VatId,
        delivery: &Delivery<KRef>,
        ran: &mut Ran,
        position: &mut Position,
    ) -> Result<(Crank, Outcome), Fault> {
        self.act_for(Some(vat));
        let number = self.next_delivery(vat);
        position.delivery = Some((vat, number, delivery.kind()));
        ran.delivery = Some((vat, number));
        let is_session = self.tables().is_session(vat);
        let started = if is_session { Ok(()) } else { replay::bring_up(self.block(), workers, vat) };
        let at = At { crank_num: self.number(), vat, delivery_num: number };
        let mut fuel_max = self.fuel_max(vat)?.0;
        let limit = self.fuel_left();
        if let Some((_, fuel)) = limit {
            fuel_max = fuel_max.min(fuel);
        }
        let disturbed = self.block().injector().map(|it| Box::new(it.begin_delivery(vat, number)));
        let translated = self.translate_delivery(vat, delivery)?;
        self.apply_delivery(vat, delivery)?;
        self.entries().begin(&translated)?;
        self.record_delivery(at, delivery, &translated);
        let (mut live, result) = match started {
            Ok(()) if is_session => {
                let posted = self.deliver_to_session(vat, &translated);
                (Syscalls::live(self, at, disturbed).into_live()?, posted)
            }
            Ok(()) => {
                let worker = workers.worker(vat).ok_or_else(|| KernelPanic::new("worker.brought-up", vat))?;
                let (syscalls, result) = worker.deliver(&translated, fuel_max, Syscalls::live(self, at, disturbed));
                (syscalls.into_live()?, result)
            }
            Err(fault) => (Syscalls::live(self, at, disturbed).into_live()?, Err(fault)),
        };
        position.syscall = live.count.checked_sub(1).map(|it| (it, live.last));
        let result = live.fault.take().map_or(result, Err);
        live.end_disturbance(limit, &result);
        live.record_result(at, delivery.kind(), &result);
        let outcome = match (result, live.exit.take()) {
            (Ok(usage), exit) => {
                live.keep(usage, ran)?;
                exit.map_or(Outcome::Done(usage), |(failure, info)| Outcome::Exit { failure, info, usage })
            }
            (Err(Fault::Vat(fault)), _) => Outcome::Fault(fault),
            (Err(Fault::Interrupted(_)), _) => {
                workers.stop(vat);
                Outcome::Interrupted
            }
            (Err(other), _) => return Err(other),
        };
        live.crank.tables_mut().update_globals(|it| it.deliveries += 1);
        Ok((live.crank, outcome))
    }

    /// Applies the effects of a delivery that come before the vat runs, beyond its c-list.
    fn apply_delivery(&mut self, vat: VatId, delivery: &Delivery<KRef>) -> Result<(), Fault> {
        match delivery {
            Delivery::Message { message, .. } => {
                if let Some(KRef::Promise(result)) = message.result {
                    self.set_decider(result, Some(vat))?;
                    if self.tables().vats.get(&vat).is_some_and(|it| it.options.pipelining) {
                        self.release_queue(result);
                    }
                }
            }
            Delivery::BringOutYourDead => {
                self.tables_mut().tallies.update(&vat, |it| (it.dirt_deliveries, it.dirt_gc_krefs) = (0, 0));
            }
            _ => self.apply_gc_delivery(vat, delivery)?,
        }
        Ok(())
    }

    fn record_delivery(&mut self, at: At, kd: &Delivery<KRef>, vd: &Delivery<VRef>) {
        if matches!(kd, Delivery::StartVat(_)) {
            self.slog().record(Detail::Cranks, || Event::VatStartupStart { vat: at.vat });
        }
        let event = || Event::Deliver { at, replay: false, dispatch: kd.kind(), kd: Shape(kd), vd: Shape(vd) };
        self.slog().record(Detail::Deliveries, event);
    }

    /// Counts a delivery towards the vat's next BringOutYourDead.
    fn soil(&mut self, vat: VatId, delivery: &Delivery<KRef>) {
        let krefs = match delivery {
            Delivery::DropExports(refs) | Delivery::RetireExports(refs) | Delivery::RetireImports(refs) => refs.len(),
            Delivery::Message { .. } | Delivery::Notify(_) | Delivery::ChangeOptions(_) => 0,
            Delivery::StartVat(_) | Delivery::BringOutYourDead => return,
        };
        let Some(options) = self.tables().vats.get(&vat).map(|it| (it.options.reap_interval, it.options.reap_gc_krefs))
        else {
            return;
        };
        let due = self.tables_mut().tallies.update(&vat, |it| {
            it.dirt_deliveries += 1;
            it.dirt_gc_krefs += krefs as u64;
            options.0.is_some_and(|max| it.dirt_deliveries >= max)
                || options.1.is_some_and(|max| it.dirt_gc_krefs >= max)
        });
        if due == Some(true) {
            self.queue_reap(vat);
        }
    }
}

impl Live {
    /// The injector learns what became of its faults in the delivery.
    fn end_disturbance(&mut self, limit: Option<(usize, u64)>, result: &Result<Usage, Fault>) {
        if let (Some(disturbed), Some(injector)) = (self.disturbed.take(), self.crank.block().injector()) {
            injector.end_delivery(*disturbed);
        }
        if let Some(limit) = limit {
            self.crank.note_fuel(limit, self.at.vat, result.as_ref().ok().map(|it| it.fuel));
        }
    }

    fn record_result(&mut self, at: At, dispatch: &'static str, result: &Result<Usage, Fault>) {
        let dr = match result {
            Ok(usage) => DeliverResult::Ok(usage.fuel),
            Err(fault) => DeliverResult::Error(fault),
        };
        self.crank.slog().record(Detail::Deliveries, || Event::DeliverResult { at, replay: false, dispatch, dr });
        if dispatch == "startVat" {
            self.crank.slog().record(Detail::Cranks, || Event::VatStartupFinish { vat: at.vat });
        }
    }

    /// The delivery stands, unless the crank is undone: it enters the transcript and the vat's sums.
    fn keep(&mut self, usage: Usage, ran: &mut Ran) -> Result<(), Fault> {
        let (at, count) = (self.at, self.count);
        self.crank.entries().end(&End::Done { fuel: usage.fuel })?;
        self.crank.keep_entry(at.vat, at.delivery_num);
        self.crank.tables_mut().tallies.update(&at.vat, |it| {
            it.deliveries += 1;
            it.syscalls += u64::from(count);
            it.fuel = it.fuel.saturating_add(usage.fuel);
            it.memory = usage.memory;
        });
        ran.fuel = ran.fuel.saturating_add(usage.fuel);
        Ok(())
    }
}

/// Returns the public reason for a vat's fault: SwingSet's text for an illegal syscall.
fn info_of(fault: &VatFault) -> CapData<KRef> {
    match fault {
        VatFault::IllegalSyscall { .. } => body::error("syscall translation error: prepare to die"),
        fault => body::error(&fault.told()),
    }
}
