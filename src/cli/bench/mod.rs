mod amplification;
mod experiments;
mod growth;
mod instructions;
mod life;
mod memory;
mod plot;
mod scale;
mod siege;
mod soak;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use self::{
    amplification::{AmplificationArgs, cmd_amplification},
    experiments::{ExperimentsArgs, cmd_experiments},
    growth::{GrowthArgs, cmd_growth},
    instructions::{InstructionsArgs, cmd_instructions},
    life::{LifeArgs, cmd_life},
    memory::{MemoryArgs, cmd_memory},
    scale::{ScaleArgs, cmd_scale},
    siege::{SiegeArgs, cmd_siege},
    soak::{SoakArgs, cmd_soak},
};
use crate::{
    bench::{self, Deliveries, Figure, Measured, RatioChange, Results, Size, Target, WORKLOADS, Workload},
    cli::{
        Exit, Output, Usage,
        output::{grouped, size, table},
        run::code_cache,
    },
    host::scenario::Scenario,
    model::files,
    vat::FloorKind,
};

/// Measure what a delivery costs, beside what it costs on bare wasmtime in the same run
///
/// Everything is on: metering, c-lists, transcripts, hashes, and one durable commit a block. What is shown are medians of the runs; where
/// the machine is busy or noisy, only the ratios mean something. The workloads, without --all those that take seconds:
/// ping, call, store, reads, fanout, gc, slog, latency, replay, open, breakpoint, directives, snapshot, parallel.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  vathost bench
  vathost bench ping call --deliveries 1000000 --json
  vathost bench --all --runs 5 --save results.json
  vathost bench ping --compare results.json
  vathost bench --scenario vats/bank
  vathost bench growth --svg growth.svg"
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    /// Which workloads
    workloads: Vec<String>,
    /// All of them, large states included: takes minutes
    #[arg(long, conflicts_with = "workloads")]
    all: bool,
    /// Run each workload once, with nothing beside it, and measure nothing: for a profiler
    #[arg(long, conflicts_with_all = ["compare", "save", "json"])]
    once: bool,
    /// A scenario of your own: its vat.toml, or the folder that holds it
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    size: SizeArgs,
    /// Compare with a result that was saved; exit 1 where a ratio is worse by more than a tenth
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Keep the result in a file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How large a measurement is to be.
#[derive(Args, Debug)]
struct SizeArgs {
    /// Runs: the median of them counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Deliveries of a run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    deliveries: Option<u64>,
    /// Cranks of a block
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: Option<u64>,
    /// Vats to which one vat sends, at most: in fanout and parallel
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    vats: Option<u64>,
    /// A hundredth of the deliveries, vats and objects: a look, and no measurement
    #[arg(long)]
    quick: bool,
}

impl SizeArgs {
    fn size(&self) -> Size {
        let full = Size::default();
        let less = |full: u64| if self.quick { full / 100 } else { full };
        Size {
            deliveries: self.deliveries.unwrap_or_else(|| less(full.deliveries)),
            cranks_per_block: self.cranks_per_block.unwrap_or_else(|| less(full.cranks_per_block)),
            runs: self.runs.into(),
            quick: self.quick,
            vats_max: self.vats,
        }
    }
}

#[derive(Subcommand, Debug)]
enum BenchCommand {
    Amplification(AmplificationArgs),
    Experiments(ExperimentsArgs),
    Growth(GrowthArgs),
    Instructions(InstructionsArgs),
    Life(LifeArgs),
    Memory(MemoryArgs),
    Scale(ScaleArgs),
    Siege(SiegeArgs),
    Soak(SoakArgs),
}

/// The workloads that run if none is named.
const SHORT: [&str; 5] = ["ping", "call", "store", "gc", "replay"];

fn find(name: &str) -> Result<Workload, Usage> {
    let known = WORKLOADS.iter().find(|it| it.name == name).cloned();
    known.ok_or_else(|| {
        let names: Vec<_> = WORKLOADS.iter().map(|it| format!("{} ({})", it.name, it.about)).collect();
        Usage::new(format!("there is no workload `{name}`"), format!("there are: {}", names.join(", ")))
    })
}

impl BenchArgs {
    fn workloads(&self) -> anyhow::Result<Vec<Workload>> {
        let mut workloads = match (self.all, &self.workloads[..], &self.scenario) {
            (true, ..) => WORKLOADS.to_vec(),
            (_, [], None) => SHORT.iter().map(|it| find(it)).collect::<Result<_, _>>()?,
            (_, names, _) => names.iter().map(|it| find(it)).collect::<Result<_, _>>()?,
        };
        if let Some(path) = &self.scenario {
            workloads.push(bench::scenario(&path.display().to_string(), Scenario::read(path)?));
        }
        Ok(workloads)
    }
}

pub(crate) fn cmd_bench(args: BenchArgs, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Some(BenchCommand::Amplification(args)) => return cmd_amplification(args, output),
        Some(BenchCommand::Experiments(args)) => return cmd_experiments(args, output),
        Some(BenchCommand::Growth(args)) => return cmd_growth(args, output),
        Some(BenchCommand::Instructions(args)) => return cmd_instructions(args, output),
        Some(BenchCommand::Life(args)) => return cmd_life(args, output),
        Some(BenchCommand::Memory(args)) => return cmd_memory(args, output),
        Some(BenchCommand::Scale(args)) => return cmd_scale(args, output),
        Some(BenchCommand::Siege(args)) => return cmd_siege(args, output),
        Some(BenchCommand::Soak(args)) => return cmd_soak(args, output),
        None => (),
    }
    let workloads = args.workloads()?;
    let before = args.compare.as_deref().map(read).transpose()?;
    if args.once {
        workloads.iter().try_for_each(|it| it.run_once(args.size.size(), code_cache()))?;
        return Ok(Exit::Ok);
    }
    warn_of_debug_build(output);
    let results = bench::run(&workloads, args.size.size(), &mut |name| output.note(format!("{name} …")))?;
    if let Some(path) = &args.save {
        let text = serde_json::to_string_pretty(&results)? + "\n";
        fs::write(path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    let changes = before.as_ref().map(|it| bench::compare(it, &results));
    if let (Some(path), Some([])) = (&args.compare, changes.as_deref()) {
        let what = format!("`{}` has no workload in common with this run", path.display());
        return Err(Usage::new(what, "name the workloads that it holds").into());
    }
    let regressed = changes.iter().flatten().any(|it| it.regressed);
    if args.json {
        let mut object = serde_json::to_value(&results)?;
        if let Some(changes) = &changes {
            object["changes"] = json!(changes);
        }
        output.json(&object)?;
    } else {
        show(&results, changes.as_deref(), output)?;
    }
    Ok(if regressed { Exit::Findings } else { Exit::Ok })
}

/// Warns that the figures of a build without optimisation mean nothing.
fn warn_of_debug_build(output: &Output) {
    if cfg!(debug_assertions) {
        output.note("this is a debug build: its figures mean nothing");
    }
}

fn read(path: &Path) -> anyhow::Result<Results> {
    let wrong = |why: &dyn std::fmt::Display| {
        let what = format!("`{}` cannot be compared with: {why}", path.display());
        Usage::new(what, "give a file that `vathost bench --save` or `--json` wrote")
    };
    let text = files::read_text(path, files::RECORD_BYTES_MAX).map_err(|err| wrong(&err))?;
    Ok(serde_json::from_str(&text).map_err(|err| wrong(&err))?)
}

#[allow(clippy::cast_possible_truncation, reason = "for people: a fraction of a unit is no news")]
fn show(results: &Results, changes: Option<&[RatioChange]>, output: &Output) -> anyhow::Result<()> {
    let floors = [
        (FloorKind::Call.label(), results.floors.call.ns_per_delivery),
        (FloorKind::Send.label(), results.floors.send.ns_per_delivery),
    ];
    let bare = floors.map(|(name, ns)| {
        let cells = [name.to_owned(), format!("{ns:.0}"), grouped((1e9 / ns) as u64)];
        cells.into_iter().chain(std::iter::repeat_n(String::new(), 5)).collect()
    });
    let measured = results.workloads.iter().filter_map(|it| Some((it, it.deliveries.as_ref()?)));
    let rows = bare.into_iter().chain(measured.clone().map(|(it, deliveries)| row(it, deliveries)));
    let header = ["", "ns a delivery", "a second", "p50 / p99 ns", "fuel/s", "bytes a block", "peak", "× bare send"];
    output.line(table(&header, &[0], rows))?;
    let figures = results.workloads.iter().flat_map(|it| it.figures.iter().map(move |figure| (it, figure)));
    let row = |it: &Measured, figure| [vec![it.name.to_string()], figure_cells(figure)].concat();
    let rows: Vec<_> = figures.map(|(it, figure)| row(it, figure)).collect();
    if !rows.is_empty() {
        output.line("")?;
        output.line(table(&["", "", "measured", "target", ""], &[0, 1, 4], rows))?;
    }
    let bars: Vec<_> = measured.map(|(it, deliveries)| (it.name.as_ref(), deliveries.ratio_to_floor)).collect();
    if !bars.is_empty() {
        output.line("\ntimes a bare send, each mark of the scale ten times the one before")?;
        output.line(plot::bars(&bars))?;
    }
    if let Some(changes) = changes {
        output.line("")?;
        output.line(table(
            &["compared", "", "before", "now", "worse by", ""],
            &[0, 1, 5],
            changes.iter().map(change_row),
        ))?;
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "for people: a fraction of a unit is no news")]
fn row(it: &Measured, deliveries: &Deliveries) -> Vec<String> {
    vec![
        it.name.to_string(),
        format!("{:.0}", deliveries.ns_per_delivery),
        grouped(deliveries.deliveries_per_second as u64),
        format!("{:.0} / {:.0}", deliveries.p50_ns, deliveries.p99_ns),
        format!("{:.0} M", deliveries.fuel_per_second / 1e6),
        size(deliveries.bytes_per_block as u64),
        size(deliveries.peak_bytes),
        format!("{:.1}", deliveries.ratio_to_floor),
    ]
}

#[allow(clippy::cast_possible_truncation, reason = "for people: a fraction of a unit is no news")]
fn figure_cells(figure: &Figure) -> Vec<String> {
    let number = |value: f64| match value {
        0.0..10.0 => format!("{value:.2} {}", figure.unit),
        _ => format!("{} {}", grouped(value.round() as u64), figure.unit),
    };
    let target = figure.target.map_or(String::new(), |it| match it {
        Target::AtMost(limit) => format!("≤ {}", number(limit)),
        Target::AtLeast(limit) => format!("≥ {}", number(limit)),
    });
    let met = figure.met.map_or("", |it| if it { "met" } else { "missed" });
    vec![figure.name.to_string(), number(figure.value), target, met.to_owned()]
}

fn change_row(it: &RatioChange) -> Vec<String> {
    vec![
        it.workload.clone(),
        it.figure.clone(),
        format!("{:.2}", it.before),
        format!("{:.2}", it.after),
        format!("{:+.1}%", (it.worse - 1.0) * 100.0),
        if it.regressed { "regressed" } else { "" }.to_owned(),
    ]
}
