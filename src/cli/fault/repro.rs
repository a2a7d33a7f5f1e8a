use std::{
    fs,
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cli::{
        Exit, Output,
        debug::{DebugArgs, cmd_debug},
        fault::{HowArgs, campaign::runner_of, one},
        state,
    },
    lab::experiment::{Base, MARKER, Outcome, Token, copy_base},
};

/// Run an experiment again, from its token
///
/// The token holds the faults, the seed, where the base was found, and the campaign that it is of, whose limits and invariants are
/// part of the verdict; another base than the experiment's is refused, and so is a campaign that asks for something else by now.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault repro vf1-…
  vathost fault repro vf1-… --campaign vats/bank/kill-each.toml
  vathost fault repro vf1-… --base ./state --json
  vathost fault repro vf1-… --debug ./repro                     and stand before the fault, at the debugger's prompt
  vathost fault repro vf1-… --debug ./repro --commands script   or let it obey these commands")]
pub(crate) struct ReproArgs {
    /// The token
    token: Token,
    /// The base, where it is not to be found any more where it was
    #[arg(long, value_name = "STATE|SCENARIO")]
    base: Option<PathBuf>,
    #[command(flatten)]
    run: HowArgs,
    /// The campaign that it is of, where it is not to be found any more where it was, or is to be asked as it is now
    #[arg(long, value_name = "FILE")]
    campaign: Option<PathBuf>,
    /// Lay a copy of the base down in this new folder, and start the debugger there, just before the first fault
    ///
    /// The experiment's faults are in force in the debugger, and in every later `vathost debug` of the folder.
    /// Without a terminal or --commands, it only says how.
    #[arg(long, value_name = "DIR")]
    debug: Option<PathBuf>,
    /// What the debugger is to do, a command a line (`-` is stdin)
    #[arg(long, value_name = "FILE", requires = "debug")]
    commands: Option<PathBuf>,
    /// Print one JSON object: the line that a campaign would keep
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_repro(args: &ReproArgs, output: &Output) -> anyhow::Result<Exit> {
    let token = &args.token;
    if let Some(dir) = &args.debug {
        state::must_be_free(dir)?;
    }
    let (base, file) = (args.base.as_deref(), args.campaign.as_deref());
    let mut runner = runner_of(token, base, file, &args.run, output)?;
    let outcome = runner.run(&token.schedule, token.seed);
    let exit = one::say(&outcome, args.json, output)?;
    if let Some(dir) = &args.debug {
        debug(dir, runner.experiments().base(), &outcome, args, output)?;
    }
    Ok(exit)
}

/// Lays the base down as a state of its own, with the faults beside it, and stops just before the first of them.
fn debug(dir: &Path, base: &Base, outcome: &Outcome, args: &ReproArgs, output: &Output) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    copy_base(base, dir)?;
    fs::write(dir.join(MARKER), &outcome.token)?;
    fs::write(dir.join("faults"), format!("{}\n", outcome.faults))?;
    let crank = outcome.done.iter().filter_map(|it| it.crank).min();
    if args.commands.is_none() && !stdin().is_terminal() {
        let at = crank.map(|it| format!(" --at crank-{it}")).unwrap_or_default();
        output.note(format!("see it:  vathost debug --state {}{at}", dir.display()));
        return Ok(());
    }
    let debug = DebugArgs::before(dir, crank, &base.policy, args.commands.clone(), args.json);
    cmd_debug(debug, output).map(|_| ())
}
