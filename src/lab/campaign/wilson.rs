//! Confidence of a share: Wilson's score interval (E. B. Wilson, 1927).

/// Two-sided confidence, as people write it, and the quantile that belongs to it.
pub(super) const CONFIDENCES: [(&str, f64); 3] = [("90", 1.644_853_627), ("95", 1.959_963_985), ("99", 2.575_829_304)];

/// The quantile of 95 %.
pub(super) const Z95: f64 = CONFIDENCES[1].1;

/// The interval in which the share lies from which `count` of `of` were seen; of nothing, anything.
pub(super) fn interval(count: u64, of: u64, z: f64) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (seen, of) = (count as f64, of as f64);
    let share = seen / of;
    let scale = 1.0 + z * z / of;
    let middle = (share + z * z / (2.0 * of)) / scale;
    let half = z / scale * (share * (1.0 - share) / of + z * z / (4.0 * of * of)).sqrt();
    let low = if count == 0 { 0.0 } else { middle - half };
    let high = if count as f64 >= of { 1.0 } else { middle + half };
    (low.max(0.0), high.min(1.0))
}

/// Returns how many experiments, none of which shows it, hold a share to be below `max`.
pub(super) fn sample_for(max: f64, z: f64) -> u64 {
    if max <= 0.0 {
        return u64::MAX;
    }
    let needed = z * z * (1.0 - max) / max;
    #[expect(clippy::cast_possible_truncation, reason = "rounded up, and a cast of floats saturates")]
    let needed = needed.ceil() as u64;
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 5e-5
    }

    #[test]
    fn the_interval_is_the_known_one() {
        // The values of R's `binom::binom.confint(x, n, methods = "wilson")`.
        for (count, of, low, high) in [
            (0, 10, 0.0, 0.27753),
            (1, 10, 0.01788, 0.40415),
            (5, 10, 0.23659, 0.76341),
            (10, 10, 0.72247, 1.0),
            (0, 1_000, 0.0, 0.00383),
            (3, 100, 0.01025, 0.08452),
        ] {
            let (a, b) = interval(count, of, Z95);
            assert!(close(a, low) && close(b, high), "{count} of {of}: {a} … {b}");
        }
        assert_eq!(interval(0, 0, Z95), (0.0, 1.0));
    }

    #[test]
    fn so_many_without_one_are_enough_and_one_less_is_not() {
        for max in [0.5, 0.05, 0.001] {
            let needed = sample_for(max, Z95);
            assert!(interval(0, needed, Z95).1 <= max, "{needed} for {max}");
            assert!(interval(0, needed - 1, Z95).1 > max, "{needed} for {max}");
        }
        assert_eq!(sample_for(0.001, Z95), 3_838);
    }
}
