//! Verbs on a home itself: `undo`, `fork`, `export`, `import`.

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
    genesis::Genesis,
    handover,
    home::Home,
    keys::Digest,
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

/// Write the state of a home to one file, from which another validator can begin
///
/// Also while the node runs. The file holds the last blocks, and the next one, whose certificate vouches for the state: `import` verifies
/// that. A node that does not run has no next block for its last one; then the file is good for whoever knows the state hash.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vathost-node export --home ./home bank.node")]
pub(super) struct ExportArgs {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The file, which must not exist
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_export(args: &ExportArgs, output: &Output) -> anyhow::Result<Exit> {
    let home = Home::at(&args.home);
    must_be_complete(&home)?;
    if args.file.symlink_metadata().is_ok() {
        let what = format!("`{}` exists", args.file.display());
        return Err(Usage::new(what, "name a new file: nothing is overwritten").into());
    }
    say_handover(&handover::export(&home, &args.file)?, args.json, output)
}

fn say_handover(handed_over: &handover::HandedOver, as_json: bool, output: &Output) -> anyhow::Result<Exit> {
    let handover::HandedOver { height, state_hash, signers } = handed_over;
    if as_json {
        output.json(&json!({ "height": height, "stateHash": state_hash, "signers": signers }))?;
        return Ok(Exit::OK);
    }
    let vouched = match signers {
        0 => "no later block vouches for it".to_owned(),
        count => format!("block {} vouches for it, with {count} signatures", height + 1),
    };
    output.line(format!("block {height}, state hash {state_hash}"))?;
    output.line(vouched)?;
    Ok(Exit::OK)
}

/// Take over a state that another validator exported
///
/// Everything is verified first, by the genesis: the certificates, the chain of blocks, the state and its hash. The home keeps its keys, its
/// directives and its log of what it signed; what it had of state and records is put into `before-import-N` there.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost-node import --home ./home bank.node
  vathost-node import --home ./home --genesis genesis.json bank.node       into a home that has no chain yet")]
pub(super) struct ImportArgs {
    /// The validator's home, which `init` made
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The file
    file: PathBuf,
    /// The genesis of the chain, where the home has none
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// The state hash, where no later block vouches for it and you know it from elsewhere
    #[arg(long, value_name = "HASH")]
    trust: Option<Digest>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_import(args: &ImportArgs, output: &Output) -> anyhow::Result<Exit> {
    let home = Home::at(&args.home);
    if !home.exists() {
        let what = format!("there is no home in `{}`", home.dir().display());
        return Err(Usage::new(what, "`vathost-node init --home DIR` makes one, with its keys").into());
    }
    let _lock = home.lock()?;
    if let Some(genesis) = &args.genesis {
        home.put_genesis(&Genesis::read(genesis)?)?;
    }
    if !home.genesis_file().exists() {
        let what = format!("the home in `{}` has no genesis, and only that can verify the file", home.dir().display());
        return Err(Usage::new(what, "give the chain's with --genesis").into());
    }
    say_handover(&handover::import(&home, &home.genesis()?, &args.file, args.trust.as_ref())?, args.json, output)
}
