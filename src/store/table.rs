//! A typed table in memory, with an undo journal for the open crank and the set of rows that the open block touched.
//!
//! ```text
//!   insert / remove / update            seal (crank commits)            flush (block commits)
//!  ────────────────────────▶ journal ──────────────────────▶ touched ───────────────────────▶ database
//!                               │ rewind (crank aborts)
//!                               ▼ rows as they were
//! ```
//!
//! Each row is stamped with the crank that changed it last: so its former value is journaled once a crank, and noted once
//! a block. How the rows are kept in memory is the table's arrangement (see `rows`), and changes nothing but speed.
//!
//! Invariants: after `rewind`, rows and index are what they were when the crank began; `seal` reports each row that
//! differs from then, once, in key order; rows born and gone within one block never reach the database. A row whose stamp
//! is not before the block is among the touched ones.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt, hint,
    ops::{Bound, RangeBounds},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    model::blame::HostFault,
    store::{
        canon::{self, Sink},
        codec::{self, Key},
        database::{Batch, Rows, TableLayout},
        elsewhere::{Cut, Elsewhere, Stamp},
        fold::Fold,
        hash::{Digest, RowHash},
        proof::{Reading, StoredRow},
        rows::{Arrangement, InRuns, RowMap, Sorted},
        touched::Touched,
    },
};

/// A second way to find the rows of a table, told of every change of every row.
pub trait Index<K, V>: Default {
    /// Set if the index must be told of changes.
    const LISTENS: bool = true;

    /// The row under `key` went from `old` to `new`.
    fn changed(&mut self, key: &K, old: Option<&V>, new: Option<&V>);

    /// The row came into memory from the file, or left it: nothing else changed.
    fn moved(&mut self, _key: &K, _value: &V, _is_in_memory: bool) {}

    /// A row of the file was proved, and stays there.
    fn counted(&mut self, _key: &K, _value: &V) {}

    /// What was changed is committed, or taken back.
    fn end_block(&mut self) {}
}

impl<K, V> Index<K, V> for () {
    const LISTENS: bool = false;

    fn changed(&mut self, _: &K, _: Option<&V>, _: Option<&V>) {}
}

/// A value that a row can hold.
pub trait Value: Clone + PartialEq + Serialize + DeserializeOwned {}
impl<T: Clone + PartialEq + Serialize + DeserializeOwned> Value for T {}

/// A table of rows in memory, with a journal. See the module.
pub struct Table<K, V, I = (), A: Arrangement<K> = Sorted> {
    pub(super) name: &'static str,
    tag: u8,
    pub(super) rows: A::Map<Slot<V>>,
    pub(super) index: I,
    /// The rows as they were before the crank.
    journal: Vec<(K, Option<Slot<V>>)>,
    /// The stamp of the open crank.
    crank: u64,
    /// The stamp of the first crank of the open block.
    pub(super) block: u64,
    touched: Touched<K, V>,
    /// What changed since the last block that was closed without a commit, if one was.
    unclosed: Option<BTreeMap<K, Option<V>>>,
    essence: Option<Essence<V>>,
    kind: TableKind,
    /// What is known of the rows that are not in memory; nothing where all are.
    pub(super) elsewhere: Option<Box<Elsewhere<K, V>>>,
}

/// The kind of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableKind {
    /// With short values, found by their keys.
    Plain,
    /// With values that may be long: the file keeps them apart from their keys.
    LongValues,
    /// With rows that are also looked for by their values: see `found_by_value`.
    ValueIndex,
    /// With rows that follow from those of other tables: they are in no hash of the state, and no experiment compares them. Each has its
    /// checksum, and a commit attests all of them, as those of any table.
    Derived,
}

/// A row in memory, and its stamp.
#[derive(Clone, Debug)]
pub(super) struct Slot<V> {
    pub(super) value: V,
    /// The crank that changed it last.
    pub(super) stamp: Stamp,
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

impl<K, V, I, A: Arrangement<K>> fmt::Debug for Table<K, V, I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).field("rows", &self.rows.count()).finish_non_exhaustive()
    }
}

impl<K: Key, V: Value, I: Index<K, V>, A: Arrangement<K>> Table<K, V, I, A> {
    /// Makes an empty table of this name; `tag`, never 0, stands for it in what is hashed.
    pub fn new(tag: u8, name: &'static str) -> Table<K, V, I, A> {
        Table {
            name,
            tag,
            rows: A::Map::default(),
            index: I::default(),
            journal: Vec::new(),
            crank: 1,
            block: 1,
            touched: Touched::default(),
            unclosed: None,
            essence: None,
            kind: TableKind::Plain,
            elsewhere: None,
        }
    }

    /// Says what of its rows an experiment compares: all of each, otherwise.
    #[must_use]
    pub fn with_essence(self, essence: fn(&V) -> Option<V>) -> Table<K, V, I, A> {
        Table { essence: Some(essence), ..self }
    }

    /// Says that the table is not a plain one.
    pub fn of_kind(self, kind: TableKind) -> Table<K, V, I, A> {
        let essence: Option<Essence<V>> = if kind == TableKind::Derived { Some(|_| None) } else { self.essence };
        Table { kind, essence, ..self }
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
        let hash = self.hash(key, reduced.as_ref().unwrap_or(value), &mut Vec::new())?;
        if add {
            digest.add(&hash)
        } else {
            digest.remove(&hash)
        }
        Ok(())
    }

    /// Returns the hash of a row; the room is used for its encoding.
    pub(super) fn hash(&self, key: &K, value: &V, room: &mut Vec<u8>) -> Result<RowHash, HostFault> {
        room.clear();
        write_row(self.tag, key, Some(value), room)?;
        Ok(RowHash::of(room))
    }

    /// Moves the digest of the rows before some changes along by them. `each` sees the changed rows, with the hash of
    /// what they are now.
    fn move_digest<'a>(
        &'a self,
        changes: Vec<(&K, Option<&V>)>,
        digest: &mut Digest,
        now: impl Fn(&K) -> Option<&'a V>,
        mut each: impl FnMut(&K, Option<(&V, RowHash)>) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        let mut room = Vec::new();
        for (key, old) in changes {
            let new = now(key);
            if new == old {
                continue;
            }
            if let Some(old) = old {
                digest.remove(&self.hash(key, old, &mut room)?);
            }
            let new = match new {
                None => None,
                Some(new) => {
                    let hash = self.hash(key, new, &mut room)?;
                    digest.add(&hash);
                    Some((new, hash))
                }
            };
            each(key, new)?;
        }
        Ok(())
    }

    /// The rows that may differ from what they were at the point that an unclosed digest was moved to, in key order, with what they
    /// were then.
    fn changed_rows(&self) -> Vec<(&K, Option<&V>)> {
        match &self.unclosed {
            Some(unclosed) => unclosed.iter().map(|(key, old)| (key, old.as_ref())).collect(),
            None => self.touched.rows(),
        }
    }

    /// The row is this now, and was never anything else.
    fn set(&mut self, key: K, row: Option<Slot<V>>) {
        let Some(row) = row else {
            let old = self.rows.take(&key);
            self.index.changed(&key, old.as_ref().map(|it| &it.value), None);
            return;
        };
        let (old, new) = self.rows.put(key.clone(), row);
        self.index.changed(&key, old.as_ref().map(|it| &it.value), Some(&new.value));
    }

    pub(super) fn key(&self, bytes: &[u8]) -> Result<K, HostFault> {
        let mut rest = bytes;
        let parsed = K::read(&mut rest).filter(|_| rest.is_empty());
        parsed.ok_or_else(|| HostFault::new("read a key", "it is none of this table's"))
    }

    /// Takes a stored row. One under a key that is there already is none that was ever written.
    fn take(&mut self, key: K, value: V) -> Result<(), HostFault> {
        if self.contains(&key) {
            return Err(HostFault::new("read a row", "its key is there twice"));
        }
        self.set(key, Some(Slot { value, stamp: Stamp::committed() }));
        Ok(())
    }

    /// Returns the row of this key, if there is one.
    pub fn get(&self, key: &K) -> Option<&V> {
        match self.rows.find(key) {
            Some(row) => {
                if !self.is_whole() {
                    row.stamp.note_use();
                }
                Some(&row.value)
            }
            None if self.is_whole() => None,
            None => self.seek(key),
        }
    }

    /// Returns whether the table has a row of this key.
    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Returns the number of rows: as of the last commit, where not all are in memory.
    pub fn len(&self) -> usize {
        if self.is_whole() { self.rows.count() } else { self.stored_within(&(Cut::Start, Cut::End)) }
    }

    /// Returns whether the table has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.count() == 0
    }

    /// Returns the table's index.
    pub fn index(&self) -> &I {
        &self.index
    }

    /// Returns the table's index, to change what is no row's.
    pub(crate) fn index_mut(&mut self) -> &mut I {
        &mut self.index
    }

    /// Returns the row of the least key.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.rows.least().map(|(key, it)| (key, &it.value))
    }

    /// Returns the row of the greatest key.
    pub fn last(&self) -> Option<(&K, &V)> {
        self.rows.greatest().map(|(key, it)| (key, &it.value))
    }

    /// Iterates over all rows in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        assert!(self.is_whole(), "not all of `{}` is in memory", self.name);
        self.rows.within(..).map(|(key, it)| (key, &it.value))
    }

    /// Iterates over the rows of a range, in key order. An empty range is empty, whichever way its ends lie.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        assert!(self.is_whole(), "not all of `{}` is in memory", self.name);
        let empty = match (range.start_bound(), range.end_bound()) {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
            _ => false,
        };
        (!empty).then(|| self.rows.within(range)).into_iter().flatten().map(|(key, it)| (key, &it.value))
    }

    /// Writes a row, new or not.
    pub fn insert(&mut self, key: K, value: V) {
        if !self.is_whole() {
            self.settle(&key);
        }
        let (old, new) = self.rows.put(key.clone(), Slot { value, stamp: Stamp::of(self.crank) });
        self.index.changed(&key, old.as_ref().map(|it| &it.value), Some(&new.value));
        if old.as_ref().is_none_or(|it| it.stamp.crank() != self.crank) {
            self.journal.push((key, old));
        }
    }

    /// Removes the row of this key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        if !self.is_whole() {
            self.settle(key);
        }
        let old = self.rows.take(key)?;
        self.index.changed(key, Some(&old.value), None);
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.removed(key);
        }
        if old.stamp.crank() == self.crank {
            return Some(old.value);
        }
        let value = old.value.clone();
        self.journal.push((key.clone(), Some(old)));
        Some(value)
    }

    /// Changes a row in place. `None` where there is no such row.
    pub fn update<T>(&mut self, key: &K, change: impl FnOnce(&mut V) -> T) -> Option<T> {
        if !self.is_whole() {
            self.settle(key);
        }
        let row = self.rows.find_mut(key)?;
        let noted = row.stamp.crank() == self.crank;
        if noted && !I::LISTENS {
            return Some(change(&mut row.value));
        }
        let old = row.clone();
        row.stamp = Stamp::of(self.crank);
        let result = change(&mut row.value);
        self.index.changed(key, Some(&old.value), Some(&row.value));
        if !noted {
            self.journal.push((key.clone(), Some(old)));
        }
        Some(result)
    }

    /// Forgets what the open block touched: another begins.
    fn end_block(&mut self) {
        self.touched.clear();
        self.block = self.crank;
        self.index.end_block();
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.end_block();
        }
    }
}

/// A journaled table, as the block uses it whatever its types.
pub trait Journaled {
    /// Returns whether the open crank changed any row.
    fn has_changed(&self) -> bool;

    /// Undoes the open crank.
    fn rewind(&mut self);

    /// Ends the open crank: folds its changes, in key order, into the crank's mark, and appends them to `changes` if
    /// they are to be hashed one by one. `compared` is the digest of the rows that experiments compare, and moves along
    /// where there is one.
    fn seal(
        &mut self,
        mark: &mut Fold,
        changes: Option<&mut Vec<u8>>,
        compared: Option<&mut Digest>,
    ) -> Result<(), HostFault>;

    /// Undoes the open block, and with it the open crank.
    fn revert(&mut self);

    /// Returns the rows that the open block changed so far, in key order.
    fn changes(&self) -> Result<Vec<Change>, HostFault>;

    /// Moves a digest of the committed rows along to what was sealed of the open block, whatever the open crank did.
    fn digest_now(&self, digest: &mut Digest) -> Result<(), HostFault>;

    /// Ends the open block without a commit, and moves the digest along by it. No commit may follow.
    fn close(&mut self, digest: &mut Digest) -> Result<(), HostFault>;

    /// Makes this the point to which the open block is undone, and moves the digest along.
    fn mark(&mut self, digest: &mut Digest) -> Result<(), HostFault>;

    /// A row is this now, outside of any block: as a mark of another place has it.
    fn place(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), HostFault>;

    /// Adds every row that experiments compare.
    fn count_compared(&self, digest: &mut Digest) -> Result<(), HostFault>;

    /// Ends the open block: hands over the rows that differ from the committed ones, and moves the digest along.
    fn flush(&mut self, rows: &mut dyn Rows, digest: &mut Digest) -> Result<(), HostFault>;

    /// Takes one committed row, and counts it; of a table whose rows stay in the file it is only proved and counted. An error names the row: it has not its checksum, or cannot be decoded.
    fn load(&mut self, row: &StoredRow<'_>, reading: &mut Reading) -> Result<(), HostFault>;

    /// The digest of every row, from scratch: what the incremental one must equal.
    fn sweep(&self, digest: &mut Digest) -> Result<(), HostFault>;

    /// Returns whether its rows stay in the file until they are needed.
    fn is_in_file(&self) -> bool;

    /// Returns whether its rows follow from those of others, and are in no hash of the state.
    fn is_derived(&self) -> bool;

    /// The name, also of the database's table.
    fn name(&self) -> &'static str;

    /// Returns how the table is laid out in the file.
    fn layout(&self) -> TableLayout;
}

impl<K: Key, V: Value, I: Index<K, V>, A: Arrangement<K>> Journaled for Table<K, V, I, A> {
    fn rewind(&mut self) {
        while let Some((key, old)) = self.journal.pop() {
            self.set(key, old);
        }
        self.crank += 1;
    }

    #[inline]
    fn has_changed(&self) -> bool {
        !self.journal.is_empty()
    }

    fn seal(
        &mut self,
        mark: &mut Fold,
        mut changes: Option<&mut Vec<u8>>,
        mut compared: Option<&mut Digest>,
    ) -> Result<(), HostFault> {
        if !self.journal.is_sorted_by(|a, b| a.0 < b.0) {
            self.journal.sort_by(|a, b| a.0.cmp(&b.0));
            self.journal.dedup_by(|later, first| later.0 == first.0);
        }
        let mut journal = std::mem::take(&mut self.journal);
        for (key, old) in journal.drain(..) {
            let was = old.as_ref().map(|it| &it.value);
            let new = match self.rows.find_mut(&key) {
                Some(row) if Some(&row.value) == was => {
                    // As if nobody had changed it.
                    if let Some(old) = &old {
                        row.stamp = Stamp::of(old.stamp.crank());
                    }
                    continue;
                }
                None if was.is_none() => continue,
                row => row.map(|it| &it.value),
            };
            if self.kind != TableKind::Derived {
                write_row(self.tag, &key, new, mark)?;
            }
            if let Some(changes) = changes.as_mut().filter(|_| self.kind != TableKind::Derived) {
                hint::cold_path();
                let mut row = Vec::new();
                write_row(self.tag, &key, new, &mut row)?;
                changes.bytes(&row);
            }
            let is_there = new.is_some();
            if let Some(digest) = &mut compared {
                hint::cold_path();
                self.count(&key, was, digest, false)?;
                self.count(&key, here(&self.rows, &key), digest, true)?;
            }
            if let Some(unclosed) = &mut self.unclosed {
                hint::cold_path();
                touch(unclosed, key.clone(), was.cloned(), is_there);
            }
            match old {
                Some(old) if old.stamp.crank() < self.block => self.touched.changed(key, old.value),
                None if is_there => self.touched.born(key),
                Some(_) if !is_there => {
                    let rows = &self.rows;
                    self.touched.gone(|key| rows.find(key).is_some());
                }
                _ => (),
            }
        }
        // Its room is used again.
        self.journal = journal;
        self.crank += 1;
        Ok(())
    }

    fn revert(&mut self) {
        Journaled::rewind(self);
        let touched = std::mem::take(&mut self.touched);
        let (born, changed) = touched.into_parts();
        born.into_iter().for_each(|key| self.set(key, None));
        changed.into_iter().for_each(|(key, value)| self.set(key, Some(Slot { value, stamp: Stamp::committed() })));
        self.end_block();
        self.unclosed.iter_mut().for_each(BTreeMap::clear);
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
        for (key, old) in self.touched.rows() {
            let new = here(&self.rows, key);
            if new != old {
                let mut key_bytes = Vec::new();
                key.write(&mut key_bytes);
                changes.push(Change { key: key_bytes, old: bytes(old)?, new: bytes(new)? });
            }
        }
        Ok(changes)
    }

    fn digest_now(&self, digest: &mut Digest) -> Result<(), HostFault> {
        let mut unsealed: BTreeMap<&K, Option<&V>> = BTreeMap::new();
        for (key, old) in &self.journal {
            unsealed.entry(key).or_insert(old.as_ref().map(|it| &it.value));
        }
        let sealed = |key: &K| unsealed.get(key).copied().unwrap_or_else(|| here(&self.rows, key));
        self.move_digest(self.changed_rows(), digest, sealed, |_, _| Ok(()))
    }

    fn close(&mut self, digest: &mut Digest) -> Result<(), HostFault> {
        self.move_digest(self.changed_rows(), digest, |key| here(&self.rows, key), |_, _| Ok(()))?;
        self.unclosed = Some(BTreeMap::new());
        Ok(())
    }

    fn mark(&mut self, digest: &mut Digest) -> Result<(), HostFault> {
        self.close(digest)?;
        self.end_block();
        Ok(())
    }

    fn place(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), HostFault> {
        let key = self.key(key)?;
        let value = value.map(codec::decode).transpose()?;
        self.set(key, value.map(|value| Slot { value, stamp: Stamp::committed() }));
        Ok(())
    }

    fn count_compared(&self, digest: &mut Digest) -> Result<(), HostFault> {
        self.iter().try_for_each(|(key, value)| self.count(key, Some(value), digest, true))
    }

    fn flush(&mut self, rows: &mut dyn Rows, digest: &mut Digest) -> Result<(), HostFault> {
        if self.unclosed.is_some() {
            return Err(HostFault::new("commit a block", "a block before it was closed without a commit"));
        }
        let (mut batch, mut record) = (Batch::default(), Vec::new());
        self.move_digest(
            self.touched.rows(),
            digest,
            |key| here(&self.rows, key),
            |key, new| {
                let Some((value, hash)) = new else {
                    batch.add(key, None);
                    return Ok(());
                };
                record.clear();
                codec::encode(value, &mut record)?;
                batch.add(key, Some((&record, hash.checksum())));
                Ok(())
            },
        )?;
        self.end_block();
        if batch.is_empty() { Ok(()) } else { rows.write(self.name, batch) }
    }

    fn load(&mut self, row: &StoredRow<'_>, reading: &mut Reading) -> Result<(), HostFault> {
        let (key, value, hash) = self.decoded(row, &mut reading.bytes)?;
        reading.digest.add(&hash);
        // One that can be decoded is taken all the same: whoever looks for more damage needs it.
        let taken = match self.elsewhere {
            None => self.take(key, value).map_err(|fault| self.placed(row.key, fault)),
            Some(_) => {
                self.index.counted(&key, &value);
                Ok(())
            }
        };
        self.attested(row, &hash)?;
        taken
    }

    fn sweep(&self, digest: &mut Digest) -> Result<(), HostFault> {
        let mut room = Vec::new();
        self.iter().try_for_each(|(key, value)| {
            digest.add(&self.hash(key, value, &mut room)?);
            Ok(())
        })
    }

    fn is_in_file(&self) -> bool {
        !self.is_whole()
    }

    fn is_derived(&self) -> bool {
        self.kind == TableKind::Derived
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn layout(&self) -> TableLayout {
        TableLayout {
            name: self.name,
            has_long_values: self.kind == TableKind::LongValues,
            has_value_index: self.kind == TableKind::ValueIndex,
        }
    }
}

/// Returns the row of this key, if it is among those that a table knows: all that a block changed are.
fn here<'a, K, V: 'a>(rows: &'a impl RowMap<K, Slot<V>>, key: &K) -> Option<&'a V> {
    rows.find(key).map(|it| &it.value)
}

/// Writes a row behind the last one of its part; the first one of a part has number 0. All rows of the table are in memory.
pub(crate) fn append_row<A, V, I>(table: &mut Table<(A, i64), V, I, InRuns>, part: A, value: V)
where
    A: Ord + Clone,
    V: Value,
    I: Index<(A, i64), V>,
{
    let (key, new) = table.rows.append(part, Slot { value, stamp: Stamp::of(table.crank) });
    table.index.changed(key, None, Some(&new.value));
    // Where the crank took away a row of this key, the journal has what it was before, and keeps that.
    table.journal.push((key.clone(), None));
}

/// Returns the numbers of the first and the last row of a part.
pub(crate) fn run_ends<A: Ord + Clone, V, I>(table: &Table<(A, i64), V, I, InRuns>, part: &A) -> Option<(i64, i64)> {
    table.rows.ends(part)
}

/// Returns the first part that has a row and is not before this one.
pub(crate) fn run_from<'a, A: Ord + Clone, V, I>(table: &'a Table<(A, i64), V, I, InRuns>, part: &A) -> Option<&'a A> {
    table.rows.part_from(part)
}

/// Notes a changed row among others, with what it was before the first change.
fn touch<K: Ord, V>(touched: &mut BTreeMap<K, Option<V>>, key: K, old: Option<V>, is_there: bool) {
    match touched.entry(key) {
        Entry::Vacant(untouched) => drop(untouched.insert(old)),
        // Born since, and gone: most of what went through the queue.
        Entry::Occupied(touched) if !is_there && touched.get().is_none() => drop(touched.remove()),
        Entry::Occupied(_) => (),
    }
}

/// Gives a row, or its absence, to a sink in canonical encoding: the tag of its table, 0 or 1 and its value, and its
/// key, which may end only with the row. No two are alike.
fn write_row<K: Key, V: Value>(tag: u8, key: &K, value: Option<&V>, sink: &mut impl Sink) -> Result<(), HostFault> {
    sink.number(tag.into());
    canon::write(&value, sink)?;
    key.write(sink);
    Ok(())
}

#[cfg(test)]
mod tests;
