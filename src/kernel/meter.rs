//! Fuel, and who pays for it: the block always, the vat's meter if it has one.

use crate::{
    kernel::{Ledger, lifecycle::decided_by, request::undefined},
    model::{
        blame::{Fault, KernelPanic},
        id::{VRef, VatId},
        limits, price,
    },
    state::table::{Awaited, Tables},
    store::PAGE_BYTES,
};

/// The least fuel that a write to a page takes: an address, a value, the write.
const FUEL_OF_A_WRITE: u64 = 3;

/// The limit on the fuel of a delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct FuelLimit {
    pub(super) fuel: u64,
    /// Set if the vat's meter sets it, rather than its options.
    pub(super) by_meter: bool,
}

/// Returns the limit on what the next delivery to a vat may use.
pub(super) fn fuel_limit(tables: &Tables, vat: VatId) -> Result<FuelLimit, KernelPanic> {
    let options = tables.vats.get(&vat).map(|it| &it.options).ok_or_else(|| KernelPanic::new("vat.known", vat))?;
    let left = options.meter.and_then(|it| tables.meters.get(&it)?.remaining).unwrap_or(u64::MAX);
    Ok(FuelLimit { fuel: options.fuel_per_delivery.min(left), by_meter: left < options.fuel_per_delivery })
}

/// Returns the fuel charged for undoing a delivery, besides the fuel that it might have used: by the pages that it
/// might have written; and if an incarnation was started, by what that may use.
pub(super) fn undoing_fee(tables: &Tables, vat: VatId, fuel_max: u64, started: bool) -> u64 {
    let memory = tables.tallies.get(&vat).map_or(0, |it| it.memory);
    let pages = (memory / PAGE_BYTES as u64).min(fuel_max / FUEL_OF_A_WRITE);
    let undone = price::UNDO.of(0, pages);
    if !started {
        return undone;
    }
    undone.saturating_add(price::START.of(0, 0)).saturating_add(limits::FUEL_INITIALIZE)
}

/// Returns the fuel charged for the end of an incarnation, by what the vat knows.
pub(super) fn disconnection_fee(tables: &Tables, vat: VatId) -> u64 {
    let clist = &tables.clist;
    let (looked_at, exports) =
        (clist.promises(vat).count(), clist.ephemeral(vat).filter(|(it, _)| *it != VRef::ROOT).count());
    let ended = decided_by(tables, vat).len() + exports;
    price::LOOK.of(0, looked_at as u64).saturating_add(price::DISCONNECT.of(0, ended as u64))
}

impl Ledger {
    /// Adds to the fuel that the open block used.
    fn add_fuel(&mut self, fuel: u64) {
        let used = self.block().fuel().saturating_add(fuel);
        self.block_mut().set_fuel(used);
    }

    /// Charges a delivery's fuel to the block, and to the vat's meter.
    pub(super) fn charge(&mut self, vat: VatId, fuel: u64) -> Result<(), Fault> {
        self.add_fuel(fuel);
        let Some(id) = self.tables().vats.get(&vat).and_then(|it| it.options.meter) else { return Ok(()) };
        let crossed = self.tables_mut().meters.update(&id, |it| {
            let Some(remaining) = &mut it.remaining else { return false };
            *remaining = remaining.saturating_sub(fuel);
            let crossed = *remaining < it.threshold && !it.notified;
            it.notified |= crossed;
            crossed
        });
        if crossed == Some(true) {
            for promise in self.take_waiting(Awaited::Meter(id)) {
                self.settle_queued(Some(promise), false, undefined())?;
            }
        }
        Ok(())
    }

    /// Charges fuel for what the kernel answers itself: to the vat that sent the message, or to the block alone if it
    /// came from outside.
    pub(super) fn charge_sender(&mut self, fuel: u64) -> Result<(), Fault> {
        match self.by() {
            Some(vat) => self.charge(vat, fuel),
            None => {
                self.add_fuel(fuel);
                Ok(())
            }
        }
    }
}
