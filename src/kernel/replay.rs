//! A vat's heap is a function of its bundle and its transcript: it is brought back by replaying, from its newest
//! snapshot on, each delivery on the engine version on which it was made. From one version to the next the heap is carried
//! over.

use crate::{
    kernel::{
        Usage, Worker, Workers,
        probe::probe_of,
        syscall::{Syscalls, anachronism},
    },
    model::{
        blame::{Fault, HostFault, KernelPanic},
        engine_version,
        id::{DeliveryNum, VatId},
    },
    slog::{Detail, Event},
    state::{
        block::{Block, heap},
        snapshot::{Manifest, Snapshot},
        table::Vat,
        transcript::{End, Entry},
    },
};

/// Makes sure that the vat has a worker, with the heap that it had after its last delivery. A `VatFault` can come only
/// of a vat that never ran.
pub fn bring_up(block: &mut Block, workers: &mut dyn Workers, vat: VatId) -> Result<(), Fault> {
    workers.set_engine_version(block.tables().engine_version());
    if workers.is_up(vat) {
        return Ok(());
    }
    let next = next_delivery(block, vat);
    match workers.speculator().is_some_and(|it| it.is_lost(vat)) {
        true => make_anew(block, workers, vat, next),
        false => bring_up_to(block, workers, vat, next),
    }
}

/// Makes the heap anew that was lost when a speculation was taken back. The recorder is not told: nothing was evicted.
fn make_anew(block: &mut Block, workers: &mut dyn Workers, vat: VatId, next: DeliveryNum) -> Result<(), Fault> {
    let slog = std::mem::take(block.slog());
    let made = bring_up_to(block, workers, vat, next);
    *block.slog() = slog;
    if let Some(speculator) = workers.speculator() {
        speculator.restored(vat);
    }
    made
}

/// Returns the worker of a vat that is up, with the heap that it had after its last delivery.
pub(super) fn live_worker<'w>(
    block: &mut Block,
    workers: &'w mut dyn Workers,
    vat: VatId,
) -> Result<Option<&'w mut dyn Worker>, Fault> {
    if workers.speculator().is_some_and(|it| it.holds(vat)) {
        bring_up(block, workers, vat)?;
    }
    Ok(workers.worker(vat))
}

/// Returns the number of the next delivery to a vat.
pub(super) fn next_delivery(block: &Block, vat: VatId) -> DeliveryNum {
    DeliveryNum(block.tables().tallies.get(&vat).map_or(0, |it| it.deliveries))
}

/// Starts the vat with the heap that it had just before this delivery: one of its present incarnation, or the next.
pub fn bring_up_to(block: &mut Block, workers: &mut dyn Workers, vat: VatId, next: DeliveryNum) -> Result<(), Fault> {
    if block.tables().is_session(vat) {
        return Err(HostFault::new(format_args!("bring {vat} up"), "it is a session, which has no heap").into());
    }
    let row = block.tables().vats.get(&vat).ok_or_else(|| KernelPanic::new("vat.known", vat))?.clone();
    if let Some(manifest) = usable(block, vat, &row, next)? {
        workers.set_engine_version(block.tables().engine_version_of(vat, manifest.position));
        load(block, workers, &row, &manifest)?;
        return replay(block, workers, (vat, &row), manifest.position, next);
    }
    bring_up_from_start(block, workers, (vat, &row), next)
}

/// Starts the vat anew, and gives it the deliveries of its incarnation before this one.
pub(super) fn bring_up_from_start(
    block: &mut Block,
    workers: &mut dyn Workers,
    (vat, row): (VatId, &Vat),
    next: DeliveryNum,
) -> Result<(), Fault> {
    let first = row.first_delivery;
    // One that never started well is as new.
    let is_new = next == first || !has_run(block, vat, first)?;
    workers.set_engine_version(block.tables().engine_version_of(vat, if is_new { next } else { first }));
    let started = workers.start(vat, row, None, &|| block.bundle(row.bundle));
    if is_new {
        return started;
    }
    started.map_err(|fault| not_again(vat, first, fault))?;
    replay(block, workers, (vat, row), first, next)
}

/// Has a vat's worker run on another engine version, with the heap that it has.
pub fn carry_over(
    workers: &mut dyn Workers,
    (vat, row): (VatId, &Vat),
    version: u32,
    bundle: &dyn Fn() -> Result<Vec<u8>, HostFault>,
) -> Result<(), Fault> {
    let worker = workers.worker(vat).ok_or_else(|| KernelPanic::new("worker.brought-up", vat))?;
    let image = worker.image(None)?;
    workers.set_engine_version(version);
    // One without a heap runs on any version.
    let Some(image) = image else { return Ok(()) };
    let read = |hash, into: &mut [u8]| match image.fresh.get(&hash) {
        Some(bytes) => {
            into.copy_from_slice(bytes);
            Ok(())
        }
        None => Err(HostFault::new(format_args!("carry {vat} over"), format_args!("page {hash} is gone"))),
    };
    workers.start(vat, row, Some(Snapshot { heap: &image.heap, read: &read }), bundle)
}

/// Returns whether any delivery from this one on went well.
fn has_run(block: &Block, vat: VatId, first: DeliveryNum) -> Result<bool, HostFault> {
    for entry in block.transcript(vat, first)? {
        if matches!(entry?.end, End::Done { .. }) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The newest snapshot, if it is of this incarnation and this bundle. Any other is not wrong, but of no use. A heap is
/// the same on every runtime and engine version.
pub(super) fn usable(block: &Block, vat: VatId, row: &Vat, next: DeliveryNum) -> Result<Option<Manifest>, Fault> {
    let fits = |it: &Manifest| it.position > row.first_delivery && it.position <= next && it.bundle == row.bundle;
    Ok(heap::newest(block, vat)?.filter(fits))
}

/// Starts a vat with the heap of its snapshot.
fn load(block: &mut Block, workers: &mut dyn Workers, row: &Vat, manifest: &Manifest) -> Result<(), Fault> {
    let (vat, snap_pos) = (manifest.vat, manifest.position);
    let read = |hash, into: &mut [u8]| heap::page(block, vat, hash, into);
    let snapshot = Snapshot { heap: &manifest.heap, read: &read };
    let started = workers.start(vat, row, Some(snapshot), &|| block.bundle(row.bundle));
    started.map_err(|fault| not_again(vat, snap_pos, fault))?;
    if block.slog().wants(Detail::Cranks) {
        let (hash, bytes) = (blake3::hash(&manifest.encode()?).to_string(), manifest.heap.bytes());
        block.slog().record(Detail::Cranks, || Event::HeapSnapshotLoad { vat, snap_pos, hash, bytes });
    }
    Ok(())
}

/// Makes the deliveries from `from` up to `next` again.
pub(super) fn replay(
    block: &mut Block,
    workers: &mut dyn Workers,
    (vat, row): (VatId, &Vat),
    from: DeliveryNum,
    next: DeliveryNum,
) -> Result<(), Fault> {
    let deliveries = next.0 - from.0;
    block.slog().record(Detail::Cranks, || Event::StartReplay { vat, deliveries });
    let entries = if deliveries > 0 { Some(block.transcript(vat, from)?) } else { None };
    let mut version = block.tables().engine_version_of(vat, from);
    for entry in entries.into_iter().flatten() {
        let entry = entry?;
        if entry.number >= next {
            break;
        }
        repeat(block, workers, (vat, row), entry, &mut version)?;
    }
    reach(block, workers, (vat, row), next, &mut version)?;
    block.slog().record(Detail::Cranks, || Event::FinishReplay { vat, deliveries });
    if let Some(probe) = probe_of(block).cloned() {
        probe.brought_up(block, vat, deliveries);
    }
    Ok(())
}

/// Has a vat's worker run on the engine version of this delivery; `version` is that on which it runs.
fn reach(
    block: &Block,
    workers: &mut dyn Workers,
    (vat, row): (VatId, &Vat),
    delivery: DeliveryNum,
    version: &mut u32,
) -> Result<(), Fault> {
    let wanted = block.tables().engine_version_of(vat, delivery);
    if wanted != *version {
        carry_over(workers, (vat, row), wanted, &|| block.bundle(row.bundle))?;
        *version = wanted;
    }
    Ok(())
}

/// Makes a delivery again that once went well, on the engine version on which it was made, and checks that it comes to the same.
/// `version` is that on which the vat's worker runs. An attempt that came to nothing is passed over.
pub fn repeat(
    block: &Block,
    workers: &mut dyn Workers,
    (vat, row): (VatId, &Vat),
    entry: Entry,
    version: &mut u32,
) -> Result<Usage, Fault> {
    let (End::Done { fuel }, number) = (entry.end.clone(), entry.number) else { return Ok(Usage::default()) };
    reach(block, workers, (vat, row), number, version)?;
    let worker = workers.worker(vat).ok_or_else(|| KernelPanic::new("worker.brought-up", vat))?;
    let usage = redeliver(worker, vat, entry)?;
    check_fuel((vat, number), *version, fuel, usage.fuel)?;
    Ok(usage)
}

/// Gives a worker a delivery that once went well. Its syscalls must be those of the record, which answers them; what
/// it used is for the caller to compare. An attempt that came to nothing is passed over.
pub fn redeliver(worker: &mut dyn Worker, vat: VatId, mut entry: Entry) -> Result<Usage, Fault> {
    let (End::Done { .. }, Some(delivery)) = (&entry.end, entry.delivery.take()) else { return Ok(Usage::default()) };
    let number = entry.number;
    let (syscalls, result) = worker.deliver(&delivery, FUEL_MAX, Syscalls::replay(vat, entry));
    // What is nobody's deed says nothing about the syscalls that are still to come.
    if let Err(fault @ (Fault::Host(_) | Fault::Interrupted(_))) = result {
        return Err(fault);
    }
    syscalls.end_replay()?;
    result.map_err(|fault| not_again(vat, number, fault))
}

/// Checks that a delivery which was made again on its engine version used the recorded fuel.
pub fn check_fuel((vat, number): (VatId, DeliveryNum), version: u32, recorded: u64, used: u64) -> Result<(), Fault> {
    let was_overdrawn = engine_version::overdraws(version) && used > recorded;
    if used == recorded || was_overdrawn { Ok(()) } else { Err(anachronism(vat, number, "fuel", recorded, used)) }
}

/// A replay needs no limit: it ends where the delivery did.
const FUEL_MAX: u64 = u64::MAX >> 1;

/// Turns a vat's fault in a replay into an anachronism, since the recorded delivery succeeded; other faults are
/// returned unchanged.
pub(crate) fn not_again(vat: VatId, number: DeliveryNum, fault: Fault) -> Fault {
    match fault {
        Fault::Vat(fault) => anachronism(vat, number, "outcome", "done", fault),
        other => other,
    }
}
