use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{find, warn_of_debug_build};
use crate::{
    bench::{InstructionChange, Instructions, count_instructions, has_valgrind},
    cli::{
        Exit, Output, Usage,
        output::{grouped, table},
    },
    model::files,
};

/// Count the instructions of a delivery, with valgrind
///
/// Exact where nanoseconds are not: two counts of the same binary differ by some parts in a thousand. Each workload runs twice, and
/// takes some ten seconds. ping, call, store and gc, unless workloads are named.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench instructions
  vathost bench instructions ping --deliveries 50000 --json
  vathost bench instructions --save before.json
  vathost bench instructions --compare before.json")]
pub(super) struct InstructionsArgs {
    /// Which workloads
    workloads: Vec<String>,
    /// Deliveries of the first run; the second has twice as many
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    deliveries: u64,
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
const USUAL: [&str; 4] = ["ping", "call", "store", "gc"];

pub(super) fn cmd_instructions(args: &InstructionsArgs, output: &Output) -> anyhow::Result<Exit> {
    let given = args.workloads.iter().map(String::as_str);
    let names: Vec<&str> = if args.workloads.is_empty() { USUAL.to_vec() } else { given.collect() };
    names.iter().try_for_each(|name| find(name).map(drop))?;
    let before = args.compare.as_deref().map(read).transpose()?;
    if !has_valgrind() {
        return Err(Usage::new("valgrind is not installed", "it is what counts: `apt install valgrind`").into());
    }
    warn_of_debug_build(output);
    let program = std::env::current_exe().context("find this program")?;
    let mut counts = Instructions { instructions: Default::default() };
    for name in names {
        output.note(format!("{name} …"));
        let count = count_instructions(&program, name, args.deliveries)?;
        counts.instructions.insert(name.to_owned(), count);
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
    Ok(if regressed { Exit::Findings } else { Exit::Ok })
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

fn read(path: &std::path::Path) -> anyhow::Result<Instructions> {
    let wrong = |why: &dyn std::fmt::Display| {
        let what = format!("`{}` cannot be compared with: {why}", path.display());
        Usage::new(what, "give a file that `vathost bench instructions --save` or `--json` wrote")
    };
    let text = files::read_text(path, files::RECORD_BYTES_MAX).map_err(|err| wrong(&err))?;
    Ok(serde_json::from_str(&text).map_err(|err| wrong(&err))?)
}
