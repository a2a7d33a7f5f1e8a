//! The instructions that a delivery takes, counted by valgrind.
//!
//! Nanoseconds of different minutes cannot be compared on a shared machine; a count of instructions can: two counts of the same program
//! differ by some parts in ten thousand. The program runs twice under valgrind's cachegrind, with N and with 2 N deliveries, and the
//! difference is divided by N: so what comes before the first delivery does not count, and commits do.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

/// The growth of a count that is no longer taken for noise.
pub const INSTRUCTIONS_TOLERATED: f64 = 1.03;

/// The most cranks in a block: that of [`Size`](crate::bench::Size).
const CRANKS_PER_BLOCK_MAX: u64 = 10_000;

/// The most vats to which one vat sends: valgrind has no address space for the memories of many more.
const VATS_MAX: &str = "20";

/// The instructions of one delivery of each workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// Whether vathost was built without debug assertions.
    pub release: bool,
    /// The deliveries of the shorter run, N: a block holds as many, at most.
    pub deliveries: u64,
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
    /// Makes an empty table for this build.
    pub fn new(deliveries: u64) -> Instructions {
        Instructions { release: !cfg!(debug_assertions), deliveries, instructions: BTreeMap::new() }
    }

    /// Returns the reason why these counts cannot be compared with others; `None` if they can.
    pub fn unlike(&self, other: &Instructions) -> Option<String> {
        let build = |it: &Instructions| if it.release { "a release build" } else { "a debug build" };
        if self.release != other.release {
            return Some(format!("it was counted with {}, and this is {}", build(other), build(self)));
        }
        (self.deliveries != other.deliveries)
            .then(|| format!("it was counted with `--deliveries {}`, not {}", other.deliveries, self.deliveries))
    }

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
/// Valgrind is not there, or the program fails, under it or alone.
pub fn count_instructions(program: &Path, workload: &str, deliveries: u64) -> anyhow::Result<u64> {
    let deliveries = deliveries.max(1);
    let cache = tempfile::tempdir().context("make a folder for compiled code")?;
    let bench = |mut command: Command, deliveries: u64| {
        let cranks = deliveries.min(CRANKS_PER_BLOCK_MAX).to_string();
        command.args(["bench", workload, "--once", "--vats", VATS_MAX, "--cranks-per-block", &cranks]);
        command.env("XDG_CACHE_HOME", cache.path());
        command
    };
    // To compile the guests takes valgrind longer than all the rest.
    let compiled = bench(Command::new(program), 1).args(["--deliveries", "1"]).output().context("start the program")?;
    succeeded(&compiled, &format!("`{workload}` failed"))?;
    let count = |times: u64| {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]).arg(program);
        let mut valgrind = bench(valgrind, deliveries);
        run_counted(valgrind.args(["--deliveries", &(times * deliveries).to_string()]), workload)
    };
    let (few, many) = thread::scope(|scope| {
        let few = scope.spawn(|| count(1));
        let many = count(2);
        (few.join(), many)
    });
    let few = few.map_err(|_| anyhow!("the thread that counts has panicked"))??;
    Ok(many?.saturating_sub(few) / deliveries)
}

fn run_counted(valgrind: &mut Command, workload: &str) -> anyhow::Result<u64> {
    let output = match valgrind.output() {
        Err(err) if err.kind() == io::ErrorKind::NotFound => bail!("valgrind is not installed: it is what counts"),
        other => other.context("start valgrind")?,
    };
    succeeded(&output, &format!("`{workload}` failed under valgrind"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    counted(&said).with_context(|| format!("valgrind did not say what it counted: {said}"))
}

fn succeeded(output: &Output, otherwise: &str) -> anyhow::Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{otherwise}: {}", said.lines().last().unwrap_or_default());
    Ok(())
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
        let of = |name: &str, count| Instructions {
            instructions: [(name.to_owned(), count)].into(),
            ..Instructions::new(1_000)
        };
        let regressed = |after| of("ping", after).since(&of("ping", 10_000)).iter().any(|it| it.regressed);
        assert!(!regressed(9_000) && !regressed(10_300) && regressed(10_301));
        assert_eq!(of("gc", 1).since(&of("ping", 10_000)), []);
    }
}
