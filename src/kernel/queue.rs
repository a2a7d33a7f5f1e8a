//! The order of the run-queue, and the accounts of which vat made its items.
//!
//! Until kernel version 2 there is one run-queue, first in, first out, behind what the kernel has to do for itself.
//! Since version
//! 3 the senders take turns (see [`Turn`]): who floods itself, or others, delays its own.
//!
//! ```text
//!   what a delivery sends, settles ─▶ the vat's own queue            from outside ─▶ the queue of the kernel
//!   what the kernel answers        ─▶ the queue of the vat that asked
//!   reaps and cleanups of a vat    ─▶ the vat's own queue (a cleanup to its front)
//!   garbage                        ─▶ one crank in four; all of them, where nothing else is to be done. Since version 4 the groups
//!                                     of GC actions take turns too
//! ```
//!
//! Invariant: a turn passes with the taking of its item, and with it alone: also where the item is taken anew after
//! the crank was undone. So nobody gains by faulting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    kernel::{
        Ledger,
        crank::Crank,
        destination,
        gc::{GcSearch, has_garbage},
        take::{Source, Work},
    },
    model::{
        blame::{Fault, VatFault},
        id::{KRef, VatId},
        kernel_version, limits,
        value::Syscall,
    },
    state::table::{GarbageTurn, GcKind, Item, Load, PromiseState, QueueId, Sender, Tables, Turn, Waiting},
};

/// Returns whether the senders take turns.
fn takes_turns(tables: &Tables) -> bool {
    kernel_version::takes_turns(tables.globals().kernel_version)
}

/// The queue of the run-queue that what this vat made joins.
fn run_queue(tables: &Tables, by: Option<VatId>) -> QueueId {
    let own = by.filter(|_| takes_turns(tables)).map(|vat| Sender { family: tables.family(vat), vat });
    QueueId::Run(own.unwrap_or(Sender::KERNEL))
}

/// The sender whose item is next, where its first item stands, and the turn as it is then.
fn next_in_turn(tables: &Tables) -> Option<(Sender, i64, Turn)> {
    let weight = |family| weight(tables, family);
    let served = |family| tables.tallies.get(&family).map_or(family, |it| it.served);
    let (sender, turn) = tables.globals().turn.next(|it| tables.queue.sender_from(it), weight, served)?;
    Some((sender, tables.queue.first_of(sender)?, turn))
}

fn weight(tables: &Tables, family: VatId) -> u32 {
    tables.vats.get(&family).map_or(1, |it| it.options.weight)
}

/// Some of the run-queue's items: those of each sender, in its order.
type Queued = BTreeMap<Sender, VecDeque<i64>>;

/// Returns the items of the run-queue in the order in which they are taken, if nothing else comes.
pub fn run_order(tables: &Tables) -> Vec<(QueueId, i64)> {
    let mut queues = Queued::new();
    for (sender, at, _) in tables.queue.run() {
        queues.entry(sender).or_default().push_back(at);
    }
    in_turns(tables, queues)
}

/// Returns about `max` items of the run-queue, most likely those that are taken next, in the order in which they are taken.
pub(super) fn upcoming(tables: &Tables, max: usize) -> Vec<(QueueId, i64)> {
    let first = Sender { family: tables.globals().turn.family, vat: VatId(0) };
    let from = |sender: Sender| {
        std::iter::successors(tables.queue.sender_from(sender), move |it| tables.queue.sender_from(it.next()))
    };
    let senders: BTreeSet<Sender> = from(first).chain(from(Sender::KERNEL)).take(max).collect();
    let each = (max / senders.len().max(1)).max(1);
    let items = |sender| tables.queue.of(QueueId::Run(sender)).take(each).map(|(at, _)| at).collect();
    in_turns(tables, senders.into_iter().map(|sender| (sender, items(sender))).collect())
}

/// Puts these items in the order in which they are taken.
fn in_turns(tables: &Tables, mut queues: Queued) -> Vec<(QueueId, i64)> {
    if !takes_turns(tables) {
        let of = |(sender, items): (Sender, VecDeque<_>)| items.into_iter().map(move |at| (QueueId::Run(sender), at));
        return queues.into_iter().flat_map(of).collect();
    }
    let weight = |family| weight(tables, family);
    let mut turn = tables.globals().turn;
    let mut served: BTreeMap<VatId, VatId> = BTreeMap::new();
    let mut order = Vec::new();
    loop {
        let from = |sender: Sender| queues.range(sender..).next().map(|(it, _)| *it);
        let last = |family| {
            let before = || tables.tallies.get(&family).map_or(family, |it| it.served);
            served.get(&family).copied().unwrap_or_else(before)
        };
        let Some((sender, next)) = turn.next(from, weight, last) else { return order };
        let Some(at) = queues.get_mut(&sender).and_then(VecDeque::pop_front) else { return order };
        if queues.get(&sender).is_some_and(VecDeque::is_empty) {
            queues.remove(&sender);
        }
        let key = (QueueId::Run(sender), at);
        let to = tables.queue.get(&key).and_then(|waiting| destination(tables, &waiting.item));
        let to = to.map(|vat| tables.family(vat));
        order.push(key);
        served.insert(sender.family, sender.vat);
        turn = to.map_or(next, |to| next.lent(sender, to));
    }
}

/// Returns whether there is nothing to run: no item in the run-queue, and no GC action.
pub(super) fn is_idle(tables: &Tables) -> bool {
    tables.queue.to_run().is_none() && !has_garbage(tables)
}

impl Crank<'_> {
    /// Chooses the queue and the item that the crank takes.
    pub(super) fn choose(&mut self) {
        let queued = self.ledger.tables().queue.to_run();
        self.log.turn = None;
        self.log.source = match queued {
            Some((id @ QueueId::Cleanup, at)) => Some(Source::Queue(id, at)),
            Some((QueueId::Run(_), _)) | None if takes_turns(self.ledger.tables()) => self.choose_in_turn(),
            _ => match self.ledger.next_gc_group(None, usize::MAX) {
                GcSearch::Due(vat, kind) => Some(Source::Gc(vat, kind)),
                GcSearch::Beyond(_) | GcSearch::Nothing => queued.map(|(id, at)| Source::Queue(id, at)),
            },
        };
    }

    fn choose_in_turn(&mut self) -> Option<Source> {
        let globals = self.ledger.tables().globals();
        let Turn { mut garbage, .. } = globals.turn;
        let next = next_in_turn(self.ledger.tables());
        if garbage.until == 0 || next.is_none() {
            let in_turns = kernel_version::garbage_takes_turns(globals.kernel_version);
            let paused_max = if in_turns && next.is_some() { limits::GC_PAUSED_MAX } else { usize::MAX };
            match self.ledger.next_gc_group(garbage.served, paused_max) {
                GcSearch::Due(vat, kind) => {
                    let served = in_turns.then_some((vat, kind));
                    let garbage = GarbageTurn { until: limits::GC_CRANKS_APART - 1, served };
                    self.log.turn = Some(Turn { garbage, ..globals.turn });
                    return Some(Source::Gc(vat, kind));
                }
                // The search goes on behind it.
                GcSearch::Beyond(vat) => {
                    garbage = GarbageTurn { until: limits::GC_CRANKS_APART, served: Some((vat, GcKind::RetireImport)) };
                }
                GcSearch::Nothing => (),
            }
        }
        let (sender, at, next) = next?;
        garbage.until = garbage.until.saturating_sub(1);
        self.log.turn = Some(Turn { garbage, ..next });
        Some(Source::Queue(QueueId::Run(sender), at))
    }

    /// Ends the turn of an item that was taken and became this work.
    pub(super) fn pass_turn(&mut self, work: &Work) {
        let Some(mut turn) = self.log.turn else { return };
        if let Some(Source::Queue(QueueId::Run(sender), _)) = self.log.source {
            if let Some(vat) = work.vat() {
                turn = turn.lent(sender, self.ledger.tables().family(vat));
            }
            let served = self.ledger.tables().tallies.get(&sender.family).map(|it| it.served);
            if served.is_some_and(|it| it != sender.vat) {
                self.ledger.tables_mut().tallies.update(&sender.family, |it| it.served = sender.vat);
            }
        }
        // Where nobody waits no turn is owed: the rows do not tell who was served before.
        if self.ledger.tables().queue.to_run().is_none() {
            turn = Turn { garbage: turn.garbage, ..Turn::default() };
        }
        if self.ledger.tables().gc.is_empty() {
            turn.garbage.served = None;
        }
        if turn != self.ledger.tables().globals().turn {
            self.ledger.tables_mut().update_globals(|it| it.turn = turn);
        }
    }
}

impl Ledger {
    /// Joins the end of its maker's run-queue.
    pub(crate) fn queue_run(&mut self, waiting: Waiting) {
        let queue = run_queue(self.tables(), waiting.by);
        self.tables_mut().queue.push(queue, waiting);
    }

    /// Joins the front of its maker's run-queue.
    pub(super) fn queue_first(&mut self, waiting: Waiting) {
        let queue = run_queue(self.tables(), waiting.by);
        self.tables_mut().queue.push_front(queue, waiting);
    }

    /// Queues a bring-out-your-dead for a vat: at the vat's expense, if its turns are counted.
    pub(super) fn queue_bring_out(&mut self, vat: VatId) {
        let waiting = Waiting { by: Some(vat), item: Item::Reap(vat) };
        match takes_turns(self.tables()) {
            true => self.queue_run(waiting),
            false => self.tables_mut().queue.push(QueueId::Reap, waiting),
        }
    }

    /// Queues the removal of a dead vat's rows; `more` if some of them were removed already.
    pub(super) fn queue_cleanup(&mut self, vat: VatId, more: bool) {
        let waiting = Waiting { by: Some(vat), item: Item::Cleanup(vat) };
        match takes_turns(self.tables()) {
            true => self.queue_first(waiting),
            false if more => self.tables_mut().queue.push_front(QueueId::Cleanup, waiting),
            false => self.tables_mut().queue.push(QueueId::Cleanup, waiting),
        }
    }

    /// Deals the one run-queue of older kernels out to those who sent what stands in it.
    pub(super) fn deal_run_queue(&mut self) {
        let all: Vec<_> = self.tables().queue.run().map(|(sender, at, _)| (QueueId::Run(sender), at)).collect();
        let taken: Vec<Waiting> = all.iter().filter_map(|key| self.tables_mut().queue.remove(key)).collect();
        taken.into_iter().for_each(|it| self.queue_run(it));
    }

    /// Checks that a vat may add to the queues what this syscall adds.
    pub(super) fn check_queued(&self, vat: VatId, syscall: &Syscall<KRef>) -> Result<(), Fault> {
        let more = match syscall {
            Syscall::Send { message, .. } => Load { items: 1, bytes: Load::bytes_of(&message.methargs) },
            Syscall::Subscribe(promise) => Load { items: u64::from(self.waiting_for(*promise).is_none()), bytes: 0 },
            Syscall::Resolve(all) => {
                let news = all.iter().filter_map(|it| self.waiting_for(it.promise));
                Load { items: news.sum::<usize>() as u64, bytes: 0 }
            }
            _ => return Ok(()),
        };
        let Some(options) = self.tables().vats.get(&vat).map(|it| &it.options) else { return Ok(()) };
        let mut load = self.tables().queue.load(vat);
        load += self.posted();
        load += more;
        VatFault::limit("queuedMax", load.items, options.queued_max)?;
        Ok(VatFault::limit("queuedBytesMax", load.bytes, options.queued_bytes_max)?)
    }

    /// Counts the vats that wait for a promise; `None` if it is settled.
    fn waiting_for(&self, promise: KRef) -> Option<usize> {
        match &self.tables().promises.get(&promise.promise()?)?.state {
            PromiseState::Unresolved { .. } => Some(self.tables().subscribers.of(promise.promise()?).count()),
            _ => None,
        }
    }
}
