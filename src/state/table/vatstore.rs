//! The keys and values of the vats.

use std::collections::BTreeMap;

use crate::{
    model::{
        id::VatId,
        limits,
        value::{Bytes, StoreKey},
    },
    store::{Index, Table},
};

/// The vatstores of all vats; the index keeps the size of each.
pub type Vatstore = Table<(VatId, StoreKey), Bytes, Sizes>;

/// The bytes that each vat's keys and values count for.
#[derive(Debug, Default)]
pub struct Sizes(BTreeMap<VatId, u64>);

/// Returns the bytes that one key and its value count for.
fn size((_, key): &(VatId, StoreKey), value: &Bytes) -> u64 {
    limits::STORE_KEY_OVERHEAD + (key.len() + value.len()) as u64
}

impl Index<(VatId, StoreKey), Bytes> for Sizes {
    fn changed(&mut self, key: &(VatId, StoreKey), old: Option<&Bytes>, new: Option<&Bytes>) {
        let [old, new] = [old, new].map(|it| it.map_or(0, |value| size(key, value)));
        let bytes = self.0.entry(key.0).or_default();
        *bytes = *bytes - old + new;
        if *bytes == 0 {
            self.0.remove(&key.0);
        }
    }
}

impl Vatstore {
    /// Returns the bytes that a vat's keys and values count for: see [`limits::STORE_MAX`].
    pub fn bytes(&self, vat: VatId) -> u64 {
        self.index().0.get(&vat).copied().unwrap_or(0)
    }
}
