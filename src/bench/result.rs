//! The results of measurements. The names of the fields are a contract: results are kept, and compared with later ones.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use crate::bench::{Floors, Hardware};

/// All of one call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Where and when.
    pub machine: Hardware,
    /// How many runs the medians are of.
    pub runs: usize,
    /// What bare wasmtime took.
    pub floors: Floors,
    /// One of each workload.
    pub workloads: Vec<Measured>,
}

/// The result of one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The name of the workload.
    pub name: Cow<'static, str>,
    /// Where it is deliveries that are measured.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Deliveries>,
    /// What else it came to, and what it should.
    pub figures: Vec<Figure>,
}

/// The measurements of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deliveries {
    /// Nanoseconds each, commits included.
    pub ns_per_delivery: f64,
    /// In a second.
    pub deliveries_per_second: f64,
    /// The number of deliveries.
    pub deliveries: u64,
    /// In so many blocks.
    pub blocks: u64,
    /// The number of cranks in each block.
    pub cranks_per_block: u64,
    /// Nanoseconds of the median crank.
    #[serde(rename = "p50ns")]
    pub p50_ns: f64,
    /// Nanoseconds of the hundredth slowest crank of a hundred.
    #[serde(rename = "p99ns")]
    pub p99_ns: f64,
    /// Units of fuel in a second.
    pub fuel_per_second: f64,
    /// Bytes that the process wrote, a block. 0 where the system does not tell.
    pub bytes_per_block: f64,
    /// Times that a block waited for the disk, counted in a run apart: one for its commit; now and then SQLite's log is copied into the
    /// file. `None` where that was not counted.
    pub fsyncs_per_block: Option<f64>,
    /// The most memory that was resident. 0 where the system does not tell.
    pub peak_bytes: u64,
    /// How many bare deliveries with a send would have fitted in.
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
    /// What it is to be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<Target>,
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub met: Option<bool>,
}

/// The bound that a figure should keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
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
    /// The medians of several runs of the same.
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

/// Three digits after the point: more are noise.
fn tidy(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Returns the nanoseconds for each of `count` items.
pub(super) fn per(elapsed: Duration, count: u64) -> f64 {
    elapsed.as_nanos() as f64 / count.max(1) as f64
}

/// The middle one; 0 of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}
