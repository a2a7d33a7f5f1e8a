//! All queues, in one table: a row an item.

use serde::{Deserialize, Serialize};

use crate::{
    id::{BundleId, KRef, PromiseId, VatId},
    store::{Table, codec::Key},
    value::{CapData, Message},
};

/// Which queue. In this order they are looked at, and those behind the run-queue never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum QueueId {
    /// Terminated vats whose rows are still to be removed.
    Cleanup,
    /// Vats to be told to bring out their dead.
    Reap,
    /// The run-queue.
    Run,
    /// Messages that wait for a promise.
    Promise(PromiseId),
    /// What waits for a paused vat.
    Pause(VatId),
}

/// What waits in a queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Item {
    /// A message to an object or a promise.
    Send {
        /// The object or promise.
        target: KRef,
        /// The message.
        message: Message<KRef>,
    },
    /// Tell the vat that the promise is settled.
    Notify {
        /// Whom.
        vat: VatId,
        /// Of what.
        promise: PromiseId,
    },
    /// Start a new vat.
    StartVat {
        /// Which.
        vat: VatId,
        /// What it is given.
        parameters: CapData<KRef>,
        /// The promise for its root and its admin facet.
        result: Option<PromiseId>,
    },
    /// Replace the code of a vat.
    UpgradeVat {
        /// Which.
        vat: VatId,
        /// The new code.
        bundle: BundleId,
        /// What the new incarnation is given.
        parameters: CapData<KRef>,
        /// The promise for the number of the new incarnation.
        result: Option<PromiseId>,
    },
    /// Tell a vat of its new options.
    ChangeOptions {
        /// Which.
        vat: VatId,
        /// The options.
        options: CapData<KRef>,
    },
    /// Tell the vat to bring out its dead.
    Reap(VatId),
    /// Remove the rows of the vat.
    Cleanup(VatId),
}

/// The queues: within one, items stand in order of their numbers. A queue that ran empty begins at 0 again, so that the rows
/// do not tell how much went through it.
pub type Queue = Table<(QueueId, i64), Item>;

impl Queue {
    /// The items of one queue, first to last, with their numbers.
    pub fn of(&self, id: QueueId) -> impl DoubleEndedIterator<Item = (i64, &Item)> {
        self.range((id, i64::MIN)..=(id, i64::MAX)).map(|((_, at), item)| (*at, item))
    }

    /// The first item of the first queue of those that are run: rows stand in the order of their queues.
    pub fn to_run(&self) -> Option<(QueueId, i64)> {
        self.first().map(|(key, _)| *key).filter(|(id, _)| *id <= QueueId::Run)
    }

    /// Joins the end of a queue.
    pub fn push(&mut self, id: QueueId, item: Item) {
        let at = self.of(id).next_back().map_or(0, |(at, _)| at + 1);
        self.insert((id, at), item);
    }

    /// Joins the front of a queue.
    pub fn push_front(&mut self, id: QueueId, item: Item) {
        let at = self.of(id).next().map_or(0, |(at, _)| at - 1);
        self.insert((id, at), item);
    }

    /// Takes the last item off.
    pub fn pop_back(&mut self, id: QueueId) -> Option<Item> {
        let (at, _) = self.of(id).next_back()?;
        self.remove(&(id, at))
    }

    /// Takes the first item off.
    pub fn pop(&mut self, id: QueueId) -> Option<Item> {
        let (at, _) = self.of(id).next()?;
        self.remove(&(id, at))
    }
}

impl Key for QueueId {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            QueueId::Cleanup => (0_u8, 0_u64),
            QueueId::Reap => (1, 0),
            QueueId::Run => (2, 0),
            QueueId::Promise(id) => (3, id.0),
            QueueId::Pause(id) => (4, id.0),
        }
        .write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<QueueId> {
        match Key::read(bytes)? {
            (0_u8, 0_u64) => Some(QueueId::Cleanup),
            (1, 0) => Some(QueueId::Reap),
            (2, 0) => Some(QueueId::Run),
            (3, id) => Some(QueueId::Promise(PromiseId(id))),
            (4, id) => Some(QueueId::Pause(VatId(id))),
            _ => None,
        }
    }
}
