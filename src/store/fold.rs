//! The mark of a crank: eight bytes that tell whether two replicas did the same in it, and in all before it.
//!
//! It is folded from what the crank changed: rows, entries of transcripts. It guards against accident, costs a few
//! instructions a field, and is in no hash: what replicas must agree on is the state hash, at the end of a block.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::store::canon::Sink;

/// The mark after a crank: of it, and of all before it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CrankMark(pub u64);

impl CrankMark {
    /// Returns the mark after a step.
    #[must_use]
    pub(crate) fn then(self, step: CrankMark) -> CrankMark {
        let mut fold = Fold(self.0);
        fold.number(step.0);
        CrankMark(fold.0)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for CrankMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CrankMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A running fold over the canonical encoding of what a step did.
#[derive(Clone, Copy, Debug)]
pub struct Fold(u64);

/// The fractional part of the golden ratio: bits without a pattern, so that zeros count too.
const ADD: u64 = 0x9e37_79b9_7f4a_7c15;
/// An odd number with as many ones as zeros, of no pattern either (the fractional part of √3, made odd).
const MULTIPLY: u64 = 0xbb67_ae85_84ca_a73b;

impl Fold {
    /// Begins the fold of a step; `label` says what kind of step.
    pub fn of_step(label: &str) -> Fold {
        let mut fold = Fold(0);
        fold.bytes(label.as_bytes());
        fold
    }

    /// Returns the mark of the step.
    pub(crate) fn mark(self) -> CrankMark {
        CrankMark(self.0)
    }
}

impl Sink for Fold {
    /// The two halves of a product of twice as many bits, put together: each bit of the result depends on all of both.
    #[inline]
    fn number(&mut self, number: u64) {
        let product = u128::from(self.0.wrapping_add(ADD) ^ number) * u128::from(MULTIPLY);
        let [low, high] =
            [product, product >> 64].map(|it| it.to_le_bytes().first_chunk().map_or(0, |it| u64::from_le_bytes(*it)));
        self.0 = low ^ high;
    }

    #[inline]
    fn plain(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let bits = 8 * rest.len();
            let last = match bytes.last_chunk() {
                // What stands behind the words is the end of the last eight bytes.
                Some(last) => u64::from_le_bytes(*last) >> (64 - bits),
                None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
            };
            // How many there are, so that zeros at the end count.
            self.number(last | (rest.len() as u64) << 56);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::canon;

    #[test]
    fn marks_of_a_hundred_thousand_steps_that_differ_in_little_all_differ() {
        let mut marks = BTreeSet::new();
        for a in 0..50_u64 {
            for b in 0..50_u64 {
                for c in 0..40_u64 {
                    let mut fold = Fold::of_step("crank");
                    canon::write(&(a, b.wrapping_neg(), [c; 3], "x".repeat((c % 9) as usize)), &mut fold)
                        .expect("folds");
                    marks.insert(CrankMark(7).then(fold.mark()).0);
                }
            }
        }
        assert_eq!(marks.len(), 100_000);
    }

    #[test]
    fn bytes_are_folded_by_words_of_eight_and_the_rest_with_its_length() {
        let bytes: Vec<u8> = (1..=40).collect();
        for length in 0..bytes.len() {
            let (mut fold, mut by_hand) = (Fold(7), Fold(7));
            fold.plain(&bytes[..length]);
            for chunk in bytes[..length].chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                if chunk.len() < 8 {
                    word[7] = u8::try_from(chunk.len()).expect("fewer than eight");
                }
                by_hand.number(u64::from_le_bytes(word));
            }
            assert_eq!(fold.mark(), by_hand.mark(), "{length}");
        }
    }

    #[test]
    fn a_mark_depends_on_every_mark_before_it_and_on_their_order() {
        let chain = |steps: &[u64]| steps.iter().fold(CrankMark(0), |mark, it| mark.then(CrankMark(*it)));
        assert_ne!(chain(&[1, 2, 3]), chain(&[2, 1, 3]));
        assert_ne!(chain(&[1, 2, 3]), chain(&[0, 2, 3]));
        assert_eq!(chain(&[1, 2, 3]).to_string().len(), 16);
    }
}
