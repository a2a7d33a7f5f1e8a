//! The life of a promise: who decides it, who waits for it, and how it is settled, once.
//!
//! ```text
//!   unresolved (a decider, subscribers, a queue) ──settle──▶ fulfilled, rejected (a settlement, perhaps shared)
//!                                                   └─▶ subscribers are notified, the queue is accepted anew
//! ```

use crate::{
    invariant,
    kernel::{Ledger, translate::slot_kind},
    model::{
        blame::{Fault, KernelPanic},
        body::{self, Shape},
        id::{KRef, ObjectId, PromiseId, TextOrd, VatId},
        value::{CapData, Resolution},
    },
    slog::{Data, Detail, Event},
    state::table::{Awaited, Item, Policy, Promise, PromiseState, QueueId},
};

/// The object that a fulfilment is, if it is wholly one. Found once, when the promise is settled.
fn presence(data: &CapData<KRef>) -> Option<ObjectId> {
    if data.slots.is_empty() {
        return None;
    }
    let kinds: Vec<_> = data.slots.iter().map(|it| slot_kind(*it)).collect();
    match body::shape_of(&data.body, &kinds) {
        Ok(Shape::Slot(index)) => match data.slots.get(index) {
            Some(KRef::Object(id)) => Some(*id),
            _ => None,
        },
        _ => None,
    }
}

impl Ledger {
    pub(super) fn promise(&self, id: PromiseId) -> Result<&Promise, KernelPanic> {
        self.tables().promises.get(&id).ok_or_else(|| KernelPanic::new("promise.known", id))
    }

    pub(crate) fn update_promise<T>(
        &mut self,
        id: PromiseId,
        change: impl FnOnce(&mut Promise) -> T,
    ) -> Result<T, KernelPanic> {
        self.tables_mut().promises.update(&id, change).ok_or_else(|| KernelPanic::new("promise.known", id))
    }

    pub(crate) fn new_promise(&mut self, decider: Option<VatId>) -> PromiseId {
        let id = self.tables_mut().update_globals(|it| {
            let id = it.next_promise;
            it.next_promise = id.next();
            id
        });
        self.tables_mut().promises.insert(id, Promise::new(decider));
        id
    }

    pub(super) fn set_decider(&mut self, id: PromiseId, to: Option<VatId>) -> Result<(), KernelPanic> {
        let unresolved = self.update_promise(id, |it| match &mut it.state {
            PromiseState::Unresolved { decider } => {
                *decider = to;
                true
            }
            _ => false,
        })?;
        invariant!(unresolved, "promise.settled-once", "{id} is settled, and to be decided");
        Ok(())
    }

    pub(super) fn subscribe(&mut self, vat: VatId, promise: KRef) -> Result<(), Fault> {
        let KRef::Promise(id) = promise else { return Err(KernelPanic::new("promise.known", promise).into()) };
        if self.promise(id)?.is_unresolved() {
            self.tables_mut().subscribers.insert((id, TextOrd(vat.0)), ());
        } else {
            self.notify(vat, id)?;
        }
        Ok(())
    }

    /// Settles promises for a vat, which forgets all of them before the first is settled.
    pub(crate) fn resolve(&mut self, vat: VatId, resolutions: Vec<Resolution<KRef>>) -> Result<(), Fault> {
        for it in &resolutions {
            let (vref, _) = self.entry(vat, it.promise)?;
            self.remove_entry(vat, vref)?;
            self.decref(it.promise)?;
        }
        for Resolution { promise, rejected, data } in resolutions {
            let KRef::Promise(id) = promise else { return Err(KernelPanic::new("promise.known", promise).into()) };
            let decider = self.promise(id)?.decider();
            let who = || decider.map_or_else(|| "nobody".to_owned(), |it| it.to_string());
            invariant!(decider == Some(vat), "promise.decider", "{vat} settles {id}, which {} decides", who());
            self.settle(id, rejected, data)?;
        }
        Ok(())
    }

    /// Settles a promise that a row of the kernel's held.
    pub(super) fn settle_queued(
        &mut self,
        promise: Option<PromiseId>,
        rejected: bool,
        data: CapData<KRef>,
    ) -> Result<(), Fault> {
        let Some(id) = promise else { return Ok(()) };
        self.settle(id, rejected, data)?;
        Ok(self.decref(id.into())?)
    }

    /// A promise waits from now on, and is held.
    pub(super) fn await_with(&mut self, awaited: Awaited, promise: PromiseId) -> Result<(), KernelPanic> {
        self.tables_mut().waiting.insert((awaited, promise), ());
        self.incref(promise.into())
    }

    /// Takes the promises that wait for an event. The caller has their holds.
    pub(super) fn take_waiting(&mut self, awaited: Awaited) -> Vec<PromiseId> {
        let waiting: Vec<PromiseId> = self.tables().waiting.of(awaited).collect();
        for promise in &waiting {
            self.tables_mut().waiting.remove(&(awaited, *promise));
        }
        waiting
    }

    /// Settles a promise with these data.
    pub(crate) fn settle(&mut self, id: PromiseId, rejected: bool, data: CapData<KRef>) -> Result<(), Fault> {
        data.slots.iter().try_for_each(|it| self.incref(*it))?;
        let state = match rejected {
            true => PromiseState::Rejected { with: id },
            false => PromiseState::Fulfilled { with: id, presence: presence(&data) },
        };
        self.tables_mut().settlements.insert(id, data);
        self.conclude(id, state)
    }

    /// Settles a promise as another was settled: they share the settlement.
    pub(super) fn settle_as(&mut self, id: PromiseId, other: PromiseId) -> Result<(), Fault> {
        let other = *self.promise(other)?;
        invariant!(!other.is_unresolved(), "promise.settled-once", "{id} is to be settled as one that is not");
        self.conclude(id, other.state)
    }

    /// A promise stands like this from now on: its subscribers are to be notified, and what waited for it goes on.
    fn conclude(&mut self, id: PromiseId, state: PromiseState) -> Result<(), Fault> {
        let policy = match self.promise(id)? {
            it if it.is_unresolved() => it.policy,
            _ => return Err(KernelPanic::new("promise.settled-once", id).into()),
        };
        for vat in self.forget_subscribers(id) {
            self.notify(vat, id)?;
        }
        self.release_queue(id);
        self.tables_mut().settle_promise(id, state).ok_or_else(|| KernelPanic::new("promise.known", id))?;
        self.tables_mut().note_answer(id);
        if matches!(state, PromiseState::Rejected { .. }) && policy != Policy::Ignore {
            let data = self.tables().settled(id).cloned().ok_or_else(|| KernelPanic::new("audit.settlement", id))?;
            let panic = policy == Policy::Panic;
            invariant!(!panic, "promise.policy", "{id} was rejected with {:?}", data.body);
            let crank_num = self.number();
            let event = || Event::PromiseRejected { crank_num, kpid: id.into(), data: Data(&data) };
            self.slog().record(Detail::Cranks, event);
        }
        Ok(())
    }

    /// Takes the subscribers of a promise away.
    pub(super) fn forget_subscribers(&mut self, id: PromiseId) -> Vec<VatId> {
        let subscribers: Vec<VatId> = self.tables().subscribers.of(id).collect();
        for vat in &subscribers {
            self.tables_mut().subscribers.remove(&(id, TextOrd(vat.0)));
        }
        subscribers
    }

    /// Messages that waited for a promise are accepted anew.
    pub(super) fn release_queue(&mut self, id: PromiseId) {
        while let Some(waiting) = self.tables_mut().queue.pop(QueueId::Promise(id)) {
            self.accept_later(waiting);
        }
    }

    /// Queues the notification of a vat that a promise is settled.
    pub(super) fn notify(&mut self, vat: VatId, promise: PromiseId) -> Result<(), KernelPanic> {
        self.incref(promise.into())?;
        self.post(Item::Notify { vat, promise });
        Ok(())
    }
}
