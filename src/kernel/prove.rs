//! The proof that a runtime does what was done on another: deliveries that a state records are made again, and compared.
//!
//! Invariants: nothing of the state changes; the first difference ends the proof, as an
//! [`Anachronism`](crate::model::blame::Anachronism) that names the vat and the delivery.

use crate::{
    kernel::{
        Workers,
        replay::{bring_up, bring_up_from_start, next_delivery, replay, usable},
        syscall::anachronism,
    },
    model::{
        blame::Fault,
        id::{DeliveryNum, VatId, hex},
    },
    state::{
        block::{Block, history},
        snapshot::{Heap, Manifest},
    },
    store::PAGE_BYTES,
};

/// The extent of a vat's proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VatProof {
    /// The deliveries that were made again, and came out the same.
    pub deliveries: u64,
    /// Whether the vat's snapshot was compared with the heap that its deliveries led to.
    pub snapshot: bool,
}

/// Proves a vat that is alive: by the deliveries since its snapshot, or with `all` by every one of its incarnation. In the second case the
/// heap is compared with the snapshot on the way. Deliveries that have left the transcript cannot be made again: then the
/// snapshot is where the proof begins.
pub fn prove(block: &mut Block, workers: &mut dyn Workers, vat: VatId, all: bool) -> Result<VatProof, Fault> {
    let Some(row) = block.tables().vats.get(&vat).cloned() else { return Ok(VatProof::default()) };
    let next = next_delivery(block, vat);
    workers.stop(vat);
    let snapshot = usable(block, vat, &row, next)?;
    let from = snapshot.as_ref().map_or(row.first_delivery, |it| it.position);
    let is_whole = history::begins_at(block, vat)? <= row.first_delivery;
    let Some(manifest) = snapshot.filter(|_| all && is_whole) else {
        bring_up(block, workers, vat)?;
        return Ok(VatProof { deliveries: next.0.saturating_sub(from.0), snapshot: false });
    };
    bring_up_from_start(block, workers, (vat, &row), manifest.position)?;
    compare(workers, &manifest)?;
    replay(block, workers, (vat, &row), manifest.position, next)?;
    Ok(VatProof { deliveries: next.0.saturating_sub(row.first_delivery.0), snapshot: true })
}

/// Compares a worker's heap with the snapshot that was taken at this place.
fn compare(workers: &mut dyn Workers, manifest: &Manifest) -> Result<(), Fault> {
    let Some(worker) = workers.worker(manifest.vat) else { return Ok(()) };
    let Some(image) = worker.image(None)? else { return Ok(()) };
    let (recorded, now) = (&manifest.heap, &image.heap);
    if recorded == now {
        return Ok(());
    }
    let last = DeliveryNum(manifest.position.0.saturating_sub(1));
    let place = difference(recorded, now);
    Err(anachronism(manifest.vat, last, format_args!("heap ({place})"), text(recorded), text(now)))
}

/// Names the first place in which two heaps differ.
fn difference(a: &Heap, b: &Heap) -> String {
    if a.pages.len() != b.pages.len() {
        return "its size".to_owned();
    }
    match a.pages.iter().zip(&b.pages).position(|(a, b)| a != b) {
        Some(page) => format!("the page at {:#x}", page * PAGE_BYTES),
        None => "its globals".to_owned(),
    }
}

fn text(heap: &Heap) -> String {
    let hash = heap.fingerprint().map(|it| hex(&it));
    format!("{} bytes, {}", heap.bytes(), hash.unwrap_or_default().get(..16).unwrap_or_default())
}
