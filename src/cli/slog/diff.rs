use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        Exit, Output,
        output::{grouped, harmless},
        slog::{text, unreadable},
    },
    inspect::recording::{Ending, Evidence, Parted, Parting, Side, parting},
};

/// Say where two recordings part: the first crank that is not the same, and the first event of it
///
/// Cranks are compared by their hashes, or by their events where those are not recorded. When things happened does not count,
/// nor what each host did for itself: restarts, replays, snapshots, blocks that were lost and run again. Exits with 1 where
/// they differ.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog diff mine.slog theirs.slog.zst
  vathost slog diff mine.slog theirs.slog --json | jq .parting.end")]
pub(crate) struct DiffArgs {
    /// A recording
    a: PathBuf,
    /// Another
    b: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_diff(args: DiffArgs, output: &Output) -> anyhow::Result<Exit> {
    let parting = parting(&args.a, &args.b).map_err(unreadable)?;
    let equal = parting.end == Ending::Equal;
    if args.json {
        output.json(&json!({ "equal": equal, "parting": parting }))?;
    } else {
        output.page();
        output.lines(lines(&parting))?;
    }
    Ok(if equal { Exit::Ok } else { Exit::Findings })
}

fn lines(parting: &Parting) -> Vec<String> {
    let Parting { from, same, end } = parting;
    let cranks = match (from, same) {
        (_, 0) => "no crank".to_owned(),
        (Some(from), 1) => format!("crank {from}"),
        (from, _) => format!("{} cranks from crank {} on", grouped(*same), from.unwrap_or(0)),
    };
    match end {
        Ending::Equal => vec![format!("equal: {cranks}")],
        Ending::NothingInCommon => vec!["no crank is in both".to_owned()],
        Ending::Prefix { first } => {
            let (short, long) = if *first { ("A", "B") } else { ("B", "A") };
            vec![format!("{short} is the beginning of {long}: it ends after {cranks}, all the same")]
        }
        Ending::Parted(parted) => {
            let first = format!("parted at crank {}; the same before: {cranks}", parted.crank);
            let mut lines = vec![first];
            lines.extend(body(parted));
            if let Some(later) = &parted.later {
                lines.push(format!("it shows in crank {}", later.crank));
                lines.extend(body(later));
            }
            lines
        }
    }
}

fn body(parted: &Parted) -> Vec<String> {
    let mut lines = vec![evidence(parted)];
    for (name, value) in ["A", "B"].iter().zip(&parted.values) {
        lines.extend(value.as_ref().map(|it| format!("  {name} {}", words(it))));
    }
    if parted.events.iter().any(Option::is_some) {
        lines.push("the first event that differs".to_owned());
        lines.extend(["A", "B"].iter().zip(&parted.events).map(|(name, it)| side(name, it.as_ref())));
    } else if parted.by == Evidence::Crankhash {
        lines.push("all events of it that both recorded are the same (--slog-detail syscalls records most)".to_owned());
    }
    lines
}

fn evidence(parted: &Parted) -> String {
    let what = match parted.by {
        Evidence::CrankNum => "one has a gap: the next crank is",
        Evidence::Block => "its block differs: height, time",
        Evidence::Crankhash => "the hash of what it did differs",
        Evidence::Activityhash => {
            "it did the same, but the hash of all before differs: they parted earlier, or between two cranks"
        }
        Evidence::Events => "no hash is recorded in both; its events differ",
    };
    what.to_owned()
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn side(name: &str, side: Option<&Side>) -> String {
    let Some(Side { line, event }) = side else { return format!("  {name} has none") };
    let kind = event["type"].as_str().unwrap_or_default();
    let place = match (&event["vatID"], &event["deliveryNum"]) {
        (Value::String(vat), Value::Number(number)) => format!(" {vat} delivery {number}"),
        (Value::String(vat), _) => format!(" {vat}"),
        _ => String::new(),
    };
    let what = match kind {
        "deliver" => text::act(&event["kd"], &event["vd"]),
        "deliver-result" => text::answer(&event["dr"]) + &fuel(&event["dr"]),
        "syscall" => format!("{} {}", event["syscallNum"], text::act(&event["ksc"], &event["vsc"])),
        "syscall-result" => format!("{} {}", event["syscallNum"], text::answer(&event["vsr"])),
        _ => {
            let mut rest = event.clone();
            if let Some(fields) = rest.as_object_mut() {
                fields.retain(|name, _| !["type", "crankNum", "vatID", "deliveryNum"].contains(&name.as_str()));
            }
            harmless(&rest.to_string())
        }
    };
    format!("  {name} line {line}:{place} {kind} {what}")
}

fn fuel(dr: &Value) -> String {
    dr[2]["compute"].as_u64().map_or_else(String::new, |it| format!(", fuel {}", grouped(it)))
}
