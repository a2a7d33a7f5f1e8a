//! `abci`: the kernel of a validator that runs CometBFT.

use std::{net::SocketAddr, path::PathBuf, process, sync::Arc};

use clap::Args;

use super::{
    Exit,
    log::{LogForm, TerminalLog},
    output::Output,
    start::must_be_complete,
};
use crate::{
    abci::{AbciApp, AbciReplica, AbciServer},
    home::Home,
    node,
    report::{NodeEvent, NodeLog},
    store::SqliteStore,
};

/// Run the kernel of a home for CometBFT, over ABCI
///
/// CometBFT has the network and the consensus, and connects to this process (`proxy_app` in its config.toml). The home's genesis.json says
/// who may submit what; its `chain` is the `chain_id` of CometBFT's genesis. A transaction is a submission in its canonical bytes. The
/// listener trusts whoever connects: it is for CometBFT on this machine alone.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vathost-node abci --home ./home\n  vathost-node abci --home ./home --listen 127.0.0.1:26658"
)]
pub(super) struct AbciArgs {
    /// The validator's home
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// The address for CometBFT
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:26658")]
    listen: SocketAddr,
    /// The form of the log on stderr
    #[arg(long, value_enum, default_value_t)]
    log: LogForm,
}

pub(super) fn cmd_abci(args: &AbciArgs, output: &Output) -> anyhow::Result<Exit> {
    let home = Home::at(&args.home);
    must_be_complete(&home)?;
    let _lock = home.lock()?;
    let log: Arc<dyn NodeLog> = Arc::new(TerminalLog { output: *output, form: args.log });
    let open = {
        let (home, log) = (home.clone(), log.clone());
        move || {
            let host = node::open_host(&home, &home.settings()?, super::code_cache().as_deref())?;
            let replica = AbciReplica::new(host, SqliteStore::open(&home.records())?, Arc::new(home.genesis()?))?;
            let standing = replica.standing();
            log.say(&NodeEvent::Opened { height: standing.height, state_hash: standing.state_hash.clone() });
            Ok(replica)
        }
    };
    let on_halt = {
        let log = log.clone();
        Box::new(move |replica: &AbciReplica<SqliteStore>, halted: &_| {
            let standing = replica.standing();
            let report = node::report(replica.host().host(), standing.height, &standing.state_hash, halted, &home);
            let code = report.exit_code;
            log.say(&NodeEvent::Halted(report));
            process::exit(code.into())
        })
    };
    let app = AbciApp::begin(open, log, on_halt)?;
    let server = AbciServer::bind(args.listen, app.clone())?;
    output.line(format!("ABCI at {}", server.address()))?;
    // Between two questions nothing is half done.
    ctrlc::set_handler(move || app.ask(|_| process::exit(Exit::OK.0.into())))?;
    Err(server.serve().into())
}
