//! All that is random in a campaign: numbers that its seed decides (SplitMix64).

use std::collections::BTreeSet;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The stream of this seed, and of this place in the campaign.
    pub(super) fn new(seed: u64, place: u64) -> Random {
        let mut random = Random { state: seed };
        random.state = random.next() ^ place.wrapping_mul(0xd134_2543_de82_ef95);
        random
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.state;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    /// A number below `end`, which is not 0; the bias of 2⁻⁶⁴ · `end` is nothing here.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end.max(1));
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Draws this many different numbers below `end`, in order; all of them if there are no more.
    pub(super) fn sample(&mut self, count: u64, end: u64) -> BTreeSet<u64> {
        if count >= end {
            return (0..end).collect();
        }
        let mut chosen = BTreeSet::new();
        for last in end - count..end {
            let it = self.below(last + 1);
            chosen.insert(if chosen.contains(&it) { last } else { it });
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_size_and_depends_on_the_seed_alone() {
        let sample = |seed| Random::new(seed, 3).sample(50, 1_000);
        assert_eq!((sample(1).len(), sample(1) == sample(1), sample(1) == sample(2)), (50, true, false));
        assert!(sample(1).iter().all(|it| *it < 1_000));
        assert_eq!(Random::new(0, 0).sample(9, 4), (0..4).collect());
    }

    #[test]
    fn no_number_is_preferred() {
        let mut random = Random::new(7, 0);
        let mut counts = [0_u32; 10];
        (0..10_000).for_each(|_| counts[usize::try_from(random.below(10)).expect("small")] += 1);
        assert!(counts.iter().all(|it| (900..1_100).contains(it)), "{counts:?}");
    }
}
