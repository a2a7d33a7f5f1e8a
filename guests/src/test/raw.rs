//! The imports of module `vat1`, as the mock kernel answers them. The same signatures as in wasm, so that all above them is tested.

#![allow(missing_docs, reason = "vat1.h documents each import")]
#![allow(clippy::missing_safety_doc, reason = "as in wasm: pointers and lengths must be those of live memory")]

use std::string::String;
use std::vec::Vec;

use super::Sent;
use super::kernel::{Kernel, capdata, list, with};
use crate::sys::{CapData, Resolution};
use crate::vref::{VRef, text};

unsafe fn copy<T: Clone>(items: *const T, count: usize) -> Vec<T> {
    // SAFETY: the caller of the import answers for its pointers and lengths.
    unsafe { std::slice::from_raw_parts(items, count) }.to_vec()
}

unsafe fn string(bytes: *const u8, len: usize) -> String {
    // SAFETY: the caller of the import answers for its pointers and lengths.
    String::from_utf8_lossy(&unsafe { copy(bytes, len) }).into_owned()
}

unsafe fn data(body: *const u8, len: usize, slots: *const VRef, nslots: usize) -> CapData {
    // SAFETY: the caller of the import answers for its pointers and lengths.
    unsafe { CapData { body: string(body, len), slots: copy(slots, nslots) } }
}

unsafe fn fill(dst: *mut u8, source: &[u8]) {
    // SAFETY: the caller of the import gives room for as many bytes as it asks for.
    unsafe { std::slice::from_raw_parts_mut(dst, source.len()) }.copy_from_slice(source);
}

impl Kernel {
    /// Keeps an answer for `result_read`, and gives its length.
    fn answer(&mut self, bytes: Option<Vec<u8>>) -> i32 {
        match bytes {
            Some(bytes) => {
                self.answer = bytes;
                i32::try_from(self.answer.len()).expect("answers of the mock kernel are small")
            }
            None => -1,
        }
    }
}

pub unsafe fn input_read(dst: *mut u8, off: usize, len: usize) {
    // SAFETY: by the contract of the import.
    with(|kernel| unsafe { fill(dst, &kernel.input[off..off + len]) });
}

pub unsafe fn result_read(dst: *mut u8, off: usize, len: usize) {
    // SAFETY: by the contract of the import.
    with(|kernel| unsafe { fill(dst, &kernel.answer[off..off + len]) });
}

pub unsafe fn send(target: VRef, body: *const u8, body_len: usize, slots: *const VRef, nslots: usize, result: VRef) {
    // SAFETY: by the contract of the import.
    let CapData { body, slots } = unsafe { data(body, body_len, slots, nslots) };
    with(|kernel| {
        kernel.mention(target);
        slots.iter().for_each(|&slot| kernel.mention(slot));
        let answer = if result == 0 { String::new() } else { text(result) };
        kernel.note("send", &[&text(target), &body, &list(&slots), &answer]);
        if result != 0 {
            kernel.mention(result);
        }
        kernel.sent.push(Sent { target, body, slots, result });
    });
}

pub unsafe fn call_now(device: VRef, body: *const u8, body_len: usize, slots: *const VRef, nslots: usize) -> i32 {
    // SAFETY: by the contract of the import.
    let data = unsafe { data(body, body_len, slots, nslots) };
    with(|kernel| {
        kernel.mention(device);
        kernel.mention_all(&data);
        kernel.note("call_now", &[&text(device), &data.body, &list(&data.slots)]);
        let answer = kernel.device.map_or(Err("no such device".into()), |call| call(&data.body));
        let failed = answer.is_err();
        let body = answer.unwrap_or_else(|error| error);
        let len = kernel.answer(Some(capdata(&CapData { body, slots: Vec::new() })));
        if failed { -1 - len } else { len }
    })
}

pub unsafe fn subscribe(promise: VRef) {
    with(|kernel| {
        kernel.mention(promise);
        kernel.note("subscribe", &[&text(promise)]);
    });
}

pub unsafe fn resolve(records: *const Resolution, n: usize) {
    // SAFETY: by the contract of the import.
    let records = unsafe { copy(records, n) };
    let batch = records.iter().map(|r| {
        // SAFETY: by the contract of the import.
        let data = unsafe { data(r.body, r.body_len, r.slots, r.nslots) };
        (r.vpid, r.rejected != 0, data)
    });
    with(|kernel| kernel.resolve(batch.collect()));
}

pub unsafe fn exit(failure: u32, body: *const u8, body_len: usize, slots: *const VRef, nslots: usize) {
    // SAFETY: by the contract of the import.
    let data = unsafe { data(body, body_len, slots, nslots) };
    with(|kernel| {
        kernel.mention_all(&data);
        let how = if failure == 0 { "as planned" } else { "in failure" };
        kernel.note("exit", &[how, &data.body, &list(&data.slots)]);
    });
}

pub unsafe fn vatstore_get(key: *const u8, len: usize) -> i32 {
    // SAFETY: by the contract of the import.
    let key: Vec<u8> = unsafe { copy(key, len) };
    with(|kernel| {
        let value = kernel.vatstore.get(&key).cloned();
        kernel.answer(value)
    })
}

pub unsafe fn vatstore_next_key(key: *const u8, len: usize) -> i32 {
    // SAFETY: by the contract of the import.
    let key: Vec<u8> = unsafe { copy(key, len) };
    with(|kernel| {
        let next = kernel.vatstore.keys().find(|&k| *k > key).cloned();
        kernel.answer(next)
    })
}

pub unsafe fn vatstore_set(key: *const u8, key_len: usize, value: *const u8, value_len: usize) {
    // SAFETY: by the contract of the import.
    let (key, value) = unsafe { (copy(key, key_len), copy(value, value_len)) };
    with(|kernel| kernel.vatstore.insert(key, value));
}

pub unsafe fn vatstore_delete(key: *const u8, len: usize) {
    // SAFETY: by the contract of the import.
    let key: Vec<u8> = unsafe { copy(key, len) };
    with(|kernel| kernel.vatstore.remove(&key));
}

pub unsafe fn vatstore_scan(
    prefix: *const u8,
    prefix_len: usize,
    after: *const u8,
    after_len: usize,
    max: usize,
) -> i32 {
    // SAFETY: by the contract of the import.
    let (prefix, after) = unsafe { (copy(prefix, prefix_len), copy(after, after_len)) };
    with(|kernel| {
        let mut page = Vec::new();
        let entries = kernel.vatstore.iter();
        for (key, value) in entries.filter(|(k, _)| k.starts_with(&prefix) && **k > after) {
            if page.len() + 8 + key.len() + value.len() > max {
                break;
            }
            page.extend(super::length(key).to_le_bytes());
            page.extend(super::length(value).to_le_bytes());
            page.extend(key);
            page.extend(value);
        }
        kernel.answer(Some(page))
    })
}

pub unsafe fn drop_imports(vrefs: *const VRef, n: usize) {
    // SAFETY: by the contract of the import.
    let vrefs = unsafe { copy(vrefs, n) };
    with(|kernel| {
        vrefs.iter().for_each(|&vref| kernel.mention(vref));
        kernel.note("drop_imports", &[&list(&vrefs)]);
    });
}

pub unsafe fn retire_imports(vrefs: *const VRef, n: usize) {
    // SAFETY: by the contract of the import.
    let vrefs = unsafe { copy(vrefs, n) };
    with(|kernel| {
        kernel.forget(&vrefs);
        kernel.note("retire_imports", &[&list(&vrefs)]);
    });
}

pub unsafe fn retire_exports(vrefs: *const VRef, n: usize) {
    // SAFETY: by the contract of the import.
    let vrefs = unsafe { copy(vrefs, n) };
    with(|kernel| {
        kernel.forget(&vrefs);
        kernel.note("retire_exports", &[&list(&vrefs)]);
    });
}

pub unsafe fn abandon_exports(vrefs: *const VRef, n: usize) {
    // SAFETY: by the contract of the import.
    let vrefs = unsafe { copy(vrefs, n) };
    with(|kernel| {
        kernel.forget(&vrefs);
        kernel.note("abandon_exports", &[&list(&vrefs)]);
    });
}

pub unsafe fn console(_level: u32, text: *const u8, len: usize) {
    // SAFETY: by the contract of the import.
    let line = unsafe { string(text, len) };
    with(|kernel| kernel.console.push(line));
}
