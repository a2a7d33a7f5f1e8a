//! The routing of messages: decided when a message is accepted, and again when its turn comes.

use crate::{
    kernel::Ledger,
    model::{
        blame::{Fault, KernelPanic},
        body,
        id::{KRef, ObjectId, PromiseId, VatId},
        value::{CapData, Message},
    },
    state::table::{KernelObject, Owner, PromiseState, Tables},
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

impl Ledger {
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
}
