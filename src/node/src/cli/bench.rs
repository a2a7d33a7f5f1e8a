//! `bench`: how fast a network of validators is on this machine.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use vathost::{Host, HostOptions, Options, Scenario, host::scenario::StaticVat, state::table::OnFault};

use super::{
    Exit,
    client::ask,
    output::Output,
    testnet::{Plan, Said, Testnet, terminate},
};
use crate::home::Timing;

/// Measure a network of validators on this machine
///
/// Each network is a process a validator, on loopback. One client calls a vat, and waits for the answer before it calls again; then blocks are
/// counted while each has so much to run. Build with `--release`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vathost-node bench\n  vathost-node bench --validators 4 --work 0,5,50 --json")]
pub(super) struct BenchArgs {
    /// The numbers of validators
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 4, 7])]
    validators: Vec<u16>,
    /// Milliseconds that the kernel works in each block
    #[arg(long, value_name = "MS,…", value_delimiter = ',', default_values_t = [0, 5, 50])]
    work: Vec<u64>,
    /// Seconds for which blocks are counted
    #[arg(long, value_name = "S", default_value_t = 5)]
    seconds: u64,
    /// The number of calls
    #[arg(long, value_name = "N", default_value_t = 100)]
    calls: usize,
    /// Print one JSON object for each network
    #[arg(long)]
    json: bool,
}

/// The figures of one network.
struct Figures {
    blocks_per_second: f64,
    p50: f64,
    p99: f64,
}

pub(super) fn cmd_bench(args: &BenchArgs, output: &Output) -> anyhow::Result<Exit> {
    let fuel = fuel_per_millisecond()?;
    for validators in &args.validators {
        for work in &args.work {
            let Figures { blocks_per_second, p50, p99 } = measure(*validators, *work, fuel, args)?;
            if args.json {
                output.json(&json!({
                    "validators": validators, "workMs": work, "blocksPerSecond": blocks_per_second, "p50Ms": p50, "p99Ms": p99,
                }))?;
            } else {
                output.line(format!(
                    "{validators} validators, {work:>2} ms of work: {blocks_per_second:>6.1} blocks/s; submit to result: p50 {p50:.1} ms, p99 {p99:.1} ms"
                ))?;
            }
        }
    }
    Ok(Exit::OK)
}

/// Returns a scenario of a counter, and of a vat that burns this much fuel in each message, and survives it.
fn scenario(fuel: u64) -> Scenario {
    let vat = |name: &str, wasm: &[u8], options: Options| StaticVat {
        name: name.to_owned(),
        wasm: wasm.to_vec(),
        options,
        parameters: "#{}".to_owned(),
    };
    let burns = Options { fuel_per_delivery: fuel, on_fault: OnFault::Reject, ..Options::default() };
    let exports = ["counter", "hog"].map(|it| (it.to_owned(), it.to_owned()));
    Scenario {
        vats: vec![
            vat("counter", include_bytes!("../../../../vats/counter.wasm"), Options::default()),
            vat("hog", include_bytes!("../../../../vats/hog.wasm"), burns),
        ],
        exports: exports.into_iter().collect(),
        ..Scenario::default()
    }
}

/// Measures how much fuel a millisecond of this machine is.
fn fuel_per_millisecond() -> anyhow::Result<u64> {
    const FUEL: u64 = 50_000_000;
    let mut host = Host::open(HostOptions { code_cache: super::code_cache(), ..HostOptions::default() })?;
    host.install(&scenario(FUEL)).map_err(anyhow::Error::from)?;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        host.send("hog", "loop", [])?;
        let begun = Instant::now();
        host.run_block(&vathost::BlockPolicy::default(), &mut |_| true).map_err(anyhow::Error::from)?;
        best = best.min(begun.elapsed());
    }
    Ok(FUEL * 1_000 / u64::try_from(best.as_micros()).unwrap_or(u64::MAX).max(1))
}

fn measure(validators: u16, work: u64, fuel: u64, args: &BenchArgs) -> anyhow::Result<Figures> {
    let dir = tempfile::tempdir().context("make folders for the validators")?;
    let plan = Plan {
        dir: dir.path(),
        validators,
        base_port: None,
        timing: Timing { idle_ms: 0, ..Timing::default() },
        experimental: false,
        plants: vec![],
        cranks_per_block: Some(1),
    };
    let testnet = Testnet::make(&plan, &scenario((work * fuel).max(1)))?;
    let (said, heard) = mpsc::channel();
    let mut children = Vec::new();
    for node in 0..usize::from(validators) {
        children.push(testnet.start(node, &said)?);
    }
    let figures = observe(&testnet, work, args, &heard);
    children.iter().for_each(terminate);
    for mut child in children {
        child.wait()?;
    }
    figures
}

fn observe(testnet: &Testnet, work: u64, args: &BenchArgs, heard: &Receiver<Said>) -> anyhow::Result<Figures> {
    let urls: Vec<String> =
        testnet.homes.iter().map(|it| Ok(format!("http://{}", it.settings()?.http))).collect::<anyhow::Result<_>>()?;
    blocks(heard, Duration::from_secs(60), |block| block["height"].as_u64() >= Some(10))?;
    let (name, body) = if work == 0 {
        ("counter", json!({ "method": "increment", "args": [1] }))
    } else {
        ("hog", json!({ "method": "loop", "args": [] }))
    };
    let mut times = Vec::new();
    for call in 0..args.calls {
        let begun = Instant::now();
        let answer = ask(&format!("{}/cap/{name}", urls[call % urls.len()]), Some(&body))?;
        ensure!(["fulfilled", "rejected"].contains(&answer["status"].as_str().unwrap_or_default()), "{answer}");
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied().unwrap_or_default();
    let blocks_per_second = count_blocks(&urls[0], work, args.seconds, heard)?;
    Ok(Figures { blocks_per_second, p50: at(50), p99: at(99) })
}

/// Counts the blocks of some seconds, each with so much work: what is submitted at once is run one crank a block.
fn count_blocks(url: &str, work: u64, seconds: u64, heard: &Receiver<Said>) -> anyhow::Result<f64> {
    if let Some(messages) = (seconds * 1_000).checked_div(work) {
        let height = ask(&format!("{url}/status"), None)?["height"].as_u64().unwrap_or(0);
        let input = json!({ "kind": "send", "to": "hog", "method": "loop", "args": [] }).to_string();
        for nonce in 0..messages + 20 {
            let body = json!({ "nonce": nonce, "lastHeight": height + 900, "input": input });
            ask(&format!("{url}/submit"), Some(&body))?;
        }
    }
    // What was said meanwhile.
    while heard.try_recv().is_ok() {}
    let begun = Instant::now();
    let mut count = 0_u32;
    let time = Duration::from_secs(seconds);
    blocks(heard, time + Duration::from_secs(30), |block| {
        let counts = work == 0 || block["cranks"].as_u64() > Some(0);
        count += u32::from(counts);
        begun.elapsed() >= time || (!counts && count > 0)
    })?;
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// Listens to the blocks of the first node, until `is_over` is told one that it waited for.
fn blocks(heard: &Receiver<Said>, patience: Duration, mut is_over: impl FnMut(&Value) -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    loop {
        match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Said::Event(0, event)) if event["event"] == "block" => {
                if is_over(&event) {
                    return Ok(());
                }
            }
            Ok(Said::Event(_, event)) if event["event"] == "halted" => bail!("a validator halted: {}", event["text"]),
            Ok(_) => (),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => bail!("the validators make no blocks"),
        }
    }
}
