//! `serve`: a host that stays up.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    cli::{
        Exit, Output, Usage, code_of, console,
        journal::{Level, ServerLog},
        run::{self, Begun, RunArgs},
    },
    host::{
        controller::{BlockEnd, Host},
        options::Inputs,
        scenario::Scenario,
    },
    kernel::Halt,
    serve::{Bounds, Desk, Gate, INTERRUPTED, SOCKET, ServeOptions, Server, open_secret},
};

/// Stay up, and answer HTTP: `POST /cap/NAME` sends a message to what the scenario exports
///
/// A block is run when there is something to do: a request, or a wakeup that is due by the clock. Nothing is answered before it is
/// durable. An answer names objects by URLs with tokens in them: whoever has one may use it. SIGTERM and ^C end it after the block. The
/// same command goes on from there, as it does after a crash. `docs/serve.md` is the reference.
#[derive(Args, Debug)]
#[command(
    mut_arg("blocks", |it| it.hide(true)),
    mut_arg("json", |it| it.hide(true)),
    after_help = "\
Examples:
  vathost serve vats/bank --state ./state
  curl localhost:7100/cap/market -d '{\"method\": \"report\"}'
  curl localhost:7100/metrics"
)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7100")]
    listen: SocketAddr,
    /// A name that the Host header may have, as where a proxy stands before this (repeatable)
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// A web origin whose pages may read answers, as in `https://example.org` (repeatable)
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Open exported names also at an address that others reach: at one of a network only tokens are, otherwise
    #[arg(long)]
    open_exports: bool,
    /// Milliseconds that a block waits for more input, at the most, while there is much of it
    #[arg(long, value_name = "MS", default_value_t = 1)]
    block_wait: u64,
    /// Bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = Bounds::default().body_bytes)]
    body_max: usize,
    /// Seconds that a request's head and its body may take to come, each, and that a client may take none of an answer's bytes
    #[arg(long, value_name = "S", default_value_t = 10)]
    patience: u64,
    /// The same, of a request's head alone, and of a connection that is silent between two requests
    #[arg(long, value_name = "S")]
    head_time: Option<u64>,
    /// The same, of a request's body alone
    #[arg(long, value_name = "S")]
    body_time: Option<u64>,
    /// The same, of an answer's bytes alone
    #[arg(long, value_name = "S")]
    write_time: Option<u64>,
    /// Connections at one time
    #[arg(long, value_name = "N", default_value_t = Bounds::default().connections)]
    connections_max: usize,
    /// Requests of one client (an address, and what it speaks to) that may wait for the kernel's thread
    #[arg(long, value_name = "N", default_value_t = Bounds::default().client_queue)]
    client_queue: usize,
    /// Calls of one client that a block takes in: the others wait, so that the next client need not
    #[arg(long, value_name = "N", default_value_t = Bounds::default().client_share)]
    client_share: usize,
    /// Calls that are waited for at one time
    #[arg(long, value_name = "N", default_value_t = Bounds::default().calls)]
    calls_max: usize,
    /// Seconds that a call is waited for; then its client gets its promise
    #[arg(long, value_name = "S", default_value_t = 30)]
    call_time: u64,
    /// Readers of server-sent events at one time
    #[arg(long, value_name = "N", default_value_t = Bounds::default().readers)]
    readers_max: usize,
    /// Sessions of CapTP clients at one time
    #[arg(long, value_name = "N", default_value_t = Bounds::default().sessions)]
    sessions_max: usize,
    /// Seconds that a session waits for a client that may come back
    #[arg(long, value_name = "S", default_value_t = 3_600)]
    session_grace: u64,
    /// CapTP frames of a connection that may be under way
    #[arg(long, value_name = "N", default_value_t = Bounds::default().frames)]
    frames_max: usize,
    /// Bytes that may wait for a CapTP client to read them
    #[arg(long, value_name = "BYTES", default_value_t = Bounds::default().unread_bytes)]
    unread_max: usize,
    /// Seconds between two pings of a CapTP client; one that answers none in twice that time is cut off
    #[arg(long, value_name = "S", default_value_t = 20)]
    ping_time: u64,
    /// Seconds for which an answer can be asked for again
    #[arg(long, value_name = "S", default_value_t = Bounds::default().keep_seconds)]
    keep_answers: u64,
    /// Make a new secret for the tokens of calls with keys: a request that is sent again with an older key acts again
    #[arg(long)]
    new_secret: bool,
    /// How to say on stderr what happens
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    log: LogForm,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum LogForm {
    Text,
    Json,
}

pub(crate) fn cmd_serve(args: ServeArgs, output: &Output) -> anyhow::Result<Exit> {
    if args.log == LogForm::Text {
        return serve_until_the_end(args, output);
    }
    let output = output.as_log();
    // Also the last line is one of the log.
    serve_until_the_end(args, &output).or_else(|err| {
        output.error(&err);
        Ok(code_of(&err))
    })
}

fn serve_until_the_end(args: ServeArgs, output: &Output) -> anyhow::Result<Exit> {
    let (bounds, gate) = (bounds(&args), gate(&args));
    let ServeArgs { run: run_args, listen, new_secret, .. } = args;
    let mut run_args = run_args.sorted()?;
    run_args.inputs = Inputs::WithBlock;
    let Some(folder) = run_args.state.clone() else {
        return Err(Usage::new("no state is named", "a server keeps one: --state DIR").into());
    };
    if run_args.blocks.is_some() {
        return Err(Usage::new("a server stays up", "leave --blocks out").into());
    }
    let (scenario, mut begun) = run::begin_with_scenario(&run_args, output)?;
    run::open_mailbox(&run_args, scenario.as_ref(), &mut begun.controller, output)?;
    let log = ServerLog { output: *output };
    log.starting(&begun.controller, &folder.display().to_string());
    let secret = open_secret(&folder, &begun.controller, new_secret)?;
    let options = ServeOptions { listen, folder, bounds, gate, secret };
    let server = Server::start(options.clone(), Box::new(log), begun.controller.interrupter(), leave)?;
    let ended = serve(&server, &mut begun, options, scenario.as_ref(), log);
    server.close();
    if let Err(err) = begun.controller.slog().flush() {
        output.warn(run::incomplete(&err));
    }
    match ended {
        Ok(signal) => {
            let standing = begun.controller.standing();
            let fields = json!({ "height": standing.height, "stateHash": standing.state_hash });
            let text = "stopped after a block; the same command goes on from there";
            log.say(Level::Info, "stopped", text, fields);
            Ok(if signal == INTERRUPTED { Exit::Interrupted } else { Exit::Ok })
        }
        Err(halt) => {
            log.halted(&halt, &begun.controller);
            Err(run::halted(*halt, &mut begun, &run_args, &AtomicU8::new(0), output))
        }
    }
}

fn bounds(args: &ServeArgs) -> Bounds {
    let patience = |own: Option<u64>| Duration::from_secs(own.unwrap_or(args.patience));
    Bounds {
        block_wait: Duration::from_millis(args.block_wait),
        body_bytes: args.body_max,
        body_time: patience(args.body_time),
        head_time: patience(args.head_time),
        write_time: patience(args.write_time),
        connections: args.connections_max,
        calls: args.calls_max,
        client_queue: args.client_queue.max(1),
        client_share: args.client_share.max(1),
        call_time: Duration::from_secs(args.call_time),
        readers: args.readers_max,
        sessions: args.sessions_max,
        session_grace: Duration::from_secs(args.session_grace),
        frames: args.frames_max.max(1),
        unread_bytes: args.unread_max,
        ping_time: Duration::from_secs(args.ping_time.max(1)),
        keep_seconds: args.keep_answers,
        ..Bounds::default()
    }
}

fn gate(args: &ServeArgs) -> Gate {
    let names_are_open = args.listen.ip().is_loopback() || args.open_exports;
    Gate { hosts: args.host.clone(), origins: args.allow_origin.clone(), names_are_open }
}

/// Serves until the end; returns the signal that it came by.
fn serve(
    server: &Server,
    begun: &mut Begun,
    options: ServeOptions,
    scenario: Option<&Scenario>,
    log: ServerLog,
) -> Result<u8, Box<Halt>> {
    let Begun { controller, policy, .. } = begun;
    let exports = scenario.map(|it| exports(controller, it));
    let mut told = run::Told::of(Some(&options.folder));
    let mut tell = |host: &mut Host, end: &BlockEnd| {
        console::tell(end, &log.output);
        run::warn(host, &mut told, &log.output);
        log.committed(end);
    };
    let (folder, names_are_open) = (options.folder, options.gate.names_are_open);
    let mut desk = Desk::new(controller, *policy, options.bounds, server.metrics(), server.stop(), &mut tell)?;
    if let Some(exports) = exports {
        desk.set_exports(exports)?;
    }
    let names = desk.exports();
    let address = server.address();
    let open = match (names.is_empty(), names_are_open) {
        (true, _) => "; no name is open: [exports] in the scenario names vats".to_owned(),
        (false, false) => "; names are closed at an address of a network, but for --open-exports".to_owned(),
        (false, true) => format!("; open by name: {}", names.join(", ")),
    };
    let socket = folder.join(SOCKET).display().to_string();
    let fields = json!({ "listen": address.to_string(), "exports": names, "control": socket });
    log.say(Level::Info, "serving", &format!("serving at http://{address}{open}"), fields);
    server.run(&mut desk)?;
    Ok(server.stop().load(Ordering::Relaxed))
}

/// The numbers of the vats that a scenario exports.
fn exports(host: &Host, scenario: &Scenario) -> BTreeMap<String, u64> {
    let number = |vat: &str| {
        let block = host.block().ok()?;
        block.tables().vats.iter().find(|(_, row)| row.name == vat).map(|(id, _)| id.0)
    };
    scenario.exports.iter().filter_map(|(name, vat)| Some((name.clone(), number(vat)?))).collect()
}

/// A second signal: what is not committed then is as if it had never been.
fn leave() {
    std::process::exit(Exit::Interrupted as i32);
}
