//! The bounds that a campaign's results must keep: its verdict for a CI.
//!
//! | limit | holds when |
//! | --- | --- |
//! | `0`, `3`, `"<= 3"` | at most so many experiments are of the class |
//! | `">= 1"` | so many or more are |
//! | `"<= 5%"` | at most that share of all experiments is |
//! | `"<= 0.1% @95"` | the share is below that with a certainty of 95 %: the upper end of Wilson's interval |

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::lab::{campaign::wilson, experiment::Class};

/// A bound on a count or a share of experiments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// So many at most.
    Most(u64),
    /// So many at least.
    Least(u64),
    /// A share at most, seen.
    Share(f64),
    /// A share at most, with this certainty in percent.
    Sure(f64, String),
}

/// A bound on the experiments of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// The class of outcome that is bounded.
    pub class: Class,
    /// The bound on that class.
    pub bound: Bound,
}

/// A limit after it was checked against the results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// As in `invariant = 0`.
    pub limit: String,
    /// Whether it is kept.
    pub holds: bool,
    /// What was found, in words.
    pub found: String,
}

pub(super) const EXPECTED: &str =
    "expected a number, or a text such as \"<= 3\", \">= 1\", \"<= 5%\" or \"<= 0.1% @95\"";

impl Bound {
    /// Reads a bound that is a text.
    pub(super) fn read(text: &str) -> Option<Bound> {
        if let Some(least) = text.strip_prefix(">=") {
            return least.trim().parse().ok().map(Bound::Least);
        }
        let most = text.strip_prefix("<=")?.trim();
        let Some((percent, rest)) = most.split_once('%') else { return most.parse().ok().map(Bound::Most) };
        let share = percent.trim().parse::<f64>().ok().filter(|it| (0.0..=100.0).contains(it))? / 100.0;
        match rest.trim() {
            "" => Some(Bound::Share(share)),
            sure => {
                let sure = sure.strip_prefix('@')?.trim_end_matches('%');
                quantile(sure).map(|_| Bound::Sure(share, sure.to_owned()))
            }
        }
    }

    /// Returns how many experiments must be run, none of them of the class, so that the bound can hold.
    pub fn sample_size(&self) -> Option<u64> {
        match self {
            Bound::Sure(max, sure) => quantile(sure).map(|z| wilson::sample_for(*max, z)),
            _ => None,
        }
    }
}

fn quantile(sure: &str) -> Option<f64> {
    wilson::CONFIDENCES.iter().find(|(name, _)| *name == sure).map(|(_, z)| *z)
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Most(count) => write!(f, "<= {count}"),
            Bound::Least(count) => write!(f, ">= {count}"),
            Bound::Share(share) => write!(f, "<= {}", percent(*share)),
            Bound::Sure(share, sure) => write!(f, "<= {} @{sure}", percent(*share)),
        }
    }
}

/// A share, as people write it.
fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A share that was measured, for people: three digits.
pub fn about(share: f64) -> String {
    let digits = match share {
        it if it <= 0.0 || it >= 1.0 => 0,
        it if it >= 0.0995 => 1,
        it if it >= 0.00995 => 2,
        _ => 3,
    };
    format!("{:.digits$}%", share * 100.0)
}

/// The name of a class in a campaign file: `host-crash`.
pub fn key(class: Class) -> String {
    class.name().to_lowercase()
}

impl Limit {
    /// Holds the counts against the limit; those of a census are exact.
    pub fn check(&self, counts: &BTreeMap<Class, u64>, is_census: bool) -> Checked {
        let count = counts.get(&self.class).copied().unwrap_or(0);
        let all: u64 = counts.values().sum();
        let share = if all == 0 { 0.0 } else { count as f64 / all as f64 };
        let (holds, found) = match &self.bound {
            Bound::Most(most) => (count <= *most, format!("{count}")),
            Bound::Least(least) => (count >= *least, format!("{count}")),
            Bound::Share(most) => (share <= *most, format!("{count} of {all}: {}", about(share))),
            Bound::Sure(most, _) if is_census => {
                (share <= *most, format!("{count} of {all}, which are all that there are: {}", about(share)))
            }
            Bound::Sure(most, sure) => {
                let upper = wilson::interval(count, all, quantile(sure).unwrap_or(wilson::Z95)).1;
                (upper <= *most, format!("{count} of {all}: at the most {} with {sure}% certainty", about(upper)))
            }
        };
        let limit = match &self.bound {
            Bound::Most(0) => format!("{} = 0", key(self.class)),
            bound => format!("{} {bound}", key(self.class)),
        };
        Checked { limit, holds, found }
    }
}

/// The limits that hold where a campaign says nothing else: bugs of the host, failures of the harness, its own invariants.
pub(super) fn defaults() -> Vec<Limit> {
    let zero = |class| Limit { class, bound: Bound::Most(0) };
    let ours = Class::ALL.into_iter().filter(|it| it.is_ours());
    ours.chain([Class::Harness, Class::Invariant]).map(zero).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_reads_as_it_prints() {
        for text in ["<= 3", ">= 1", "<= 5%", "<= 0.1% @95", "<= 12.5% @99"] {
            assert_eq!(Bound::read(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
        for text in ["3", "< 3", "<= -1", "<= 101%", "<= 1% @97", "<= 1% 95", ">= 1%"] {
            assert_eq!(Bound::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_certain_share_takes_more_than_a_seen_one() {
        let counts = BTreeMap::from([(Class::Silent, 0), (Class::Masked, 1_000)]);
        let check =
            |text| Limit { class: Class::Silent, bound: Bound::read(text).expect("a bound") }.check(&counts, false);
        assert!(check("<= 0.1%").holds);
        assert!(!check("<= 0.1% @95").holds);
        assert!(check("<= 0.5% @95").holds);
        assert_eq!(check("<= 0.1% @95").found, "0 of 1000: at the most 0.383% with 95% certainty");
    }
}
