//! A gdb-remote server for one delivery to a guest: lldb (22 or newer) stops in the guest's own source, with its locals, and its
//! breakpoints work.
//!
//! ```text
//!   lldb -o 'process connect --plugin wasm connect://127.0.0.1:4711'
//! ```
//!
//! What the user sees is the file that the vat's bundle is: if it was built with debug information (`cargo wasm-debug` in a vat made by
//! `vathost new`), there are sources and names, if not there is the disassembly. The load pass's own code is never shown.
//!
//! The story of a session:
//!
//! ```text
//!   vat_deliver begins ─▶ accept one client ─▶ stopped ⇄ running ─▶ W00 the delivery ended, X06 the vat is at fault
//!                                                 └─ D, k, or the connection ends: the delivery runs on, undisturbed
//! ```
//!
//! * One client, one delivery or as many as were asked for; who hangs up before a first packet, as a probe of the port does, was none.
//!   Each delivery stops at its beginning, and the client's breakpoints hold for all of them.
//! * A fault (a trap, an illegal syscall), or a kernel panic, is a stop with its frames. To go on ends the delivery.
//! * The guest is only read. Writes are refused, in words: a changed guest is not the one of the other replicas. So fuel,
//!   hashes and outcome are the same with a debugger as without, whatever the client sends and wherever it goes away.
//! * ^C stops a guest that runs. Of a deep stack the innermost 1,000 frames are shown.
//!
//! This is the protocol by hand: the crate for it ties its state to the type of what it debugs, for as long as the client is there; here the
//! guest can be borrowed only from one stop to the next step.

mod answer;
mod session;
mod wire;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    kernel::{self, Halt, Ran},
    model::{blame::HostFault, id::VatId},
    state::block::Block,
    vat::Warehouse,
};

use session::GdbSession;

/// Runs the next crank, and lets a client debug what it delivers to this vat. Waits for the client when the delivery begins; where the
/// crank delivers nothing to the vat, nobody is waited for. `workers` is one [for a debugger](Warehouse::for_debugger).
///
/// # Errors
///
/// What stops the host anyway; or that the workers are not for a debugger. Nothing that a client does, nor an error of the socket.
pub fn serve(
    block: Block,
    vat: VatId,
    workers: &mut Warehouse,
    listener: TcpListener,
) -> Result<(Block, Option<Ran>), Box<Halt>> {
    attach(vat, workers, listener, 1)?;
    let result = kernel::crank(block, workers);
    workers.detach();
    result
}

/// Lets the first client that comes debug so many deliveries to a vat, until the debugger is detached. The flag is set once no client
/// will look at any more of them. `workers` is one [for a debugger](Warehouse::for_debugger).
pub(super) fn attach(
    vat: VatId,
    workers: &mut Warehouse,
    listener: TcpListener,
    deliveries: u64,
) -> Result<Arc<AtomicBool>, HostFault> {
    let (session, over) = GdbSession::new(listener, vat, workers.interrupter(), deliveries);
    workers.attach(vat, session)?;
    Ok(over)
}

/// Returns the command line that attaches lldb to a server at this address.
pub fn invitation(address: SocketAddr) -> String {
    format!("lldb -o 'process connect --plugin wasm connect://{address}'")
}

/// Returns the warning for a user whose server can be reached from other machines, if it can.
pub fn warning(address: SocketAddr) -> Option<String> {
    let open = !address.ip().is_loopback();
    open.then(|| {
        format!("{address} can be reached from other machines: whoever connects can read all of the guest's memory")
    })
}
