//! The c-lists: for each vat a bijection between its references and the kernel's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    model::id::{KRef, VRef, VatId},
    store::{Index, Table},
};

/// One entry of one vat's c-list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CListEntry {
    /// The kernel's name of what the vat knows under the row's key.
    pub kref: KRef,
    /// Set if the vat reaches it (imports), or is reached through it (exports). Always true for promises.
    pub reachable: bool,
}

/// The c-lists of all vats, by the vat's reference; the index finds an entry by the kernel's.
pub type CList = Table<(VatId, VRef), CListEntry, ByKRef>;

/// The other direction of the bijections. It also finds everybody who knows an object.
#[derive(Debug, Default)]
pub struct ByKRef {
    names: BTreeMap<(KRef, VatId), VRef>,
    /// Number of references of its own that each vat has.
    own: BTreeMap<VatId, u64>,
}

impl ByKRef {
    fn count(&mut self, vat: VatId, vref: VRef, more: bool) {
        if !vref.is_own() {
            return;
        }
        let count = self.own.entry(vat).or_default();
        if more {
            *count += 1;
            return;
        }
        *count -= 1;
        if *count == 0 {
            self.own.remove(&vat);
        }
    }
}

impl Index<(VatId, VRef), CListEntry> for ByKRef {
    fn changed(&mut self, (vat, vref): &(VatId, VRef), old: Option<&CListEntry>, new: Option<&CListEntry>) {
        match (old, new) {
            (Some(old), Some(new)) if old.kref == new.kref => (),
            _ => {
                if let Some(old) = old {
                    self.names.remove(&(old.kref, *vat));
                    self.count(*vat, *vref, false);
                }
                if let Some(new) = new {
                    self.names.insert((new.kref, *vat), *vref);
                    self.count(*vat, *vref, true);
                }
            }
        }
    }
}

impl CList {
    /// Returns the vat's name for a kernel reference, if it is in the vat's c-list.
    pub fn vref(&self, vat: VatId, kref: KRef) -> Option<VRef> {
        self.index().names.get(&(kref, vat)).copied()
    }

    /// Counts the references of the vat's own: exports, and promises that it made.
    pub fn own(&self, vat: VatId) -> u64 {
        self.index().own.get(&vat).copied().unwrap_or(0)
    }

    /// Iterates over the vats that know a kernel reference, each with its name for it, in order of vats.
    pub fn holders(&self, kref: KRef) -> impl Iterator<Item = (VatId, VRef)> {
        self.index().names.range((kref, VatId(0))..=(kref, VatId(u64::MAX))).map(|((_, vat), vref)| (*vat, *vref))
    }

    /// Iterates over the c-list entries of one vat.
    pub fn of(&self, vat: VatId) -> impl Iterator<Item = (VRef, CListEntry)> {
        let first = VRef::imported_object(0);
        self.range((vat, first)..).take_while(move |((it, _), _)| *it == vat).map(|((_, vref), entry)| (*vref, *entry))
    }

    /// Iterates over the promises in a vat's c-list.
    pub fn promises(&self, vat: VatId) -> impl Iterator<Item = (VRef, CListEntry)> {
        let rows = self.range((vat, VRef::imported_promise(0))..(vat, VRef::device(0)));
        rows.map(|((_, vref), entry)| (*vref, *entry))
    }

    /// Iterates over the exports of a vat that end with its incarnation, the root among them.
    pub fn ephemeral(&self, vat: VatId) -> impl Iterator<Item = (VRef, CListEntry)> {
        let rows = self.range((vat, VRef::ROOT)..(vat, VRef::FIRST_DURABLE));
        rows.map(|((_, vref), entry)| (*vref, *entry))
    }

    /// Counts the entries of the index: as many as the table has, if both are bijections.
    pub fn index_len(&self) -> usize {
        self.index().names.len()
    }
}
