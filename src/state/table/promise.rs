//! Kernel promises: what changes often in a row of its own, what is large in another.
//!
//! A [`Promise`] row is small, and changes with each reference to it. What a promise was settled with is a
//! *settlement*, a row apart that is written once; promises that were settled alike (a message to a rejected promise
//! is rejected with the same data) share it. Who subscribed is a row a subscriber. So nothing of a crank's cost grows
//! with what was settled or subscribed before it.

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        id::{KRef, ObjectId, PromiseId, TextOrd, VatId},
        value::CapData,
    },
    state::table::Tables,
    store::{self, Cut, Index, RowFile, RowReader, Table, canon::Sink, codec::Key},
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

    /// Returns the settlement of the promise with this id, if it was made for another one.
    pub fn shared_settlement(&self, id: PromiseId) -> Option<PromiseId> {
        self.settlement().filter(|it| *it != id)
    }

    /// Returns the settlement of a settled promise: the id of the promise whose row holds it.
    pub fn settlement(&self) -> Option<PromiseId> {
        match self.state {
            PromiseState::Unresolved { .. } => None,
            PromiseState::Fulfilled { with, .. } | PromiseState::Rejected { with } => Some(with),
        }
    }
}

/// The values with which promises were settled, under the promise that each was made for; the index knows what of them is in memory.
pub type Settlements = Table<PromiseId, CapData<KRef>, SettlementRoom>;

/// Bytes of memory that a settlement takes besides its body and its slots.
const SETTLEMENT_BYTES: u64 = 164;

/// The bytes of memory that the settlements take which are there.
#[derive(Debug, Default)]
pub struct SettlementRoom(u64);

impl SettlementRoom {
    /// Returns the bytes of memory of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.0
    }
}

impl Settlements {
    /// Returns the bytes of memory that the rows take which are there.
    pub(crate) fn in_bytes(&mut self) -> u64 {
        self.in_memory();
        self.index().bytes()
    }
}

fn room(data: &CapData<KRef>) -> u64 {
    SETTLEMENT_BYTES + (data.body.len() + size_of_val(&data.slots[..])) as u64
}

impl Index<PromiseId, CapData<KRef>> for SettlementRoom {
    fn changed(&mut self, _: &PromiseId, old: Option<&CapData<KRef>>, new: Option<&CapData<KRef>>) {
        let [left, came] = [old, new].map(|it| it.map_or(0, room));
        self.0 = self.0 + came - left;
    }

    fn moved(&mut self, _: &PromiseId, data: &CapData<KRef>, is_in_memory: bool) {
        match is_in_memory {
            true => self.0 += room(data),
            false => self.0 -= room(data),
        }
    }
}

impl Tables {
    /// A promise is settled like this from now on, if it is there.
    pub(crate) fn settle_promise(&mut self, id: PromiseId, state: PromiseState) -> Option<()> {
        let promise = self.promises.update(&id, |it| {
            it.state = state;
            *it
        })?;
        if let Some(other) = promise.shared_settlement(id)
            && self.sharers.update(&other, |it| *it += 1).is_none()
        {
            self.sharers.insert(other, 1);
        }
        Some(())
    }

    /// Removes a promise, and returns the settlement that no promise has any more then, if it was the last.
    pub(crate) fn remove_promise(&mut self, id: PromiseId) -> Option<PromiseId> {
        let promise = self.promises.remove(&id)?;
        if let Some(other) = promise.shared_settlement(id)
            && self.sharers.update(&other, |it| {
                *it -= 1;
                *it
            }) == Some(0)
        {
            self.sharers.remove(&other);
        }
        promise.settlement().filter(|it| self.sharers(*it) == 0)
    }

    /// Counts the promises that are not settled, for people: as of the last commit, where not all are in memory.
    pub fn unresolved(&self) -> usize {
        if self.promises.is_whole() {
            return self.promises.iter().filter(|(_, it)| it.is_unresolved()).count();
        }
        // All that is before the decider.
        let begin = store::beginning(&PromiseState::Unresolved { decider: None });
        begin.map_or(0, |it| store::stored_beginning_with(&self.promises, &it))
    }

    /// Counts the promises that share this settlement.
    pub fn sharers(&self, settlement: PromiseId) -> u64 {
        let is_its_own = self.promises.get(&settlement).is_some_and(|it| it.settlement() == Some(settlement));
        self.sharers.get(&settlement).copied().unwrap_or(0) + u64::from(is_its_own)
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

/// Returns the range of all subscribers of a promise.
fn all_of((promise, _): &(PromiseId, TextOrd)) -> (SubscriberPlace, SubscriberPlace) {
    let first = |promise| Cut::before((promise, TextOrd(0)));
    (first(*promise), promise.0.checked_add(1).map_or(Cut::End, |next| first(PromiseId(next))))
}

type SubscriberPlace = Cut<(PromiseId, TextOrd)>;

impl Subscribers {
    /// Has subscribers stay in the file until somebody asks for those of their promise.
    pub(crate) fn leave(&mut self, file: RowFile, beyond: PromiseId) {
        self.leave_in_file(Cut::before((beyond, TextOrd(0))), Some(RowReader { file, near: Some(all_of) }));
    }

    /// Iterates over the subscribers of this promise.
    pub fn of(&self, promise: PromiseId) -> impl Iterator<Item = VatId> {
        self.along(all_of(&(promise, TextOrd(0)))).map(|((_, vat), ())| VatId(vat.0))
    }
}
