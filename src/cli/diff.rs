use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        Exit, Output,
        named::state_and,
        output::{grouped, shortened},
        state,
    },
    inspect::difference::{self, Difference, Parting},
    state::block::proof,
    store::{Meta, Pace},
};

/// Say where two states parted, and which rows differ
///
/// Each is a folder or an exported file. The last 10,000 blocks of both are compared by their hashes, the transcripts
/// delivery by delivery, the rows one by one.
#[derive(Args, Debug)]
#[command(
    override_usage = "vathost diff [OPTIONS] A B\n       vathost diff [OPTIONS] --state A B",
    after_help = "\
Examples:
  vathost diff ./state ./replica
  vathost diff ./state monday.vathost --limit 100
  vathost diff ./state ./replica --json | jq .parted"
)]
pub(crate) struct DiffArgs {
    /// The folder of a state, or an exported file
    #[arg(value_name = "A")]
    first: Option<PathBuf>,
    /// Another
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    /// The first state, instead of the first word
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// List this many rows at the most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_diff(args: DiffArgs, output: &Output) -> anyhow::Result<Exit> {
    let given = [args.first.as_deref(), args.second.as_deref()];
    let paths = state_and(args.state.as_deref(), given, ["DIR", "OTHER"], "diff")?;
    let a = state::folder_or_archive(&paths[0], output)?;
    let b = state::folder_or_archive(&paths[1], output)?;
    for (path, database) in paths.iter().zip([&a, &b]) {
        if let Err(fault) = proof::read(database) {
            output.note(format!("warning: {}: {fault}", path.display()));
        }
    }
    let found = difference::compare(&a, &b, args.limit)?;
    if args.json {
        output.json(&object(&found))?;
    } else if found.is_none() {
        output.line(format!("equal: state hash {}", found.meta[0].state_hash))?;
    } else {
        output.page();
        print(&found, &paths, output)?;
    }
    Ok(if found.is_none() { Exit::Ok } else { Exit::Findings })
}

/// Describes in words when two states parted.
pub(super) fn parted(parting: &Parting) -> String {
    match parting {
        Parting::Never => "they never parted: both stand at the same state hash".to_owned(),
        Parting::Past { first, common } => {
            let (past, other) = if *first { ("A", "B") } else { ("B", "A") };
            format!("{past} is the past of {other}, which went on after {} from {}", common.height, common.next_crank)
        }
        Parting::Block { height, crank: Some(crank), .. } => {
            format!("parted in {height}, at {crank}: the marks after it differ, those after the crank before do not")
        }
        Parting::Block { height, from, to, crank: None } => {
            let [a, b] = to.map(|it| it.0);
            let ends =
                if a == b { format!("before crank-{a}") } else { format!("before crank-{a} in A, crank-{b} in B") };
            format!("parted in {height}, between {from} and its end, {ends}")
        }
        Parting::Before(Some(height)) => format!("parted before {height}, the first block that both remember"),
        Parting::Before(None) => "no block is remembered by both".to_owned(),
    }
}

fn object(found: &Difference) -> Value {
    let side = |it: &Meta| {
        json!({
            "stateHash": it.state_hash.to_string(), "stateDigest": it.digest.to_string(), "scenario": it.scenario,
            "blocks": it.pace,
        })
    };
    let parting = match &found.parting {
        Parting::Never => json!(null),
        Parting::Past { first, common } => {
            json!({ "past": if *first { "a" } else { "b" }, "block": common.height.0, "crank": common.next_crank.0 })
        }
        Parting::Block { height, from, to, crank } => {
            let crank = crank.map(|it| it.0);
            json!({ "block": height.0, "crank": crank, "from": from.0, "to": { "a": to[0].0, "b": to[1].0 } })
        }
        Parting::Before(height) => json!({ "before": height.map(|it| it.0) }),
    };
    let rows: Vec<_> = (found.rows.iter())
        .map(|it| {
            let vat = it.vat.map(|it| it.to_string());
            json!({ "table": it.table, "vatID": vat, "key": it.key, "a": it.values[0], "b": it.values[1] })
        })
        .collect();
    let deliveries: Vec<_> = (found.deliveries.iter())
        .map(|it| {
            let (vat, number) = (it.vat.to_string(), it.number.0);
            json!({ "vatID": vat, "delivery": number, "part": it.part, "a": it.values[0], "b": it.values[1] })
        })
        .collect();
    json!({
        "equal": found.is_none(), "a": side(&found.meta[0]), "b": side(&found.meta[1]), "parted": parting,
        "counts": found.counts, "rows": rows, "deliveries": deliveries,
    })
}

fn print(found: &Difference, paths: &[PathBuf; 2], output: &Output) -> std::io::Result<()> {
    for (name, path, meta) in [("A", &paths[0], &found.meta[0]), ("B", &paths[1], &found.meta[1])] {
        output.line(format!("{name}  state hash {}  {}", meta.state_hash, path.display()))?;
    }
    output.line(parted(&found.parting))?;
    if let [Some(a), Some(b)] = found.meta.each_ref().map(|it| it.pace)
        && !a.is_like(&b)
    {
        let side = |name, it: Pace| format!("  {name} {it}, since {}", it.since);
        output.line(format!("their blocks are cut in different ways\n{}\n{}", side("A", a), side("B", b)))?;
    }
    let side = |it: &Option<String>| it.as_deref().map_or("none".to_owned(), |it| shortened(it, VALUE_CHARS));
    for it in &found.deliveries {
        output.line(format!("\n{} {}: {}", it.vat, it.number, it.part))?;
        output.line(format!("  A {}\n  B {}", side(&it.values[0]), side(&it.values[1])))?;
    }
    let total: u64 = found.counts.values().sum();
    if total > 0 {
        let counts: Vec<_> = found.counts.iter().map(|(table, count)| format!("{table} {}", grouped(*count))).collect();
        output.line(format!("\n{} rows differ: {}", grouped(total), counts.join(", ")))?;
    }
    for it in &found.rows {
        let vat = it.vat.map_or(String::new(), |it| format!(" {it}"));
        output.line(format!("{}{vat} {}", it.table, it.key))?;
        output.line(format!("  A {}\n  B {}", side(&it.values[0]), side(&it.values[1])))?;
    }
    let more = total - found.rows.len() as u64;
    if more > 0 {
        output.line(format!("… and {} more (--limit N lists more)", grouped(more)))?;
    }
    Ok(())
}

/// Most characters of a value that are printed; `--json` has all of it.
const VALUE_CHARS: usize = 400;
