//! The rows of a table that the open block changed, and what they were before it.
//!
//! Invariants: each row that was there when the block began, and was changed since, is noted once, as it was then. Each row that was
//! not there and is now is among the born ones; so may be others that are gone again, of which no more than half are kept.

/// The rows that a block changed.
#[derive(Debug)]
pub(super) struct Touched<K, V> {
    /// The rows that were there, as they were, in the order in which they changed.
    changed: Vec<(K, V)>,
    /// The keys of rows that were not there, in the order in which they came.
    born: Vec<K>,
    /// Rows that went, and may be among the born ones.
    gone: usize,
}

/// Born rows that are gone are looked for when there are more of them than this, and more than half of all.
const GONE_MIN: usize = if cfg!(test) { 2 } else { 64 };

impl<K, V> Default for Touched<K, V> {
    fn default() -> Touched<K, V> {
        Touched { changed: Vec::new(), born: Vec::new(), gone: 0 }
    }
}

impl<K: Ord + Clone, V> Touched<K, V> {
    /// Notes a row that was there when the block began: it is changed, or gone, for the first time.
    pub(super) fn changed(&mut self, key: K, old: V) {
        self.changed.push((key, old));
    }

    /// Notes a row that was not there.
    pub(super) fn born(&mut self, key: K) {
        self.born.push(key);
    }

    /// Notes that a row of those which were noted is gone; `is_there` tells of any row.
    pub(super) fn gone(&mut self, is_there: impl Fn(&K) -> bool) {
        self.gone += 1;
        if self.gone > GONE_MIN && self.gone > self.born.len() / 2 {
            self.sweep(is_there);
        }
    }

    /// Forgets the born rows that are gone.
    #[cold]
    #[inline(never)]
    fn sweep(&mut self, is_there: impl Fn(&K) -> bool) {
        self.born.retain(is_there);
        // One that came twice stands there twice.
        self.born.sort_unstable();
        self.born.dedup();
        self.gone = 0;
    }

    /// Returns the rows that may have changed, each once, in key order, with what they were.
    pub(super) fn rows(&self) -> Vec<(&K, Option<&V>)> {
        let changed = self.changed.iter().map(|(key, old)| (key, Some(old)));
        let mut rows: Vec<_> = changed.chain(self.born.iter().map(|key| (key, None))).collect();
        // The sort keeps a row that was there before one that came in its place.
        rows.sort_by(|a, b| a.0.cmp(b.0));
        rows.dedup_by(|later, first| later.0 == first.0);
        rows
    }

    /// Returns the keys of the born rows, and the others as they were: what undoes the block, in this order.
    pub(super) fn into_parts(self) -> (Vec<K>, Vec<(K, V)>) {
        (self.born, self.changed)
    }

    /// Forgets all: another block begins. The room is used again.
    pub(super) fn clear(&mut self) {
        self.changed.clear();
        self.born.clear();
        self.gone = 0;
    }
}
