//! Snapshots of vats' heaps: a vat is brought up from its newest one, and the transcript after it.
//!
//! Invariants:
//! * A snapshot is a short cut and nothing else. It stands outside of the kernel's tables, in no state hash and no digest; a
//!   replica may take others, or none, and one that does not fit is not used.
//! * The store holds at most one snapshot of a vat, the newest, and each page once, for as long as a snapshot names it.
//! * Those of the open block are in memory, and are written in the block's one transaction. Where another thread writes it, they stay at
//!   hand until the next commit: nobody waits for the file to have the newest one.
//!
//! ```text
//!   put ──▶ pending ──(commit)──▶ stored ──(the next commit of one, an upgrade, the end of the vat)──▶ gone
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        blame::HostFault,
        id::{BundleId, DeliveryNum, VatId},
    },
    store::{Database, Digest, Listed, PAGE_BYTES, PageHash, Transaction, codec},
};

/// The value of a mutable global, as bits: a float is not a number here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are WebAssembly's")]
pub enum GlobalValue {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
}

/// All that a vat is between two deliveries, by hash: the call-depth counter is always at its budget then, tables and
/// segments never change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Heap {
    /// The memory, page by page; `None` is a page of zeros.
    pub pages: Vec<Option<PageHash>>,
    /// The mutable globals, in the order of the module.
    pub globals: Vec<GlobalValue>,
}

impl Heap {
    /// Returns the size of the memory, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.pages.len() * PAGE_BYTES) as u64
    }

    /// Hashes the whole heap, to tell it from others.
    pub fn fingerprint(&self) -> Result<[u8; 32], HostFault> {
        let mut bytes = Vec::with_capacity(self.pages.len() * 32 + 256);
        self.pages.iter().for_each(|it| bytes.extend_from_slice(&it.map_or([0; 32], |it| it.0)));
        codec::encode(&self.globals, &mut bytes)?;
        Ok(*blake3::hash(&bytes).as_bytes())
    }

    pub(crate) fn hashes(&self) -> BTreeSet<PageHash> {
        self.pages.iter().copied().flatten().collect()
    }
}

/// A live heap, as it is taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// The vat's heap.
    pub heap: Heap,
    /// The bytes of its pages, except those that are at the same place in the heap that it is based on.
    pub fresh: BTreeMap<PageHash, Arc<[u8]>>,
}

impl Image {
    /// Bytes of the memory, of an image with all its pages; what lies outside of it is left out.
    pub fn slice(&self, at: u64, len: u64) -> Vec<u8> {
        let end = at.saturating_add(len).min(self.heap.bytes());
        let mut bytes = Vec::new();
        let mut next = at;
        while next < end {
            let (page, from) = (next / PAGE_BYTES as u64, next % PAGE_BYTES as u64);
            let count = (PAGE_BYTES as u64 - from).min(end - next);
            let index = usize::try_from(page).ok().and_then(|it| self.heap.pages.get(it)).copied().flatten();
            let stored = index.and_then(|hash| self.fresh.get(&hash));
            for it in from..from + count {
                let byte = usize::try_from(it).ok().and_then(|it| stored?.get(it)).copied();
                bytes.push(byte.unwrap_or(0));
            }
            next += count;
        }
        bytes
    }
}

/// A snapshot without its pages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The vat of the snapshot.
    pub vat: VatId,
    /// The number after that of the last delivery in it.
    pub position: DeliveryNum,
    /// The runtime that it ran on.
    pub runtime: String,
    /// The bundle that it ran.
    pub bundle: BundleId,
    /// The vat's heap at the position.
    pub heap: Heap,
}

impl Manifest {
    /// Encodes the manifest as it is stored.
    pub fn encode(&self) -> Result<Vec<u8>, HostFault> {
        let mut bytes = Vec::new();
        codec::encode(self, &mut bytes)?;
        Ok(bytes)
    }

    /// Decodes a manifest from its stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, HostFault> {
        codec::decode(bytes)
    }
}

/// Reads a page into bytes of its size.
pub type ReadPage<'a> = dyn Fn(PageHash, &mut [u8]) -> Result<(), HostFault> + 'a;

/// A snapshot from which an instance starts, instead of anew.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    /// The heap to have.
    pub heap: &'a Heap,
    /// Reads a page of it.
    pub read: &'a ReadPage<'a>,
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("heap", &self.heap).finish_non_exhaustive()
    }
}

/// A snapshot of the open block, with the bytes of all pages that the vat's stored one does not have.
#[derive(Clone, Debug)]
struct Pending {
    manifest: Manifest,
    encoded: Vec<u8>,
    pages: BTreeMap<PageHash, Arc<[u8]>>,
}

/// The newest snapshots of all vats. Cheap to clone: what was taken is shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    /// The position of each snapshot, pending or stored.
    positions: BTreeMap<VatId, DeliveryNum>,
    pending: BTreeMap<VatId, Arc<Pending>>,
    /// Those of the last block, if it was handed over to be written: it may not be in the file yet.
    at_hand: BTreeMap<VatId, Arc<Pending>>,
    forgotten: BTreeSet<VatId>,
}

/// The snapshots that a block took, and the vats whose snapshots it forgot: to be written.
#[derive(Debug, Default)]
pub(crate) struct SnapshotChanges {
    pending: BTreeMap<VatId, Arc<Pending>>,
    forgotten: BTreeSet<VatId>,
}

impl Snapshots {
    /// Returns the positions of the snapshots that are stored.
    pub(crate) fn stored(listed: &[Listed]) -> Snapshots {
        Snapshots { positions: listed.iter().map(|it| (it.vat, it.position)).collect(), ..Snapshots::default() }
    }

    pub(crate) fn position(&self, vat: VatId) -> Option<DeliveryNum> {
        self.positions.get(&vat).copied()
    }

    pub(crate) fn manifest(&self, database: &Database, vat: VatId) -> Result<Option<Manifest>, HostFault> {
        if let Some(near) = self.pending.get(&vat).or_else(|| self.at_hand.get(&vat)) {
            return Ok(Some(near.manifest.clone()));
        }
        let Some(position) = self.position(vat) else { return Ok(None) };
        let what = format!("read the snapshot of {vat}");
        let bytes = database.snapshot(vat)?.ok_or_else(|| HostFault::damage(&what, "it is gone"))?;
        let manifest = Manifest::decode(&bytes).map_err(|err| err.within(&what))?;
        if (manifest.vat, manifest.position) != (vat, position) {
            let why = format!("it is that of {} at {}", manifest.vat, manifest.position);
            return Err(HostFault::damage(&what, why));
        }
        Ok(Some(manifest))
    }

    /// Reads a page of a vat's newest snapshot.
    pub(crate) fn page(
        &self,
        database: &Database,
        vat: VatId,
        hash: PageHash,
        into: &mut [u8],
    ) -> Result<(), HostFault> {
        let near = [&self.pending, &self.at_hand];
        match near.into_iter().find_map(|it| it.get(&vat)?.pages.get(&hash)) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                Ok(())
            }
            None => database.page(hash, into),
        }
    }

    /// Takes the place of the vat's snapshot, on which `fresh` is based. Returns the new one's hash, and the bytes of
    /// its new pages.
    pub(crate) fn put(
        &mut self,
        manifest: Manifest,
        fresh: BTreeMap<PageHash, Arc<[u8]>>,
    ) -> Result<(blake3::Hash, usize), HostFault> {
        let (vat, bytes) = (manifest.vat, fresh.len() * PAGE_BYTES);
        let encoded = manifest.encode()?;
        let hash = blake3::hash(&encoded);
        let mut pages = self.pending.remove(&vat).map(|it| it.pages.clone()).unwrap_or_default();
        pages.extend(fresh);
        let named = manifest.heap.hashes();
        pages.retain(|hash, _| named.contains(hash));
        self.positions.insert(vat, manifest.position);
        self.pending.insert(vat, Arc::new(Pending { manifest, encoded, pages }));
        Ok((hash, bytes))
    }

    pub(crate) fn forget(&mut self, vat: VatId) {
        self.pending.remove(&vat);
        self.at_hand.remove(&vat);
        if self.positions.remove(&vat).is_some() {
            self.forgotten.insert(vat);
        }
    }

    /// Takes what changed in the block.
    pub(crate) fn take_changes(&mut self) -> SnapshotChanges {
        self.at_hand.clear();
        let (pending, forgotten) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.forgotten));
        SnapshotChanges { pending, forgotten }
    }

    /// Keeps snapshots at hand that were taken out, and are not written yet.
    pub(crate) fn keep_at_hand(&mut self, changes: &SnapshotChanges) {
        self.at_hand.clone_from(&changes.pending);
    }
}

impl SnapshotChanges {
    /// Writes the changes, and moves the digest of all snapshots along.
    pub(crate) fn write(&self, transaction: &Transaction<'_>, digest: &mut Digest) -> Result<(), HostFault> {
        for vat in &self.forgotten {
            let Some((old, pages)) = stored(transaction, *vat)? else { continue };
            pages.iter().try_for_each(|it| transaction.release_page(*it))?;
            transaction.delete_snapshot(&old, digest)?;
        }
        for (vat, pending) in &self.pending {
            let (old, old_pages) = stored(transaction, *vat)?.unzip();
            let (old_pages, new_pages) = (old_pages.unwrap_or_default(), pending.manifest.heap.hashes());
            for hash in new_pages.difference(&old_pages) {
                transaction.hold_page(*hash, pending.pages.get(hash).map(|it| &**it))?;
            }
            for hash in old_pages.difference(&new_pages) {
                transaction.release_page(*hash)?;
            }
            let place = (*vat, pending.manifest.position);
            transaction.put_snapshot(place, &pending.encoded, old.as_ref(), digest)?;
        }
        Ok(())
    }
}

/// A vat's stored snapshot, and the pages that it names.
fn stored(transaction: &Transaction<'_>, vat: VatId) -> Result<Option<(Listed, BTreeSet<PageHash>)>, HostFault> {
    let Some((listed, manifest)) = transaction.snapshot(vat)? else { return Ok(None) };
    Ok(Some((listed, Manifest::decode(&manifest)?.heap.hashes())))
}
