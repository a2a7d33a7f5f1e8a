use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;

use super::{plot::spark, warn_of_debug_build};
use crate::{
    bench::{Life, LifeOptions, LifePoint, Load, life, svg},
    cli::{
        Exit, Output, Usage,
        output::{grouped, size, table},
    },
};

/// Measure what a state takes on the disk and in memory over a long life
///
/// Two vats send each other messages, and the state keeps only what they need (`keep = "needed"`). What the state takes should stay the same: for each
/// period the most is shown that its files, and the process, had at the end of a block. With --state the state is kept, and the same command
/// goes on from it, also after ^C.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench life
  vathost bench life store --deliveries 10000000 --svg life.svg
  vathost bench life --deliveries 100000000 --state ./old --json")]
pub(super) struct LifeArgs {
    /// What the vats do: ping, call, store, or gc, as the workloads of these names
    #[arg(default_value = "ping")]
    workload: String,
    /// Deliveries of the whole life
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    deliveries: u64,
    /// Periods into which the life is divided
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    periods: u64,
    /// Cranks of a block
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: u64,
    /// Keep the state in this folder, or go on from the one there
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Draw the curves into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn load(workload: &str) -> Result<Load, Usage> {
    let (letter, number) = match workload {
        "ping" => ('p', 10),
        "call" => ('c', 1),
        "store" => ('s', 10),
        "gc" => ('g', 1),
        _ => return Err(Usage::new(format!("`{workload}` is no life"), "there are: ping, call, store, gc")),
    };
    Ok(Load { letter, number, others: 1 })
}

pub(super) fn cmd_life(args: &LifeArgs, output: &Output) -> anyhow::Result<Exit> {
    warn_of_debug_build(output);
    let options = LifeOptions {
        load: load(&args.workload)?,
        deliveries: args.deliveries,
        periods: args.periods,
        cranks_per_block: args.cranks_per_block,
        state: args.state.clone(),
    };
    let life = life(&options, &mut |it| {
        let (disk, memory) = (size(it.disk_bytes), size(it.resident_bytes));
        output.detail(format!("{} deliveries: {disk} on the disk, {memory} of memory …", grouped(it.deliveries)));
    })?;
    if let Some(path) = &args.svg {
        fs::write(path, svg(&life.charts())).with_context(|| format!("write `{}`", path.display()))?;
    }
    match args.json {
        true => output.json(&life)?,
        false => show(&life, output)?,
    }
    Ok(Exit::Ok)
}

fn show(life: &Life, output: &Output) -> anyhow::Result<()> {
    let rows = life.points.iter().map(|it| {
        vec![
            grouped(it.deliveries),
            size(it.disk_bytes),
            size(it.resident_bytes),
            format!("{:.0}", it.cpu_ns_per_delivery),
        ]
    });
    output.line(table(&["deliveries", "disk", "memory", "ns of CPU a delivery"], &[], rows))?;
    let drawn = |of: fn(&LifePoint) -> u64| spark(&life.points.iter().map(|it| of(it) as f64).collect::<Vec<_>>());
    output.line(format!("disk {}  memory {}", drawn(|it| it.disk_bytes), drawn(|it| it.resident_bytes)))?;
    Ok(())
}
