//! What a client knows: the references that it was sent, each as often as it was, and what promises were settled with.
//!
//! Invariant: a settlement that is found names only references that the client still has.

use std::collections::{BTreeMap, VecDeque};

use crate::{model::id::VRef, serve::captp::Settlement};

/// Settlements that are remembered: a client speaks of one that it was told of until the news of it have arrived, and of its own
/// promises as long as it likes.
const SETTLED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct ClientRefs {
    /// Imports of objects that the client has, and how often it was sent each.
    imports: BTreeMap<VRef, u64>,
    /// Promises of the host that the client has and that are not settled.
    promises: BTreeMap<VRef, ()>,
    /// Promises that are not settled yet: the client's own that it passed, and answers to its questions.
    open: BTreeMap<VRef, ()>,
    settled: BTreeMap<VRef, Settlement>,
    /// The oldest settlements first.
    order: VecDeque<VRef>,
}

impl ClientRefs {
    /// A reference goes to the client, once in this message.
    pub(super) fn sent(&mut self, vref: VRef) {
        if vref.is_imported_object() {
            *self.imports.entry(vref).or_default() += 1;
        }
    }

    /// Returns whether the client has this object of the host's.
    pub(super) fn has(&self, vref: VRef) -> bool {
        self.imports.contains_key(&vref)
    }

    /// The client dropped an object so often: whether it has it no more.
    pub(super) fn drop_import(&mut self, vref: VRef, times: u64) -> bool {
        let Some(count) = self.imports.get_mut(&vref) else { return false };
        *count = count.saturating_sub(times);
        let is_gone = *count == 0;
        if is_gone {
            self.imports.remove(&vref);
        }
        is_gone
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
        if self.settled.insert(promise, settlement).is_none() {
            self.order.push_back(promise);
        }
        while self.order.len() > SETTLED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.settled.remove(&oldest);
            }
        }
    }

    pub(super) fn is_settled(&self, promise: VRef) -> bool {
        self.settled.contains_key(&promise)
    }

    /// Returns what a promise was settled with, if it is remembered and the client still has all that it names.
    pub(super) fn settlement(&self, promise: VRef) -> Option<&Settlement> {
        let found = self.settled.get(&promise)?;
        let is_there = |it: &VRef| match (it.is_promise(), it.is_own()) {
            (true, true) => self.is_open(*it),
            (true, false) => self.promises.contains_key(it),
            (false, true) => true,
            (false, false) => self.has(*it),
        };
        found.data.slots.iter().all(is_there).then_some(found)
    }
}
