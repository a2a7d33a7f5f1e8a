//! Benchmarks: what a delivery costs with everything on, and how often the floor that is.
//!
//! Both are measured in the same run, interleaved, since machines differ and are noisy; a ratio is what a result means.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::{
    controller::{Controller, Open, Policy},
    directive::Schedule,
    experiment::{Base, Build, Experiments, Limits, Until, copy_base},
    scenario::{Scenario, StaticVat},
    table::Options,
    vat::{Floor, FloorKind},
};

/// A workload that can be named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// All of them.
pub const WORKLOADS: &[Workload] =
    &[Workload { name: "call", about: "two vats, one awaits the other's answer, again and again (vats/pingpong)" }];

/// The workload of experiments; it is measured by itself.
pub const EXPERIMENTS: Workload =
    Workload { name: "experiments", about: "each delivery of a scenario skipped, trapped, delayed or its vat ended" };

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

/// What a workload came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct Measured {
    pub name: &'static str,
    pub ns_per_delivery: u64,
    pub deliveries: u64,
    pub blocks: u64,
    pub cranks_per_block: u64,
    #[serde(rename = "p50ns")]
    pub p50_ns: u64,
    #[serde(rename = "p99ns")]
    pub p99_ns: u64,
    pub bytes_per_block: u64,
    pub ratio_to_floor: f64,
}

/// The floors: nanoseconds a delivery.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct Floors {
    pub call: PerDelivery,
    pub send: PerDelivery,
}

/// Nanoseconds a delivery.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the field is the contract's")]
pub struct PerDelivery {
    pub ns_per_delivery: u64,
}

const FLOOR_DELIVERIES: u64 = 1_000_000;

fn per(elapsed: Duration, count: u64) -> u64 {
    u64::try_from(elapsed.as_nanos() / u128::from(count.max(1))).unwrap_or(u64::MAX)
}

/// Measures both floors: the best of five runs each.
#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
pub fn floors() -> anyhow::Result<Floors> {
    let measure = |kind| -> anyhow::Result<PerDelivery> {
        let mut floor = Floor::new(kind)?;
        let mut best = u64::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            floor.run(FLOOR_DELIVERIES)?;
            best = best.min(per(begun.elapsed(), FLOOR_DELIVERIES));
        }
        Ok(PerDelivery { ns_per_delivery: best })
    };
    Ok(Floors { call: measure(FloorKind::Call)?, send: measure(FloorKind::Send)? })
}

/// Runs a workload with everything on: metering, c-lists, transcript, hashes, one durable commit a block, in a state on disk.
#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
pub fn run(workload: Workload, rounds: u32, cranks_per_block: u64, floors: &Floors) -> anyhow::Result<Measured> {
    let dir = tempfile::tempdir().context("make a folder for the state")?;
    let mut controller = Controller::open(Open { state: Some(dir.path().to_owned()), ..Open::default() })?;
    controller.install(&scenario(workload, rounds))?;
    // The first block starts the vats: it is not measured.
    controller.run_block(&Policy { cranks: 4, ..Policy::default() }, &mut |_| true)?;
    let before = controller.report()?.deliveries;
    let policy = Policy { cranks: cranks_per_block, ..Policy::default() };
    let (mut blocks, mut samples) = (0, Vec::new());
    let begun = Instant::now();
    let mut last = begun;
    while !controller.is_quiescent()? {
        controller.run_block(&policy, &mut |_| {
            let now = Instant::now();
            samples.push(now - last);
            last = now;
            true
        })?;
        last = Instant::now();
        blocks += 1;
    }
    let elapsed = begun.elapsed();
    let deliveries = controller.report()?.deliveries - before;
    samples.sort_unstable();
    let percentile = |hundredth: usize| samples.get(samples.len() * hundredth / 100).map_or(0, |it| per(*it, 1));
    let ns_per_delivery = per(elapsed, deliveries);
    let size: u64 = std::fs::read_dir(dir.path())?.map(|it| Ok(it?.metadata()?.len())).sum::<std::io::Result<u64>>()?;
    Ok(Measured {
        name: workload.name,
        ns_per_delivery,
        deliveries,
        blocks,
        cranks_per_block,
        p50_ns: percentile(50),
        p99_ns: percentile(99),
        bytes_per_block: size / blocks.max(1),
        ratio_to_floor: ns_per_delivery as f64 / floors.send.ns_per_delivery.max(1) as f64,
    })
}

fn scenario(_: Workload, rounds: u32) -> Scenario {
    let vat = |name: &str, wasm: &[u8], parameters: String| StaticVat {
        name: name.to_owned(),
        wasm: wasm.to_vec(),
        options: Options::default(),
        parameters,
    };
    Scenario {
        vats: vec![
            vat("ping", include_bytes!("../vats/ping.wasm"), format!("#{{\"rounds\":{rounds}}}")),
            vat("pong", include_bytes!("../vats/pong.wasm"), "#{}".to_owned()),
        ],
        bootstrap: Some("ping".to_owned()),
        sends: Vec::new(),
        ..Scenario::default()
    }
}
