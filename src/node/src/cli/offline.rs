//! Verbs on the home of a node that does not run: `undo` and `fork`.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;
use serde_json::json;
use vathost::{
    Host, HostOptions,
    host::staged::StagedHost,
    store::{Aside, Database},
};

use super::{Exit, Usage, log::short, output::Output, start::must_be_complete};
use crate::{
    home::Home,
    node,
    store::{SqliteStore, Store},
};

/// Take the last block back that the validator committed
///
/// The block stays decided: the next start executes it again, with the directives that are in force then. So this repairs a validator
/// that obeyed another line than the others. One block can be taken back, and no more.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vathost-node undo --home ./home")]
pub(super) struct UndoArgs {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_undo(args: &UndoArgs, output: &Output) -> anyhow::Result<Exit> {
    let home = Home::at(&args.home);
    must_be_complete(&home)?;
    let _lock = home.lock()?;
    let genesis = Arc::new(home.genesis()?);
    // The directives that are in force now may be those that the state is past: none are needed to take something back.
    let options = HostOptions { state: Some(home.state()), ..HostOptions::default() };
    let host = StagedHost::new(Host::open(options)?, true)?;
    let me = home.validator_key()?.address();
    let mut driver = crate::driver::Driver::new(host, SqliteStore::open(&home.records())?, genesis, me)?;
    let undone = driver.standing().height;
    driver.undo_last()?;
    let standing = driver.standing();
    let (height, hash) = (standing.height, standing.outcome.state_hash.to_string());
    if args.json {
        output.json(&json!({ "undone": undone, "height": height, "stateHash": hash }))?;
        return Ok(Exit::OK);
    }
    output.line(format!("block {undone} is taken back: at block {height}, state hash {}", short(&hash)))?;
    output.note(format!(
        "the next start executes block {undone} again, with the lines in {}",
        home.directives_file().display()
    ));
    Ok(Exit::OK)
}

/// Copy the state with the inputs of the next decided block, to look at it
///
/// After a kernel panic the state does not hold the inputs of the block that halted, since nothing of it is committed. The copy does:
/// there `vathost debug --at panic` comes to the place, and `vathost directives plan` tries the ways out. It goes its own way.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost-node fork --home ./home ./copy
  vathost-node fork --home ./home ./copy && vathost debug --state ./copy --at panic")]
pub(super) struct ForkArgs {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The folder of the copy, which must be absent or empty
    copy: PathBuf,
}

pub(super) fn cmd_fork(args: &ForkArgs, output: &Output) -> anyhow::Result<Exit> {
    let home = Home::at(&args.home);
    must_be_complete(&home)?;
    if Aside::is_taken(&args.copy) {
        let what = format!("`{}` exists, and something is in it", args.copy.display());
        return Err(Usage::new(what, "name a new folder: nothing is overwritten").into());
    }
    let aside = Aside::new(&args.copy)?;
    Database::copy(&home.state(), &aside.file())?;
    aside.place()?;
    for epitaph in epitaphs(&home)? {
        let name = epitaph.file_name().context("a file has a name")?.to_owned();
        std::fs::copy(&epitaph, args.copy.join(name))?;
    }
    let genesis = home.genesis()?;
    let store = SqliteStore::open(&home.records())?;
    let host =
        StagedHost::new(Host::open(HostOptions { state: Some(args.copy.clone()), ..HostOptions::default() })?, false)?;
    let height = host.info()?.height;
    let Some(decided) = store.decided(height + 1)? else {
        output.line(format!("{}: the state at block {height}; no later block is decided here", args.copy.display()))?;
        return Ok(Exit::OK);
    };
    let inputs = node::inputs_of(&decided.block, &store, &genesis)?;
    let count = inputs.len();
    host.into_open_block(&decided.block.header(), inputs, &genesis.policy())?;
    output.line(format!(
        "{}: the state at block {height}, and block {} open with its {count} inputs",
        args.copy.display(),
        height + 1
    ))?;
    Ok(Exit::OK)
}

/// Returns the reports of kernel panics beside the state.
fn epitaphs(home: &Home) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(home.state())? {
        let path = entry?.path();
        let is_epitaph = path.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.starts_with("panic"));
        if is_epitaph {
            found.push(path);
        }
    }
    Ok(found)
}
