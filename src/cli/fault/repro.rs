use std::{
    fs,
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cli::{
        Exit, Output, Usage,
        debug::{DebugArgs, cmd_debug},
        fault::{HowArgs, campaign, one, runner},
        state,
    },
    lab::{
        campaign::Campaign,
        experiment::{Base, Build, MARKER, Outcome, Token, copy_base},
    },
};

/// Run an experiment again, from its token
///
/// The token holds the faults, the seed, and where the base was found; another base than the experiment's is refused.
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
    /// The campaign that it is of: its base's blocks, limits, replicas and invariants
    #[arg(long, value_name = "FILE")]
    campaign: Option<PathBuf>,
    /// Lay a copy of the base down in this new folder, and start the debugger there, just before the first fault
    ///
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
    let path = args.base.clone().unwrap_or_else(|| PathBuf::from(&token.path));
    if let Some(dir) = &args.debug {
        state::must_be_free(dir)?;
    }
    let mut runner = match &args.campaign {
        None => runner(&path, &args.run, output)?,
        Some(file) => {
            let base = args.base.clone();
            let campaign = campaign::read(file)?;
            let base = base.unwrap_or_else(|| campaign.base.clone());
            let campaign = Campaign { base, ..campaign };
            campaign::runner(
                &campaign,
                Build::current()?,
                args.run.isolation.parse().map_err(anyhow::Error::msg)?,
                output,
            )?
        }
    };
    if !token.is_of(runner.experiments().golden().base) {
        let what = format!("`{}` is not the base of this experiment, or its blocks are not the same", path.display());
        let hint = "name it with --base, and give --campaign, or --cranks-per-block as it was given then";
        return Err(Usage::new(what, hint).into());
    }
    if !token.is_by(Build::current()?) {
        output.note("warning: another build of vathost made this token: the outcome may be another");
    }
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
