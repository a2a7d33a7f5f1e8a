//! The workloads of the benchmarks, each with the targets of its figures.

use std::{borrow::Cow, fmt::Write as _, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context, bail};

use crate::{
    bench::{
        Load, Size,
        floors::Around,
        live::{Live, Ran},
        machine,
        result::{Deliveries, Figure, Measured, Target, median, per},
    },
    directive::DirectiveSet,
    host::{
        controller::{Host, HostOptions},
        options::Audit,
        scenario::Scenario,
    },
    model::id::VatId,
    slog::{Detail, Slog, SlogFormat, Writer},
    store::CommitFloor,
    vat::Speculations,
};

/// A workload that can be named.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The name of the workload.
    pub name: Cow<'static, str>,
    /// The work, in a line.
    pub about: &'static str,
    how: Drive,
}

type Special = fn(Size, &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)>;

#[derive(Clone, Debug)]
enum Drive {
    /// A load in its steady state: the target in nanoseconds a delivery, and a function that adds further figures.
    Steady(fn(Size) -> Load, f64, Also),
    /// A measurement of its own, of deliveries or of something else.
    Special(Special),
    /// A user's own scenario, from its beginning to its end.
    Scenario(Arc<Scenario>),
}

type Also = fn(Size, &Live, &Deliveries, &mut Vec<Figure>);

const fn workload(name: &'static str, about: &'static str, how: Drive) -> Workload {
    Workload { name: Cow::Borrowed(name), about, how }
}

/// The table of all workloads.
pub const WORKLOADS: &[Workload] = &[
    workload(
        "ping",
        "messages fly between two vats, ten at a time",
        Drive::Steady(
            |_| PING,
            1_000.0,
            |_, _, it, figures| {
                figures.push(Figure::new("ratioToFloor", it.ratio_to_floor, "×", at_most(25.0)));
            },
        ),
    ),
    workload(
        "call",
        "a vat awaits another's answer, again and again: a round trip is two deliveries",
        Drive::Steady(|_| Load::pair('c', 1), 1_300.0, |_, _, _, _| ()),
    ),
    workload(
        "store",
        "4 writes and 4 reads of the vatstore at each delivery",
        Drive::Steady(|_| Load::pair('s', 10), 3_000.0, |_, _, _, _| ()),
    ),
    workload(
        "reads",
        "100 reads of the vatstore at each delivery, always of the same keys",
        Drive::Steady(
            |_| Load::pair('r', 10),
            f64::INFINITY,
            |_, _, it, figures| {
                figures.push(Figure::new("nsPerRead", it.ns_per_delivery / 100.0, "ns", at_most(250.0)));
            },
        ),
    ),
    workload(
        "fanout",
        "one vat sends to 10,000, all live",
        Drive::Steady(
            |size| Load::fan(size.vats(10_000)),
            2_500.0,
            |_, live, _, figures| {
                figures.push(Figure::new("liveVats", live.controller.live() as f64, "", None));
            },
        ),
    ),
    workload(
        "gc",
        "each message brings an object, which is dropped and retired",
        Drive::Steady(|_| Load::pair('g', 1), 1_300.0, |_, _, _, _| ()),
    ),
    workload(
        "slog",
        "ping, with a binary slog of every syscall to a file, or one of JSON lines, beside ping without",
        Drive::Special(slog),
    ),
    workload("latency", "blocks of one delivery, beside a bare SQLite commit of one row", Drive::Special(latency)),
    workload("replay", "ping again from its transcript, beside ping as it was", Drive::Special(replay)),
    workload("open", "open a state of 10 and of 10,000 vats, of 10 k and of 1 M objects", Drive::Special(open)),
    workload("breakpoint", "open a state, and bring a vat of 100,000 deliveries up", Drive::Special(breakpoint)),
    workload(
        "directives",
        "ping with 1,000 directives scheduled and none due, beside ping without",
        Drive::Special(directives),
    ),
    workload(
        "snapshot",
        "ping with a snapshot of a vat every 200 deliveries, beside ping without",
        Drive::Special(snapshot),
    ),
    workload(
        "parallel",
        "one vat sends to 1,000 whose guests take 20 or 200 µs, on two threads beside one",
        Drive::Special(parallel),
    ),
];

const PING: Load = Load::pair('p', 10);

fn at_most(limit: f64) -> Option<Target> {
    limit.is_finite().then_some(Target::AtMost(limit))
}

/// Makes a workload of a user's own scenario, under this name.
pub fn scenario(name: &str, scenario: Scenario) -> Workload {
    Workload {
        name: Cow::Owned(name.to_owned()),
        about: "a scenario, from its beginning to its end",
        how: Drive::Scenario(Arc::new(scenario)),
    }
}

impl Workload {
    /// Runs exactly so many deliveries of the workload, and measures nothing: for a profiler. Compiled code is kept in `code_cache`.
    ///
    /// # Errors
    ///
    /// The workload has no deliveries of its own, since it compares two states or opens them.
    pub fn run_once(&self, size: Size, code_cache: Option<PathBuf>) -> anyhow::Result<()> {
        // The audits of a build with debug assertions are no part of a delivery's cost. On one thread a count is the same each time.
        let threads = Some(NonZeroUsize::MIN);
        let options = HostOptions { audit: Audit::Never, code_cache, threads, ..HostOptions::default() };
        let mut live = match &self.how {
            Drive::Steady(load, ..) => Live::steady(load(size), options, size)?,
            Drive::Scenario(scenario) => Live::new(scenario, options, size)?,
            Drive::Special(_) => bail!("`{}` is a comparison, and cannot run alone", self.name),
        };
        live.run_exactly(size.deliveries)
    }

    pub(super) fn measure(&self, size: Size, around: &mut Around) -> anyhow::Result<Measured> {
        let (deliveries, figures) = match &self.how {
            Drive::Steady(load, ns_max, also) => {
                let mut live = Live::steady(load(size), HostOptions::default(), size)?;
                let mut deliveries = repeat(size, around, |_| live.measure(size.deliveries))?;
                let mut figures =
                    vec![Figure::new("nsPerDelivery", deliveries.ns_per_delivery, "ns", at_most(*ns_max))];
                also(size, &live, &deliveries, &mut figures);
                // The machine need not hold the ten thousand vats twice.
                drop(live);
                let again = |open| Live::steady(load(size), open, size);
                deliveries.fsyncs_per_block = Some(Live::syncs_per_block(again, size.deliveries)?);
                (Some(deliveries), figures)
            }
            Drive::Special(measure) => measure(size, around)?,
            Drive::Scenario(scenario) => {
                let make = |open| Live::new(scenario, open, size);
                let mut deliveries =
                    repeat(size, around, |size| make(HostOptions::default())?.measure(size.deliveries))?;
                deliveries.fsyncs_per_block = Some(Live::syncs_per_block(make, size.deliveries)?);
                (Some(deliveries), Vec::new())
            }
        };
        Ok(Measured { name: self.name.clone(), deliveries, figures })
    }
}

/// Makes several runs, each between two measurements of the floors.
fn repeat(
    size: Size,
    around: &mut Around,
    mut run: impl FnMut(Size) -> anyhow::Result<Deliveries>,
) -> anyhow::Result<Deliveries> {
    let mut runs = Vec::new();
    for _ in 0..size.runs {
        let (mut deliveries, floor) = around.around(|| run(size))?;
        deliveries.ratio_to_floor = deliveries.ns_per_delivery / floor;
        runs.push(deliveries);
    }
    Ok(Deliveries::median(&runs))
}

/// Blocks that one of two states runs before it is the other's turn: their commits are written as those of any host are, one while the
/// next block runs.
const BLOCKS_A_TURN: u64 = 4;

/// Runs two states with the same load under different settings, some blocks of one after some blocks of the other. Returns the measurements
/// of the first, and the medians over these turns of the ratio and of the difference of their costs a delivery.
fn beside(
    size: Size,
    around: &mut Around,
    with: &mut Live,
    without: &mut Live,
) -> anyhow::Result<(Deliveries, f64, f64)> {
    let (mut ratios, mut differences) = (Vec::new(), Vec::new());
    let deliveries = repeat(size, around, |_| {
        machine::forget_peak();
        let (mut all, mut written) = (Ran::default(), 0);
        while all.deliveries < size.deliveries {
            let mut one = Ran::default();
            let (before, made, took) = (machine::written(), all.deliveries, all.ns);
            let turn = BLOCKS_A_TURN * size.cranks_per_block;
            with.blocks(&mut all, made + turn)?;
            written += machine::written() - before;
            without.blocks(&mut one, turn)?;
            let each = (all.ns - took) / (all.deliveries - made).max(1) as f64;
            ratios.push(each / one.each());
            differences.push(each - one.each());
        }
        Ok(with.result(all, written))
    })?;
    Ok((deliveries, median(ratios), median(differences)))
}

fn slog(size: Size, around: &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)> {
    let dir = tempfile::tempdir().context("make a folder for the slog")?;
    let mut without = Live::steady(PING, HostOptions::default(), size)?;
    let mut recorded = |format, name: &str| {
        let slog = Slog::new(Detail::Syscalls, Writer::append_as(&dir.path().join(name), format)?);
        let mut with = Live::steady(PING, HostOptions { slog, ..HostOptions::default() }, size)?;
        beside(size, around, &mut with, &mut without)
    };
    let (deliveries, binary, _) = recorded(SlogFormat::Binary, "bench.vslog")?;
    let (_, lines, _) = recorded(SlogFormat::Json, "bench.slog")?;
    let figures = vec![
        Figure::new("ratioToWithout", binary, "×", at_most(1.6)),
        Figure::new("linesRatioToWithout", lines, "×", None),
    ];
    Ok((Some(deliveries), figures))
}

fn directives(size: Size, around: &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)> {
    let mut with = Live::steady(PING, HostOptions::default(), size)?;
    let mut without = Live::steady(PING, HostOptions::default(), size)?;
    schedule(&mut with.controller, 1_000)?;
    let (deliveries, ratio, _) = beside(size, around, &mut with, &mut without)?;
    Ok((Some(deliveries), vec![Figure::new("ratioToWithout", ratio, "×", at_most(1.01))]))
}

/// Puts directives in force that will not be due for ages.
pub(super) fn schedule(controller: &mut Host, count: u64) -> anyhow::Result<()> {
    let mut text = String::new();
    for at in 0..count {
        writeln!(text, "crank-{}: skip v1", 1_000_000_000 + at)?;
    }
    let mut set = DirectiveSet::default();
    set.read("bench", text.as_bytes()).map_err(|err| anyhow::anyhow!("schedule directives: {err:?}"))?;
    controller.set_directives(set, false)?;
    Ok(())
}

fn snapshot(size: Size, around: &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)> {
    const INTERVAL: u64 = 200;
    let every = |interval| {
        Live::steady(PING, HostOptions { snapshot_interval: Some(interval), ..HostOptions::default() }, size)
    };
    let (deliveries, ratio, difference) = beside(size, around, &mut every(INTERVAL)?, &mut every(0)?)?;
    let figures = vec![
        Figure::new("ratioToWithout", ratio, "×", None),
        Figure::new("nsPerSnapshot", difference * INTERVAL as f64, "ns", None),
    ];
    Ok((Some(deliveries), figures))
}

/// Steps of the guests' loop for some 20 µs.
const STEPS: u64 = 10_000;

fn parallel(size: Size, around: &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)> {
    let on = |threads, steps, size: Size| {
        let options = HostOptions { threads: NonZeroUsize::new(threads), ..HostOptions::default() };
        Live::steady(Load::work(size.vats(1_000), steps), options, size)
    };
    let mut figures = Vec::new();
    let mut first = None;
    for (name, ahead, steps, part) in
        [("speedUp20us", "ahead20us", STEPS, 20), ("speedUp200us", "ahead200us", 10 * STEPS, 100)]
    {
        let size = Size {
            deliveries: (size.deliveries / part).max(200),
            cranks_per_block: size.cranks_per_block.min(1_000),
            ..size
        };
        let (mut with, mut without) = (on(2, steps, size)?, on(1, steps, size)?);
        let before = Speculations::of(&with.controller).used;
        let (deliveries, ratio, _) = beside(size, around, &mut with, &mut without)?;
        let used = Speculations::of(&with.controller).used - before;
        figures.push(Figure::new(name, 1.0 / ratio, "×", Some(Target::AtLeast(1.8))));
        // If it is far from one, guests that do nothing were measured.
        figures.push(Figure::new(ahead, used as f64 / deliveries.deliveries.max(1) as f64, "of all", None));
        first.get_or_insert(deliveries);
    }
    Ok((first, figures))
}

#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn latency(size: Size, around: &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)> {
    const BATCH: u64 = 20;
    let mut live = Live::steady(PING, HostOptions::default(), size)?;
    live.short_blocks();
    let dir = tempfile::tempdir().context("make a folder for commits")?;
    let mut floor = CommitFloor::new(dir.path())?;
    let (mut ratios, mut commits) = (Vec::new(), Vec::new());
    let blocks = (size.deliveries / 100).max(BATCH);
    machine::write_back();
    let deliveries = repeat(size, around, |_| {
        machine::forget_peak();
        let (mut all, mut written) = (Ran::default(), 0);
        while all.deliveries < blocks {
            let begun = Instant::now();
            for _ in 0..BATCH {
                floor.commit(&[7; 200])?;
            }
            let commit = per(begun.elapsed(), BATCH);
            let (before, made, took) = (machine::written(), all.deliveries, all.ns);
            while all.deliveries < made + BATCH {
                live.block(&mut all)?;
            }
            written += machine::written() - before;
            commits.push(commit);
            ratios.push((all.ns - took) / (all.deliveries - made) as f64 / commit);
        }
        Ok(live.result(all, written))
    })?;
    let figures = vec![
        Figure::new("ratioToCommit", median(ratios), "×", at_most(1.4)),
        Figure::new("nsPerCommit", median(commits), "ns", None),
    ];
    Ok((Some(deliveries), figures))
}

#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn replay(size: Size, around: &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)> {
    let mut live = Live::steady(PING, HostOptions { snapshot_interval: Some(0), ..HostOptions::default() }, size)?;
    let (mut ratios, mut again) = (Vec::new(), Vec::new());
    let deliveries = repeat(size, around, |_| {
        let lived = live.measure(size.deliveries)?;
        live.controller.evict_all();
        let begun = Instant::now();
        for vat in [VatId(1), VatId(2)] {
            live.controller.heap(vat)?;
        }
        let total: u64 = live.controller.report()?.vats.values().map(|it| it.deliveries).sum();
        let each = per(begun.elapsed(), total);
        ratios.push(lived.ns_per_delivery / each);
        again.push(each);
        Ok(lived)
    })?;
    let each = median(again);
    let figures = vec![
        Figure::new("liveToReplay", median(ratios), "×", Some(Target::AtLeast(3.0))),
        Figure::new("replayedPerSecond", 1e9 / each, "/s", Some(Target::AtLeast(1e6))),
    ];
    Ok((Some(deliveries), figures))
}

#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn open(size: Size, _: &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)> {
    let loads = [
        ("msToOpen10Vats", Load::fan(10), 20.0),
        ("msToOpen10000Vats", Load::fan(size.of(10_000)), 1_000.0),
        ("msToOpen10kObjects", Load::pair('o', size.of(10_000)), 20.0),
        ("msToOpen1MObjects", Load::pair('o', size.of(1_000_000)), 1_000.0),
    ];
    let mut figures = Vec::new();
    for (name, load, most) in loads {
        let dir = Live::steady(load, HostOptions::default(), size)?.into_dir();
        let mut took = Vec::new();
        for _ in 0..size.runs {
            let begun = Instant::now();
            let controller = Host::open(HostOptions { state: Some(dir.path().to_owned()), ..HostOptions::default() })?;
            took.push(per(begun.elapsed(), 1_000_000));
            drop(controller);
        }
        figures.push(Figure::new(name, median(took), "ms", at_most(most)));
    }
    Ok((None, figures))
}

#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn breakpoint(size: Size, _: &mut Around) -> anyhow::Result<(Option<Deliveries>, Vec<Figure>)> {
    let mut live = Live::steady(PING, HostOptions::default(), size)?;
    live.run(2 * size.of(100_000))?;
    let dir = live.into_dir();
    let mut took = Vec::new();
    for _ in 0..size.runs {
        let begun = Instant::now();
        let mut controller = Host::open(HostOptions { state: Some(dir.path().to_owned()), ..HostOptions::default() })?;
        controller.heap(VatId(1))?;
        took.push(per(begun.elapsed(), 1_000_000));
    }
    Ok((None, vec![Figure::new("msToBringUp", median(took), "ms", at_most(500.0))]))
}
