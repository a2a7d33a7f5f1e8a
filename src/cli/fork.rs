use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{Exit, Output, state},
    store::{Aside, Database},
    verify,
};

/// Copy a state, also while a host runs it
///
/// The copy is the state as of its last committed block, and goes its own way from there. All of it is proved before it appears:
/// a damaged state has no copy.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fork ./state ./what-if
  vathost fork ./state ./mended --without-snapshots             where a snapshot is damaged
  vathost fork ./state ./what-if && vathost run --state ./what-if --blocks 10")]
pub(crate) struct ForkArgs {
    /// The folder of the state
    state: PathBuf,
    /// The folder of the copy, which must be absent or empty
    copy: PathBuf,
    /// Leave the snapshots of the vats' heaps out: they come back by replay, as they were
    #[arg(long)]
    without_snapshots: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_fork(args: ForkArgs, output: &Output) -> anyhow::Result<Exit> {
    // Also refuses what is no state, or another version's.
    drop(state::folder(&args.state)?);
    state::must_be_free(&args.copy)?;
    let aside = Aside::new(&args.copy)?;
    Database::copy(&args.state, &aside.file())?;
    if args.without_snapshots {
        aside.forget_snapshots()?;
    }
    verify::prove(&aside.open()?)?;
    aside.place()?;
    let copy = state::block(&args.copy)?;
    let (height, meta) = (copy.tables().globals().height.0, copy.meta());
    let (hash, digest) = (meta.state_hash.to_string(), meta.digest.to_string());
    if args.json {
        let object = json!({ "state": args.copy, "height": height, "stateHash": hash, "stateDigest": digest });
        output.json(&object)?;
    } else {
        output.line(format!("{}: a copy of `{}` at height {height}", args.copy.display(), args.state.display()))?;
        output.line(format!("state hash   {hash}"))?;
    }
    Ok(Exit::Ok)
}
