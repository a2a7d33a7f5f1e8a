//! `start`: one validator, until it is stopped or halts.

use std::{path::PathBuf, sync::Arc};

use clap::Args;

use super::{
    Exit, Usage,
    log::{LogForm, TerminalLog},
    output::Output,
};
use crate::{
    home::Home,
    mortal::Death,
    node::{self, NodeEnd, RunOptions},
};

/// Run the validator of a home
///
/// It goes on from where it stands: decided blocks that it has not executed come first, then those that the others decided meanwhile.
/// SIGTERM and ^C end it between two blocks. A file `directives` in the home holds the operators' lines.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vathost-node start --home ./home\n  vathost-node start --home ./home --log json")]
pub(super) struct StartArgs {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    pub(super) home: PathBuf,
    /// The form of the log on stderr
    #[arg(long, value_enum, default_value_t)]
    log: LogForm,
    /// Die after this step of the work, as by `kill -9`: for tests
    #[arg(long, value_name = "STEP:N", hide = true)]
    die_after: Option<Death>,
}

pub(super) fn cmd_start(args: &StartArgs, output: &Output) -> anyhow::Result<Exit> {
    let home = Home::at(&args.home);
    must_be_complete(&home)?;
    let log = Arc::new(TerminalLog { output: *output, form: args.log });
    let options = RunOptions { code_cache: super::code_cache(), death: args.die_after.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let end = runtime.block_on(node::run(home, log, options, stopped()));
    runtime.shutdown_background();
    match end? {
        NodeEnd::Stopped => Ok(Exit::OK),
        NodeEnd::Halted(report) => Ok(Exit(report.exit_code)),
    }
}

/// Refuses a home in which there is something to be done before it can start.
pub(super) fn must_be_complete(home: &Home) -> anyhow::Result<()> {
    let dir = home.dir().display();
    if !home.exists() {
        return Err(
            Usage::new(format!("there is no home in `{dir}`"), "`vathost-node init --home DIR` makes one").into()
        );
    }
    if !home.genesis_file().exists() || !home.state().exists() {
        let hint = format!(
            "`vathost-node init --home {dir} --genesis FILE --scenario FILE` gives it the genesis and the state that all begin with"
        );
        return Err(Usage::new(format!("the home in `{dir}` has no chain yet"), hint).into());
    }
    Ok(())
}

/// Comes back when somebody asks this process to end.
async fn stopped() {
    let interrupt = tokio::signal::ctrl_c();
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        let _ = interrupt.await;
        return;
    };
    tokio::select! {
        _ = interrupt => (),
        _ = terminate.recv() => (),
    }
}
