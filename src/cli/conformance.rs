use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{Exit, Output, Usage},
    inspect::conformance::{Vector, replay},
    model::files,
};

/// Replay conformance vectors recorded from the SwingSet kernel against this one
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost conformance tests/vectors/*.json
  vathost conformance tests/vectors/named-gc-reimport.json --json")]
pub(crate) struct ConformanceArgs {
    /// The vectors
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_conformance(args: ConformanceArgs, output: &Output) -> anyhow::Result<Exit> {
    let mut failed = Vec::new();
    for path in &args.files {
        let bytes = files::read(path, files::RECORD_BYTES_MAX)
            .map_err(|err| Usage::new(format!("{}: {err}", path.display()), ""))?;
        let vector: Vector = serde_json::from_slice(&bytes).map_err(|err| {
            Usage::new(format!("{}: {err}", path.display()), "this is no conformance vector of format 1")
        })?;
        if let Err(it) = replay(&vector) {
            if !args.json {
                output.line(format!("{}: {}", path.display(), it.at))?;
                output.line(format!("  expected {}\n  actual   {}", it.expected, it.actual))?;
            }
            let file = path.display().to_string();
            failed.push(json!({ "file": file, "at": it.at, "expected": it.expected, "actual": it.actual }));
        }
    }
    let (total, good) = (args.files.len(), args.files.len() - failed.len());
    if args.json {
        output.json(&json!({ "total": total, "ok": good, "failed": failed })).context("print the result")?;
    } else {
        output.line(format!("ok {good} / {total}"))?;
    }
    Ok(if failed.is_empty() { Exit::Ok } else { Exit::Findings })
}
