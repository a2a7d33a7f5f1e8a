use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{Exit, Output, named::state_and, output::size, progress::Progress, state},
    inspect::verify,
    store::{Aside, Overlay},
};

/// Copy a state, also while a host runs it
///
/// The copy is the state as of its last committed block, and goes its own way from there. All of it is proved before it appears:
/// a damaged state has no copy. Where the file system can (Btrfs, XFS), the two share what neither changes; elsewhere the state
/// is written a second time, and the command says before how much that is.
#[derive(Args, Debug)]
#[command(
    override_usage = "vathost fork [OPTIONS] DIR COPY\n       vathost fork [OPTIONS] --state DIR COPY",
    after_help = "\
Examples:
  vathost fork ./state ./what-if
  vathost fork ./state ./mended --without-snapshots             where a snapshot is damaged
  vathost fork ./state ./what-if && vathost run --state ./what-if --blocks 10"
)]
pub(crate) struct ForkArgs {
    /// The folder of the state
    #[arg(value_name = "DIR")]
    first: Option<PathBuf>,
    /// The folder of the copy, which must be absent or empty
    #[arg(value_name = "COPY")]
    second: Option<PathBuf>,
    /// The folder of the state, instead of the first word
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Leave the snapshots of the vats' heaps out: they come back by replay, as they were
    #[arg(long)]
    without_snapshots: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_fork(args: ForkArgs, output: &Output) -> anyhow::Result<Exit> {
    let given = [args.first.as_deref(), args.second.as_deref()];
    let [dir, copy] = state_and(args.state.as_deref(), given, ["DIR", "COPY"], "fork")?;
    state::must_exist(&dir)?;
    state::must_be_free(&copy)?;
    // Also refuses what is no state, or another version's.
    let overlay = Overlay::over(&dir)?;
    let aside = Aside::new(&copy)?;
    clean_up_on_interrupt(&aside)?;
    let shared = overlay.share(&aside.file())?;
    let written = shared.unwrap_or(overlay.state_bytes());
    if shared.is_none() {
        output.note(format!("writes {}: this file system has no copies that share", size(written)));
        let progress = Progress::new(output, "copying", "bytes");
        overlay.write_to(&aside.file(), &mut |done, total| progress.set(done, total))?;
        progress.finish();
    }
    drop(overlay);
    if args.without_snapshots {
        aside.forget_snapshots()?;
    }
    verify::prove(&aside.open()?)?;
    aside.place()?;
    let block = state::block(&copy)?;
    let (height, meta) = (block.tables().globals().height.0, block.meta());
    let (hash, digest) = (meta.state_hash.to_string(), meta.digest.to_string());
    if args.json {
        let object = json!({ "state": copy, "height": height, "stateHash": hash, "stateDigest": digest,
            "writtenBytes": written, "shares": shared.is_some() });
        output.json(&object)?;
    } else {
        output.line(format!("{}: a copy of `{}` at height {height}", copy.display(), dir.display()))?;
        output.line(format!("state hash   {hash}"))?;
    }
    Ok(Exit::Ok)
}

/// Has ^C remove what was written of the copy, and end the process.
fn clean_up_on_interrupt(aside: &Aside) -> anyhow::Result<()> {
    let folder = aside.folder().to_owned();
    ctrlc::set_handler(move || {
        // Twice: a file may be made in it meanwhile. It is not there if the copy was put in its place by now: then it is complete.
        for _ in 0..2 {
            let _ = std::fs::remove_dir_all(&folder);
        }
        std::process::exit(Exit::Interrupted as i32);
    })
    .context("install a handler for ^C")
}
