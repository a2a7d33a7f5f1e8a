mod soak;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use self::soak::{SoakArgs, cmd_soak};
use crate::{
    bench::{self, EXPERIMENTS, WORKLOADS, Workload},
    cli::{
        Exit, Output, Usage,
        output::{grouped, size, table},
        run::code_cache,
    },
    controller::Policy,
    experiment::Base,
    vat::FloorKind,
};

/// Measure what a delivery costs, beside what it costs on bare wasmtime in the same run
///
/// Everything is on: metering, c-lists, transcripts, hashes, and one durable commit a block.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  vathost bench
  vathost bench call --rounds 1000000 --json
  vathost bench soak --blocks 5000"
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    /// Which; all of them if none is named
    workloads: Vec<String>,
    /// Messages that a workload is about
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    rounds: u32,
    /// Cranks of a block
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: u64,
    /// What `experiments` are made on: the folder of a state, or a scenario
    #[arg(long, value_name = "STATE|SCENARIO", default_value = "vats/bank")]
    base: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum BenchCommand {
    Soak(SoakArgs),
}

fn find(name: &String) -> Result<Workload, Usage> {
    let known = WORKLOADS.iter().find(|it| it.name == name).copied();
    let names: Vec<_> =
        WORKLOADS.iter().chain([&EXPERIMENTS]).map(|it| format!("{} ({})", it.name, it.about)).collect();
    known
        .ok_or_else(|| Usage::new(format!("there is no workload `{name}`"), format!("there are: {}", names.join(", "))))
}

fn experiments(args: &BenchArgs, output: &Output) -> anyhow::Result<Exit> {
    let policy = Policy { cranks: args.cranks_per_block, ..Policy::default() };
    let rates = bench::experiments(&Base { path: args.base.clone(), policy, code_cache: code_cache() })?;
    if args.json {
        output.json(&rates)?;
        return Ok(Exit::Ok);
    }
    let row = |name: &str, rate: u64| vec![name.to_owned(), grouped(rate)];
    output.line(format!("{} experiments on {} cranks", grouped(rates.experiments), grouped(rates.golden_cranks)))?;
    let rows = [
        row("from a checkpoint, rolled back", rates.rollback_per_second),
        row("the same, memoised", rates.memoised_per_second),
        row("a run from the beginning", rates.from_zero_per_second),
    ];
    output.line(table(&["", "a second"], &[0], rows))?;
    output.line(format!("{:.0} × as fast as from the beginning", rates.ratio_to_from_zero))?;
    Ok(Exit::Ok)
}

pub(crate) fn cmd_bench(args: BenchArgs, output: &Output) -> anyhow::Result<Exit> {
    if let Some(BenchCommand::Soak(args)) = args.command {
        return cmd_soak(&args, output);
    }
    if args.workloads.iter().any(|it| it == EXPERIMENTS.name) {
        return experiments(&args, output);
    }
    let mut workloads = args.workloads.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    if workloads.is_empty() {
        workloads = WORKLOADS.to_vec();
    }
    let floors = bench::floors()?;
    let mut measured = Vec::new();
    for workload in workloads {
        measured.push(bench::run(workload, args.rounds, args.cranks_per_block, &floors)?);
    }
    if args.json {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = json!({ "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "cores": cores });
        output.json(&json!({ "machine": machine, "floors": floors, "workloads": measured }))?;
        return Ok(Exit::Ok);
    }
    let per_second = |ns: u64| grouped(1_000_000_000 / ns.max(1));
    let bare = |name: &str, ns: u64| {
        let numbers = [ns.to_string(), per_second(ns)];
        [name.to_owned()].into_iter().chain(numbers).chain(std::iter::repeat_n(String::new(), 5)).collect()
    };
    let mut rows: Vec<Vec<String>> = vec![
        bare(FloorKind::Call.label(), floors.call.ns_per_delivery),
        bare(FloorKind::Send.label(), floors.send.ns_per_delivery),
    ];
    for it in &measured {
        rows.push(vec![
            it.name.to_owned(),
            it.ns_per_delivery.to_string(),
            per_second(it.ns_per_delivery),
            grouped(it.deliveries),
            format!("{} / {}", it.p50_ns, it.p99_ns),
            grouped(it.blocks),
            size(it.bytes_per_block),
            format!("{:.1}", it.ratio_to_floor),
        ]);
    }
    let header =
        ["", "ns a delivery", "deliveries/s", "deliveries", "p50 / p99 ns", "blocks", "bytes a block", "× bare send"];
    output.line(table(&header, &[0], rows))?;
    Ok(Exit::Ok)
}
