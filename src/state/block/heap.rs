//! The snapshots of a block's vats: heaps at rest, from which a vat is brought up without a replay of its whole past.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{
        blame::HostFault,
        id::{DeliveryNum, VatId},
    },
    slog::{Detail, Event},
    state::{block::Block, snapshot::Manifest},
    store::PageHash,
};

/// Returns the interval between snapshots that this host keeps to, whatever the vats' options say; 0 is never.
pub fn interval(block: &Block) -> Option<u64> {
    block.0.snapshot_interval
}

/// Overrides the interval of the vats' options. Replicas may differ in it.
pub fn set_interval(block: &mut Block, interval: Option<u64>) {
    block.0.snapshot_interval = interval;
}

/// Returns the position of a vat's newest snapshot: the number of the first delivery that is not in it.
pub fn position(block: &Block, vat: VatId) -> Option<DeliveryNum> {
    block.0.snapshots.position(vat)
}

/// Returns the newest snapshot of a vat, the open block included.
pub fn newest(block: &Block, vat: VatId) -> Result<Option<Manifest>, HostFault> {
    block.0.snapshots.manifest(&block.0.database, vat)
}

/// Reads a page of a vat's newest snapshot.
pub fn page(block: &Block, vat: VatId, hash: PageHash, into: &mut [u8]) -> Result<(), HostFault> {
    block.0.snapshots.page(&block.0.database, vat, hash, into)
}

/// Takes the place of the vat's newest snapshot, on which the `fresh` pages are based; to be stored with this
/// block.
pub(crate) fn put(
    block: &mut Block,
    manifest: Manifest,
    fresh: BTreeMap<PageHash, Arc<[u8]>>,
) -> Result<(), HostFault> {
    let (vat, snap_pos, bytes) = (manifest.vat, manifest.position, manifest.heap.bytes());
    let (hash, new_bytes) = block.0.snapshots.put(manifest, fresh)?;
    let event = || Event::HeapSnapshotSave { vat, snap_pos, hash: hash.to_string(), bytes, new_bytes };
    block.0.slog.record(Detail::Cranks, event);
    Ok(())
}

/// Forgets the snapshot of a vat that is dead, or another than it was.
pub(crate) fn forget(block: &mut Block, vat: VatId) {
    block.0.snapshots.forget(vat);
}
