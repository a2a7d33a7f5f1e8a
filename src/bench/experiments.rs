//! The cost of experiments in each isolation (branched from a checkpoint and rolled back), against runs from the beginning.
//!
//! All are measured in one run, on the same experiments: absolute rates vary with the machine, ratios less.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::Serialize;

use crate::{
    bench::{Figure, Target},
    host::controller::{Host, HostOptions},
    lab::Schedule,
    lab::experiment::{
        Base, Build, Experiments, Isolation, Limits, Program, Runner, Until, copy_base, protocol::Hello, shrink,
    },
};

/// Faults of the schedule that is shrunk.
const SHRUNK_FROM: usize = 10;
/// Experiments that are made in processes of their own, at most, and runs from the beginning.
const SLOW: usize = 24;
/// Experiments at the end of a long run.
const LATE: u64 = 24;

/// The measured rates and costs of experiments.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentRates {
    /// The number of experiments of each round.
    pub experiments: u64,
    /// Cranks of the undisturbed run.
    pub golden_cranks: u64,
    /// Cranks of the long undisturbed run.
    pub long_cranks: u64,
    /// Experiments a second on one core, ratios to a run from the beginning, and the time that shrinking takes.
    pub figures: Vec<Figure>,
}

/// Makes the same experiments on `base` in each isolation, with the program `exe` as the child; and some at the end of `long`. `told` is
/// called with the name of each part before it begins.
pub fn experiments(
    base: &Base,
    long: &Base,
    exe: &Path,
    told: &mut dyn FnMut(&str),
) -> anyhow::Result<ExperimentRates> {
    let prepare = |base: &Base| Experiments::prepare(base, Build([0; 32]), Until::Quiescent, Limits::default());
    let mut experiments = prepare(base)?;
    let schedules = schedules(&experiments)?;
    told("rollback");
    let (rollback, memoised) = in_process(&mut experiments, &schedules);
    told("fork");
    let mut runner = runner(prepare(base)?, Isolation::Fork, exe);
    // The first starts the child.
    runner.run(schedules.first().context("a base without deliveries")?, 0);
    let fork = rate(schedules.len(), || schedules.iter().for_each(|it| drop(runner.run(it, 0))));
    told("process");
    let some = || schedules.iter().step_by(schedules.len().div_ceil(SLOW).max(1));
    let mut runner = self::runner(prepare(base)?, Isolation::Process, exe);
    let process = rate(some().count(), || some().for_each(|it| drop(runner.run(it, 0))));
    told("from the beginning");
    let zero = from_zero(base, some().count())?;
    told("a long run");
    let (late, long_zero, long_cranks) = late(&mut prepare(long)?)?;
    told("shrinking");
    let shrinking = shrinking(&mut experiments, &schedules);
    let (least, most) = (|it| Some(Target::AtLeast(it)), |it| Some(Target::AtMost(it)));
    let figures = vec![
        Figure::new("rollback", rollback, "/s", least(1_500.0)),
        Figure::new("rollback, memoised", memoised, "/s", None),
        Figure::new("fork", fork, "/s", least(1_000.0)),
        Figure::new("process", process, "/s", None),
        Figure::new("from the beginning", zero, "/s", None),
        Figure::new("rollback to from the beginning", rollback / zero, "×", None),
        Figure::new("fork to from the beginning", fork / zero, "×", None),
        Figure::new("process to from the beginning", process / zero, "×", None),
        Figure::new("late in a long run", late, "/s", None),
        Figure::new("a long run from the beginning", long_zero, "/s", None),
        Figure::new("late to from the beginning", late / long_zero, "×", least(500.0)),
        Figure::new("10 faults shrunk", shrinking, "s", most(5.0)),
    ];
    let golden_cranks = experiments.golden().len() as u64;
    Ok(ExperimentRates { experiments: schedules.len() as u64, golden_cranks, long_cranks, figures })
}

/// Returns the schedules: each delivery disturbed in four ways.
fn schedules(experiments: &Experiments) -> anyhow::Result<Vec<Schedule>> {
    let mut schedules = Vec::new();
    for vat in experiments.golden().points().vats {
        let (first, count) = vat.deliveries;
        for delivery in first..first + count {
            for action in ["skip", "terminate", "trap after 1000 fuel", "delay 1 cranks"] {
                schedules.push(Schedule::read("bench", &format!("{}/delivery-{delivery}: {action}", vat.vat))?);
            }
        }
    }
    Ok(schedules)
}

/// Returns how many of `count` a second `run` makes.
#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn rate(count: usize, run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    count as f64 / begun.elapsed().as_secs_f64().max(1e-9)
}

/// Returns the rates of two rounds in this process: one in which each experiment forgets the others' results, one that remembers all.
fn in_process(experiments: &mut Experiments, schedules: &[Schedule]) -> (f64, f64) {
    // One round to warm up.
    schedules.iter().for_each(|it| drop(experiments.run(it, 0)));
    let fresh = rate(schedules.len(), || {
        for it in schedules {
            experiments.forget();
            experiments.run(it, 0);
        }
    });
    schedules.iter().for_each(|it| drop(experiments.run(it, 0)));
    let memoised = rate(schedules.len(), || schedules.iter().for_each(|it| drop(experiments.run(it, 0))));
    (fresh, memoised)
}

fn runner(experiments: Experiments, isolation: Isolation, exe: &Path) -> Runner {
    let limits = Limits::default();
    let hello = Hello::of(experiments.base(), Build([0; 32]), Until::Quiescent, limits);
    let program = Program { exe: exe.to_owned(), memory: None, wall: Duration::from_millis(limits.wall_ms) };
    Runner::new(experiments, isolation, program, hello)
}

/// Returns how many runs of the base a second go from its beginning to its end, committed as by a host: the rate without checkpoints.
fn from_zero(base: &Base, times: usize) -> anyhow::Result<f64> {
    let mut ran = Ok(());
    let rate = rate(times, || ran = (0..times).try_for_each(|_| once(base)));
    ran.map(|()| rate)
}

fn once(base: &Base) -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("make a folder for the state")?;
    copy_base(base, dir.path())?;
    let (state, code_cache) = (Some(dir.path().to_owned()), base.code_cache.clone());
    let mut controller = Host::open(HostOptions { state, code_cache, ..HostOptions::default() })?;
    while !controller.is_quiescent()? {
        controller.run_block(&base.policy, &mut |_| true)?;
    }
    Ok(())
}

/// Returns the rate of experiments near the end of a long run, the rate of such runs from their beginning, and the run's cranks.
fn late(experiments: &mut Experiments) -> anyhow::Result<(f64, f64, u64)> {
    let cranks = experiments.golden().len() as u64;
    let last = experiments.golden().start.0 + cranks;
    let mut schedules = Vec::new();
    for crank in last.saturating_sub(LATE)..last {
        for action in ["skip", "delay 1 cranks"] {
            schedules.push(Schedule::read("bench", &format!("crank-{crank}: {action}"))?);
        }
    }
    let (late, _) = in_process(experiments, &schedules);
    Ok((late, from_zero(experiments.base(), 2)?, cranks))
}

/// Returns the seconds that it takes to shrink a schedule of many faults to one in which none can be left out.
fn shrinking(experiments: &mut Experiments, schedules: &[Schedule]) -> f64 {
    let some = schedules.iter().step_by(schedules.len().div_ceil(SHRUNK_FROM).max(1));
    let faults = some.flat_map(|it| it.faults().cloned());
    // Each is at a place of its own, so none contradicts another.
    let schedule = Schedule::of(faults).unwrap_or_default();
    experiments.forget();
    1.0 / rate(1, || drop(shrink(&schedule, &mut |it| experiments.run(it, 0))))
}
