//! Links between a crank and the syscall that caused it.
//!
//! A message is known by its result promise; one that has none, by its contents (two with the same contents cannot be told apart). A
//! notify is known by its promise. A crank that was undone has no links: its promises are made again.

use crate::inspect::recording::spine::Knot;
use crate::slog::{
    Operation, QueuedItem, Record, RecordedEvent, RecordedMessage,
    index::{Key, Word},
};

/// A link: the same value at the syscall and at the crank that it caused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    Result(String),
    /// The contents, and the key of the body.
    Message(String, Key),
    Settled(String),
    /// A vat, by its creation.
    Created(String),
    /// A vat, by its end.
    Ended(String),
}

impl Link {
    /// Returns the link of a queued item, as in `crank-start`.
    pub(super) fn of_item(item: QueuedItem<'_>) -> Option<Link> {
        let settled = || item.promise().map(|it| Link::Settled(it.to_owned()));
        item.message().map(Link::of_message).or_else(settled)
    }

    /// Returns the links to what a syscall may cause. The syscall is in the kernel's references.
    pub(super) fn of_syscall(ksc: Operation<'_>) -> Vec<Link> {
        let settled = ksc.resolutions().map(|it| Link::Settled(it.promise.to_owned()));
        ksc.message().map(Link::of_message).into_iter().chain(settled).collect()
    }

    /// Returns the link of an item that the kernel queues when a vat is created or ends.
    pub(super) fn of_life(item: QueuedItem<'_>) -> Option<Link> {
        let vat = item.vat()?.to_owned();
        match item.item_kind()? {
            "startVat" => Some(Link::Created(vat)),
            "cleanup-terminated-vat" => Some(Link::Ended(vat)),
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

    /// Returns the key by which the pieces of a recording are found that have the link.
    pub(super) fn key(&self) -> Key {
        match self {
            Link::Result(it) | Link::Settled(it) => Word::Reference(it).key(),
            Link::Message(_, key) => *key,
            Link::Created(it) => Word::Created(it).key(),
            Link::Ended(it) => Word::Ended(it).key(),
        }
    }

    /// Returns the link as a number that is not 0: 96 bits of its hash, and its key.
    pub(super) fn knot(&self) -> Knot {
        let (tag, text) = match self {
            Link::Result(it) => (b'r', it),
            Link::Message(it, _) => (b'm', it),
            Link::Settled(it) => (b's', it),
            Link::Created(it) => (b'c', it),
            Link::Ended(it) => (b'e', it),
        };
        let hash = blake3::Hasher::new().update(&[tag]).update(text.as_bytes()).finalize();
        let mut knot = [0; 16];
        knot.copy_from_slice(&hash.as_bytes()[..16]);
        Knot::from_le_bytes(knot).max(1) << 32 | Knot::from(self.key())
    }

    /// Returns the link of a message: its result promise, or its contents.
    pub(super) fn of_message(message: RecordedMessage<'_>) -> Link {
        match message.result {
            Some(result) => Link::Result(result.to_owned()),
            None => Link::Message(message.methargs.to_string(), Word::of_message(message)),
        }
    }
}

/// Returns the key of a knot's link.
pub(super) fn key_of(knot: Knot) -> Key {
    let [a, b, c, d, ..] = knot.to_le_bytes();
    Key::from_le_bytes([a, b, c, d])
}

/// Returns whether the crank of these events was undone: its delivery failed, or its vat ended itself in failure.
pub(super) fn is_undone<'a>(events: impl IntoIterator<Item = &'a Record>) -> bool {
    events.into_iter().any(undoes)
}

/// Returns whether this event says that its crank was undone.
pub(super) fn undoes(event: &Record) -> bool {
    matches!(event.event(), RecordedEvent::DeliveryFailed { .. } | RecordedEvent::Terminate { is_failure: true, .. })
}
