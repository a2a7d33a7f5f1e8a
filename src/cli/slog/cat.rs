use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::Context;
use clap::Args;

use crate::{
    cli::{Exit, Output, slog::unreadable},
    slog::Reader,
};

/// Print a recording as JSON lines, whatever its format
///
/// The lines are those of SwingSet's slog files, one event each: what `--slog-format json` would have recorded.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog cat bank.vslog | jq 'select(.type == \"deliver\") | .kd'
  vathost slog cat bank.slog.zst > bank.slog")]
pub(crate) struct CatArgs {
    /// The recording
    file: PathBuf,
}

pub(crate) fn cmd_cat(args: CatArgs, output: &Output) -> anyhow::Result<Exit> {
    let mut reader = Reader::open(&args.file).map_err(unreadable)?;
    let mut out = BufWriter::new(output.stream());
    while let Some(line) = reader.next_line().map_err(unreadable)? {
        out.write_all(&line).context("write the lines")?;
    }
    out.flush().context("write the lines")?;
    Ok(Exit::Ok)
}
