//! The ABI itself: the imports of module `vat1`, and one safe function for each.
//!
//! All other modules of the SDK use the safe functions. [`raw`] is for guests that must be able to lie to the kernel, such as
//! the `forger`. The `unsafe` code of the SDK is in this module, in the allocator, and in the mock kernel's
//! `raw`.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::vref::VRef;

/// A body and the references that it names by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapData {
    /// The text of the data; by convention smallcaps JSON.
    pub body: String,
    /// The references that `$0`, `&1`, … in the body stand for.
    pub slots: Vec<VRef>,
}

/// One record of [`raw::resolve`], 32 bytes in wasm.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Resolution {
    /// The promise that is settled.
    pub vpid: VRef,
    /// The outcome: 0 is fulfilled, 1 is rejected.
    pub rejected: u32,
    /// The start of the body's bytes.
    pub body: *const u8,
    /// The length of the body in bytes.
    pub body_len: usize,
    /// The start of the body's slots.
    pub slots: *const VRef,
    /// The number of these slots.
    pub nslots: usize,
    /// Padding that is always 0.
    pub reserved: u32,
}

#[cfg(target_arch = "wasm32")]
const _: () = assert!(size_of::<Resolution>() == 32);

/// The imports as they are. Pointers are offsets into the vat's memory, lengths are in bytes, counts in items.
#[cfg(target_arch = "wasm32")]
#[allow(missing_docs, reason = "vat1.h documents each import, and a safe function stands below for each")]
pub mod raw {
    use super::{Resolution, VRef};

    #[link(wasm_import_module = "vat1")]
    unsafe extern "C" {
        pub fn input_read(dst: *mut u8, off: usize, len: usize);
        pub fn result_read(dst: *mut u8, off: usize, len: usize);
        pub fn send(target: VRef, body: *const u8, body_len: usize, slots: *const VRef, nslots: usize, result: VRef);
        pub fn call_now(device: VRef, body: *const u8, body_len: usize, slots: *const VRef, nslots: usize) -> i32;
        pub fn subscribe(promise: VRef);
        pub fn resolve(records: *const Resolution, n: usize);
        pub fn exit(failure: u32, body: *const u8, body_len: usize, slots: *const VRef, nslots: usize);
        pub fn vatstore_get(key: *const u8, len: usize) -> i32;
        pub fn vatstore_next_key(key: *const u8, len: usize) -> i32;
        pub fn vatstore_set(key: *const u8, key_len: usize, value: *const u8, value_len: usize);
        pub fn vatstore_delete(key: *const u8, len: usize);
        pub fn vatstore_scan(
            prefix: *const u8,
            prefix_len: usize,
            after: *const u8,
            after_len: usize,
            max: usize,
        ) -> i32;
        pub fn drop_imports(vrefs: *const VRef, n: usize);
        pub fn retire_imports(vrefs: *const VRef, n: usize);
        pub fn retire_exports(vrefs: *const VRef, n: usize);
        pub fn abandon_exports(vrefs: *const VRef, n: usize);
        pub fn console(level: u32, text: *const u8, len: usize);
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use crate::test::raw;

/// Reads the delivery that waits, which is `len` bytes long.
pub fn input(len: usize) -> Vec<u8> {
    let mut buffer = vec![0; len];
    // SAFETY: the buffer is `len` bytes long and ours alone.
    unsafe { raw::input_read(buffer.as_mut_ptr(), 0, len) };
    buffer
}

/// Reads the answer to the last call, whose length that call returned as `len`; `None` if `len` is negative.
fn result(len: i32) -> Option<Vec<u8>> {
    let len = usize::try_from(len).ok()?;
    let mut buffer = vec![0; len];
    if len > 0 {
        // SAFETY: the buffer is `len` bytes long and ours alone.
        unsafe { raw::result_read(buffer.as_mut_ptr(), 0, len) };
    }
    Some(buffer)
}

/// Sends a message. `result` is a new promise of this vat, for the answer, or 0 if no answer is wanted.
pub fn send(target: VRef, data: &CapData, result: VRef) {
    let (body, slots) = (&data.body, &data.slots);
    // SAFETY: the pointers and lengths are those of live slices.
    unsafe {
        raw::send(target, body.as_ptr(), body.len(), slots.as_ptr(), slots.len(), result);
    }
}

/// Calls a device. Returns the encoded capdata of its answer, or of its error.
pub fn call_now(device: VRef, data: &CapData) -> Result<Vec<u8>, Vec<u8>> {
    let (body, slots) = (&data.body, &data.slots);
    // SAFETY: the pointers and lengths are those of live slices.
    let len = unsafe { raw::call_now(device, body.as_ptr(), body.len(), slots.as_ptr(), slots.len()) };
    match result(len) {
        Some(answer) => Ok(answer),
        None => Err(result(-1 - len).unwrap_or_default()),
    }
}

/// Asks for a notify when the promise settles.
pub fn subscribe(promise: VRef) {
    // SAFETY: nothing is pointed at.
    unsafe { raw::subscribe(promise) };
}

/// Settles promises that this vat decides, all at once: `(promise, rejected, data)`.
pub fn resolve(batch: &[(VRef, bool, CapData)]) {
    let records: Vec<Resolution> = batch
        .iter()
        .map(|(vpid, rejected, data)| Resolution {
            vpid: *vpid,
            rejected: u32::from(*rejected),
            body: data.body.as_ptr(),
            body_len: data.body.len(),
            slots: data.slots.as_ptr(),
            nslots: data.slots.len(),
            reserved: 0,
        })
        .collect();
    // SAFETY: the records point into `batch`, which outlives the call.
    unsafe { raw::resolve(records.as_ptr(), records.len()) };
}

/// Ends the vat after this delivery; with `failure`, the delivery is undone.
pub fn exit(failure: bool, data: &CapData) {
    let (body, slots) = (&data.body, &data.slots);
    // SAFETY: the pointers and lengths are those of live slices.
    unsafe {
        raw::exit(failure.into(), body.as_ptr(), body.len(), slots.as_ptr(), slots.len());
    }
}

/// Reads the value stored under a key.
pub fn vatstore_get(key: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: the pointer and the length are those of a live slice.
    result(unsafe { raw::vatstore_get(key.as_ptr(), key.len()) })
}

/// Finds the first key after this one, in byte order.
pub fn vatstore_next_key(key: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: the pointer and the length are those of a live slice.
    result(unsafe { raw::vatstore_next_key(key.as_ptr(), key.len()) })
}

/// Stores a value under a key.
pub fn vatstore_set(key: &[u8], value: &[u8]) {
    // SAFETY: the pointers and lengths are those of live slices.
    unsafe { raw::vatstore_set(key.as_ptr(), key.len(), value.as_ptr(), value.len()) };
}

/// Deletes a key and its value.
pub fn vatstore_delete(key: &[u8]) {
    // SAFETY: the pointer and the length are those of a live slice.
    unsafe { raw::vatstore_delete(key.as_ptr(), key.len()) };
}

/// Reads up to `max` bytes of `(klen u32, vlen u32, key, value)*`: the entries under `prefix` that come after the key `after`.
pub fn vatstore_scan(prefix: &[u8], after: &[u8], max: usize) -> Vec<u8> {
    let (p, a) = (prefix, after);
    // SAFETY: the pointers and lengths are those of live slices.
    let len = unsafe { raw::vatstore_scan(p.as_ptr(), p.len(), a.as_ptr(), a.len(), max) };
    result(len).unwrap_or_default()
}

/// Says that the vat no longer holds these imports. It may still recognise them.
pub fn drop_imports(vrefs: &[VRef]) {
    // SAFETY: the pointer and the length are those of a live slice.
    unsafe { raw::drop_imports(vrefs.as_ptr(), vrefs.len()) };
}

/// Says that the vat would not recognise these imports if it met them again.
pub fn retire_imports(vrefs: &[VRef]) {
    // SAFETY: the pointer and the length are those of a live slice.
    unsafe { raw::retire_imports(vrefs.as_ptr(), vrefs.len()) };
}

/// Says that these objects of the vat, which nobody can reach any more, are gone.
pub fn retire_exports(vrefs: &[VRef]) {
    // SAFETY: the pointer and the length are those of a live slice.
    unsafe { raw::retire_exports(vrefs.as_ptr(), vrefs.len()) };
}

/// Gives up these objects of the vat, reachable or not.
pub fn abandon_exports(vrefs: &[VRef]) {
    // SAFETY: the pointer and the length are those of a live slice.
    unsafe { raw::abandon_exports(vrefs.as_ptr(), vrefs.len()) };
}

/// Writes a line to the host's log; level 0 debug, 1 info, 2 warning, 3 error.
pub fn console(level: u32, text: &str) {
    // SAFETY: the pointer and the length are those of a live string.
    unsafe { raw::console(level, text.as_ptr(), text.len()) };
}

/// A static of a vat: wasm without threads has one thread.
#[cfg(target_arch = "wasm32")]
pub(crate) struct SingleThreaded<T>(pub(crate) T);

// SAFETY: a vat is a wasm instance without the threads proposal, so no second thread can see the value.
#[cfg(target_arch = "wasm32")]
unsafe impl<T> Sync for SingleThreaded<T> {}
