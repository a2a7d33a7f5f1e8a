use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        Exit, Output, Usage,
        output::harmless,
        slog::{IndexArgs, text, unreadable},
    },
    inspect::recording::{Extent, Fact, StepCause, Subject, Trace, TraceStep, What, trace},
    model::id::{CrankNum, KRef},
};

/// Follow a promise, an object or a crank through a recording: who caused it, and what it caused
///
/// Of a promise: which syscall made it, to whom its message was delivered, who settled it, who was told, and what that led to,
/// back to the message from outside. Of an object: who made it, who got it, who called it. Each crank stands below the syscall
/// that caused it. What is kept in memory is the chain.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog trace kp41 bank.slog
  vathost slog trace crank-12 bank.slog.zst
  vathost slog trace kp41 bank.slog --json | jq '.facts[] | {what, vatID, crankNum}'")]
pub(crate) struct TraceArgs {
    /// The promise, object or crank, as the kernel names it; then the recording
    #[arg(value_names = ["kp41|ko20|crank-60", "FILE"], num_args = 1..=2, required = true)]
    what: Vec<String>,
    /// This crank
    #[arg(long, value_name = "N")]
    crank: Option<u64>,
    /// Follow this many cranks forward at the most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    index: IndexArgs,
}

pub(crate) fn cmd_trace(args: TraceArgs, output: &Output) -> anyhow::Result<Exit> {
    let (subject, file) = match (args.crank, &args.what[..]) {
        (Some(crank), [file]) => (Subject::Crank(crank), file),
        (None, [name, file]) => (subject(name)?, file),
        _ => {
            let what = "name what to trace, and the recording";
            return Err(Usage::new(what, "as in `slog trace kp41 FILE`, or `slog trace --crank 12 FILE`").into());
        }
    };
    let traced = trace(file.as_ref(), &subject, args.limit, args.index.rules()).map_err(unreadable)?;
    match (traced, args.json) {
        (Ok(trace), true) => output.json(&trace)?,
        (Ok(trace), false) => {
            output.page();
            output.lines(lines(&trace, &subject, args.limit))?;
        }
        (Err(extent), json) => {
            let what = missing(&subject, &extent);
            if json {
                output.json(&json!({ "error": what, "recorded": extent }))?;
            } else {
                output.line(what)?;
            }
            return Ok(Exit::Findings);
        }
    }
    Ok(Exit::Ok)
}

fn subject(name: &str) -> anyhow::Result<Subject> {
    if let Ok(CrankNum(number)) = name.parse() {
        return Ok(Subject::Crank(number));
    }
    match name.parse::<KRef>() {
        Ok(it) => Ok(Subject::Reference(it.to_string())),
        Err(err) => {
            let hint = "the kernel's names are like kp41 (a promise) and ko20 (an object); a crank is crank-60";
            Err(Usage::new(format!("`{}` is no promise and no object: {err}", harmless(name)), hint).into())
        }
    }
}

fn missing(subject: &Subject, extent: &Extent) -> String {
    let range = extent.cranks.map_or("no cranks".to_owned(), |(first, last)| format!("cranks {first} to {last}"));
    match subject {
        Subject::Crank(number) => format!("crank {number} is not recorded: the file has {range}"),
        Subject::Reference(name) => format!("{name} does not occur: the file has {range}"),
    }
}

fn lines(trace: &Trace, subject: &Subject, limit: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if let Subject::Reference(name) = subject {
        lines.push(name.clone());
        lines.extend(trace.facts.iter().map(fact));
        lines.push(String::new());
    }
    lines.extend(tree(trace));
    if trace.cut {
        lines.push(format!("… and more: --limit {limit} is reached"));
    }
    if !trace.has_syscalls {
        lines.push("no syscall is recorded, so no cause can be told: record with --slog-detail syscalls".to_owned());
    }
    lines
}

/// Draws the cranks as a tree, each below its cause.
fn tree<'a>(trace: &'a Trace) -> Vec<String> {
    let mut lines = Vec::new();
    let mut caused: BTreeMap<(u64, Option<u64>), Vec<&TraceStep>> = BTreeMap::new();
    let mut roots = Vec::new();
    for it in &trace.steps {
        match it.cause {
            Some(StepCause { crank, syscall }) => caused.entry((crank, syscall)).or_default().push(it),
            None => roots.push(it),
        }
    }
    // The steps that are still to be drawn; the next one is the last.
    let mut left: Vec<ShownSteps<'_>> =
        roots.into_iter().rev().map(|it| ShownSteps { depth: 0, what: TraceLine::Root(it) }).collect();
    while let Some(ShownSteps { depth, what }) = left.pop() {
        let margin = "  ".repeat(depth.min(DEPTH_MAX));
        match what {
            TraceLine::Act(number, ksc) => lines.push(format!("{margin}syscall {number}: {}", text::act(ksc, ksc))),
            TraceLine::Kernel => lines.push(format!("{margin}by the kernel")),
            TraceLine::Root(step) => {
                lines.push(format!("from {}", text::origin(&step.message_type)));
                left.push(ShownSteps { depth, what: TraceLine::TraceStep(step) });
            }
            TraceLine::TraceStep(step) => {
                lines.push(format!("{margin}{}", headline(step)));
                let by = |syscall| caused.get(&(step.place.crank, syscall)).map(Vec::as_slice).unwrap_or_default();
                let kernel = by(None);
                let count = kernel.len() + step.acts.iter().map(|it| by(Some(it.number)).len()).sum::<usize>();
                // A chain continues in the same column; only branches move to the right.
                let deeper = if count == 1 { 0 } else { 2 };
                let child = |it: &&'a TraceStep| ShownSteps { depth: depth + deeper, what: TraceLine::TraceStep(it) };
                let mut below = Vec::new();
                let mut only = None;
                for act in &step.acts {
                    below.push(ShownSteps { depth: depth + 1, what: TraceLine::Act(act.number, &act.ksc) });
                    let mut children = by(Some(act.number)).iter().map(child);
                    if count == 1 {
                        only = only.or(children.next());
                    } else {
                        below.extend(children);
                    }
                }
                if !kernel.is_empty() {
                    below.push(ShownSteps { depth: depth + 1, what: TraceLine::Kernel });
                    let mut children = kernel.iter().map(child);
                    if count == 1 {
                        only = children.next();
                    } else {
                        below.extend(children);
                    }
                }
                below.extend(only);
                left.extend(below.into_iter().rev());
            }
        }
    }
    lines
}

/// Most levels of indentation: deeper steps are drawn no further to the right.
const DEPTH_MAX: usize = 30;

struct ShownSteps<'a> {
    depth: usize,
    what: TraceLine<'a>,
}

enum TraceLine<'a> {
    /// A step whose cause is not known.
    Root(&'a TraceStep),
    TraceStep(&'a TraceStep),
    Act(u64, &'a Value),
    Kernel,
}

fn headline(step: &TraceStep) -> String {
    let place = &step.place;
    let mut line = format!("crank {}", place.crank);
    let vat = place.vat.as_deref().map(|it| text::vat(it, step.name.as_deref()));
    match (vat, place.delivery) {
        (Some(vat), Some(delivery)) => line += &format!(", {vat} delivery {delivery}"),
        (Some(vat), None) => line += &format!(", {vat}, no delivery"),
        (None, _) => line += ", no delivery",
    }
    match &step.kd {
        Some(kd) => line += &format!(": {}", text::act(kd, kd)),
        None if !step.message.is_null() => line += &format!(": {}", harmless(&step.message.to_string())),
        None => (),
    }
    if let Some(error) = &step.error {
        line += &format!("; failed: {}", harmless(error.as_str().unwrap_or_default()));
    }
    line.extend(step.directives.iter().map(|it| format!("; by directive `{}`", harmless(it))));
    line.extend(step.terminated.iter().map(|it| format!("; {it} ended")));
    if step.undone {
        line += "; all of it was undone";
    }
    if !step.ended {
        line += "; the recording ends in it";
    }
    line
}

fn fact(fact: &Fact) -> String {
    let what = match fact.what {
        What::Exported => "introduced by",
        What::Imported => "introduced to",
        What::Dropped => "not known any more to",
        What::Made => "made, as the result of a message, by",
        What::Sent => "sent a message by",
        What::Delivered => "its message delivered to",
        What::Called => "a message to it delivered to",
        What::Fulfilled => "fulfilled by",
        What::Rejected => "rejected by",
        What::Told => "told to",
        What::HostTold => "told, as rejected, to the host",
    };
    let vat =
        fact.place.vat.as_deref().map_or_else(String::new, |it| format!(" {}", text::vat(it, fact.name.as_deref())));
    let syscall = fact.syscall.map_or_else(String::new, |it| format!(", syscall {it}"));
    format!("  crank {}{syscall}: {what}{vat}", fact.place.crank)
}
