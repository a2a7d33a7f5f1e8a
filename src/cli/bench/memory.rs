use clap::Args;

use super::{SizeArgs, warn_of_debug_build};
use crate::{
    bench::memory,
    cli::{
        Exit, Output,
        output::{grouped, size, table},
    },
};

/// Measure what a state takes in memory: by the idle vat, by the object, by the promise
///
/// First a million rows of each table that need not be in memory; then 10,000 vats that are all live, a million objects and a million
/// promises that one vat holds.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench memory
  vathost bench memory --quick --json")]
pub(super) struct MemoryArgs {
    #[command(flatten)]
    size: SizeArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_memory(args: &MemoryArgs, output: &Output) -> anyhow::Result<Exit> {
    warn_of_debug_build(output);
    let memory = memory(args.size.size(), &mut |it| output.note(format!("{it} …")))?;
    if args.json {
        output.json(&memory)?;
        return Ok(Exit::Ok);
    }
    let row = |what: &str, count: u64, each: u64| vec![what.to_owned(), grouped(count), size(each)];
    let rows = [
        row("idle vats, live", memory.live, memory.per_idle_vat),
        row("idle vats, evicted", memory.vats, memory.per_evicted_vat),
        row("objects, exported and imported", memory.objects, memory.per_object),
        row("the same, on disk", memory.objects, memory.per_object_on_disk),
        row("promises, likewise", memory.promises, memory.per_promise),
        row("a row in memory: entries of c-lists", memory.rows.count, memory.rows.entry),
        row("objects", memory.rows.count, memory.rows.object),
        row("promises", memory.rows.count, memory.rows.promise),
        row("settlements of 8 bytes and a slot", memory.rows.count, memory.rows.settlement),
        row("subscribers", memory.rows.count, memory.rows.subscriber),
    ];
    output.line(table(&["", "", "each"], &[0], rows))?;
    output.line(format!("peak: {}", size(memory.peak_bytes)))?;
    Ok(Exit::Ok)
}
