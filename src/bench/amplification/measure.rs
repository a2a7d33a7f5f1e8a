//! The measurement of one case, in a process of its own: the use of that whole process counts.
//!
//! ```text
//!   install ─▶ setup ─▶ step of 1 ─▶ step of 4 ─▶ step of 16 ─▶ …      until one is long enough to be measured
//!                          each: messages that say `go`, run until nothing is left to do
//!   install ─▶ setup ─▶ the last step but one or two, with a slog of every syscall
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::cases::{Case, GUEST};
use crate::{
    bench::machine,
    host::{
        controller::{Arg, BlockPolicy, Host, HostOptions, Sent},
        options::Audit,
    },
    slog::{Detail, Slog, Writer},
    state::table::Status,
};

/// The factor by which each step is larger than the one before.
const GROWTH: u64 = 4;
/// Live instances, at most: their memory is bounded by `--max-live`, and is not to be measured here.
const MAX_LIVE: usize = 4;
/// Bytes of memory or disk after which a step is long enough, whatever else it used.
const ENOUGH_BYTES: u64 = 512 << 20;

/// The amounts of work after which a measured step is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enough {
    /// Seconds of CPU.
    pub cpu: f64,
    /// Units of fuel.
    pub fuel: u64,
}

/// One measured step: its work, and the resources that it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MeasuredStep {
    /// Times that the work was done.
    pub(super) times: u64,
    /// Fuel, of all vats, as the block was charged.
    pub(super) fuel: u64,
    /// Seconds of CPU, of the whole process.
    pub(super) cpu: f64,
    /// Bytes by which the peak of its memory rose.
    pub(super) memory: u64,
    /// Bytes by which the state's folder grew.
    pub(super) disk: u64,
    /// Bytes of slog, only for the step that has one.
    #[serde(default)]
    pub(super) slog: Option<u64>,
    /// The reason for which the guest ended meanwhile, if it did: past a bound it may end.
    #[serde(default)]
    pub(super) ended: Option<String>,
}

/// The file into which a case's process writes its steps, one a line.
pub(super) fn steps_file(dir: &Path) -> PathBuf {
    dir.join("steps.jsonl")
}

/// Measures a case in this process, with its states in this folder.
pub(super) fn measure(case: &Case, dir: &Path, enough: Enough) -> anyhow::Result<()> {
    let path = steps_file(dir);
    let mut file = OpenOptions::new().create(true).append(true).open(&path).context("write down what was measured")?;
    let mut last = steps(case, &dir.join("state"), enough, &mut file)?;
    if last.fuel > 0 {
        last.times = (last.times / GROWTH).max(1);
        recorded(case, dir, &last, &mut file)?;
    }
    Ok(())
}

fn write(file: &mut File, step: &MeasuredStep) -> anyhow::Result<()> {
    let line = serde_json::to_string(step)? + "\n";
    file.write_all(line.as_bytes()).context("write down what was measured")
}

/// Makes larger and larger steps, and returns the last.
fn steps(case: &Case, state: &Path, enough: Enough, file: &mut File) -> anyhow::Result<MeasuredStep> {
    let mut run = Run::new(case, state, Slog::default())?;
    machine::forget_peak();
    let mut peak = machine::peak();
    let mut times = 1;
    loop {
        let (cpu, disk) = (machine::cpu(), machine::size_of(state));
        let fuel = run.go(case, times)?;
        let mut step = MeasuredStep {
            times,
            fuel,
            cpu: machine::cpu() - cpu,
            memory: machine::peak().saturating_sub(peak),
            disk: machine::size_of(state).saturating_sub(disk),
            slog: None,
            ended: run.ended()?,
        };
        peak = peak.max(machine::peak());
        if step.fuel == 0 {
            step.ended.get_or_insert_with(|| "it was told nothing any more".to_owned());
        }
        write(file, &step)?;
        let long = step.cpu >= enough.cpu * case.patience;
        let large = long || step.fuel >= enough.fuel || step.memory.max(step.disk) >= ENOUGH_BYTES;
        if large || step.ended.is_some() || times * GROWTH > case.at_most {
            return Ok(step);
        }
        times *= GROWTH;
    }
}

/// Makes a step with a slog, and measures the slog's bytes.
fn recorded(case: &Case, dir: &Path, like: &MeasuredStep, file: &mut File) -> anyhow::Result<()> {
    let path = dir.join("case.slog");
    let mut run = Run::new(case, &dir.join("recorded"), Slog::new(Detail::Syscalls, Writer::append(&path)?))?;
    let size = || fs::metadata(&path).map_or(0, |it| it.len());
    let before = size();
    let fuel = run.go(case, like.times)?;
    run.controller.slog().flush().context("write the slog")?;
    let slog = Some(size().saturating_sub(before));
    write(file, &MeasuredStep { times: like.times, fuel, slog, ..MeasuredStep::default() })
}

/// A state in which a case runs.
pub(super) struct Run {
    pub(super) controller: Host,
    sent: Vec<Sent>,
}

impl Run {
    /// Opens a state for a case, and runs its setup.
    pub(super) fn new(case: &Case, state: &Path, slog: Slog) -> anyhow::Result<Run> {
        let open = HostOptions {
            state: Some(state.to_owned()),
            slog,
            audit: Audit::Never,
            max_live: Some(MAX_LIVE),
            ..HostOptions::default()
        };
        Run::with(case, open)
    }

    pub(super) fn with(case: &Case, open: HostOptions) -> anyhow::Result<Run> {
        let mut controller = Host::open(open)?;
        controller.install(&case.scenario()?)?;
        let mut run = Run { controller, sent: Vec::new() };
        run.rest()?;
        for _ in 0..case.setups {
            run.send("setup", [])?;
        }
        run.rest()?;
        Ok(run)
    }

    fn send(&mut self, method: &str, args: impl IntoIterator<Item = Arg>) -> anyhow::Result<()> {
        self.sent.push(self.controller.send(GUEST, method, args)?);
        Ok(())
    }

    /// Runs until nothing is left to do, and returns the fuel that this took.
    fn rest(&mut self) -> anyhow::Result<u64> {
        let mut fuel = 0;
        loop {
            let end = self.controller.run_block(&BlockPolicy::default(), &mut |_| true)?;
            fuel += end.fuel;
            if end.quiescent {
                break;
            }
        }
        // Nobody asks for the answers.
        self.sent.drain(..).try_for_each(|it| self.controller.forget(it))?;
        Ok(fuel)
    }

    /// Has the guest do its work so many times, runs until nothing is left to do, and returns the fuel that this took.
    pub(super) fn go(&mut self, case: &Case, times: u64) -> anyhow::Result<u64> {
        let mut left = times;
        while left > 0 && self.ended()?.is_none() {
            let now = left.min(case.in_a_delivery);
            self.send("go", [Arg::from(now)])?;
            left -= now;
        }
        self.rest()
    }

    /// Returns the reason for which the guest ended or was paused, if it was.
    pub(super) fn ended(&self) -> anyhow::Result<Option<String>> {
        let tables = self.controller.block()?.tables();
        let guest = tables.vats.iter().find(|(_, it)| it.name == GUEST);
        Ok(guest.and_then(|(_, it)| match &it.status {
            Status::Terminated { reason, .. } => Some(reason.clone()),
            Status::Paused { reason } => Some(format!("paused: {reason}")),
            Status::Running => None,
        }))
    }
}
