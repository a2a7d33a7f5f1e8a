//! `prune`: gives back the disk space that a state does not use.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{Exit, Output, administer::ask_running, output::size, run},
    store::{Compacted, Database},
};

/// Give back the disk space that a state does not use
///
/// Rows that are gone leave pages behind, and the log of the last blocks is kept beside the file. Both are given back to the disk. No row
/// is changed, and no hash. A host that runs the state does it between two blocks, and answers nobody meanwhile: a second for some
/// hundred megabytes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost prune ./state
  vathost prune ./state --json | jq .bytesAfter")]
pub(crate) struct PruneArgs {
    /// The folder of the state
    #[arg(value_name = "DIR")]
    state: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_prune(args: PruneArgs, output: &Output) -> anyhow::Result<Exit> {
    let Compacted { bytes_before, bytes_after, is_held } = match ask_running(&args.state, "/control/prune", &json!({}))?
    {
        Some(answer) => serde_json::from_value(answer)?,
        None => {
            // Its host holds the lock meanwhile.
            let _begun = run::begin(&run::RunArgs::of_state(&args.state, None, None, None, false), None, output)?;
            Database::compact(&args.state)?
        }
    };
    if is_held {
        output.warn("somebody reads the state as it was before: its log could not be given back");
    }
    if args.json {
        output.json(&Compacted { bytes_before, bytes_after, is_held })?;
    } else {
        output.line(format!("{} before, {} now", size(bytes_before), size(bytes_after)))?;
    }
    Ok(Exit::Ok)
}
