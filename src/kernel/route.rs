//! The routing of messages: decided when a message is accepted, and again when its turn comes.

use crate::{
    invariant,
    kernel::{Crank, translate::slot_kind},
    model::{
        blame::{Fault, KernelPanic},
        body::{self, Shape},
        id::{KRef, ObjectId, PromiseId, TextOrd, VatId},
        value::{CapData, Message},
    },
    slog::{Data, Detail, Event},
    state::table::{Item, KernelObject, Owner, Policy, PromiseState, QueueId, Tables},
};

/// The destination of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// To this vat: it owns the object, or decides the promise and takes pipelined messages.
    Vat(VatId),
    /// The kernel answers.
    Kernel(KernelObject),
    /// Into the queue of this promise.
    Wait(PromiseId),
    /// Nowhere: its result is rejected.
    Splat(Rejection),
}

/// The reason with which the result of an undeliverable message is rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Rejection {
    /// Words of the kernel's.
    With(CapData<KRef>),
    /// The reason with which this promise was rejected: shared, not copied.
    As(PromiseId),
}

impl Rejection {
    fn error(why: &str) -> Rejection {
        Rejection::With(body::error(why))
    }
}

const VAT_TERMINATED: &str = "vat terminated";

/// Finds the route of a message to `target`, and the target that it then has: a promise that was fulfilled with a
/// presence stands for that presence.
pub(super) fn route(tables: &Tables, target: KRef, methargs: &[u8]) -> Result<(KRef, Route), KernelPanic> {
    let id = match target {
        KRef::Object(id) => return Ok((target, route_object(tables, id))),
        KRef::Promise(id) => id,
        KRef::Device(id) => return Err(KernelPanic::new("audit.queue", format_args!("a message to {id}"))),
    };
    let promise = tables.promises.get(&id).ok_or_else(|| KernelPanic::new("promise.known", id))?;
    let route = match &promise.state {
        PromiseState::Unresolved { decider } => match decider.and_then(|vat| Some((vat, tables.vats.get(&vat)?))) {
            Some((vat, row)) if row.options.pipelining && tables.is_alive(vat) => Route::Vat(vat),
            Some((vat, _)) if !tables.is_alive(vat) => Route::Splat(Rejection::error(VAT_TERMINATED)),
            _ => Route::Wait(id),
        },
        PromiseState::Fulfilled { presence: Some(object), .. } => {
            return Ok(((*object).into(), route_object(tables, *object)));
        }
        PromiseState::Fulfilled { presence: None, .. } => {
            let method = body::method_of(methargs);
            Route::Splat(Rejection::error(&format!("data is not callable, has no method {method}")))
        }
        PromiseState::Rejected { .. } => Route::Splat(Rejection::As(id)),
    };
    Ok((target, route))
}

fn route_object(tables: &Tables, id: ObjectId) -> Route {
    match tables.objects.get(&id).and_then(|it| it.owner) {
        Some(Owner::Vat(vat)) if tables.is_alive(vat) => Route::Vat(vat),
        Some(Owner::Kernel(object)) => Route::Kernel(object),
        _ => Route::Splat(Rejection::error(VAT_TERMINATED)),
    }
}

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

impl Crank {
    /// Routes a message as [`route`] does, and moves the message's hold along if the target changes.
    pub(super) fn route(&mut self, target: KRef, message: &Message<KRef>) -> Result<(KRef, Route), KernelPanic> {
        let (to, route) = route(self.tables(), target, &message.methargs.body)?;
        if to != target {
            self.incref(to)?;
            self.decref(target)?;
        }
        Ok((to, route))
    }

    /// Rejects the result of a message that reaches nobody, and releases what the message held.
    pub(super) fn splat(&mut self, target: KRef, message: Message<KRef>, with: Rejection) -> Result<(), Fault> {
        if let Some(KRef::Promise(result)) = message.result {
            match with {
                Rejection::With(data) => self.settle(result, true, data)?,
                Rejection::As(other) => self.settle_as(result, other)?,
            }
        }
        Ok(self.decref_message(target, &message)?)
    }

    /// Settles a promise with these data.
    pub(super) fn settle(&mut self, id: PromiseId, rejected: bool, data: CapData<KRef>) -> Result<(), Fault> {
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
        self.update_promise(id, |it| it.state = state)?;
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
            self.accepting.push_back(waiting);
        }
    }

    /// Queues the notification of a vat that a promise is settled.
    pub(super) fn notify(&mut self, vat: VatId, promise: PromiseId) -> Result<(), KernelPanic> {
        self.incref(promise.into())?;
        self.post(Item::Notify { vat, promise });
        Ok(())
    }
}
