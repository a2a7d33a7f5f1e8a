//! `demo panic`: what this program is for. Four real processes meet a bug in the kernel, halt in one block, and go on by one line.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vathost::{Options, Scenario, host::scenario::StaticVat};

use super::{
    Exit,
    client::ask,
    log::short,
    output::Output,
    testnet::{Plan, Said, Testnet, code_of, terminate},
};
use crate::home::Timing;

/// Watch what this program is for
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    #[command(subcommand)]
    verb: DemoVerb,
}

#[derive(Subcommand, Debug)]
enum DemoVerb {
    /// Four validators meet a bug in the kernel, halt in the same block, and go on by one line in four files
    ///
    /// The bug is planted: an authority check is missing at the boundary, as it is in SwingSet. Everything else is as in real life: four
    /// processes, a consensus engine, a message that somebody submits.
    #[command(after_help = "Example:\n  vathost-node demo panic")]
    Panic,
}

pub(super) fn cmd_demo(args: &DemoArgs, output: &Output) -> anyhow::Result<Exit> {
    match args.verb {
        DemoVerb::Panic => {
            let dir = tempfile::tempdir().context("make folders for the validators")?;
            let mut demo = Demo::new(dir.path(), *output)?;
            let done = demo.panic();
            demo.end();
            done.map(|()| Exit::OK)
        }
    }
}

const VALIDATORS: u16 = 4;

/// The bug that is planted in every kernel.
const BUG: &str = "resolve-non-decider@crank-0";

/// The longest that the demonstration waits for something: a debug build on a slow machine takes seconds for a block.
const PATIENCE: Duration = Duration::from_secs(60);

/// The demonstration: a test network, and what its nodes say.
struct Demo {
    testnet: Testnet,
    nodes: Vec<Option<Child>>,
    said: Sender<Said>,
    heard: Receiver<Said>,
    output: Output,
}

impl Demo {
    fn new(dir: &Path, output: Output) -> anyhow::Result<Demo> {
        let plan = Plan {
            dir,
            validators: VALIDATORS,
            base_port: None,
            timing: Timing { idle_ms: 300, status_ms: 300, ..Timing::default() },
            experimental: true,
            plants: vec![BUG.to_owned()],
            cranks_per_block: None,
        };
        let testnet = Testnet::make(&plan, &scenario())?;
        let (said, heard) = mpsc::channel();
        Ok(Demo { testnet, nodes: vec![], said, heard, output })
    }

    fn say(&self, text: impl AsRef<str>) -> anyhow::Result<()> {
        Ok(self.output.line(text)?)
    }

    fn url(&self, node: usize) -> anyhow::Result<String> {
        Ok(format!("http://{}", self.testnet.homes[node].settings()?.http))
    }

    fn start_all(&mut self) -> anyhow::Result<()> {
        self.nodes.clear();
        for node in 0..self.testnet.homes.len() {
            self.nodes.push(Some(self.testnet.start(node, &self.said)?));
        }
        Ok(())
    }

    /// Asks all that run to end, and waits for them.
    fn end(&mut self) {
        self.nodes.iter().flatten().for_each(terminate);
        for mut node in self.nodes.drain(..).flatten() {
            // One that does not end by itself is ended at the end of the demonstration.
            let _ = node.wait();
        }
    }

    /// Waits for what the nodes say, until `take` has what it wants.
    fn hear<T>(&self, what: &str, mut take: impl FnMut(usize, &Value) -> Option<T>) -> anyhow::Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Said::Event(node, event)) => {
                    if let Some(taken) = take(node, &event) {
                        return Ok(taken);
                    }
                }
                Ok(Said::Silent(_) | Said::Interrupted) => (),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("{what}: not in {} s", PATIENCE.as_secs())
                }
            }
        }
    }

    /// Waits until all nodes have committed a block of this height or a later one. Returns the hashes at that height.
    fn all_reach(&self, height: u64) -> anyhow::Result<String> {
        let mut hashes = vec![None; self.testnet.homes.len()];
        self.hear(&format!("block {height} at all validators"), |node, event| {
            if event["event"] == "block" && event["height"] == height {
                hashes[node] = event["stateHash"].as_str().map(str::to_owned);
            }
            hashes.iter().all(Option::is_some).then_some(())
        })?;
        let first = hashes[0].clone().unwrap_or_default();
        ensure!(
            hashes.iter().all(|it| it.as_ref() == Some(&first)),
            "the validators came to different states: {hashes:?}"
        );
        Ok(first)
    }

    /// Waits until all nodes have halted and ended. Returns the reports.
    fn all_halt(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut reports = vec![Value::Null; self.testnet.homes.len()];
        self.hear("a halt of all validators", |node, event| {
            if event["event"] == "halted" {
                reports[node] = event.clone();
            }
            reports.iter().all(|it| !it.is_null()).then_some(())
        })?;
        for (node, child) in self.nodes.iter_mut().enumerate() {
            let Some(mut child) = child.take() else { continue };
            let code = code_of(child.wait()?);
            ensure!(code == 70, "node-{node} ended with {code}, not with 70");
        }
        Ok(reports)
    }

    fn panic(&mut self) -> anyhow::Result<()> {
        let id = self.meet_the_bug()?;
        let reports = self.halt()?;
        let epitaph = &reports[0]["epitaph"];
        self.look()?;
        let ways = reports[0]["waysOn"].as_array().cloned().unwrap_or_default();
        let line = ways
            .iter()
            .filter_map(Value::as_str)
            .find(|it| it.contains("skip"))
            .context("a panic in a delivery can be skipped")?;
        self.restart_without(epitaph)?;
        self.go_on(line, &id)
    }

    /// Starts the validators, and submits the message that triggers the bug. Returns the id of the message.
    fn meet_the_bug(&mut self) -> anyhow::Result<String> {
        self.say(format!(
            "{VALIDATORS} validators, a process each: an honest counter, and a vat that settles a promise it does not decide."
        ))?;
        self.say(format!("Their kernels have a bug: it is not checked at the boundary. (plants = [\"{BUG}\"])\n"))?;
        self.start_all()?;
        let hash = self.all_reach(2)?;
        self.say(format!("Blocks flow: all at block 2, state hash {}.", short(&hash)))?;
        let honest = self.submit(1, "honest", "increment", &json!([40]), 30)?;
        self.say(format!("Submitted at node-1: honest.increment(40) → {}", honest["value"]))?;
        let forged = self.submit(2, "forger", "forge", &json!(["resolve-what-another-decides", "@honest"]), 0)?;
        let id = forged["id"].as_str().unwrap_or_default().to_owned();
        self.say(format!("Submitted at node-2: forger.forge(…), id {}\n", short(&id)))?;
        Ok(id)
    }

    fn submit(&self, node: usize, to: &str, method: &str, args: &Value, wait: u64) -> anyhow::Result<Value> {
        let url = self.url(node)?;
        let input = json!({ "kind": "send", "to": to, "method": method, "args": args }).to_string();
        let height = ask(&format!("{url}/status"), None)?["height"].as_u64().unwrap_or(0);
        let body = json!({ "nonce": height, "lastHeight": height + 100, "input": input });
        ask(&format!("{url}/submit?wait={wait}"), Some(&body))
    }

    fn halt(&mut self) -> anyhow::Result<Vec<Value>> {
        let reports = self.all_halt()?;
        let place = |it: &Value| (it["height"].clone(), it["stateHash"].clone(), it["epitaph"]["crank"].clone());
        ensure!(reports.iter().all(|it| place(it) == place(&reports[0])), "the validators halted at different places");
        let (height, hash) =
            (reports[0]["height"].as_u64().unwrap_or(0), reports[0]["stateHash"].as_str().unwrap_or_default());
        self.say(format!(
            "All four halted in block {}, exit code 70. Nothing of it is committed: each stands at block {height}, state hash {}.",
            height + 1,
            short(hash)
        ))?;
        self.say("What node-0 says:\n")?;
        for line in reports[0]["text"].as_str().unwrap_or_default().trim_end().lines() {
            self.say(format!("    {line}"))?;
        }
        Ok(reports)
    }

    /// Prints what the recording and the debugger say, each by its own command.
    fn look(&self) -> anyhow::Result<()> {
        let home = &self.testnet.homes[0];
        let recording = home.recording().display().to_string();
        self.say("\nWhich delivery did it? (vathost slog last node-0/node.slog)\n")?;
        self.show(&["vathost", "slog", "last", &recording], "", 4)?;
        self.say("\nJust before it, on a copy. (vathost-node fork --home node-0 COPY; vathost debug --state COPY --at panic)\n")?;
        let copy = home.dir().join("copy").display().to_string();
        let dir = home.dir().display().to_string();
        self.show(&["fork", "--home", &dir, &copy], "", 0)?;
        self.show(&["vathost", "debug", "--state", &copy, "--at", "panic"], "delivery\nstep\nstep\n", 40)
    }

    /// Runs this program with these arguments, and prints the first lines of its results.
    fn show(&self, args: &[&str], input: &str, lines: usize) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start this program")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let ended = child.wait_with_output()?;
        if !ended.status.success() {
            bail!("`{}` failed: {}", args.join(" "), String::from_utf8_lossy(&ended.stderr));
        }
        for line in String::from_utf8_lossy(&ended.stdout).lines().take(lines) {
            self.say(format!("    {line}"))?;
        }
        Ok(())
    }

    fn restart_without(&mut self, epitaph: &Value) -> anyhow::Result<()> {
        self.say("\nRestarted without a line, all four panic again, each from its own records.")?;
        self.start_all()?;
        let again = self.all_halt()?;
        ensure!(again.iter().all(|it| it["epitaph"]["crank"] == epitaph["crank"]), "they halted at another place");
        self.say(format!("node-0 … node-3: kernel panic in crank {}, exit code 70.", epitaph["crank"]))
    }

    fn go_on(&mut self, line: &str, id: &str) -> anyhow::Result<()> {
        self.say(format!("\nThe operators agree on `{line}`, and put it into four files:"))?;
        for home in &self.testnet.homes {
            let file = home.directives_file();
            std::fs::write(&file, format!("{line}\n"))?;
            self.say(format!("    {}", file.strip_prefix(home.dir().parent().unwrap_or(home.dir()))?.display()))?;
        }
        let begun = Instant::now();
        self.start_all()?;
        let mut fired = vec![None; self.testnet.homes.len()];
        self.hear("the block, with the line", |node, event| {
            if event["event"] == "block" && event["fired"].as_array().is_some_and(|it| !it.is_empty()) {
                fired[node] = Some(event.clone());
            }
            fired.iter().all(Option::is_some).then_some(())
        })?;
        let block = fired[0].clone().unwrap_or_default();
        let height = block["height"].as_u64().unwrap_or(0);
        self.say(format!("\nAll four obey it in block {height}: {}", block["fired"][0].as_str().unwrap_or_default()))?;
        let hash = self.all_reach(height + 1)?;
        let took = begun.elapsed().as_secs_f32();
        self.say(format!(
            "One hash: {} behind block {}, decided {took:.1} s after the fourth line.",
            short(&hash),
            height + 1
        ))?;
        let answer = ask(&format!("{}/result/{id}?wait=30", self.url(3)?), None)?;
        self.say(format!(
            "The sender of the message asks node-3: {} ({})",
            answer["status"].as_str().unwrap_or_default(),
            answer["reason"]
        ))?;
        ensure!(answer["status"] == "rejected", "the sender was not told that its message was skipped: {answer}");
        let honest = self.submit(0, "honest", "increment", &json!([2]), 30)?;
        self.say(format!("The honest counter never noticed: honest.increment(2) → {}", honest["value"]))
    }
}

/// The scenario of the demonstration, an older version of the kernel included, so that there is a newer one to replace it by.
fn scenario() -> Scenario {
    let vat = |name: &str, wasm: &[u8]| StaticVat {
        name: name.to_owned(),
        wasm: wasm.to_vec(),
        options: Options::default(),
        parameters: "#{}".to_owned(),
    };
    let exports = ["honest", "forger"].map(|it| (it.to_owned(), it.to_owned()));
    Scenario {
        vats: vec![
            vat("honest", include_bytes!("../../../../vats/counter.wasm")),
            vat("forger", include_bytes!("../../../../vats/forger.wasm")),
        ],
        kernel: Some(1),
        exports: exports.into_iter().collect(),
        ..Scenario::default()
    }
}
