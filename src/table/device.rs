//! Devices: what a vat reaches of the world outside, by `callNow`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    id::{ObjectId, VatId},
    store::{Index, Table},
};

/// A device, and what it remembers. There is one of a kind at the most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Device {
    /// Tells the block's time, and wakes at a time. The wakeups have a table of their own.
    Timer,
    /// Messages from and to the outside. Those that wait to be acknowledged outside have a table of their own.
    Mailbox(Mailbox),
    /// Lines for whoever runs the host.
    Console,
}

impl Device {
    /// The devices that a state can have, as they are in the beginning.
    pub const ALL: [Device; 3] = [Device::Timer, Device::Mailbox(Mailbox::EMPTY), Device::Console];

    /// What a scenario calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Timer => "timer",
            Device::Mailbox(_) => "mailbox",
            Device::Console => "console",
        }
    }

    /// A new one, by its name.
    pub fn named(name: &str) -> Option<Device> {
        Device::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// Where the two directions of a mailbox stand. Messages are numbered from 1 in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mailbox {
    /// Who is told of messages from outside: held.
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
    /// One that nothing went through.
    pub const EMPTY: Mailbox = Mailbox { handler: None, received: 0, acknowledged: 0, sent: 0, taken: 0 };
}

/// Somebody asked the timer for a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wakeup {
    /// Who is told: held.
    pub handler: ObjectId,
    /// The vat that asked: the message is sent in its name.
    pub by: VatId,
}

/// Whom the timer wakes: by time and, within one, in order of their asking. The index finds them by the handler.
pub type Wakeups = Table<(u64, u64), Wakeup, ByHandler>;

/// The wakeups of each handler.
#[derive(Debug, Default)]
pub struct ByHandler(BTreeSet<(ObjectId, (u64, u64))>);

impl Index<(u64, u64), Wakeup> for ByHandler {
    fn changed(&mut self, key: &(u64, u64), old: Option<&Wakeup>, new: Option<&Wakeup>) {
        if let Some(old) = old {
            self.0.remove(&(old.handler, *key));
        }
        if let Some(new) = new {
            self.0.insert((new.handler, *key));
        }
    }
}

impl Wakeups {
    /// The wakeups of one handler, in order of their times.
    pub fn of(&self, handler: ObjectId) -> impl Iterator<Item = (u64, u64)> {
        let (first, last) = ((handler, (0, 0)), (handler, (u64::MAX, u64::MAX)));
        self.index().0.range(first..=last).map(|(_, key)| *key)
    }
}
