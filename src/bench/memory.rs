//! The memory that a state takes for each idle vat, each object, each promise.
//!
//! It is the growth of the process's resident memory, so everything is counted: rows, indices, instances, the database's cache. Each
//! state is kept until the last was measured, so that none reuses memory that another freed.

use serde::Serialize;

use crate::{
    bench::{Load, Size, live::Live, machine},
    host::controller::HostOptions,
    model::{
        blame::HostFault,
        id::{KRef, ObjectId, PromiseId, TextOrd, VRef, VatId},
        value::CapData,
    },
    state::table::{CListEntry, Object, Owner, Policy, Promise, PromiseState, Tables},
    store::{self, Journaled, Value, codec::Key},
};

/// The measured memory of states, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Vats of the state besides the first.
    pub vats: u64,
    /// Vats that are live.
    pub live: u64,
    /// Bytes for each idle vat.
    pub per_idle_vat: u64,
    /// Bytes for each vat once it is evicted.
    pub per_evicted_vat: u64,
    /// Objects that a vat holds.
    pub objects: u64,
    /// Bytes for each object: its row, and its entries in two c-lists.
    pub per_object: u64,
    /// Bytes on disk for each object.
    pub per_object_on_disk: u64,
    /// Promises that a vat holds.
    pub promises: u64,
    /// Bytes for each promise.
    pub per_promise: u64,
    /// Bytes for each row of the tables that need not be in memory.
    pub rows: RowRoom,
    /// The most memory that was resident.
    pub peak_bytes: u64,
}

/// The bytes of memory that a row takes, in the order of creation: what a host counts such rows as (see `state::block::stored`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowRoom {
    /// Rows of each table.
    pub count: u64,
    /// Bytes for each entry of a c-list, its place in the index included.
    pub entry: u64,
    /// Bytes for each object.
    pub object: u64,
    /// Bytes for each promise.
    pub promise: u64,
    /// Bytes for each settlement, of a body of 8 bytes and one slot.
    pub settlement: u64,
    /// Bytes for each subscriber.
    pub subscriber: u64,
}

/// Puts rows into a table, and returns the bytes by which the process grew for each.
fn grown<K: Key, V: Value>(
    table: &mut dyn Journaled,
    count: u64,
    row: impl Fn(u64) -> (K, V),
) -> Result<u64, HostFault> {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let before = machine::resident();
    for number in 0..count {
        let (of, is) = row(number);
        key.clear();
        of.write(&mut key);
        value.clear();
        store::encode(&is, &mut value)?;
        table.place(&key, Some(&value))?;
    }
    Ok(machine::resident().saturating_sub(before) / count)
}

/// Measures rows in tables that stand alone; the tables stay.
fn rows(tables: &mut Tables, count: u64) -> Result<RowRoom, HostFault> {
    let vat = VatId(1);
    let promise = |state| Promise { state, refs: 1, policy: Policy::default() };
    Ok(RowRoom {
        count,
        entry: grown(&mut tables.clist, count, |it| {
            let entry = CListEntry { kref: KRef::Object(ObjectId(it)), reachable: true };
            ((vat, VRef::imported_object(it + 1)), entry)
        })?,
        object: grown(&mut tables.objects, count, |it| {
            (ObjectId(it), Object { owner: Some(Owner::Vat(vat)), ..Object::default() })
        })?,
        promise: grown(&mut tables.promises, count, |it| {
            (PromiseId(it), promise(PromiseState::Rejected { with: PromiseId(it) }))
        })?,
        settlement: grown(&mut tables.settlements, count, |it| {
            (PromiseId(it), CapData { body: "#\"$0.x\"".into(), slots: vec![KRef::Object(ObjectId(it))] })
        })?,
        subscriber: grown(&mut tables.subscribers, count, |it| ((PromiseId(it), TextOrd(vat.0)), ()))?,
    })
}

/// Measures the memory of states. `told` receives the name of each part before it begins.
pub fn memory(size: Size, told: &mut dyn FnMut(&str)) -> anyhow::Result<Memory> {
    let (vats, objects, promises) = (size.of(10_000), size.of(1_000_000), size.of(1_000_000));
    let none = HostOptions { snapshot_interval: Some(0), ..HostOptions::default() };
    machine::forget_peak();
    told("rows");
    let mut tables = Tables::default();
    let rows = rows(&mut tables, size.of(1_000_000))?;
    // What every state takes.
    let _one = Live::steady(Load::pair('p', 1), none, size)?;
    let mut grew = |load: Load| -> anyhow::Result<(Live, u64)> {
        told(match load.letter {
            'f' => "vats",
            'o' => "objects",
            _ => "promises",
        });
        let before = machine::resident();
        let live = Live::steady(load, HostOptions { snapshot_interval: Some(0), ..HostOptions::default() }, size)?;
        Ok((live, machine::resident().saturating_sub(before)))
    };
    let (mut fan, of_vats) = grew(Load::fan(vats))?;
    let live = fan.controller.live() as u64;
    let (given, of_objects) = grew(Load::pair('o', objects))?;
    let (_promised, of_promises) = grew(Load::pair('q', promises))?;
    let before = machine::resident();
    fan.controller.evict_all();
    let freed = before.saturating_sub(machine::resident());
    Ok(Memory {
        vats,
        live,
        per_idle_vat: of_vats / vats,
        per_evicted_vat: of_vats.saturating_sub(freed) / vats,
        objects,
        per_object: of_objects / objects,
        per_object_on_disk: machine::size_of(given.dir()) / objects,
        promises,
        per_promise: of_promises / promises,
        rows,
        peak_bytes: machine::peak(),
    })
}
