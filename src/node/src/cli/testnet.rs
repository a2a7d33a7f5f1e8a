//! `testnet`: a chain of several validators in one terminal, each a process with a home of its own.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, Sender},
};

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use vathost::Scenario;

use super::{
    Exit,
    init::{make_genesis, take_over},
    log::short,
    output::Output,
};
use crate::{
    engine,
    genesis::{Genesis, Submitters, Validator},
    home::{Home, Settings, Timing},
};

/// Run a chain of several validators in this terminal
///
/// Each has a home in the folder and a process of its own. The chain is open: everybody on this machine may submit. ^C ends them all, and
/// the same command goes on with the chain.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost-node testnet --validators 4 --scenario vats/bank
  vathost-node submit --home ./testnet/node-0 north makePurse 100      in another terminal")]
pub(super) struct TestnetArgs {
    /// The number of validators
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=50))]
    validators: u16,
    /// A `vat.toml`, or the folder that holds it
    #[arg(long, value_name = "FILE")]
    scenario: PathBuf,
    /// The folder of the homes
    #[arg(long, value_name = "DIR", default_value = "testnet")]
    dir: PathBuf,
    /// The first of the ports that are used; there are two for each validator [default: some that are free]
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Milliseconds between two empty blocks
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    idle_ms: u64,
    /// Make the states ones for experiments: only there bugs can be planted
    #[arg(long)]
    experimental: bool,
    /// Plant a bug in every kernel, as in `resolve-non-decider@crank-0`
    #[arg(long, value_name = "NAME@PLACE", requires = "experimental")]
    plant: Vec<String>,
    /// Only write the homes
    #[arg(long)]
    init_only: bool,
}

/// The homes of a test network.
pub(super) struct Testnet {
    pub(super) homes: Vec<Home>,
}

/// The way a test network is to be.
pub(super) struct Plan<'a> {
    pub(super) dir: &'a Path,
    pub(super) validators: u16,
    pub(super) base_port: Option<u16>,
    pub(super) timing: Timing,
    pub(super) experimental: bool,
    pub(super) plants: Vec<String>,
    /// The most cranks of a block, if not as many as usual.
    pub(super) cranks_per_block: Option<u64>,
}

impl Testnet {
    /// Makes the homes, or finds those that are there.
    pub(super) fn make(plan: &Plan<'_>, scenario: &Scenario) -> anyhow::Result<Testnet> {
        let homes: Vec<Home> = (0..plan.validators).map(|it| Home::at(plan.dir.join(format!("node-{it}")))).collect();
        if homes.iter().all(|it| it.genesis_file().exists()) {
            return Ok(Testnet { homes });
        }
        let ports = ports(plan)?;
        for (at, home) in homes.iter().enumerate().filter(|(_, it)| !it.exists()) {
            let settings = Settings {
                name: format!("node-{at}"),
                listen: format!("/ip4/127.0.0.1/tcp/{}", ports[2 * at]),
                peers: vec![],
                http: format!("127.0.0.1:{}", ports[2 * at + 1]),
                timing: plan.timing,
                bundles: vec![],
                plants: plan.plants.clone(),
            };
            home.make(&settings)?;
        }
        let mut addresses = Vec::new();
        let mut validators = Vec::new();
        for home in &homes {
            let settings = home.settings()?;
            addresses.push(format!("{}/p2p/{}", settings.listen, engine::peer_id(&home.network_key()?)?));
            validators.push(Validator { name: settings.name, key: home.validator_key()?.public(), power: 1 });
        }
        let mut genesis = make_genesis("testnet", validators, Submitters::Everybody, scenario)?;
        genesis.cranks_per_block = plan.cranks_per_block.unwrap_or(genesis.cranks_per_block);
        for (at, home) in homes.iter().enumerate() {
            let others = addresses.iter().enumerate().filter(|(it, _)| *it != at).map(|(_, it)| it.clone());
            home.put_settings(&Settings { peers: others.collect(), ..home.settings()? })?;
            take_over(home, &genesis, scenario, plan.experimental)?;
        }
        Ok(Testnet { homes })
    }

    /// Starts the process of one node. What it says goes to `said`.
    pub(super) fn start(&self, node: usize, said: &Sender<Said>) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command.args(["--color", "never", "start", "--log", "json", "--home"]).arg(self.homes[node].dir());
        // ^C is for this process, which asks them to end.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().context("start a node")?;
        let stderr = child.stderr.take().context("read what a node says")?;
        let said = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if said.send(Said::Event(node, event)).is_err() {
                    return;
                }
            }
            let _ = said.send(Said::Silent(node));
        });
        Ok(child)
    }
}

/// Returns free ports: two for each validator.
fn ports(plan: &Plan<'_>) -> anyhow::Result<Vec<u16>> {
    let count = 2 * plan.validators;
    if let Some(base) = plan.base_port {
        return Ok((0..count).map(|it| base.saturating_add(it)).collect());
    }
    // All are held until all are found, so that none is found twice.
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    Ok(held.iter().map(|it| it.local_addr().map(|it| it.port())).collect::<Result<_, _>>()?)
}

/// Something that came from a node's process.
#[derive(Debug)]
pub(super) enum Said {
    /// A line of its log.
    Event(usize, Value),
    /// The end of its log: the process ends.
    Silent(usize),
    /// The user wants to end.
    Interrupted,
}

/// Asks a process to end between two blocks.
pub(super) fn terminate(child: &Child) {
    let Ok(id) = i32::try_from(child.id()) else { return };
    if let Some(id) = rustix::process::Pid::from_raw(id) {
        // One that has ended needs no signal.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

pub(super) fn cmd_testnet(args: &TestnetArgs, output: &Output) -> anyhow::Result<Exit> {
    let scenario = Scenario::read(&args.scenario)?;
    let plan = Plan {
        dir: &args.dir,
        validators: args.validators,
        base_port: args.base_port,
        timing: Timing { idle_ms: args.idle_ms, ..Timing::default() },
        experimental: args.experimental,
        plants: args.plant.clone(),
        cranks_per_block: None,
    };
    let testnet = Testnet::make(&plan, &scenario)?;
    for (at, home) in testnet.homes.iter().enumerate() {
        let (dir, http) = (home.dir().display().to_string(), home.settings()?.http);
        output.colored_line(&[output.colored(at, &format!("{dir}  http://{http}"))])?;
    }
    if args.init_only {
        return Ok(Exit::OK);
    }
    let (said, heard) = mpsc::channel();
    let interrupted = said.clone();
    ctrlc::set_handler(move || drop(interrupted.send(Said::Interrupted))).context("watch for ^C")?;
    let mut nodes = Vec::new();
    for node in 0..testnet.homes.len() {
        nodes.push(Some(testnet.start(node, &said)?));
    }
    let genesis = testnet.homes[0].genesis()?;
    watch(nodes, &heard, &genesis, output)
}

/// The blocks that the nodes told of, until a line was printed of each.
#[derive(Debug, Default)]
struct Told {
    /// For each height the nodes that committed it, with the state hash and the cranks.
    blocks: BTreeMap<u64, Vec<(usize, String, u64)>>,
}

/// Prints what the nodes say until all have ended. Returns the highest exit code of one.
fn watch(
    mut nodes: Vec<Option<Child>>,
    heard: &Receiver<Said>,
    genesis: &Genesis,
    output: &Output,
) -> anyhow::Result<Exit> {
    let mut told = Told::default();
    let mut exit = 0;
    while let Ok(said) = heard.recv() {
        match said {
            Said::Interrupted => nodes.iter().flatten().for_each(terminate),
            Said::Event(node, event) => say(node, &event, &mut told, &nodes, genesis, output)?,
            Said::Silent(node) => {
                let Some(mut child) = nodes[node].take() else { continue };
                let code = code_of(child.wait()?);
                exit = exit.max(code);
                let name = &genesis.validators[node].name;
                output.colored_line(&[output.colored(node, &format!("{name}  ended with exit code {code}"))])?;
                told.print_complete(&nodes, genesis, output)?;
            }
        }
        if nodes.iter().all(Option::is_none) {
            break;
        }
    }
    Ok(Exit(exit))
}

/// Returns the exit code of a process; one that was killed has that of a shell.
pub(super) fn code_of(status: ExitStatus) -> u8 {
    let signal = || std::os::unix::process::ExitStatusExt::signal(&status).map(|it| 128 + it);
    status.code().or_else(signal).and_then(|it| u8::try_from(it).ok()).unwrap_or(u8::MAX)
}

fn say(
    node: usize,
    event: &Value,
    told: &mut Told,
    nodes: &[Option<Child>],
    genesis: &Genesis,
    output: &Output,
) -> anyhow::Result<()> {
    let text = match event["event"].as_str() {
        Some("block") => {
            let hash = event["stateHash"].as_str().unwrap_or_default().to_owned();
            let height = event["height"].as_u64().unwrap_or(0);
            told.blocks.entry(height).or_default().push((node, hash, event["cranks"].as_u64().unwrap_or(0)));
            return told.print_complete(nodes, genesis, output);
        }
        Some("opened" | "serving") => return Ok(()),
        Some("halted") => event["text"].as_str().unwrap_or_default().to_owned(),
        Some("objection") => {
            format!("no vote in block {}: {}", event["height"], event["why"].as_str().unwrap_or_default())
        }
        _ => event.as_str().map_or_else(|| event.to_string(), str::to_owned),
    };
    let name = &genesis.validators[node].name;
    for line in text.trim_end().lines() {
        output.colored_line(&[output.colored(node, &format!("{name}  {line}"))])?;
    }
    Ok(())
}

impl Told {
    /// Prints a line for each block that all running nodes have committed, or that some are two behind with.
    fn print_complete(&mut self, nodes: &[Option<Child>], genesis: &Genesis, output: &Output) -> anyhow::Result<()> {
        let running = nodes.iter().flatten().count();
        while let Some((height, by)) = self.blocks.first_key_value() {
            let is_old = self.blocks.last_key_value().is_some_and(|(last, _)| *last >= height + 2);
            if by.len() < running && !is_old {
                return Ok(());
            }
            let mut line = vec![output.plain(&format!("block {height:<6}"))];
            let mut by = by.clone();
            by.sort();
            for (node, hash, _) in &by {
                line.push(output.colored(*node, &format!(" {} {}", genesis.validators[*node].name, short(hash))));
            }
            line.push(output.plain(&format!("  {} cranks", by.first().map_or(0, |it| it.2))));
            output.colored_line(&line)?;
            self.blocks.pop_first();
        }
        Ok(())
    }
}
