//! Experiments that come to the same state, with no fault left to come, go on in the same way: the rest is run once.
//!
//! Invariant: an outcome does not depend on what is remembered. One experiment in a hundred is run to its end all the same, and
//! compared.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    block::Told,
    experiment::{end::Ends, golden::Clock, run::RunEnd},
    id::{CrankNum, VatId},
    store::Digest,
};

/// Tails that are kept at the most.
const TAILS_MAX: usize = 1 << 18;

/// A state: the digest of its rows, a hash over the heaps of its vats, and its place in time where that matters.
pub(super) type Key = (Digest, [u8; 32], Option<Clock>);

/// How a run goes on from a state.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// The crank before it.
    pub(super) from: CrankNum,
    pub(super) told: Vec<Told>,
    pub(super) faults: Vec<(CrankNum, VatId, String)>,
    pub(super) end: RunEnd,
    pub(super) ends: Option<Ends>,
    /// Cranks.
    pub(super) len: usize,
}

impl Tail {
    /// The same after another crank.
    pub(super) fn moved(&self, from: CrankNum) -> Tail {
        let crank = |it: CrankNum| CrankNum(it.0 - self.from.0 + from.0);
        Tail {
            from,
            told: self.told.iter().map(|it| Told { crank: crank(it.crank), ..*it }).collect(),
            faults: self.faults.iter().map(|(at, vat, why)| (crank(*at), *vat, why.clone())).collect(),
            ..self.clone()
        }
    }

    /// Whether it is the same, wherever.
    pub(super) fn same(&self, other: &Tail) -> bool {
        let other = other.moved(self.from);
        self.end.name() == other.end.name()
            && (&self.faults, &self.ends, self.len) == (&other.faults, &other.ends, other.len)
            && self.told.len() == other.told.len()
            && self.told.iter().zip(&other.told).all(|(a, b)| a.same(b) && a.vat == b.vat && a.crank == b.crank)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memo {
    tails: BTreeMap<Key, Arc<Tail>>,
    /// How many experiments were not run to their ends.
    pub(super) hits: u64,
}

impl Memo {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Tail>> {
        self.tails.get(key).cloned()
    }

    pub(super) fn put(&mut self, key: Key, tail: Tail) {
        if self.tails.len() < TAILS_MAX {
            self.tails.entry(key).or_insert_with(|| Arc::new(tail));
        }
    }
}
