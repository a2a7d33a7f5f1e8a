use std::collections::BTreeSet;

use clap::Args;

use crate::{
    cli::{
        Exit, Output,
        output::{grouped, harmless, table},
        slog::{FileArgs, text::duration, unreadable},
    },
    inspect::recording::{Summary, VatSummary, summary},
};

/// Sum up a recording, vat by vat
///
/// The percentiles are of the time that a delivery takes, and up to a sixteenth too large.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog summary bank.slog
  vathost slog summary bank.slog.zst --json | jq '.vats[] | {name, fuel}'")]
pub(crate) struct SummaryArgs {
    #[command(flatten)]
    file: FileArgs,
}

pub(crate) fn cmd_summary(args: SummaryArgs, output: &Output) -> anyhow::Result<Exit> {
    let sums = summary(args.file.open()?).map_err(unreadable)?;
    if args.file.json {
        output.json(&sums)?;
        return Ok(Exit::Ok);
    }
    output.page();
    if !sums.vats.is_empty() {
        output.line(vats(&sums))?;
        output.line("")?;
    }
    if !sums.syscalls.is_empty() {
        output.line(syscalls(&sums))?;
        output.line("")?;
    }
    output.line(totals(&sums))?;
    Ok(Exit::Ok)
}

fn vats(sums: &Summary) -> String {
    let row = |it: &VatSummary| {
        let name = harmless(it.name.as_deref().unwrap_or(""));
        let times = [it.seconds, it.latency.p50, it.latency.p99, it.latency.max].map(duration);
        let numbers = [it.deliveries, it.failed, it.fuel].map(grouped);
        let status = if it.terminated { "terminated" } else { "" };
        [it.vat.clone(), name].into_iter().chain(numbers).chain(times).chain([status.to_owned()]).collect()
    };
    let header = ["vat", "name", "deliveries", "failed", "fuel", "time", "p50", "p99", "max", "status"];
    table(&header, &[0, 1, 9], sums.vats.iter().map(row))
}

fn syscalls(sums: &Summary) -> String {
    let kinds: BTreeSet<&str> = sums.syscalls.keys().map(String::as_str).collect();
    let header: Vec<&str> = ["vat", "name"].into_iter().chain(kinds.iter().copied()).collect();
    let row = |it: &VatSummary| {
        let counts = kinds.iter().map(|kind| grouped(it.syscalls.get(*kind).copied().unwrap_or(0)));
        [it.vat.clone(), harmless(it.name.as_deref().unwrap_or(""))].into_iter().chain(counts).collect()
    };
    let rows = sums.vats.iter().filter(|it| !it.syscalls.is_empty()).map(row);
    table(&header, &[0, 1], rows)
}

fn totals(sums: &Summary) -> String {
    let syscalls = sums.syscalls.values().sum();
    let counted = |count: u64, what: &str| format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" });
    let deliveries = match sums.deliveries {
        1 => "1 delivery".to_owned(),
        count => format!("{} deliveries", grouped(count)),
    };
    let mut lines = vec![format!(
        "{}, {}, {deliveries}, {}, fuel {}, {} in deliveries",
        counted(sums.blocks, "block"),
        counted(sums.cranks, "crank"),
        counted(syscalls, "syscall"),
        grouped(sums.fuel),
        duration(sums.delivery_seconds)
    )];
    lines.push(format!(
        "{}, {} terminated; {}, {}, over {}",
        counted(sums.vats.len() as u64, "vat"),
        grouped(sums.terminated),
        counted(sums.events, "event"),
        counted(sums.sessions, "session"),
        duration(sums.seconds)
    ));
    let notes = [
        (
            sums.replays,
            format!("{} brought back by replay of {}", counted(sums.replays, "vat"), grouped(sums.replayed)),
        ),
        (
            sums.cranks_again,
            format!("{} of them a second time: their block was lost", counted(sums.cranks_again, "crank")),
        ),
        (sums.torn, format!("torn {}", counted(sums.torn, "time"))),
        (sums.panics, counted(sums.panics, "kernel panic")),
    ];
    lines.extend(notes.into_iter().filter(|(count, _)| *count > 0).map(|(_, note)| note));
    lines.join("\n")
}
