//! A delivery: an item is opened, translated into its vat's references, and run by the vat's worker.
//!
//! Invariant: a delivery that went well is in the vat's transcript, with all its syscalls, before its consequences are
//! taken.

use std::{collections::BTreeSet, hint};

use crate::{
    kernel::{
        Ledger, Usage,
        crank::{Crank, Delivered},
        meter::fuel_limit,
        probe::probe_of,
        replay, speculation,
        syscall::{Live, Syscalls},
        take::Work,
        translate::Inward,
    },
    model::{
        blame::{Fault, KernelPanic, VatFault},
        id::{DeliveryNum, KRef, PromiseId, VRef, VatId},
        limits,
        value::{CapData, Delivery, Resolution},
    },
    slog::{At, DeliverResult, Detail, Event, Shape},
    state::{
        table::{Item, QueueId, Tables, Waiting},
        transcript::End,
    },
};

/// The outcome of a delivery.
#[derive(Debug)]
pub(super) enum DeliveryOutcome {
    /// Well: it is in the transcript.
    Done(Usage),
    /// The vat ends itself. Not undone yet, where it is to be.
    Exit { failure: bool, info: CapData<KRef>, usage: Usage },
    /// A fault of the vat. Not undone yet.
    Fault(VatFault),
    /// Not at all: somebody wants the host to stop. The crank is to be given up.
    Interrupted,
}

/// The settled promises that one notify tells of.
pub(super) struct News {
    pub(super) told: Vec<Resolution<KRef>>,
    /// The promises that the told ones name, and that are still to be told.
    rest: Vec<PromiseId>,
}

/// Returns the number of the next attempt to deliver to a vat.
pub(crate) fn next_delivery(tables: &Tables, vat: VatId) -> DeliveryNum {
    DeliveryNum(tables.tallies.get(&vat).map_or(0, |it| it.deliveries))
}

/// A settled promise, and the settled promises that its data lead to: depth first, each once, as many as one
/// delivery may hold.
pub(super) fn retirable(tables: &Tables, first: PromiseId) -> Result<News, KernelPanic> {
    let mut told: Vec<Resolution<KRef>> = Vec::new();
    let mut rest = Vec::new();
    let mut seen = BTreeSet::new();
    let mut stack = vec![first];
    let (mut bytes, mut full) = (0, false);
    while let Some(id) = stack.pop() {
        let promise = tables.promises.get(&id).ok_or_else(|| KernelPanic::new("promise.known", id))?;
        let Some(data) = promise.settlement().and_then(|it| tables.settlements.get(&it)) else { continue };
        if !seen.insert(id) {
            continue;
        }
        bytes += data.body.len() + size_of::<u64>() * data.slots.len();
        full |= !told.is_empty() && (bytes > limits::NOTIFY_BYTES_MAX || told.len() >= limits::NOTIFY_RESOLUTIONS_MAX);
        if full {
            rest.push(id);
            continue;
        }
        told.push(Resolution { promise: id.into(), rejected: promise.is_rejected(), data: data.clone() });
        stack.extend(data.slots.iter().rev().filter_map(|it| it.promise()));
    }
    Ok(News { told, rest })
}

impl Crank<'_> {
    /// Gives the work that is left to its vat. (An upgrade takes its consequences itself: they are others.)
    pub(super) fn deliver(mut self) -> Result<Self, Fault> {
        let (vat, result, delivery) = match self.log.take_work() {
            Work::Done | Work::Entry(_) => return Ok(self),
            Work::Item(vat, Item::UpgradeVat { bundle, parameters, result, .. }) => {
                hint::cold_path();
                return self.upgrade(vat, bundle, parameters, result);
            }
            Work::Item(vat, item) => {
                let result = match item {
                    Item::StartVat { result, .. } => result,
                    _ => None,
                };
                (vat, result, self.ledger.open_item(item)?)
            }
            Work::Gc(vat, delivery) => (vat, None, delivery),
        };
        let (crank, outcome) = self.attempt(vat, &delivery)?;
        crank.log.delivered = Some(Delivered { vat, delivery, result, outcome });
        Ok(crank)
    }

    /// Brings the vat up if need be, translates, and delivers. The ledger is the worker's meanwhile.
    pub(super) fn attempt(mut self, vat: VatId, delivery: &Delivery<KRef>) -> Result<(Self, DeliveryOutcome), Fault> {
        let at = self.note_attempt(vat, delivery.kind());
        let is_session = self.ledger.tables().is_session(vat);
        let holds = speculation::holds(self.workers, self.ledger.tables(), vat);
        let started = match is_session || holds {
            true => Ok(()),
            false => replay::bring_up(self.ledger.block_mut(), self.workers, vat),
        };
        let mut fuel_max = fuel_limit(self.ledger.tables(), vat)?.fuel;
        if let Some(probe) = probe_of(self.ledger.block()) {
            fuel_max = probe.begin_attempt(at, fuel_max);
        }
        let translated = self.ledger.begin_delivery(at, delivery)?;
        let (syscalls, result) = match started {
            Ok(()) if is_session => {
                hint::cold_path();
                let posted = self.ledger.deliver_to_session(vat, &translated);
                (Syscalls::live(self.ledger, at), posted)
            }
            Ok(()) if holds => {
                hint::cold_path();
                let live = Syscalls::live(self.ledger, at);
                speculation::deliver(self.workers, vat, &translated, fuel_max, live)?
            }
            Ok(()) => {
                let worker = self.workers.worker(vat).ok_or_else(|| KernelPanic::new("worker.brought-up", vat))?;
                worker.deliver(&translated, fuel_max, Syscalls::live(self.ledger, at))
            }
            Err(fault) => {
                hint::cold_path();
                (Syscalls::live(self.ledger, at), Err(fault))
            }
        };
        let mut live = syscalls.into_live()?;
        self.log.position.syscall = live.count.checked_sub(1).map(|it| (it, live.last));
        let result = live.fault.take().map_or(result, |fault| Err(*fault));
        if let Some(probe) = &live.probe {
            probe.end_attempt(at, result.as_ref().ok().map(|it| it.fuel));
        }
        live.record_result(delivery.kind(), &result);
        let outcome = live.outcome(result)?;
        self.ledger = live.ledger;
        match &outcome {
            DeliveryOutcome::Done(usage) | DeliveryOutcome::Exit { usage, .. } => {
                self.log.ran.fuel = self.log.ran.fuel.saturating_add(usage.fuel);
            }
            DeliveryOutcome::Fault(_) => (),
            DeliveryOutcome::Interrupted => {
                self.workers.stop(vat);
                self.log.interrupted = true;
            }
        }
        self.ledger.tables_mut().update_globals(|it| it.deliveries += 1);
        Ok((self, outcome))
    }

    /// Notes that the vat is about to be delivered to, and makes it responsible for what follows.
    fn note_attempt(&mut self, vat: VatId, kind: &'static str) -> At {
        self.ledger.act_for(Some(vat));
        let delivery_num = next_delivery(self.ledger.tables(), vat);
        self.log.position.delivery = Some((vat, delivery_num, kind));
        self.log.ran.delivery = Some((vat, delivery_num));
        At { crank_num: self.ledger.number(), vat, delivery_num }
    }
}

impl Ledger {
    /// Puts work aside until the vat is resumed, behind what waits already.
    #[cold]
    pub(super) fn hold(&mut self, work: Work) -> Result<(), Fault> {
        match work {
            Work::Done | Work::Entry(_) => (),
            Work::Item(vat, item) => {
                let by = self.by();
                self.tables_mut().queue.push(QueueId::Pause(vat), Waiting { by, item });
            }
            Work::Gc(vat, delivery) => self.restore_gc(vat, &delivery)?,
        }
        Ok(())
    }

    /// Turns an item into the delivery for its vat. The queue holds it no longer.
    pub(super) fn open_item(&mut self, item: Item) -> Result<Delivery<KRef>, Fault> {
        Ok(match item {
            Item::Send { target, message } => {
                self.decref_message(target, &message)?;
                Delivery::Message { target, message }
            }
            Item::Notify { vat, promise } => {
                self.decref(promise.into())?;
                let News { told, rest } = retirable(self.tables(), promise)?;
                rest.into_iter().try_for_each(|it| self.notify(vat, it))?;
                Delivery::Notify(told)
            }
            rarer => return open_rarer(self, rarer),
        })
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
            Work::Item(vat, item) => (vat, self.open_item(item)?),
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
        let number = next_delivery(self.tables(), vat);
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

    /// Translates a delivery, and applies what of it comes before the vat runs.
    fn begin_delivery(&mut self, at: At, delivery: &Delivery<KRef>) -> Result<Delivery<VRef>, Fault> {
        let translated = Inward { ledger: self, vat: at.vat }.translate(delivery)?;
        self.apply_delivery(at.vat, delivery)?;
        self.entries().begin(&translated)?;
        self.record_delivery(at, delivery, &translated);
        Ok(translated)
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
    pub(super) fn soil(&mut self, vat: VatId, delivery: &Delivery<KRef>) {
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

/// Turns an item other than a message or a notify into the delivery for its vat.
#[inline(never)]
fn open_rarer(ledger: &mut Ledger, item: Item) -> Result<Delivery<KRef>, Fault> {
    Ok(match item {
        Item::StartVat { parameters, .. } => {
            parameters.slots.iter().try_for_each(|it| ledger.decref(*it))?;
            Delivery::StartVat(parameters)
        }
        Item::ChangeOptions { options, .. } => {
            options.slots.iter().try_for_each(|it| ledger.decref(*it))?;
            Delivery::ChangeOptions(options)
        }
        Item::Reap(vat) => {
            ledger.tables_mut().tallies.update(&vat, |it| it.reap_queued = false);
            Delivery::BringOutYourDead
        }
        Item::Send { .. } | Item::Notify { .. } | Item::UpgradeVat { .. } | Item::Cleanup(_) => {
            let what = format_args!("an entry is opened that is no delivery: {item:?}");
            return Err(KernelPanic::new("audit.queue", what).into());
        }
    })
}

impl Live {
    /// Returns what came of the delivery, which is kept if it went well.
    fn outcome(&mut self, result: Result<Usage, Fault>) -> Result<DeliveryOutcome, Fault> {
        Ok(match (result, self.exit.take().map(|it| *it)) {
            (Ok(usage), exit) => {
                self.keep(usage)?;
                match exit {
                    None => DeliveryOutcome::Done(usage),
                    Some((failure, info)) => DeliveryOutcome::Exit { failure, info, usage },
                }
            }
            (Err(Fault::Vat(fault)), _) => DeliveryOutcome::Fault(*fault),
            (Err(Fault::Interrupted(_)), _) => DeliveryOutcome::Interrupted,
            (Err(other), _) => return Err(other),
        })
    }

    fn record_result(&mut self, dispatch: &'static str, result: &Result<Usage, Fault>) {
        let at = self.at;
        let dr = match result {
            Ok(usage) => DeliverResult::Ok(usage.fuel),
            Err(fault) => DeliverResult::Error(fault),
        };
        self.ledger.slog().record(Detail::Deliveries, || Event::DeliverResult { at, replay: false, dispatch, dr });
        if dispatch == "startVat" {
            self.ledger.slog().record(Detail::Cranks, || Event::VatStartupFinish { vat: at.vat });
        }
    }

    /// The delivery stands, unless the crank is undone: it enters the transcript and the vat's sums.
    fn keep(&mut self, usage: Usage) -> Result<(), Fault> {
        let (at, count) = (self.at, self.count);
        self.ledger.entries().end(&End::Done { fuel: usage.fuel })?;
        self.ledger.keep_entry(at.vat, at.delivery_num);
        self.ledger.tables_mut().tallies.update(&at.vat, |it| {
            it.deliveries += 1;
            it.syscalls += u64::from(count);
            it.fuel = it.fuel.saturating_add(usage.fuel);
            it.memory = usage.memory;
        });
        Ok(())
    }
}
