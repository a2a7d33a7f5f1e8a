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
        Crank,
        deliver::{SKIPPED, Source, Work},
        route::{Route, route},
    },
    model::{
        blame::{Fault, KernelPanic},
        body,
        id::KRef,
        limits,
    },
    slog::{Detail, Event, Queued},
    state::table::{Item, QueueId, Tables, Waiting},
};

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

impl Crank {
    /// Takes the first item of the first queue that has one.
    pub(super) fn take(&mut self) -> Result<Work, Fault> {
        self.choose();
        self.record_start();
        if self.is_skipped() { self.take_to_skip() } else { self.retake() }
    }

    /// Returns whether a directive of this crank, or of its block, skips what the crank takes.
    fn is_skipped(&mut self) -> bool {
        if self.directives().is_empty() || self.block().injector().is_some() {
            return false;
        }
        let (number, height) = (self.number(), self.tables().globals().height);
        let skips = |it: &Directive| matches!(it.action, Action::Skip { .. });
        let of_block = self.is_first_of_block() && self.directives().due_at_block(height).any(skips);
        of_block || self.directives().due(number, None).any(skips)
    }

    /// Takes the item as [`retake`](Crank::retake) does, but takes an entry that is no delivery as it is, unprocessed:
    /// it may be one that cannot even be routed.
    pub(super) fn take_to_skip(&mut self) -> Result<Work, Fault> {
        let Some(item) = self.standing() else { return self.retake() };
        let tables = self.tables();
        if catch_unwind(AssertUnwindSafe(|| is_delivery(tables, &item))).unwrap_or(false) {
            return self.retake();
        }
        if let Some(Source::Queue(id, at)) = self.source {
            let by = self.tables_mut().queue.remove(&(id, at)).and_then(|it| it.by);
            self.act_for(by);
        }
        self.pass_turn(&Work::Done);
        self.entry = Some(Arc::new(item.clone()));
        Ok(Work::Entry(item))
    }

    /// Returns the queue entry that the crank takes, as long as it is in its queue.
    pub(super) fn standing(&self) -> Option<Item> {
        match self.source {
            Some(Source::Queue(id, at)) => self.tables().queue.get(&(id, at)).map(|it| it.item.clone()),
            _ => None,
        }
    }

    /// Takes again what the crank took first, after it was undone.
    pub(super) fn retake(&mut self) -> Result<Work, Fault> {
        let work = match self.source {
            None => Work::Done,
            Some(Source::Gc(vat, kind)) => self.take_gc(vat, kind).map_or(Work::Done, |it| Work::Gc(vat, it)),
            Some(Source::Queue(id, at)) => match self.tables_mut().queue.remove(&(id, at)) {
                Some(Waiting { by, item }) => {
                    self.act_for(by);
                    self.process(item)?
                }
                None => Work::Done,
            },
        };
        self.pass_turn(&work);
        Ok(work)
    }

    fn record_start(&mut self) {
        if !self.wants(Detail::Cranks) {
            return;
        }
        let item = self.standing();
        let message_type = item.as_ref().map_or("gc-action", item_kind);
        let crank_num = self.number();
        let message = item.as_ref().map(Queued);
        let event = || Event::CrankStart { crank_type: "delivery", crank_num, message_type, message };
        self.slog().record(Detail::Cranks, event);
    }

    /// Routes an item. What is for no live vat is dealt with here.
    fn process(&mut self, item: Item) -> Result<Work, Fault> {
        match item {
            Item::Send { target, message } => {
                let (to, route) = self.route(target, &message)?;
                if !matches!(route, Route::Vat(_)) {
                    self.entry = Some(Arc::new(Item::Send { target, message: message.clone() }));
                }
                let target = to;
                match route {
                    Route::Vat(vat) => return Ok(Work::Item(vat, Item::Send { target, message })),
                    Route::Kernel(object) => self.answer(object, target, message)?,
                    Route::Wait(promise) => {
                        let waiting = Waiting { by: self.by, item: Item::Send { target, message } };
                        self.tables_mut().queue.push(QueueId::Promise(promise), waiting);
                    }
                    Route::Splat(with) => self.splat(target, message, with)?,
                }
            }
            Item::Notify { vat, promise } => {
                let knows = self.tables().clist.vref(vat, promise.into()).is_some();
                if knows && self.tables().is_alive(vat) {
                    return Ok(Work::Item(vat, item));
                }
                self.entry = Some(Arc::new(item));
                self.decref(promise.into())?;
            }
            Item::StartVat { vat, ref parameters, result } => {
                let row = self.tables().vats.get(&vat).ok_or_else(|| KernelPanic::new("vat.known", vat))?;
                let upgraded = row.incarnation > 0;
                if self.tables().is_alive(vat) && !upgraded {
                    return Ok(Work::Item(vat, item));
                }
                self.entry = Some(Arc::new(item.clone()));
                parameters.slots.iter().try_for_each(|it| self.decref(*it))?;
                self.settle_creation(vat, result)?;
            }
            Item::UpgradeVat { vat, ref parameters, result, .. } => {
                if self.tables().is_alive(vat) {
                    return Ok(Work::Item(vat, item));
                }
                self.entry = Some(Arc::new(item.clone()));
                parameters.slots.iter().try_for_each(|it| self.decref(*it))?;
                self.settle_queued(result, true, body::error("vat terminated"))?;
            }
            Item::ChangeOptions { vat, ref options } => {
                if self.tables().is_alive(vat) {
                    return Ok(Work::Item(vat, item));
                }
                self.entry = Some(Arc::new(item.clone()));
                options.slots.iter().try_for_each(|it| self.decref(*it))?;
            }
            Item::Reap(vat) => {
                if self.tables().is_alive(vat) {
                    return Ok(Work::Item(vat, item));
                }
                self.entry = Some(Arc::new(item));
                self.tables_mut().tallies.update(&vat, |it| it.reap_queued = false);
            }
            Item::Cleanup(vat) => {
                self.entry = Some(Arc::new(item));
                if !self.clean_up(vat, limits::CLEANUP_ROWS_PER_CRANK)? {
                    self.queue_cleanup(vat, true);
                }
            }
        }
        Ok(Work::Done)
    }

    /// Returns whether everything that the entry names exists and is held.
    pub(super) fn is_sound(&self, item: &Item) -> bool {
        match item {
            Item::Send { target, message } => {
                let named = message.result.into_iter().chain(message.methargs.slots.iter().copied());
                self.is_held(*target) && named.into_iter().all(|it| self.is_held(it))
            }
            Item::Notify { promise, .. } => self.is_held((*promise).into()),
            Item::StartVat { parameters: data, .. }
            | Item::UpgradeVat { parameters: data, .. }
            | Item::ChangeOptions { options: data, .. } => data.slots.iter().all(|it| self.is_held(*it)),
            Item::Reap(_) | Item::Cleanup(_) => true,
        }
    }

    fn is_held(&self, kref: KRef) -> bool {
        match kref {
            KRef::Object(id) => self.tables().objects.get(&id).is_some_and(|it| it.reachable > 0),
            KRef::Promise(id) => self.tables().promises.get(&id).is_some_and(|it| it.refs > 0),
            KRef::Device(_) => true,
        }
    }

    /// Gives back the entry's hold, if there is one.
    fn let_go(&mut self, kref: KRef) -> Result<(), Fault> {
        if self.is_held(kref) {
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
