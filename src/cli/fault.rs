use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::{
    cli::{Exit, Output, Usage, run::code_cache},
    controller::Policy,
    directive::{FAULT_GRAMMAR, Schedule},
    experiment::{Base, Build, Experiments, Limits, Until},
};

mod one;
mod points;

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
    One(one::OneArgs),
    Points(points::PointsArgs),
    /// Print the grammar of faults: places, and what can be done there
    #[command(after_help = "Example:\n  vathost fault grammar")]
    Grammar,
}

pub(crate) fn cmd_fault(args: FaultArgs, output: &Output) -> anyhow::Result<Exit> {
    match args.verb {
        FaultVerb::One(args) => one::cmd_one(&args, output),
        FaultVerb::Points(args) => points::cmd_points(&args, output),
        FaultVerb::Grammar => {
            output.line(FAULT_GRAMMAR.trim_end())?;
            Ok(Exit::Ok)
        }
    }
}

/// What an experiment begins with, and how far it goes.
#[derive(Args, Debug, Clone)]
pub(crate) struct BaseArgs {
    /// The folder of a state, or a `vat.toml` or its folder
    #[arg(value_name = "STATE|SCENARIO")]
    base: PathBuf,
    #[command(flatten)]
    run: HowArgs,
}

/// How far an experiment goes.
#[derive(Args, Debug, Clone)]
pub(crate) struct HowArgs {
    /// A block ends after this many cranks
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    cranks_per_block: u64,
    /// Stop after this many cranks, the undisturbed run too; otherwise where nothing is left to do
    #[arg(long, value_name = "N")]
    cranks: Option<u64>,
    /// Cranks of an experiment at the most; otherwise twice the undisturbed run's and a thousand
    #[arg(long, value_name = "N")]
    cranks_max: Option<u64>,
}

impl HowArgs {
    fn until(&self) -> Until {
        self.cranks.map_or(Until::Quiescent, Until::Cranks)
    }

    fn limits(&self) -> Limits {
        Limits { cranks: self.cranks_max, ..Limits::default() }
    }

    fn base(&self, path: &Path) -> Base {
        let policy = Policy { cranks: self.cranks_per_block, ..Policy::default() };
        Base { path: path.to_owned(), policy, code_cache: code_cache() }
    }
}

fn prepare(path: &Path, how: &HowArgs) -> anyhow::Result<Experiments> {
    if !path.exists() {
        let what = format!("there is neither a state nor a scenario at `{}`", path.display());
        return Err(Usage::new(what, "name the folder of a state, or a scenario such as `vats/bank`").into());
    }
    Experiments::prepare(&how.base(path), Build::current()?, how.until(), how.limits())
}

/// The faults of a command line, a line each.
fn schedule(lines: &[String]) -> anyhow::Result<Schedule> {
    let read = Schedule::read("fault", &lines.join("\n"));
    Ok(read.map_err(|refused| Usage::new(refused, "`vathost fault grammar` prints the grammar"))?)
}
