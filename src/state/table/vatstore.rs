//! The keys and values of the vats.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{
        id::VatId,
        limits,
        value::{Bytes, StoreKey},
    },
    store::{Cut, Index, StoreSum, SumChange, Table},
};

/// The vatstores of all vats; the index keeps the size of each. Not all of it need be in memory: what a vat asks for is read through
/// `state::block::stored`, and only who has read all of it there may iterate here.
pub type Vatstore = Table<(VatId, StoreKey), Bytes, Sizes>;

/// A place before or behind a key of a vat.
type KeyPlace = Cut<(VatId, StoreKey)>;

/// Bytes of memory that a row takes besides its key and its value: its place in the map, and two allocations.
const ROW_BYTES: u64 = 144;

/// The sizes of the vatstores, and of what of them is in memory.
#[derive(Debug, Default)]
pub struct Sizes {
    by_vat: BTreeMap<VatId, StoreSum>,
    /// The sizes at the last commit.
    committed: BTreeMap<VatId, StoreSum>,
    /// The vats whose sizes may have changed since.
    changed: BTreeSet<VatId>,
    /// Bytes that the rows in memory take.
    in_memory: u64,
}

/// Returns the bytes that one key and its value count for.
fn size((_, key): &(VatId, StoreKey), value: &Bytes) -> u64 {
    limits::STORE_KEY_OVERHEAD + (key.len() + value.len()) as u64
}

/// Returns the bytes of memory that a row takes.
fn room((_, key): &(VatId, StoreKey), value: &Bytes) -> u64 {
    ROW_BYTES + (key.len() + value.len()) as u64
}

impl Index<(VatId, StoreKey), Bytes> for Sizes {
    fn changed(&mut self, key: &(VatId, StoreKey), old: Option<&Bytes>, new: Option<&Bytes>) {
        let [was, is] = [old, new].map(|it| it.map_or(0, |value| size(key, value)));
        if was == is {
            return;
        }
        let [left, came] = [old, new].map(|it| it.map_or(0, |value| room(key, value)));
        self.in_memory = self.in_memory + came - left;
        let sum = self.by_vat.entry(key.0).or_default();
        sum.keys = sum.keys + u64::from(new.is_some()) - u64::from(old.is_some());
        sum.bytes = sum.bytes + is - was;
        if sum.keys == 0 {
            self.by_vat.remove(&key.0);
        }
        self.changed.insert(key.0);
    }

    fn moved(&mut self, key: &(VatId, StoreKey), value: &Bytes, is_in_memory: bool) {
        match is_in_memory {
            true => self.in_memory += room(key, value),
            false => self.in_memory -= room(key, value),
        }
    }

    fn counted(&mut self, key: &(VatId, StoreKey), value: &Bytes) {
        self.changed(key, None, Some(value));
    }
}

impl Sizes {
    /// Returns the bytes of memory that the rows take which are there.
    pub(crate) fn in_memory(&self) -> u64 {
        self.in_memory
    }

    /// Returns the size of each vatstore that is not empty.
    pub(crate) fn sums(&self) -> &BTreeMap<VatId, StoreSum> {
        &self.by_vat
    }

    /// Begins with the sizes of a committed state, no row of which is in memory; or notes that the present ones are committed.
    pub(crate) fn commit(&mut self, stored: Option<BTreeMap<VatId, StoreSum>>) {
        if let Some(stored) = stored {
            self.by_vat = stored;
        }
        self.committed.clone_from(&self.by_vat);
        self.changed.clear();
    }

    /// Takes the sizes that the open block changed, each as it was and as it is; they count as committed then.
    pub(crate) fn take_changes(&mut self) -> Vec<SumChange> {
        let mut changes = Vec::new();
        for vat in std::mem::take(&mut self.changed) {
            let new = self.by_vat.get(&vat).copied();
            let old = match new {
                Some(new) => self.committed.insert(vat, new),
                None => self.committed.remove(&vat),
            };
            if old != new {
                changes.push(SumChange { vat, old, new });
            }
        }
        changes
    }
}

impl Vatstore {
    /// Returns the range of all keys of a vat.
    pub(crate) fn of(vat: VatId) -> (KeyPlace, KeyPlace) {
        let next = vat.0.checked_add(1).map_or(Cut::End, |next| Cut::before((VatId(next), StoreKey::default())));
        (Cut::before((vat, StoreKey::default())), next)
    }

    /// Returns the bytes that a vat's keys and values count for: see [`limits::STORE_MAX`].
    pub fn bytes(&self, vat: VatId) -> u64 {
        self.index().by_vat.get(&vat).map_or(0, |it| it.bytes)
    }

    /// Returns the number of a vat's keys.
    pub fn keys(&self, vat: VatId) -> u64 {
        self.index().by_vat.get(&vat).map_or(0, |it| it.keys)
    }

    /// Returns the number of keys of all vats.
    pub fn all_keys(&self) -> u64 {
        self.index().by_vat.values().map(|it| it.keys).sum()
    }
}
