//! The results of measurements. The names of the fields are a contract: results are kept, and compared with later ones.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use crate::bench::{Floors, Hardware};

/// The results of one call of the benchmarks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The machine and the date.
    pub machine: Hardware,
    /// The number of runs that the medians are of.
    pub runs: usize,
    /// The costs of bare wasmtime.
    pub floors: Floors,
    /// The results of each workload.
    pub workloads: Vec<Measured>,
}

/// The result of one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The name of the workload.
    pub name: Cow<'static, str>,
    /// The measurements of its deliveries, if it measures deliveries.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Deliveries>,
    /// Further figures, with their targets.
    pub figures: Vec<Figure>,
}

/// The measurements of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deliveries {
    /// Nanoseconds for each delivery, commits included.
    pub ns_per_delivery: f64,
    /// Deliveries in a second.
    pub deliveries_per_second: f64,
    /// The number of deliveries, of all runs.
    pub deliveries: u64,
    /// The number of blocks, of all runs.
    pub blocks: u64,
    /// The most cranks in a block.
    pub cranks_per_block: u64,
    /// Nanoseconds of the median crank.
    #[serde(rename = "p50ns")]
    pub p50_ns: f64,
    /// Nanoseconds of the slowest crank of a hundred, the 99th percentile.
    #[serde(rename = "p99ns")]
    pub p99_ns: f64,
    /// Units of fuel in a second.
    pub fuel_per_second: f64,
    /// Bytes that the process wrote for each block; 0 if the system does not tell.
    pub bytes_per_block: f64,
    /// Times that a block waited for the disk, counted in a run apart: once for its commit, and more when SQLite's log is copied into the
    /// file. `None` if it was not counted.
    pub fsyncs_per_block: Option<f64>,
    /// The most memory that was resident; 0 if the system does not tell.
    pub peak_bytes: u64,
    /// The cost of a delivery as a multiple of a bare delivery with a send.
    pub ratio_to_floor: f64,
}

/// A number with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// The name of the figure.
    pub name: Cow<'static, str>,
    /// The measured value, in `unit`.
    pub value: f64,
    /// The unit: `ns`, `ms`, `KiB`, `/s`, or `×` for a ratio of two things measured in the same run.
    pub unit: Cow<'static, str>,
    /// The bound that the figure should keep, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<Target>,
    /// Whether the figure keeps that bound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub met: Option<bool>,
}

/// The bound that a figure should keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// At most this value.
    AtMost(f64),
    /// At least this value.
    AtLeast(f64),
}

impl Figure {
    pub(super) fn new(name: &'static str, value: f64, unit: &'static str, target: Option<Target>) -> Figure {
        let met = target.map(|it| match it {
            Target::AtMost(most) => value <= most,
            Target::AtLeast(least) => value >= least,
        });
        Figure { name: name.into(), value: tidy(value), unit: unit.into(), target, met }
    }

    /// Returns whether the figure is a ratio of two things of one run, and so comparable with another run's.
    pub(super) fn is_ratio(&self) -> bool {
        self.unit == "×"
    }
}

impl Deliveries {
    /// Combines several runs: the medians of the figures, the sums of the counts, the greatest peak.
    pub(super) fn median(runs: &[Deliveries]) -> Deliveries {
        let of = |what: fn(&Deliveries) -> f64| tidy(median(runs.iter().map(what)));
        let sum = |what: fn(&Deliveries) -> u64| runs.iter().map(what).sum();
        Deliveries {
            ns_per_delivery: of(|it| it.ns_per_delivery),
            deliveries_per_second: of(|it| it.deliveries_per_second).round(),
            deliveries: sum(|it| it.deliveries),
            blocks: sum(|it| it.blocks),
            cranks_per_block: runs.first().map_or(0, |it| it.cranks_per_block),
            p50_ns: of(|it| it.p50_ns),
            p99_ns: of(|it| it.p99_ns),
            fuel_per_second: of(|it| it.fuel_per_second).round(),
            bytes_per_block: of(|it| it.bytes_per_block).round(),
            fsyncs_per_block: runs.iter().find_map(|it| it.fsyncs_per_block),
            peak_bytes: runs.iter().map(|it| it.peak_bytes).max().unwrap_or(0),
            ratio_to_floor: of(|it| it.ratio_to_floor),
        }
    }
}

/// Rounds to three digits after the point: more are noise.
fn tidy(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Returns the nanoseconds for each of `count` items.
pub(super) fn per(elapsed: Duration, count: u64) -> f64 {
    elapsed.as_nanos() as f64 / count.max(1) as f64
}

/// Returns the median; 0 if there are no values.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}
