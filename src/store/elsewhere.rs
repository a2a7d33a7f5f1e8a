//! Tables of which not all rows are in memory: a row is read from the file when it is needed, and leaves the memory again when the
//! rows take too much of it.
//!
//! ```text
//!                 fetch, walk                      insert / remove / update
//!   file ──proved──────────────────▶ memory ─────────────────────────────────▶ flush ──▶ file
//!          ◀──trim: what no open block changed, and was not used for long──┘
//! ```
//!
//! There are two ways to ask. Who has the file at hand fetches and walks, and hears of a failure at once: so vatstores are read.
//! Of a table that has its own way to the file every row seems to be there (`get`, `along`, `update`, …): so objects and c-lists are read,
//! of which the whole kernel speaks. What cannot be read then seems to be absent, and the fault is kept (see `row_file`): whoever ends a step
//! looks there first.
//!
//! Invariants:
//! * After a fetch the row is in memory, or there is none; after a walk so are all rows of its range. Who changes a row has fetched it.
//! * A row that the open block changed stays in memory until it is committed. A row that it removed is not read again.
//! * What is in memory decides nothing: neither a result, nor an order, nor a hash.
//! * Each row that comes from the file has its checksum, or is a fault that names it. That none is missing from the file is what the
//!   digest of the table attests: whoever reads all of it compares that (see `proof`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{
    model::{blame::HostFault, id::hex},
    store::{
        came::Came,
        codec::{self, Key},
        database::Database,
        hash::RowHash,
        proof::{DAMAGED, StoredRow},
        row_file::RowFile,
        rows::{Arrangement, RowMap},
        table::{Index, Slot, Table, Value},
    },
};

/// Bytes of keys and values that a walk reads from the file at once, and rows: whatever is reached first.
pub(super) const AT_ONCE: AtOnce = AtOnce { bytes: 64 << 10, rows: 64 };

/// The same of a walk that keeps no row.
const PIECE: AtOnce = AtOnce { bytes: 256 << 10, rows: 1_024 };

/// The same of rows that are near each other: if there are no more.
const NEAR: AtOnce = AtOnce { bytes: 32 << 10, rows: 512 };

/// Ranges that are known to be whole in memory, and keys that are known to be absent.
const RANGES_MAX: usize = 4_096;

/// Rows that a trim looks at before it lets some of them go.
const LOOK: usize = 512;

/// The most that is read from the file at once: it ends with the row that reaches either.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtOnce {
    pub(super) bytes: usize,
    pub(super) rows: usize,
}

impl AtOnce {
    /// The same, or all of a range where the file has its rows in another order than the memory: no piece of it is a range of both.
    fn of<K: Key>(self) -> AtOnce {
        if K::SORTS_AS_BYTES { self } else { AtOnce { bytes: usize::MAX, rows: usize::MAX } }
    }
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

    pub(super) fn note_use(&self) {
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
pub(super) struct Elsewhere<K, V> {
    /// The keys whose rows the open block removed: the file still has them.
    removed: BTreeSet<K>,
    /// No row at this place or behind it is in the file alone.
    beyond: Cut<K>,
    known: Mutex<Knowledge<K>>,
    /// Where the rows are read that somebody asks for who has only the table.
    reader: Option<RowReader<K>>,
    came: Came<K, V>,
    /// The key up to which the last trim looked.
    hand: Option<K>,
}

/// What is known of the file.
struct Knowledge<K> {
    /// Ranges of which every row is in memory, each with its end: none meets another.
    whole: BTreeMap<Cut<K>, Cut<K>>,
    /// Keys that the file has not.
    absent: BTreeSet<K>,
    /// The beginnings of neighbourhoods that are too large to be read at once.
    scattered: BTreeSet<Cut<K>>,
    reads: u64,
}

/// A range of keys.
pub(crate) type CutRange<K> = (Cut<K>, Cut<K>);

/// The way to the file, for rows that somebody asks for who has only the table.
pub struct RowReader<K> {
    pub(crate) file: RowFile,
    /// The range of the keys that are read together, where there are few in it.
    pub(crate) near: Option<fn(&K) -> CutRange<K>>,
}

impl<K, V> fmt::Debug for Elsewhere<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere")
            .field("removed", &self.removed.len())
            .field("reads", &self.known.lock().reads)
            .finish_non_exhaustive()
    }
}

impl<K: Ord + Clone, V> Elsewhere<K, V> {
    fn new(beyond: Cut<K>, reader: Option<RowReader<K>>) -> Elsewhere<K, V> {
        let known = Knowledge { whole: BTreeMap::new(), absent: BTreeSet::new(), scattered: BTreeSet::new(), reads: 0 };
        Elsewhere {
            removed: BTreeSet::new(),
            beyond,
            known: Mutex::new(known),
            reader,
            came: Came::default(),
            hand: None,
        }
    }

    pub(super) fn removed(&mut self, key: &K) {
        self.removed.insert(key.clone());
    }

    /// The block is committed: the file has what the memory has.
    pub(super) fn end_block(&mut self) {
        self.removed.clear();
    }

    /// Returns whether the file may have a row under a key that is not in memory.
    fn may_have(&self, key: &K) -> bool {
        let is_beyond = match &self.beyond {
            Cut::Start => true,
            Cut::At(first, Side::Before) => key >= first,
            Cut::At(last, Side::Behind) => key > last,
            Cut::End => false,
        };
        let known = self.known.lock();
        !is_beyond
            && !self.removed.contains(key)
            && !known.absent.contains(key)
            && known.whole_from(&Cut::before(key.clone())).is_none()
    }
}

impl<K: Ord + Clone> Knowledge<K> {
    /// Returns how far everything behind a place is in memory.
    fn whole_from(&self, from: &Cut<K>) -> Option<&Cut<K>> {
        self.whole.range(..=from).next_back().map(|(_, last)| last).filter(|last| from < *last)
    }

    /// Notes a range of which every row is in memory.
    fn note_whole(&mut self, mut from: Cut<K>, mut to: Cut<K>) {
        if let Some((first, last)) = self.whole.range(..=&from).next_back()
            && *last >= from
        {
            from = first.clone();
            to = to.max(last.clone());
        }
        while let Some((first, last)) = self.whole.range(&from..).next().filter(|(first, _)| **first <= to) {
            let first = first.clone();
            to = to.max(last.clone());
            self.whole.remove(&first);
        }
        if self.whole.len() >= RANGES_MAX {
            self.whole.pop_first();
        }
        self.whole.insert(from, to);
    }

    fn note_absent(&mut self, key: K) {
        if self.absent.len() >= RANGES_MAX {
            self.absent.clear();
        }
        self.absent.insert(key);
    }

    /// A row left the memory.
    fn note_left(&mut self, key: &K) {
        self.absent.remove(key);
        let place = Cut::before(key.clone());
        if let Some((first, _)) = self.whole.range(..=&place).next_back().filter(|(_, last)| **last > place) {
            let first = first.clone();
            self.whole.remove(&first);
        }
    }
}

fn bytes<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.write(&mut bytes);
    bytes
}

/// Hands over the rows of a range of a table in key order, until it is told to stop. None of them comes to memory.
pub(crate) fn look<K: Key, V: Value, I: Index<K, V>, A: Arrangement<K>>(
    table: &Table<K, V, I, A>,
    file: &Database,
    (mut from, to): CutRange<K>,
    mut each: impl FnMut(&K, &V) -> bool,
) -> Result<(), HostFault> {
    while from < to {
        let mut rows = BTreeMap::new();
        let mut end = to.clone();
        if let Some(elsewhere) = &table.elsewhere {
            let [first, last] = [from.first(), to.last()].map(|it| it.map(bytes));
            let is_all = file.file.rows_within(table.name, (first, last), AT_ONCE.of::<K>(), &mut |row| {
                let (key, value) = table.proved(row)?;
                rows.insert(key, value);
                Ok(())
            })?;
            if let (false, Some((key, _))) = (is_all, rows.last_key_value()) {
                end = Cut::behind(key.clone());
            }
            rows.retain(|key, _| !elsewhere.removed.contains(key) && table.rows.find(key).is_none());
        }
        let mut read = rows.iter().peekable();
        for (key, row) in table.rows.within((from.first(), end.last())) {
            while let Some((key, value)) = read.next_if(|(it, _)| *it < key) {
                if !each(key, value) {
                    return Ok(());
                }
            }
            if !each(key, &row.value) {
                return Ok(());
            }
        }
        if !read.all(|(key, value)| each(key, value)) {
            return Ok(());
        }
        from = end;
    }
    Ok(())
}

/// Hands over all rows of a table that nobody has changed, in whatever order its file has them. None of them comes to memory.
pub(crate) fn each_row<K: Key, V: Value, I: Index<K, V>, A: Arrangement<K>, E: From<HostFault>>(
    table: &Table<K, V, I, A>,
    mut each: impl FnMut(&K, &V) -> Result<(), E>,
) -> Result<(), E> {
    let reader = match &table.elsewhere {
        None => return table.iter().try_for_each(|(key, value)| each(key, value)),
        Some(elsewhere) => elsewhere.reader.as_ref(),
    };
    let no_file = || HostFault::new(format_args!("read table `{}`", table.name), "somebody else has its file");
    let file = &reader.ok_or_else(no_file)?.file;
    let mut from = Bound::Unbounded;
    loop {
        let (mut rows, mut last) = (Vec::new(), None);
        let is_all = file.rows_within(table.name, (from, Bound::Unbounded), PIECE, &mut |row| {
            rows.push(table.proved(row)?);
            last = Some(row.key.to_vec());
            Ok(())
        })?;
        rows.iter().try_for_each(|(key, value)| each(key, value))?;
        match last {
            Some(key) if !is_all => from = Bound::Excluded(key),
            _ => return Ok(()),
        }
    }
}

/// Counts the rows of a table whose values are stored with this beginning, as they were committed: of one that reads by itself.
pub(crate) fn stored_beginning_with<K: Key, V: Value, I: Index<K, V>, A: Arrangement<K>>(
    table: &Table<K, V, I, A>,
    begin: &[u8],
) -> usize {
    let reader = table.elsewhere.as_ref().and_then(|it| it.reader.as_ref());
    reader.and_then(|it| it.file.or_none(it.file.count_beginning_with(table.name, begin))).unwrap_or(0)
}

impl<K: Key, V: Value, I: Index<K, V>, A: Arrangement<K>> Table<K, V, I, A> {
    /// Returns the number of rows in memory, those that came since the last change among them.
    pub(crate) fn in_memory(&mut self) -> usize {
        self.settle_in();
        self.rows.count()
    }

    /// Returns whether every row is in memory.
    pub fn is_whole(&self) -> bool {
        self.elsewhere.is_none()
    }

    /// Returns how many rows and pieces were read from the file since they began to leave the memory.
    pub fn reads(&self) -> u64 {
        self.elsewhere.as_ref().map_or(0, |it| it.known.lock().reads)
    }

    /// Has rows stay in the file until they are needed, from now on: after a commit, or before any row was read. Without a reader
    /// somebody fetches them who has the file. No key of the file is at `beyond` or behind it.
    pub(crate) fn leave_in_file(&mut self, beyond: Cut<K>, reader: Option<RowReader<K>>) {
        if self.is_whole() {
            self.elsewhere = Some(Box::new(Elsewhere::new(beyond, reader)));
        }
    }

    /// Returns the row of this key, which is read if it is not in memory.
    pub fn fetch(&mut self, file: &Database, key: &K) -> Result<Option<&V>, HostFault> {
        if let Some(elsewhere) = &self.elsewhere
            && self.rows.find(key).is_none()
            && let Some((key, value)) = self.read_row(elsewhere, &file.file, key)?
        {
            self.come(key, Slot { value, stamp: Stamp::committed() });
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
        (mut from, to): CutRange<K>,
        mut each: impl FnMut(&K, &V) -> bool,
    ) -> Result<(), HostFault> {
        while from < to {
            let end = self.read_on(&file.file, &from, &to, AT_ONCE)?;
            self.settle_in();
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

    /// Reads every row that is not in memory. None leaves any more.
    pub(crate) fn fetch_all(&mut self, file: &Database) -> Result<(), HostFault> {
        self.walk(file, (Cut::Start, Cut::End), |_, _| true)?;
        self.elsewhere = None;
        Ok(())
    }

    /// Reads the row of a key that is not in memory.
    fn read_row(&self, elsewhere: &Elsewhere<K, V>, file: &RowFile, key: &K) -> Result<Option<(K, V)>, HostFault> {
        if !elsewhere.may_have(key) {
            return Ok(None);
        }
        elsewhere.known.lock().reads += 1;
        let stored = bytes(key);
        match file.row(self.name, &stored)? {
            Some((value, checksum)) => self.proved(&StoredRow { key: &stored, value: &value, checksum }).map(Some),
            None => {
                elsewhere.known.lock().note_absent(key.clone());
                Ok(None)
            }
        }
    }

    /// Reads what is missing from memory behind a place, and returns how far nothing is missing then.
    fn read_on(&self, file: &RowFile, from: &Cut<K>, to: &Cut<K>, max: AtOnce) -> Result<Cut<K>, HostFault> {
        let Some(elsewhere) = self.elsewhere.as_ref().filter(|it| *from < it.beyond) else { return Ok(to.clone()) };
        if let Some(end) = elsewhere.known.lock().whole_from(from) {
            return Ok(end.min(to).clone());
        }
        elsewhere.known.lock().reads += 1;
        let [first, last] = [from.first(), to.last()].map(|it| it.map(bytes));
        let mut end = to.clone();
        let is_all = file.rows_within(self.name, (first, last), max.of::<K>(), &mut |row| {
            let (key, value) = self.proved(row)?;
            end = Cut::behind(key.clone());
            if !elsewhere.removed.contains(&key) && self.rows.find(&key).is_none() && elsewhere.came.get(&key).is_none()
            {
                elsewhere.came.put(key, Slot { value, stamp: Stamp::committed() });
            }
            Ok(())
        })?;
        if is_all {
            end.clone_from(to);
        }
        elsewhere.known.lock().note_whole(from.clone(), end.clone());
        Ok(end)
    }

    /// Returns the row of a key that is not among those that the table knows: it may wait, or is read.
    #[cold]
    pub(super) fn seek(&self, key: &K) -> Option<&V> {
        let elsewhere = self.elsewhere.as_ref()?;
        if let Some(row) = elsewhere.came.get(key) {
            return Some(&row.value);
        }
        let reader = elsewhere.reader.as_ref()?;
        if !elsewhere.may_have(key) {
            return None;
        }
        if let Some(near) = reader.near {
            let (from, to) = near(key);
            if !elsewhere.known.lock().scattered.contains(&from) {
                let end = reader.file.or_none(self.read_on(&reader.file, &from, &to, NEAR))?;
                if end < to {
                    elsewhere.known.lock().scattered.insert(from);
                }
                if let Some(row) = elsewhere.came.get(key) {
                    return Some(&row.value);
                }
            }
        }
        let (key, value) = reader.file.or_none(self.read_row(elsewhere, &reader.file, key))??;
        Some(&elsewhere.came.put(key, Slot { value, stamp: Stamp::committed() }).1.value)
    }

    /// Iterates over the rows of a range, in key order; those that are not in memory are read, as the iteration comes to them.
    pub fn along(&self, (from, to): CutRange<K>) -> impl Iterator<Item = (&K, &V)> {
        let all = (self.is_whole() && from < to).then(|| (from.first().cloned(), to.last().cloned()));
        let all = all.map(|it| self.rows.within(it).map(|(key, it)| (key, &it.value)));
        let (mut from, mut piece) = (from, VecDeque::new());
        let pieces = std::iter::from_fn(move || {
            while piece.is_empty() && from < to {
                let elsewhere = self.elsewhere.as_ref()?;
                let end = match &elsewhere.reader {
                    Some(reader) => reader.file.or_none(self.read_on(&reader.file, &from, &to, AT_ONCE))?,
                    None => to.clone(),
                };
                let range = (from.first(), end.last());
                let mut rows: Vec<_> = self.rows.within(range).map(|(key, it)| (key, &it.value)).collect();
                rows.extend(elsewhere.came.within(range).into_iter().map(|(key, it)| (key, &it.value)));
                rows.sort_by_key(|(key, _)| *key);
                piece.extend(rows);
                from = end;
            }
            piece.pop_front()
        });
        all.into_iter().flatten().chain(pieces)
    }

    /// Returns the keys of a range whose values are stored as this one, but for the last byte, and which are not among those that the
    /// table knows: of a table with an index on that (see `TableLayout`).
    pub(crate) fn found_by_value(&self, like: &V, range: &CutRange<K>) -> Vec<K> {
        let Some(elsewhere) = &self.elsewhere else { return Vec::new() };
        let Some(RowReader { file, .. }) = &elsewhere.reader else { return Vec::new() };
        let ends = (range.0.first(), range.1.last());
        let find = || {
            let begin = codec::beginning(like)?;
            if elsewhere.known.lock().whole_from(&range.0).is_some_and(|end| *end >= range.1) {
                let mut found = elsewhere.came.within(ends);
                found.retain(|(_, it)| codec::beginning(&it.value).is_ok_and(|it| it == begin));
                return Ok(found.into_iter().map(|(key, _)| key.clone()).collect());
            }
            elsewhere.known.lock().reads += 1;
            let mut found = Vec::new();
            let ends = (ends.0.map(bytes), ends.1.map(bytes));
            file.rows_beginning_with(self.name, &begin, ends, &mut |row| {
                let (key, value) = self.proved(row)?;
                if !elsewhere.removed.contains(&key) && self.rows.find(&key).is_none() {
                    if elsewhere.came.get(&key).is_none() {
                        elsewhere.came.put(key.clone(), Slot { value, stamp: Stamp::committed() });
                    }
                    found.push(key);
                }
                Ok(())
            })?;
            Ok(found)
        };
        file.or_none(find()).unwrap_or_default()
    }

    /// Counts the rows of a range, as they were committed.
    pub(crate) fn stored_within(&self, (from, to): &CutRange<K>) -> usize {
        let reader = self.elsewhere.as_ref().and_then(|it| it.reader.as_ref());
        let [first, last] = [from.first(), to.last()].map(|it| it.map(bytes));
        reader.and_then(|it| it.file.or_none(it.file.count_within(self.name, (first, last)))).unwrap_or(0)
    }

    /// Has the row of a key among those that the table knows, if there is one: before it is changed.
    #[cold]
    pub(super) fn settle(&mut self, key: &K) {
        if self.rows.find(key).is_none() {
            self.seek(key);
        }
        self.settle_in();
    }

    /// Has the rows that came among those that the table knows.
    fn settle_in(&mut self) {
        let Some(elsewhere) = &mut self.elsewhere else { return };
        if !elsewhere.came.is_empty() {
            for (key, row) in elsewhere.came.take() {
                self.come(key, row);
            }
        }
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
        HostFault::damage(format_args!("table `{name}`, key {key}"), &fault.why)
    }

    fn come(&mut self, key: K, row: Slot<V>) {
        self.index.moved(&key, &row.value, true);
        self.rows.put(key, row);
    }

    /// Lets rows leave the memory until there are few enough, or none is left that may leave: those first that were not used since the
    /// last trim looked at them. Between two cranks. `are_few` sees the index, and how many rows are in memory.
    pub(crate) fn trim(&mut self, are_few: impl Fn(&I, usize) -> bool) {
        self.settle_in();
        // In what is left of one round, and two more, each row was met once without having been used.
        let mut rounds = 3;
        while rounds > 0 && !are_few(&self.index, self.rows.count()) {
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
            for key in leaving {
                elsewhere.removed.remove(&key);
                elsewhere.known.get_mut().note_left(&key);
                if let Some(row) = self.rows.take(&key) {
                    self.index.moved(&key, &row.value, false);
                    if elsewhere.beyond < Cut::behind(key.clone()) {
                        elsewhere.beyond = Cut::behind(key);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
