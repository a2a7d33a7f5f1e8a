//! The command line of `vathost-node`: one file per group of verbs. It is the only room that prints, and prints through `output.rs`.
//!
//! The doc comments of clap's structs and fields are the help texts.
#![allow(
    clippy::disallowed_methods,
    reason = "the command line reads the clock and the environment; nothing below does"
)]

mod abci;
mod bench;
mod client;
mod demo;
mod init;
mod log;
mod offline;
mod output;
mod start;
mod testnet;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use output::Output;
use vathost::vat::compiler;

use crate::{driver::Halted, handover::HandoverError};

/// Run a validator: a replica of a vathost state that agrees with the others on every block
#[derive(Parser, Debug)]
#[command(name = "vathost-node", version, max_term_width = 100, after_help = EXAMPLES)]
struct Args {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  vathost-node testnet --validators 4 --scenario vats/bank    four validators in this terminal
  vathost-node start --home ./home                            run one of them
  vathost-node submit --home ./home north makePurse 100       send a message, and wait for the answer
  vathost-node status --home ./home                           where it stands

Exit codes:
  0 ok, 1 findings, 2 usage or configuration, 3 halted by a directive, 70 kernel panic, 74 host fault,
  75 divergence: this replica came to another state than the others, 130 interrupted";

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Testnet(testnet::TestnetArgs),
    Init(init::InitArgs),
    Genesis(init::GenesisArgs),
    Start(start::StartArgs),
    Status(client::StatusArgs),
    Submit(client::SubmitArgs),
    Result(client::ResultArgs),
    Tail(client::TailArgs),
    Undo(offline::UndoArgs),
    Fork(offline::ForkArgs),
    Export(offline::ExportArgs),
    Import(offline::ImportArgs),
    Demo(demo::DemoArgs),
    Bench(bench::BenchArgs),
    /// Run a verb of `vathost`, as in `vathost-node vathost slog last ./home/node.slog`
    ///
    /// The tools that look at states and recordings, of the same build as this node.
    #[command(disable_help_flag = true, after_help = "Examples:\n  vathost-node vathost inspect ./home/state vats")]
    Vathost {
        /// The arguments of `vathost`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    Abci(abci::AbciArgs),
}

/// The exit codes of the command: those of `vathost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exit(u8);

impl Exit {
    const OK: Exit = Exit(0);
    const FINDINGS: Exit = Exit(1);
    const USAGE: Exit = Exit(2);
    const HOST_FAULT: Exit = Exit(74);
}

/// A mistake in what the user gave, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Usage {
    what: String,
    hint: String,
}

impl Usage {
    fn new(what: impl ToString, hint: impl ToString) -> Usage {
        Usage { what: what.to_string(), hint: hint.to_string() }
    }
}

/// The stack of the thread that runs a command, large enough for guests. Only the pages that are touched take memory.
const STACK_BYTES: usize = 64 << 20;

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let thread = std::thread::Builder::new().name("vathost-node".to_owned()).stack_size(STACK_BYTES).spawn(run);
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        // The panic was printed already.
        Ok(Err(_)) => ExitCode::from(70),
        Err(err) => {
            Output::new(Color::Auto).error(&anyhow::Error::from(err).context("start a thread"));
            ExitCode::from(Exit::HOST_FAULT.0)
        }
    }
}

fn run() -> ExitCode {
    // Modules that cost much are compiled in a process of their own: another one of this program.
    compiler::set_program(PathBuf::from("/proc/self/exe"));
    if std::env::args_os().nth(1).is_some_and(|it| it == compiler::VERB) {
        return vathost::cli::run(std::env::args_os());
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(err) => return ExitCode::from(if output::arguments(&err) { Exit::OK.0 } else { Exit::USAGE.0 }),
    };
    let output = Output::new(args.color);
    let result = match args.verb {
        Verb::Testnet(args) => testnet::cmd_testnet(&args, &output),
        Verb::Init(args) => init::cmd_init(&args, &output),
        Verb::Genesis(args) => init::cmd_genesis(&args, &output),
        Verb::Start(args) => start::cmd_start(&args, &output),
        Verb::Status(args) => client::cmd_status(&args, &output),
        Verb::Submit(args) => client::cmd_submit(&args, &output),
        Verb::Result(args) => client::cmd_result(&args, &output),
        Verb::Tail(args) => client::cmd_tail(&args, &output),
        Verb::Undo(args) => offline::cmd_undo(&args, &output),
        Verb::Fork(args) => offline::cmd_fork(&args, &output),
        Verb::Export(args) => offline::cmd_export(&args, &output),
        Verb::Import(args) => offline::cmd_import(&args, &output),
        Verb::Demo(args) => demo::cmd_demo(&args, &output),
        Verb::Bench(args) => bench::cmd_bench(&args, &output),
        Verb::Vathost { args } => return vathost::cli::run([OsString::from("vathost")].into_iter().chain(args)),
        Verb::Abci(args) => abci::cmd_abci(&args, &output),
    };
    match result {
        Ok(exit) => ExitCode::from(exit.0),
        Err(err) if is_broken_pipe(&err) => ExitCode::SUCCESS,
        Err(err) => {
            output.error(&err);
            ExitCode::from(code_of(&err))
        }
    }
}

/// Returns the exit code for an error that reached the top.
fn code_of(err: &anyhow::Error) -> u8 {
    for cause in err.chain() {
        if let Some(halted) = cause.downcast_ref::<Halted>() {
            return halted.exit_code();
        }
        if let Some(err) = cause.downcast_ref::<HandoverError>() {
            return match err {
                HandoverError::Unproved { .. } | HandoverError::Archive(_) => Exit::FINDINGS.0,
                HandoverError::Machine(_) => Exit::HOST_FAULT.0,
            };
        }
        if cause.is::<Usage>() || cause.is::<vathost::host::scenario::ScenarioError>() {
            return Exit::USAGE.0;
        }
    }
    Exit::HOST_FAULT.0
}

/// Returns whether the reader of our output has closed it, which is no error.
fn is_broken_pipe(err: &anyhow::Error) -> bool {
    err.chain()
        .any(|it| it.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe))
}

/// Returns the folder for compiled code, which all nodes of a user share.
fn code_cache() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|it| it.is_absolute());
    base.or_else(home).map(|it| it.join("vathost"))
}
