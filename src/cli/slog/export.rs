use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    cli::{Exit, Output, slog::unreadable},
    inspect::recording::{ExportError, ExportFormat, Range, export},
};

/// Turn a recording into what other tools open: a trace for Perfetto, a graph for Graphviz
///
/// `chrome-trace` has a track for each vat, a slice for each delivery with its syscalls, and an arrow from each message and each
/// settled promise to the delivery that it led to: open it at ui.perfetto.dev. `dot` is who called whom, with counts by method.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog export bank.slog --format chrome-trace --out bank.json
  vathost slog export bank.slog.zst --format dot | dot -Tsvg > bank.svg
  vathost slog export bank.slog --format dot --crank 100..200")]
pub(crate) struct ExportArgs {
    /// The recording
    file: PathBuf,
    /// The format
    #[arg(long, value_enum)]
    format: Format,
    /// Write to this file instead of the terminal or pipe
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object: the file, its format, its bytes
    #[arg(long, requires = "out")]
    json: bool,
    /// Only these cranks, both included
    #[arg(long, value_name = "N..M", default_value = "..", hide_default_value = true)]
    crank: Range,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    ChromeTrace,
    Dot,
}

pub(crate) fn cmd_export(args: ExportArgs, output: &Output) -> anyhow::Result<Exit> {
    let format = match args.format {
        Format::ChromeTrace => ExportFormat::ChromeTrace,
        Format::Dot => ExportFormat::Dot,
    };
    // A recording that is not there must not cost a file that is.
    drop(crate::slog::Reader::open(&args.file).map_err(unreadable)?);
    let name = args.out.as_ref().map_or("the output".to_owned(), |it| it.display().to_string());
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => Box::new(File::create(path).with_context(|| format!("write {name}"))?),
        None => Box::new(output.stream()),
    };
    let mut buffered = BufWriter::new(&mut out);
    match export(&args.file, format, args.crank, &mut buffered) {
        Ok(()) => (),
        Err(ExportError::Read(err)) => return Err(unreadable(err).into()),
        Err(ExportError::Write(err)) => return Err(err).with_context(|| format!("write {name}")),
    }
    buffered.flush().with_context(|| format!("write {name}"))?;
    if let (Some(file), true) = (&args.out, args.json) {
        let format = args.format.to_possible_value().map(|it| it.get_name().to_owned());
        let bytes = std::fs::metadata(file).with_context(|| format!("look at {name}"))?.len();
        output.json(&json!({ "file": file, "format": format, "bytes": bytes }))?;
    }
    Ok(Exit::Ok)
}
