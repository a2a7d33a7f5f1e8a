use clap::Args;

use crate::{
    cli::{Exit, Output, fault::OnceArgs, output::harmless},
    lab::experiment::{Class, Outcome},
};

/// Run one experiment
///
/// Exits with 1 where the host itself is at fault: HOST-CRASH, HOST-HANG, DURABILITY, DIVERGED.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault one vats/bank 'v2/delivery-3: terminate'
  vathost fault one ./state 'v12/delivery-1234: skip' 'v3/delivery every 7: delay 2 cranks' --json
  vathost fault one vats/bank 'commit-1: lose unsynced'
  vathost fault one --campaign vats/tally/lost-messages.toml 'v2/delivery-1: duplicate'")]
pub(crate) struct OneArgs {
    #[command(flatten)]
    once: OnceArgs,
    /// Print one JSON object: the line that a campaign would keep
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_one(args: &OneArgs, output: &Output) -> anyhow::Result<Exit> {
    let (mut runner, schedule, seed) = args.once.open(output)?;
    say(&runner.run(&schedule, seed), args.json, output)
}

/// Prints the outcome of one experiment, and returns the exit code.
pub(super) fn say(outcome: &Outcome, json: bool, output: &Output) -> anyhow::Result<Exit> {
    say_again(outcome, &format!("vathost fault repro {}", outcome.token), json, output)
}

/// Prints the outcome of one experiment, with the command that runs it again, and returns the exit code.
pub(super) fn say_again(outcome: &Outcome, again: &str, json: bool, output: &Output) -> anyhow::Result<Exit> {
    let exit = if outcome.class.is_ours() { Exit::Findings } else { Exit::Ok };
    if json {
        output.json(outcome)?;
        return Ok(exit);
    }
    let detail = outcome.detail.as_ref().map(|it| format!(": {}", harmless(it))).unwrap_or_default();
    output.line(format!("{}{detail}", outcome.label()))?;
    // If the host's process is gone, it is not known which places came.
    let untold = matches!(outcome.class, Class::HostCrash | Class::HostHang);
    for (at, fault) in outcome.faults.faults().enumerate() {
        let done = outcome.done.iter().find(|it| it.fault == at);
        let crank = |it: Option<u64>| it.map(|it| format!(" in crank {it}")).unwrap_or_default();
        let came = match done {
            None if untold => "what became of it went with its host".to_owned(),
            None => "its place never came".to_owned(),
            Some(it) => match &it.why_not {
                Some(why) => format!("nothing was done{}: {}", crank(it.crank), harmless(why)),
                None if it.times > 1 => format!("done{}, and {} more times", crank(it.crank), it.times - 1),
                None => format!("done{}", crank(it.crank)),
            },
        };
        output.line(format!("  {}: {came}", harmless(&fault.to_string())))?;
    }
    if let Some(crank) = outcome.deviated {
        output.line(format!("  the run deviates in crank {crank}"))?;
    }
    for it in &outcome.saw {
        output.line(format!("  saw {}", harmless(it)))?;
    }
    if !outcome.hurt.is_empty() {
        output.line(format!("  hurt: {}", outcome.hurt.join(", ")))?;
    }
    for step in &outcome.path {
        output.line(format!("    crank {}  {}  {}", step.crank, step.vat, step.what))?;
    }
    output.line(format!("  ended {} before crank {}", outcome.end, outcome.cranks))?;
    output.line(format!("  again: {}", harmless(again)))?;
    Ok(exit)
}
