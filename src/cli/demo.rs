use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use crate::{
    cli::{Exit, Output, output::harmless, run::code_cache},
    controller::{Controller, Open, Policy},
    directive::DirectiveSet,
    epitaph::Epitaph,
    kernel::Halt,
    plan::{self, Trial},
    plant::Plant,
    report::Report,
    scenario::{Scenario, Send, StaticVat},
    table::Options,
};

/// Watch what the host is for
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    #[command(subcommand)]
    verb: DemoVerb,
}

#[derive(Subcommand, Debug)]
enum DemoVerb {
    /// Four replicas meet a bug in the kernel, stop at the same crank, and go on by one line in a file
    ///
    /// The bug is planted: an authority check is missing at the boundary, as it is in SwingSet. Everything else is as in real life.
    #[command(after_help = "Example:\n  vathost demo panic")]
    Panic,
}

pub(crate) fn cmd_demo(args: DemoArgs, output: &Output) -> anyhow::Result<Exit> {
    match args.verb {
        DemoVerb::Panic => Demo::new()?.panic(output),
    }
}

const REPLICAS: usize = 4;
const POLICY: Policy = Policy { cranks: 2, fuel: None, wall_millis: None, block_time: 5 };

/// Four states in folders that vanish afterwards.
struct Demo {
    homes: tempfile::TempDir,
    plants: Vec<Plant>,
}

impl Demo {
    fn new() -> anyhow::Result<Demo> {
        let homes = tempfile::tempdir().context("make folders for the replicas")?;
        Ok(Demo { homes, plants: vec!["resolve-non-decider@crank-0".parse()?] })
    }

    fn home(&self, replica: usize) -> PathBuf {
        self.homes.path().join(format!("replica-{replica}"))
    }

    fn panic(&self, output: &Output) -> anyhow::Result<Exit> {
        let say = |text: String| output.line(text);
        say(format!(
            "{REPLICAS} replicas run the same blocks: an honest counter, and a vat that settles a promise it does not decide."
        ))?;
        say("The kernel has a bug: it does not check that at the boundary. (--plant resolve-non-decider@crank-0)\n"
            .to_owned())?;
        let scenario = scenario();
        let mut epitaphs = Vec::new();
        for replica in 0..REPLICAS {
            let epitaph = self.meet(replica, Some(&scenario), &DirectiveSet::default())?;
            let Err(epitaph) = epitaph else { bail!("replica {replica} did not panic") };
            say(format!("replica {replica}: {epitaph}"))?;
            epitaphs.push(epitaph);
        }
        let first = epitaphs.first().context("there are replicas")?;
        let same = epitaphs.iter().all(|it| it.to_string() == first.to_string() && it.state_hash == first.state_hash);
        ensure!(same, "the replicas stopped at different places");
        let hash = first.state_hash.get(..8).unwrap_or_default();
        say(format!(
            "\nAll at the same crank; nothing of block {} is committed, each stands at block {} (state hash {hash}…).",
            first.block,
            first.block - 1
        ))?;
        say("The ways out, each tried on a throw-away copy (vathost directives plan):\n".to_owned())?;
        let mut chosen = None;
        for line in first.ways_out() {
            let set = directives(&line)?;
            let outcome = plan::attempt(&self.home(0), &set, &trial(&self.plants))?;
            let short = outcome.state_hash.get(..8).unwrap_or_default();
            say(format!("    {line}\n        → {}, block {}, state hash {short}…", outcome.end, outcome.height))?;
            for (vat, before, after) in &outcome.vats {
                say(format!("          vat {}: {before} → {after}", harmless(vat)))?;
            }
            if line.contains("terminate") {
                chosen = Some((line, set, outcome.state_hash));
            }
        }
        let (line, set, planned) = chosen.context("one of the ways is to terminate the vat")?;
        say(format!("\nThe operators agree on `{line}` (directives digest {}…).", &set.digest().to_string()[..8]))?;
        for replica in 0..REPLICAS - 1 {
            let Ok(report) = self.meet(replica, None, &set)? else { bail!("replica {replica} panicked again") };
            say(format!(
                "replica {replica}: goes on, block {}, state hash {}…",
                report.height,
                &report.state_hash[..8]
            ))?;
            ensure!(report.state_hash == planned, "replica {replica} has another hash than the plan");
        }
        let last = REPLICAS - 1;
        let Err(again) = self.meet(last, None, &DirectiveSet::default())? else {
            bail!("replica {last} went on without the line")
        };
        say(format!(
            "replica {last}: started without the line: panics again, alone, in crank {}",
            again.crank.unwrap_or_default()
        ))?;
        let Ok(report) = self.meet(last, None, &set)? else { bail!("replica {last} panicked with the line") };
        say(format!(
            "replica {last}: with the line: goes on, block {}, state hash {}…",
            report.height,
            &report.state_hash[..8]
        ))?;
        ensure!(report.state_hash == planned, "replica {last} has another hash");
        say("\nOne hash. The honest counter never noticed:".to_owned())?;
        for it in &report.results {
            say(format!("    {}.{} {} {}", it.to, it.method, it.status, harmless(it.body.as_deref().unwrap_or(""))))?;
        }
        Ok(Exit::Ok)
    }

    /// Starts a replica and runs it until nothing is left to do, or the kernel panics.
    fn meet(
        &self,
        replica: usize,
        scenario: Option<&Scenario>,
        set: &DirectiveSet,
    ) -> anyhow::Result<Result<Report, Box<Epitaph>>> {
        let home = self.home(replica);
        let mut controller = self.open(&home)?;
        if let Some(scenario) = scenario {
            controller.install(scenario)?;
        }
        controller.set_directives(set.clone(), false)?;
        match run(&mut controller) {
            Ok(report) => Ok(Ok(report)),
            Err(halt) => match Epitaph::of(&halt, controller.standing(), None) {
                Some(epitaph) => Ok(Err(Box::new(epitaph))),
                None => Err(halt.into()),
            },
        }
    }

    fn open(&self, home: &Path) -> anyhow::Result<Controller> {
        let open = Open {
            state: Some(home.to_owned()),
            code_cache: code_cache(),
            experimental: true,
            plants: self.plants.clone(),
            ..Open::default()
        };
        Ok(Controller::open(open)?)
    }
}

fn run(controller: &mut Controller) -> Result<Report, Box<Halt>> {
    while !controller.is_quiescent()? {
        controller.run_block(&POLICY, &mut |_| true)?;
    }
    controller.report()
}

fn directives(line: &str) -> anyhow::Result<DirectiveSet> {
    let mut set = DirectiveSet::default();
    set.read("demo", line.as_bytes())?;
    Ok(set)
}

fn scenario() -> Scenario {
    let vat = |name: &str, wasm: &[u8]| StaticVat {
        name: name.to_owned(),
        wasm: wasm.to_vec(),
        options: Options::default(),
        parameters: "#{}".to_owned(),
    };
    let send =
        |to: &str, method: &str, args: Vec<toml::Value>| Send { to: to.to_owned(), method: method.to_owned(), args };
    Scenario {
        vats: vec![
            vat("honest", include_bytes!("../../vats/counter.wasm")),
            vat("forger", include_bytes!("../../vats/forger.wasm")),
        ],
        bootstrap: None,
        sends: vec![
            send("honest", "increment", vec![40.into()]),
            send("forger", "forge", vec!["resolve-what-another-decides".into(), "@honest".into()]),
            send("honest", "increment", vec![2.into()]),
        ],
        ..Scenario::default()
    }
}

/// As the demo's own host runs.
fn trial(plants: &[Plant]) -> Trial {
    Trial {
        policy: POLICY,
        blocks: 100,
        plants: plants.to_vec(),
        bundles: Vec::new(),
        code_cache: code_cache(),
        audit: None,
    }
}
