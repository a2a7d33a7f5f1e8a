//! All queues, in one table: a row an item; and whose turn it is in the run-queue.
//!
//! Invariant: what one vat sent stands in one queue, in the order in which it was accepted, whatever it goes to: no
//! schedule changes the order between a sender and a target.

use std::{
    collections::BTreeMap,
    ops::{AddAssign, SubAssign},
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        id::{PromiseId, VatId},
        item::Item,
        limits,
        value::CapData,
    },
    state::table::GcKind,
    store::{self, InRuns, Index, Table, canon::Sink, codec::Key},
};

/// The vat that made an item of the run-queue, and the family in whose turn it is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sender {
    /// The family that shares the turn: see [`Vat::family`](crate::state::table::Vat::family).
    pub family: VatId,
    /// The vat that made the item.
    pub vat: VatId,
}

impl Sender {
    /// The kernel, and the world outside. Before kernel version 3 all of the run-queue stands here.
    pub const KERNEL: Sender = Sender { family: VatId(0), vat: VatId(0) };
    const LAST: Sender = Sender { family: VatId(u64::MAX), vat: VatId(u64::MAX) };

    /// Returns the least sender that is greater.
    pub fn next(self) -> Sender {
        Sender { vat: VatId(self.vat.0.saturating_add(1)), ..self }
    }
}

/// The identity of a queue. Those behind the run-queue are never run from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum QueueId {
    /// Terminated vats whose rows are still to be removed. Since kernel version 3 they stand in the run-queue.
    Cleanup,
    /// Vats to be told to bring out their dead. Since kernel version 3 they stand in the run-queue.
    Reap,
    /// The run-queue of one sender: all of them together are the run-queue.
    Run(Sender),
    /// Messages that wait for a promise.
    Promise(PromiseId),
    /// The items that wait for a paused vat.
    Pause(VatId),
}

/// An item in a queue, and who made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Waiting {
    /// The vat that it is counted to, and in whose turn it is taken; `None` is the kernel, or the world outside.
    pub by: Option<VatId>,
    /// The waiting item.
    pub item: Item,
}

/// The share of all queues that a vat made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Number of items.
    pub items: u64,
    /// Bytes of their bodies, and eight for each slot.
    pub bytes: u64,
}

impl Load {
    /// Returns the load of one item.
    pub fn of(item: &Item) -> Load {
        let data = match item {
            Item::Send { message, .. } => Some(&message.methargs),
            Item::StartVat { parameters: data, .. }
            | Item::UpgradeVat { parameters: data, .. }
            | Item::ChangeOptions { options: data, .. } => Some(data),
            Item::Notify { .. } | Item::Reap(_) | Item::Cleanup(_) => None,
        };
        Load { items: 1, bytes: data.map_or(0, Load::bytes_of) }
    }

    /// Bytes of capdata, as they are counted.
    pub fn bytes_of<R>(data: &CapData<R>) -> u64 {
        (data.body.len() + 8 * data.slots.len()) as u64
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, more: Load) {
        self.items += more.items;
        self.bytes += more.bytes;
    }
}

impl SubAssign for Load {
    fn sub_assign(&mut self, less: Load) {
        self.items -= less.items;
        self.bytes -= less.bytes;
    }
}

/// The load of every vat that made something that waits: a function of the rows, so that nothing has to be counted again.
#[derive(Debug, Default)]
pub struct Loads(BTreeMap<VatId, Load>);

impl Index<(QueueId, i64), Waiting> for Loads {
    fn changed(&mut self, _: &(QueueId, i64), old: Option<&Waiting>, new: Option<&Waiting>) {
        if let Some((vat, old)) = old.and_then(|it| Some((it.by?, it)))
            && let Some(load) = self.0.get_mut(&vat)
        {
            *load -= Load::of(&old.item);
        }
        if let Some((vat, new)) = new.and_then(|it| Some((it.by?, it))) {
            *self.0.entry(vat).or_default() += Load::of(&new.item);
        }
    }
}

/// The present turn in the run-queue, since kernel version 3.
///
/// The families with something to run take turns, in order of their numbers, round and round; those of one family take
/// turns within its own. A turn is as many items as the family has weight. Where an item goes to a vat of another
/// family, that family has one crank right behind it, so that a vat that is asked much can answer as much: a turn is
/// at most twice its weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Turn {
    /// The family whose turn it is, or was last.
    pub family: VatId,
    /// Items that it may have before the next family's turn.
    pub left: u32,
    /// The family that may answer first.
    pub answers: Option<VatId>,
    /// The turn of garbage.
    pub garbage: GarbageTurn,
}

/// The turn of garbage: a crank in so many, which the groups of GC actions (one vat's of one kind) take by turns since kernel version 4.
///
/// Stored and hashed as one number, `until + 4 × (1 + 3 × vat + kind)`: before version 4, when no group is remembered, `until` alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct GarbageTurn {
    /// Cranks of the queue that come before the next one of garbage: fewer than [`limits::GC_CRANKS_APART`].
    pub until: u32,
    /// The group that had its turn last, while any action waits.
    pub served: Option<(VatId, GcKind)>,
}

impl GarbageTurn {
    const APART: u64 = limits::GC_CRANKS_APART as u64;
    const KINDS: u64 = GcKind::ALL.len() as u64;
}

impl From<u64> for GarbageTurn {
    fn from(number: u64) -> GarbageTurn {
        let (group, until) = (number / GarbageTurn::APART, u32::try_from(number % GarbageTurn::APART));
        let served = group.checked_sub(1).and_then(|it| {
            let kind = usize::try_from(it % GarbageTurn::KINDS).ok()?;
            Some((VatId(it / GarbageTurn::KINDS), *GcKind::ALL.get(kind)?))
        });
        GarbageTurn { until: until.unwrap_or(0), served }
    }
}

impl From<GarbageTurn> for u64 {
    fn from(turn: GarbageTurn) -> u64 {
        let group = turn.served.map_or(0, |(vat, kind)| 1 + GarbageTurn::KINDS * vat.0 + kind as u64);
        u64::from(turn.until) + GarbageTurn::APART * group
    }
}

impl Turn {
    /// Returns the sender whose item is the next one, and the turn as it is then. `from` finds the first sender not
    /// before one that has something to run; `served` is the vat of a family that had its turn last.
    pub fn next(
        self,
        from: impl Fn(Sender) -> Option<Sender>,
        weight: impl Fn(VatId) -> u32,
        served: impl Fn(VatId) -> VatId,
    ) -> Option<(Sender, Turn)> {
        let first_from = |family| from(Sender { family, vat: VatId(0) });
        let first_of = |family: VatId| first_from(family).filter(|it| it.family == family);
        let (first, turn) = if let Some(lent) = self.answers.and_then(first_of) {
            (lent, self)
        } else if let Some(same) = Some(self.family).filter(|_| self.left > 0).and_then(first_of) {
            (same, Turn { left: self.left - 1, ..self })
        } else {
            let other = first_from(VatId(self.family.0.saturating_add(1))).or_else(|| first_from(VatId(0)))?;
            (other, Turn { family: other.family, left: weight(other.family).saturating_sub(1), ..self })
        };
        let family = first.family;
        let next = Sender { family, vat: served(family) }.next();
        let sender = if first >= next { first } else { from(next).filter(|it| it.family == family).unwrap_or(first) };
        Some((sender, Turn { answers: None, ..turn }))
    }

    /// Returns the turn after an item of this sender was taken that goes to a vat of this family.
    #[must_use]
    pub fn lent(self, sender: Sender, to: VatId) -> Turn {
        let lends = sender.family == self.family && to != self.family;
        Turn { answers: lends.then_some(to), ..self }
    }
}

/// The queues: within one, items stand in order of their numbers. A queue that ran empty begins at 0 again, so that
/// the rows do not tell how much went through it.
pub type Queue = Table<(QueueId, i64), Waiting, Loads, InRuns>;

impl Queue {
    /// Iterates over the items of one queue, first to last, with their numbers.
    pub fn of(&self, id: QueueId) -> impl DoubleEndedIterator<Item = (i64, &Item)> {
        self.range((id, i64::MIN)..=(id, i64::MAX)).map(|((_, at), it)| (*at, &it.item))
    }

    /// Iterates over the items of the run-queue: of each sender in its order, not in the order in which they are run.
    pub fn run(&self) -> impl Iterator<Item = (Sender, i64, &Waiting)> {
        let run = QueueId::Run;
        let rows = self.range((run(Sender::KERNEL), i64::MIN)..=(run(Sender::LAST), i64::MAX));
        rows.filter_map(|((id, at), it)| match id {
            QueueId::Run(sender) => Some((*sender, *at, it)),
            _ => None,
        })
    }

    /// Returns the first item of the first queue that is run: the one that a kernel before version 3 takes next.
    pub fn to_run(&self) -> Option<(QueueId, i64)> {
        self.first().map(|(key, _)| *key).filter(|(id, _)| *id <= QueueId::Run(Sender::LAST))
    }

    /// Returns the first sender, not before this one, that has something to run.
    pub fn sender_from(&self, sender: Sender) -> Option<Sender> {
        match store::run_from(self, &QueueId::Run(sender))? {
            QueueId::Run(sender) => Some(*sender),
            _ => None,
        }
    }

    /// Returns the number of the first item that a sender has to run.
    pub fn first_of(&self, sender: Sender) -> Option<i64> {
        store::run_ends(self, &QueueId::Run(sender)).map(|(first, _)| first)
    }

    /// Returns the share of all queues that a vat made.
    pub fn load(&self, vat: VatId) -> Load {
        self.index().0.get(&vat).copied().unwrap_or_default()
    }

    /// Iterates over the loads of all vats that have any.
    pub fn loads(&self) -> impl Iterator<Item = (VatId, Load)> {
        self.index().0.iter().map(|(vat, load)| (*vat, *load)).filter(|(_, load)| load.items > 0)
    }

    /// Joins the end of a queue.
    pub fn push(&mut self, id: QueueId, waiting: Waiting) {
        store::append_row(self, id, waiting);
    }

    /// Joins the front of a queue.
    pub fn push_front(&mut self, id: QueueId, waiting: Waiting) {
        let at = store::run_ends(self, &id).map_or(0, |(first, _)| first - 1);
        self.insert((id, at), waiting);
    }

    /// Takes the last item off.
    pub fn pop_back(&mut self, id: QueueId) -> Option<Waiting> {
        let (_, at) = store::run_ends(self, &id)?;
        self.remove(&(id, at))
    }

    /// Takes the first item off.
    pub fn pop(&mut self, id: QueueId) -> Option<Waiting> {
        let (at, _) = store::run_ends(self, &id)?;
        self.remove(&(id, at))
    }
}

impl Key for QueueId {
    fn write(&self, out: &mut impl Sink) {
        match self {
            QueueId::Cleanup => (0_u8, 0_u64),
            QueueId::Reap => (1, 0),
            QueueId::Run(sender) => (2, sender.family.0),
            QueueId::Promise(id) => (3, id.0),
            QueueId::Pause(id) => (4, id.0),
        }
        .write(out);
        if let QueueId::Run(sender) = self {
            sender.vat.write(out);
        }
    }
    fn read(bytes: &mut &[u8]) -> Option<QueueId> {
        match Key::read(bytes)? {
            (0_u8, 0_u64) => Some(QueueId::Cleanup),
            (1, 0) => Some(QueueId::Reap),
            (2, family) => Some(QueueId::Run(Sender { family: VatId(family), vat: VatId::read(bytes)? })),
            (3, id) => Some(QueueId::Promise(PromiseId(id))),
            (4, id) => Some(QueueId::Pause(VatId(id))),
            _ => None,
        }
    }
}
