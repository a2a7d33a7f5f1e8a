//! The command line: one file (or folder) per verb. It is the only room that prints, and prints through `output.rs` alone (except for
//! `compile.rs`, which answers in binary).
//!
//! The doc comments of clap's structs and fields are the help texts.
#![allow(
    clippy::disallowed_methods,
    reason = "the command line reads the clock and the environment; nothing below does"
)]

mod administer;
mod bench;
mod changed;
mod check;
mod compile;
mod complete;
mod completions;
mod conformance;
mod console;
mod debug;
mod demo;
mod dev;
mod diff;
mod directives;
mod disk_room;
mod exit;
mod export;
mod fault;
mod fork;
mod halt;
mod host;
mod import;
mod inspect;
mod interface;
#[cfg(feature = "serve")]
mod journal;
mod last_panic;
mod layout;
mod listing;
mod named;
mod new;
mod output;
mod pager;
mod progress;
mod prove;
mod prune;
mod recorder;
mod replay;
mod run;
#[cfg(feature = "serve")]
mod running;
mod send;
#[cfg(feature = "serve")]
mod serve;
mod signals;
mod slog;
mod state;
mod verify;
mod ways;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use exit::{Exit, Usage, code_of};
use output::Output;

use crate::vat::compiler;

/// Runs sandboxed, metered, persistent vats: WebAssembly actors that speak only through capabilities and promises.
#[derive(Parser, Debug)]
#[command(name = "vathost", version, max_term_width = 100, after_help = EXAMPLES)]
struct Args {
    /// When to use colour and progress lines
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Print lists as they are, and not through $PAGER [default: less -FRX] on a terminal
    #[arg(long, global = true)]
    no_pager: bool,
    /// Say less
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  vathost run vats/bank                          run a scenario in memory
  vathost run vats/bank --state ./state          … and keep its state; the same command goes on from it
  vathost serve vats/bank --state ./state        … and stay up: it answers HTTP
  vathost call ./state bank balance              ask one of its vats something
  vathost inspect ./state vat v3                 look at a vat
  vathost new echo --lang rust                   begin a vat of your own
  vathost dev echo                               … and build, run and upgrade it on every change

Exit codes:
  0 ok, 1 findings, 2 usage or configuration, 3 halted by a directive, 70 kernel panic, 74 host fault,
  75 divergence, 130 interrupted";

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Run(run::RunArgs),
    #[cfg(feature = "serve")]
    Serve(Box<serve::ServeArgs>),
    Send(send::SendArgs),
    Call(send::CallArgs),
    Pause(administer::PauseArgs),
    Resume(administer::ResumeArgs),
    Terminate(administer::TerminateArgs),
    Install(administer::InstallArgs),
    Upgrade(administer::UpgradeArgs),
    Check(check::CheckArgs),
    New(new::NewArgs),
    Dev(dev::DevArgs),
    Inspect(inspect::InspectArgs),
    Vats(inspect::VatsArgs),
    Slog(slog::SlogArgs),
    Verify(verify::VerifyArgs),
    Export(export::ExportArgs),
    Prune(prune::PruneArgs),
    Import(import::ImportArgs),
    Fork(fork::ForkArgs),
    Diff(diff::DiffArgs),
    Replay(replay::ReplayArgs),
    Bench(bench::BenchArgs),
    Debug(debug::DebugArgs),
    Demo(demo::DemoArgs),
    Conformance(conformance::ConformanceArgs),
    Directives(directives::DirectivesArgs),
    Fault(fault::FaultArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true, name = compiler::VERB)]
    Compile(compile::CompileArgs),
}

/// The stack of the main thread, large enough for guest code: see `vat::module::limits::NATIVE_STACK_MIN`. Only the pages that are touched
/// take memory.
const STACK_BYTES: usize = 64 << 20;

/// Runs the command that the process was given, on a thread whose stack is large enough for guests.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(output::panicked));
    signals::ignore_file_size_limit();
    let work = || {
        complete::answer_shell();
        run(std::env::args_os())
    };
    let thread = std::thread::Builder::new().name("vathost".to_owned()).stack_size(STACK_BYTES).spawn(work);
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        // The panic hook has printed the panic.
        Ok(Err(_)) => Exit::KernelPanic.into(),
        Err(err) => {
            output::first_error(&format!("start a thread: {err}"));
            Exit::HostFault.into()
        }
    }
}

/// Runs the command of these arguments, the first of which is the program's name: for a program that has the verbs of `vathost` beside its
/// own. The stack of this thread must be large enough for guests.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(err) => return if output::arguments(&err) { Exit::Ok } else { Exit::Usage }.into(),
    };
    compile::name_program();
    let output = Output::new(args.color, args.quiet, args.verbose);
    let output = if args.no_pager { output } else { output.with_pager() };
    let result = match args.verb {
        Verb::Run(args) => run::cmd_run(args, &output),
        #[cfg(feature = "serve")]
        Verb::Serve(args) => serve::cmd_serve(*args, &output),
        Verb::Send(args) => send::cmd_send(args, &output),
        Verb::Call(args) => send::cmd_call(args, &output),
        Verb::Pause(args) => administer::cmd_pause(args, &output),
        Verb::Resume(args) => administer::cmd_resume(args, &output),
        Verb::Terminate(args) => administer::cmd_terminate(args, &output),
        Verb::Install(args) => administer::cmd_install(args, &output),
        Verb::Upgrade(args) => administer::cmd_upgrade(args, &output),
        Verb::Check(args) => check::cmd_check(args, &output),
        Verb::New(args) => new::cmd_new(args, &output),
        Verb::Dev(args) => dev::cmd_dev(args, &output),
        Verb::Inspect(args) => inspect::cmd_inspect(args, &output),
        Verb::Vats(args) => inspect::cmd_vats(args, &output),
        Verb::Debug(args) => debug::cmd_debug(args, &output),
        Verb::Demo(args) => demo::cmd_demo(args, &output),
        Verb::Bench(args) => bench::cmd_bench(args, &output),
        Verb::Slog(args) => slog::cmd_slog(args, &output),
        Verb::Verify(args) => verify::cmd_verify(args, &output),
        Verb::Export(args) => export::cmd_export(args, &output),
        Verb::Prune(args) => prune::cmd_prune(args, &output),
        Verb::Import(args) => import::cmd_import(args, &output),
        Verb::Fork(args) => fork::cmd_fork(args, &output),
        Verb::Diff(args) => diff::cmd_diff(args, &output),
        Verb::Replay(args) => replay::cmd_replay(args, &output),
        Verb::Conformance(args) => conformance::cmd_conformance(args, &output),
        Verb::Directives(args) => directives::cmd_directives(args, &output),
        Verb::Fault(args) => fault::cmd_fault(args, &output),
        Verb::Completions(args) => completions::cmd_completions(args, &mut Args::command()),
        Verb::Compile(args) => compile::cmd_compile(&args),
    };
    output::end_page();
    match result {
        Ok(exit) => exit.into(),
        Err(err) if is_broken_pipe(&err) => Exit::Ok.into(),
        Err(err) => {
            output.error(&err);
            code_of(&err).into()
        }
    }
}

/// Returns whether the reader of our output has closed it, which is no error.
fn is_broken_pipe(err: &anyhow::Error) -> bool {
    err.chain()
        .any(|it| it.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe))
}
