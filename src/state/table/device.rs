//! Devices: what a vat reaches of the world outside, by `callNow`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        id::{DeviceId, ObjectId, VatId},
        value::Bytes,
    },
    state::table::Tables,
    store::{Index, Table, codec::Key},
};

/// A device, and what it remembers. There is at most one of a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DeviceRow {
    /// Tells the block's time, and wakes at a time. The wakeups have a table of their own.
    Timer,
    /// Messages from and to the outside. Those that wait to be acknowledged outside have a table of their own.
    Mailbox(Mailbox),
    /// Lines for the host's operator.
    Console,
    /// A device of the program that embeds the host: see [`Device`](crate::state::device::Device). Its rows have a table
    /// of their own.
    Own(OwnDevice),
}

/// The kernel's row for a device of an embedder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnDevice {
    /// The name of the device.
    pub name: Bytes,
    /// The object that receives what comes from outside: held.
    pub handler: Option<ObjectId>,
    /// The number of the last message that left, or leaves with this block.
    pub sent: u64,
}

impl DeviceRow {
    /// The devices that every host has, as they are in the beginning.
    pub const ALL: [DeviceRow; 3] = [DeviceRow::Timer, DeviceRow::Mailbox(Mailbox::EMPTY), DeviceRow::Console];

    /// Returns the name of the device in a scenario.
    pub fn name(&self) -> &str {
        match self {
            DeviceRow::Timer => "timer",
            DeviceRow::Mailbox(_) => "mailbox",
            DeviceRow::Console => "console",
            DeviceRow::Own(own) => own.name.as_text().unwrap_or_default(),
        }
    }

    /// Makes a new device that every host has, by its name.
    pub fn named(name: &str) -> Option<DeviceRow> {
        DeviceRow::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// The progress of a mailbox in its two directions. Messages are numbered from 1 in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mailbox {
    /// The object that receives messages from outside: held.
    pub handler: Option<ObjectId>,
    /// The last message from outside that was taken in.
    pub received: u64,
    /// The last message from outside that a vat acknowledged.
    pub acknowledged: u64,
    /// The last message to the outside.
    pub sent: u64,
    /// The last message to the outside that the outside acknowledged.
    pub taken: u64,
}

impl Mailbox {
    /// A mailbox through which nothing went yet.
    pub const EMPTY: Mailbox = Mailbox { handler: None, received: 0, acknowledged: 0, sent: 0, taken: 0 };
}

/// One wakeup that a vat asked the timer for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wakeup {
    /// The object to wake: held.
    pub handler: ObjectId,
    /// The vat that asked: the wakeup counts as its own, whosever the handler is.
    pub asker: VatId,
}

/// The wakeups that the timer owes: by time and, within one, in the order in which they were asked for. The index
/// finds them by the handler, and counts them by who asked.
pub type Wakeups = Table<(u64, u64), Wakeup, WakeupIndex>;

/// The wakeups of each handler, and how many each vat asked for.
#[derive(Debug, Default)]
pub struct WakeupIndex {
    by_handler: BTreeSet<(ObjectId, (u64, u64))>,
    asked: BTreeMap<VatId, u64>,
}

impl Index<(u64, u64), Wakeup> for WakeupIndex {
    fn changed(&mut self, key: &(u64, u64), old: Option<&Wakeup>, new: Option<&Wakeup>) {
        if let Some(old) = old {
            self.by_handler.remove(&(old.handler, *key));
            let left = self.asked.get(&old.asker).map_or(0, |it| it.saturating_sub(1));
            match left {
                0 => self.asked.remove(&old.asker),
                left => self.asked.insert(old.asker, left),
            };
        }
        if let Some(new) = new {
            self.by_handler.insert((new.handler, *key));
            *self.asked.entry(new.asker).or_default() += 1;
        }
    }
}

impl Wakeups {
    /// Iterates over the wakeups of one handler, in order of their times.
    pub fn of(&self, handler: ObjectId) -> impl Iterator<Item = (u64, u64)> {
        let (first, last) = ((handler, (0, 0)), (handler, (u64::MAX, u64::MAX)));
        self.index().by_handler.range(first..=last).map(|(_, key)| *key)
    }

    /// Counts the wakeups of a vat that are still to come.
    pub fn asked_by(&self, vat: VatId) -> u64 {
        self.index().asked.get(&vat).copied().unwrap_or(0)
    }
}

/// The mailbox's messages to the outside that the outside has not acknowledged, by number. The index knows how many
/// bytes they are.
pub type Outbox = Table<u64, Bytes, OutboxIndex>;

/// The bytes of all rows of the outbox.
#[derive(Debug, Default)]
pub struct OutboxIndex {
    bytes: u64,
}

impl Index<u64, Bytes> for OutboxIndex {
    fn changed(&mut self, _: &u64, old: Option<&Bytes>, new: Option<&Bytes>) {
        let weight = |it: Option<&Bytes>| it.map_or(0, |it| it.len() as u64);
        self.bytes = self.bytes.saturating_sub(weight(old)) + weight(new);
    }
}

impl Outbox {
    /// Returns the bytes of all messages in the outbox.
    pub fn bytes(&self) -> u64 {
        self.index().bytes
    }
}

/// An outbox row as the outside receives it: a vat's message as it is, JSON; a refusal behind a mark that no JSON
/// begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outgoing<'a> {
    /// A vat's message: JSON.
    Message(&'a str),
    /// The message from outside with this number will reach no vat.
    Refused {
        /// The number of the refused message, among those from outside.
        number: u64,
        /// The reason of the refusal.
        why: &'a str,
    },
}

impl<'a> Outgoing<'a> {
    const REFUSAL: char = '!';

    /// Reads a row of the outbox.
    pub fn of(row: &'a Bytes) -> Outgoing<'a> {
        let text = row.as_text().unwrap_or_default();
        let refusal = text.strip_prefix(Outgoing::REFUSAL).and_then(|it| it.split_once(' '));
        match refusal.and_then(|(number, why)| Some((number.parse().ok()?, why))) {
            Some((number, why)) => Outgoing::Refused { number, why },
            None => Outgoing::Message(text),
        }
    }

    /// Writes the row of the outbox.
    pub fn row(&self) -> Bytes {
        match self {
            Outgoing::Message(json) => (*json).into(),
            Outgoing::Refused { number, why } => format!("{}{number} {why}", Outgoing::REFUSAL).into(),
        }
    }
}

/// The rows of the embedder's devices, by device and key.
pub type DeviceRows = Table<(DeviceId, Bytes), Bytes, DeviceSums>;

/// The messages that left with the last block, or leave with this one, by device and number.
pub type DeviceMessages = Table<(DeviceId, u64), Bytes, DeviceSums>;

/// The number of the rows of each device, and their bytes with those of their keys.
#[derive(Debug, Default)]
pub struct DeviceSums(BTreeMap<DeviceId, (u64, u64)>);

/// A key within the rows of one device.
trait DeviceKey {
    fn device(&self) -> DeviceId;
    fn bytes(&self) -> u64;
}

impl DeviceKey for (DeviceId, Bytes) {
    fn device(&self) -> DeviceId {
        self.0
    }
    fn bytes(&self) -> u64 {
        self.1.len() as u64
    }
}

impl DeviceKey for (DeviceId, u64) {
    fn device(&self) -> DeviceId {
        self.0
    }
    fn bytes(&self) -> u64 {
        0
    }
}

impl<K: DeviceKey> Index<K, Bytes> for DeviceSums {
    fn changed(&mut self, key: &K, old: Option<&Bytes>, new: Option<&Bytes>) {
        let (rows, bytes) = self.0.entry(key.device()).or_default();
        if let Some(old) = old {
            *rows -= 1;
            *bytes -= key.bytes() + old.len() as u64;
        }
        if let Some(new) = new {
            *rows += 1;
            *bytes += key.bytes() + new.len() as u64;
        }
    }
}

impl<K> Table<K, Bytes, DeviceSums>
where
    K: Key,
    DeviceSums: Index<K, Bytes>,
{
    /// Returns the number of the rows of a device, and their bytes.
    pub fn sums(&self, device: DeviceId) -> (u64, u64) {
        self.index().0.get(&device).copied().unwrap_or_default()
    }
}

impl Tables {
    /// Returns the mailbox, if the state has one.
    pub fn mailbox(&self) -> Option<Mailbox> {
        self.devices.iter().find_map(|(_, it)| match it {
            DeviceRow::Mailbox(mailbox) => Some(*mailbox),
            _ => None,
        })
    }

    /// Returns the object that receives the mailbox's messages: `None` if no vat registered one, or if the handler's
    /// vat has ended, or was upgraded and did not register another.
    pub fn mail_handler(&self) -> Option<ObjectId> {
        let handler = self.mailbox()?.handler?;
        self.objects.get(&handler)?.owner.map(|_| handler)
    }
}
