//! Rows that are in memory, or in the file where they are not (see `store::elsewhere`): vatstores; and *references*, which are c-lists,
//! objects, promises, settlements and subscribers.
//!
//! ```text
//!   open ──too many? they stay in the file──▶ asked for, row by row ──over the memory for rows? between two cranks──▶ what was not used leaves
//! ```
//!
//! Invariants: these functions alone read keys and values of a vat for a block that runs; who would iterate over the rows of one of the
//! tables itself has fetched all of them before. References seem to be in memory to everybody.

use std::{collections::BTreeMap, ops::ControlFlow};

use super::{Block, Inner};
use crate::{
    model::{
        blame::HostFault,
        id::VatId,
        value::{Bytes, StoreKey},
    },
    state::table::{Globals, Tables, Vatstore},
    store::{self, Cut, Database, RowFile, RowReader, StoreSum},
};

/// Bytes of rows that are read and proved at once when a state is opened. Where the vatstores are larger they stay in the file until
/// they are needed.
const READ_AT_ONCE: u64 = 8 << 20;

/// The same of the rows of a table of references: to read so many takes some 10 ms.
const REFERENCES_AT_ONCE: u64 = 10_000;

/// Bytes of memory that an entry of a c-list takes, in its places in two maps: as the others here, measured over a million that came in
/// the order of their keys (`vathost bench memory`).
const ENTRY_BYTES: u64 = 161;

/// Bytes of memory that an object takes.
const OBJECT_BYTES: u64 = 95;

/// Bytes of memory that a promise takes.
const PROMISE_BYTES: u64 = 95;

/// Bytes of memory that a subscriber takes, or a count of those who share a settlement.
const COUNT_BYTES: u64 = 50;

/// Returns the value of a key, if there is one.
pub(crate) fn get(block: &mut Block, vat: VatId, key: Bytes) -> Result<Option<Bytes>, HostFault> {
    let inner = &mut *block.0;
    Ok(inner.tables.vatstore.fetch(&inner.database, &(vat, key.into()))?.cloned())
}

/// Writes a value under a key.
pub(crate) fn set(block: &mut Block, vat: VatId, key: Bytes, value: Bytes) -> Result<(), HostFault> {
    let inner = &mut *block.0;
    let key = (vat, key.into());
    if !inner.tables.vatstore.is_whole() {
        inner.tables.vatstore.fetch(&inner.database, &key)?;
    }
    inner.tables.vatstore.insert(key, value);
    Ok(())
}

/// Removes a key and its value.
pub(crate) fn delete(block: &mut Block, vat: VatId, key: Bytes) -> Result<(), HostFault> {
    let inner = &mut *block.0;
    let key = (vat, key.into());
    if !inner.tables.vatstore.is_whole() {
        inner.tables.vatstore.fetch(&inner.database, &key)?;
    }
    inner.tables.vatstore.remove(&key);
    Ok(())
}

/// Hands over the keys and values of a vat from a place on, in order, until it is told to stop.
pub(crate) fn walk(
    block: &mut Block,
    vat: VatId,
    from: Cut<(VatId, StoreKey)>,
    mut each: impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
) -> Result<(), HostFault> {
    let inner = &mut *block.0;
    let (_, end) = Vatstore::of(vat);
    let each = |(_, key): &(VatId, StoreKey), value: &Bytes| each(key, value).is_continue();
    inner.tables.vatstore.walk(&inner.database, (from, end), each)
}

/// Hands over the keys and values of a vat from a place on, as [`walk`] does, and keeps nothing of it in memory.
pub(crate) fn look(
    block: &Block,
    vat: VatId,
    from: Cut<(VatId, StoreKey)>,
    mut each: impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
) -> Result<(), HostFault> {
    let inner = &*block.0;
    let (_, end) = Vatstore::of(vat);
    let each = |(_, key): &(VatId, StoreKey), value: &Bytes| each(key, value).is_continue();
    store::look(&inner.tables.vatstore, &inner.database, (from, end), each)
}

/// Returns the first keys of a vat, as many as these.
pub(crate) fn first_keys(block: &mut Block, vat: VatId, max: usize) -> Result<Vec<Bytes>, HostFault> {
    let mut keys = Vec::new();
    if max > 0 {
        walk(block, vat, Vatstore::of(vat).0, |key, _| {
            keys.push(key.clone());
            if keys.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    Ok(keys)
}

/// Reads all that is not in memory: for who looks at whole tables, or goes on from blocks that are never committed. Nothing of it
/// leaves the memory again.
pub fn fetch_all(block: &mut Block) -> Result<(), HostFault> {
    let inner = &mut *block.0;
    inner.tables.vatstore.fetch_all(&inner.database)?;
    inner.stored_max = None;
    fetch_references(block)
}

/// Reads all references that are not in memory.
fn fetch_references(block: &mut Block) -> Result<(), HostFault> {
    let Inner { tables, database, .. } = &mut *block.0;
    tables.clist.gather(database)?;
    tables.objects.fetch_all(database)?;
    tables.promises.fetch_all(database)?;
    tables.settlements.fetch_all(database)?;
    tables.subscribers.fetch_all(database)?;
    tables.sharers.fetch_all(database)
}

/// Reads all references, and keeps them in memory: for a host that audits, which recounts all of them.
pub fn hold_references(block: &mut Block) -> Result<(), HostFault> {
    block.0.holds_references = true;
    fetch_references(block)
}

/// Says how many bytes of memory rows may take between two cranks that need not be there: what was not used for longest leaves.
pub fn set_memory(block: &mut Block, bytes: u64) {
    block.0.stored_max = block.0.database.is_in_a_file().then_some(bytes);
    trim(block, true);
}

/// Returns how often rows were read from the file, since they first left the memory.
pub fn reads(block: &Block) -> u64 {
    let tables = &block.0.tables;
    let promises = tables.promises.reads() + tables.settlements.reads() + tables.subscribers.reads();
    tables.vatstore.reads() + tables.clist.reads() + tables.objects.reads() + promises + tables.sharers.reads()
}

/// Counts the rows that the tables have which are not in memory as a whole, as they were committed.
pub fn rows_left(block: &Block) -> u64 {
    let tables = &block.0.tables;
    let stored = if tables.vatstore.is_whole() { 0 } else { tables.vatstore.all_keys() };
    let references = [
        tables.clist.stored_within(&(Cut::Start, Cut::End)),
        tables.objects.stored_within(&(Cut::Start, Cut::End)),
        tables.promises.stored_within(&(Cut::Start, Cut::End)),
        tables.settlements.stored_within(&(Cut::Start, Cut::End)),
        tables.subscribers.stored_within(&(Cut::Start, Cut::End)),
        tables.sharers.stored_within(&(Cut::Start, Cut::End)),
    ];
    stored + references.iter().sum::<usize>() as u64
}

/// Returns the file of rows that are asked for of a table, if there are some: what could not be read of it is kept there.
pub(crate) fn file_of(block: &Block) -> Option<RowFile> {
    (!block.0.tables.are_whole()).then(|| block.0.database.file.clone())
}

/// Refuses where a row could not be read, and its reader was told that there is none.
pub fn check_reads(block: &Block) -> Result<(), HostFault> {
    block.0.database.file.check()
}

/// Lets rows leave the memory where they take too much of it. `committed`: nothing changed since the last commit.
pub(super) fn trim(block: &mut Block, committed: bool) {
    let Inner { tables, database, stored_max, holds_references, .. } = &mut *block.0;
    let Some(max) = *stored_max else { return };
    // Rows begin to leave at a commit.
    if !committed && tables.vatstore.is_whole() && tables.are_whole() {
        return;
    }
    let taken = [
        tables.vatstore.index().in_memory(),
        tables.clist.in_memory() as u64 * ENTRY_BYTES,
        tables.objects.in_memory() as u64 * OBJECT_BYTES,
        tables.promises.in_memory() as u64 * PROMISE_BYTES,
        tables.settlements.in_bytes(),
        tables.subscribers.in_memory() as u64 * COUNT_BYTES,
        tables.sharers.in_memory() as u64 * COUNT_BYTES,
    ];
    let all: u64 = taken.iter().sum();
    if all <= max {
        return;
    }
    let globals = tables.globals();
    if committed {
        tables.vatstore.leave_in_file(Cut::End, None);
        if !*holds_references {
            leave_references(tables, database, &globals);
        }
    }
    // A little more than must be, or the next crank would begin anew.
    let few = max - max / 8;
    let share = |taken: u64| u64::try_from(u128::from(taken) * u128::from(few) / u128::from(all)).unwrap_or(few);
    let [store, entries, objects, promises, settlements, subscribers, sharers] = taken.map(share);
    tables.vatstore.trim(|it, _| it.in_memory() <= store);
    tables.clist.trim_to(entries / ENTRY_BYTES, &globals);
    tables.objects.trim(|_, rows| rows as u64 <= objects / OBJECT_BYTES);
    tables.promises.trim(|_, rows| rows as u64 <= promises / PROMISE_BYTES);
    tables.settlements.trim(|it, _| it.bytes() <= settlements);
    tables.subscribers.trim(|_, rows| rows as u64 <= subscribers / COUNT_BYTES);
    tables.sharers.trim(|_, rows| rows as u64 <= sharers / COUNT_BYTES);
}

/// Returns whether vatstores of these sizes are too large to be read when the state is opened.
pub(super) fn too_large(sums: &BTreeMap<VatId, StoreSum>) -> bool {
    sums.values().fold(0, |all: u64, it| all.saturating_add(it.bytes)) > READ_AT_ONCE
}

/// Returns whether there are too many references to read them when the state is opened.
pub(crate) fn too_many(database: &Database) -> Result<bool, HostFault> {
    let mut tables = ["clist", "object", "promise", "settlement", "subscriber"].into_iter();
    let is_large = |it| database.file.is_larger_than(it, REFERENCES_AT_ONCE, READ_AT_ONCE);
    tables.try_fold(false, |found, it| Ok(found || is_large(it)?))
}

/// Has references stay in the file until they are needed.
pub(crate) fn leave_references(tables: &mut Tables, database: &Database, globals: &Globals) {
    let Globals { next_object, next_promise, .. } = *globals;
    let file = &database.file;
    tables.clist.leave(file.clone(), globals);
    tables.objects.leave_in_file(Cut::before(next_object), Some(RowReader { file: file.clone(), near: None }));
    tables.promises.leave_in_file(Cut::before(next_promise), Some(RowReader { file: file.clone(), near: None }));
    tables.settlements.leave_in_file(Cut::before(next_promise), Some(RowReader { file: file.clone(), near: None }));
    tables.subscribers.leave(file.clone(), next_promise);
    // Most states have none: then none is looked for.
    let beyond = if file.is_empty("sharers") { Cut::Start } else { Cut::before(next_promise) };
    tables.sharers.leave_in_file(beyond, Some(RowReader { file: file.clone(), near: None }));
}
