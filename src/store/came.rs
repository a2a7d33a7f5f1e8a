//! Rows that came from the file while their table was borrowed: they wait here until it is changed the next time, and go among the others
//! then.
//!
//! Invariant: a row stays at its place in memory for as long as the table is borrowed.

use std::{
    collections::BTreeMap,
    ops::{Bound, RangeBounds},
};

use elsa::sync::FrozenVec;
use parking_lot::Mutex;

use crate::store::table::Slot;

/// The rows that wait.
pub(super) struct Came<K, V> {
    rows: FrozenVec<Box<(K, Slot<V>)>>,
    /// The place of each among them.
    places: Mutex<BTreeMap<K, usize>>,
}

impl<K, V> Default for Came<K, V> {
    fn default() -> Came<K, V> {
        Came { rows: FrozenVec::new(), places: Mutex::default() }
    }
}

impl<K: Ord + Clone, V> Came<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn get(&self, key: &K) -> Option<&Slot<V>> {
        if self.is_empty() {
            return None;
        }
        let place = self.places.lock().get(key).copied()?;
        self.rows.get(place).map(|it| &it.1)
    }

    /// Adds a row that is not among them.
    pub(super) fn put(&self, key: K, row: Slot<V>) -> &(K, Slot<V>) {
        self.places.lock().insert(key.clone(), self.rows.len());
        self.rows.push_get(Box::new((key, row)))
    }

    /// Returns the rows of a range, in key order; the range is not the wrong way round.
    pub(super) fn within(&self, range: (Bound<&K>, Bound<&K>)) -> Vec<(&K, &Slot<V>)> {
        let places: Vec<usize> =
            self.places.lock().range::<K, _>((range.start_bound(), range.end_bound())).map(|(_, at)| *at).collect();
        places.into_iter().filter_map(|at| self.rows.get(at)).map(|it| (&it.0, &it.1)).collect()
    }

    /// Takes all of the rows out, in the order in which they came.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (K, Slot<V>)> + use<K, V> {
        self.places.get_mut().clear();
        std::mem::take(&mut self.rows).into_vec().into_iter().map(|it| *it)
    }
}
