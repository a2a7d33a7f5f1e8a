//! The heap of an instance, its memory and its mutable globals: taken for a snapshot, and put back from one.

use std::{collections::BTreeMap, sync::Arc};

use wasmtime::{Global, Memory, Store, V128, Val};

use crate::{
    model::blame::HostFault,
    state::snapshot::{GlobalValue, Heap, Image, Snapshot},
    store::PAGE_BYTES,
    vat::{
        abi::InstanceData,
        dirty::{Pages, ZEROS},
    },
};

/// Bytes of a WebAssembly page; snapshots have smaller ones, of `PAGE_BYTES`.
pub(super) const WASM_PAGE_BYTES: usize = 64 << 10;

/// Returns the heap as it is, and the bytes of those pages that `base` does not have at the same place.
pub(super) fn image(
    store: &mut Store<InstanceData>,
    memory: Memory,
    globals: &[Global],
    pages: &mut Pages,
    base: Option<&Heap>,
) -> Result<Image, HostFault> {
    let globals = self::globals(store, globals)?;
    let data = memory.data(&*store);
    let hashes = pages.hashes(data);
    let mut fresh = BTreeMap::new();
    for (at, (hash, page)) in hashes.iter().zip(data.as_chunks::<PAGE_BYTES>().0).enumerate() {
        let known = base.is_some_and(|it| it.pages.get(at) == Some(hash));
        if let (Some(hash), false) = (hash, known) {
            fresh.entry(*hash).or_insert_with(|| Arc::from(page.as_slice()));
        }
    }
    Ok(Image { heap: Heap { pages: hashes.to_vec(), globals }, fresh })
}

/// Makes the heap of a new instance what the snapshot says.
pub(super) fn restore(
    store: &mut Store<InstanceData>,
    memory: Memory,
    globals: &[Global],
    pages: &mut Pages,
    snapshot: Snapshot<'_>,
) -> Result<(), HostFault> {
    let heap = snapshot.heap;
    grow(store, memory, heap.pages.len() * PAGE_BYTES)?;
    let data = memory.data_mut(&mut *store);
    for (hash, page) in heap.pages.iter().zip(data.as_chunks_mut::<PAGE_BYTES>().0) {
        match hash {
            Some(hash) => (snapshot.read)(*hash, page)?,
            // The module's own data may lie in a page that was zeroed since. A page that needs no write gets none, so it stays untouched.
            None if *page == ZEROS => (),
            None => page.fill(0),
        }
    }
    pages.restored(data, heap);
    set_globals(store, globals, &heap.globals)
}

/// Grows a memory to this size.
pub(super) fn grow(store: &mut Store<InstanceData>, memory: Memory, bytes: usize) -> Result<(), HostFault> {
    let more = bytes.checked_sub(memory.data_size(&*store)).filter(|it| it % WASM_PAGE_BYTES == 0);
    let more = more.ok_or_else(|| broken("it is not one of this module"))?;
    memory.grow(store, (more / WASM_PAGE_BYTES) as u64).map(drop).map_err(|err| broken(format_args!("{err:#}")))
}

/// Returns the values of the mutable globals.
pub(super) fn globals(store: &mut Store<InstanceData>, globals: &[Global]) -> Result<Vec<GlobalValue>, HostFault> {
    globals.iter().map(|it| value_of(it.get(&mut *store))).collect()
}

/// Gives the mutable globals these values.
pub(super) fn set_globals(
    store: &mut Store<InstanceData>,
    globals: &[Global],
    values: &[GlobalValue],
) -> Result<(), HostFault> {
    if globals.len() != values.len() {
        return Err(broken("it is not one of this module"));
    }
    let set = |(global, value): (&Global, &GlobalValue)| global.set(&mut *store, val_of(*value));
    globals.iter().zip(values).try_for_each(set).map_err(|err| broken(format_args!("{err:#}")))
}

/// Makes a used heap what the snapshot says, writing only the pages that differ. Returns whether it could: the memory must
/// have the snapshot's size, otherwise the instance is made anew.
pub(super) fn put_back(
    store: &mut Store<InstanceData>,
    memory: Memory,
    globals: &[Global],
    pages: &mut Pages,
    snapshot: Snapshot<'_>,
) -> Result<bool, HostFault> {
    let heap = snapshot.heap;
    if memory.data_size(&*store) / PAGE_BYTES != heap.pages.len() || globals.len() != heap.globals.len() {
        return Ok(false);
    }
    let data = memory.data_mut(&mut *store);
    let unlike = pages.unlike(data, heap);
    let all = data.as_chunks_mut::<PAGE_BYTES>().0;
    for at in unlike {
        match (all.get_mut(at), heap.pages.get(at)) {
            (Some(page), Some(Some(hash))) => (snapshot.read)(*hash, page)?,
            (Some(page), _) => page.fill(0),
            (None, _) => (),
        }
    }
    pages.restored(data, heap);
    set_globals(store, globals, &heap.globals)?;
    Ok(true)
}

/// Returns a fingerprint that tells this heap from others.
pub(super) fn fingerprint(
    store: &mut Store<InstanceData>,
    memory: Memory,
    globals: &[Global],
    pages: &mut Pages,
) -> Result<[u8; 32], HostFault> {
    let globals = self::globals(store, globals)?;
    Heap { pages: pages.hashes(memory.data(&*store)).to_vec(), globals }.fingerprint()
}

fn broken(why: impl std::fmt::Display) -> HostFault {
    HostFault::new("restore a snapshot", why)
}

pub(super) fn value_of(val: Val) -> Result<GlobalValue, HostFault> {
    Ok(match val {
        Val::I32(it) => GlobalValue::I32(it),
        Val::I64(it) => GlobalValue::I64(it),
        Val::F32(bits) => GlobalValue::F32(bits),
        Val::F64(bits) => GlobalValue::F64(bits),
        Val::V128(it) => GlobalValue::V128(it.as_u128()),
        other => return Err(HostFault::new("take a snapshot", format_args!("a mutable global is {other:?}"))),
    })
}

fn val_of(value: GlobalValue) -> Val {
    match value {
        GlobalValue::I32(it) => Val::I32(it),
        GlobalValue::I64(it) => Val::I64(it),
        GlobalValue::F32(bits) => Val::F32(bits),
        GlobalValue::F64(bits) => Val::F64(bits),
        GlobalValue::V128(it) => Val::V128(V128::from(it)),
    }
}
