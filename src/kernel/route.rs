//! Where a message goes: decided when it is accepted, and again when its turn comes.

use crate::{
    body::{self, Shape},
    fault::{Fault, KernelPanic},
    id::{KRef, ObjectId, PromiseId, VatId},
    invariant,
    kernel::{Crank, translate::slot_kind},
    slog::{Data, Detail, Event},
    table::{Item, KernelObject, Owner, Policy, PromiseState, QueueId, Tables},
    value::{CapData, Message},
};

/// Where a message goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// To this vat: it owns the object, or decides the promise and takes pipelined messages.
    Vat(VatId),
    /// The kernel answers.
    Kernel(KernelObject),
    /// Into the queue of this promise.
    Wait(PromiseId),
    /// Nowhere: its result is rejected with this.
    Splat(CapData<KRef>),
}

const VAT_TERMINATED: &str = "vat terminated";

/// The route of a message to `target`, and what it is addressed to then: a promise that was fulfilled with a presence stands
/// for that presence.
pub(super) fn route(tables: &Tables, target: KRef, methargs: &[u8]) -> Result<(KRef, Route), KernelPanic> {
    let id = match target {
        KRef::Object(id) => return Ok((target, route_object(tables, id))),
        KRef::Promise(id) => id,
        KRef::Device(id) => return Err(KernelPanic::new("audit.queue", format_args!("a message to {id}"))),
    };
    let promise = tables.promises.get(&id).ok_or_else(|| KernelPanic::new("promise.known", id))?;
    let route = match &promise.state {
        PromiseState::Unresolved { decider, .. } => match decider.and_then(|vat| Some((vat, tables.vats.get(&vat)?))) {
            Some((vat, row)) if row.options.pipelining && tables.is_alive(vat) => Route::Vat(vat),
            Some((vat, _)) if !tables.is_alive(vat) => Route::Splat(body::error(VAT_TERMINATED)),
            _ => Route::Wait(id),
        },
        PromiseState::Fulfilled(data) => match presence(data) {
            Some(object) => return Ok((object.into(), route_object(tables, object))),
            None => {
                let method = body::method_of(methargs);
                Route::Splat(body::error(&format!("data is not callable, has no method {method}")))
            }
        },
        PromiseState::Rejected(data) => Route::Splat(data.clone()),
    };
    Ok((target, route))
}

fn route_object(tables: &Tables, id: ObjectId) -> Route {
    match tables.objects.get(&id).and_then(|it| it.owner) {
        Some(Owner::Vat(vat)) if tables.is_alive(vat) => Route::Vat(vat),
        Some(Owner::Kernel(object)) => Route::Kernel(object),
        _ => Route::Splat(body::error(VAT_TERMINATED)),
    }
}

/// The object that a fulfilment is, if it is wholly one.
fn presence(data: &CapData<KRef>) -> Option<ObjectId> {
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
    /// As [`route`]; where that changes the target, the message's hold moves along.
    pub(super) fn route(&mut self, target: KRef, message: &Message<KRef>) -> Result<(KRef, Route), KernelPanic> {
        let (to, route) = route(self.tables(), target, &message.methargs.body)?;
        if to != target {
            self.incref(to)?;
            self.decref(target)?;
        }
        Ok((to, route))
    }

    /// A message that reaches nobody: its result is rejected, and what it held is released.
    pub(super) fn splat(&mut self, target: KRef, message: Message<KRef>, data: CapData<KRef>) -> Result<(), Fault> {
        if let Some(KRef::Promise(result)) = message.result {
            self.settle(result, true, data)?;
        }
        Ok(self.decref_message(target, &message)?)
    }

    /// Settles a promise: its subscribers are to be notified, and what waited for it goes on.
    pub(super) fn settle(&mut self, id: PromiseId, rejected: bool, data: CapData<KRef>) -> Result<(), Fault> {
        let promise = self.promise(id)?;
        let policy = promise.policy;
        let PromiseState::Unresolved { subscribers, .. } = promise.state.clone() else {
            return Err(KernelPanic::new("promise.settled-once", id).into());
        };
        for vat in subscribers {
            self.notify(VatId(vat.0), id)?;
        }
        data.slots.iter().try_for_each(|it| self.incref(*it))?;
        self.release_queue(id);
        if rejected && policy != Policy::Ignore {
            let panic = policy == Policy::Panic;
            invariant!(!panic, "promise.policy", "{id} was rejected with {:?}", data.body);
            let crank_num = self.number();
            let event = || Event::PromiseRejected { crank_num, kpid: id.into(), data: Data(&data) };
            self.slog().record(Detail::Cranks, event);
        }
        let state = if rejected { PromiseState::Rejected(data) } else { PromiseState::Fulfilled(data) };
        Ok(self.update_promise(id, |it| it.state = state)?)
    }

    /// Messages that waited for a promise are accepted anew.
    pub(super) fn release_queue(&mut self, id: PromiseId) {
        while let Some(waiting) = self.tables_mut().queue.pop(QueueId::Promise(id)) {
            self.accepting.push_back(waiting);
        }
    }

    /// A vat is to be told that a promise is settled.
    pub(super) fn notify(&mut self, vat: VatId, promise: PromiseId) -> Result<(), KernelPanic> {
        self.incref(promise.into())?;
        self.post(Item::Notify { vat, promise });
        Ok(())
    }
}
