//! The vatstore: read from memory, or from the file where it is not in memory (see `store::elsewhere`).
//!
//! Invariant: these alone read keys and values of a vat for a block that runs; who would iterate over the rows of the table itself
//! has fetched all of them before.

use std::{collections::BTreeMap, ops::ControlFlow};

use super::Block;
use crate::{
    model::{
        blame::HostFault,
        id::VatId,
        value::{Bytes, StoreKey},
    },
    state::table::Vatstore,
    store::{Cut, StoreSum},
};

/// Bytes of rows that are read and proved at once when a state is opened. Where the vatstores are larger they stay in the file until
/// they are needed.
const READ_AT_ONCE: u64 = 8 << 20;

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

/// Reads all that is not in memory: for who looks at whole vatstores, or goes on from blocks that are never committed. Nothing of it
/// leaves the memory again.
pub fn fetch_all(block: &mut Block) -> Result<(), HostFault> {
    let inner = &mut *block.0;
    inner.tables.vatstore.fetch_all(&inner.database)?;
    inner.stored_max = None;
    Ok(())
}

/// Says how many bytes of memory the vatstores may take between two cranks: what was not used for longest leaves.
pub fn set_memory(block: &mut Block, bytes: u64) {
    block.0.stored_max = block.0.database.is_in_a_file().then_some(bytes);
    trim(block, true);
}

/// Returns how often keys and values were read from the file, since they first left the memory.
pub fn reads(block: &Block) -> u64 {
    block.0.tables.vatstore.reads()
}

/// Lets rows leave the memory where they take too much of it. `committed`: nothing changed since the last commit.
pub(super) fn trim(block: &mut Block, committed: bool) {
    let inner = &mut *block.0;
    let Some(max) = inner.stored_max else { return };
    let vatstore = &mut inner.tables.vatstore;
    if vatstore.index().in_memory() <= max {
        return;
    }
    if committed {
        vatstore.leave_in_file();
    }
    // A little more than must be, or the next crank would begin anew.
    vatstore.trim(|it| it.in_memory() <= max - max / 8);
}

/// Returns whether vatstores of these sizes are too large to be read when the state is opened.
pub(super) fn too_large(sums: &BTreeMap<VatId, StoreSum>) -> bool {
    sums.values().fold(0, |all: u64, it| all.saturating_add(it.bytes)) > READ_AT_ONCE
}
