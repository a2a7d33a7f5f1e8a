//! Experiments on the committed scenarios.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use tempfile::TempDir;
use vathost::{
    host::controller::BlockPolicy,
    lab::Schedule,
    lab::experiment::{
        Base, Build, Class, Experiments, Isolation, Limits, Outcome, Program, Runner, Until, protocol::Hello,
    },
};

use crate::cli::under_the_first_kernel;

/// Compiled once for all tests.
fn code_cache() -> PathBuf {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    DIR.get_or_init(|| tempfile::tempdir().unwrap()).path().to_owned()
}

/// In SwingSet's order: the tests say which crank does what.
pub(crate) fn vats(name: &str) -> PathBuf {
    under_the_first_kernel(name)
}

pub(crate) fn base(path: &Path, cranks_per_block: u64) -> Base {
    let policy = BlockPolicy { cranks: cranks_per_block, ..BlockPolicy::default() };
    Base { path: path.to_owned(), policy, code_cache: Some(code_cache()) }
}

pub(crate) const BUILD: Build = Build([7; 32]);

/// Blocks of five cranks, so that a run has many.
pub(crate) fn on(scenario: &str) -> Experiments {
    Experiments::prepare(&base(&vats(scenario), 5), BUILD, Until::Quiescent, Limits::default()).unwrap()
}

/// On a scenario of this text, beside this module.
pub(crate) fn on_text(text: &str, module: (&str, &str)) -> Experiments {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vat.toml"), text).unwrap();
    std::fs::write(dir.path().join(module.0), module.1).unwrap();
    Experiments::prepare(&base(dir.path(), 1_000), BUILD, Until::Quiescent, Limits::default()).unwrap()
}

pub(crate) fn faults(lines: &str) -> Schedule {
    Schedule::read("test", lines).unwrap_or_else(|refused| panic!("{refused}"))
}

pub(crate) fn run(experiments: &mut Experiments, lines: &str) -> Outcome {
    experiments.run(&faults(lines), 0)
}

/// The class of one experiment on a scenario, with all that is worth telling.
pub(crate) fn class(scenario: &str, lines: &str) -> (Class, Outcome) {
    let outcome = run(&mut on(scenario), lines);
    (outcome.class, outcome)
}

/// In children of `vathost` itself.
pub(crate) fn runner(scenario: &str, isolation: Isolation, limits: Limits) -> Runner {
    let base = base(&vats(scenario), 5);
    let experiments = Experiments::prepare(&base, BUILD, Until::Quiescent, limits).unwrap();
    let hello = Hello::of(&base, BUILD, Until::Quiescent, limits);
    let wall = Duration::from_millis(limits.wall_ms);
    let program = Program { exe: env!("CARGO_BIN_EXE_vathost").into(), memory: limits.memory, wall };
    Runner::new(experiments, isolation, program, hello)
}
