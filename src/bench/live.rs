//! A running state on disk, and the measurement of its deliveries: everything is on, and each block is one durable commit.

use std::{
    cell::Cell,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{
    bench::{
        Load, Size, machine,
        result::{Deliveries, per},
    },
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    kernel,
    lab::disk::{Asked, Disk, DiskVerdict, FileOp},
};

/// One crank in so many is timed: to read the clock takes time, too.
const SAMPLED: u64 = 8;

/// A scenario under way.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) controller: Host,
    dir: TempDir,
    policy: BlockPolicy,
    /// Whether it is a load, which never ends unless a vat of it dies.
    is_endless: bool,
}

/// The totals of some blocks that were run.
#[derive(Clone, Debug, Default)]
pub(super) struct Ran {
    pub(super) ns: f64,
    pub(super) deliveries: u64,
    blocks: u64,
    fuel: u64,
    samples: Vec<f64>,
}

impl Ran {
    /// Returns the nanoseconds for each delivery.
    pub(super) fn each(&self) -> f64 {
        self.ns / self.deliveries.max(1) as f64
    }
}

impl Live {
    /// Installs a scenario in a new folder.
    pub(super) fn new(scenario: &Scenario, open: HostOptions, size: Size) -> anyhow::Result<Live> {
        let dir = tempfile::tempdir().context("make a folder for the state")?;
        let mut controller = Host::open(HostOptions { state: Some(dir.path().to_owned()), ..open })?;
        controller.install(scenario)?;
        let policy = BlockPolicy { cranks: size.cranks_per_block, ..BlockPolicy::default() };
        Ok(Live { controller, dir, policy, is_endless: false })
    }

    /// Installs a load, and runs it until it is in its steady state.
    pub(super) fn steady(load: Load, open: HostOptions, size: Size) -> anyhow::Result<Live> {
        let mut live = Live::new(&load.scenario()?, open, size)?;
        let mut cranks = 0;
        while cranks < load.begins_after() {
            let policy = BlockPolicy { cranks: live.policy.cranks.min(load.begins_after() - cranks), ..live.policy };
            cranks += live.controller.run_block(&policy, &mut |_| true)?.cranks.max(1);
        }
        if live.controller.is_quiescent()? {
            bail!("the load `{}{}` ended before it was measured: a vat of it has died", load.letter, load.number);
        }
        live.is_endless = true;
        Ok(live)
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Closes the state, and keeps its folder.
    pub(super) fn into_dir(self) -> TempDir {
        self.dir
    }

    /// Makes every block one crank long, from here on.
    pub(super) fn short_blocks(&mut self) {
        self.policy.cranks = 1;
    }

    /// Runs one block of the workload. Returns whether there is more to run.
    pub(super) fn block(&mut self, ran: &mut Ran) -> anyhow::Result<bool> {
        self.blocks(ran, 0)
    }

    /// Runs one block of the workload, and more as long as the commit of each is left to another thread, until there were so many
    /// deliveries. Returns whether there is more to run.
    #[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
    pub(super) fn blocks(&mut self, ran: &mut Ran, deliveries: u64) -> anyhow::Result<bool> {
        let (mut cranks, mut blocks, mut is_over) = (0_u64, 0, false);
        let begun = Instant::now();
        let mut last = begun;
        let made = Cell::new(ran.deliveries);
        let each = &mut |crank: &kernel::Ran| {
            cranks += 1;
            made.set(made.get() + u64::from(crank.delivery.is_some()));
            ran.fuel += crank.fuel;
            match cranks % SAMPLED {
                0 => ran.samples.push(per(last.elapsed(), 1)),
                it if it == SAMPLED - 1 => last = Instant::now(),
                _ => (),
            }
            true
        };
        let most = if deliveries == 0 { 1 } else { u64::MAX };
        self.controller.run_blocks(&self.policy, most, each, &mut |end| {
            (blocks, is_over) = (blocks + 1, end.quiescent);
            made.get() < deliveries
        })?;
        let took = per(begun.elapsed(), 1);
        ran.ns += took;
        if (1..SAMPLED).contains(&cranks) {
            // The block is too short for samples: its cranks share its time, the commit included.
            ran.samples.push(took / cranks as f64);
        }
        (ran.blocks, ran.deliveries) = (ran.blocks + blocks, made.get());
        Ok(!is_over)
    }

    /// Runs blocks until there were so many deliveries, or nothing is left to do: as `vathost run` does, one while the one before it is
    /// written, if that is worth it.
    pub(super) fn run(&mut self, deliveries: u64) -> anyhow::Result<Ran> {
        let mut ran = Ran::default();
        while ran.deliveries < deliveries && self.blocks(&mut ran, deliveries)? {}
        if self.is_endless && ran.deliveries < deliveries {
            bail!("the load ended after {} of {deliveries} deliveries: a vat of it has died", ran.deliveries);
        }
        Ok(ran)
    }

    /// Runs exactly so many deliveries, if there are as many: the last blocks are shorter than the others.
    pub(super) fn run_exactly(&mut self, deliveries: u64) -> anyhow::Result<()> {
        let full = self.policy.cranks;
        let mut ran = Ran::default();
        while ran.deliveries < deliveries {
            self.policy.cranks = full.min(deliveries - ran.deliveries);
            if !self.block(&mut ran)? {
                break;
            }
        }
        self.policy.cranks = full;
        Ok(())
    }

    /// Runs deliveries, and returns the measurements as a result. The caller sets the ratio, which only it knows.
    pub(super) fn measure(&mut self, deliveries: u64) -> anyhow::Result<Deliveries> {
        machine::forget_peak();
        let before = machine::written();
        let ran = self.run(deliveries)?;
        Ok(self.result(ran, machine::written() - before))
    }

    /// Counts how often a block waits for the disk, on average over so many deliveries of the state that `make` opens. Each operation of the
    /// disk is intercepted, which is too slow for a run that is timed.
    pub(super) fn syncs_per_block(
        make: impl FnOnce(HostOptions) -> anyhow::Result<Live>,
        deliveries: u64,
    ) -> anyhow::Result<f64> {
        let syncs = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&syncs);
        let disk = Disk::new(move |asked: &Asked<'_>| {
            counter.fetch_add(u64::from(asked.op == FileOp::Sync), Ordering::Relaxed);
            DiskVerdict::Go
        });
        let mut live = make(HostOptions { files: Some(Arc::new(disk)), ..HostOptions::default() })?;
        let before = syncs.load(Ordering::Relaxed);
        let ran = live.run(deliveries)?;
        let counted = syncs.load(Ordering::Relaxed) - before;
        Ok((counted as f64 / ran.blocks.max(1) as f64 * 1e3).round() / 1e3)
    }

    pub(super) fn result(&self, mut ran: Ran, written: u64) -> Deliveries {
        ran.samples.sort_by(f64::total_cmp);
        let percentile = |hundredth: usize| ran.samples.get(ran.samples.len() * hundredth / 100).copied();
        let (seconds, blocks) = (ran.ns / 1e9, ran.blocks.max(1) as f64);
        Deliveries {
            ns_per_delivery: ran.each(),
            deliveries_per_second: ran.deliveries as f64 / seconds,
            deliveries: ran.deliveries,
            blocks: ran.blocks,
            cranks_per_block: self.policy.cranks,
            p50_ns: percentile(50).unwrap_or(0.0),
            p99_ns: percentile(99).unwrap_or(0.0),
            fuel_per_second: ran.fuel as f64 / seconds,
            bytes_per_block: written as f64 / blocks,
            fsyncs_per_block: None,
            peak_bytes: machine::peak(),
            ratio_to_floor: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directive::DirectiveSet;

    #[test]
    fn a_load_of_which_a_vat_dies_is_no_measurement() {
        let size = Size { deliveries: 2_000, cranks_per_block: 500, runs: 1, quick: true, vats_max: None };
        let mut live = Live::steady(Load::pair('p', 10), HostOptions::default(), size).expect("begins");
        assert!(live.run(500).expect("goes on").deliveries >= 500);
        let mut set = DirectiveSet::default();
        set.read("test", b"crank-1500: terminate v2").expect("a line");
        live.controller.set_directives(set, false).expect("is in force");
        let why = live.run(2_000).expect_err("ends").to_string();
        assert!(why.contains("of 2000 deliveries: a vat of it has died"), "{why}");
    }
}
