//! Kernel promises: what changes often in a row of its own, what is large in another.
//!
//! A [`Promise`] row is small, and changes with each reference to it. What a promise was settled with is a
//! *settlement*, a row apart that is written once; promises that were settled alike (a message to a rejected promise
//! is rejected with the same data) share it. Who subscribed is a row a subscriber. So nothing of a crank's cost grows
//! with what was settled or subscribed before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    model::id::{ObjectId, PromiseId, TextOrd, VatId},
    store::{Index, Table, canon::Sink, codec::Key},
};

/// ```text
///                 decider: vat ──(vat gives it away as a result)──▶ decider: none ──(the message is delivered)──▶ decider: vat
///   Unresolved {           │                                                                                              │
///               decider }──────────────(resolve, by the decider; or by the kernel)────────▶ Fulfilled { .. } | Rejected { .. }
/// ```
/// The messages that wait for an unresolved promise stand in [`QueueId::Promise`](crate::state::table::QueueId::Promise), its
/// subscribers in [`Tables::subscribers`](crate::state::table::Tables::subscribers).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PromiseState {
    /// Not settled yet.
    Unresolved {
        /// The vat that may settle it; `None` while it is the result of a queued message, or for ever.
        decider: Option<VatId>,
    },
    /// Settled with a value.
    Fulfilled {
        /// The row of [`Tables::settlements`](crate::state::table::Tables::settlements) that says with what.
        with: PromiseId,
        /// The object that the fulfilment is, if it is wholly one: messages to the promise go on to it.
        presence: Option<ObjectId>,
    },
    /// Settled with a reason of failure.
    Rejected {
        /// The row of [`Tables::settlements`](crate::state::table::Tables::settlements) that says with what.
        with: PromiseId,
    },
}

/// The kernel's reaction when a promise that the host awaits is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Policy {
    /// Nothing is done.
    #[default]
    Ignore,
    /// Say so in the slog.
    Log,
    /// Halt: nothing can go on without it.
    Panic,
}

/// A row of a kernel promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Promise {
    /// The state of the promise.
    pub state: PromiseState,
    /// c-list entries on either side, uses in queued messages (target, slot, result), notifies under way, slots of
    /// settlements, and one for each row of the kernel's own that awaits it.
    pub refs: u32,
    /// The meaning of a rejection to the host.
    pub policy: Policy,
}

impl Promise {
    /// Makes an unresolved promise that this vat decides, or nobody yet.
    pub fn new(decider: Option<VatId>) -> Promise {
        Promise { state: PromiseState::Unresolved { decider }, refs: 0, policy: Policy::Ignore }
    }

    /// Returns whether the promise is not settled.
    pub fn is_unresolved(&self) -> bool {
        matches!(self.state, PromiseState::Unresolved { .. })
    }

    /// Returns whether the promise was rejected.
    pub fn is_rejected(&self) -> bool {
        matches!(self.state, PromiseState::Rejected { .. })
    }

    /// Returns the vat that may settle the promise.
    pub fn decider(&self) -> Option<VatId> {
        match self.state {
            PromiseState::Unresolved { decider } => decider,
            _ => None,
        }
    }

    /// Returns the settlement of a settled promise: the id of the promise whose row holds it.
    pub fn settlement(&self) -> Option<PromiseId> {
        match self.state {
            PromiseState::Unresolved { .. } => None,
            PromiseState::Fulfilled { with, .. } | PromiseState::Rejected { with } => Some(with),
        }
    }
}

/// The promises; the index counts how many of them share a settlement.
pub type Promises = Table<PromiseId, Promise, Sharers>;

/// For each settlement the number of promises that were settled with it.
#[derive(Debug, Default)]
pub struct Sharers(BTreeMap<PromiseId, u64>);

impl Index<PromiseId, Promise> for Sharers {
    fn changed(&mut self, _: &PromiseId, old: Option<&Promise>, new: Option<&Promise>) {
        let [old, new] = [old, new].map(|it| it.and_then(Promise::settlement));
        if old == new {
            return;
        }
        if let Some(old) = old
            && let Some(count) = self.0.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&old);
            }
        }
        if let Some(new) = new {
            *self.0.entry(new).or_default() += 1;
        }
    }
}

impl Promises {
    /// Counts the promises that share this settlement.
    pub fn sharers(&self, settlement: PromiseId) -> u64 {
        self.index().0.get(&settlement).copied().unwrap_or(0)
    }
}

/// The event that a promise of the kernel's own objects waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Awaited {
    /// The end of a vat: `done()`.
    End(VatId),
    /// The fall of a meter below its threshold: `notify()`.
    Meter(u64),
}

impl Key for Awaited {
    fn write(&self, out: &mut impl Sink) {
        match self {
            Awaited::End(vat) => (0_u8, vat.0),
            Awaited::Meter(meter) => (1, *meter),
        }
        .write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Awaited> {
        match Key::read(bytes)? {
            (0_u8, vat) => Some(Awaited::End(VatId(vat))),
            (1, meter) => Some(Awaited::Meter(meter)),
            _ => None,
        }
    }
}

/// The promises of the kernel's own objects that wait: each is held. Within one [`Awaited`] they are settled in this
/// order.
pub type Waiters = Table<(Awaited, PromiseId), ()>;

impl Waiters {
    /// Iterates over the promises that wait for this event.
    pub fn of(&self, awaited: Awaited) -> impl Iterator<Item = PromiseId> {
        self.range((awaited, PromiseId(0))..=(awaited, PromiseId(u64::MAX))).map(|((_, it), ())| *it)
    }
}

/// The vats to notify when a promise is settled, in SwingSet's text order.
pub type Subscribers = Table<(PromiseId, TextOrd), ()>;

impl Subscribers {
    /// Iterates over the subscribers of this promise.
    pub fn of(&self, promise: PromiseId) -> impl Iterator<Item = VatId> {
        let from = (promise, TextOrd(0));
        self.range(from..).take_while(move |((it, _), ())| *it == promise).map(|((_, vat), ())| VatId(vat.0))
    }
}
