//! What experiments cost: branched from a checkpoint and rolled back, beside a run from the beginning.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::{
    controller::{Controller, Open},
    directive::Schedule,
    experiment::{Base, Build, Experiments, Limits, Until, copy_base},
};

/// What experiments cost: how many a second on one core.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct ExperimentRates {
    pub experiments: u64,
    pub golden_cranks: u64,
    pub rollback_per_second: u64,
    pub memoised_per_second: u64,
    pub from_zero_per_second: u64,
    pub ratio_to_from_zero: f64,
}

/// Runs every experiment of the workload: from checkpoints with nothing remembered, with what was remembered, and some of them
/// in the plain way, a run from the beginning each.
#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
pub fn experiments(base: &Base) -> anyhow::Result<ExperimentRates> {
    let mut experiments = Experiments::prepare(base, Build([0; 32]), Until::Quiescent, Limits::default())?;
    let mut schedules = Vec::new();
    for vat in experiments.golden().points().vats {
        let (first, count) = vat.deliveries;
        for delivery in first..first + count {
            for action in ["skip", "terminate", "trap after 1000 fuel", "delay 1 cranks"] {
                schedules.push(Schedule::read("bench", &format!("{}/delivery-{delivery}: {action}", vat.vat))?);
            }
        }
    }
    let per_second = |count: usize, elapsed: Duration| {
        let nanos = elapsed.as_nanos().max(1);
        u64::try_from(count as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    };
    // One round to warm up.
    for it in &schedules {
        experiments.run(it, 0);
    }
    let begun = Instant::now();
    for it in &schedules {
        experiments.forget();
        experiments.run(it, 0);
    }
    let rollback = per_second(schedules.len(), begun.elapsed());
    experiments.forget();
    let begun = Instant::now();
    for it in schedules.iter().chain(&schedules) {
        experiments.run(it, 0);
    }
    let memoised = per_second(schedules.len() * 2, begun.elapsed());
    let sample: Vec<_> = schedules.iter().step_by(schedules.len().div_ceil(16).max(1)).collect();
    let begun = Instant::now();
    for _ in &sample {
        from_zero(base)?;
    }
    let zero = per_second(sample.len(), begun.elapsed());
    Ok(ExperimentRates {
        experiments: schedules.len() as u64,
        golden_cranks: experiments.golden().len() as u64,
        rollback_per_second: rollback,
        memoised_per_second: memoised,
        from_zero_per_second: zero,
        ratio_to_from_zero: rollback as f64 / zero.max(1) as f64,
    })
}

/// The base run from its beginning to its end, committed as a host does: what an experiment costs without checkpoints.
fn from_zero(base: &Base) -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("make a folder for the state")?;
    copy_base(base, dir.path())?;
    let (state, code_cache) = (Some(dir.path().to_owned()), base.code_cache.clone());
    let mut controller = Controller::open(Open { state, code_cache, ..Open::default() })?;
    while !controller.is_quiescent()? {
        controller.run_block(&base.policy, &mut |_| true)?;
    }
    Ok(())
}
