use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;

use super::warn_of_debug_build;
use crate::{
    bench::{ScaleCost, ScaleOptions, scale, svg},
    cli::{
        Exit, Output,
        output::{grouped, size, table},
    },
    host::scenario::Bytes,
};

/// Measure states of growing size: to open, to keep, to write, to read
///
/// A vat writes rows of a kilobyte, under scattered keys, until the state has 1 MB, 10 MB, and so on up to --size. At each the state is opened
/// anew, and the vat does nothing, overwrites rows, and reads rows: from all over it, and from a small part again and again. With --state the state is kept, and the same command goes
/// on from it, also after ^C.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench scale
  vathost bench scale --size 10GB --memory 256MiB --state ./large
  vathost bench scale --size 100MB --json | jq '.points[] | {bytes, msToOpen}'")]
pub(super) struct ScaleArgs {
    /// The size of the largest state
    #[arg(long, value_name = "SIZE", default_value = "1GB")]
    size: Bytes,
    /// What the host may take for heaps and rows, as in `256MiB` [default: half of this machine's memory]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
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

pub(super) fn cmd_scale(args: &ScaleArgs, output: &Output) -> anyhow::Result<Exit> {
    warn_of_debug_build(output);
    let options = ScaleOptions { to: args.size.0, memory: args.memory.map(|it| it.0), state: args.state.clone() };
    let scale = scale(&options, &mut |it| output.detail(format!("{it} …")))?;
    if let Some(path) = &args.svg {
        fs::write(path, svg(&scale.charts())).with_context(|| format!("write `{}`", path.display()))?;
    }
    if args.json {
        output.json(&scale)?;
        return Ok(Exit::Ok);
    }
    let cpu = |it: Option<ScaleCost>| it.map_or_else(|| "-".to_owned(), |it| format!("{:.1}", it.cpu_us));
    let rows = scale.points.iter().map(|it| {
        vec![
            size(it.bytes),
            grouped(it.rows),
            format!("{:.0}", it.disk_bytes_per_row),
            format!("{:.1}", it.ms_to_open),
            size(it.open_bytes),
            cpu(it.fill),
            cpu(Some(it.ping)),
            cpu(Some(it.store)),
            cpu(Some(it.read)),
            format!("{:.2}", it.file_reads_per_read),
            cpu(Some(it.hot_read)),
            cpu(it.hot_read_in_memory),
            size(it.peak_bytes),
        ]
    });
    let header = [
        "state",
        "rows",
        "disk a row",
        "ms to open",
        "memory",
        "fill",
        "ping",
        "store",
        "read",
        "from disk",
        "hot",
        "all in memory",
        "peak",
    ];
    output.line(table(&header, &[], rows))?;
    output.line("fill to hot, and hot with all in memory: µs of CPU for each row or delivery")?;
    Ok(Exit::Ok)
}
