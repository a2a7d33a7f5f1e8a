//! The two commitments to a state, and the hash of a row that they are made of.
//!
//! * [`RowHash`]: one row in canonical encoding, bound to its table and key. A part of it stands beside the row, as its
//!   checksum.
//! * [`Digest`]: the set of rows, whatever their past; kept incrementally. Equal states have equal digests. It guards
//!   against accident, not against somebody who searches for sets of rows of equal digest: that is the chain's part.
//! * [`StateHash`]: a chain over the blocks: over all that came from outside, all that vats were told and did, in order,
//!   and the digest of the rows at the end of each. Replicas compare it. [`Chain`] makes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::hex;

/// The chained hash of a state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateHash(pub [u8; 32]);

/// The hash at the end of the last closed block, and what was done since: the state hash is made of it.
///
/// ```text
///   state hash = H("vathost block" ‖ hash at the end of the block before ‖ steps ‖ digest of all rows)
/// ```
///
/// Steps are hashed in pieces of `PIECE` bytes, each behind the hash of those before it. So a block that was
/// interrupted, and goes on from here, ends with the hash of one that was not.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// The hash at the end of the last closed block.
    closed: StateHash,
    /// The hash of the steps' whole pieces.
    pieces: [u8; 32],
    /// The bytes of the steps behind them.
    rest: Vec<u8>,
    /// Set if there was a step since the last closed block.
    begun: bool,
}

/// Bytes of steps that are hashed at a time: in pieces of a few hundred, hashing takes five times as long.
pub(crate) const PIECE: usize = 64 << 10;

impl Chain {
    /// Returns whether anything was done since the last block was closed.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Appends a step, in canonical encoding.
    pub(crate) fn push<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.begun = true;
        let result = write(&mut self.rest);
        let whole = self.rest.len() - self.rest.len() % PIECE;
        if whole > 0 {
            for piece in self.rest[..whole].chunks(PIECE) {
                self.pieces = link(&self.pieces, piece);
            }
            self.rest.drain(..whole);
        }
        result
    }

    /// Returns the state hash where the rows have this digest.
    pub(crate) fn hash(&self, rows: &Digest) -> StateHash {
        if !self.begun {
            return self.closed;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"vathost block").update(&self.closed.0).update(&link(&self.pieces, &self.rest));
        for lane in rows.0 {
            hasher.update(&lane.to_le_bytes());
        }
        StateHash(*hasher.finalize().as_bytes())
    }

    /// Closes the block with this hash.
    pub(crate) fn close(&mut self, hash: StateHash) {
        self.closed = hash;
        self.pieces = [0; 32];
        self.rest.clear();
        self.begun = false;
    }
}

fn link(before: &[u8; 32], piece: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(before).update(piece).finalize().as_bytes()
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
        // What is short is put together first: the hasher takes as long to be given eight bytes as to hash them.
        let (mut room, mut length) = ([0; 256], 0);
        for part in std::iter::once(&table.as_bytes()).chain(parts) {
            for bytes in [&(part.len() as u64).to_le_bytes()[..], part] {
                match room.get_mut(length..length + bytes.len()) {
                    Some(free) => {
                        free.copy_from_slice(bytes);
                        length += bytes.len();
                    }
                    None => {
                        hasher.update(&room[..length]).update(bytes);
                        length = 0;
                    }
                }
            }
        }
        RowHash::finish(hasher.update(&room[..length]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_row_in_parts_is_that_of_its_bytes_however_long_they_are() {
        let bytes = [7; 600];
        for lengths in [[0, 0], [8, 8], [0, 255], [230, 1], [231, 1], [232, 1], [256, 0], [9, 600], [600, 600]] {
            let parts = lengths.map(|it| &bytes[..it]);
            let mut whole = Vec::new();
            for part in [&b"t"[..]].iter().chain(&parts) {
                whole.extend_from_slice(&(part.len() as u64).to_le_bytes());
                whole.extend_from_slice(part);
            }
            assert_eq!(RowHash::of_parts("t", &parts), RowHash::of(&whole), "{lengths:?}");
        }
    }

    #[test]
    fn the_hash_depends_on_every_byte_of_the_steps_and_on_nothing_about_how_they_came() {
        let bytes: Vec<u8> = (0..3 * PIECE + 77).map(|it| it.to_le_bytes()[0]).collect();
        let hash = |bytes: &[u8], at_a_time: usize| {
            let mut chain = Chain::default();
            for part in bytes.chunks(at_a_time) {
                chain.push(|it| it.extend_from_slice(part));
            }
            chain.hash(&Digest::default())
        };
        let whole = hash(&bytes, bytes.len());
        for at_a_time in [7, 1_000, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE] {
            assert_eq!(hash(&bytes, at_a_time), whole, "{at_a_time}");
        }
        for at in [0, 1, PIECE - 1, PIECE, 2 * PIECE + 5, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(hash(&other, 500), whole, "{at}");
        }
        assert_ne!(hash(&bytes[..bytes.len() - 1], 500), whole);
    }

    #[test]
    fn a_block_in_which_nothing_was_done_has_the_hash_of_the_one_before() {
        let mut chain = Chain::default();
        chain.push(|it| it.push(1));
        let rows = Digest([1; 8]);
        let first = chain.hash(&rows);
        assert_ne!(first, chain.hash(&Digest([2; 8])), "the rows count");
        chain.close(first);
        assert_eq!(chain.hash(&rows), first);
        // The same step again makes another.
        chain.push(|it| it.push(1));
        assert_ne!(chain.hash(&rows), first);
    }
}
