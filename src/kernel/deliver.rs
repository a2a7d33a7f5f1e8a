//! One crank, from the queue to its end.
//!
//! ```text
//!   take ─▶ route ─▶ translate ─▶ worker (syscalls) ─▶ commit ───────────────▶ finish
//!             │                        │                  │ exit(false)          ▲
//!             │ splat, wait, dropped   │ fault            ▼                      │
//!             │                        └─▶ rewind ─▶ terminate ──────────────────┤
//!             └──────────────────────────────────────────────────────────────────┘
//! ```

use crate::{
    block::Block,
    body,
    fault::{Fault, KernelPanic, VatFault},
    id::{DeliveryNum, KRef, PromiseId, VRef, VatId},
    kernel::{
        Crank, Ended, Halt, Position, Ran, Usage, Workers, replay,
        route::Route,
        syscall::{Live, Syscalls},
    },
    limits,
    slog::{At, DeliverResult, Detail, Event, Queued, Shape},
    table::{Item, QueueId, Tables},
    transcript::End,
    value::{CapData, Delivery, Resolution},
};

/// Whether there is nothing to take.
pub(super) fn is_idle(tables: &Tables) -> bool {
    let queues = [QueueId::Cleanup, QueueId::Reap, QueueId::Run];
    tables.gc.is_empty() && queues.iter().all(|it| tables.queue.of(*it).next().is_none())
}

/// What a crank turned out to be.
enum Work {
    /// Something that no vat hears of; done.
    Done,
    /// A delivery.
    Deliver(VatId, Delivery<KRef>),
}

/// Runs the crank that was just begun.
pub(super) fn run(mut crank: Crank, workers: &mut dyn Workers) -> Result<(Block, Ran), Box<Halt>> {
    let number = crank.number();
    let mut position = Position { crank: Some(number), ..Position::default() };
    let halt = |position| move |fault: Fault| Box::new(Halt { fault, position });
    let mut ran = Ran { crank: number, delivery: None, fuel: 0, ended: None };

    if let Work::Deliver(vat, delivery) = crank.take().map_err(halt(position))? {
        let number = DeliveryNum(crank.tables().tallies.get(&vat).map_or(0, |it| it.deliveries));
        position.delivery = Some((vat, number, delivery.kind()));
        ran.delivery = Some((vat, number));
        crank = crank.deliver(workers, vat, number, &delivery, &mut ran, &mut position).map_err(|fault| halt(position)(fault))?;
    }
    let block = crank.finish("crank").map_err(halt(position))?;
    Ok((block, ran))
}

impl Crank {
    /// Takes the first item of the first queue that has one.
    fn take(&mut self) -> Result<Work, Fault> {
        let doomed = self.tables().queue.of(QueueId::Cleanup).next().map(|(_, item)| item.clone());
        if let Some(item) = doomed {
            self.record_start(&item);
            return self.process(item);
        }
        if !self.tables().gc.is_empty() {
            let crank_num = self.number();
            let event = || Event::CrankStart { crank_type: "delivery", crank_num, message_type: "gc-action", message: None };
            self.slog().record(Detail::Cranks, event);
            return Ok(self.next_gc_delivery().map_or(Work::Done, |(vat, delivery)| Work::Deliver(vat, delivery)));
        }
        let reap = self.tables_mut().queue.pop(QueueId::Reap);
        let Some(item) = reap.or_else(|| self.tables_mut().queue.pop(QueueId::Run)) else { return Ok(Work::Done) };
        self.record_start(&item);
        self.process(item)
    }

    fn record_start(&mut self, item: &Item) {
        let message_type = match item {
            Item::Send { .. } => "send",
            Item::Notify { .. } => "notify",
            Item::StartVat { .. } => "startVat",
            Item::Reap(_) => "bringOutYourDead",
            Item::Cleanup(_) => "cleanup-terminated-vat",
        };
        let crank_num = self.number();
        let event = || Event::CrankStart { crank_type: "delivery", crank_num, message_type, message: Some(Queued(item)) };
        self.slog().record(Detail::Cranks, event);
    }

    fn process(&mut self, item: Item) -> Result<Work, Fault> {
        match item {
            Item::Send { target, message } => {
                let (target, route) = self.route(target, &message)?;
                match route {
                    Route::Vat(vat) => {
                        self.decref_message(target, &message)?;
                        return Ok(Work::Deliver(vat, Delivery::Message { target, message }));
                    }
                    Route::Wait(promise) => {
                        self.tables_mut().queue.push(QueueId::Promise(promise), Item::Send { target, message });
                    }
                    Route::Splat(data) => self.splat(target, message, data)?,
                }
            }
            Item::Notify { vat, promise } => {
                self.decref(promise.into())?;
                let knows = self.tables().clist.vref(vat, promise.into()).is_some();
                if knows && self.tables().is_alive(vat) {
                    return Ok(Work::Deliver(vat, Delivery::Notify(self.retirable(promise)?)));
                }
            }
            Item::StartVat { vat, parameters } => {
                parameters.slots.iter().try_for_each(|it| self.decref(*it))?;
                if self.tables().is_alive(vat) {
                    return Ok(Work::Deliver(vat, Delivery::StartVat(parameters)));
                }
            }
            Item::Reap(vat) => {
                self.tables_mut().tallies.update(&vat, |it| it.reap_queued = false);
                if self.tables().is_alive(vat) {
                    return Ok(Work::Deliver(vat, Delivery::BringOutYourDead));
                }
            }
            Item::Cleanup(vat) => self.clean_up(vat, limits::CLEANUP_ROWS_PER_CRANK)?,
        }
        Ok(Work::Done)
    }

    /// A settled promise, and every settled promise that its data lead to: depth first, each once.
    fn retirable(&self, first: PromiseId) -> Result<Vec<Resolution<KRef>>, KernelPanic> {
        let mut found: Vec<Resolution<KRef>> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut stack = vec![first];
        while let Some(id) = stack.pop() {
            let promise = self.promise(id)?;
            let Some(data) = promise.data() else { continue };
            if !seen.insert(id) {
                continue;
            }
            let rejected = matches!(promise.state, crate::table::PromiseState::Rejected(_));
            found.push(Resolution { promise: id.into(), rejected, data: data.clone() });
            let promises = data.slots.iter().rev().filter_map(|it| match it {
                KRef::Promise(id) => Some(*id),
                _ => None,
            });
            stack.extend(promises);
        }
        Ok(found)
    }

    /// Brings the vat up if need be, translates, delivers, and takes the consequences.
    fn deliver(
        mut self,
        workers: &mut dyn Workers,
        vat: VatId,
        number: DeliveryNum,
        delivery: &Delivery<KRef>,
        ran: &mut Ran,
        position: &mut Position,
    ) -> Result<Crank, Fault> {
        let started = replay::bring_up(self.block(), workers, vat);
        let at = At { crank_num: self.number(), vat, delivery_num: number };
        let translated = self.translate_delivery(vat, delivery)?;
        self.apply_delivery(vat, delivery)?;
        self.entry.begin(&translated)?;
        self.record_delivery(at, delivery, &translated);
        let (mut live, result) = match started {
            Ok(()) => {
                let worker = workers.worker(vat).ok_or_else(|| KernelPanic::new("worker.brought-up", vat))?;
                let (syscalls, result) = worker.deliver(&translated, Syscalls::live(self, at));
                (syscalls.into_live()?, result)
            }
            Err(fault) => (Syscalls::live(self, at).into_live()?, Err(fault)),
        };
        position.syscall = live.count.checked_sub(1).map(|it| (it, live.last));
        let result = live.fault.take().map_or(result, Err);
        live.record_result(at, delivery.kind(), &result);
        let ended = live.consequences(delivery, result, ran)?;
        let mut crank = live.crank;
        if let Some(ended) = ended {
            workers.stop(vat);
            crank.terminate(vat, &ended)?;
            ran.ended = Some(ended);
        }
        crank.tables_mut().update_globals(|it| it.deliveries += 1);
        Ok(crank)
    }

    /// What a delivery changes before the vat runs, beyond its c-list.
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
        let Some(options) = self.tables().vats.get(&vat).map(|it| (it.options.reap_interval, it.options.reap_gc_krefs)) else {
            return;
        };
        let due = self.tables_mut().tallies.update(&vat, |it| {
            it.dirt_deliveries += 1;
            it.dirt_gc_krefs += krefs as u64;
            options.0.is_some_and(|max| it.dirt_deliveries >= max) || options.1.is_some_and(|max| it.dirt_gc_krefs >= max)
        });
        if due == Some(true) {
            self.queue_reap(vat);
        }
    }
}

impl Live {
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

    /// Keeps the delivery, or undoes it; and says how the vat ended, if it did.
    fn consequences(
        &mut self,
        delivery: &Delivery<KRef>,
        result: Result<Usage, Fault>,
        ran: &mut Ran,
    ) -> Result<Option<Ended>, Fault> {
        let vat = self.at.vat;
        let fault = match (result, self.exit.take()) {
            (Ok(usage), None) => {
                self.keep(usage, ran)?;
                self.crank.soil(vat, delivery);
                return Ok(None);
            }
            (Ok(usage), Some((false, info))) => {
                self.keep(usage, ran)?;
                return Ok(Some(Ended { aborted: false, info, fault: None }));
            }
            (Ok(_), Some((true, info))) => {
                self.crank.rewind();
                return Ok(Some(Ended { aborted: true, info, fault: None }));
            }
            (Err(Fault::Vat(fault)), _) => fault,
            (Err(other), _) => return Err(other),
        };
        self.crank.rewind();
        // How much it used is not known exactly after a trap: the block pays for all that it might have.
        let budget = self.crank.tables().vats.get(&vat).map_or(0, |it| it.options.fuel_per_delivery);
        self.crank.block().add_fuel(budget);
        Ok(Some(Ended { aborted: true, info: info_of(&fault), fault: Some(fault) }))
    }

    /// The delivery stands: it enters the transcript and the vat's sums.
    fn keep(&mut self, usage: Usage, ran: &mut Ran) -> Result<(), Fault> {
        let (at, count) = (self.at, self.count);
        self.crank.entry.end(&End::Done { fuel: usage.fuel })?;
        let Crank { entry, .. } = &self.crank;
        let bytes = entry.bytes().to_vec();
        self.crank.block().append_transcript(at.vat, at.delivery_num, &bytes);
        self.crank.tables_mut().tallies.update(&at.vat, |it| {
            it.deliveries += 1;
            it.syscalls += u64::from(count);
            it.fuel += usage.fuel;
            it.memory = usage.memory;
        });
        self.crank.block().add_fuel(usage.fuel);
        ran.fuel = usage.fuel;
        Ok(())
    }
}

/// What the world is told of a vat that faulted: SwingSet's words for an illegal syscall.
fn info_of(fault: &VatFault) -> CapData<KRef> {
    match fault {
        VatFault::IllegalSyscall { .. } => body::error("syscall translation error: prepare to die"),
        fault => body::error(&fault.to_string()),
    }
}
