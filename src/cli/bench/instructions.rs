use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{find, warn_of_debug_build};
use crate::{
    bench::{INSTRUCTIONS_TOLERATED, InstructionChange, Instructions, count_instructions, has_valgrind},
    cli::{
        Exit, Output, Usage,
        output::{grouped, table},
    },
    model::files,
};

/// Count the instructions of a delivery, with valgrind
///
/// Exact where nanoseconds are not: two counts of the same binary differ by some parts in ten thousand. Each workload runs twice, and
/// takes some ten seconds. ping, call, store, fanout (to 20 vats) and gc, unless workloads are named. Counts of different builds, or of
/// other numbers of deliveries, are not compared.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench instructions
  vathost bench instructions ping --deliveries 50000 --json
  vathost bench instructions --save before.json
  vathost bench instructions --compare before.json")]
pub(super) struct InstructionsArgs {
    /// Which workloads [default: those of the compared file, or those above]
    workloads: Vec<String>,
    /// Deliveries of the first run; the second has twice as many [default: as in the compared file, or 20000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    deliveries: Option<u64>,
    /// Compare with counts that were saved; exit 1 where one grew by more than 3 %
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Keep the counts in a file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The workloads whose deliveries cost the least, and so show the host's own cost the best.
const USUAL: [&str; 5] = ["ping", "call", "store", "fanout", "gc"];

/// Deliveries of the first run, unless something else is asked for.
const DELIVERIES: u64 = 20_000;

pub(super) fn cmd_instructions(args: &InstructionsArgs, output: &Output) -> anyhow::Result<Exit> {
    let before = args.compare.as_deref().map(read).transpose()?;
    let names: Vec<String> = match (&args.workloads[..], &before) {
        ([], Some(before)) => before.instructions.keys().cloned().collect(),
        ([], None) => USUAL.map(str::to_owned).to_vec(),
        (given, _) => given.to_vec(),
    };
    names.iter().try_for_each(|name| find(name).map(drop))?;
    let as_before = before.as_ref().map(|it| it.deliveries);
    let mut counts = Instructions::new(args.deliveries.or(as_before).unwrap_or(DELIVERIES));
    if let (Some(path), Some(why)) = (&args.compare, before.as_ref().and_then(|it| counts.unlike(it))) {
        let what = format!("`{}` cannot be compared with: {why}", path.display());
        return Err(Usage::new(what, "`vathost bench instructions --save` writes another").into());
    }
    if !has_valgrind() {
        return Err(Usage::new("valgrind is not installed", "it is what counts: `apt install valgrind`").into());
    }
    if before.is_none() {
        warn_of_debug_build(output);
    }
    let program = std::env::current_exe().context("find this program")?;
    for name in &names {
        output.note(format!("{name} …"));
        let count = count_instructions(&program, name, counts.deliveries)?;
        counts.instructions.insert(name.clone(), count);
    }
    if let Some(path) = &args.save {
        let text = serde_json::to_string_pretty(&counts)? + "\n";
        fs::write(path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    let changes = before.map(|before| counts.since(&before)).unwrap_or_default();
    if args.json {
        let mut object = serde_json::to_value(&counts)?;
        if args.compare.is_some() {
            object["changes"] = json!(changes);
        }
        output.json(&object)?;
    } else {
        output.line(table(&["", "instructions a delivery", "before", ""], &[0], rows(&counts, &changes)))?;
    }
    let regressed = changes.iter().any(|it| it.regressed);
    if let (true, Some(path)) = (regressed, &args.compare) {
        tell(&counts, &changes, path, output);
    }
    Ok(if regressed { Exit::Findings } else { Exit::Ok })
}

/// Tells which workloads take more instructions than they did, and how that is accepted.
fn tell(counts: &Instructions, changes: &[InstructionChange], path: &Path, output: &Output) {
    for it in changes.iter().filter(|it| it.regressed) {
        let (before, after, more) = (grouped(it.before), grouped(it.after), (it.ratio - 1.0) * 100.0);
        let (name, most) = (&it.workload, (INSTRUCTIONS_TOLERATED - 1.0) * 100.0);
        output.warn(format!(
            "`{name}` takes {after} instructions a delivery; it took {before}: {more:+.1} %, and {most:.0} % are allowed"
        ));
    }
    let names: Vec<&str> = counts.instructions.keys().map(String::as_str).collect();
    output.note(format!(
        "If what they buy is worth it: vathost bench instructions {} --deliveries {} --save {}",
        names.join(" "),
        counts.deliveries,
        path.display()
    ));
}

fn rows(counts: &Instructions, changes: &[InstructionChange]) -> Vec<Vec<String>> {
    let row = |(name, count): (&String, &u64)| {
        let change = changes.iter().find(|it| it.workload == *name);
        let before = change.map(|it| grouped(it.before)).unwrap_or_default();
        let ratio = change.map(|it| format!("{:.3} ×{}", it.ratio, if it.regressed { ", worse" } else { "" }));
        vec![name.clone(), grouped(*count), before, ratio.unwrap_or_default()]
    };
    counts.instructions.iter().map(row).collect()
}

fn read(path: &Path) -> anyhow::Result<Instructions> {
    let wrong = |why: &dyn std::fmt::Display| {
        let what = format!("`{}` cannot be compared with: {why}", path.display());
        Usage::new(what, "give a file that `vathost bench instructions --save` or `--json` wrote")
    };
    let text = files::read_text(path, files::RECORD_BYTES_MAX).map_err(|err| wrong(&err))?;
    Ok(serde_json::from_str(&text).map_err(|err| wrong(&err))?)
}
