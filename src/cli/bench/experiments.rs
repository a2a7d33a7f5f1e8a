use std::path::PathBuf;

use clap::Args;

use crate::{
    bench,
    cli::{
        Exit, Output,
        output::{grouped, table},
        run::code_cache,
    },
    controller::Policy,
    experiment::Base,
};

/// Measure how many experiments of fault injection run a second on one core, beside runs from the beginning
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench experiments
  vathost bench experiments --base vats/pingpong --json")]
pub(super) struct ExperimentsArgs {
    /// What they are made on: the folder of a state, or a scenario
    #[arg(long, value_name = "STATE|SCENARIO", default_value = "vats/bank")]
    base: PathBuf,
    /// Cranks of a block
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_experiments(args: &ExperimentsArgs, output: &Output) -> anyhow::Result<Exit> {
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
