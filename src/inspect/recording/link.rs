//! Links between a crank and the syscall that caused it.
//!
//! A message is known by its result promise; one that has none, by what it says (two that say the same are not told apart). A
//! notification is known by its promise. What a crank did counts for nothing if it was undone: its promises are made again.

use serde_json::Value;

use crate::inspect::recording::spine::Knot;
use crate::slog::Record;

/// A link: the same value at the syscall and at the crank that it caused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    Result(String),
    Message(String),
    Settled(String),
    /// A vat, by its creation.
    Created(String),
    /// A vat, by its end.
    Ended(String),
}

impl Link {
    /// Returns the link of a queued item, as in `crank-start`.
    pub(super) fn of_item(item: &Value) -> Option<Link> {
        match item["type"].as_str()? {
            "send" => Some(Link::of_message(&item["msg"])),
            "notify" => Some(Link::Settled(item["kpid"].as_str()?.to_owned())),
            _ => None,
        }
    }

    /// Returns the links to what a syscall may cause. The syscall is in the kernel's references.
    pub(super) fn of_syscall(ksc: &Value) -> Vec<Link> {
        match ksc[0].as_str() {
            Some("send") => vec![Link::of_message(&ksc[2])],
            Some("resolve") => {
                let promises = ksc[1].as_array().into_iter().flatten().filter_map(|it| it[0].as_str());
                promises.map(|it| Link::Settled(it.to_owned())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the link of an item that the kernel queues when a vat is created or ends.
    pub(super) fn of_life(item: &Value) -> Option<Link> {
        let vat = || Some(item["vatID"].as_str()?.to_owned());
        match item["type"].as_str()? {
            "startVat" => vat().map(Link::Created),
            "cleanup-terminated-vat" => vat().map(Link::Ended),
            _ => None,
        }
    }

    /// Returns the link to the settling of the promise for a message's result, if this is a message with a result.
    pub(super) fn settled_result(&self) -> Option<Link> {
        match self {
            Link::Result(promise) => Some(Link::Settled(promise.clone())),
            _ => None,
        }
    }

    /// Returns the link as a number that is not 0: 128 bits of its hash.
    pub(super) fn knot(&self) -> Knot {
        let (tag, text) = match self {
            Link::Result(it) => (b'r', it),
            Link::Message(it) => (b'm', it),
            Link::Settled(it) => (b's', it),
            Link::Created(it) => (b'c', it),
            Link::Ended(it) => (b'e', it),
        };
        let hash = blake3::Hasher::new().update(&[tag]).update(text.as_bytes()).finalize();
        let mut knot = [0; 16];
        knot.copy_from_slice(&hash.as_bytes()[..16]);
        Knot::from_le_bytes(knot).max(1)
    }

    fn of_message(message: &Value) -> Link {
        match message["result"].as_str() {
            Some(result) => Link::Result(result.to_owned()),
            None => Link::Message(message["methargs"].to_string()),
        }
    }
}

/// Returns whether the crank of these events was undone: its delivery failed, or its vat ended itself in failure.
pub(super) fn is_undone<'a>(events: impl IntoIterator<Item = &'a Record>) -> bool {
    events.into_iter().any(undoes)
}

/// Returns whether this event says that its crank was undone.
pub(super) fn undoes(event: &Record) -> bool {
    match event.kind() {
        "deliver-result" => event.value["dr"][0] != "ok",
        "terminate" => event.value["shouldReject"] == true,
        _ => false,
    }
}
