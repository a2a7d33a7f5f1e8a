//! The two commitments to a state, and the hash of a row that the second is made of.
//!
//! * [`RowHash`]: one row, bound to its table and key. A part of it stands beside the row, as its checksum.
//! * [`StateHash`]: a chain over the ordered changes of every committed crank. Replicas compare it.
//! * [`Digest`]: the set of rows, whatever their past; kept incrementally. Equal states have equal digests. It guards
//!   against accident, not against somebody who searches for sets of rows of equal digest: that is the chain's part.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::hex;

/// The chained hash of all that was committed, or of one step.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateHash(pub [u8; 32]);

impl StateHash {
    /// Begins a step in a buffer: `label` says what kind of step; what it changed is to be appended.
    pub(crate) fn begin_step(label: &str, step: &mut Vec<u8>) {
        step.clear();
        step.push(label.len().to_le_bytes()[0]);
        step.extend_from_slice(label.as_bytes());
    }

    /// Returns the hash after a step, and the hash of the step alone. (Of a few hundred bytes in one piece, which is
    /// hashed faster than bytes that come in several.)
    #[must_use]
    pub(crate) fn extend(&self, step: &[u8]) -> (StateHash, StateHash) {
        let step = StateHash(*blake3::hash(step).as_bytes());
        let mut link = [0; 64];
        link[..32].copy_from_slice(&self.0);
        link[32..].copy_from_slice(&step.0);
        (StateHash(*blake3::hash(&link).as_bytes()), step)
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A multiset hash: the sum, lane by lane, of 64 bytes of BLAKE3 output for each row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct Digest([u64; 8]);

impl Digest {
    pub(crate) fn add(&mut self, row: &RowHash) {
        for (lane, part) in self.0.iter_mut().zip(row.0) {
            *lane = lane.wrapping_add(part);
        }
    }

    pub(crate) fn remove(&mut self, row: &RowHash) {
        for (lane, part) in self.0.iter_mut().zip(row.0) {
            *lane = lane.wrapping_sub(part);
        }
    }

    /// Returns the digest of the rows of all these parts.
    pub(crate) fn sum<'a>(parts: impl IntoIterator<Item = &'a Digest>) -> Digest {
        let mut sum = Digest::default();
        parts.into_iter().for_each(|it| sum.add(&RowHash(it.0)));
        sum
    }
}

/// 64 bytes of BLAKE3 output of a row: its table, its key and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RowHash([u64; 8]);

impl RowHash {
    /// Returns the hash of a row of the kernel's, as `table` writes it: a tag that stands for the table, the key, the
    /// value.
    pub(crate) fn of(row: &[u8]) -> RowHash {
        RowHash::finish(blake3::Hasher::new().update(row))
    }

    /// Returns the hash of a row of another table: each part behind its length, so that none is taken for another.
    pub(crate) fn of_parts(table: &str, parts: &[&[u8]]) -> RowHash {
        let mut hasher = blake3::Hasher::new();
        for part in std::iter::once(&table.as_bytes()).chain(parts) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        RowHash::finish(&hasher)
    }

    fn finish(hasher: &blake3::Hasher) -> RowHash {
        let mut output = [0; 64];
        hasher.finalize_xof().fill(&mut output);
        let mut lanes = [0; 8];
        for (lane, bytes) in lanes.iter_mut().zip(output.as_chunks().0) {
            *lane = u64::from_le_bytes(*bytes);
        }
        RowHash(lanes)
    }

    /// Returns the checksum that is stored with the row: enough against accident, and one number of SQLite's.
    pub(crate) fn checksum(&self) -> i64 {
        self.0[0].cast_signed()
    }
}

/// 32 bytes that stand for the lanes.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = blake3::Hasher::new();
        for lane in self.0 {
            hasher.update(&lane.to_le_bytes());
        }
        f.write_str(&hex(hasher.finalize().as_bytes()))
    }
}
