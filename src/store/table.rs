//! A typed table in memory, with an undo journal for the open crank and the set of rows that the open block touched.
//!
//! ```text
//!   insert / remove / update            seal (crank commits)            flush (block commits)
//!  ────────────────────────▶ journal ──────────────────────▶ touched ───────────────────────▶ database
//!                               │ rewind (crank aborts)
//!                               ▼ rows as they were
//! ```
//!
//! Invariants: after `rewind`, rows and index are what they were when the crank began; `seal` reports each row that
//! differs from then, once, in key order; rows born and gone within one block never reach the database.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::{Bound, RangeBounds},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    model::blame::HostFault,
    store::{
        codec::{self, Key},
        database::{Batch, Rows},
        hash::{Digest, RowHash},
        proof::{DAMAGED, Reading, StoredRow},
    },
};

/// A second way to find the rows of a table, told of every change of every row.
pub trait Index<K, V>: Default {
    /// Set if the index must be told of changes.
    const LISTENS: bool = true;

    /// The row under `key` went from `old` to `new`.
    fn changed(&mut self, key: &K, old: Option<&V>, new: Option<&V>);
}

impl<K, V> Index<K, V> for () {
    const LISTENS: bool = false;

    fn changed(&mut self, _: &K, _: Option<&V>, _: Option<&V>) {}
}

/// A value that a row can hold.
pub trait Value: Clone + PartialEq + Serialize + DeserializeOwned {}
impl<T: Clone + PartialEq + Serialize + DeserializeOwned> Value for T {}

/// A table of rows in memory, with a journal. See the module.
#[derive(Debug)]
pub struct Table<K, V, I = ()> {
    name: &'static str,
    tag: u8,
    rows: BTreeMap<K, V>,
    index: I,
    journal: Vec<(K, Option<V>)>,
    touched: BTreeMap<K, Option<V>>,
    essence: Option<Essence<V>>,
}

/// The function that returns the part of a row that is state, rather than a sum or a date; `None` is nothing of it.
type Essence<V> = fn(&V) -> Option<V>;

/// A row that differs from what it was: its key, and its bytes then and now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The key of the row.
    pub key: Vec<u8>,
    /// The former value of the row, if there was one.
    pub old: Option<Vec<u8>>,
    /// The present value of the row, if there is one.
    pub new: Option<Vec<u8>>,
}

impl<K: Key, V: Value, I: Index<K, V>> Table<K, V, I> {
    /// Makes an empty table of this name; `tag`, never 0, stands for it in what is hashed.
    pub fn new(tag: u8, name: &'static str) -> Table<K, V, I> {
        Table {
            name,
            tag,
            rows: BTreeMap::new(),
            index: I::default(),
            journal: Vec::new(),
            touched: BTreeMap::new(),
            essence: None,
        }
    }

    /// Says what of its rows an experiment compares: all of each, otherwise.
    #[must_use]
    pub fn with_essence(self, essence: fn(&V) -> Option<V>) -> Table<K, V, I> {
        Table { essence: Some(essence), ..self }
    }

    /// Adds what an experiment compares of a row to a digest, or takes it away.
    fn count(&self, key: &K, value: Option<&V>, digest: &mut Digest, add: bool) -> Result<(), HostFault> {
        let Some(value) = value else { return Ok(()) };
        let reduced = match self.essence {
            None => None,
            Some(essence) => match essence(value) {
                None => return Ok(()),
                reduced => reduced,
            },
        };
        let mut bytes = Vec::new();
        encode_row(self.tag, key, Some(reduced.as_ref().unwrap_or(value)), &mut bytes)?;
        let hash = RowHash::of(&bytes);
        if add {
            digest.add(&hash)
        } else {
            digest.remove(&hash)
        }
        Ok(())
    }

    /// The row is this now, and was never anything else.
    fn set(&mut self, key: K, value: Option<V>) {
        let old = match value {
            Some(value) => self.rows.insert(key.clone(), value),
            None => self.rows.remove(&key),
        };
        self.index.changed(&key, old.as_ref(), self.rows.get(&key));
    }

    fn key(&self, bytes: &[u8]) -> Result<K, HostFault> {
        let mut rest = bytes;
        let parsed = K::read(&mut rest).filter(|_| rest.is_empty());
        parsed.ok_or_else(|| HostFault::new("read a key", "it is none of this table's"))
    }

    /// Decodes a stored row. One under a key that is there already is none that was ever written.
    fn take(&mut self, row: &StoredRow<'_>) -> Result<(), HostFault> {
        let (key, value) = (self.key(row.key)?, codec::decode(row.value)?);
        match self.rows.entry(key.clone()) {
            Entry::Vacant(place) => {
                self.index.changed(&key, None, Some(place.insert(value)));
                Ok(())
            }
            Entry::Occupied(_) => Err(HostFault::new("read a row", "its key is there twice")),
        }
    }

    /// Returns the row of this key, if there is one.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// Returns whether the table has a row of this key.
    pub fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether the table has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the table's index.
    pub fn index(&self) -> &I {
        &self.index
    }

    /// Returns the row of the least key.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.rows.first_key_value()
    }

    /// Returns the row of the greatest key.
    pub fn last(&self) -> Option<(&K, &V)> {
        self.rows.last_key_value()
    }

    /// Iterates over all rows in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// Iterates over the rows of a range, in key order. An empty range is empty, whichever way its ends lie.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let empty = match (range.start_bound(), range.end_bound()) {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
            _ => false,
        };
        (!empty).then(|| self.rows.range(range)).into_iter().flatten()
    }

    /// Returns whether the journal's last entry is on this row: then its former value is noted, and a change of it
    /// need not be.
    fn is_noted(&self, key: &K) -> bool {
        self.journal.last().is_some_and(|(it, _)| it == key)
    }

    /// Writes a row, new or not.
    pub fn insert(&mut self, key: K, value: V) {
        let old = match self.rows.entry(key.clone()) {
            Entry::Vacant(row) => {
                self.index.changed(&key, None, Some(row.insert(value)));
                None
            }
            Entry::Occupied(mut row) => {
                let old = row.insert(value);
                self.index.changed(&key, Some(&old), Some(row.get()));
                Some(old)
            }
        };
        if !self.is_noted(&key) {
            self.journal.push((key, old));
        }
    }

    /// Removes the row of this key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.rows.remove(key)?;
        self.index.changed(key, Some(&old), None);
        if !self.is_noted(key) {
            self.journal.push((key.clone(), Some(old.clone())));
        }
        Some(old)
    }

    /// Changes a row in place. `None` where there is no such row.
    pub fn update<T>(&mut self, key: &K, change: impl FnOnce(&mut V) -> T) -> Option<T> {
        let noted = self.is_noted(key);
        let row = self.rows.get_mut(key)?;
        if noted && !I::LISTENS {
            return Some(change(row));
        }
        let old = row.clone();
        let result = change(row);
        self.index.changed(key, Some(&old), Some(row));
        if !noted {
            self.journal.push((key.clone(), Some(old)));
        }
        Some(result)
    }
}

/// A journaled table, as the block uses it whatever its types.
pub trait Journaled {
    /// Undoes the open crank.
    fn rewind(&mut self);

    /// Ends the open crank: appends its changes, in key order, to `changes`. `watch` is the digest of what an
    /// experiment compares, and moves along where there is one.
    fn seal(&mut self, changes: &mut Vec<u8>, watch: Option<&mut Digest>) -> Result<(), HostFault>;

    /// Undoes the open block, and with it the open crank.
    fn revert(&mut self);

    /// Returns the rows that the open block changed so far, in key order.
    fn changes(&self) -> Result<Vec<Change>, HostFault>;

    /// The open block is to be undone to here.
    fn mark(&mut self);

    /// A row is this now, outside of any block: as a mark of another place has it.
    fn place(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), HostFault>;

    /// Adds what an experiment compares of every row.
    fn watch(&self, digest: &mut Digest) -> Result<(), HostFault>;

    /// Ends the open block: hands over the rows that differ from the committed ones, and moves the digest along.
    fn flush(&mut self, rows: &mut dyn Rows, digest: &mut Digest) -> Result<(), HostFault>;

    /// Takes one committed row, and counts it. An error names the row: it has not its checksum, or cannot be decoded.
    fn load(&mut self, row: &StoredRow<'_>, reading: &mut Reading) -> Result<(), HostFault>;

    /// The digest of every row, from scratch: what the incremental one must equal.
    fn sweep(&self, digest: &mut Digest) -> Result<(), HostFault>;

    /// The name, also of the database's table.
    fn name(&self) -> &'static str;
}

impl<K: Key, V: Value, I: Index<K, V>> Journaled for Table<K, V, I> {
    fn rewind(&mut self) {
        while let Some((key, old)) = self.journal.pop() {
            let new = match old.clone() {
                Some(value) => self.rows.insert(key.clone(), value),
                None => self.rows.remove(&key),
            };
            self.index.changed(&key, new.as_ref(), old.as_ref());
        }
    }

    fn seal(&mut self, changes: &mut Vec<u8>, mut watch: Option<&mut Digest>) -> Result<(), HostFault> {
        if self.journal.is_empty() {
            return Ok(());
        }
        self.journal.sort_by(|a, b| a.0.cmp(&b.0));
        self.journal.dedup_by(|later, first| later.0 == first.0);
        let mut journal = std::mem::take(&mut self.journal);
        for (key, old) in journal.drain(..) {
            let new = self.rows.get(&key);
            if new == old.as_ref() {
                continue;
            }
            encode_row(self.tag, &key, new, changes)?;
            if let Some(digest) = &mut watch {
                self.count(&key, old.as_ref(), digest, false)?;
                self.count(&key, new, digest, true)?;
            }
            match self.touched.entry(key) {
                Entry::Vacant(untouched) => drop(untouched.insert(old)),
                // Born in this block, and gone: most of what went through the queue.
                Entry::Occupied(touched) if new.is_none() && touched.get().is_none() => drop(touched.remove()),
                Entry::Occupied(_) => (),
            }
        }
        // Its room is used again.
        self.journal = journal;
        Ok(())
    }

    fn revert(&mut self) {
        Journaled::rewind(self);
        for (key, old) in std::mem::take(&mut self.touched) {
            self.set(key, old);
        }
    }

    fn changes(&self) -> Result<Vec<Change>, HostFault> {
        let bytes = |value: Option<&V>| {
            let encode = |value| -> Result<Vec<u8>, HostFault> {
                let mut bytes = Vec::new();
                codec::encode(value, &mut bytes)?;
                Ok(bytes)
            };
            value.map(encode).transpose()
        };
        let mut changes = Vec::new();
        for (key, old) in &self.touched {
            let new = self.rows.get(key);
            if new != old.as_ref() {
                let mut key_bytes = Vec::new();
                key.write(&mut key_bytes);
                changes.push(Change { key: key_bytes, old: bytes(old.as_ref())?, new: bytes(new)? });
            }
        }
        Ok(changes)
    }

    fn mark(&mut self) {
        self.touched.clear();
    }

    fn place(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), HostFault> {
        let key = self.key(key)?;
        let value = value.map(codec::decode).transpose()?;
        self.set(key, value);
        Ok(())
    }

    fn watch(&self, digest: &mut Digest) -> Result<(), HostFault> {
        self.rows.iter().try_for_each(|(key, value)| self.count(key, Some(value), digest, true))
    }

    fn flush(&mut self, rows: &mut dyn Rows, digest: &mut Digest) -> Result<(), HostFault> {
        let mut batch = Batch::default();
        let mut row_bytes = Vec::new();
        for (key, old) in std::mem::take(&mut self.touched) {
            let new = self.rows.get(&key);
            if new == old.as_ref() {
                continue;
            }
            if old.is_some() {
                row_bytes.clear();
                encode_row(self.tag, &key, old.as_ref(), &mut row_bytes)?;
                digest.remove(&RowHash::of(&row_bytes));
            }
            let Some(new) = new else {
                batch.add(&key, None);
                continue;
            };
            row_bytes.clear();
            let record = encode_row(self.tag, &key, Some(new), &mut row_bytes)?;
            let hash = RowHash::of(&row_bytes);
            digest.add(&hash);
            batch.add(&key, row_bytes.get(record..).map(|it| (it, hash.checksum())));
        }
        if batch.is_empty() { Ok(()) } else { rows.write(self.name, &batch) }
    }

    fn load(&mut self, row: &StoredRow<'_>, reading: &mut Reading) -> Result<(), HostFault> {
        let hash = stored_hash(self.tag, row, &mut reading.bytes);
        reading.digest.add(&hash);
        let sound = if hash.checksum() == row.checksum { Ok(()) } else { Err(HostFault::new("prove a row", DAMAGED)) };
        // One that can be decoded is taken all the same: whoever looks for more damage needs it.
        let taken = self.take(row);
        let placed = |fault: HostFault| {
            HostFault::damage(format_args!("table `{}`, key {}", self.name, crate::model::id::hex(row.key)), fault.why)
        };
        sound.and(taken).map_err(placed)
    }

    fn sweep(&self, digest: &mut Digest) -> Result<(), HostFault> {
        let mut bytes = Vec::new();
        for (key, value) in &self.rows {
            bytes.clear();
            encode_row(self.tag, key, Some(value), &mut bytes)?;
            digest.add(&RowHash::of(&bytes));
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// A row, or its absence, as it is hashed: the tag of its table, its key behind its length, then 0 or its record.
/// Returns where the record begins. No two are alike, and none is the beginning of another: a record tells where it
/// ends.
fn encode_row<K: Key, V: Value>(tag: u8, key: &K, value: Option<&V>, out: &mut Vec<u8>) -> Result<usize, HostFault> {
    out.push(tag);
    let at = out.len();
    out.push(0);
    key.write(out);
    let length = out.len() - at - 1;
    match u8::try_from(length) {
        Ok(short) if short != LONG_KEY => out[at] = short,
        _ => {
            out[at] = LONG_KEY;
            let length = (length as u64).to_le_bytes();
            out.splice(at + 1..at + 1, length);
        }
    }
    let record = out.len();
    match value {
        None => out.push(0),
        Some(value) => codec::encode(value, out)?,
    }
    Ok(record)
}

/// The hash of a row whose key and record are bytes: that of [`encode_row`]'s.
fn stored_hash(tag: u8, row: &StoredRow<'_>, bytes: &mut Vec<u8>) -> RowHash {
    bytes.clear();
    bytes.push(tag);
    match u8::try_from(row.key.len()) {
        Ok(short) if short != LONG_KEY => bytes.push(short),
        _ => {
            bytes.push(LONG_KEY);
            bytes.extend_from_slice(&(row.key.len() as u64).to_le_bytes());
        }
    }
    bytes.extend_from_slice(row.key);
    bytes.extend_from_slice(row.value);
    RowHash::of(bytes)
}

/// Says that a key's length follows in eight bytes: those of vatstores may be long.
const LONG_KEY: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::value::Bytes;

    #[derive(Default, Debug)]
    struct ByValue(BTreeMap<u64, usize>);
    impl Index<u64, u64> for ByValue {
        fn changed(&mut self, _: &u64, old: Option<&u64>, new: Option<&u64>) {
            if let Some(old) = old {
                let count = self.0.get_mut(old).expect("counted before");
                *count -= 1;
                if *count == 0 {
                    self.0.remove(old);
                }
            }
            if let Some(new) = new {
                *self.0.entry(*new).or_default() += 1;
            }
        }
    }

    #[derive(Default)]
    struct Disk(BTreeMap<Vec<u8>, (Vec<u8>, i64)>);
    impl Rows for Disk {
        fn write(&mut self, _: &'static str, batch: &Batch) -> Result<(), HostFault> {
            for (key, value) in batch.rows() {
                match value {
                    Some((value, sum)) => drop(self.0.insert(key.to_vec(), (value.to_vec(), sum))),
                    None => assert!(self.0.remove(key).is_some(), "a row that was never there is not deleted"),
                }
            }
            Ok(())
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        Remove(u64),
        Update(u64, u64),
        Rewind,
        Seal,
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6_u64, 0..4_u64).prop_map(|(k, v)| Step::Insert(k, v)),
            3 => (0..6_u64).prop_map(Step::Remove),
            3 => (0..6_u64, 0..4_u64).prop_map(|(k, v)| Step::Update(k, v)),
            1 => Just(Step::Rewind),
            2 => Just(Step::Seal),
            1 => Just(Step::Flush),
        ]
    }

    #[test]
    fn a_row_that_is_not_as_it_was_written_is_refused_by_name_whatever_the_length_of_its_key() {
        for length in [3, 254, 255, 300] {
            let mut table: Table<Bytes, u64> = Table::new(9, "test");
            table.insert(Bytes::from(vec![b'k'; length]), 7);
            let (mut disk, mut digest) = (Disk::default(), Digest::default());
            table.seal(&mut vec![], None).expect("seals");
            table.flush(&mut disk, &mut digest).expect("flushes");
            let (key, (value, checksum)) = disk.0.into_iter().next().expect("is there");
            let load = |key: &[u8], value: &[u8], checksum| {
                let mut fresh: Table<Bytes, u64> = Table::new(9, "test");
                fresh.load(&StoredRow { key, value, checksum }, &mut Reading::default())
            };
            load(&key, &value, checksum).expect("loads");
            let flipped = |bytes: &[u8]| [&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat();
            let bad = [
                load(&flipped(&key), &value, checksum),
                load(&key, &flipped(&value), checksum),
                load(&key, &value, checksum ^ 1),
            ];
            for it in bad {
                let fault = it.expect_err("is refused");
                assert!(fault.what.starts_with("table `test`, key 6b6b"), "{fault}");
                assert!(fault.way_out.is_some());
            }
        }
    }

    proptest! {
        #[test]
        fn a_table_equals_three_plain_maps(steps in prop::collection::vec(step(), 0..80)) {
            let mut table: Table<u64, u64, ByValue> = Table::new(1, "test");
            let (mut now, mut sealed) = (BTreeMap::new(), BTreeMap::new());
            let (mut disk, mut digest) = (Disk::default(), Digest::default());
            for step in steps {
                match step {
                    Step::Insert(k, v) => {
                        table.insert(k, v);
                        now.insert(k, v);
                    }
                    Step::Remove(k) => prop_assert_eq!(table.remove(&k), now.remove(&k)),
                    Step::Update(k, v) => {
                        table.update(&k, |it| *it = v);
                        now.entry(k).and_modify(|it| *it = v);
                    }
                    Step::Rewind => { table.rewind(); now = sealed.clone(); }
                    Step::Seal | Step::Flush => {
                        let mut changes = vec![];
                        table.seal(&mut changes, None).expect("seals");
                        prop_assert_eq!(changes.is_empty(), now == sealed);
                        sealed = now.clone();
                        if matches!(step, Step::Flush) {
                            table.flush(&mut disk, &mut digest).expect("flushes");
                            let mut fresh: Table<u64, u64, ByValue> = Table::new(1, "test");
                            let mut reading = Reading::default();
                            for (key, (value, checksum)) in &disk.0 {
                                fresh.load(&StoredRow { key, value, checksum: *checksum }, &mut reading).expect("loads");
                            }
                            prop_assert_eq!(&fresh.rows, &now);
                            prop_assert_eq!(&reading.digest, &digest);
                            let mut swept = Digest::default();
                            fresh.sweep(&mut swept).expect("sweeps");
                            prop_assert_eq!(&swept, &digest);
                        }
                    }
                }
                prop_assert_eq!(&table.rows, &now);
                let mut counted = ByValue::default();
                for (k, v) in &now { counted.changed(k, None, Some(v)); }
                prop_assert_eq!(&table.index.0, &counted.0);
            }
        }
    }
}
