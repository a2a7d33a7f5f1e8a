//! The values that cross the boundary between a vat and the kernel, in either space of references.
//!
//! Invariant: a value is generic over its references, and only `kernel::translate` turns `KRef` values into `VRef`
//! values and back; a reference that was not translated therefore cannot reach a guest, nor a guest's reach the
//! kernel.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Immutable bytes, cheap to clone: a body, a vatstore key or value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(Arc<[u8]>);

impl Bytes {
    /// Returns the text, if the bytes are UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Bytes {
    fn from(bytes: &T) -> Bytes {
        Bytes(Arc::from(bytes.as_ref()))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(Arc::from(bytes))
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Bytes {
        Bytes::from(text.into_bytes())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_text() {
            Some(text) => text.fmt(f),
            None => write!(f, "0x{}", crate::model::id::hex(self)),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::from(bytes))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes::from(bytes))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// A key of a vatstore. Keys sort as their bytes do; the first bytes are held as numbers, since they decide most comparisons.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct StoreKey {
    /// The first sixteen bytes, padded with zeros, as numbers.
    head: [u64; 2],
    bytes: Bytes,
}

impl From<Bytes> for StoreKey {
    fn from(bytes: Bytes) -> StoreKey {
        let mut head = [0; 16];
        let length = bytes.len().min(16);
        head[..length].copy_from_slice(&bytes[..length]);
        let [first, second] =
            [&head[..8], &head[8..]].map(|it| it.first_chunk().map_or(0, |it| u64::from_be_bytes(*it)));
        StoreKey { head: [first, second], bytes }
    }
}

impl Deref for StoreKey {
    type Target = Bytes;
    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// A body and the references that it mentions by index. The body is opaque to the kernel, except as `model::body` tells.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CapData<R> {
    /// By convention Endo's smallcaps JSON with a leading `#`.
    pub body: Bytes,
    /// The references, by index.
    pub slots: Vec<R>,
}

impl<R> CapData<R> {
    /// Makes CapData of a body without references.
    pub fn plain(body: impl Into<Bytes>) -> CapData<R> {
        CapData { body: body.into(), slots: Vec::new() }
    }
}

/// An eventual send: what to call, and the promise that gets the answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message<R> {
    /// The method and its arguments, `[method, args]`.
    pub methargs: CapData<R>,
    /// The promise for the answer, if anybody wants it.
    pub result: Option<R>,
}

/// The settlement of one promise: fulfilled or rejected, and its value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resolution<R> {
    /// The promise that was settled.
    pub promise: R,
    /// Whether the promise was rejected, rather than fulfilled.
    pub rejected: bool,
    /// The value of the fulfilment, or the reason of the rejection.
    pub data: CapData<R>,
}

/// A delivery, by which the kernel makes a vat run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Delivery<R> {
    /// The first delivery of each incarnation, with the vat's parameters.
    StartVat(CapData<R>),
    /// A message to an object of the vat, or to a promise that it decides if its options enable pipelining.
    Message {
        /// The object or promise.
        target: R,
        /// The message to deliver.
        message: Message<R>,
    },
    /// Settled promises that the vat subscribed to, with those that can be retired together with them.
    Notify(Vec<Resolution<R>>),
    /// No vat reaches these exports any more.
    DropExports(Vec<R>),
    /// No vat recognizes these exports any more.
    RetireExports(Vec<R>),
    /// The objects of these imports are gone.
    RetireImports(Vec<R>),
    /// New options for the vat.
    ChangeOptions(CapData<R>),
    /// Collect garbage, and report what was dropped.
    BringOutYourDead,
}

impl<R> Delivery<R> {
    /// Returns SwingSet's name for the kind of delivery.
    pub fn kind(&self) -> &'static str {
        match self {
            Delivery::StartVat(_) => "startVat",
            Delivery::Message { .. } => "message",
            Delivery::Notify(_) => "notify",
            Delivery::DropExports(_) => "dropExports",
            Delivery::RetireExports(_) => "retireExports",
            Delivery::RetireImports(_) => "retireImports",
            Delivery::ChangeOptions(_) => "changeOptions",
            Delivery::BringOutYourDead => "bringOutYourDead",
        }
    }
}

impl<R: Copy> CapData<R> {
    fn refs(&self) -> impl Iterator<Item = R> {
        self.slots.iter().copied()
    }
}

impl<R: Copy> Message<R> {
    fn refs(&self) -> impl Iterator<Item = R> {
        self.methargs.refs().chain(self.result)
    }
}

impl<R: Copy> Resolution<R> {
    fn refs(&self) -> impl Iterator<Item = R> {
        [self.promise].into_iter().chain(self.data.refs())
    }
}

impl<R: Copy> Delivery<R> {
    /// Counts the references in the delivery.
    pub fn refs_count(&self) -> usize {
        let message = |it: &Message<R>| it.methargs.slots.len() + usize::from(it.result.is_some());
        match self {
            Delivery::StartVat(data) | Delivery::ChangeOptions(data) => data.slots.len(),
            Delivery::Message { message: it, .. } => 1 + message(it),
            Delivery::Notify(resolutions) => resolutions.iter().map(|it| 1 + it.data.slots.len()).sum(),
            Delivery::DropExports(refs) | Delivery::RetireExports(refs) | Delivery::RetireImports(refs) => refs.len(),
            Delivery::BringOutYourDead => 0,
        }
    }

    /// Lists all references in the delivery, in order of appearance.
    pub fn refs(&self) -> Vec<R> {
        match self {
            Delivery::StartVat(data) | Delivery::ChangeOptions(data) => data.refs().collect(),
            Delivery::Message { target, message } => [*target].into_iter().chain(message.refs()).collect(),
            Delivery::Notify(resolutions) => resolutions.iter().flat_map(Resolution::refs).collect(),
            Delivery::DropExports(refs) | Delivery::RetireExports(refs) | Delivery::RetireImports(refs) => refs.clone(),
            Delivery::BringOutYourDead => Vec::new(),
        }
    }
}

/// A syscall, by which a vat asks something of the kernel during a delivery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Syscall<R> {
    /// Sends a message eventually.
    Send {
        /// An object or a promise.
        target: R,
        /// The message to send.
        message: Message<R>,
    },
    /// Be notified when this promise settles.
    Subscribe(R),
    /// Settle promises that the vat decides.
    Resolve(Vec<Resolution<R>>),
    /// End the vat after this delivery.
    Exit {
        /// Undo the delivery too.
        failure: bool,
        /// The reason, for the holders of the vat's `done` promise.
        info: CapData<R>,
    },
    /// Read one key.
    VatstoreGet(Bytes),
    /// Write one key.
    VatstoreSet(Bytes, Bytes),
    /// Remove one key.
    VatstoreDelete(Bytes),
    /// The next key in byte order.
    VatstoreGetNextKey(Bytes),
    /// Keys and values under a prefix, in order, as many as fit.
    VatstoreScan {
        /// The prefix of the keys.
        prefix: Bytes,
        /// The scan begins behind this key.
        after: Bytes,
        /// The greatest size of the answer, in bytes.
        max: u32,
    },
    /// The vat can no longer reach these imports.
    DropImports(Vec<R>),
    /// The vat no longer recognizes these imports.
    RetireImports(Vec<R>),
    /// The vat forgot these exports, which nobody reaches.
    RetireExports(Vec<R>),
    /// The vat gives up these exports, reached or not.
    AbandonExports(Vec<R>),
    /// Call a device; the answer is immediate.
    CallNow {
        /// The device to call.
        device: R,
        /// The method and its arguments, `[method, args]`.
        methargs: CapData<R>,
    },
}

impl<R: Copy> Syscall<R> {
    /// Lists all references in the syscall, in order of appearance.
    pub fn refs(&self) -> Vec<R> {
        match self {
            Syscall::Send { target, message } => [*target].into_iter().chain(message.refs()).collect(),
            Syscall::Subscribe(promise) => vec![*promise],
            Syscall::Resolve(resolutions) => resolutions.iter().flat_map(Resolution::refs).collect(),
            Syscall::Exit { info, .. } => info.refs().collect(),
            Syscall::DropImports(refs)
            | Syscall::RetireImports(refs)
            | Syscall::RetireExports(refs)
            | Syscall::AbandonExports(refs) => refs.clone(),
            Syscall::CallNow { device, methargs } => [*device].into_iter().chain(methargs.refs()).collect(),
            Syscall::VatstoreGet(_)
            | Syscall::VatstoreSet(..)
            | Syscall::VatstoreDelete(_)
            | Syscall::VatstoreGetNextKey(_)
            | Syscall::VatstoreScan { .. } => Vec::new(),
        }
    }
}

impl<R> Syscall<R> {
    /// Returns whether the answer depends on the rows of the vatstore.
    pub fn reads_vatstore(&self) -> bool {
        matches!(self, Syscall::VatstoreGet(_) | Syscall::VatstoreGetNextKey(_) | Syscall::VatstoreScan { .. })
    }

    /// Returns SwingSet's name for the kind of syscall (`vatstoreScan` is vathost's own).
    pub fn kind(&self) -> &'static str {
        match self {
            Syscall::Send { .. } => "send",
            Syscall::Subscribe(_) => "subscribe",
            Syscall::Resolve(_) => "resolve",
            Syscall::Exit { .. } => "exit",
            Syscall::VatstoreGet(_) => "vatstoreGet",
            Syscall::VatstoreSet(..) => "vatstoreSet",
            Syscall::VatstoreDelete(_) => "vatstoreDelete",
            Syscall::VatstoreGetNextKey(_) => "vatstoreGetNextKey",
            Syscall::VatstoreScan { .. } => "vatstoreScan",
            Syscall::DropImports(_) => "dropImports",
            Syscall::RetireImports(_) => "retireImports",
            Syscall::RetireExports(_) => "retireExports",
            Syscall::AbandonExports(_) => "abandonExports",
            Syscall::CallNow { .. } => "callNow",
        }
    }
}

/// The names of all kinds of syscalls: SwingSet's, and vathost's own `vatstoreScan`.
pub const SYSCALL_KINDS: [&str; 14] = [
    "send",
    "subscribe",
    "resolve",
    "exit",
    "vatstoreGet",
    "vatstoreSet",
    "vatstoreDelete",
    "vatstoreGetNextKey",
    "vatstoreScan",
    "dropImports",
    "retireImports",
    "retireExports",
    "abandonExports",
    "callNow",
];

/// The kernel's answer to a syscall.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// A value or a key, if there is one; or the result of a scan.
    Value(Option<Bytes>),
    /// The answer of a device, or the error with which it answers: a body without references.
    Device(Result<Bytes, Bytes>),
}
