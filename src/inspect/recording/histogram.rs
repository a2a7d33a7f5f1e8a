//! A histogram of durations, for percentiles in little memory.

use std::collections::BTreeMap;

/// Steps in each doubling.
const STEPS_LOG2: u32 = 4;

/// Durations counted in buckets, sixteen to each doubling: a percentile is at most a sixteenth too large, and there are
/// fewer than a thousand buckets whatever is counted.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: BTreeMap<u16, u64>,
    count: u64,
    max_ns: u64,
}

impl Histogram {
    /// Counts one more duration.
    pub fn add(&mut self, ns: u64) {
        *self.buckets.entry(bucket(ns)).or_default() += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Returns the longest duration, in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Returns the duration that this many of a thousand do not exceed, in nanoseconds. 0 if nothing was counted.
    pub fn per_mille_ns(&self, per_mille: u64) -> u64 {
        let rank = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return top(*bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

/// Exact below 2^4; above, the position of the highest bit and the four bits after it.
fn bucket(ns: u64) -> u16 {
    let doubling = (64 - ns.leading_zeros()).saturating_sub(STEPS_LOG2 + 1);
    let step = ns >> doubling;
    u16::try_from((u64::from(doubling) << STEPS_LOG2) + step).unwrap_or(u16::MAX)
}

/// The largest number in a bucket.
fn top(bucket: u16) -> u64 {
    let steps = 1 << STEPS_LOG2;
    let bucket = u64::from(bucket);
    if bucket < 2 * steps {
        return bucket;
    }
    let doubling = bucket / steps - 1;
    let step = bucket % steps + steps;
    (((u128::from(step) + 1) << doubling) - 1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_a_sixteenth_below_its_top() {
        let numbers =
            (0..64).flat_map(|it| [1_u64 << it, (1 << it) + 1, (1 << it) - 1, (3 << it) >> 1]).chain([u64::MAX]);
        for ns in numbers {
            let top = top(bucket(ns));
            assert!(ns <= top && top - ns <= ns / 16, "{ns} in a bucket up to {top}");
        }
    }

    #[test]
    fn percentiles_of_a_thousand_durations() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|it| histogram.add(it * 1_000));
        let (p50, p99) = (histogram.per_mille_ns(500), histogram.per_mille_ns(990));
        assert!((500_000..532_000).contains(&p50), "{p50}");
        assert!((990_000..=1_000_000).contains(&p99), "{p99}");
        assert_eq!(histogram.max_ns(), 1_000_000);
        assert_eq!(Histogram::default().per_mille_ns(500), 0);
    }
}
