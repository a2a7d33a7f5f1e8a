//! `debug --gdb` and `--lldb`: serve a debugger of the guest's own code at the place.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::Context;
use serde_json::Value;

use crate::{
    cli::{
        Exit, Output, Usage,
        debug::{DebugArgs, into_error, lldb::Lldb},
        output::{grouped, harmless},
    },
    debug::{Debugged, Guest, Open, gdb},
    model::id::{CrankNum, DeliveryNum},
};

/// Waits at this address for a debugger, and lets it debug the guest.
pub(super) fn serve(what: Open, address: SocketAddr, args: &DebugArgs, output: &Output) -> anyhow::Result<Exit> {
    let guest = Guest::open(what).map_err(into_error)?;
    let (listener, address) = listen(address)?;
    if let Some(warning) = gdb::warning(address) {
        output.note(format!("warning: {warning}"));
    }
    output.note(format!("{}; connect with", place(&guest)));
    output.note(format!("  {}", gdb::invitation(address)));
    tell(&guest.serve(listener, args.deliveries).map_err(into_error)?, args, output)
}

/// Starts lldb on the guest, and waits until it has ended.
pub(super) fn start_lldb(what: Open, program: &str, args: &DebugArgs, output: &Output) -> anyhow::Result<Exit> {
    let lldb = Lldb::find(program)?;
    // ^C is lldb's: it stops the guest.
    ctrlc::set_handler(|| ()).context("install a handler for ^C")?;
    let guest = Guest::open(what).map_err(into_error)?;
    let (listener, address) = listen((Ipv4Addr::LOCALHOST, 0).into())?;
    output.note(format!("{}; {}", place(&guest), lldb.version));
    let mut child = lldb.start(address, &args.lldb_arguments, output)?;
    let waiter = thread::spawn(move || {
        let ended = child.wait();
        // If lldb never connected, the server still waits: a connection that kills the session ends the wait.
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.write_all(b"$k#6b");
        }
        ended
    });
    let made = guest.serve(listener, args.deliveries).map_err(into_error)?;
    let _ = waiter.join();
    tell(&made, args, output)
}

fn listen(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .map_err(|err| Usage::new(format!("listen at {address}: {err}"), "name a free port, or 127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn place(guest: &Guest) -> String {
    let (delivery, vat, kind) = (guest.delivery, guest.vat, guest.kind);
    match guest.crank {
        Some(crank) => format!("before {crank}: {delivery} to {vat}, {kind}"),
        None => format!("before {delivery} to {vat}, {kind}, which is committed and is replayed"),
    }
}

/// Prints how the debugged deliveries ended.
fn tell(made: &[Debugged], args: &DebugArgs, output: &Output) -> anyhow::Result<Exit> {
    if args.json {
        let mut object = made.last().map_or(Ok(Value::Null), serde_json::to_value)?;
        if args.deliveries > 1 {
            object["deliveries"] = serde_json::to_value(made)?;
        }
        output.json(&object)?;
        return Ok(Exit::Ok);
    }
    made.iter().try_for_each(|it| output.line(line(it)))?;
    Ok(Exit::Ok)
}

fn line(it: &Debugged) -> String {
    let crank = it.crank.map(|it| format!("{}, ", CrankNum(it))).unwrap_or_default();
    let outcome = match (&it.fault, it.ended) {
        (None, true) => "the vat ended itself".to_owned(),
        (None, false) => it.outcome.to_owned(),
        (Some(fault), true) => format!("the vat is at fault, and ended: {}", harmless(fault)),
        (Some(fault), false) => format!("the vat is at fault, and lives on: {}", harmless(fault)),
    };
    let after = match &it.state_hash {
        Some(hash) => format!("; state hash {hash}"),
        None => ", as recorded".to_owned(),
    };
    let (number, fuel) = (DeliveryNum(it.delivery_num), grouped(it.fuel));
    format!("{crank}{number} to {}: {outcome}, {fuel} fuel{after}", it.vat)
}
