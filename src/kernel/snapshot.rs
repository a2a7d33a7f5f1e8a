//! The taking of heap snapshots and the eviction of vats, between two cranks, so that neither can affect a hash.
//!
//! Invariants: a vat that is up can be brought up again for the fuel of [`FUEL_MAX`] and of one delivery, or for what
//! the pages that it wrote since its last snapshot are worth; a snapshot is taken only where deliveries have paid for
//! its work, which the worker knows. A delivery that came to nothing changes no heap, so that a snapshot after it is
//! as good as one before.

use std::hint;

use crate::{
    kernel::{
        Halt, Position, Ran, Worker, Workers,
        replay::{live_worker, next_delivery},
    },
    model::{
        blame::Fault,
        id::{DeliveryNum, VatId},
        limits,
    },
    state::{
        block::{Block, heap},
        snapshot::Manifest,
    },
};

/// The most fuel from one snapshot of a vat to the next, however few deliveries used it: a replay takes a tenth of a
/// second.
const FUEL_MAX: u64 = 100_000_000;

/// Fuel since its last snapshot from which on a vat that is evicted is snapshotted first: to replay a millisecond is
/// cheaper than to write pages.
const FUEL_BEFORE_EVICTION: u64 = 1_000_000;

/// Tends the snapshots after a crank: drops the one of a heap that the vat no longer has, takes one if it is due, and
/// evicts the vats beyond the limit.
pub(super) fn after(block: &mut Block, workers: &mut dyn Workers, ran: &Ran) -> Result<(), Box<Halt>> {
    let mut position = Position { crank: Some(ran.crank), ..Position::default() };
    (|| {
        if let Some((vat, number)) = ran.delivery {
            position.delivery = Some((vat, number, "snapshot"));
            keep(block, workers, vat)?;
        }
        while let Some(vat) = workers.surplus() {
            position.delivery = Some((vat, next_delivery(block, vat), "evict"));
            take_before_eviction(block, workers, vat)?;
            workers.stop(vat);
        }
        Ok(())
    })()
    .map_err(|fault| Box::new(Halt { fault, position, taken: None }))
}

fn keep(block: &mut Block, workers: &mut dyn Workers, vat: VatId) -> Result<(), Fault> {
    let Some(row) = block.tables().vats.get(&vat) else { return Ok(()) };
    let first = row.first_delivery;
    let mut newest = heap::position(block, vat);
    if newest.is_some_and(|it| it <= first) {
        heap::forget(block, vat);
        newest = None;
    }
    if !is_on(block) {
        return Ok(());
    }
    // Counted in the incarnation's deliveries: an eviction's snapshot in between does not move the others.
    let counted = interval(block, vat).is_some_and(|interval| {
        let since_first = |it: DeliveryNum| it.0.saturating_sub(first.0) / interval;
        since_first(next_delivery(block, vat)) > newest.map_or(0, since_first)
    });
    if counted || workers.unsaved_fuel(vat) >= FUEL_MAX {
        hint::cold_path();
        let affords = live_worker(block, workers, vat)?.is_some_and(Worker::can_afford_snapshot);
        if affords {
            take(block, workers, vat)?;
        }
    }
    Ok(())
}

fn take_before_eviction(block: &mut Block, workers: &mut dyn Workers, vat: VatId) -> Result<(), Fault> {
    if !is_on(block) {
        return Ok(());
    }
    let many = deliveries_since(block, vat) > limits::SNAPSHOT_BEFORE_EVICTION && interval(block, vat).is_some();
    let Some(worker) = live_worker(block, workers, vat)? else { return Ok(()) };
    if (many || worker.unsaved_fuel() >= FUEL_BEFORE_EVICTION) && worker.can_afford_snapshot() {
        take(block, workers, vat)?;
    }
    Ok(())
}

/// Takes a snapshot of a vat that is up, and alive.
pub(crate) fn take(block: &mut Block, workers: &mut dyn Workers, vat: VatId) -> Result<(), Fault> {
    let Some(bundle) = block.tables().vats.get(&vat).map(|it| it.bundle) else { return Ok(()) };
    if !block.tables().is_alive(vat) {
        return Ok(());
    }
    let Some(worker) = live_worker(block, workers, vat)? else { return Ok(()) };
    let base = heap::newest(block, vat)?;
    let Some(image) = worker.image(base.as_ref().map(|it| &it.heap))? else { return Ok(()) };
    let (position, runtime) = (next_delivery(block, vat), block.meta().runtime.clone());
    heap::put(block, Manifest { vat, position, runtime, bundle, heap: image.heap }, image.fresh)?;
    worker.saved();
    Ok(())
}

/// Returns whether this host takes any snapshots.
fn is_on(block: &Block) -> bool {
    heap::interval(block) != Some(0)
}

/// Deliveries from one snapshot to the next: what this host keeps to, or the vat's options. `None` where they are not
/// counted.
fn interval(block: &Block, vat: VatId) -> Option<u64> {
    let options = || block.tables().vats.get(&vat)?.options.snapshot_interval;
    heap::interval(block).map_or_else(options, Some).filter(|it| *it > 0)
}

/// Deliveries that a replay would make.
fn deliveries_since(block: &Block, vat: VatId) -> u64 {
    let first = block.tables().vats.get(&vat).map_or(DeliveryNum(0), |it| it.first_delivery);
    let from = heap::position(block, vat).map_or(first, |it| it.max(first));
    next_delivery(block, vat).0.saturating_sub(from.0)
}
