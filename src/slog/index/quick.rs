//! The frequent lines of a recording, told apart by their beginnings: to parse all of them takes ten times as long.
//!
//! Only lines exactly as our writer, or SwingSet's, lays them out are read here. All others are parsed.

use memchr::memmem;

use crate::slog::{
    Detail,
    index::key::{Key, Word, reference},
};

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quick {
    /// The beginning of this crank.
    Crank(u64),
    /// Another event, which is recorded from this detail on.
    Event(Detail),
}

/// Reads a line, and gives `put` its keys; `None` if it is to be parsed.
pub(super) fn read(line: &[u8], put: &mut impl FnMut(Key)) -> Option<Quick> {
    let rest = line.strip_prefix(b"{\"type\":\"")?;
    let end = memchr::memchr(b'"', rest.get(..20.min(rest.len()))?)?;
    let (kind, rest) = (&rest[..end], &rest[end + 1..]);
    if !is_whole(rest) {
        return None;
    }
    match kind {
        b"syscall-result" if is_new(rest) => Some(Quick::Event(Detail::Syscalls)),
        b"crank-finish" => Some(Quick::Event(Detail::Cranks)),
        b"clist" => {
            names(rest, put);
            Some(Quick::Event(Detail::Syscalls))
        }
        b"syscall" if is_new(rest) && !has(rest, b"\"result\":null") => {
            names(rest, put);
            Some(Quick::Event(Detail::Syscalls))
        }
        b"deliver-result" if is_new(rest) && has(rest, b"\"dr\":[\"ok\",") => Some(Quick::Event(Detail::Deliveries)),
        b"deliver" if is_new(rest) && !has(rest, b"\"result\":null") => deliver(rest, put),
        b"crank-start" => crank_start(rest, put),
        _ => None,
    }
}

/// Returns whether a line ends as the writer ends it: it is not torn.
fn is_whole(rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_suffix(b"}\n") else { return false };
    let digits = rest.iter().rev().take_while(|it| it.is_ascii_digit() || **it == b'.').count();
    digits > 0 && rest[..rest.len() - digits].ends_with(b",\"monotime\":")
}

fn has(rest: &[u8], text: &[u8]) -> bool {
    memmem::find(rest, text).is_some()
}

/// Returns whether the event is something new, and not a replay.
fn is_new(rest: &[u8]) -> bool {
    has(rest, b"\"replay\":false") && !has(rest, b"\"replay\":true")
}

fn deliver(rest: &[u8], put: &mut impl FnMut(Key)) -> Option<Quick> {
    let (_, at) = number(rest.strip_prefix(b",\"crankNum\":")?)?;
    let at = at.strip_prefix(b",\"vatID\":\"")?;
    let end = memchr::memchr(b'"', at)?;
    let vat = str::from_utf8(&at[..end]).ok().filter(|it| !it.contains('\\'))?;
    let (delivery, _) = number(at[end..].strip_prefix(b"\",\"deliveryNum\":")?)?;
    put(Word::Delivery(vat, delivery).key());
    names(rest, put);
    Some(Quick::Event(Detail::Deliveries))
}

fn crank_start(rest: &[u8], put: &mut impl FnMut(Key)) -> Option<Quick> {
    let (crank, at) = number(rest.strip_prefix(b",\"crankType\":\"delivery\",\"crankNum\":")?)?;
    let kind = at.strip_prefix(b",\"messageType\":\"")?;
    let is_send = kind.starts_with(b"send\",\"message\":{\"type\":\"send\",") && !has(kind, b"\"result\":null");
    if !is_send && !kind.starts_with(b"notify\",\"message\":{\"type\":\"notify\",") {
        return None;
    }
    put(Word::Crank(crank).key());
    names(kind, put);
    Some(Quick::Crank(crank))
}

/// Reads a number, and returns what comes after it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|it| it.is_ascii_digit()).count();
    if !(1..=18).contains(&digits) || !matches!(text.get(digits), Some(b',')) {
        return None;
    }
    let number = text[..digits].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some((number, &text[digits..]))
}

/// Gives `put` the keys of all names that are texts of their own.
fn names(rest: &[u8], put: &mut impl FnMut(Key)) {
    for at in memmem::find_iter(rest, b"\"k") {
        if let Some((key, length)) = reference(&rest[at + 1..])
            && rest.get(at + 1 + length) == Some(&b'"')
        {
            put(key);
        }
    }
}
