//! `prune`: lets leave what a state is not to keep, and gives back the disk space that it does not use.

use std::{path::PathBuf, sync::atomic::Ordering};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cli::{
        Exit, Output,
        administer::ask_running,
        output::{counted, size},
        run,
    },
    state::{block::history, retention::Keep},
    store::{Compacted, Database},
};

/// Let the past leave that a state is not to keep, and give back the disk space that it does not use
///
/// With `--keep` (or `keep` in host.toml) the deliveries of the vats' transcripts that are not kept leave the state, for good: they cannot
/// be shown, replayed or compared any more. Without it nothing leaves but unused pages of the file and the log of the last blocks. With
/// `--archive` (or `archive_dir` there) they are written into files first, where `replay` and `verify` find them. No hash changes. A host that runs the state does it between two blocks, and answers nobody meanwhile: a second for some hundred
/// megabytes. It can be interrupted, and goes on where it was.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost prune ./state
  vathost prune ./state --keep needed                           all that no vat needs to come back
  vathost prune ./state --keep blocks=100000 --archive ./past   … which `vathost verify ./state --archive ./past` reads
  vathost prune ./state --json | jq .bytesAfter")]
pub(crate) struct PruneArgs {
    /// The folder of the state
    #[arg(value_name = "DIR")]
    state: PathBuf,
    /// How much of the transcripts to keep: `all`, `needed`, `blocks=N` or `days=N` [default: as host.toml says, or all]
    #[arg(long, value_name = "WHAT")]
    keep: Option<Keep>,
    /// Write what leaves into files in this folder first [default: as host.toml says, or none]
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was given back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivenBack {
    #[serde(flatten)]
    compacted: Compacted,
    deliveries_left: u64,
}

pub(crate) fn cmd_prune(args: PruneArgs, output: &Output) -> anyhow::Result<Exit> {
    let mut asked = json!({});
    if let Some(keep) = args.keep {
        asked["keep"] = keep.to_string().into();
    }
    if let Some(archive) = &args.archive {
        asked["archive"] = std::path::absolute(archive)?.to_string_lossy().into();
    }
    let given_back = match ask_running(&args.state, "/control/prune", &asked)? {
        Some(answer) => serde_json::from_value(answer)?,
        None => match prune_at_rest(&args, output)? {
            Some(given_back) => given_back,
            None => {
                output.note("interrupted; nothing is lost: run the same command to go on");
                return Ok(Exit::Interrupted);
            }
        },
    };
    let GivenBack { compacted: Compacted { bytes_before, bytes_after, is_held }, deliveries_left } = given_back;
    if is_held {
        output.warn("somebody reads the state as it was before: its log could not be given back");
    }
    if args.json {
        output.json(&given_back)?;
        return Ok(Exit::Ok);
    }
    if deliveries_left > 0 {
        output.line(format!("{} left", counted(deliveries_left, "delivery", "deliveries")))?;
    }
    output.line(format!("{} before, {} now", size(bytes_before), size(bytes_after)))?;
    Ok(Exit::Ok)
}

/// Does it as the host of the state, which holds its lock meanwhile; nothing where it was interrupted.
fn prune_at_rest(args: &PruneArgs, output: &Output) -> anyhow::Result<Option<GivenBack>> {
    let mut options = run::RunArgs::of_state(&args.state, None, None, None, false);
    options.keep = args.keep;
    options.archive.clone_from(&args.archive);
    let mut begun = run::begin(&options, None, output)?;
    let stop = run::on_interrupt(&begun.controller)?;
    let before = Database::bytes(&args.state);
    let mut goes_on = true;
    let left = history::prune(begun.controller.block_mut().map_err(|it| *it)?, None, None, &mut |left| {
        output.detail(format!("{} left so far", counted(left.deliveries, "delivery", "deliveries")));
        goes_on = stop.load(Ordering::Relaxed) == 0;
        goes_on
    });
    let left = left?;
    if !goes_on {
        return Ok(None);
    }
    let compacted = Compacted { bytes_before: before, ..Database::compact(&args.state)? };
    Ok(Some(GivenBack { compacted, deliveries_left: left.deliveries }))
}
