use std::path::PathBuf;

use clap::Args;

use super::{figure_cells, warn_of_debug_build};
use crate::{
    bench,
    cli::{
        Exit, Output,
        output::{grouped, table},
        run::code_cache,
    },
    host::controller::BlockPolicy,
    lab::experiment::Base,
};

/// Measure how many experiments of fault injection run a second on one core, beside runs from the beginning
///
/// The same experiments run in each isolation, and some near the end of a long run; a run from the beginning is what each of them
/// would cost without checkpoints. `memoised` is a second round, with all that was remembered of the first.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench experiments
  vathost bench experiments --base vats/pingpong --json")]
pub(super) struct ExperimentsArgs {
    /// What they are made on: the folder of a state, or a scenario
    #[arg(long, value_name = "STATE|SCENARIO", default_value = "vats/bank")]
    base: PathBuf,
    /// A long run, of some 10,000 cranks
    #[arg(long, value_name = "STATE|SCENARIO", default_value = "vats/payments")]
    long: PathBuf,
    /// Cranks of a block
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_experiments(args: &ExperimentsArgs, output: &Output) -> anyhow::Result<Exit> {
    warn_of_debug_build(output);
    let policy = BlockPolicy { cranks: args.cranks_per_block, ..BlockPolicy::default() };
    let base = |path: &PathBuf| Base { path: path.clone(), policy, code_cache: code_cache() };
    let exe = std::env::current_exe()?;
    let mut told = |it: &str| output.note(format!("{it} …"));
    let rates = bench::experiments(&base(&args.base), &base(&args.long), &exe, &mut told)?;
    if args.json {
        output.json(&rates)?;
        return Ok(Exit::Ok);
    }
    output.line(format!(
        "{} experiments on a run of {} cranks; the long one has {}",
        grouped(rates.experiments),
        grouped(rates.golden_cranks),
        grouped(rates.long_cranks)
    ))?;
    output.line(table(&["", "measured", "target", ""], &[0, 3], rates.figures.iter().map(figure_cells)))?;
    Ok(Exit::Ok)
}
