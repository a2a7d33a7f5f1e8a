//! Forecasts: the deliveries that are likely to come next, as their vats will see them, from the tables alone.
//!
//! A forecast may be wrong: whoever uses it compares it with the delivery that came.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    kernel::{
        deliver::retirable,
        meter::fuel_limit,
        queue::upcoming,
        route::{Route, route},
        translate::renamed,
    },
    model::{
        id::{KRef, VRef, VatId},
        value::Delivery,
    },
    state::table::{GcAction, Item, Tables, Tally},
};

/// Items of the run-queue that a round looks at.
const ITEMS_MAX: usize = 1_024;

/// The next delivery to a vat, as far as the tables tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// The vat.
    pub vat: VatId,
    /// The delivery, in the vat's references.
    pub delivery: Delivery<VRef>,
    /// The limit on the fuel of the delivery.
    pub fuel_max: u64,
}

/// Forecasts the next delivery to each vat that is wanted, and that has one among the next items.
pub(super) fn all(tables: &Tables, mut wants: impl FnMut(VatId) -> bool) -> Vec<Forecast> {
    let mut seen = BTreeSet::new();
    let look = || {
        let mut forecasts = Vec::new();
        for key in upcoming(tables, ITEMS_MAX) {
            let Some(item) = tables.queue.get(&key).map(|it| &it.item) else { continue };
            let Some((vat, opened)) = opened(tables, item) else { continue };
            if seen.insert(vat) && is_ready(tables, vat) && wants(vat) {
                forecasts.extend(forecast(tables, vat, &opened));
            }
        }
        forecasts
    };
    // An entry that cannot be routed halts the crank that takes it, and not this one.
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_default()
}

/// The part of an item that makes the delivery.
enum Opened<'a> {
    Send {
        target: KRef,
        item: &'a Item,
    },
    Notify(&'a Item),
    /// Anything else, which is not forecast.
    Other,
}

/// Returns the vat that an item will go to, and what it becomes.
fn opened<'a>(tables: &Tables, item: &'a Item) -> Option<(VatId, Opened<'a>)> {
    match item {
        Item::Send { target, message } => match route(tables, *target, &message.methargs.body).ok()? {
            (target, Route::Vat(vat)) => Some((vat, Opened::Send { target, item })),
            _ => None,
        },
        Item::Notify { vat, promise } => {
            tables.clist.vref(*vat, (*promise).into()).map(|_| (*vat, Opened::Notify(item)))
        }
        Item::StartVat { vat, .. }
        | Item::UpgradeVat { vat, .. }
        | Item::ChangeOptions { vat, .. }
        | Item::Reap(vat) => Some((*vat, Opened::Other)),
        Item::Cleanup(_) => None,
    }
}

/// Returns whether the vat takes deliveries, and no news of garbage comes first.
fn is_ready(tables: &Tables, vat: VatId) -> bool {
    let has_garbage = tables.gc.range(GcAction::first_of(vat)..).next().is_some_and(|(it, _)| it.vat() == vat);
    let is_reaped = tables.tallies.get(&vat).is_none_or(|it| it.reap_queued);
    let is_up = tables.is_alive(vat) && !tables.is_paused(vat) && !tables.is_session(vat);
    is_up && !has_garbage && !is_reaped
}

fn forecast(tables: &Tables, vat: VatId, opened: &Opened<'_>) -> Option<Forecast> {
    let delivery = match opened {
        Opened::Send { target, item: Item::Send { message, .. } } => {
            Delivery::Message { target: *target, message: message.clone() }
        }
        Opened::Notify(Item::Notify { promise, .. }) => Delivery::Notify(retirable(tables, *promise).ok()?.told),
        _ => return None,
    };
    let mut names = Names { tables, vat, tally: *tables.tallies.get(&vat)?, new: Vec::new() };
    let delivery = renamed(&delivery, |kref| names.of(kref).ok_or(())).ok()?;
    let limit = fuel_limit(tables, vat).ok()?;
    // A meter that others may draw on: its limit will be another.
    (!limit.by_meter).then_some(Forecast { vat, delivery, fuel_max: limit.fuel })
}

/// The names that a vat has, or will be given, for references.
struct Names<'a> {
    tables: &'a Tables,
    vat: VatId,
    tally: Tally,
    new: Vec<(KRef, VRef)>,
}

impl Names<'_> {
    fn of(&mut self, kref: KRef) -> Option<VRef> {
        let known = self.tables.clist.vref(self.vat, kref);
        if let Some(vref) = known.or_else(|| self.new.iter().find(|(it, _)| *it == kref).map(|(_, vref)| *vref)) {
            return Some(vref);
        }
        let take = |next: &mut u64| {
            *next += 1;
            *next - 1
        };
        let vref = match kref {
            KRef::Object(_) => VRef::imported_object(take(&mut self.tally.next_import)),
            KRef::Promise(_) => VRef::imported_promise(take(&mut self.tally.next_promise_import)),
            KRef::Device(_) => return None,
        };
        self.new.push((kref, vref));
        Some(vref)
    }
}
