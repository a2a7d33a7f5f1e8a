use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output,
        fault::{OnceArgs, one},
        output::grouped,
    },
    lab::experiment,
};

/// Make a schedule of faults as small as it can be and still come to the same
///
/// Faults are left out, actions become weaker, numbers simpler, places later, as long as the class of the outcome, the invariant
/// that it names, and who is hurt stay what they are.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault shrink vats/bank 'v2/delivery-3: terminate' 'v3/delivery every 2: skip' 'crank-20: delay 5 cranks'
  vathost fault shrink ./state \"$(cat found.faults)\" --json
  vathost fault shrink --campaign nightly.toml 'v2/delivery-3: skip' 'v3/delivery-1: skip'   and keep the invariant broken
  vathost fault shrink vf2-…                                                                  the same, of a token")]
pub(crate) struct ShrinkArgs {
    #[command(flatten)]
    once: OnceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_shrink(args: &ShrinkArgs, output: &Output) -> anyhow::Result<Exit> {
    let (mut runner, schedule, seed) = args.once.open(output)?;
    let shrunk = experiment::shrink(&schedule, &mut |it| runner.run(it, seed));
    if args.json {
        output.json(&json!({
            "faults": shrunk.schedule,
            "from": schedule,
            "experiments": shrunk.runs,
            "outcome": shrunk.outcome,
        }))?;
        return Ok(Exit::Ok);
    }
    let count = |it: usize| grouped(it as u64);
    output.note(format!(
        "{} faults shrunk to {} by {} experiments",
        count(schedule.len()),
        count(shrunk.schedule.len()),
        count(shrunk.runs)
    ));
    one::say(&shrunk.outcome, false, output)?;
    Ok(Exit::Ok)
}
