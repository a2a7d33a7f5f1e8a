//! All queues, in one table: a row an item; and whose turn it is in the run-queue.
//!
//! Invariant: what one vat sent stands in one queue, in the order in which it was accepted, whatever it goes to: no
//! schedule changes the order between a sender and a target.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::{AddAssign, SubAssign},
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        id::{PromiseId, VatId},
        item::Item,
        value::CapData,
    },
    store::{InRuns, Index, Table, canon::Sink, codec::Key},
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

/// The load of every vat that made something that waits, and the items in the run-queue of each sender: a
/// function of the rows, so that nothing has to be counted again.
#[derive(Debug, Default)]
pub struct Loads {
    vats: BTreeMap<VatId, Load>,
    senders: BTreeMap<Sender, Numbers>,
}

/// The numbers of the items that one sender has in the run-queue, as far as they are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Numbers {
    /// How many there are.
    count: u64,
    /// The first and the last. `None` if there are none; or if an end was removed from numbers with gaps, which the rows alone know.
    ends: Option<(i64, i64)>,
}

impl Numbers {
    fn add(&mut self, at: i64) {
        self.ends = match self.ends {
            Some((first, last)) => Some((first.min(at), last.max(at))),
            None => (self.count == 0).then_some((at, at)),
        };
        self.count += 1;
    }

    fn remove(&mut self, at: i64) {
        let has_gaps = |first: i64, last: i64| last.abs_diff(first) != self.count - 1;
        self.ends = match self.ends {
            Some((first, last)) if first < at && at < last => Some((first, last)),
            Some((first, last)) if first == last || has_gaps(first, last) => None,
            Some((first, last)) if at == first => Some((first + 1, last)),
            Some((first, last)) => Some((first, last - 1)),
            None => None,
        };
        self.count -= 1;
    }
}

impl Index<(QueueId, i64), Waiting> for Loads {
    fn changed(&mut self, (queue, at): &(QueueId, i64), old: Option<&Waiting>, new: Option<&Waiting>) {
        if let Some((vat, old)) = old.and_then(|it| Some((it.by?, it)))
            && let Some(load) = self.vats.get_mut(&vat)
        {
            *load -= Load::of(&old.item);
        }
        if let Some((vat, new)) = new.and_then(|it| Some((it.by?, it))) {
            *self.vats.entry(vat).or_default() += Load::of(&new.item);
        }
        let QueueId::Run(sender) = queue else { return };
        match (old, new) {
            (None, Some(_)) => self.senders.entry(*sender).or_default().add(*at),
            (Some(_), None) => {
                if let Entry::Occupied(mut numbers) = self.senders.entry(*sender) {
                    numbers.get_mut().remove(*at);
                    if numbers.get().count == 0 {
                        numbers.remove();
                    }
                }
            }
            _ => (),
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
    /// Cranks of the queue that come before the next one of garbage.
    pub until_gc: u32,
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
        self.index().senders.range(sender..).next().map(|(it, _)| *it)
    }

    /// Returns the number of the first item that a sender has to run.
    pub fn first_of(&self, sender: Sender) -> Option<i64> {
        self.ends(sender).map(|(first, _)| first)
    }

    /// Returns the numbers of the first and the last item that a sender has to run.
    fn ends(&self, sender: Sender) -> Option<(i64, i64)> {
        let numbers = self.index().senders.get(&sender)?;
        numbers.ends.or_else(|| {
            let mut all = self.of(QueueId::Run(sender)).map(|(at, _)| at);
            let first = all.next()?;
            Some((first, all.next_back().unwrap_or(first)))
        })
    }

    /// Returns the share of all queues that a vat made.
    pub fn load(&self, vat: VatId) -> Load {
        self.index().vats.get(&vat).copied().unwrap_or_default()
    }

    /// Iterates over the loads of all vats that have any.
    pub fn loads(&self) -> impl Iterator<Item = (VatId, Load)> {
        self.index().vats.iter().map(|(vat, load)| (*vat, *load)).filter(|(_, load)| load.items > 0)
    }

    /// Joins the end of a queue.
    pub fn push(&mut self, id: QueueId, waiting: Waiting) {
        let last = match (id, self.last()) {
            (QueueId::Run(sender), _) => self.ends(sender).map(|(_, last)| last),
            // Most often it is the last of all queues.
            (_, Some(((last, at), _))) if *last == id => Some(*at),
            (_, Some(((last, _), _))) if *last > id => self.of(id).next_back().map(|(at, _)| at),
            _ => None,
        };
        self.insert((id, last.map_or(0, |it| it + 1)), waiting);
    }

    /// Joins the front of a queue.
    pub fn push_front(&mut self, id: QueueId, waiting: Waiting) {
        let at = self.of(id).next().map_or(0, |(at, _)| at - 1);
        self.insert((id, at), waiting);
    }

    /// Takes the last item off.
    pub fn pop_back(&mut self, id: QueueId) -> Option<Waiting> {
        let (at, _) = self.of(id).next_back()?;
        self.remove(&(id, at))
    }

    /// Takes the first item off.
    pub fn pop(&mut self, id: QueueId) -> Option<Waiting> {
        let (at, _) = self.of(id).next()?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_ends_of_a_senders_numbers_are_right_if_they_are_known(
            moves in prop::collection::vec((-4..6_i64, any::<bool>()), 0..60),
        ) {
            let (mut numbers, mut all) = (Numbers::default(), BTreeSet::new());
            for (at, comes) in moves {
                match comes {
                    true if all.insert(at) => numbers.add(at),
                    false if all.remove(&at) => numbers.remove(at),
                    _ => (),
                }
                prop_assert_eq!(numbers.count, all.len() as u64);
                if let Some(ends) = numbers.ends {
                    prop_assert_eq!(Some(ends), all.first().copied().zip(all.last().copied()));
                }
            }
        }

        #[test]
        fn the_ends_are_known_where_items_come_and_go_at_the_ends(first in -3..3_i64, taken in 0..9_i64) {
            let mut numbers = Numbers::default();
            (first..first + 10).for_each(|at| numbers.add(at));
            (first..first + taken).for_each(|at| numbers.remove(at));
            prop_assert_eq!(numbers.ends, Some((first + taken, first + 9)));
        }
    }
}
