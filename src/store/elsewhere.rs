//! Tables of which not all rows are in memory: a row is read from the file when it is needed, and leaves the memory again when the
//! rows take too much of it.
//!
//! ```text
//!                 fetch, walk                      insert / remove / update
//!   file ──proved──────────────────▶ memory ─────────────────────────────────▶ flush ──▶ file
//!          ◀──trim: what no open block changed, and was not used for long──┘
//! ```
//!
//! Invariants:
//! * After a fetch the row is in memory, or there is none; after a walk so are all rows of its range. Who changes a row has fetched it.
//! * A row that the open block changed stays in memory until it is committed. A row that it removed is not read again.
//! * What is in memory decides nothing: neither a result, nor an order, nor a hash.
//! * Each row that comes from the file has its checksum, or is a fault that names it. That none is missing from the file is what the
//!   digest of the table attests: whoever reads all of it compares that (see `proof`).

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering},
};

use rusqlite::{OptionalExtension, params};

use crate::{
    model::{blame::HostFault, id::hex},
    store::{
        codec::{self, Key},
        database::Database,
        hash::RowHash,
        proof::{DAMAGED, StoredRow},
        rows::{Arrangement, RowMap},
        table::{Index, Slot, Table, Value},
    },
};

/// Bytes of keys and values that a walk reads from the file at once, and rows: whatever is reached first.
const AT_ONCE: AtOnce = AtOnce { bytes: 64 << 10, rows: 64 };

/// Ranges that are known to be whole in memory.
const RANGES_MAX: usize = 32;

/// Rows that a trim looks at before it lets some of them go.
const LOOK: usize = 512;

/// The most that is read from the file at once: it ends with the row that reaches either.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtOnce {
    pub(super) bytes: usize,
    pub(super) rows: usize,
}

/// The crank that changed a row last, as the table counts them since it was opened, and whether the row was used since a trim
/// looked at it.
#[derive(Debug)]
pub(super) struct Stamp(AtomicU64);

const USED: u64 = 1 << 63;

impl Stamp {
    /// The stamp of a row as it was committed.
    pub(super) fn committed() -> Stamp {
        Stamp(AtomicU64::new(0))
    }

    pub(super) fn of(crank: u64) -> Stamp {
        Stamp(AtomicU64::new(crank | USED))
    }

    pub(super) fn crank(&self) -> u64 {
        self.0.load(Ordering::Relaxed) & !USED
    }

    fn note_use(&self) {
        let stamp = self.0.load(Ordering::Relaxed);
        if stamp & USED == 0 {
            self.0.store(stamp | USED, Ordering::Relaxed);
        }
    }

    /// Returns whether the row was used, and forgets it.
    fn take_use(&self) -> bool {
        let stamp = self.0.load(Ordering::Relaxed);
        self.0.store(stamp & !USED, Ordering::Relaxed);
        stamp & USED != 0
    }
}

impl Clone for Stamp {
    fn clone(&self) -> Stamp {
        Stamp(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// A place between two keys, or at an end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cut<K> {
    /// Before every key.
    Start,
    /// Before this key, or behind it.
    At(K, Side),
    /// Behind every key.
    End,
}

/// The side of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// Before it.
    Before,
    /// Behind it.
    Behind,
}

impl<K> Cut<K> {
    /// The place before a key.
    pub fn before(key: K) -> Cut<K> {
        Cut::At(key, Side::Before)
    }

    /// The place behind a key.
    pub fn behind(key: K) -> Cut<K> {
        Cut::At(key, Side::Behind)
    }

    /// As the beginning of a range.
    fn first(&self) -> Bound<&K> {
        match self {
            Cut::Start | Cut::End => Bound::Unbounded,
            Cut::At(key, Side::Before) => Bound::Included(key),
            Cut::At(key, Side::Behind) => Bound::Excluded(key),
        }
    }

    /// As the end of a range.
    fn last(&self) -> Bound<&K> {
        match self {
            Cut::Start | Cut::End => Bound::Unbounded,
            Cut::At(key, Side::Before) => Bound::Excluded(key),
            Cut::At(key, Side::Behind) => Bound::Included(key),
        }
    }
}

/// The knowledge of the rows of a table that are not in memory.
pub(super) struct Elsewhere<K> {
    /// The keys whose rows the open block removed: the file still has them.
    removed: BTreeSet<K>,
    /// Ranges of which every row is in memory, the one found last behind the others.
    whole: VecDeque<(Cut<K>, Cut<K>)>,
    /// The key up to which the last trim looked.
    hand: Option<K>,
    reads: u64,
}

impl<K> Default for Elsewhere<K> {
    fn default() -> Elsewhere<K> {
        Elsewhere { removed: BTreeSet::new(), whole: VecDeque::new(), hand: None, reads: 0 }
    }
}

impl<K> fmt::Debug for Elsewhere<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere")
            .field("removed", &self.removed.len())
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

impl<K: Ord + Clone> Elsewhere<K> {
    pub(super) fn removed(&mut self, key: &K) {
        self.removed.insert(key.clone());
    }

    /// The block is committed: the file has what the memory has.
    pub(super) fn end_block(&mut self) {
        self.removed.clear();
    }

    /// Returns how far everything behind a place is in memory.
    fn whole_from(&self, from: &Cut<K>) -> Option<&Cut<K>> {
        self.whole.iter().rev().find(|(first, last)| first <= from && from < last).map(|(_, last)| last)
    }

    /// Notes a range of which every row is in memory.
    fn note_whole(&mut self, from: Cut<K>, to: Cut<K>) {
        match self.whole.iter_mut().find(|(first, last)| *first <= from && *last == from) {
            // The next piece of a walk.
            Some(range) => range.1 = to,
            None => {
                if self.whole.len() == RANGES_MAX {
                    self.whole.pop_front();
                }
                self.whole.push_back((from, to));
            }
        }
    }
}

fn bytes<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.write(&mut bytes);
    bytes
}

/// Reads one row of a table: its value and its checksum.
fn row(file: &Database, table: &str, key: &[u8]) -> Result<Option<(Vec<u8>, i64)>, HostFault> {
    let sql = format!("SELECT value, checksum FROM \"{table}\" WHERE key = ?");
    let read = || {
        let connection = file.connection.lock();
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    };
    read().map_err(|err| file.failed(&format!("read table `{table}`"), &err))
}

/// Hands over the first rows of a range of a table, in the order of their keys, and returns whether that is all of the range.
fn rows_within(
    file: &Database,
    table: &str,
    (first, last): (Bound<Vec<u8>>, Bound<Vec<u8>>),
    max: AtOnce,
    take: &mut dyn FnMut(&StoredRow<'_>) -> Result<(), HostFault>,
) -> Result<bool, HostFault> {
    let from = match first {
        Bound::Excluded(_) => ">",
        Bound::Included(_) | Bound::Unbounded => ">=",
    };
    let (to, last) = match last {
        Bound::Included(key) => ("AND key <= ?2", Some(key)),
        Bound::Excluded(key) => ("AND key < ?2", Some(key)),
        Bound::Unbounded => ("AND ?2 IS NULL", None),
    };
    let first = match first {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => Vec::new(),
    };
    let what = format!("read table `{table}`");
    let failed = |err| file.failed(&what, &err);
    let sql = format!("SELECT key, value, checksum FROM \"{table}\" WHERE key {from} ?1 {to} ORDER BY key");
    let connection = file.connection.lock();
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let mut rows = statement.query(params![first, last]).map_err(failed)?;
    let (mut count, mut bytes) = (0, 0);
    while let Some(row) = rows.next().map_err(failed)? {
        let blob = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
        let (key, value) = (blob(0).map_err(failed)?, blob(1).map_err(failed)?);
        take(&StoredRow { key, value, checksum: row.get(2).map_err(failed)? })?;
        (count, bytes) = (count + 1, bytes + key.len() + value.len());
        if count >= max.rows || bytes >= max.bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<K: Key, V: Value, I: Index<K, V>, A: Arrangement<K>> Table<K, V, I, A> {
    /// Returns whether every row is in memory.
    pub fn is_whole(&self) -> bool {
        self.elsewhere.is_none()
    }

    /// Returns how many rows and pieces were read from the file since they began to leave the memory.
    pub fn reads(&self) -> u64 {
        self.elsewhere.as_ref().map_or(0, |it| it.reads)
    }

    /// Has rows stay in the file until they are needed, from now on: after a commit, or before any row was read.
    pub(crate) fn leave_in_file(&mut self) {
        self.elsewhere.get_or_insert_default();
    }

    /// Returns the row of this key, which is read if it is not in memory.
    pub fn fetch(&mut self, file: &Database, key: &K) -> Result<Option<&V>, HostFault> {
        if let Some(elsewhere) = &mut self.elsewhere
            && self.rows.find(key).is_none()
            && !elsewhere.removed.contains(key)
            && elsewhere.whole_from(&Cut::At(key.clone(), Side::Before)).is_none()
        {
            elsewhere.reads += 1;
            let key = bytes(key);
            if let Some((value, checksum)) = row(file, self.name, &key)? {
                let (key, value) = self.proved(&StoredRow { key: &key, value: &value, checksum })?;
                self.come(key, value);
            }
        }
        let row = self.rows.find(key);
        Ok(row.map(|it| {
            it.stamp.note_use();
            &it.value
        }))
    }

    /// Hands over the rows of a range in key order, until it is told to stop; those that are not in memory are read.
    pub fn walk(
        &mut self,
        file: &Database,
        (mut from, to): (Cut<K>, Cut<K>),
        mut each: impl FnMut(&K, &V) -> bool,
    ) -> Result<(), HostFault> {
        while from < to {
            let end = self.read_on(file, &from, &to)?;
            for (key, row) in self.rows.within((from.first(), end.last())) {
                row.stamp.note_use();
                if !each(key, &row.value) {
                    return Ok(());
                }
            }
            from = end;
        }
        Ok(())
    }

    /// Reads what is missing from memory behind a place, and returns how far nothing is missing then.
    fn read_on(&mut self, file: &Database, from: &Cut<K>, to: &Cut<K>) -> Result<Cut<K>, HostFault> {
        let Some(elsewhere) = &mut self.elsewhere else { return Ok(to.clone()) };
        if let Some(end) = elsewhere.whole_from(from) {
            return Ok(end.min(to).clone());
        }
        elsewhere.reads += 1;
        let [first, last] = [from.first(), to.last()].map(|it| it.map(bytes));
        let mut read = Vec::new();
        let is_all = rows_within(file, self.name, (first, last), AT_ONCE, &mut |row| {
            read.push(self.proved(row)?);
            Ok(())
        })?;
        let end = match read.last() {
            Some((key, _)) if !is_all => Cut::behind(key.clone()),
            _ => to.clone(),
        };
        for (key, value) in read {
            let is_removed = self.elsewhere.as_ref().is_some_and(|it| it.removed.contains(&key));
            if !is_removed && self.rows.find(&key).is_none() {
                self.come(key, value);
            }
        }
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.note_whole(from.clone(), end.clone());
        }
        Ok(end)
    }

    /// Reads every row that is not in memory. None leaves any more.
    pub(crate) fn fetch_all(&mut self, file: &Database) -> Result<(), HostFault> {
        self.walk(file, (Cut::Start, Cut::End), |_, _| true)?;
        self.elsewhere = None;
        Ok(())
    }

    /// Decodes a stored row, and hashes it.
    pub(super) fn decoded(&self, row: &StoredRow<'_>, room: &mut Vec<u8>) -> Result<(K, V, RowHash), HostFault> {
        // What cannot be decoded is not what was written either; the checksum is of the value.
        let read = || Ok((self.key(row.key)?, codec::decode(row.value)?));
        let (key, value) =
            read().map_err(|_: HostFault| self.placed(row.key, HostFault::new("prove a row", DAMAGED)))?;
        let hash = self.hash(&key, &value, room)?;
        Ok((key, value, hash))
    }

    /// Checks that a stored row has its checksum.
    pub(super) fn attested(&self, row: &StoredRow<'_>, hash: &RowHash) -> Result<(), HostFault> {
        match hash.checksum() == row.checksum {
            true => Ok(()),
            false => Err(self.placed(row.key, HostFault::new("prove a row", DAMAGED))),
        }
    }

    /// Reads a stored row, and proves it.
    pub(super) fn proved(&self, row: &StoredRow<'_>) -> Result<(K, V), HostFault> {
        let (key, value, hash) = self.decoded(row, &mut Vec::new())?;
        self.attested(row, &hash)?;
        Ok((key, value))
    }

    /// Says of which row a fault is.
    pub(super) fn placed(&self, key: &[u8], fault: HostFault) -> HostFault {
        let (name, key) = (self.name, hex(key));
        HostFault::damage(format_args!("table `{name}`, key {key}"), fault.why)
    }

    fn come(&mut self, key: K, value: V) {
        self.index.moved(&key, &value, true);
        self.rows.put(key, Slot { value, stamp: Stamp::committed() });
    }

    /// Lets rows leave the memory until there are few enough, or none is left that may leave: those first that were not used since the
    /// last trim looked at them. Between two cranks.
    pub(crate) fn trim(&mut self, are_few: impl Fn(&I) -> bool) {
        // In what is left of one round, and two more, each row was met once without having been used.
        let mut rounds = 3;
        while rounds > 0 && !are_few(&self.index) {
            let Some(elsewhere) = &mut self.elsewhere else { return };
            let from = elsewhere.hand.take();
            let from = from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut last = None;
            let mut leaving = Vec::new();
            for (key, row) in self.rows.within((from, Bound::Unbounded)).take(LOOK) {
                last = Some(key);
                let is_committed = row.stamp.crank() < self.block;
                if is_committed && !row.stamp.take_use() {
                    leaving.push(key.clone());
                }
            }
            elsewhere.hand = last.cloned();
            if last.is_none() {
                rounds -= 1;
            }
            if !leaving.is_empty() {
                elsewhere.whole.clear();
            }
            for key in leaving {
                elsewhere.removed.remove(&key);
                if let Some(row) = self.rows.take(&key) {
                    self.index.moved(&key, &row.value, false);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::{Digest, Fold, Journaled, database::TableLayout};

    /// Counts the rows, and those in memory.
    #[derive(Default, Debug)]
    struct Counts {
        all: i64,
        in_memory: i64,
    }

    impl Index<u64, u64> for Counts {
        fn changed(&mut self, _: &u64, old: Option<&u64>, new: Option<&u64>) {
            let more = i64::from(new.is_some()) - i64::from(old.is_some());
            self.all += more;
            self.in_memory += more;
        }

        fn moved(&mut self, _: &u64, _: &u64, is_in_memory: bool) {
            self.in_memory += if is_in_memory { 1 } else { -1 };
        }
    }

    #[derive(Clone, Debug)]
    enum Move {
        Get(u64),
        Walk(u64, u64, usize),
        Insert(u64, u64),
        Remove(u64),
        Rewind,
        Seal,
        Flush,
        Trim(i64),
    }

    fn step() -> impl Strategy<Value = Move> {
        let key = || 0..12_u64;
        prop_oneof![
            3 => key().prop_map(Move::Get),
            3 => (key(), key(), 0..6_usize).prop_map(|(from, to, max)| Move::Walk(from, to, max)),
            4 => (key(), 0..4_u64).prop_map(|(key, value)| Move::Insert(key, value)),
            3 => key().prop_map(Move::Remove),
            1 => Just(Move::Rewind),
            3 => Just(Move::Seal),
            2 => Just(Move::Flush),
            3 => (0..6_i64).prop_map(Move::Trim),
        ]
    }

    fn compare(steps: Vec<Move>) -> Result<(), TestCaseError> {
        let mut file = Database::memory(&[TableLayout { name: "test", has_long_values: true }]).expect("a database");
        let mut table: Table<u64, u64, Counts> = Table::new(1, "test");
        table.leave_in_file();
        let (mut now, mut sealed, mut digest) = (BTreeMap::new(), BTreeMap::new(), Digest::default());
        for step in steps {
            match step {
                Move::Get(key) => prop_assert_eq!(table.fetch(&file, &key).expect("reads"), now.get(&key)),
                Move::Walk(from, to, max) => {
                    let mut found = Vec::new();
                    let range = (Cut::before(from), Cut::behind(to));
                    let each = |key: &u64, value: &u64| {
                        found.push((*key, *value));
                        found.len() <= max
                    };
                    table.walk(&file, range, each).expect("reads");
                    let expected = now.iter().filter(|(key, _)| (from..=to).contains(key)).take(max + 1);
                    prop_assert_eq!(found, expected.map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
                }
                Move::Insert(key, value) => {
                    table.fetch(&file, &key).expect("reads");
                    table.insert(key, value);
                    now.insert(key, value);
                }
                Move::Remove(key) => {
                    table.fetch(&file, &key).expect("reads");
                    prop_assert_eq!(table.remove(&key), now.remove(&key));
                }
                Move::Rewind => {
                    Journaled::rewind(&mut table);
                    now.clone_from(&sealed);
                }
                Move::Seal | Move::Flush | Move::Trim(_) => {
                    table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
                    sealed.clone_from(&now);
                    if matches!(step, Move::Flush) {
                        let mut transaction = file.transaction().expect("begins");
                        table.flush(&mut transaction, &mut digest).expect("flushes");
                        transaction.commit().expect("commits");
                    }
                    if let Move::Trim(few) = step {
                        table.trim(|it| it.in_memory <= few);
                    }
                }
            }
            prop_assert_eq!(table.index.all, i64::try_from(now.len()).expect("few"));
            prop_assert_eq!(table.index.in_memory, i64::try_from(table.rows.count()).expect("few"));
        }
        table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
        let mut transaction = file.transaction().expect("begins");
        table.flush(&mut transaction, &mut digest).expect("flushes");
        transaction.commit().expect("commits");
        table.trim(|it| it.in_memory == 0);
        prop_assert_eq!(table.rows.count(), 0, "what is committed may leave");
        table.fetch_all(&file).expect("reads");
        prop_assert_eq!(table.iter().map(|(key, value)| (*key, *value)).collect::<BTreeMap<_, _>>(), now);
        let mut swept = Digest::default();
        table.sweep(&mut swept).expect("sweeps");
        prop_assert_eq!(swept, digest);
        Ok(())
    }

    proptest! {
        #[test]
        fn a_table_in_a_file_equals_a_plain_map(steps in prop::collection::vec(step(), 0..100)) {
            compare(steps)?;
        }
    }

    #[test]
    fn the_rows_that_are_used_stay_in_memory_and_a_long_walk_reads_in_pieces() {
        let mut file = Database::memory(&[TableLayout { name: "test", has_long_values: true }]).expect("a database");
        let mut table: Table<u64, u64, Counts> = Table::new(1, "test");
        (0..2_000).for_each(|key| table.insert(key, key));
        table.seal(&mut Fold::of_step("test"), None, None).expect("seals");
        let mut transaction = file.transaction().expect("begins");
        table.flush(&mut transaction, &mut Digest::default()).expect("flushes");
        transaction.commit().expect("commits");
        table.leave_in_file();
        table.trim(|it| it.in_memory == 0);
        assert_eq!(table.rows.count(), 0);
        let mut count = 0;
        table
            .walk(&file, (Cut::Start, Cut::End), |_, _| {
                count += 1;
                true
            })
            .expect("reads");
        assert_eq!(
            (count, table.reads()),
            (2_000, 2_000_u64.div_ceil(AT_ONCE.rows as u64) + u64::from(2_000 % AT_ONCE.rows == 0))
        );
        // All of it is known to be there now.
        let reads = table.reads();
        assert_eq!(table.fetch(&file, &5_000).expect("reads"), None);
        assert_eq!(table.reads(), reads);
        // A first look forgets that each was used; those that are used again outlive the others.
        table.trim(|it| it.in_memory < 2_000);
        for key in 0..100 {
            table.fetch(&file, &key).expect("reads");
        }
        table.trim(|it| it.in_memory <= 200);
        assert!((0..100).all(|key| table.contains(&key)));
    }
}
