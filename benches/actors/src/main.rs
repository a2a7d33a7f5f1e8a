//! Measures native Rust actors and vathost in turn, and prints one table: what a message takes where nothing is sandboxed, metered,
//! recorded, or durable, and what it takes where all of it is.
//!
//! An ask is two messages: the question, and its answer through a channel of its own. Both ends are on one thread, which is the
//! quickest way that actors have. A delivery of `ping` is one message to another vat; one of `call` a message or the answer to it.

use std::{path::PathBuf, process::Command, time::Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use kameo::{
    actor::Spawn,
    message::{Context, Message},
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde_json::Value;

/// Measures native actors and vathost in turn.
#[derive(Parser)]
struct Args {
    /// The release build of vathost.
    vathost: PathBuf,
    /// Rounds: the medians count.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Asks of a round.
    #[arg(long, default_value_t = 200_000)]
    asks: u64,
    /// Deliveries of a round.
    #[arg(long, default_value_t = 40_000)]
    deliveries: u64,
}

/// Counts what it is asked to.
#[derive(kameo::Actor)]
struct Kameo {
    sum: u64,
}

struct Add(u64);

impl Message<Add> for Kameo {
    type Reply = u64;

    async fn handle(&mut self, Add(more): Add, _: &mut Context<Self, Self::Reply>) -> u64 {
        self.sum += more;
        self.sum
    }
}

/// Counts what it is asked to.
struct Ractor;

enum Ask {
    Add(u64, RpcReplyPort<u64>),
}

impl Actor for Ractor {
    type Msg = Ask;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Ask>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<Ask>, ask: Ask, sum: &mut u64) -> Result<(), ActorProcessingErr> {
        let Ask::Add(more, reply) = ask;
        *sum += more;
        Ok(reply.send(*sum)?)
    }
}

async fn ask_kameo(asks: u64) -> anyhow::Result<u64> {
    let actor = Kameo::spawn(Kameo { sum: 0 });
    let mut sum = 0;
    for _ in 0..asks {
        sum = actor.ask(Add(1)).await?;
    }
    actor.stop_gracefully().await?;
    Ok(sum)
}

async fn ask_ractor(asks: u64) -> anyhow::Result<u64> {
    let (actor, end) = Actor::spawn(None, Ractor, ()).await?;
    let mut sum = 0;
    for _ in 0..asks {
        sum = ractor::call!(actor, Ask::Add, 1)?;
    }
    actor.stop(None);
    end.await?;
    Ok(sum)
}

/// Nanoseconds of an ask.
fn measure<F: Future<Output = anyhow::Result<u64>>>(asks: u64, run: impl Fn(u64) -> F) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(run(asks / 10))?;
    let begun = Instant::now();
    let sum = runtime.block_on(run(asks))?;
    if sum != asks {
        bail!("{sum} of {asks} asks were answered");
    }
    Ok(begun.elapsed().as_nanos() as f64 / asks as f64)
}

/// Nanoseconds of a bare call with a send, and of a delivery of `ping` and of `call`.
fn ask_vathost(args: &Args) -> anyhow::Result<[f64; 3]> {
    let mut command = Command::new(&args.vathost);
    command.args(["bench", "ping", "call", "--runs", "1", "--json", "--deliveries", &args.deliveries.to_string()]);
    let output = command.output().with_context(|| format!("start `{}`", args.vathost.display()))?;
    let found: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("`{}` said no JSON: {}", args.vathost.display(), String::from_utf8_lossy(&output.stderr))
    })?;
    let number = |it: &Value| it["nsPerDelivery"].as_f64().context("a figure is missing");
    let workload = |name: &str| {
        let mut all = found["workloads"].as_array().into_iter().flatten();
        number(all.find(|it| it["name"] == name).unwrap_or(&Value::Null))
    };
    Ok([number(&found["floors"]["send"])?, workload("ping")?, workload("call")?])
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let names = [
        "wasmtime: a bare call with a send",
        "kameo: an ask",
        "ractor: an ask",
        "vathost: a delivery of `ping`",
        "vathost: a delivery of `call`",
    ];
    let mut rounds = Vec::new();
    for round in 1..=args.runs {
        eprintln!("round {round} of {} …", args.runs);
        let (kameo, ractor) = (measure(args.asks, ask_kameo)?, measure(args.asks, ask_ractor)?);
        let [send, ping, call] = ask_vathost(&args)?;
        rounds.push([send, kameo, ractor, ping, call]);
    }
    println!("| | ns, median of {} | × the ask of ractor |", args.runs);
    println!("| --- | --- | --- |");
    for (at, name) in names.iter().enumerate() {
        let ns = median(rounds.iter().map(|it| it[at]).collect());
        let ratio = median(rounds.iter().map(|it| it[at] / it[2]).collect());
        println!("| {name} | {ns:.0} | {ratio:.2} |");
    }
    Ok(())
}
