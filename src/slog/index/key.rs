//! The keys of an index: what a piece of a recording is found by.
//!
//! A key is 32 bits of a hash, so two words may share one. Whoever looks a word up reads the pieces that have its key, and
//! finds there whether it is in them. What must not happen is that a piece lacks the key of a word that is in it.

use serde_json::Value;

use crate::slog::{Operation, QueuedItem, Record, RecordedEvent, RecordedMessage};

/// The hash of a word.
pub(crate) type Key = u32;

/// Something that a piece of a recording is looked for by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word<'a> {
    /// A crank that begins, or in which a vat spoke.
    Crank(u64),
    /// A delivery of a vat.
    Delivery(&'a str, u64),
    /// The name of a promise or object, as the kernel calls it.
    Reference(&'a str),
    /// A message that has no result, by its body.
    Body(&'a str),
    /// A vat that is created or started.
    Created(&'a str),
    /// The name of a vat that is created.
    Named(&'a str),
    /// Any vat that is created.
    CreatedAny,
    /// A vat that ends, or whose rows are removed.
    Ended(&'a str),
    /// A vat of which nothing is left.
    Cleaned(&'a str),
    /// A line of a vat, or a fault of it.
    Spoke(&'a str),
    /// A line of any vat, or a fault.
    SpokeAny,
    /// The start of a host.
    Start,
    /// A kernel panic.
    Panic,
}

/// Neighbours share a key: so there are fewer.
const SHARED_BITS: u32 = 4;

impl Word<'_> {
    /// Returns the key of the word.
    pub(crate) fn key(self) -> Key {
        match self {
            Word::Crank(number) => mix(1, 0, number >> SHARED_BITS),
            Word::Delivery(vat, number) => mix(2, text(vat), number >> SHARED_BITS),
            Word::Reference(name) => reference(name.as_bytes()).map_or_else(|| mix(3, 0, text(name)), |(it, _)| it),
            Word::Body(body) => mix(4, body.len() as u64, text(body)),
            Word::Created(vat) => mix(5, 0, text(vat)),
            Word::Ended(vat) => mix(6, 0, text(vat)),
            Word::Cleaned(vat) => mix(7, 0, text(vat)),
            Word::Spoke(vat) => mix(8, 0, text(vat)),
            Word::SpokeAny => mix(9, 0, 0),
            Word::Start => mix(10, 0, 0),
            Word::Panic => mix(11, 0, 0),
            Word::Named(name) => mix(13, 0, text(name)),
            Word::CreatedAny => mix(14, 0, 0),
        }
    }

    /// Returns the word for a message that has no result.
    pub(crate) fn of_message(message: RecordedMessage<'_>) -> Key {
        match message.result {
            Some(result) => Word::Reference(result).key(),
            None => body_key(message.methargs.get("body").unwrap_or(&Value::Null)),
        }
    }
}

/// Returns the key of a body: text, or bytes in base64.
fn body_key(body: &Value) -> Key {
    let text = body.as_str().or_else(|| body.get("base64")?.as_str());
    Word::Body(text.unwrap_or_default()).key()
}

fn mix(tag: u64, one: u64, other: u64) -> Key {
    let it =
        one.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ other.wrapping_add(tag << 56).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let it = (it ^ (it >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((it ^ (it >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as Key
}

/// Hashes the beginning of a text.
fn text(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let bytes = &bytes[..bytes.len().min(64)];
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Reads the name of a promise, an object or a device at the beginning of a text, such as `kp41`, and returns its key and its length.
pub(super) fn reference(text: &[u8]) -> Option<(Key, usize)> {
    let [b'k', kind @ (b'o' | b'p' | b'd'), rest @ ..] = text else { return None };
    let digits = rest.iter().take_while(|it| it.is_ascii_digit()).count();
    if !(1..=18).contains(&digits) {
        return None;
    }
    let number = rest[..digits].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some((mix(12, u64::from(*kind), number), 2 + digits))
}

/// Gives `put` the keys of an event.
pub(super) fn keys_of(record: &Record, put: &mut impl FnMut(Key)) {
    match record.event() {
        RecordedEvent::Start { .. } => put(Word::Start.key()),
        RecordedEvent::KernelPanic { .. } => put(Word::Panic.key()),
        RecordedEvent::CreateVat { vat, name } => {
            [Word::Created(vat), Word::Named(name), Word::CreatedAny].into_iter().for_each(|it| put(it.key()));
        }
        RecordedEvent::CrankStart { crank, item } => {
            put(Word::Crank(crank.unwrap_or(0)).key());
            of_item(item, put);
        }
        RecordedEvent::CList { kobj, .. } => put(Word::Reference(kobj).key()),
        RecordedEvent::Deliver { kernel, .. } => {
            of_value(kernel.0, put);
            of_operation(kernel, put);
            if let (Some(vat), Some(number)) = (record.vat(), record.delivery()) {
                put(Word::Delivery(vat, number).key());
            }
        }
        RecordedEvent::Syscall { kernel, .. } => {
            of_value(kernel.0, put);
            of_operation(kernel, put);
        }
        RecordedEvent::DeliveryFailed { .. } | RecordedEvent::Console => {
            put(Word::SpokeAny.key());
            record.crank().into_iter().for_each(|it| put(Word::Crank(it).key()));
            put(Word::Spoke(record.vat().unwrap_or_default()).key());
        }
        RecordedEvent::PromiseRejected { kpid } => put(Word::Reference(kpid).key()),
        RecordedEvent::Terminate { vat: Some(vat), .. } => put(Word::Ended(vat).key()),
        RecordedEvent::VatCleanupComplete => put(Word::Cleaned(record.vat().unwrap_or_default()).key()),
        _ => (),
    }
}

fn of_item(item: QueuedItem<'_>, put: &mut impl FnMut(Key)) {
    of_value(item.value, put);
    if let Some(message) = item.message() {
        put(Word::of_message(message));
    }
    if let Some(promise) = item.promise() {
        put(Word::Reference(promise).key());
    }
    match (item.item_kind(), item.vat()) {
        (Some("startVat"), Some(vat)) => put(Word::Created(vat).key()),
        (Some("cleanup-terminated-vat"), Some(vat)) => put(Word::Ended(vat).key()),
        _ => (),
    }
}

fn of_operation(operation: Operation<'_>, put: &mut impl FnMut(Key)) {
    if let Some(message) = operation.message() {
        put(Word::of_message(message));
    }
    operation.resolutions().for_each(|it| put(Word::Reference(it.promise).key()));
}

/// Gives `put` the keys of all names in a value. Bodies are not searched.
fn of_value(value: &Value, put: &mut impl FnMut(Key)) {
    match value {
        Value::String(text) => {
            if let Some((key, length)) = reference(text.as_bytes())
                && length == text.len()
            {
                put(key);
            }
        }
        Value::Array(items) => items.iter().for_each(|it| of_value(it, put)),
        Value::Object(fields) => {
            fields.iter().filter(|(name, _)| *name != "body").for_each(|(_, it)| of_value(it, put));
        }
        _ => (),
    }
}
