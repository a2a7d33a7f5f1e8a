use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use crate::{
    cli::{Exit, Output, diff, output::harmless, run::code_cache, slog},
    debug::{self, Base, Command, ReplicaSettings, Session},
    directive::{DirectiveSet, Trigger},
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        epitaph::Epitaph,
        report::Report,
        scenario::{Scenario, Send, StaticVat},
    },
    inspect::{
        difference,
        plan::{self, TrialSettings},
        recording::last,
    },
    kernel::Halt,
    lab::probe::{Life, PlantedBug, PlantedBugs},
    model::id::{BundleId, CrankNum},
    slog::{Detail, Indexing, Slog, Writer},
    state::table::Options,
    store::{Database, Overlay},
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
const POLICY: BlockPolicy = BlockPolicy { cranks: 2, fuel: None, wall_millis: None, block_time: 5 };

/// The demonstration: four states, in folders that are removed afterwards.
struct Demo {
    homes: tempfile::TempDir,
    plants: Vec<PlantedBug>,
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
        let epitaph = self.meet_the_bug(output)?;
        self.look(&epitaph, output)?;
        let (line, set, planned) = self.plan(&epitaph, output)?;
        output.line(format!("\nThe operators agree on `{line}` (directives digest {}).", short(&set.digest())))?;
        for replica in 0..2 {
            self.goes_on(replica, &set, &planned, output)?;
        }
        self.another_line(&set, &planned, output)?;
        let Err(again) = self.meet(3, None, &DirectiveSet::default())? else {
            bail!("replica 3 went on without the line")
        };
        let crank = again.crank.unwrap_or_default();
        output.line(format!("replica 3: started without the line: panics again, alone, in crank {crank}"))?;
        let report = self.goes_on(3, &set, &planned, output)?;
        output.line("\nOne hash. The honest counter never noticed:")?;
        for it in &report.results {
            let body = harmless(it.body.as_deref().unwrap_or(""));
            output.line(format!("    {}.{} {} {body}", it.to, it.method, it.status))?;
        }
        Ok(Exit::Ok)
    }

    /// All replicas run the scenario, and stop.
    fn meet_the_bug(&self, output: &Output) -> anyhow::Result<Box<Epitaph>> {
        output.line(format!(
            "{REPLICAS} replicas run the same blocks: an honest counter, and a vat that settles a promise it does not decide."
        ))?;
        output.line(
            "The kernel has a bug: it does not check that at the boundary. (--plant resolve-non-decider@crank-0)\n",
        )?;
        let scenario = scenario();
        let mut epitaphs = Vec::new();
        for replica in 0..REPLICAS {
            let Err(epitaph) = self.meet(replica, Some(&scenario), &DirectiveSet::default())? else {
                bail!("replica {replica} did not panic")
            };
            output.line(format!("replica {replica}: {epitaph}"))?;
            epitaphs.push(epitaph);
        }
        let first = epitaphs.swap_remove(0);
        let same = |it: &Epitaph| it.to_string() == first.to_string() && it.state_hash == first.state_hash;
        ensure!(epitaphs.iter().all(|it| same(it)), "the replicas stopped at different places");
        output.line(format!(
            "\nAll at the same crank; nothing of block {} is committed, each stands at block {} (state hash {}).",
            first.block,
            first.block - 1,
            short(&first.state_hash)
        ))?;
        Ok(first)
    }

    /// Prints what the recording and the debugger say of the panic.
    fn look(&self, epitaph: &Epitaph, output: &Output) -> anyhow::Result<()> {
        output.line("\nWhich delivery did it? (vathost slog last)\n")?;
        let last = last(&self.recording(0), Indexing::default())?;
        for line in slog::last::lines(&last).iter().take(4) {
            output.line(format!("    {line}"))?;
        }
        output.line("\nJust before it, on a state that is only read. (vathost debug --at panic)\n")?;
        let at = epitaph.crank.map(|it| Trigger::Crank(CrankNum(it)));
        let how = ReplicaSettings {
            policy: POLICY,
            plants: self.plants.clone(),
            code_cache: code_cache(),
            ..ReplicaSettings::default()
        };
        let base = Base::over(&self.home(0)).map_err(anyhow::Error::from)?;
        let interrupt = Default::default();
        let (mut session, _) = Session::open(debug::Open { base, how, at, epitaph: None, slog: None, interrupt })?;
        for command in ["delivery", "step", "step"] {
            let Some(parsed) = Command::parse(command)? else { continue };
            let reply = session.obey(parsed)?;
            output.line(format!("    (debug) {command}"))?;
            for line in reply.text.lines() {
                output.line(format!("    {line}"))?;
            }
        }
        Ok(())
    }

    /// Tries every way out on a copy. Returns the line that is agreed on, as a set, and the hash that it leads to.
    fn plan(&self, epitaph: &Epitaph, output: &Output) -> anyhow::Result<(String, DirectiveSet, String)> {
        output.line("\nThe ways out, each tried on the state, which is only read. (vathost directives plan)\n")?;
        let module = include_bytes!("../../vats/counter.wasm").to_vec();
        let upgrade = format!(
            "crank-{}: upgrade v2 bundle {:.16}",
            epitaph.crank.unwrap_or_default(),
            BundleId::of(&module).to_string()
        );
        let other_kernel = format!("block-{}: replace-kernel 2", epitaph.block);
        let mut chosen = None;
        let state = Overlay::over(&self.home(0))?;
        for line in epitaph.ways_out().into_iter().chain([upgrade, other_kernel]) {
            let set = directives(&line)?;
            let outcome = plan::attempt(&state, &set, &self.trial(&module))?;
            output.line(format!(
                "    {line}\n        → {}, block {}, state hash {}",
                outcome.end,
                outcome.height,
                short(&outcome.state_hash)
            ))?;
            for (vat, before, after) in &outcome.vats {
                output.line(format!("          vat {}: {before} → {after}", harmless(vat)))?;
            }
            ensure!(outcome.end == "quiescent", "`{line}` is no way out");
            if line.contains("terminate") {
                chosen = Some((line, set, outcome.state_hash));
            }
        }
        chosen.context("one of the ways is to terminate the vat")
    }

    fn goes_on(&self, replica: usize, set: &DirectiveSet, planned: &str, output: &Output) -> anyhow::Result<Report> {
        let Ok(report) = self.meet(replica, None, set)? else { bail!("replica {replica} panicked again") };
        let (height, hash) = (report.height, short(&report.state_hash));
        output.line(format!("replica {replica}: with the line: goes on, block {height}, state hash {hash}"))?;
        ensure!(report.state_hash == planned, "replica {replica} has another hash than the plan");
        Ok(report)
    }

    /// Has replica 2 obey a misread line, shows where it parted, and restores it.
    fn another_line(&self, set: &DirectiveSet, planned: &str, output: &Output) -> anyhow::Result<()> {
        let saved = self.homes.path().join("saved");
        Database::copy(&self.home(2), &saved)?;
        let wrong = directives("crank-3: skip v2")?;
        let Ok(report) = self.meet(2, None, &wrong)? else { bail!("replica 2 panicked again") };
        let hash = short(&report.state_hash);
        output
            .line(format!("replica 2: with `crank-3: skip v2` instead: block {}, state hash {hash}", report.height))?;
        ensure!(report.state_hash != planned, "another line led to the same hash");
        let [a, b] = [0, 2].map(|it| Database::open_read_only(&self.home(it)));
        let found = difference::compare(&a?, &b?, 0)?;
        output.line(format!("           compared with replica 0: {} (vathost diff)", diff::parted(&found.parting)))?;
        std::fs::rename(&saved, self.home(2).join("state.sqlite")).context("restore a replica")?;
        for rest in ["state.sqlite-wal", "state.sqlite-shm"] {
            // They may not exist.
            let _ = std::fs::remove_file(self.home(2).join(rest));
        }
        output.line("           restored to where it stood before that")?;
        self.goes_on(2, set, planned, output).map(drop)
    }

    /// Starts a replica and runs it until nothing is left to do, or the kernel panics.
    fn meet(
        &self,
        replica: usize,
        scenario: Option<&Scenario>,
        set: &DirectiveSet,
    ) -> anyhow::Result<Result<Report, Box<Epitaph>>> {
        let home = self.home(replica);
        let mut controller = self.open(&home, replica)?;
        if let Some(scenario) = scenario {
            controller.install(scenario)?;
        }
        controller.set_directives(set.clone(), false)?;
        match run(&mut controller) {
            Ok(report) => Ok(Ok(report)),
            Err(halt) => {
                match Epitaph::of(&halt, controller.standing(), None).inspect(|_| drop(controller.slog().flush())) {
                    Some(epitaph) => Ok(Err(Box::new(epitaph))),
                    None => Err(halt.into()),
                }
            }
        }
    }

    fn recording(&self, replica: usize) -> PathBuf {
        self.homes.path().join(format!("replica-{replica}.slog"))
    }

    /// Makes a trial with the settings of the demo's own hosts, and a module to upgrade to.
    fn trial(&self, module: &[u8]) -> TrialSettings {
        TrialSettings {
            policy: POLICY,
            blocks: 100,
            probe: PlantedBugs::probe(&self.plants, Life::Dear),
            directives: DirectiveSet::default(),
            bundles: vec![module.to_vec()],
            code_cache: code_cache(),
            audit: None,
        }
    }

    fn open(&self, home: &Path, replica: usize) -> anyhow::Result<Host> {
        let slog = Slog::new(Detail::Syscalls, Writer::append(&self.recording(replica))?);
        let open = HostOptions {
            state: Some(home.to_owned()),
            slog,
            code_cache: code_cache(),
            experimental: true,
            probe: PlantedBugs::probe(&self.plants, Life::Dear),
            ..HostOptions::default()
        };
        Ok(Host::open(open)?)
    }
}

fn run(controller: &mut Host) -> Result<Report, Box<Halt>> {
    while !controller.is_quiescent()? {
        controller.run_block(&POLICY, &mut |_| true)?;
    }
    controller.report()
}

/// The beginning of a hash.
fn short(hash: &impl std::fmt::Display) -> String {
    format!("{:.8}…", hash.to_string())
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
        // An older version, so that there is a newer kernel to replace it by.
        kernel: Some(1),
        ..Scenario::default()
    }
}
