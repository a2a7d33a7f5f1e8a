//! Kernel promises.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    id::{KRef, TextOrd, VatId},
    value::CapData,
};

/// ```text
///                 decider: vat ──(vat gives it away as a result)──▶ decider: none ──(the message is delivered)──▶ decider: vat
///   Unresolved {           │                                                                                              │
///     subscribers, decider }──────────────(resolve, by the decider; or by the kernel)────────▶ Fulfilled(data) | Rejected(data)
/// ```
/// The messages that wait for an unresolved promise stand in [`QueueId::Promise`](crate::table::QueueId::Promise).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PromiseState {
    /// Not settled.
    Unresolved {
        /// Who may settle it; `None` while it is the result of a queued message, or for ever.
        decider: Option<VatId>,
        /// Who is told, in SwingSet's text order.
        subscribers: BTreeSet<TextOrd>,
    },
    /// Settled well.
    Fulfilled(CapData<KRef>),
    /// Settled badly.
    Rejected(CapData<KRef>),
}

/// What the kernel does when a promise that the host awaits is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Policy {
    /// Nothing.
    #[default]
    Ignore,
    /// Say so in the slog.
    Log,
    /// Halt: nothing can go on without it.
    Panic,
}

/// A kernel promise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Promise {
    /// Where it stands.
    pub state: PromiseState,
    /// c-list entries on either side, uses in queued messages (target, slot, result), notifies under way, slots of settled
    /// promises, and one while the host awaits it.
    pub refs: u32,
    /// What a rejection means.
    pub policy: Policy,
}

impl Promise {
    /// A new promise that this vat decides, or nobody yet.
    pub fn new(decider: Option<VatId>) -> Promise {
        let state = PromiseState::Unresolved { decider, subscribers: BTreeSet::new() };
        Promise { state, refs: 0, policy: Policy::Ignore }
    }

    /// Whether it is not settled.
    pub fn is_unresolved(&self) -> bool {
        matches!(self.state, PromiseState::Unresolved { .. })
    }

    /// Who may settle it.
    pub fn decider(&self) -> Option<VatId> {
        match self.state {
            PromiseState::Unresolved { decider, .. } => decider,
            _ => None,
        }
    }

    /// What it was settled with.
    pub fn data(&self) -> Option<&CapData<KRef>> {
        match &self.state {
            PromiseState::Unresolved { .. } => None,
            PromiseState::Fulfilled(data) | PromiseState::Rejected(data) => Some(data),
        }
    }
}
