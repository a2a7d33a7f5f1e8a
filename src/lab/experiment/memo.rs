//! Experiments that come to the same state, with the same faults left to come, go on in the same way: the rest is run once.
//!
//! ```text
//!   a run:   ── fault ──●── cranks ── fault ──●── cranks ── end         ●  asked here: has another been here?
//!   kept:               └─── link ──────────▶ └─── link ─────▶ end      links are shared by the runs that meet
//! ```
//!
//! Invariant: an outcome does not depend on what is remembered. One experiment in a hundred is run to its end all the same, and
//! compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use crate::{
    directive::Directive,
    lab::experiment::{end::Ends, golden::Clock, run::RunEnd, watcher::Answer},
    lab::probe::DeliveryRecord,
    lab::probe::Reached,
    model::id::{CrankNum, VatId},
    store::Digest,
};

/// Entries of one generation. When there are more, those that were not used since the last time are forgotten: experiments that
/// meet are mostly near each other in a campaign.
const GENERATION: usize = 1 << 14;

/// A state: the digest of its rows, a hash over the heaps of its vats, and its place in time where that matters; and a hash of the
/// faults that may still come and of the numbers by which they do, if any may.
pub(super) type Key = (Digest, [u8; 32], Option<Clock>, Option<[u8; 32]>);

/// The course of a run from a state on.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    pub(super) told: Vec<DeliveryRecord>,
    pub(super) faults: Vec<(CrankNum, VatId, String)>,
    /// What became of the faults that were left.
    pub(super) reached: Vec<(Directive, Reached)>,
    /// Watchers that noted something, by their positions.
    pub(super) noted: BTreeSet<usize>,
    /// The crank in which it left the golden run, if that was on it until here.
    pub(super) deviated: Option<CrankNum>,
    /// The number of cranks.
    pub(super) len: usize,
}

impl Tail {
    /// Returns the same tail as it is if it begins in another crank.
    fn moved(&self, from: CrankNum, to: CrankNum) -> Tail {
        let crank = |it: CrankNum| CrankNum(it.0 - from.0 + to.0);
        Tail {
            told: self.told.iter().map(|it| DeliveryRecord { crank: crank(it.crank), ..*it }).collect(),
            faults: self.faults.iter().map(|(at, vat, why)| (crank(*at), *vat, why.clone())).collect(),
            reached: (self.reached.iter())
                .map(|(fault, it)| (fault.clone(), Reached { crank: crank(it.crank), ..it.clone() }))
                .collect(),
            noted: self.noted.clone(),
            deviated: self.deviated.map(crank),
            len: self.len,
        }
    }

    /// Goes on with another.
    fn append(&mut self, more: Tail) {
        self.told.extend(more.told);
        self.faults.extend(more.faults);
        self.reached.extend(more.reached);
        self.noted.extend(more.noted);
        self.deviated = self.deviated.or(more.deviated);
        self.len += more.len;
    }
}

/// A part of a run, and its continuation.
#[derive(Debug)]
pub(super) struct Link {
    /// The crank before the part.
    pub(super) from: CrankNum,
    pub(super) part: Tail,
    pub(super) next: Next,
    /// Cranks until the end.
    pub(super) len: usize,
}

/// The continuation of a link.
#[derive(Clone, Debug)]
pub(super) enum Next {
    Link(Arc<Link>),
    End(RunEnd, Option<Arc<Ends>>),
}

impl Link {
    /// A link before this.
    pub(super) fn new(from: CrankNum, part: Tail, next: Next) -> Link {
        let rest = if let Next::Link(next) = &next { next.len } else { 0 };
        Link { from, len: part.len + rest, part, next }
    }

    /// All that follows after another crank, and how it ends.
    pub(super) fn follow(&self, from: CrankNum) -> (Tail, RunEnd, Option<Arc<Ends>>) {
        let (mut all, mut link) = (Tail::default(), self);
        loop {
            all.append(link.part.moved(link.from, CrankNum(from.0 + all.len as u64)));
            match &link.next {
                Next::Link(next) => link = next,
                Next::End(end, ends) => return (all, end.clone(), ends.clone()),
            }
        }
    }

    /// Returns whether two links say the same, in whichever crank they begin.
    pub(super) fn same(&self, other: &Link) -> bool {
        let ((a, end_a, ends_a), (b, end_b, ends_b)) = (self.follow(self.from), other.follow(self.from));
        end_a.name() == end_b.name()
            && (&a.faults, &a.reached, &a.noted, a.deviated, a.len)
                == (&b.faults, &b.reached, &b.noted, b.deviated, b.len)
            && ends_a == ends_b
            && a.told.len() == b.told.len()
            && a.told.iter().zip(&b.told).all(|(a, b)| a.same(b) && a.vat == b.vat && a.crank == b.crank)
    }
}

/// The states that runs have reached, and how each continues from there.
#[derive(Debug, Default)]
pub(super) struct Memo {
    links: Generations<Key, Arc<Link>>,
    /// What watchers that look at the state alone said of it, by its digest and their positions.
    answers: Generations<(Digest, usize), Answer>,
    /// How many experiments were not run to their ends.
    pub(super) hits: u64,
}

impl Memo {
    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<Link>> {
        self.links.get(key)
    }

    pub(super) fn put(&mut self, key: Key, link: Arc<Link>) {
        self.links.put(key, link);
    }

    pub(super) fn answer(&mut self, state: Digest, watcher: usize) -> Option<Answer> {
        self.answers.get(&(state, watcher))
    }

    pub(super) fn put_answer(&mut self, state: Digest, watcher: usize, answer: Answer) {
        self.answers.put((state, watcher), answer);
    }
}

/// A map that forgets what was not used for long.
#[derive(Debug)]
struct Generations<K, V> {
    young: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Generations<K, V> {
        Generations { young: BTreeMap::new(), old: BTreeMap::new() }
    }
}

impl<K: Copy + Ord, V: Clone> Generations<K, V> {
    fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.put(*key, value.clone());
        Some(value)
    }

    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.entry(key).or_insert(value);
    }
}
