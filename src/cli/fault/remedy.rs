use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output,
        host::{PolicyArgs, bundles_of, host_file},
        last_panic::LastPanic,
        named::StateArgs,
        output::{harmless, table},
        run::code_cache,
        state,
    },
    inspect::plan::TrialSettings,
    lab::experiment::{self, Remedies},
    lab::probe::{Life, PlantedBug, PlantedBugs},
    store::Overlay,
};

/// At a kernel panic, try every way to go on, and rank them
///
/// Runs the state, which is only read: to the panic, and on with each of skip, terminate, pause, and an upgrade to each `--bundle`. First come
/// those after which the run goes on with every invariant of the kernel kept, and of these the ones that touch the fewest vats and
/// reject the fewest results. The lines are for the directive file.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault remedy ./state
  vathost fault remedy ./state --bundle 41d0c7e2 --blocks 20 --json | jq -r '.remedies[0].line'")]
pub(crate) struct RemedyArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Code to upgrade to: the beginning of a bundle's hash; the state must hold it
    #[arg(long, value_name = "HEX")]
    bundle: Vec<String>,
    /// Blocks to run at the most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    blocks: u64,
    /// The directives that the host obeys; otherwise those of its host.toml, or those that it had when it panicked
    #[arg(long, value_name = "FILE")]
    directives: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// A bug that is planted in the host, too
    #[arg(long, value_name = "NAME@crank-N")]
    plant: Vec<PlantedBug>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_remedy(args: &RemedyArgs, output: &Output) -> anyhow::Result<Exit> {
    state::must_exist(&args.state)?;
    let (host, state) = (host_file(Some(&args.state))?, Overlay::over(&args.state)?);
    let last_panic = LastPanic::beside(&args.state, &state.open()?)?;
    let (policy, plants) = (last_panic.policy(&args.policy, &host), last_panic.plants(&args.plant)?);
    let directives = last_panic.directives(args.directives.as_deref(), &host)?;
    last_panic.say(&policy, &plants, &directives, output);
    let bundles = bundles_of(&host, &[])?;
    let trial = TrialSettings {
        policy,
        blocks: args.blocks,
        probe: PlantedBugs::probe(&plants, Life::Dear),
        directives,
        bundles,
        code_cache: code_cache(),
        audit: Some(1),
    };
    let (panic, remedies) = match experiment::remedies(&state, &trial, &args.bundle)? {
        Remedies::NoPanic => {
            if args.json {
                output.json(&json!({ "panic": null, "remedies": [] }))?;
            } else {
                output.line(format!("the kernel does not panic within {} blocks: nothing to remedy", args.blocks))?;
            }
            return Ok(Exit::Ok);
        }
        Remedies::Panic(panic, remedies) => (panic, remedies),
    };
    let found = remedies.iter().any(|it| it.holds);
    let exit = if found { Exit::Ok } else { Exit::Findings };
    if args.json {
        output.json(&json!({ "panic": panic, "remedies": remedies }))?;
        return Ok(exit);
    }
    output.line(harmless(&panic))?;
    output.line("")?;
    let rows = remedies.iter().enumerate().map(|(at, it)| {
        let end = match (it.holds, &it.outcome.why) {
            (true, _) => it.outcome.end.to_owned(),
            (false, Some(why)) => format!("{}: {}", it.outcome.end, harmless(why)),
            (false, None) => it.outcome.end.to_owned(),
        };
        vec![(at + 1).to_string(), it.line.clone(), it.vats.to_string(), it.rejected.to_string(), end]
    });
    output.line(table(&["", "line", "vats", "rejected", "the run"], &[1, 4], rows))?;
    Ok(exit)
}
