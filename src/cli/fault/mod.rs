use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};

use crate::{
    cli::{Exit, Output, Usage, directives::GrammarArgs, host::kept_policy, run::code_cache},
    directive::FAULT_GRAMMAR,
    host::controller::BlockPolicy,
    lab::Schedule,
    lab::experiment::{
        self, Base, Build, Experiments, Isolation, Limits, Patience, Program, Runner, Token, Until, VatNames,
        protocol::Hello,
    },
    model::id::BlockHeight,
};

mod ask;
mod campaign;
mod golden;
mod init;
mod one;
mod plan;
mod points;
mod progress;
mod remedy;
mod report;
mod repro;
mod run;
mod show;
mod shrink;
mod worker;

/// Inject faults, and see what becomes of the others
///
/// An experiment runs a copy of a state, or a scenario, to its end, disturbed by faults at exact places, and compares it with the
/// undisturbed run. No state is changed.
#[derive(Args, Debug)]
pub(crate) struct FaultArgs {
    #[command(subcommand)]
    verb: FaultVerb,
}

#[derive(Subcommand, Debug)]
enum FaultVerb {
    Init(init::InitArgs),
    Plan(plan::PlanArgs),
    Run(Box<run::RunArgs>),
    Show(show::ShowArgs),
    Report(report::ReportArgs),
    One(one::OneArgs),
    Points(points::PointsArgs),
    Repro(repro::ReproArgs),
    Shrink(shrink::ShrinkArgs),
    Remedy(remedy::RemedyArgs),
    /// Print the grammar of faults: places, and what can be done there
    #[command(after_help = "Example:\n  vathost fault grammar")]
    Grammar(GrammarArgs),
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    #[command(hide = true)]
    Ask(ask::AskArgs),
}

pub(crate) fn cmd_fault(args: FaultArgs, output: &Output) -> anyhow::Result<Exit> {
    match args.verb {
        FaultVerb::Init(args) => init::cmd_init(&args, output),
        FaultVerb::Plan(args) => plan::cmd_plan(&args, output),
        FaultVerb::Run(args) => run::cmd_run(&args, output),
        FaultVerb::Show(args) => show::cmd_show(&args, output),
        FaultVerb::Report(args) => report::cmd_report(&args, output),
        FaultVerb::One(args) => one::cmd_one(&args, output),
        FaultVerb::Points(args) => points::cmd_points(&args, output),
        FaultVerb::Repro(args) => repro::cmd_repro(&args, output),
        FaultVerb::Shrink(args) => shrink::cmd_shrink(&args, output),
        FaultVerb::Remedy(args) => remedy::cmd_remedy(&args, output),
        FaultVerb::Worker(args) => worker::cmd_worker(&args),
        FaultVerb::Ask(args) => ask::cmd_ask(&args),
        FaultVerb::Grammar(args) => args.print(FAULT_GRAMMAR, output),
    }
}

/// The options for the state that an experiment begins with, and for its length.
#[derive(Args, Debug, Clone)]
pub(crate) struct BaseArgs {
    /// The folder of a state, or a `vat.toml` or its folder
    #[arg(value_name = "STATE|SCENARIO", required_unless_present = "state")]
    base: Option<PathBuf>,
    /// The folder of a state, instead
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    run: HowArgs,
}

impl BaseArgs {
    /// Returns the path of the state or scenario, which must be named once.
    fn path(&self) -> Result<&Path, Usage> {
        match (&self.base, &self.state) {
            (Some(path), None) | (None, Some(path)) => Ok(path),
            _ => Err(Usage::new("two bases are named", "name a state or a scenario, once")),
        }
    }
}

/// One experiment: a base or a campaign, the faults, a seed; or the token of one that was run.
#[derive(Args, Debug)]
pub(crate) struct OnceArgs {
    /// The folder of a state, or a `vat.toml` or its folder; or the token of an experiment
    #[arg(value_name = "STATE|SCENARIO|TOKEN", required_unless_present_any = ["state", "campaign"])]
    base: Option<PathBuf>,
    /// The folder of a state, instead
    #[arg(long, value_name = "DIR", conflicts_with = "campaign")]
    state: Option<PathBuf>,
    /// A campaign, instead: its base, and its blocks, limits, replicas and invariants
    #[arg(long, value_name = "FILE")]
    campaign: Option<PathBuf>,
    #[command(flatten)]
    run: HowArgs,
    /// The faults, a line each, as in `v12/delivery-1234: terminate` or, by the vat's name, `bank/delivery-1234: terminate`
    #[arg(value_name = "FAULT")]
    faults: Vec<String>,
    /// What decides all that is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl OnceArgs {
    /// Returns the token, if one was given in the place of base and faults.
    fn token(&self) -> anyhow::Result<Option<Token>> {
        let Some(text) = self.base.as_deref().and_then(Path::to_str).filter(|it| Token::is_like(it)) else {
            return Ok(None);
        };
        if self.state.is_some() || !self.faults.is_empty() {
            let hint = "name it alone, or with the --campaign that it is of";
            return Err(Usage::new("a token has its base and its faults", hint).into());
        }
        Ok(Some(text.parse().map_err(|err| Usage::new(err, "an outcome prints its token as `again`"))?))
    }

    /// Reads the faults, before anything is run.
    fn schedule(&self, base: &Path) -> anyhow::Result<Schedule> {
        // If an option names the base, the first word is a fault, too.
        let named = self.state.is_some() || self.campaign.is_some();
        let first = named.then_some(self.base.as_deref()).flatten();
        let first = first.map(|it| it.to_string_lossy().into_owned());
        let faults: Vec<String> = first.into_iter().chain(self.faults.iter().cloned()).collect();
        if faults.is_empty() {
            return Err(
                Usage::new("no fault is named", "as in `vathost fault one DIR 'v2/delivery-3: terminate'`").into()
            );
        }
        schedule(&faults, base)
    }

    /// Returns the runner, the faults and the seed of the experiment.
    fn open(&self, output: &Output) -> anyhow::Result<(Runner, Schedule, u64)> {
        if let Some(token) = self.token()? {
            let runner = campaign::runner_of(&token, None, self.campaign.as_deref(), &self.run, output)?;
            return Ok((runner, token.schedule, token.seed));
        }
        let Some(file) = &self.campaign else {
            let base = self.state.as_deref().or(self.base.as_deref()).unwrap_or(Path::new(""));
            let schedule = self.schedule(base)?;
            return Ok((runner(base, &self.run, output)?, schedule, self.seed));
        };
        let campaign = campaign::read(file)?;
        let schedule = self.schedule(&campaign.base)?;
        let isolation = self.run.isolation.parse().map_err(anyhow::Error::msg)?;
        Ok((campaign::runner(&campaign, Build::current()?, isolation, output)?, schedule, self.seed))
    }
}

/// The options for the length of an experiment.
#[derive(Args, Debug, Clone)]
pub(crate) struct HowArgs {
    /// A block ends after this many cranks; otherwise as the state's last blocks did, or 1,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: Option<u64>,
    /// Stop after this many cranks, the undisturbed run too; otherwise where nothing is left to do
    #[arg(long, value_name = "N")]
    cranks: Option<u64>,
    /// Cranks of an experiment at the most; otherwise twice the undisturbed run's and a thousand
    #[arg(long, value_name = "N")]
    cranks_max: Option<u64>,
    /// Where an experiment runs: in this process, in a child that serves many, or in one of its own
    ///
    /// Faults of the process and the store always get a process of their own, and a copy of the state on disk.
    #[arg(long, value_name = "HOW", default_value = "rollback", value_parser = ["rollback", "fork", "process"])]
    isolation: String,
    /// Seconds that a child may take for one answer
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    wall: u64,
    /// Bytes of data that a child may have
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// Run it on this many replicas, each with vats coming and going otherwise, and compare every crank
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    /// Check every invariant of the kernel after each crank, not only at the end
    #[arg(long)]
    audit: bool,
    /// Cranks that the undisturbed run may have, where --cranks does not end it; more are refused [default: 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    golden_cranks: Option<u64>,
    /// Seconds of the processor that the undisturbed run may take [default: 12]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    golden_cpu: Option<u64>,
    /// Bytes of memory that the undisturbed run, which is kept for all experiments, may take [default: 1 GiB]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    golden_memory: Option<u64>,
}

impl HowArgs {
    fn until(&self) -> Until {
        self.cranks.map_or(Until::Quiescent, Until::Cranks)
    }

    fn limits(&self) -> Limits {
        Limits { cranks: self.cranks_max, wall_ms: self.wall * 1_000, memory: self.memory, ..Limits::default() }
    }

    fn patience(&self) -> Patience {
        let default = Patience::default();
        Patience {
            cranks: self.golden_cranks.unwrap_or(default.cranks),
            cpu: self.golden_cpu.map_or(default.cpu, Duration::from_secs),
            memory: self.golden_memory.unwrap_or(default.memory),
        }
    }

    fn base(&self, path: &Path) -> anyhow::Result<Base> {
        let kept = kept_policy(path)?;
        let policy = BlockPolicy { cranks: self.cranks_per_block.unwrap_or(kept.cranks), ..kept };
        Ok(Base { path: path.to_owned(), policy, code_cache: code_cache() })
    }
}

fn prepare(path: &Path, how: &HowArgs, output: &Output) -> anyhow::Result<Experiments> {
    if !path.exists() {
        let what = format!("there is neither a state nor a scenario at `{}`", path.display());
        return Err(Usage::new(what, "name the folder of a state, or a scenario such as `vats/bank`").into());
    }
    golden::record(&how.base(path)?, Build::current()?, how.until(), how.limits(), how.patience(), output)
}

/// Counts the operations that change a file, for each commit of the golden run, which is run once more, on a disk.
fn store_ops(experiments: &Experiments) -> anyhow::Result<Vec<(BlockHeight, u64)>> {
    experiment::store_ops(experiments.base(), experiments.golden().len() as u64)
}

/// Records the golden run, and makes what runs experiments on it.
fn runner(path: &Path, how: &HowArgs, output: &Output) -> anyhow::Result<Runner> {
    let mut experiments = prepare(path, how, output)?;
    experiments.set_replicas(how.replicas);
    experiments.set_audit(u64::from(how.audit));
    let mut hello = Hello::of(experiments.base(), Build::current()?, how.until(), how.limits());
    (hello.replicas, hello.audit_every) = (how.replicas, u64::from(how.audit));
    let isolation: Isolation = how.isolation.parse().map_err(anyhow::Error::msg)?;
    let program = Program { exe: std::env::current_exe()?, memory: how.memory, wall: Duration::from_secs(how.wall) };
    Ok(Runner::new(experiments, isolation, program, hello))
}

/// Reads the faults of a command line, a line each, with the vats' names on this base.
fn schedule(lines: &[String], base: &Path) -> anyhow::Result<Schedule> {
    let names = VatNames::of(base);
    let numbered: Result<Vec<String>, Usage> = lines
        .iter()
        .map(|line| {
            let no_such_vat = |(what, hint): (String, Option<String>)| {
                Usage::new(what, hint.unwrap_or_else(|| format!("there are: {}", names.listed())))
            };
            names.number(line).map_err(no_such_vat)
        })
        .collect();
    let read = Schedule::read("fault", &numbered?.join("\n"));
    Ok(read.map_err(|refused| Usage::new(refused, "`vathost fault grammar` prints the grammar"))?)
}
