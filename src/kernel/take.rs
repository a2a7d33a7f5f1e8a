//! The taking of a crank's item from its queue, and the handling of entries that are no delivery.
//!
//! ```text
//!   choose ─▶ take ─▶ process ─▶ a delivery for a vat: Work::Item, Work::Gc
//!               │         └────▶ dealt with by the kernel: Work::Done, and `entry` tells what it was
//!               └─ to be skipped, and no delivery: Work::Entry ─▶ consume
//! ```
//!
//! Invariant: an entry that is skipped is not routed, and what it holds is given back as far as there is a row to give
//! it back to: the way past an entry that breaks the kernel must not break it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    directive::{Action, Directive},
    kernel::{
        Ledger,
        crank::{Crank, caught},
        deliver::next_delivery,
        probe::probe_of,
        route::{Route, route},
    },
    model::{
        blame::{Fault, HostFault, KernelPanic},
        body,
        id::{DeliveryNum, KRef, VatId},
        limits,
        value::Delivery,
    },
    slog::{Detail, Event, Queued},
    state::{
        block::pending,
        table::{GcKind, Item, QueueId, Tables, Waiting},
    },
    store::canon,
};

/// The work that a crank took from its queue.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Work that no vat receives, already done.
    Done,
    /// Something for this vat, whose references are still held by it.
    Item(VatId, Item),
    /// News of garbage for this vat.
    Gc(VatId, Delivery<KRef>),
    /// An entry of the queue that is no delivery, and is to be skipped: nothing was done with it.
    Entry(Item),
}

/// The numbers of the attempts to deliver that a crank makes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) first: Option<(VatId, DeliveryNum)>,
    pub(crate) second: Option<(VatId, DeliveryNum)>,
}

impl Numbers {
    pub(crate) fn iter(self) -> impl Iterator<Item = (VatId, DeliveryNum)> {
        self.first.into_iter().chain(self.second)
    }
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

    /// Returns the vat that the work is for.
    pub(crate) fn vat(&self) -> Option<VatId> {
        match self {
            Work::Done | Work::Entry(_) => None,
            Work::Item(vat, _) | Work::Gc(vat, _) => Some(*vat),
        }
    }

    /// Returns the hash by which a directive recognizes the work: of its entry in the queue, in the kernel's
    /// references.
    pub(crate) fn hash(&self) -> Result<[u8; 32], HostFault> {
        let mut bytes = Vec::new();
        match self {
            Work::Done => (),
            Work::Item(_, item) | Work::Entry(item) => canon::write(item, &mut bytes)?,
            Work::Gc(_, delivery) => canon::write::<Delivery<_>>(delivery, &mut bytes)?,
        }
        Ok(*blake3::hash(&bytes).as_bytes())
    }

    /// Returns the delivery numbers that the work will take: none if it is no delivery, two for an upgrade.
    pub(crate) fn numbers(&self, tables: &Tables) -> Numbers {
        let Some(vat) = self.vat() else { return Numbers::default() };
        let first = Some((vat, next_delivery(tables, vat)));
        match (self, tables.is_paused(vat)) {
            (Work::Item(_, Item::UpgradeVat { .. }), false) => {
                Numbers { first, second: first.map(|(vat, it)| (vat, it.next())) }
            }
            (Work::Item(_, Item::UpgradeVat { .. }), true) | (_, false) => Numbers { first, second: None },
            (_, true) => Numbers::default(),
        }
    }
}

/// The place from which a crank takes its item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// In this queue, under this number.
    Queue(QueueId, i64),
    /// Among the GC actions: those of this vat and kind.
    Gc(VatId, GcKind),
}

/// The error with which the result of a skipped message is rejected.
pub(super) const SKIPPED: &str = "delivery skipped by directive";

/// The item that a crank had taken when the host halted in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// The hash by which a directive can recognize it.
    pub hash: Option<[u8; 32]>,
    /// The method, where it is a message.
    pub method: Option<String>,
    /// A description in words, if it is an entry of the queue that is no delivery.
    pub entry: Option<String>,
}

impl Taken {
    /// Describes the work of a crank, or the entry that it took where that is no delivery.
    pub(super) fn of(work: &Work, entry: Option<&Item>) -> Taken {
        let item = match work {
            Work::Item(_, item) => Some(item),
            _ => entry,
        };
        let hash = match (work, entry) {
            (Work::Done, Some(item)) => Work::Entry(item.clone()).hash().ok(),
            (Work::Done, None) => None,
            (work, _) => work.hash().ok(),
        };
        let entry = if work.vat().is_none() { entry.map(describe) } else { None };
        Taken { hash, method: item.and_then(method), entry }
    }
}

/// The method of a message, cut to a length that can be read.
fn method(item: &Item) -> Option<String> {
    match item {
        Item::Send { message, .. } => Some(body::method_of(&message.methargs.body).chars().take(60).collect()),
        _ => None,
    }
}

/// Describes a queue entry in a few words.
pub(super) fn describe(item: &Item) -> String {
    match item {
        Item::Send { target, .. } => {
            format!("a message `{}` to {target}", method(item).unwrap_or_default())
        }
        Item::Notify { vat, promise } => format!("a notify of {promise} to {vat}"),
        Item::StartVat { vat, .. } => format!("the start of {vat}"),
        Item::UpgradeVat { vat, .. } => format!("the upgrade of {vat}"),
        Item::ChangeOptions { vat, .. } => format!("new options for {vat}"),
        Item::Reap(vat) => format!("a bringOutYourDead for {vat}"),
        Item::Cleanup(vat) => format!("the removal of rows of the dead {vat}"),
    }
}

/// Returns whether a vat is given this, or waits for it because it is paused.
fn is_delivery(tables: &Tables, item: &Item) -> bool {
    match item {
        Item::Send { target, message } => {
            matches!(route(tables, *target, &message.methargs.body), Ok((_, Route::Vat(_))))
        }
        Item::Notify { vat, promise } => tables.is_alive(*vat) && tables.clist.vref(*vat, (*promise).into()).is_some(),
        Item::StartVat { vat, .. } => {
            tables.is_alive(*vat) && tables.vats.get(vat).is_some_and(|it| it.incarnation == 0)
        }
        Item::UpgradeVat { vat, .. } | Item::ChangeOptions { vat, .. } | Item::Reap(vat) => tables.is_alive(*vat),
        Item::Cleanup(_) => false,
    }
}

impl Crank<'_> {
    /// Takes the first item of the queue whose turn it is. Where that fails, the entry that was to be taken is
    /// remembered.
    pub(super) fn take(mut self) -> Result<Self, Fault> {
        for vat in std::mem::take(&mut pending::of_mut(self.ledger.block_mut()).doomed) {
            self.workers.stop(vat);
        }
        match caught(|| self.take_next()) {
            Ok(work) => self.log.work = work,
            Err(fault) => {
                self.rewind();
                let entry = self.standing().map(Arc::new);
                self.log.remember(entry);
                return Err(fault);
            }
        }
        self.log.remember(self.log.entry.clone());
        let kind = self.log.work.kind();
        self.log.position.delivery =
            self.log.work.numbers(self.ledger.tables()).first.map(|(vat, number)| (vat, number, kind));
        Ok(self)
    }

    fn take_next(&mut self) -> Result<Work, Fault> {
        self.choose();
        self.record_start();
        if self.is_skipped() { self.take_to_skip() } else { self.retake() }
    }

    /// Returns whether a directive of this crank, or of its block, skips what the crank takes.
    fn is_skipped(&mut self) -> bool {
        let (number, height) = (self.ledger.number(), self.ledger.tables().globals().height);
        if self.ledger.block().directives().is_quiet_at(number, height) {
            return false;
        }
        let probe = probe_of(self.ledger.block());
        let owns = |it: &Directive| probe.is_some_and(|probe| probe.owns(it));
        let skips = |it: &Directive| matches!(it.action, Action::Skip { .. }) && !owns(it);
        let of_block =
            self.ledger.block().cranks() == 0 && self.ledger.block().directives().due_at_block(height).any(skips);
        of_block || self.ledger.block().directives().due(number, None).any(skips)
    }

    /// Takes the item as [`retake`](Crank::retake) does, but takes an entry that is no delivery as it is, unprocessed:
    /// it may be one that cannot even be routed.
    #[cold]
    pub(super) fn take_to_skip(&mut self) -> Result<Work, Fault> {
        let Some(item) = self.standing() else { return self.retake() };
        let tables = self.ledger.tables();
        if catch_unwind(AssertUnwindSafe(|| is_delivery(tables, &item))).unwrap_or(false) {
            return self.retake();
        }
        if let Some(Source::Queue(id, at)) = self.log.source {
            let by = self.ledger.tables_mut().queue.remove(&(id, at)).and_then(|it| it.by);
            self.ledger.act_for(by);
        }
        self.pass_turn(&Work::Done);
        self.log.entry = Some(Arc::new(item.clone()));
        Ok(Work::Entry(item))
    }

    /// Returns the queue entry that the crank takes, as long as it is in its queue.
    pub(super) fn standing(&self) -> Option<Item> {
        match self.log.source {
            Some(Source::Queue(id, at)) => self.ledger.tables().queue.get(&(id, at)).map(|it| it.item.clone()),
            _ => None,
        }
    }

    /// Takes again what the crank took first, after it was undone.
    pub(crate) fn retake(&mut self) -> Result<Work, Fault> {
        let work = match self.log.source {
            None => Work::Done,
            Some(Source::Gc(vat, kind)) => self.ledger.take_gc(vat, kind).map_or(Work::Done, |it| Work::Gc(vat, it)),
            Some(Source::Queue(id, at)) => match self.ledger.tables_mut().queue.remove(&(id, at)) {
                Some(Waiting { by, item }) => {
                    self.ledger.act_for(by);
                    self.process(item)?
                }
                None => Work::Done,
            },
        };
        self.pass_turn(&work);
        Ok(work)
    }

    fn record_start(&mut self) {
        if !self.ledger.slog().wants(Detail::Cranks) {
            return;
        }
        let item = self.standing();
        let message_type = item.as_ref().map_or("gc-action", item_kind);
        let crank_num = self.ledger.number();
        let message = item.as_ref().map(Queued);
        let event = || Event::CrankStart { crank_type: "delivery", crank_num, message_type, message };
        self.ledger.slog().record(Detail::Cranks, event);
    }

    /// Routes an item. What is for no live vat is dealt with here.
    fn process(&mut self, item: Item) -> Result<Work, Fault> {
        match item {
            Item::Send { target, message } => {
                let (to, route) = self.ledger.route(target, &message)?;
                if !matches!(route, Route::Vat(_)) {
                    self.log.entry = Some(Arc::new(Item::Send { target, message: message.clone() }));
                }
                let target = to;
                match route {
                    Route::Vat(vat) => return Ok(Work::Item(vat, Item::Send { target, message })),
                    Route::Kernel(object) => self.ledger.answer(object, target, message)?,
                    Route::Wait(promise) => {
                        let waiting = Waiting { by: self.ledger.by(), item: Item::Send { target, message } };
                        self.ledger.tables_mut().queue.push(QueueId::Promise(promise), waiting);
                    }
                    Route::Splat(with) => self.ledger.splat(target, message, with)?,
                }
            }
            Item::Notify { vat, promise } => {
                let knows = self.ledger.tables().clist.vref(vat, promise.into()).is_some();
                if knows && self.ledger.tables().is_alive(vat) {
                    return Ok(Work::Item(vat, item));
                }
                self.log.entry = Some(Arc::new(item));
                self.ledger.decref(promise.into())?;
            }
            rarer => return self.process_rarer(rarer),
        }
        Ok(Work::Done)
    }

    /// Processes an item other than a message or a notify.
    #[inline(never)]
    fn process_rarer(&mut self, item: Item) -> Result<Work, Fault> {
        match item {
            Item::StartVat { vat, ref parameters, result } => {
                let row = self.ledger.tables().vats.get(&vat).ok_or_else(|| KernelPanic::new("vat.known", vat))?;
                let upgraded = row.incarnation > 0;
                if self.ledger.tables().is_alive(vat) && !upgraded {
                    return Ok(Work::Item(vat, item));
                }
                self.log.entry = Some(Arc::new(item.clone()));
                parameters.slots.iter().try_for_each(|it| self.ledger.decref(*it))?;
                self.ledger.settle_creation(vat, result)?;
            }
            Item::UpgradeVat { vat, ref parameters, result, .. } => {
                if self.ledger.tables().is_alive(vat) {
                    return Ok(Work::Item(vat, item));
                }
                self.log.entry = Some(Arc::new(item.clone()));
                parameters.slots.iter().try_for_each(|it| self.ledger.decref(*it))?;
                self.ledger.settle_queued(result, true, body::error("vat terminated"))?;
            }
            Item::ChangeOptions { vat, ref options } => {
                if self.ledger.tables().is_alive(vat) {
                    return Ok(Work::Item(vat, item));
                }
                self.log.entry = Some(Arc::new(item.clone()));
                options.slots.iter().try_for_each(|it| self.ledger.decref(*it))?;
            }
            Item::Reap(vat) => {
                if self.ledger.tables().is_alive(vat) {
                    return Ok(Work::Item(vat, item));
                }
                self.log.entry = Some(Arc::new(item));
                self.ledger.tables_mut().tallies.update(&vat, |it| it.reap_queued = false);
            }
            Item::Cleanup(vat) => {
                self.log.entry = Some(Arc::new(item));
                if !self.ledger.clean_up(vat, limits::CLEANUP_ROWS_PER_CRANK)? {
                    self.ledger.queue_cleanup(vat, true);
                }
            }
            Item::Send { .. } | Item::Notify { .. } => return self.process(item),
        }
        Ok(Work::Done)
    }
}

/// Returns whether everything that the entry names exists and is held.
pub(super) fn is_sound(tables: &Tables, item: &Item) -> bool {
    match item {
        Item::Send { target, message } => {
            let named = message.result.into_iter().chain(message.methargs.slots.iter().copied());
            is_held(tables, *target) && named.into_iter().all(|it| is_held(tables, it))
        }
        Item::Notify { promise, .. } => is_held(tables, (*promise).into()),
        Item::StartVat { parameters: data, .. }
        | Item::UpgradeVat { parameters: data, .. }
        | Item::ChangeOptions { options: data, .. } => data.slots.iter().all(|it| is_held(tables, *it)),
        Item::Reap(_) | Item::Cleanup(_) => true,
    }
}

fn is_held(tables: &Tables, kref: KRef) -> bool {
    match kref {
        KRef::Object(id) => tables.objects.get(&id).is_some_and(|it| it.reachable > 0),
        KRef::Promise(id) => tables.promises.get(&id).is_some_and(|it| it.refs > 0),
        KRef::Device(_) => true,
    }
}

impl Ledger {
    /// Gives back the entry's hold, if there is one.
    fn let_go(&mut self, kref: KRef) -> Result<(), Fault> {
        if is_held(self.tables(), kref) {
            self.decref(kref)?;
        }
        Ok(())
    }

    /// Consumes a queue entry without routing it: its result is rejected, and what it holds is released.
    pub(super) fn consume(&mut self, item: Item) -> Result<(), Fault> {
        let (result, held) = match item {
            Item::Send { target, message } => {
                let result = message.result.and_then(KRef::promise);
                let own = result.map(KRef::from);
                (result, [target].into_iter().chain(own).chain(message.methargs.slots).collect())
            }
            Item::Notify { promise, .. } => (None, vec![promise.into()]),
            Item::StartVat { parameters, result, .. } | Item::UpgradeVat { parameters, result, .. } => {
                (result, parameters.slots.into_iter().chain(result.map(KRef::from)).collect())
            }
            Item::ChangeOptions { options, .. } => (None, options.slots),
            Item::Reap(vat) => {
                self.tables_mut().tallies.update(&vat, |it| it.reap_queued = false);
                (None, Vec::new())
            }
            Item::Cleanup(_) => (None, Vec::new()),
        };
        if let Some(id) = result
            && self.tables().promises.get(&id).is_some_and(|it| it.is_unresolved())
        {
            self.settle(id, true, body::error(SKIPPED))?;
        }
        held.into_iter().try_for_each(|it: KRef| self.let_go(it))
    }
}

pub(super) fn item_kind(item: &Item) -> &'static str {
    match item {
        Item::Send { .. } => "send",
        Item::Notify { .. } => "notify",
        Item::StartVat { .. } => "startVat",
        Item::UpgradeVat { .. } => "upgrade-vat",
        Item::ChangeOptions { .. } => "changeVatOptions",
        Item::Reap(_) => "bringOutYourDead",
        Item::Cleanup(_) => "cleanup-terminated-vat",
    }
}
