use std::{path::Path, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        Exit, Output, Usage,
        named::At,
        output::{grouped, harmless},
        slog::{FileArgs, grep, text, unreadable},
    },
    directive::Trigger,
    inspect::recording::{Cause, Console, Extent, Place, Shown, Which, follow, show},
    model::files,
    slog::{CListMode, QueuedItem, Reader, Record, RecordedEvent},
};

/// Show one delivery: where it came from, what it said, what the vat did, and what that led to
///
/// References are shown on both sides: `ko22=o-50` is the kernel's ko22, which the vat knows as o-50. With `--follow`, each
/// delivery is shown as it comes, until ^C or until nobody records to the file any more; of a compressed recording, they come
/// block by block. (The other verbs speak of a whole recording: they take what is there, and are run again for more.)
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog show bank.slog --crank 12
  vathost slog show bank.slog.zst --vat v2 --delivery 1
  vathost slog show bank.slog --follow --vat bank
  vathost slog show bank.slog --console
  vathost slog show bank.slog --crank 12 --json | jq '.events[] | select(.type == \"syscall\") | .ksc'")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Of this crank
    #[arg(
        long,
        value_name = "N",
        required_unless_present_any = ["vat", "follow", "at", "console"],
        conflicts_with_all = ["vat", "follow", "at"]
    )]
    crank: Option<u64>,
    /// At this place: `crank-12`, `v2/delivery-1`, or `bank/delivery-1`
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["vat", "follow", "console"])]
    at: Option<At>,
    /// Of this vat: `v3`, or its name
    #[arg(long, value_name = "VAT")]
    vat: Option<String>,
    /// With this number
    #[arg(long, value_name = "N", requires = "vat")]
    delivery: Option<u64>,
    /// Each delivery as it comes, of all vats or of one
    #[arg(long, conflicts_with = "delivery")]
    follow: bool,
    /// What vats wrote to their consoles, of all vats or of one
    #[arg(long, conflicts_with_all = ["crank", "delivery", "follow"])]
    console: bool,
}

pub(crate) fn cmd_show(args: ShowArgs, output: &Output) -> anyhow::Result<Exit> {
    if args.follow {
        return watch(&args, output);
    }
    if args.console {
        return grep::find(&args.file, args.vat.as_deref(), None, &|_| true, output);
    }
    let which = which(&args)?;
    match show(&args.file.file, &which, args.file.rules()).map_err(unreadable)? {
        Ok(shown) if args.file.json => output.json(&shown)?,
        Ok(shown) => {
            output.page();
            output.lines(lines(&shown))?;
        }
        Err(extent) => {
            let what = missing(&which, &extent);
            if args.file.json {
                output.json(&json!({ "error": what, "recorded": extent }))?;
            } else {
                output.line(what)?;
            }
            return Ok(Exit::Findings);
        }
    }
    Ok(Exit::Ok)
}

fn which(args: &ShowArgs) -> anyhow::Result<Which> {
    let file = &args.file;
    Ok(match (&args.vat, args.delivery, &args.at) {
        (Some(vat), Some(delivery), _) => Which::Delivery { vat: grep::vat_of(file, vat)?, delivery },
        (Some(_), None, _) => {
            return Err(Usage::new("which delivery of the vat?", "--delivery N, --follow, or --console").into());
        }
        (None, _, None) => Which::Crank(args.crank.unwrap_or(0)),
        (None, _, Some(At::Place(Trigger::Crank(crank)))) => Which::Crank(crank.0),
        (None, _, Some(At::Place(Trigger::Delivery(vat, delivery)))) => {
            Which::Delivery { vat: vat.to_string(), delivery: delivery.0 }
        }
        (None, _, Some(At::Named(vat, delivery))) => {
            Which::Delivery { vat: grep::vat_of(file, vat)?, delivery: delivery.0 }
        }
        (None, _, Some(At::Place(_))) => {
            let hint = "name a crank or a delivery: `--at crank-12`, `--at v2/delivery-1`";
            return Err(Usage::new("a recording is shown by cranks and deliveries", hint).into());
        }
    })
}

/// The interval at which the file is checked for new records.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

fn watch(args: &ShowArgs, output: &Output) -> anyhow::Result<Exit> {
    let path = args.file.file.clone();
    let wait = move || {
        std::thread::sleep(LOOK_INTERVAL);
        is_recorded_to(&path)
    };
    let vat = args.vat.as_deref().map(|it| grep::vat_of(&args.file, it)).transpose()?;
    for shown in follow(Reader::follow(&args.file.file, wait).map_err(unreadable)?) {
        let shown = shown.map_err(unreadable)?;
        if shown.place.delivery.is_none() || vat.is_some() && shown.place.vat != vat {
            continue;
        }
        if args.file.json {
            output.json(&shown)?;
        } else {
            output.lines(lines(&shown))?;
        }
    }
    Ok(Exit::Ok)
}

/// Returns whether somebody may be recording to this file, who then holds a lock on it. On a file system without locks it is always so.
fn is_recorded_to(path: &Path) -> bool {
    let Ok(file) = files::open(path) else { return false };
    match file.try_lock_shared() {
        // Our own lock is released when the file is closed.
        Ok(()) => false,
        Err(_) => true,
    }
}

fn missing(which: &Which, extent: &Extent) -> String {
    let range = |what: &str, range: Option<(u64, u64)>| match range {
        Some((first, last)) => format!("{what} {first} to {last}"),
        None => format!("no {what}"),
    };
    match which {
        Which::Crank(number) => {
            format!("crank {number} is not recorded: the file has {}", range("cranks", extent.cranks))
        }
        Which::Delivery { vat, delivery } => {
            let range = range("deliveries", extent.deliveries);
            format!("delivery {delivery} to {vat} is not recorded: of that vat, the file has {range}")
        }
    }
}

fn lines(shown: &Shown) -> Vec<String> {
    let mut lines = vec![headline(shown)];
    lines.extend(shown.cause.as_ref().map(|it| format!("from    {}", cause(it, shown))));
    if shown.recorded > 1 {
        lines.push(format!(
            "again   recorded {} times: the block was lost with its host; this is the last time",
            shown.recorded
        ));
    }
    lines.extend(what(shown).map(|it| format!("what    {it}")));
    lines.extend(shown.events.iter().flat_map(|it| event(it, shown)));
    lines.extend(shown.events.iter().filter_map(clist));
    lines.push(end(shown));
    lines
}

/// The delivery in both references at once; without one, the item that the crank took.
fn what(shown: &Shown) -> Option<String> {
    let delivery = shown.events.iter().find_map(|it| match it.event() {
        RecordedEvent::Deliver { kernel, vat } => Some(text::act(kernel.0, vat.0)),
        _ => None,
    });
    delivery.or_else(|| taken(shown).filter(|it| !it.value.is_null()).map(|it| harmless(&it.value.to_string())))
}

fn taken(shown: &Shown) -> Option<QueuedItem<'_>> {
    match shown.events.first()?.event() {
        RecordedEvent::CrankStart { item, .. } => Some(item),
        _ => None,
    }
}

fn headline(shown: &Shown) -> String {
    let Place { crank, vat, delivery } = &shown.place;
    let block = shown.block_height.map_or_else(String::new, |it| format!(" of block {it}"));
    match (vat, delivery) {
        (Some(vat), Some(delivery)) => {
            format!("crank {crank}{block}: delivery {delivery} to {}", text::vat(vat, shown.name.as_deref()))
        }
        _ => format!("crank {crank}{block}: no delivery"),
    }
}

fn place(place: &Place) -> String {
    match (&place.vat, place.delivery) {
        (Some(vat), Some(delivery)) => format!("crank {}, {vat} delivery {delivery}", place.crank),
        _ => format!("crank {}, no delivery", place.crank),
    }
}

fn cause(cause: &Cause, shown: &Shown) -> String {
    let kind = taken(shown).map(|it| it.kind).unwrap_or_default();
    match cause {
        Cause::Syscall { place: at, number, syscall } => format!("{}, syscall {number}, {syscall}", place(at)),
        Cause::Kernel | Cause::Unrecorded => text::origin(kind).to_owned(),
    }
}

fn event(record: &Record, shown: &Shown) -> Vec<String> {
    let count = |it: Option<u64>, unknown: &str| it.map_or_else(|| unknown.to_owned(), grouped);
    let line = match record.event() {
        RecordedEvent::Syscall { number, kernel, vat } => return syscall(number, text::act(kernel.0, vat.0), shown),
        RecordedEvent::Console => {
            let Console { level, text, .. } = Console::of(record);
            format!("  {level}: {}", harmless(&text))
        }
        RecordedEvent::StartReplay { deliveries } => format!("  brought back by replay of {}", count(deliveries, "?")),
        RecordedEvent::Directive { line, status, consumed } => {
            let consumed = consumed.map(|it| format!("; it consumed {}", harmless(it))).unwrap_or_default();
            format!("  directive {}: {}{consumed}", harmless(line), harmless(status))
        }
        RecordedEvent::Terminate { vat, info, .. } => {
            format!("  terminated {}: {}", vat.unwrap_or("?"), text::act(&Value::Null, &json!([info])))
        }
        RecordedEvent::VatCleanup { rows } => {
            format!("  rows of {} removed: {}", record.vat().unwrap_or("?"), count(rows, "some"))
        }
        RecordedEvent::PromiseRejected { kpid } => format!("  rejected, and the host was told: {kpid}"),
        RecordedEvent::KernelPanic { detail, .. } => format!("  kernel panic: {}", harmless(&detail.to_string())),
        _ => return Vec::new(),
    };
    vec![line]
}

fn syscall(number: Option<u64>, act: String, shown: &Shown) -> Vec<String> {
    let answer = shown.events.iter().find_map(|it| match it.event() {
        RecordedEvent::SyscallResult { number: answered, vat, .. } if answered == number => Some(text::answer(vat)),
        _ => None,
    });
    let answer = answer.unwrap_or_else(|| "no answer".to_owned());
    let number = number.unwrap_or(0);
    let effects = shown.effects.get(&number).into_iter().flatten().map(|it| format!("      → {}", place(it)));
    [format!("  {number} {act} → {answer}")].into_iter().chain(effects).collect()
}

fn clist(record: &Record) -> Option<String> {
    let RecordedEvent::CList { mode, vat, kobj, vobj } = record.event() else { return None };
    let mode = match mode {
        CListMode::Import => "import",
        CListMode::Export => "export",
        CListMode::Drop => "drop",
    };
    Some(format!("  c-list of {vat}: {mode} {kobj}={vobj}"))
}

fn end(shown: &Shown) -> String {
    let result = shown.events.iter().find_map(|it| match it.event() {
        RecordedEvent::Delivered { fuel } => Some((it, "ok".to_owned(), fuel)),
        RecordedEvent::DeliveryFailed { fuel, .. } => Some((it, text::answer(&it.value["dr"]), fuel)),
        _ => None,
    });
    let Some((result, outcome, fuel)) = result else {
        let what = if shown.ended { "done, without a delivery" } else { "the recording ends here: it was under way" };
        return what.to_owned();
    };
    let fuel = fuel.map_or_else(String::new, |it| format!(", fuel {}", grouped(it)));
    let time = result.seconds("seconds").map_or_else(String::new, |it| format!(", {}", text::duration(it)));
    let undone = if shown.undone { "; all of it was undone" } else { "" };
    let ended = if shown.ended { "" } else { "; the recording ends before the crank does" };
    format!("{outcome}{fuel}{time}{undone}{ended}")
}
