//! Amplification: how much the host does for a unit of fuel if a guest makes it do the most that it can.
//!
//! Every import is run at its extremes, and so is work of the host that belongs to no single import. Each case runs in a process of its
//! own, which is ended past a limit of CPU or memory. The result is what the last, largest step used, for each 1e9 units of fuel of all
//! vats together; CPU is compared with that of an empty loop in the same run.
//!
//! Invariants: no case is forgotten ([`cases`] walks the table of imports); a case that was ended past a limit is a finding.

mod cases;
mod measure;
mod process;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;

pub use self::{cases::Case, measure::Enough};

use self::{
    cases::FLOOR,
    measure::{MeasuredStep, Run, measure},
};
use crate::host::options::{Audit, HostOptions};

/// The most that 1e9 units of fuel may use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UseLimits {
    /// CPU, as a multiple of an empty loop's.
    pub ratio: f64,
    /// Bytes of memory.
    pub memory: f64,
    /// Bytes of the state's folder.
    pub disk: f64,
    /// Bytes of a slog of every syscall.
    pub slog: f64,
}

/// The rule that the prices of the host's work are held to.
pub const LIMITS: UseLimits = UseLimits { ratio: 10.0, memory: (4_u64 << 30) as f64, disk: 2e9, slog: 2e9 };

/// The way in which cases are measured.
#[derive(Clone, Debug)]
pub struct Measuring {
    /// The `vathost` that measures a case: `bench amplification --child CASE --dir DIR`.
    pub exe: PathBuf,
    /// The amounts after which a step is long enough.
    pub enough: Enough,
    /// Seconds of CPU after which the process of a case is ended.
    pub seconds: u64,
    /// Bytes of memory after which the process of a case is ended.
    pub memory: u64,
}

/// Cases between two measurements of the empty loop, of which the median counts.
const BETWEEN_FLOORS: usize = 24;

/// The result of a case, for each 1e9 units of fuel.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseResult {
    /// The name of the case.
    pub name: String,
    /// The work in a line.
    pub about: &'static str,
    /// Times that the work was done in the measured step; 0 if no step was finished.
    pub times: u64,
    /// Fuel that the measured step took.
    pub fuel: u64,
    /// Seconds of CPU.
    pub cpu: f64,
    /// CPU, as a multiple of an empty loop's.
    pub ratio: f64,
    /// Bytes of memory.
    pub memory: f64,
    /// Bytes of disk.
    pub disk: f64,
    /// Bytes of slog.
    pub slog: f64,
    /// The reason for which the guest ended meanwhile, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The reason why its process was ended or failed, if that happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// The limits that it exceeds; also `stopped` or `unmeasured`. Empty if all is well.
    pub exceeds: Vec<&'static str>,
    /// The reason why it exceeds the limit of CPU, if that is known and accepted, and so is no finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<&'static str>,
}

/// The results of all amplification cases, the worst first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Amplification {
    /// Seconds of CPU that an empty loop takes for 1e9 units of fuel.
    pub empty_loop: f64,
    /// The limits that each case must keep.
    pub limits: UseLimits,
    /// The results, one row a case.
    pub rows: Vec<CaseResult>,
}

impl Amplification {
    /// Iterates over the cases that exceed a limit, except those that are known to exceed that of CPU.
    pub fn exceeding(&self) -> impl Iterator<Item = &CaseResult> {
        self.rows.iter().filter(|it| !it.exceeds.is_empty() && !it.is_known())
    }
}

/// Lists all amplification cases.
pub fn amplification_cases() -> anyhow::Result<Vec<Case>> {
    cases::all()
}

/// Measures these cases, each in a process of its own. `told` is called with the name of each before it begins.
pub fn amplification(cases: &[Case], how: &Measuring, told: &mut dyn FnMut(&str)) -> anyhow::Result<Amplification> {
    let floor = cases::all()?.into_iter().find(|it| it.full_name() == FLOOR).context("the floor is gone")?;
    let (mut floors, mut rows) = (Vec::new(), Vec::new());
    for (at, case) in cases.iter().filter(|it| it.full_name() != FLOOR).enumerate() {
        // The speed of a machine varies over time.
        if at % BETWEEN_FLOORS == 0 {
            floors.push(measured_floor(&floor, how, told)?);
        }
        told(&case.full_name());
        let (steps, stopped) = process::measured(case, how)?;
        rows.push(CaseResult::new(case, &steps, stopped));
    }
    floors.push(measured_floor(&floor, how, told)?);
    floors.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    let floor = floors.swap_remove(floors.len() / 2);
    let empty_loop = floor.cpu;
    rows.push(floor);
    rows.iter_mut().for_each(|it| it.judge(empty_loop));
    rows.sort_by(|a, b| b.badness().total_cmp(&a.badness()));
    Ok(Amplification { empty_loop, limits: LIMITS, rows })
}

fn measured_floor(floor: &Case, how: &Measuring, told: &mut dyn FnMut(&str)) -> anyhow::Result<CaseResult> {
    told(FLOOR);
    // The limit of memory is for the cases that are examined.
    let (steps, stopped) = process::measured(floor, &Measuring { memory: u64::MAX, ..how.clone() })?;
    let row = CaseResult::new(floor, &steps, stopped);
    if row.cpu <= 0.0 {
        bail!("an empty loop takes no time here: this system does not say how much CPU a process used");
    }
    Ok(row)
}

/// Measures one case in this process; its states and its steps are written to this folder.
pub fn amplification_child(name: &str, dir: &Path, enough: Enough) -> anyhow::Result<()> {
    let case = cases::all()?.into_iter().find(|it| it.full_name() == name);
    measure(&case.with_context(|| format!("there is no case `{name}`"))?, dir, enough)
}

/// Runs a case in memory, in steps of so many times each. Returns the fuel of each step, and the reason why the guest ended, if it did.
pub fn amplification_tried(case: &Case, times: &[u64]) -> anyhow::Result<(Vec<u64>, Option<String>)> {
    let mut run = Run::with(case, HostOptions { audit: Audit::Never, ..HostOptions::default() })?;
    let fuel = times.iter().map(|it| run.go(case, *it)).collect::<anyhow::Result<_>>()?;
    Ok((fuel, run.ended()?))
}

impl CaseResult {
    fn new(case: &Case, steps: &[MeasuredStep], stopped: Option<String>) -> CaseResult {
        let measured = || steps.iter().rev().filter(|it| it.slog.is_none() && it.fuel > 0);
        // A step that ended the guest measures the work only if there is no other.
        let last = measured().find(|it| it.ended.is_none()).or_else(|| measured().next()).cloned().unwrap_or_default();
        let of = |amount: f64, fuel: u64| if fuel > 0 { amount / fuel as f64 * 1e9 } else { 0.0 };
        let recorded = steps.iter().find_map(|it| Some((it.slog?, it.fuel)));
        CaseResult {
            name: case.full_name(),
            about: case.about,
            times: last.times,
            fuel: last.fuel,
            cpu: of(last.cpu, last.fuel),
            ratio: 0.0,
            memory: of(last.memory as f64, last.fuel),
            disk: of(last.disk as f64, last.fuel),
            slog: recorded.map_or(0.0, |(bytes, fuel)| of(bytes as f64, fuel)),
            ended: steps.iter().find_map(|it| it.ended.clone()),
            stopped,
            exceeds: if last.ended.is_some() { vec!["unmeasured"] } else { Vec::new() },
            known: case.known,
        }
    }

    /// Returns whether the case exceeds only the limit that it is known to exceed.
    pub fn is_known(&self) -> bool {
        self.known.is_some() && self.exceeds == ["cpu"]
    }

    fn shares(&self) -> [(&'static str, f64); 4] {
        [
            ("cpu", self.ratio / LIMITS.ratio),
            ("memory", self.memory / LIMITS.memory),
            ("disk", self.disk / LIMITS.disk),
            ("slog", self.slog / LIMITS.slog),
        ]
    }

    fn judge(&mut self, empty_loop: f64) {
        self.ratio = self.cpu / empty_loop;
        self.exceeds.extend(self.shares().into_iter().filter(|it| it.1 > 1.0).map(|it| it.0));
        if self.stopped.is_some() {
            self.exceeds.push("stopped");
        }
    }

    /// Returns the largest share of a limit. A case that had to be stopped is worse than any that had not.
    fn badness(&self) -> f64 {
        let worst = self.shares().into_iter().map(|it| it.1).fold(0.0, f64::max);
        worst + if self.stopped.is_some() { 1e6 } else { 0.0 }
    }
}
