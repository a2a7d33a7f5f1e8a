//! The instructions that a delivery takes, counted by valgrind.
//!
//! Nanoseconds of different minutes cannot be compared on a shared machine; a count of instructions can: two counts of the same program
//! differ by some parts in a thousand. The program runs twice under valgrind's cachegrind, with N and with 2 N deliveries, and the
//! difference is divided by N: so what comes before the first delivery does not count, and commits do.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// The growth of a count that is no longer taken for noise.
pub const INSTRUCTIONS_TOLERATED: f64 = 1.03;

/// The instructions of one delivery of each workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// The name of a workload, and its count.
    pub instructions: BTreeMap<String, u64>,
}

/// A count, then and now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstructionChange {
    /// The name of the workload.
    pub workload: String,
    /// The earlier count.
    pub before: u64,
    /// The later count.
    pub after: u64,
    /// The later count divided by the earlier one.
    pub ratio: f64,
    /// Whether it grew by more than [`INSTRUCTIONS_TOLERATED`].
    pub regressed: bool,
}

impl Instructions {
    /// Returns the change of each workload that both have.
    pub fn since(&self, before: &Instructions) -> Vec<InstructionChange> {
        let both =
            self.instructions.iter().filter_map(|(name, after)| Some((name, before.instructions.get(name)?, after)));
        let change = |(name, before, after): (&String, &u64, &u64)| {
            let ratio = *after as f64 / (*before).max(1) as f64;
            InstructionChange {
                workload: name.clone(),
                before: *before,
                after: *after,
                ratio,
                regressed: ratio > INSTRUCTIONS_TOLERATED,
            }
        };
        both.map(change).collect()
    }
}

/// Returns whether valgrind can be called.
pub fn has_valgrind() -> bool {
    let asked = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Counts the instructions that `program`, a `vathost`, takes for one delivery of a workload.
///
/// # Errors
///
/// Valgrind is not there, or the program fails under it.
pub fn count_instructions(program: &Path, workload: &str, deliveries: u64) -> anyhow::Result<u64> {
    let deliveries = deliveries.max(1);
    let few = run_counted(program, workload, deliveries)?;
    let many = run_counted(program, workload, 2 * deliveries)?;
    Ok(many.saturating_sub(few) / deliveries)
}

fn run_counted(program: &Path, workload: &str, deliveries: u64) -> anyhow::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(program).args(["bench", workload, "--once", "--deliveries", &deliveries.to_string()]);
    let output = match valgrind.output() {
        Err(err) if err.kind() == io::ErrorKind::NotFound => bail!("valgrind is not installed: it is what counts"),
        other => other.context("start valgrind")?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("`{workload}` failed under valgrind: {}", said.lines().last().unwrap_or_default());
    }
    counted(&said).with_context(|| format!("valgrind did not say what it counted: {said}"))
}

/// Reads the count in the line `==7== I   refs:      1,278,060,476`.
fn counted(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("I") && words.next().is_some_and(|it| it.starts_with("refs"))
    })?;
    let number: String = line.rsplit(':').next()?.chars().filter(char::is_ascii_digit).collect();
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_valgrind_says() {
        let said = "==6717== Cachegrind, a profiler\n==6717== \n==6717== I   refs:      1,278,060,476\n";
        assert_eq!(counted(said), Some(1_278_060_476));
        assert_eq!(counted("==1== I refs:  7"), Some(7));
        assert_eq!(counted("==1== D refs:  7"), None);
    }

    #[test]
    fn a_count_that_grew_by_more_than_three_parts_in_a_hundred_is_a_regression() {
        let of = |count| Instructions { instructions: [("ping".to_owned(), count)].into() };
        let regressed = |after: u64| of(after).since(&of(10_000)).iter().any(|it| it.regressed);
        assert!(!regressed(9_000) && !regressed(10_300) && regressed(10_301));
        let other = Instructions { instructions: [("gc".to_owned(), 1)].into() };
        assert_eq!(other.since(&of(10_000)), []);
    }
}
