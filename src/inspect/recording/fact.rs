//! Facts about one promise or object in the cranks of a recording.

use crate::inspect::recording::{Place, crank::RecordedCrank, link::is_undone, show::place_of};
use crate::slog::{CListMode, Operation, Record, RecordedEvent};
use serde::Serialize;

/// Something that happened to a promise or an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// The place of the event, and its vat.
    #[serde(flatten)]
    pub place: Place,
    /// The vat's name, unless it was created before the recording.
    pub name: Option<String>,
    /// The number of the syscall, if it was one.
    #[serde(rename = "syscallNum")]
    pub syscall: Option<u64>,
    /// The kind of event that happened to the promise or object.
    pub what: What,
}

/// The kinds of events in the life of a promise or object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The vat exported it to the kernel.
    Exported,
    /// The vat imported it from the kernel.
    Imported,
    /// The vat's c-list lost it.
    Dropped,
    /// The vat sent a message whose result it is.
    Made,
    /// The vat sent a message to it.
    Sent,
    /// The message whose result it is was delivered to the vat, which decides it now.
    Delivered,
    /// A message to it was delivered.
    Called,
    /// The vat fulfilled it.
    Fulfilled,
    /// The vat rejected it.
    Rejected,
    /// The vat was notified of its resolution.
    Told,
    /// The host was notified that it is rejected.
    HostTold,
}

/// Returns all facts about a promise or object in a crank.
pub(super) fn facts(crank: &RecordedCrank, name: &str) -> Vec<Fact> {
    let undone = is_undone(&crank.events);
    let mut found = Vec::new();
    for event in &crank.events {
        let (syscall, what) = match event.event() {
            RecordedEvent::CList { mode: CListMode::Export, .. } if undone => continue,
            RecordedEvent::CList { mode, kobj, .. } if kobj == name => (None, Some(of_clist(mode))),
            RecordedEvent::Syscall { number, kernel, .. } if !undone => (number, of_syscall(kernel, name)),
            RecordedEvent::Deliver { kernel: kd, .. } => (None, of_delivery(kd, name)),
            RecordedEvent::PromiseRejected { kpid } if kpid == name => (None, Some(What::HostTold)),
            _ => continue,
        };
        let place = Place { crank: crank.number, ..place_of(event) };
        found.extend(what.map(|what| Fact { place, name: None, syscall, what }));
    }
    found
}

fn of_clist(mode: CListMode) -> What {
    match mode {
        CListMode::Export => What::Exported,
        CListMode::Import => What::Imported,
        CListMode::Drop => What::Dropped,
    }
}

fn of_syscall(ksc: Operation<'_>, name: &str) -> Option<What> {
    let settled = ksc.resolutions().find(|it| it.promise == name);
    match ksc.message() {
        Some(message) if message.result == Some(name) => Some(What::Made),
        Some(message) if message.target == Some(name) => Some(What::Sent),
        _ => settled.map(|it| if it.rejected { What::Rejected } else { What::Fulfilled }),
    }
}

fn of_delivery(kd: Operation<'_>, name: &str) -> Option<What> {
    match kd.message() {
        Some(message) if message.result == Some(name) => Some(What::Delivered),
        Some(message) if message.target == Some(name) => Some(What::Called),
        _ => kd.resolutions().any(|it| it.promise == name).then_some(What::Told),
    }
}

/// Returns whether a promise or object occurs in a crank at all: something happens to it, or it comes with the item
/// that the crank took.
pub(super) fn occurs(crank: &RecordedCrank, name: &str) -> bool {
    crank.item().mentions(name) || crank.events.iter().any(|it| is_about(it, name))
}

fn is_about(event: &Record, name: &str) -> bool {
    match event.event() {
        RecordedEvent::CList { kobj, .. } => kobj == name,
        RecordedEvent::Syscall { kernel: act, .. } | RecordedEvent::Deliver { kernel: act, .. } => act.mentions(name),
        _ => false,
    }
}
