use clap::Args;
use serde_json::Value;

use crate::{
    cli::{
        Exit, Output,
        output::harmless,
        slog::{FileArgs, text, unreadable},
    },
    inspect::recording::{Last, Status, last},
};

/// Say what was under way where a recording ends: which delivery did it?
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog last bank.slog
  vathost slog last bank.slog.zst --json | jq .status      clean, between-cranks, in-flight, panic or empty")]
pub(crate) struct LastArgs {
    #[command(flatten)]
    file: FileArgs,
}

pub(crate) fn cmd_last(args: LastArgs, output: &Output) -> anyhow::Result<Exit> {
    let last = last(&args.file.file, args.file.rules()).map_err(unreadable)?;
    if args.file.json {
        output.json(&last)?;
        return Ok(Exit::Ok);
    }
    output.page();
    output.lines(lines(&last))?;
    Ok(Exit::Ok)
}

/// Returns the end of a recording as lines for people.
pub(crate) fn lines(last: &Last) -> Vec<String> {
    let mut lines = vec![headline(last)];
    if last.status == Status::InFlight || last.status == Status::Panic {
        under_way(last, &mut lines);
    }
    if let Some(epitaph) = &last.epitaph {
        lines.push("epitaph".to_owned());
        // The backtrace is for the file beside the store.
        let shown = |(name, value): &(&String, &Value)| !value.is_null() && *name != "backtrace";
        let fields = epitaph.as_object().into_iter().flatten().filter(shown);
        lines.extend(fields.map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("  {name}: {}", harmless(&value))
        }));
    }
    if !last.console.is_empty() {
        lines.push(format!("last lines of {}", vat(last)));
        lines.extend(last.console.iter().map(|it| {
            let crank = it.crank.map_or_else(String::new, |it| format!("crank {it} "));
            format!("  {crank}{}: {}", it.level, harmless(&it.text))
        }));
    }
    if last.torn {
        lines.push("the recording breaks off in the middle of an event".to_owned());
    }
    lines
}

fn headline(last: &Last) -> String {
    let committed = match last.committed {
        Some(height) => format!("block {height} is committed"),
        None => "no block is committed".to_owned(),
    };
    let block = match last.block {
        Some(height) => format!(" of block {height}"),
        None => String::new(),
    };
    let crank = last.crank.map_or_else(|| "?".to_owned(), |it| it.to_string());
    match last.status {
        Status::Empty => "the recording is empty".to_owned(),
        Status::Clean => format!("ended cleanly: {committed}, nothing is under way"),
        Status::BetweenCranks if last.crank.is_none() => format!("before the first crank{block}; {committed}"),
        Status::BetweenCranks => format!("between cranks{block}: crank {crank} had ended; {committed}"),
        Status::InFlight => format!("in flight: crank {crank}{block}; {committed}"),
        Status::Panic => format!("kernel panic: crank {crank}{block}; {committed}"),
    }
}

fn vat(last: &Last) -> String {
    text::vat(last.vat.as_deref().unwrap_or("?"), last.name.as_deref())
}

fn under_way(last: &Last, lines: &mut Vec<String>) {
    if let (Some(number), Some(dispatch)) = (last.delivery, &last.dispatch) {
        lines.push(format!("  vat       {}", vat(last)));
        lines.push(format!("  delivery  {number}, {dispatch}"));
        if let Some(kd) = &last.kd {
            lines.push(format!("            {}", text::act(kd, kd)));
        }
        lines.push(format!("  syscalls  {} answered", last.syscalls));
        if let Some((number, syscall)) = &last.syscall {
            lines.push(format!("  in        syscall {number}, {}", text::act(&Value::Null, syscall)));
        }
        if let Some(outcome) = &last.outcome {
            lines.push(format!("  outcome   {}, but the crank has not ended", text::answer(outcome)));
        }
    } else if last.replay {
        lines.push(format!("  vat       {}, being brought back by replay", vat(last)));
    }
    if let (None, Some(message)) = (&last.kd, &last.message) {
        lines.push(format!("  taken     {}", harmless(&message.to_string())));
    }
}
