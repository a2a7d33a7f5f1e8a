use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output, Usage, complete,
        host::{PolicyArgs, archive_hint, bundles_of, host_file, read_module},
        last_panic::LastPanic,
        named::{StateArgs, find_vat},
        output::{counted, grouped, size},
        progress::Progress,
        run::code_cache,
        state,
    },
    host::controller::{BlockPolicy, check_versions},
    inspect::{
        rerun::{Rerun, beginning, rerun, run_on},
        view::transcript,
    },
    kernel::set_probe,
    lab::probe::{Life, PlantedBug, PlantedBugs},
    model::{
        blame::{Anachronism, Fault},
        id::{DeliveryNum, VatId},
    },
    slog::{Detail, Event, Recorder, Slog},
    state::{
        block::{Block, history, stored},
        transcript::Entry,
    },
    store::Overlay,
    vat::Warehouse,
};

/// Run a vat's transcript again, and say where it differs
///
/// In a fresh instance, from where the vat's heap began; the state is only read. With `--wasm` another module is run against what
/// happened: the first delivery in which it would have done something else is named, with both sides. A delivery that is not
/// committed yet (the kernel panicked in it, say) is reached by running on, without committing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost replay ./state --vat bank
  vathost replay --state ./state --vat v3 --delivery 1234       show one delivery, whether committed or the next
  vathost replay --state ./state --vat v3 --delivery 1235 --directives recover.directives
  vathost replay --state ./state --vat v3 --wasm new-bank.wasm  would the new code have done the same?
  vathost replay --state ./state --vat bank --archive ./past --from 0     with what left by `run --keep needed --archive ./past`")]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    state: StateArgs,
    /// The vat, by number or by name
    #[arg(long, value_name = "VAT", add = complete::vat())]
    vat: String,
    /// Count from this delivery; those before it are run, for the heap
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Stop after this delivery
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Read the deliveries that have left the state from the files in this folder
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Show this delivery
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "to"])]
    delivery: Option<u64>,
    /// Run this module instead of the vat's own (its fuel may differ)
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// On the way to a delivery that is not committed, obey this file (otherwise that of the state's host.toml)
    #[arg(long, value_name = "FILE", requires = "delivery")]
    directives: Option<PathBuf>,
    /// On the way to a delivery that is not committed, with these bugs planted in the kernel, as the host had them
    #[arg(long, value_name = "NAME@crank-N", requires = "delivery")]
    plant: Vec<PlantedBug>,
    /// A module that a directive upgrades a vat to (repeatable)
    #[arg(long, value_name = "FILE.wasm", requires = "delivery")]
    bundle: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_replay(args: ReplayArgs, output: &Output) -> anyhow::Result<Exit> {
    let (slog, recorded) = last_crank();
    state::must_exist(&args.state)?;
    let mut block = Block::over(Overlay::over(&args.state)?.open()?, slog)?;
    if let Some(archive) = &args.archive {
        history::read_archive(&mut block, archive);
    }
    check_versions(&block)?;
    let vat = find_vat(block.tables(), &args.vat)?;
    let made = block.tables().tallies.get(&vat).map_or(0, |it| it.deliveries);
    let wasm = args.wasm.as_deref().map(read_module).transpose()?;
    match args.delivery {
        Some(number) if number >= made && wasm.is_none() => {
            let (block, policy) = as_its_host_ran(block, &args, output)?;
            show_uncommitted(block, &policy, vat, DeliveryNum(number), &recorded, args.json, output)
        }
        _ => {
            let from = args.delivery.or(args.from);
            let what = plan(&block, &args, vat, made, (from, args.delivery.or(args.to)), wasm)?;
            replay(&block, &what, from, &args, output)
        }
    }
}

/// Plans which part of the transcript to run.
fn plan(
    block: &Block,
    args: &ReplayArgs,
    vat: VatId,
    made: u64,
    (from, to): (Option<u64>, Option<u64>),
    wasm: Option<Vec<u8>>,
) -> anyhow::Result<Rerun> {
    let Some(last) = made.checked_sub(1) else {
        return Err(Usage::new(format!("{vat} has no delivery yet"), "").into());
    };
    let to = to.unwrap_or(last);
    let from = from.unwrap_or(to);
    if from > to || to > last {
        let what = format!("{vat} has deliveries 0 to {last}, not {from} to {to}");
        return Err(Usage::new(what, "a delivery number counts from 0, over all incarnations of the vat").into());
    }
    let Some(first) = beginning(block, vat, DeliveryNum(from))? else {
        let what = format!("{vat} has no transcript of a heap that holds delivery {from}");
        return Err(no_beginning(block, args, vat, what)?.into());
    };
    let current = block.tables().vats.get(&vat).map_or(DeliveryNum(0), |it| it.first_delivery);
    if first < current && wasm.is_none() {
        let what =
            format!("delivery {from} was made by an earlier incarnation of {vat}, whose code is not known any more");
        return Err(Usage::new(what, "name its module: --wasm FILE").into());
    }
    Ok(Rerun { vat, first, last: DeliveryNum(to), wasm })
}

/// Says why the heap that holds a delivery cannot be begun.
fn no_beginning(block: &Block, args: &ReplayArgs, vat: VatId, what: String) -> anyhow::Result<Usage> {
    if let Some(gap) = history::archive_gap(block, vat)? {
        return Ok(Usage::new(
            format!("{what}: {gap}"),
            "take what is missing from a backup, or from another replica's archive",
        ));
    }
    Ok(match history::pruned(block, vat)? {
        Some(pruned) => {
            let hint =
                archive_hint(&args.state).unwrap_or_else(|| "replay it in a copy that was made before".to_owned());
            Usage::new(format!("{what}: {}", pruned.told()), hint)
        }
        None => Usage::new(what, "the vat is gone, or it did not start until later"),
    })
}

/// The sums over the deliveries of a replay.
#[derive(Default)]
struct Sum {
    deliveries: u64,
    passed: u64,
    syscalls: u64,
    fuel: u64,
    recorded_fuel: u64,
    memory: u64,
    shown: Option<Entry>,
}

fn replay(block: &Block, what: &Rerun, from: Option<u64>, args: &ReplayArgs, output: &Output) -> anyhow::Result<Exit> {
    let mut workers = Warehouse::new(code_cache().as_deref())?;
    let from = from.map_or(what.first, DeliveryNum);
    let total = what.last.0 - what.first.0 + 1;
    let mut sum = Sum::default();
    let progress = Progress::new(output, "replaying", "deliveries");
    let result = rerun(block, &mut workers, what, &mut |it| {
        progress.set(it.entry.number.0 - what.first.0 + 1, total);
        if it.entry.number < from {
            return true;
        }
        let Some(recorded) = it.recorded else {
            sum.passed += 1;
            return true;
        };
        sum.deliveries += 1;
        sum.syscalls += it.entry.syscalls.len() as u64;
        sum.fuel += it.usage.fuel;
        sum.recorded_fuel += recorded;
        sum.memory = it.usage.memory;
        let kind = it.entry.delivery.as_ref().map_or("", |it| it.kind());
        output.detail(format!(
            "{} {kind}: {}, fuel {}",
            it.entry.number,
            counted(it.entry.syscalls.len() as u64, "syscall", "syscalls"),
            it.usage.fuel
        ));
        sum.shown = args.delivery.map(|_| it.entry.clone());
        true
    });
    let elapsed = progress.finish();
    match result {
        Ok(()) => same(what, &sum, elapsed, args.json, output),
        Err(Fault::Anachronism(it)) => differs(&it, args.json, output),
        Err(fault) => Err(fault.into()),
    }
}

fn same(what: &Rerun, sum: &Sum, elapsed: Duration, json: bool, output: &Output) -> anyhow::Result<Exit> {
    let rate = sum.deliveries as f64 / elapsed.as_secs_f64().max(1e-9);
    if json {
        output.json(&json!({
            "ok": true, "vatID": what.vat.to_string(), "from": what.first.0, "to": what.last.0, "deliveries": sum.deliveries,
            "passedOver": sum.passed, "syscalls": sum.syscalls, "fuel": sum.fuel, "recordedFuel": sum.recorded_fuel,
            "memoryBytes": sum.memory, "seconds": elapsed.as_secs_f64(), "deliveriesPerSecond": rate,
        }))?;
        return Ok(Exit::Ok);
    }
    if let Some(entry) = &sum.shown {
        let number = entry.number.to_string();
        let text = transcript::text_of(entry).replacen(&number, &format!("{number} to {}:", what.vat), 1);
        output.line(text)?;
    }
    let deliveries = counted(sum.deliveries, "delivery", "deliveries");
    let syscalls = counted(sum.syscalls, "syscall", "syscalls");
    let passed = if sum.passed > 0 { format!(", {} passed over", grouped(sum.passed)) } else { String::new() };
    let fuel = match &what.wasm {
        Some(_) => format!("{}, recorded {}", grouped(sum.fuel), grouped(sum.recorded_fuel)),
        None => grouped(sum.fuel),
    };
    output.line(format!("{}: the same: {deliveries}, {syscalls}{passed}", what.vat))?;
    output.line(format!("fuel {fuel}; memory {}", size(sum.memory)))?;
    output.line(format!("{:.2} s, {:.0} deliveries a second", elapsed.as_secs_f64(), rate))?;
    Ok(Exit::Ok)
}

fn differs(it: &Anachronism, json: bool, output: &Output) -> anyhow::Result<Exit> {
    if json {
        output.json(&json!({
            "ok": false, "vatID": it.vat.to_string(), "delivery": it.delivery, "what": it.what,
            "recorded": it.recorded, "actual": it.actual,
        }))?;
    } else {
        output.line(format!("{} differs in delivery {}: {}", it.vat, it.delivery, it.what))?;
        output.line(format!("  recorded {}\n  now      {}", it.recorded, it.actual))?;
    }
    Ok(Exit::Divergence)
}

/// Gives the state the settings and directives that its host ran with.
fn as_its_host_ran(mut block: Block, args: &ReplayArgs, output: &Output) -> anyhow::Result<(Block, BlockPolicy)> {
    let (host, last_panic) = (host_file(Some(&args.state))?, LastPanic::of(&args.state)?);
    let (policy, plants) = (last_panic.policy(&args.policy, &host), last_panic.plants(&args.plant)?);
    let directives = last_panic.directives(args.directives.as_deref(), &host)?;
    last_panic.say(&policy, &plants, &directives, output);
    block.set_directives(directives);
    for wasm in bundles_of(&host, &args.bundle)? {
        block.put_bundle(&wasm);
    }
    if let Some(every) = last_panic.audit() {
        stored::hold_references(&mut block)?;
        block.set_audit(every);
    }
    if !args.plant.is_empty() && !block.meta().experimental {
        let hint = "only a state made with --experimental has them";
        return Err(Usage::new("a fault can be planted only in a state for experiments", hint).into());
    }
    set_probe(&mut block, PlantedBugs::probe(&plants, Life::Dear));
    Ok((block, policy))
}

/// Runs on to a delivery that is not committed, and prints its crank; a kernel panic in it ends the command as it ended the host.
fn show_uncommitted(
    block: Block,
    policy: &BlockPolicy,
    vat: VatId,
    delivery: DeliveryNum,
    recorded: &Recorded,
    json: bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let height = block.tables().globals().height;
    output.note(format!("{delivery} of {vat} is not committed at {height}: running on to it, without committing"));
    let mut workers = Warehouse::new(code_cache().as_deref())?;
    let result = run_on(block, &mut workers, policy, vat, delivery);
    let events = recorded.lock().map(|it| it.clone()).unwrap_or_default();
    if let Ok(None) = result {
        let what = format!("nothing is left to do before {delivery} of {vat} comes");
        return Err(Usage::new(what, "a delivery number counts from 0, over all incarnations of the vat").into());
    }
    if json {
        let events: Vec<serde_json::Value> = events.iter().filter_map(|it| serde_json::from_str(it).ok()).collect();
        output
            .json(&json!({ "vatID": vat.to_string(), "delivery": delivery.0, "committed": false, "events": events }))?;
    } else {
        events.iter().try_for_each(|it| output.json_text(it))?;
    }
    Ok(result.map(|_| Exit::Ok).map_err(|it| *it)?)
}

type Recorded = Arc<Mutex<Vec<String>>>;

/// A recorder that keeps the events of the last crank.
fn last_crank() -> (Slog, Recorded) {
    struct Last(Recorded);
    impl Recorder for Last {
        fn record(&mut self, event: &Event<'_>) {
            let (Ok(mut kept), Ok(line)) = (self.0.lock(), serde_json::to_string(event)) else { return };
            if matches!(event, Event::CrankStart { .. }) {
                kept.clear();
            }
            kept.push(line);
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let recorded = Recorded::default();
    (Slog::new(Detail::Syscalls, Last(recorded.clone())), recorded)
}
