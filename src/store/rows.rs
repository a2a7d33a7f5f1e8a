//! The ways to keep a table's rows in memory, by what their keys are like.
//!
//! | arrangement | keys | what it is for |
//! | --- | --- | --- |
//! | [`Sorted`] | any | most tables |
//! | [`InRuns`] | a part and a number, as `(queue, place)` | rows that come at one end of a run of numbers, and go at the other |
//! | [`Dense`] | numbers that are given out one after the other | rows that stay: those of vats, and the live vats themselves |
//! | [`Single`] | none | a table of one row, which each crank changes: the counters |
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

/// The rows in leaves that are found by dividing their numbers.
#[derive(Debug)]
pub struct Dense;

/// The one row of a table that has no more.
#[derive(Debug)]
pub struct Single;

/// A key that is a number.
pub trait Numbered: Copy + Ord {
    /// Returns the number.
    fn number(self) -> u64;
}

impl<K: Ord> Arrangement<K> for Sorted {
    type Map<V> = BTreeMap<K, V>;
}

impl<A: Ord + Clone> Arrangement<(A, i64)> for InRuns {
    type Map<V> = Runs<A, V>;
}

impl<K: Numbered> Arrangement<K> for Dense {
    type Map<V> = Leaves<K, V>;
}

impl Arrangement<()> for Single {
    type Map<V> = One<V>;
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

/// An entry that is there or not. See [`Single`].
#[derive(Debug)]
pub struct One<V>(Option<((), V)>);

impl<V> Default for One<V> {
    fn default() -> One<V> {
        One(None)
    }
}

impl<V> RowMap<(), V> for One<V> {
    #[inline]
    fn find(&self, (): &()) -> Option<&V> {
        self.0.as_ref().map(|(_, value)| value)
    }

    #[inline]
    fn find_mut(&mut self, (): &()) -> Option<&mut V> {
        self.0.as_mut().map(|(_, value)| value)
    }

    fn put(&mut self, (): (), value: V) -> (Option<V>, &V) {
        let old = self.0.take().map(|(_, old)| old);
        (old, &self.0.insert(((), value)).1)
    }

    fn take(&mut self, (): &()) -> Option<V> {
        self.0.take().map(|(_, value)| value)
    }

    #[inline]
    fn count(&self) -> usize {
        usize::from(self.0.is_some())
    }

    fn least(&self) -> Option<(&(), &V)> {
        self.within(..).next()
    }

    fn greatest(&self) -> Option<(&(), &V)> {
        self.within(..).next_back()
    }

    fn within<'a>(&'a self, range: impl RangeBounds<()>) -> impl DoubleEndedIterator<Item = (&'a (), &'a V)>
    where
        V: 'a,
    {
        self.0.iter().map(|(key, value)| (key, value)).filter(move |(key, _)| range.contains(key))
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

impl<A: Ord + Clone, V> Runs<A, V> {
    /// Puts a value behind the last one of its part; the first one of a part has number 0. Returns its entry.
    pub(super) fn append(&mut self, part: A, value: V) -> (&(A, i64), &V) {
        let spare = &mut self.spare;
        let run = match self.runs.entry(part.clone()) {
            Entry::Vacant(vacant) => vacant.insert(spare.pop().unwrap_or_default()),
            Entry::Occupied(there) => there.into_mut(),
        };
        let number = run.back().map_or(0, |last| last.0.1 + 1);
        self.count += 1;
        entry(run.push_back_mut(((part, number), value)))
    }

    /// Returns the least and the greatest number of a part.
    pub(super) fn ends(&self, part: &A) -> Option<(i64, i64)> {
        let run = self.runs.get(part)?;
        Some((run.front()?.0.1, run.back()?.0.1))
    }

    /// Returns the first part that has an entry and is not before this one.
    pub(super) fn part_from(&self, part: &A) -> Option<&A> {
        self.runs.range(part..).next().map(|(it, _)| it)
    }
}

/// Entries in a leaf.
const LEAF_ENTRIES: usize = 64;
/// Leaves that there may be: for as many vats as no state has.
const LEAVES_MAX: usize = if cfg!(test) { 4 } else { 1 << 20 };

/// Entries by number, in leaves that are found by dividing it. See [`Dense`].
#[derive(Debug)]
pub struct Leaves<K, V> {
    leaves: Vec<Option<Box<Leaf<K, V>>>>,
    /// The entries of numbers that no leaf is for: only what was not made here has any.
    beyond: BTreeMap<K, V>,
    count: usize,
}

#[derive(Debug)]
struct Leaf<K, V> {
    entries: [Option<(K, V)>; LEAF_ENTRIES],
    count: usize,
}

impl<K, V> Default for Leaves<K, V> {
    fn default() -> Leaves<K, V> {
        Leaves { leaves: Vec::new(), beyond: BTreeMap::new(), count: 0 }
    }
}

/// Returns the leaf of a key, and the place in it. No leaf has place for a number that is too large.
fn place_of(key: impl Numbered) -> (usize, usize) {
    let number = usize::try_from(key.number()).unwrap_or(usize::MAX);
    (number / LEAF_ENTRIES, number % LEAF_ENTRIES)
}

impl<K: Numbered, V> RowMap<K, V> for Leaves<K, V> {
    fn find(&self, key: &K) -> Option<&V> {
        let (leaf, at) = place_of(*key);
        if leaf >= LEAVES_MAX {
            return self.beyond.get(key);
        }
        let (_, value) = self.leaves.get(leaf)?.as_ref()?.entries[at].as_ref()?;
        Some(value)
    }

    fn find_mut(&mut self, key: &K) -> Option<&mut V> {
        let (leaf, at) = place_of(*key);
        if leaf >= LEAVES_MAX {
            return self.beyond.get_mut(key);
        }
        let (_, value) = self.leaves.get_mut(leaf)?.as_mut()?.entries[at].as_mut()?;
        Some(value)
    }

    fn put(&mut self, key: K, value: V) -> (Option<V>, &V) {
        let (leaf, at) = place_of(key);
        if leaf >= LEAVES_MAX {
            return self.beyond.put(key, value);
        }
        if self.leaves.len() <= leaf {
            self.leaves.resize_with(leaf + 1, || None);
        }
        let empty = || Box::new(Leaf { entries: [const { None }; LEAF_ENTRIES], count: 0 });
        let leaf = self.leaves[leaf].get_or_insert_with(empty);
        let old = leaf.entries[at].take().map(|(_, old)| old);
        if old.is_none() {
            leaf.count += 1;
            self.count += 1;
        }
        let (_, value) = leaf.entries[at].insert((key, value));
        (old, value)
    }

    fn take(&mut self, key: &K) -> Option<V> {
        let (number, at) = place_of(*key);
        if number >= LEAVES_MAX {
            return self.beyond.take(key);
        }
        let leaf = self.leaves.get_mut(number)?;
        let there = leaf.as_mut()?;
        let (_, value) = there.entries[at].take()?;
        there.count -= 1;
        self.count -= 1;
        if there.count == 0 {
            *leaf = None;
            let used = self.leaves.iter().rposition(Option::is_some).map_or(0, |it| it + 1);
            self.leaves.truncate(used);
        }
        Some(value)
    }

    fn count(&self) -> usize {
        self.count + self.beyond.len()
    }

    fn least(&self) -> Option<(&K, &V)> {
        self.within(..).next()
    }

    fn greatest(&self) -> Option<(&K, &V)> {
        self.within(..).next_back()
    }

    fn within<'a>(&'a self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        let (from, to) = (range.start_bound().cloned(), range.end_bound().cloned());
        let leaf = |bound: Bound<K>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => Some(place_of(key).0),
            Bound::Unbounded => None,
        };
        let all = self.leaves.len();
        let end = leaf(to).map_or(all, |it| it.saturating_add(1).min(all));
        let begin = leaf(from).unwrap_or(0).min(end);
        let entries = self.leaves[begin..end].iter().flatten().flat_map(|leaf| leaf.entries.iter().flatten());
        let entries = entries.map(|(key, value)| (key, value)).filter(move |(key, _)| (from, to).contains(key));
        entries.chain(self.beyond.range((from, to)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Numbered for u64 {
        fn number(self) -> u64 {
            self
        }
    }

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

    type NumberEnds = (Bound<u64>, Bound<u64>);

    fn is_forward_too((from, to): &NumberEnds) -> bool {
        is_forward(&(from.map(|it| (0, it.cast_signed())), to.map(|it| (0, it.cast_signed()))))
    }

    fn number_bound() -> impl Strategy<Value = Bound<u64>> {
        prop_oneof![
            (0..300_u64).prop_map(Bound::Included),
            (0..300_u64).prop_map(Bound::Excluded),
            Just(Bound::Unbounded)
        ]
    }

    proptest! {
        #[test]
        fn leaves_are_a_sorted_map(
            moves in prop::collection::vec((prop_oneof![0..6_u64, 0..300_u64, Just(u64::MAX)], prop::option::weighted(0.6, 0..100_u32)), 0..60),
            range in (number_bound(), number_bound()).prop_filter("forward", is_forward_too),
        ) {
            let (mut leaves, mut plain) = (Leaves::default(), BTreeMap::new());
            for (key, value) in moves {
                match value {
                    Some(value) => {
                        let (old, new) = leaves.put(key, value);
                        prop_assert_eq!((old, *new), (plain.insert(key, value), value));
                    }
                    None => prop_assert_eq!(leaves.take(&key), plain.remove(&key)),
                }
                prop_assert_eq!(leaves.find(&key), plain.get(&key));
                prop_assert_eq!(leaves.find_mut(&key), plain.get_mut(&key));
                prop_assert_eq!((leaves.count(), leaves.least(), leaves.greatest()), (plain.len(), plain.first_key_value(), plain.last_key_value()));
                let last = plain.keys().rfind(|it| **it < 256).map_or(0, |it| it / 64 + 1);
                prop_assert_eq!(leaves.leaves.len() as u64, last);
            }
            let forth: Vec<_> = leaves.within(range).collect();
            prop_assert_eq!(&forth, &plain.range(range).collect::<Vec<_>>());
            let mut back: Vec<_> = leaves.within(range).rev().collect();
            back.reverse();
            prop_assert_eq!(forth, back);
        }

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
                let ends = plain.range((key.0, i64::MIN)..=(key.0, i64::MAX)).map(|((_, at), _)| *at);
                prop_assert_eq!(runs.ends(&key.0), ends.clone().min().zip(ends.max()));
                prop_assert_eq!(runs.part_from(&key.0), plain.range((key.0, i64::MIN)..).next().map(|((part, _), _)| part));
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
