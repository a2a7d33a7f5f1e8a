//! The ways to keep a table's rows in memory, by what their keys are like.
//!
//! | arrangement | keys | what it is for |
//! | --- | --- | --- |
//! | [`Sorted`] | any | most tables |
//! | [`InRuns`] | a part and a number, as `(queue, place)` | rows that come at one end of a run of numbers, and go at the other |
//!
//! Invariant: they differ in speed alone. Each keeps its rows in the order of the keys.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    ops::{Bound, RangeBounds},
};

/// A way to keep rows with such keys.
pub trait Arrangement<K> {
    /// The map that keeps them.
    type Map<V>: RowMap<K, V>;
}

/// The rows in one sorted map, whatever their keys are.
#[derive(Debug)]
pub struct Sorted;

/// The rows of each part in a ring, in the order of their numbers.
#[derive(Debug)]
pub struct InRuns;

impl<K: Ord> Arrangement<K> for Sorted {
    type Map<V> = BTreeMap<K, V>;
}

impl<A: Ord + Clone> Arrangement<(A, i64)> for InRuns {
    type Map<V> = Runs<A, V>;
}

/// An ordered map, as far as a table needs one.
pub trait RowMap<K, V>: Default {
    /// Returns the value of this key.
    fn find(&self, key: &K) -> Option<&V>;

    /// Returns the value of this key, to change it.
    fn find_mut(&mut self, key: &K) -> Option<&mut V>;

    /// Sets the value of a key. Returns the value before, if there was one, and the value that is there now.
    fn put(&mut self, key: K, value: V) -> (Option<V>, &V);

    /// Takes a value out.
    fn take(&mut self, key: &K) -> Option<V>;

    /// Returns the number of values.
    fn count(&self) -> usize;

    /// Returns the entry of the least key.
    fn least(&self) -> Option<(&K, &V)>;

    /// Returns the entry of the greatest key.
    fn greatest(&self) -> Option<(&K, &V)>;

    /// Iterates over the entries of a range, in key order; the range is not the wrong way round.
    fn within<'a>(&'a self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a;
}

impl<K: Ord, V> RowMap<K, V> for BTreeMap<K, V> {
    fn find(&self, key: &K) -> Option<&V> {
        self.get(key)
    }

    fn find_mut(&mut self, key: &K) -> Option<&mut V> {
        self.get_mut(key)
    }

    fn put(&mut self, key: K, value: V) -> (Option<V>, &V) {
        match self.entry(key) {
            Entry::Vacant(place) => (None, place.insert(value)),
            Entry::Occupied(mut place) => (Some(place.insert(value)), place.into_mut()),
        }
    }

    fn take(&mut self, key: &K) -> Option<V> {
        self.remove(key)
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn least(&self) -> Option<(&K, &V)> {
        self.first_key_value()
    }

    fn greatest(&self) -> Option<(&K, &V)> {
        self.last_key_value()
    }

    fn within<'a>(&'a self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        self.range(range)
    }
}

/// Rings of rooms that ran empty, kept to be used again.
const SPARE_MAX: usize = 16;

/// An entry of a run: its key, and its value.
type Item<A, V> = ((A, i64), V);

/// Entries by part; those of one part stand in a ring, in the order of their numbers. See [`InRuns`].
///
/// To find one costs nothing but a subtraction where the numbers have no gap before it; what comes or goes elsewhere than at an end
/// moves the entries behind it.
#[derive(Debug)]
pub struct Runs<A, V> {
    /// None of them is empty.
    runs: BTreeMap<A, VecDeque<Item<A, V>>>,
    count: usize,
    spare: Vec<VecDeque<Item<A, V>>>,
}

impl<A, V> Default for Runs<A, V> {
    fn default() -> Runs<A, V> {
        Runs { runs: BTreeMap::new(), count: 0, spare: Vec::new() }
    }
}

/// Returns the place of a number in a run, or the place that it would have.
fn place<A, V>(run: &VecDeque<Item<A, V>>, number: i64) -> Result<usize, usize> {
    let at = |index: usize| run.get(index).map(|it| it.0.1);
    let guess = at(0).and_then(|first| usize::try_from(number.checked_sub(first)?).ok());
    match guess {
        Some(guess) if at(guess) == Some(number) => Ok(guess),
        // Behind the last one.
        Some(_) if run.back().is_some_and(|last| last.0.1 < number) => Err(run.len()),
        // Before the first one, or none.
        None => run.binary_search_by_key(&number, |it| it.0.1),
        Some(_) => run.binary_search_by_key(&number, |it| it.0.1),
    }
}

fn entry<A, V>((key, value): &Item<A, V>) -> (&(A, i64), &V) {
    (key, value)
}

impl<A: Ord + Clone, V> RowMap<(A, i64), V> for Runs<A, V> {
    fn find(&self, (part, number): &(A, i64)) -> Option<&V> {
        let run = self.runs.get(part)?;
        run.get(place(run, *number).ok()?).map(|it| &it.1)
    }

    fn find_mut(&mut self, (part, number): &(A, i64)) -> Option<&mut V> {
        let run = self.runs.get_mut(part)?;
        let at = place(run, *number).ok()?;
        run.get_mut(at).map(|it| &mut it.1)
    }

    fn put(&mut self, key: (A, i64), value: V) -> (Option<V>, &V) {
        let spare = &mut self.spare;
        let run = match self.runs.entry(key.0.clone()) {
            Entry::Vacant(vacant) => vacant.insert(spare.pop().unwrap_or_default()),
            Entry::Occupied(there) => there.into_mut(),
        };
        let (at, old) = match place(run, key.1) {
            Ok(at) => (at, Some(std::mem::replace(&mut run[at].1, value))),
            Err(at) => {
                run.insert(at, (key, value));
                self.count += 1;
                (at, None)
            }
        };
        (old, &run[at].1)
    }

    fn take(&mut self, (part, number): &(A, i64)) -> Option<V> {
        let Entry::Occupied(mut run) = self.runs.entry(part.clone()) else { return None };
        let at = place(run.get(), *number).ok()?;
        let (_, value) = run.get_mut().remove(at)?;
        self.count -= 1;
        if run.get().is_empty() {
            let room = run.remove();
            if self.spare.len() < SPARE_MAX {
                self.spare.push(room);
            }
        }
        Some(value)
    }

    fn count(&self) -> usize {
        self.count
    }

    fn least(&self) -> Option<(&(A, i64), &V)> {
        self.runs.first_key_value()?.1.front().map(entry)
    }

    fn greatest(&self) -> Option<(&(A, i64), &V)> {
        self.runs.last_key_value()?.1.back().map(entry)
    }

    fn within<'a>(&'a self, range: impl RangeBounds<(A, i64)>) -> impl DoubleEndedIterator<Item = (&'a (A, i64), &'a V)>
    where
        A: 'a,
        V: 'a,
    {
        let (from, to) = (range.start_bound().cloned(), range.end_bound().cloned());
        let part = |bound: &Bound<(A, i64)>| match bound {
            Bound::Included((part, _)) | Bound::Excluded((part, _)) => Bound::Included(part.clone()),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.runs.range((part(&from), part(&to))).flat_map(move |(part, run)| {
            // The place of the first entry that is not before a bound, or with `past` not at it either.
            let cut = |bound: &Bound<(A, i64)>, past: bool, otherwise: usize| match bound {
                Bound::Included((of, number)) | Bound::Excluded((of, number)) if of == part => {
                    match place(run, *number) {
                        Ok(at) => at + usize::from(matches!(bound, Bound::Included(_)) == past),
                        Err(at) => at,
                    }
                }
                _ => otherwise,
            };
            let (begin, end) = (cut(&from, false, 0), cut(&to, true, run.len()));
            run.range(begin..end.max(begin)).map(entry)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![8 => -4..12_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
    }

    fn bound() -> impl Strategy<Value = Bound<(u8, i64)>> {
        let key = || (0..4_u8, number());
        prop_oneof![key().prop_map(Bound::Included), key().prop_map(Bound::Excluded), Just(Bound::Unbounded)]
    }

    type Ends = (Bound<(u8, i64)>, Bound<(u8, i64)>);

    fn is_forward((from, to): &Ends) -> bool {
        match (from, to) {
            (Bound::Included(a), Bound::Included(b)) => a <= b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a < b,
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn runs_are_a_sorted_map(
            moves in prop::collection::vec(((0..4_u8, number()), prop::option::weighted(0.6, 0..100_u32)), 0..60),
            range in (bound(), bound()).prop_filter("forward", is_forward),
        ) {
            let (mut runs, mut plain) = (Runs::default(), BTreeMap::new());
            for (key, value) in moves {
                match value {
                    Some(value) => {
                        let (old, new) = runs.put(key, value);
                        prop_assert_eq!((old, *new), (plain.insert(key, value), value));
                    }
                    None => prop_assert_eq!(runs.take(&key), plain.remove(&key)),
                }
                prop_assert_eq!(runs.find(&key), plain.get(&key));
                prop_assert_eq!(runs.find_mut(&key), plain.get_mut(&key));
                prop_assert_eq!((runs.count(), runs.least(), runs.greatest()), (plain.len(), plain.first_key_value(), plain.last_key_value()));
            }
            let forth: Vec<_> = runs.within(range).collect();
            prop_assert_eq!(&forth, &plain.range(range).collect::<Vec<_>>());
            let mut back: Vec<_> = runs.within(range).rev().collect();
            back.reverse();
            prop_assert_eq!(forth, back);
        }
    }
}
