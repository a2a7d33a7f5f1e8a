use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;

use super::{SizeArgs, plot::spark, warn_of_debug_build};
use crate::{
    bench::{growth, svg},
    cli::{
        Exit, Output,
        output::{grouped, table},
    },
};

/// Measure what a delivery costs where there are more vats, objects, queued messages, past deliveries, directives
///
/// It should cost the same: the last column says how many times the cheapest point the dearest is.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench growth --svg growth.svg
  vathost bench growth --quick --json")]
pub(super) struct GrowthArgs {
    #[command(flatten)]
    size: SizeArgs,
    /// Draw the curves into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_growth(args: &GrowthArgs, output: &Output) -> anyhow::Result<Exit> {
    warn_of_debug_build(output);
    let growth = growth(args.size.size(), &mut |it| output.note(format!("{it} …")))?;
    if let Some(path) = &args.svg {
        fs::write(path, svg(&growth.charts())).with_context(|| format!("write `{}`", path.display()))?;
    }
    if args.json {
        output.json(&growth)?;
        return Ok(Exit::Ok);
    }
    let mut rows = Vec::new();
    for curve in &growth.curves {
        let ratios: Vec<_> = curve.points.iter().map(|it| it.ratio_to_floor).collect();
        let mut last = [spark(&ratios), format!("{:.2}", curve.spread())];
        for (at, point) in curve.points.iter().enumerate() {
            let [drawn, spread] = if at + 1 == ratios.len() { std::mem::take(&mut last) } else { Default::default() };
            rows.push(vec![
                curve.name.to_owned(),
                grouped(point.of),
                format!("{:.0}", point.ns_per_delivery),
                format!("{:.1}", point.ratio_to_floor),
                drawn,
                spread,
            ]);
        }
    }
    output.line(table(&["", "", "ns a delivery", "× bare send", "", "dearest / cheapest"], &[0, 4], rows))?;
    Ok(Exit::Ok)
}
