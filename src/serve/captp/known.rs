//! What a client knows: the references that it was sent, each as often as it was, and what promises were settled with.
//!
//! Invariant: a settlement that is found names only references that the client still has.

use std::collections::BTreeMap;

use crate::{
    model::id::VRef,
    serve::captp::{
        Settlement,
        kept::{KeptSettlement, Noted},
    },
};

/// Settlements that are remembered: a client speaks of one that it was told of until the news of it have arrived, and of its own
/// promises as long as it likes.
const SETTLED_MAX: usize = 65_536;

/// Bytes of all settlements that are remembered, besides the newest: a client that asks for much must not fill the memory.
const SETTLED_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct ClientRefs {
    /// Imports of objects that the client has, and how often it was sent each.
    pub(super) imports: Noted<VRef, u64>,
    /// Promises of the host that the client has and that are not settled.
    pub(super) promises: Noted<VRef, ()>,
    /// Promises that are not settled yet: the client's own that it passed, and answers to its questions.
    pub(super) open: Noted<VRef, ()>,
    pub(super) settled: Noted<VRef, KeptSettlement>,
    /// The place of the next settlement in their order.
    pub(super) next_settled: u64,
    /// The oldest settlements first.
    order: BTreeMap<u64, VRef>,
    /// Their bytes.
    bytes: usize,
}

/// The bytes that a settlement counts for.
fn bytes_of(it: &KeptSettlement) -> usize {
    let data = &it.settlement.data;
    data.body.len() + 8 * data.slots.len()
}

impl ClientRefs {
    /// A reference goes to the client, once in this message.
    pub(super) fn sent(&mut self, vref: VRef) {
        if vref.is_imported_object() {
            let count = self.imports.get(&vref).copied().unwrap_or_default();
            self.imports.insert(vref, count + 1);
        }
    }

    /// Returns whether the client has this object of the host's.
    pub(super) fn has(&self, vref: VRef) -> bool {
        self.imports.contains_key(&vref)
    }

    /// The client dropped an object so often: whether it has it no more.
    pub(super) fn drop_import(&mut self, vref: VRef, times: u64) -> bool {
        let Some(count) = self.imports.get(&vref).copied() else { return false };
        let left = count.saturating_sub(times);
        if left == 0 {
            self.imports.remove(&vref)
        } else {
            self.imports.insert(vref, left)
        };
        left == 0
    }

    /// The object is gone.
    pub(super) fn lose(&mut self, vref: VRef) {
        self.imports.remove(&vref);
    }

    /// A promise of the host's goes to the client: whether it is news to it.
    pub(super) fn learn(&mut self, promise: VRef) -> bool {
        self.promises.insert(promise, ()).is_none()
    }

    /// The promise is settled: whether the client waits for it.
    pub(super) fn forget_promise(&mut self, promise: VRef) -> bool {
        self.promises.remove(&promise).is_some()
    }

    pub(super) fn waits_for(&self, promise: VRef) -> bool {
        self.promises.contains_key(&promise)
    }

    /// A promise of the session's own, in the client's name, is not settled yet.
    pub(super) fn open(&mut self, promise: VRef) {
        self.open.insert(promise, ());
    }

    pub(super) fn is_open(&self, promise: VRef) -> bool {
        self.open.contains_key(&promise)
    }

    pub(super) fn opened(&self) -> usize {
        self.open.len()
    }

    pub(super) fn settle(&mut self, promise: VRef, settlement: Settlement) {
        self.open.remove(&promise);
        let at = self.settled.get(&promise).map_or(self.next_settled, |it| it.at);
        self.next_settled = self.next_settled.max(at + 1);
        let kept = KeptSettlement { at, settlement };
        self.bytes += bytes_of(&kept);
        self.order.insert(at, promise);
        if let Some(before) = self.settled.insert(promise, kept) {
            self.bytes -= bytes_of(&before);
        }
        while self.order.len() > SETTLED_MAX || (self.bytes > SETTLED_BYTES_MAX && self.order.len() > 1) {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(gone) = self.settled.remove(&oldest) {
                self.bytes -= bytes_of(&gone);
            }
        }
    }

    /// Finds the order again of settlements that were read from rows.
    pub(super) fn put_settled_in_order(&mut self) {
        let all: Vec<_> = self.settled.keys().copied().collect();
        for promise in all {
            if let Some(it) = self.settled.get(&promise) {
                self.order.insert(it.at, promise);
                self.bytes += bytes_of(it);
            }
        }
    }

    pub(super) fn is_settled(&self, promise: VRef) -> bool {
        self.settled.contains_key(&promise)
    }

    /// Returns what a promise was settled with, if it is remembered and the client still has all that it names.
    pub(super) fn settlement(&self, promise: VRef) -> Option<&Settlement> {
        let found = &self.settled.get(&promise)?.settlement;
        let is_there = |it: &VRef| match (it.is_promise(), it.is_own()) {
            (true, true) => self.is_open(*it),
            (true, false) => self.promises.contains_key(it),
            (false, true) => true,
            (false, false) => self.has(*it),
        };
        found.data.slots.iter().all(is_there).then_some(found)
    }
}
