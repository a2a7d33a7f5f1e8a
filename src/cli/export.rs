use std::{
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output, Usage,
        named::state_and,
        output::{grouped, size},
        progress::Progress,
        state,
    },
    inspect::{archive, verify},
};

/// Write a whole state to one compressed file
///
/// As of its last committed block, also while a host runs it. All of it is proved before it is written: nothing comes of a damaged
/// state. The file says what it holds, and `vathost import` checks all of it again.
#[derive(Args, Debug)]
#[command(
    override_usage = "vathost export [OPTIONS] DIR FILE\n       vathost export [OPTIONS] --state DIR FILE",
    after_help = "\
Examples:
  vathost export ./state bank.vathost
  vathost export ./state bank.vathost --json | jq .stateHash"
)]
pub(crate) struct ExportArgs {
    /// The folder of the state
    #[arg(value_name = "DIR")]
    first: Option<PathBuf>,
    /// The file, which must not exist
    #[arg(value_name = "FILE")]
    second: Option<PathBuf>,
    /// The folder of the state, instead of the first word
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_export(args: ExportArgs, output: &Output) -> anyhow::Result<Exit> {
    let given = [args.first.as_deref(), args.second.as_deref()];
    let [dir, out] = state_and(args.state.as_deref(), given, ["DIR", "FILE"], "export")?;
    let (name, exists) = (out.display(), out.symlink_metadata().is_ok());
    let taken = || Usage::new(format!("`{name}` exists"), "name a new file: nothing is overwritten");
    if exists {
        return Err(taken().into());
    }
    let database = state::folder(&dir)?;
    verify::prove(&database)?;
    let parent = out.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file =
        tempfile::NamedTempFile::new_in(parent).with_context(|| format!("write a file in `{}`", parent.display()))?;
    let progress = Progress::new(output, "exporting", "rows");
    let mut writer = BufWriter::new(file);
    let summary = archive::write(&database, &mut writer, &mut |done, total| progress.set(done, total))?;
    let file = writer.into_inner().map_err(|err| err.into_error()).context("write the archive")?;
    file.as_file().sync_all().context("write the archive")?;
    // The file appears complete or not at all, and replaces no other.
    file.persist_noclobber(&out).map_err(|err| match err.error.kind() {
        std::io::ErrorKind::AlreadyExists => taken().into(),
        _ => anyhow::Error::from(err.error).context(format!("write `{name}`")),
    })?;
    let elapsed = progress.finish();
    let head = &summary.head;
    if args.json {
        output.json(&json!({
            "file": &out, "bytes": summary.bytes, "rows": summary.rows, "rawBytes": summary.raw, "height": head.height,
            "stateHash": head.state_hash, "stateDigest": head.state_digest, "engine": head.engine, "scenario": head.scenario,
        }))?;
    } else {
        let (bytes, raw, rows) = (size(summary.bytes), size(summary.raw), grouped(summary.rows));
        let height = head.height;
        output
            .line(format!("{name}: {bytes} ({rows} rows of {raw}), height {height}, {:.1} s", elapsed.as_secs_f32()))?;
        output.line(format!("state hash   {}", head.state_hash))?;
        output.line(format!("state digest {}", head.state_digest))?;
    }
    Ok(Exit::Ok)
}
