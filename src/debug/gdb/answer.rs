//! Answers of a stopped guest to each packet. Addresses have the form that lldb gives to WebAssembly: the two highest bits say whether
//! it is memory (0) or the module's file (1), the lowest 32 are the offset.

use std::fmt::Write;

use crate::{
    debug::gdb::wire::PACKET_BYTES_MAX,
    model::id::VatId,
    vat::{Resume, Stop, Stopped, Value},
};

/// The action that the server takes on a packet.
pub(super) enum GdbAnswer {
    /// Text to send. An empty one says that the packet is not known.
    Text(String),
    /// Send OK, and from then on acknowledge nothing.
    WithoutAcknowledgement,
    /// Let the guest continue; the answer is its next stop.
    Resume(Resume),
    /// Send this, and let the guest run.
    Detach(&'static str),
}

/// The address at which a debugger sees the module's file.
const FILE: u64 = 1 << 62;
/// The low half of an address.
const OFFSET: u64 = 0xffff_ffff;
/// The bits of an address that tell memory from file.
const KIND: u64 = 3 << 62;

const TRIPLE: &str = "wasm32-unknown-unknown-wasm";

/// The description of the only register, the program counter.
const PC: &str = "name:pc;alt-name:pc;bitsize:64;offset:0;encoding:uint;format:hex;set:General Purpose \
                  Registers;gcc:16;dwarf:16;generic:pc;";

/// Answers one packet of the client about a stopped guest.
pub(super) fn answer(guest: &mut Stopped<'_>, vat: VatId, stop: &Stop, packet: &[u8]) -> GdbAnswer {
    let text = String::from_utf8_lossy(packet);
    let (name, rest) = split(&text);
    GdbAnswer::Text(match name {
        "QStartNoAckMode" => return GdbAnswer::WithoutAcknowledgement,
        "c" | "C" => return GdbAnswer::Resume(Resume::Go),
        "s" | "S" => return GdbAnswer::Resume(Resume::Step),
        "vCont" => match resume(rest) {
            Some(resume) => return GdbAnswer::Resume(resume),
            None => error("the only actions are to continue and to step"),
        },
        // A delivery is not killed: that would change the history.
        "D" | "vKill" => return GdbAnswer::Detach("OK"),
        "k" => return GdbAnswer::Detach(""),
        "?" => stop_reply(guest, stop),
        "vCont?" => "vCont;c;C;s;S".to_owned(),
        "qSupported" => {
            format!("PacketSize={PACKET_BYTES_MAX:x};qXfer:libraries:read+;vContSupported+;QStartNoAckMode+")
        }
        "QEnableErrorStrings" | "H" | "T" | "QThreadSuffixSupported" => "OK".to_owned(),
        "qHostInfo" => format!("triple:{};endian:little;ptrsize:4;", hex(TRIPLE.as_bytes())),
        "qProcessInfo" => format!("pid:1;triple:{};endian:little;ptrsize:4;", hex(TRIPLE.as_bytes())),
        "qRegisterInfo0" => PC.to_owned(),
        "qC" => "QC1".to_owned(),
        "qAttached" => "1".to_owned(),
        "qfThreadInfo" => "m1".to_owned(),
        "qsThreadInfo" => "l".to_owned(),
        "qXfer" => transfer(vat, rest),
        "p" | "g" => hex(&(FILE | guest.pc()).to_le_bytes()),
        "qWasmCallStack" => guest.call_stack().iter().map(|pc| hex(&(FILE | pc).to_le_bytes())).collect(),
        "qWasmLocal" => value(rest, |frame, index| guest.local(frame, index)),
        "qWasmStackValue" => value(rest, |frame, index| guest.operand(frame, index)),
        "qWasmGlobal" => value(rest, |_, index| guest.global(index)),
        "m" => memory(guest, rest),
        "Z" | "z" => breakpoint(guest, rest, name == "Z"),
        "M" | "X" | "P" | "G" => error("a debugged guest cannot be changed: the other replicas would not have it so"),
        name if name.starts_with("qRegisterInfo") => error("no such register"),
        _ => String::new(),
    })
}

/// Returns the reply that reports a stop. It has the program counter, without which lldb would not recognize its breakpoint.
pub(super) fn stop_reply(guest: &Stopped<'_>, stop: &Stop) -> String {
    let (signal, reason, words) = match stop {
        Stop::Entry | Stop::Step => ("05", "trace", None),
        Stop::Breakpoint => ("05", "breakpoint", None),
        Stop::Interrupt => ("02", "signal", None),
        Stop::Fault(words) => ("06", "exception", Some(words)),
        Stop::Host(words) => ("07", "exception", Some(words)),
    };
    let description = words.map(|it| format!("description:{};", hex(it.as_bytes()))).unwrap_or_default();
    let pc = FILE | guest.pc();
    format!("T{signal}thread:1;thread-pcs:{pc:x};00:{};reason:{reason};{description}", hex(&pc.to_le_bytes()))
}

/// Splits a packet into its name and the rest.
fn split(text: &str) -> (&str, &str) {
    if text.starts_with(['q', 'Q', 'v']) {
        text.split_once([':', ',', ';']).unwrap_or((text, ""))
    } else {
        let end = text.chars().next().map_or(0, char::len_utf8);
        text.split_at_checked(end).unwrap_or_default()
    }
}

/// Reads the first action of a `vCont`: there is only one thread.
fn resume(actions: &str) -> Option<Resume> {
    match actions.chars().next()? {
        'c' | 'C' => Some(Resume::Go),
        's' | 'S' => Some(Resume::Step),
        _ => None,
    }
}

/// Part of the list of libraries, which is the one module.
fn transfer(vat: VatId, rest: &str) -> String {
    let list =
        format!("<library-list><library name=\"{vat}.wasm\"><section address=\"{FILE:#x}\"/></library></library-list>");
    let range = rest.strip_prefix("libraries:read::").and_then(pair);
    let Some((from, length)) = range else { return error("only libraries can be read") };
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(list.len());
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(PACKET_BYTES_MAX / 2);
    let end = from.saturating_add(length).min(list.len());
    let last = if end == list.len() { 'l' } else { 'm' };
    format!("{last}{}", list.get(from..end).unwrap_or_default())
}

/// Reads from the memory or the module's file, as much of it as fits into a packet.
fn memory(guest: &Stopped<'_>, rest: &str) -> String {
    let Some((address, length)) = pair(rest) else { return error("which memory?") };
    let source = match address & KIND {
        0 => guest.memory(),
        FILE => guest.wasm(),
        _ => return error("no such address"),
    };
    let from = usize::try_from(address & OFFSET).unwrap_or(usize::MAX);
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(PACKET_BYTES_MAX / 2);
    match source.get(from..from.saturating_add(length).min(source.len())) {
        Some(bytes) if !bytes.is_empty() || length == 0 => hex(bytes),
        _ => error("there is nothing"),
    }
}

fn breakpoint(guest: &mut Stopped<'_>, rest: &str, on: bool) -> String {
    let Some(rest) = rest.strip_prefix("0,") else { return String::new() };
    let Some((address, _)) = pair(rest) else { return error("where?") };
    let done = address & KIND == FILE && guest.set_breakpoint(address & OFFSET, on);
    if done { "OK".to_owned() } else { error("there is no instruction") }
}

/// `frame;index` in decimal.
fn value(rest: &str, read: impl FnOnce(usize, u32) -> Option<Value>) -> String {
    let numbers = rest.split_once(';').and_then(|(frame, index)| Some((frame.parse().ok()?, index.parse().ok()?)));
    match numbers.and_then(|(frame, index)| read(frame, index)) {
        Some(Value::Word(it)) => hex(&it.to_le_bytes()),
        Some(Value::Long(it)) => hex(&it.to_le_bytes()),
        Some(Value::Vector(it)) => hex(&it.to_le_bytes()),
        None => error("there is no such value"),
    }
}

/// Two numbers in hexadecimal.
fn pair(text: &str) -> Option<(u64, u64)> {
    let (first, second) = text.split_once(',')?;
    let number = |it: &str| u64::from_str_radix(it, 16).ok();
    Some((number(first)?, number(second)?))
}

fn error(words: &str) -> String {
    format!("E01;{}", hex(words.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, it| {
        // A text takes whatever is written.
        let _ = write!(out, "{it:02x}");
        out
    })
}
