//! `pause`, `resume`, `terminate`, `install`, `upgrade`: acts of an administrator, on a state at rest or on a running host.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

#[cfg(feature = "serve")]
use crate::cli::running::RunningHost;
use crate::{
    cli::{
        Exit, Output, Usage, complete,
        named::find_vat,
        output::harmless,
        run::{self, Begun, RunArgs},
        state,
    },
    host::{
        controller::{Outcome, VatAct, expired},
        scenario::Scenario,
    },
    model::body,
};

/// Pause a vat: it receives nothing until it is resumed
///
/// An input of the next block, recorded and replayed like any other; every replica must be given the same. Where a host serves the
/// state, that host does it. A directive does the same at an exact crank.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost pause ./state bank --reason 'waiting for patch 12'")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    at: VatArgs,
    /// The reason, which is kept
    #[arg(long, value_name = "TEXT", default_value = "paused by the administrator")]
    reason: String,
}

/// Resume a vat that is paused: it receives what waited for it
///
/// An input of the next block, recorded and replayed like any other; every replica must be given the same.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost resume ./state bank")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    at: VatArgs,
}

/// End a vat
///
/// What it decided is rejected, with the reason; its objects are gone. An input of the next block, recorded and replayed like any other;
/// every replica must be given the same.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost terminate ./state bank --reason 'out of business'")]
pub(crate) struct TerminateArgs {
    #[command(flatten)]
    at: VatArgs,
    /// The reason, which is kept
    #[arg(long, value_name = "TEXT", default_value = "terminated by the administrator")]
    reason: String,
}

#[derive(Args, Debug)]
struct VatArgs {
    /// The folder of the state
    #[arg(value_name = "DIR")]
    state: PathBuf,
    /// The vat: its number or its name
    #[arg(add = complete::vat())]
    vat: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Give a state those vats of a scenario that it has not, and the messages to them
///
/// As `run --add`, but nothing is run at rest; a running host goes on with them at once.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost install ./state vats/bank")]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    at: ScenarioArgs,
}

/// Upgrade the vats of a state whose code is another in a scenario
///
/// Each gets a new incarnation; where that does not start, the vat goes on as it was.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost upgrade ./state vats/bank")]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    at: ScenarioArgs,
}

#[derive(Args, Debug)]
struct ScenarioArgs {
    /// The folder of the state
    #[arg(value_name = "DIR")]
    state: PathBuf,
    /// A `vat.toml`, or the folder that holds it
    scenario: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_pause(args: PauseArgs, output: &Output) -> anyhow::Result<Exit> {
    let act = json!({ "act": "pause", "vat": args.at.vat, "reason": args.reason });
    act_on(&args.at, &act, VatAct::Pause(args.reason), "paused", output)
}

pub(crate) fn cmd_resume(args: ResumeArgs, output: &Output) -> anyhow::Result<Exit> {
    let act = json!({ "act": "resume", "vat": args.at.vat });
    act_on(&args.at, &act, VatAct::Resume, "resumed", output)
}

pub(crate) fn cmd_terminate(args: TerminateArgs, output: &Output) -> anyhow::Result<Exit> {
    let act = json!({ "act": "terminate", "vat": args.at.vat, "reason": args.reason });
    act_on(&args.at, &act, VatAct::Terminate(args.reason), "terminated", output)
}

/// Asks the host that runs this state, and returns its answer; `None` if no host runs it.
pub(super) fn ask_running(state: &Path, path: &str, what: &Value) -> anyhow::Result<Option<Value>> {
    #[cfg(feature = "serve")]
    if let Some(host) = RunningHost::of(state) {
        return host.ask(path, what).map(Some);
    }
    let _ = (path, what);
    state::must_exist(state).map(|()| None)
}

/// Opens a state at rest, as `run` does.
fn at_rest(state: &Path, output: &Output) -> anyhow::Result<Begun> {
    run::begin(&RunArgs::of_state(state, None, None, None, false), None, output)
}

fn act_on(at: &VatArgs, asked: &Value, act: VatAct, done: &str, output: &Output) -> anyhow::Result<Exit> {
    let vat = match ask_running(&at.state, "/control/vat", asked)? {
        Some(answer) => answer["vat"].as_str().unwrap_or_default().to_owned(),
        None => {
            let Begun { mut controller, policy, .. } = at_rest(&at.state, output)?;
            let vat = find_vat(controller.block()?.tables(), &at.vat)?;
            let hint = "`vathost inspect DIR vats` lists the vats";
            controller.administrate(vat, act).map_err(|fault| Usage::new(fault.why.clone(), hint))?;
            controller.take_in(&policy)?;
            vat.to_string()
        }
    };
    if at.json {
        output.json(&json!({ "vat": vat, "done": done }))?;
    } else {
        output.line(format!("{done} {vat} ({})", harmless(&at.vat)))?;
    }
    Ok(Exit::Ok)
}

fn absolute(path: &Path) -> anyhow::Result<Value> {
    Ok(json!({ "scenario": std::path::absolute(path)? }))
}

pub(crate) fn cmd_install(args: InstallArgs, output: &Output) -> anyhow::Result<Exit> {
    let at = args.at;
    let added: Vec<String> = match ask_running(&at.state, "/control/install", &absolute(&at.scenario)?)? {
        Some(answer) => serde_json::from_value(answer["added"].clone())?,
        None => {
            let Begun { mut controller, policy, .. } = at_rest(&at.state, output)?;
            controller.add(&Scenario::read(&at.scenario)?, &policy)?
        }
    };
    if at.json {
        output.json(&json!({ "added": added }))?;
    } else if added.is_empty() {
        output.line("the state has all vats of this scenario: nothing is added")?;
    } else {
        output.line(format!("added {}", harmless(&added.join(", "))))?;
    }
    Ok(Exit::Ok)
}

pub(crate) fn cmd_upgrade(args: UpgradeArgs, output: &Output) -> anyhow::Result<Exit> {
    let at = args.at;
    let upgraded = match ask_running(&at.state, "/control/upgrade", &absolute(&at.scenario)?)? {
        Some(answer) => serde_json::from_value(answer["upgraded"].clone())?,
        None => upgrade_at_rest(&at, output)?,
    };
    let is_as_before = |it: &Value| it["status"] != "upgraded";
    if at.json {
        output.json(&json!({ "upgraded": upgraded }))?;
    } else if upgraded.is_empty() {
        output.line("every vat runs the code that the scenario has: nothing is upgraded")?;
    } else {
        for it in &upgraded {
            let word = |key: &str| harmless(it[key].as_str().unwrap_or_default());
            let reason = it["reason"].as_str().map(|it| format!(": {}", harmless(it))).unwrap_or_default();
            output.line(format!("{} {}{reason}", word("vat"), word("status")))?;
        }
    }
    Ok(if upgraded.iter().any(is_as_before) { Exit::Findings } else { Exit::Ok })
}

/// Upgrades the vats of a state that nobody runs, and runs it until nothing is left to do.
fn upgrade_at_rest(at: &ScenarioArgs, output: &Output) -> anyhow::Result<Vec<Value>> {
    let mut begun = at_rest(&at.state, output)?;
    let queued = begun.controller.upgrade(&Scenario::read(&at.scenario)?, &begun.policy)?;
    run::go_on(&mut begun, &RunArgs::of_state(&at.state, None, None, None, false), None, output)?;
    let mut upgraded = Vec::new();
    for (vat, sent) in queued {
        let (status, reason) = match begun.controller.outcome(sent)? {
            Outcome::Fulfilled(_) => ("upgraded", None),
            Outcome::Rejected(data) => ("as before", Some(body::text_of(&data.body))),
            Outcome::Expired(blocks) => ("expired", Some(expired(blocks))),
            Outcome::Pending => ("pending", None),
        };
        upgraded.push(json!({ "vat": vat.to_string(), "status": status, "reason": reason }));
    }
    Ok(upgraded)
}
