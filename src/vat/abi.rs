//! The guest ABI, version 1: the functions of `vat1`, and the encoding of a delivery that a guest reads.
//!
//! Every pointer, length, count and reference is checked here; a wrong one is an illegal syscall. The price is charged before
//! anything is copied.

use std::ops::Range;

use wasmtime::{Caller, Linker, Memory, Result};

use crate::{
    kernel::Syscalls,
    model::{
        blame::{Fault, VatFault},
        id::VRef,
        limits,
        price::{self, Price},
        value::{Answer, Bytes, CapData, Delivery, Message, Resolution, Syscall},
    },
    vat::module::IMPORT_MODULE,
};

/// The host's data for one instance, in its store.
#[derive(Debug)]
pub(super) struct InstanceData {
    /// The syscalls of the running delivery; `None` during `_initialize`.
    pub(super) syscalls: Option<Syscalls>,
    /// The number of those that the guest made.
    pub(super) asked: u64,
    /// Whether one of those read the vatstore.
    pub(super) has_read: bool,
    /// The delivery, encoded.
    pub(super) input: Vec<u8>,
    /// The last answer.
    pub(super) answer: Bytes,
    /// The guest's memory.
    pub(super) memory: Option<Memory>,
    /// Bytes that the memory may grow to.
    pub(super) memory_max: usize,
    /// The fuel owed for the pages that the memory grew by, on top of the fuel of the delivery.
    pub(super) owed: u64,
    /// The most fuel that those pages may cost.
    pub(super) owed_max: u64,
    /// The last error that this delivery wrote to the console.
    pub(super) last_error: Option<String>,
}

type GuestMemory<'a> = Caller<'a, InstanceData>;

// ---- what a guest gives

#[cold]
fn illegal(guest: &mut GuestMemory<'_>, kind: &'static str, why: impl std::fmt::Display) -> Fault {
    refuse(guest.data_mut(), kind, why)
}

#[cold]
fn refuse(host: &mut InstanceData, kind: &'static str, why: impl std::fmt::Display) -> Fault {
    match &mut host.syscalls {
        Some(syscalls) => syscalls.malformed(kind, why),
        None => VatFault::illegal(kind, why).into(),
    }
}

fn charge(guest: &mut GuestMemory<'_>, price: u64) -> Result<()> {
    let fuel = guest.get_fuel()?;
    match fuel.checked_sub(price) {
        Some(left) => guest.set_fuel(left),
        None => {
            guest.set_fuel(0)?;
            Err(Fault::from(VatFault::OutOfFuel).into())
        }
    }
}

fn charge_for(guest: &mut GuestMemory<'_>, price: Price, bytes: u32, references: u32) -> Result<()> {
    charge(guest, price.of(bytes.into(), references.into()))
}

/// Splits the guest's memory from the host's data for the instance.
fn split<'a>(guest: &'a mut GuestMemory<'_>, kind: &'static str) -> Result<(&'a mut [u8], &'a mut InstanceData)> {
    match guest.data().memory {
        Some(memory) => Ok(memory.data_and_store_mut(guest)),
        None => Err(illegal(guest, kind, "the vat is not up yet").into()),
    }
}

/// Returns the range of this many bytes from an address on. On a machine of 32 bits the range may lie outside of all
/// memory.
fn range(at: u32, len: u64) -> Range<usize> {
    let at = at as usize;
    at..usize::try_from(len).map_or(usize::MAX, |len| at.saturating_add(len))
}

#[cold]
fn outside(host: &mut InstanceData, kind: &'static str, at: u32, len: u64) -> Fault {
    refuse(host, kind, format_args!("{len} bytes at {at:#x} lie outside of memory"))
}

/// Part of the guest's memory.
fn slice<'a>(guest: &'a mut GuestMemory<'_>, kind: &'static str, at: u32, len: u64) -> Result<&'a [u8]> {
    let (memory, host) = split(guest, kind)?;
    memory.get(range(at, len)).ok_or_else(|| outside(host, kind, at, len).into())
}

fn limit(guest: &mut GuestMemory<'_>, kind: &'static str, what: &str, size: u32, max: u32) -> Result<()> {
    if size > max {
        return Err(illegal(guest, kind, format_args!("{what} of {size}, the limit is {max}")).into());
    }
    Ok(())
}

fn bytes(guest: &mut GuestMemory<'_>, kind: &'static str, what: &str, at: u32, len: u32, max: u32) -> Result<Bytes> {
    limit(guest, kind, what, len, max)?;
    Ok(Bytes::from(slice(guest, kind, at, len.into())?))
}

fn key(guest: &mut GuestMemory<'_>, kind: &'static str, at: u32, len: u32) -> Result<Bytes> {
    bytes(guest, kind, "key", at, len, limits::KEY_BYTES_MAX)
}

fn vref(guest: &mut GuestMemory<'_>, kind: &'static str, bits: u64) -> Result<VRef> {
    VRef::from_bits(bits).ok_or_else(|| illegal(guest, kind, format_args!("{bits:#x} is not a reference")).into())
}

fn vrefs(guest: &mut GuestMemory<'_>, kind: &'static str, at: u32, n: u32, max: u32) -> Result<Vec<VRef>> {
    if n == 0 {
        return Ok(Vec::new());
    }
    limit(guest, kind, "references", n, max)?;
    let words = slice(guest, kind, at, u64::from(n) * 8)?.as_chunks().0;
    let parsed: std::result::Result<_, u64> =
        words.iter().map(|word| u64::from_le_bytes(*word)).map(|bits| VRef::from_bits(bits).ok_or(bits)).collect();
    parsed.map_err(|bits| illegal(guest, kind, format_args!("{bits:#x} is not a reference")).into())
}

/// The address at which a guest put capdata.
#[derive(Clone, Copy)]
struct GuestAddress {
    body: u32,
    body_len: u32,
    slots: u32,
    nslots: u32,
}

fn capdata(guest: &mut GuestMemory<'_>, kind: &'static str, price: Price, at: GuestAddress) -> Result<CapData<VRef>> {
    limit(guest, kind, "body", at.body_len, limits::BODY_BYTES_MAX)?;
    limit(guest, kind, "slots", at.nslots, limits::SLOTS_MAX)?;
    charge_for(guest, price, at.body_len, at.nslots)?;
    let body = bytes(guest, kind, "body", at.body, at.body_len, limits::BODY_BYTES_MAX)?;
    Ok(CapData { body, slots: vrefs(guest, kind, at.slots, at.nslots, limits::SLOTS_MAX)? })
}

fn resolutions(guest: &mut GuestMemory<'_>, at: u32, n: u32) -> Result<Vec<Resolution<VRef>>> {
    const KIND: &str = "resolve";
    limit(guest, KIND, "resolutions", n, limits::REFS_MAX)?;
    charge_for(guest, price::RESOLVE, 32 * n, n)?;
    let records: Vec<[u8; 32]> = slice(guest, KIND, at, 32 * u64::from(n))?.as_chunks().0.to_vec();
    let mut out = Vec::with_capacity(records.len());
    let mut bytes = 0;
    for record in records {
        let (head, words) = record.split_at(8);
        let bits = u64::from_le_bytes(head.try_into().unwrap_or_default());
        let mut word = words.as_chunks().0.iter().map(|it| u32::from_le_bytes(*it));
        let mut next = || word.next().unwrap_or_default();
        let (rejected, at) = (next(), GuestAddress { body: next(), body_len: next(), slots: next(), nslots: next() });
        if rejected > 1 || next() != 0 {
            return Err(illegal(guest, KIND, "a flag that is neither 0 nor 1, or padding that is not 0").into());
        }
        let promise = vref(guest, KIND, bits)?;
        let data = capdata(guest, KIND, price::RESOLVE, at)?;
        if rejected == 0 && !data.body.starts_with(b"#") {
            charge_for(guest, price::RESOLVE_OLDER, at.body_len, 0)?;
        }
        out.push(Resolution { promise, rejected: rejected == 1, data });
        bytes += u64::from(at.body_len) + 8 * u64::from(at.nslots);
        if bytes > limits::RESOLVE_BYTES_MAX {
            let max = limits::RESOLVE_BYTES_MAX;
            return Err(illegal(guest, KIND, format_args!("bodies of {bytes} bytes in all, the limit is {max}")).into());
        }
    }
    Ok(out)
}

// ---- what the host answers

fn call(guest: &mut GuestMemory<'_>, syscall: Syscall<VRef>) -> Result<Answer> {
    let kind = syscall.kind();
    let (memory, host) = match guest.data().memory {
        Some(memory) => memory.data_and_store_mut(&mut *guest),
        None => (&mut [][..], guest.data_mut()),
    };
    host.asked += 1;
    host.has_read |= syscall.reads_vatstore();
    match &mut host.syscalls {
        Some(syscalls) => Ok(syscalls.call_from(syscall, memory)?),
        None => Err(illegal(guest, kind, "made by _initialize").into()),
    }
}

/// Makes a syscall whose answer the guest fetches by `result_read`. The answer is paid for now. Returns its length, -1 if there is
/// none, or -1 less its length if a device refused.
fn ask(guest: &mut GuestMemory<'_>, syscall: Syscall<VRef>) -> Result<i32> {
    let (answer, refused) = match call(guest, syscall)? {
        Answer::Value(Some(value)) => (value, false),
        Answer::Value(None) | Answer::Done => {
            guest.data_mut().answer = Bytes::default();
            return Ok(-1);
        }
        Answer::Device(answer) => {
            let refused = answer.is_err();
            let mut data = Vec::new();
            put_data(&mut data, &CapData::plain(answer.unwrap_or_else(|it| it)));
            (data.into(), refused)
        }
    };
    charge(guest, price::ANSWER.of(answer.len() as u64, 0))?;
    let length = i32::try_from(answer.len())?;
    guest.data_mut().answer = answer;
    Ok(if refused { -1 - length } else { length })
}

/// Copies part of the input or of the last answer into the guest.
fn copy_out(
    guest: &mut GuestMemory<'_>,
    kind: &'static str,
    dst: u32,
    off: u32,
    len: u32,
    source: fn(&InstanceData) -> &[u8],
) -> Result<()> {
    charge_for(guest, price::READ, len, 0)?;
    let (memory, host) = split(guest, kind)?;
    let Some(from) = source(host).get(range(off, len.into())) else {
        let size = source(host).len();
        return Err(refuse(host, kind, format_args!("{len} bytes at {off} of {size}")).into());
    };
    match memory.get_mut(range(dst, len.into())) {
        Some(to) => to.copy_from_slice(from),
        None => return Err(outside(host, kind, dst, len.into()).into()),
    }
    Ok(())
}

/// Makes the syscall of `drop_imports`, `retire_imports`, `retire_exports` or `abandon_exports`.
fn give_up(
    guest: &mut GuestMemory<'_>,
    at: u32,
    n: u32,
    kind: &'static str,
    make: fn(Vec<VRef>) -> Syscall<VRef>,
) -> Result<()> {
    limit(guest, kind, "references", n, limits::REFS_MAX)?;
    charge_for(guest, price::GC, 0, n)?;
    let refs = vrefs(guest, kind, at, n, limits::REFS_MAX)?;
    call(guest, make(refs)).map(drop)
}

fn console(guest: &mut GuestMemory<'_>, level: u32, text: u32, len: u32) -> Result<()> {
    charge_for(guest, price::CONSOLE, len, 0)?;
    let level = match level {
        0 => "debug",
        1 => "info",
        2 => "warn",
        3 => "error",
        _ => return Err(illegal(guest, "console", format_args!("there is no level {level}")).into()),
    };
    let text = slice(guest, "console", text, len.into())?;
    let cut = text.get(..limits::CONSOLE_BYTES_MAX as usize).unwrap_or(text);
    let line = String::from_utf8_lossy(cut).into_owned();
    let bytes = json_bytes(&line);
    charge(guest, price::CONSOLE_LINE.of(bytes, 0))?;
    if level == "error" {
        guest.data_mut().last_error = Some(line.clone());
    }
    if let Some(syscalls) = &mut guest.data_mut().syscalls {
        syscalls.console(level, &line, bytes);
    }
    Ok(())
}

/// The bytes of a text as JSON.
fn json_bytes(text: &str) -> u64 {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// Defines every import of [`crate::vat::module::IMPORTS`].
pub(super) fn define(linker: &mut Linker<InstanceData>) -> Result<()> {
    const M: &str = IMPORT_MODULE;
    linker.func_wrap(M, "input_read", |mut guest: GuestMemory<'_>, dst: u32, off: u32, len: u32| {
        copy_out(&mut guest, "input_read", dst, off, len, |host| &host.input)
    })?;
    linker.func_wrap(M, "result_read", |mut guest: GuestMemory<'_>, dst: u32, off: u32, len: u32| {
        copy_out(&mut guest, "result_read", dst, off, len, |host| &host.answer)
    })?;
    linker.func_wrap(
        M,
        "send",
        |mut guest: GuestMemory<'_>, target: u64, body: u32, body_len: u32, slots: u32, nslots: u32, result: u64| {
            let guest = &mut guest;
            let methargs = capdata(guest, "send", price::SEND, GuestAddress { body, body_len, slots, nslots })?;
            let target = vref(guest, "send", target)?;
            let result = (result != 0).then(|| vref(guest, "send", result)).transpose()?;
            call(guest, Syscall::Send { target, message: Message { methargs, result } }).map(drop)
        },
    )?;
    linker.func_wrap(
        M,
        "call_now",
        |mut guest: GuestMemory<'_>, device: u64, body: u32, body_len: u32, slots: u32, nslots: u32| {
            let guest = &mut guest;
            let methargs = capdata(guest, "callNow", price::CALL_NOW, GuestAddress { body, body_len, slots, nslots })?;
            let device = vref(guest, "callNow", device)?;
            ask(guest, Syscall::CallNow { device, methargs })
        },
    )?;
    linker.func_wrap(M, "subscribe", |mut guest: GuestMemory<'_>, promise: u64| {
        charge_for(&mut guest, price::SUBSCRIBE, 0, 0)?;
        let promise = vref(&mut guest, "subscribe", promise)?;
        call(&mut guest, Syscall::Subscribe(promise)).map(drop)
    })?;
    linker.func_wrap(M, "resolve", |mut guest: GuestMemory<'_>, at: u32, n: u32| {
        let resolutions = resolutions(&mut guest, at, n)?;
        call(&mut guest, Syscall::Resolve(resolutions)).map(drop)
    })?;
    linker.func_wrap(
        M,
        "exit",
        |mut guest: GuestMemory<'_>, failure: u32, body: u32, body_len: u32, slots: u32, nslots: u32| {
            let info = capdata(&mut guest, "exit", price::EXIT, GuestAddress { body, body_len, slots, nslots })?;
            call(&mut guest, Syscall::Exit { failure: failure != 0, info }).map(drop)
        },
    )?;
    define_vatstore(linker)?;
    linker.func_wrap(M, "drop_imports", |mut guest: GuestMemory<'_>, at: u32, n: u32| {
        give_up(&mut guest, at, n, "dropImports", Syscall::DropImports)
    })?;
    linker.func_wrap(M, "retire_imports", |mut guest: GuestMemory<'_>, at: u32, n: u32| {
        give_up(&mut guest, at, n, "retireImports", Syscall::RetireImports)
    })?;
    linker.func_wrap(M, "retire_exports", |mut guest: GuestMemory<'_>, at: u32, n: u32| {
        give_up(&mut guest, at, n, "retireExports", Syscall::RetireExports)
    })?;
    linker.func_wrap(M, "abandon_exports", |mut guest: GuestMemory<'_>, at: u32, n: u32| {
        give_up(&mut guest, at, n, "abandonExports", Syscall::AbandonExports)
    })?;
    linker.func_wrap(M, "console", |mut guest: GuestMemory<'_>, level: u32, text: u32, len: u32| {
        console(&mut guest, level, text, len)
    })?;
    Ok(())
}

fn define_vatstore(linker: &mut Linker<InstanceData>) -> Result<()> {
    const M: &str = IMPORT_MODULE;
    linker.func_wrap(M, "vatstore_get", |mut guest: GuestMemory<'_>, at: u32, len: u32| {
        charge_for(&mut guest, price::VATSTORE_READ, len, 0)?;
        let key = key(&mut guest, "vatstoreGet", at, len)?;
        ask(&mut guest, Syscall::VatstoreGet(key))
    })?;
    linker.func_wrap(M, "vatstore_next_key", |mut guest: GuestMemory<'_>, at: u32, len: u32| {
        charge_for(&mut guest, price::VATSTORE_READ, len, 0)?;
        let key = key(&mut guest, "vatstoreGetNextKey", at, len)?;
        ask(&mut guest, Syscall::VatstoreGetNextKey(key))
    })?;
    linker.func_wrap(
        M,
        "vatstore_set",
        |mut guest: GuestMemory<'_>, at: u32, len: u32, value: u32, value_len: u32| {
            let guest = &mut guest;
            limit(guest, "vatstoreSet", "value", value_len, limits::VALUE_BYTES_MAX)?;
            charge_for(guest, price::VATSTORE_WRITE, len.saturating_add(value_len), 0)?;
            let key = key(guest, "vatstoreSet", at, len)?;
            let value = bytes(guest, "vatstoreSet", "value", value, value_len, limits::VALUE_BYTES_MAX)?;
            call(guest, Syscall::VatstoreSet(key, value)).map(drop)
        },
    )?;
    linker.func_wrap(M, "vatstore_delete", |mut guest: GuestMemory<'_>, at: u32, len: u32| {
        charge_for(&mut guest, price::VATSTORE_WRITE, len, 0)?;
        let key = key(&mut guest, "vatstoreDelete", at, len)?;
        call(&mut guest, Syscall::VatstoreDelete(key)).map(drop)
    })?;
    linker.func_wrap(
        M,
        "vatstore_scan",
        |mut guest: GuestMemory<'_>, prefix: u32, prefix_len: u32, after: u32, after_len: u32, max: u32| {
            const KIND: &str = "vatstoreScan";
            let guest = &mut guest;
            limit(guest, KIND, "answer", max, limits::SCAN_BYTES_MAX)?;
            charge_for(guest, price::VATSTORE_READ, prefix_len.saturating_add(after_len), 0)?;
            let prefix = key(guest, KIND, prefix, prefix_len)?;
            let after = key(guest, KIND, after, after_len)?;
            ask(guest, Syscall::VatstoreScan { prefix, after, max })
        },
    )?;
    Ok(())
}

// ---- how a delivery looks

/// Returns the fee for bringing this delivery, whose encoding has this many bytes, to the vat.
pub(super) fn fee(delivery: &Delivery<VRef>, bytes: usize) -> u64 {
    let start = if matches!(delivery, Delivery::StartVat(_)) { price::START.of(0, 0) } else { 0 };
    price::DELIVERY.of(bytes as u64, delivery.refs_count() as u64).saturating_add(start)
}

/// Encodes a delivery for `input_read`.
pub(super) fn encode(delivery: &Delivery<VRef>, out: &mut Vec<u8>) {
    out.clear();
    let head = |out: &mut Vec<u8>, kind: u32, n: usize| {
        put(out, kind);
        put_len(out, n);
    };
    match delivery {
        Delivery::Message { target, message } => {
            head(out, 1, 0);
            put_ref(out, Some(*target));
            put_ref(out, message.result);
            put_data(out, &message.methargs);
        }
        Delivery::Notify(resolutions) => {
            head(out, 2, resolutions.len());
            for it in resolutions {
                put_ref(out, Some(it.promise));
                put(out, u32::from(it.rejected));
                put(out, 0);
                put_data(out, &it.data);
            }
        }
        Delivery::DropExports(refs) => {
            head(out, 3, refs.len());
            refs.iter().for_each(|it| put_ref(out, Some(*it)));
        }
        Delivery::RetireExports(refs) => {
            head(out, 4, refs.len());
            refs.iter().for_each(|it| put_ref(out, Some(*it)));
        }
        Delivery::RetireImports(refs) => {
            head(out, 5, refs.len());
            refs.iter().for_each(|it| put_ref(out, Some(*it)));
        }
        Delivery::StartVat(data) => {
            head(out, 6, 0);
            put_data(out, data);
        }
        Delivery::ChangeOptions(data) => {
            head(out, 7, 0);
            put_data(out, data);
        }
        Delivery::BringOutYourDead => head(out, 8, 0),
    }
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_le_bytes());
}

/// Writes a length. The limits keep it within 32 bits; a longer one would be the kernel's mistake, and the guest's reads would fail.
fn put_len(out: &mut Vec<u8>, len: usize) {
    put(out, u32::try_from(len).unwrap_or(u32::MAX));
}

fn put_ref(out: &mut Vec<u8>, vref: Option<VRef>) {
    out.extend_from_slice(&vref.map_or(0, VRef::bits).to_le_bytes());
}

fn put_data(out: &mut Vec<u8>, data: &CapData<VRef>) {
    put_len(out, data.body.len());
    put_len(out, data.slots.len());
    data.slots.iter().for_each(|it| put_ref(out, Some(*it)));
    out.extend_from_slice(&data.body);
    out.resize(out.len().next_multiple_of(8), 0);
}
