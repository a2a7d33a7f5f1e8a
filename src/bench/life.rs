//! A long life of a state: what it takes on the disk and in memory, period by period. It should stay the same.
//!
//! The state keeps only what its vats need (`keep = "needed"`), so nothing that comes with a delivery stays for ever.

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::{
    bench::{
        Load,
        machine::{self, Hardware, machine},
        svg::{Chart, Dot},
    },
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        options::Audit,
    },
    state::retention::Keep,
    store::Database,
};

/// A life to live.
#[derive(Clone, Debug)]
pub struct LifeOptions {
    /// What the vats do.
    pub load: Load,
    /// Deliveries of the whole life.
    pub deliveries: u64,
    /// Periods into which it is divided.
    pub periods: u64,
    /// Cranks of a block.
    pub cranks_per_block: u64,
    /// The folder of the state, if it is to be kept: one that is there already lives on.
    pub state: Option<PathBuf>,
}

/// A life that was lived.
#[derive(Clone, Debug, Serialize)]
pub struct Life {
    /// The machine and the date.
    pub machine: Hardware,
    /// The periods, in their order.
    pub points: Vec<LifePoint>,
}

/// A period of a life, at the ends of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LifePoint {
    /// Deliveries since the life began.
    pub deliveries: u64,
    /// The most bytes of the state's files.
    pub disk_bytes: u64,
    /// The most resident bytes of the process.
    pub resident_bytes: u64,
    /// Nanoseconds of CPU for each delivery, all threads together.
    pub cpu_ns_per_delivery: f64,
}

impl Life {
    /// Returns the curves to draw.
    pub fn charts(&self) -> Vec<Chart> {
        let labelled = (self.points.len() / 4).max(1);
        let chart = |name: &str, unit, value: fn(&LifePoint) -> f64| Chart {
            name: name.to_owned(),
            unit,
            dots: (1..)
                .zip(&self.points)
                .map(|(at, it)| {
                    let label = format!("{:.0} M", it.deliveries as f64 / 1e6);
                    Dot::of(it.deliveries, if at % labelled == 0 { label } else { String::new() }, value(it))
                })
                .collect(),
            is_linear: true,
            ..Chart::default()
        };
        vec![
            chart("disk", " MB", |it| it.disk_bytes as f64 / 1e6),
            chart("memory", " MB", |it| it.resident_bytes as f64 / 1e6),
            chart("CPU of a delivery", " ns", |it| it.cpu_ns_per_delivery),
        ]
    }
}

/// Has a state live a life, and measures it. `told` receives each period as it ends.
pub fn life(asked: &LifeOptions, told: &mut dyn FnMut(&LifePoint)) -> anyhow::Result<Life> {
    let made = tempfile::tempdir().context("make a folder for the state")?;
    let dir = asked.state.as_deref().unwrap_or(made.path());
    let is_new = !Database::exists(dir);
    let options =
        HostOptions { state: Some(dir.to_owned()), keep: Keep::Needed, audit: Audit::Never, ..HostOptions::default() };
    let mut host = Host::open(options)?;
    if is_new {
        host.install(&asked.load.scenario()?)?;
    }
    let mut deliveries = host.report()?.vats.values().map(|it| it.deliveries).sum::<u64>();
    let policy = BlockPolicy { cranks: asked.cranks_per_block, ..BlockPolicy::default() };
    let mut life = Life { machine: machine(), points: Vec::new() };
    let period = (asked.deliveries / asked.periods.max(1)).max(1);
    while deliveries < asked.deliveries {
        let (before, cpu, to) = (deliveries, machine::cpu(), (deliveries / period + 1) * period);
        let (mut disk_bytes, mut resident_bytes) = (0, 0);
        while deliveries < to {
            let end = host.run_block(&policy, &mut |crank| {
                deliveries += u64::from(crank.delivery.is_some());
                true
            })?;
            disk_bytes = disk_bytes.max(machine::size_of(dir));
            resident_bytes = resident_bytes.max(machine::resident());
            anyhow::ensure!(!end.quiescent, "the vats have nothing left to do");
        }
        let cpu_ns_per_delivery = (machine::cpu() - cpu) * 1e9 / (deliveries - before) as f64;
        let point = LifePoint { deliveries, disk_bytes, resident_bytes, cpu_ns_per_delivery };
        told(&point);
        life.points.push(point);
    }
    Ok(life)
}
