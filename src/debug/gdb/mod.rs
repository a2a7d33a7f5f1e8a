//! A gdb-remote server for deliveries to a guest: lldb (22 or newer) stops in the guest's own source, shows its locals, and sets
//! breakpoints.
//!
//! ```text
//!   lldb -o 'process connect --plugin wasm connect://127.0.0.1:4711'
//! ```
//!
//! The user sees the vat's bundle as it was built: with sources and names if it has debug information (`cargo wasm-debug` in a vat made
//! by `vathost new`), otherwise as a disassembly. The load pass's own code is never shown.
//!
//! The course of a session:
//!
//! ```text
//!   vat_deliver begins ─▶ accept one client ─▶ stopped ⇄ running ─▶ W00 the delivery ended, X06 the vat is at fault
//!                                                 └─ D, k, or the connection ends: the delivery runs on, undisturbed
//! ```
//!
//! * There is one client, and one delivery or as many as were asked for. A connection that ends before its first packet, such as a
//!   probe of the port, does not count. Each delivery stops at its beginning, and the client's breakpoints hold for all of them.
//! * A fault (a trap, an illegal syscall) or a kernel panic is a stop with its frames. To continue from it ends the delivery.
//! * The guest is only read. Writes are refused, in words: a changed guest would differ from that of the other replicas. So fuel,
//!   hashes and outcome are the same with a debugger as without, whatever the client sends and whenever it disconnects.
//! * ^C stops a running guest. Of a deep stack the innermost 1,000 frames are shown.
//!
//! The protocol is implemented by hand, since the crate for it ties its state to the debugged object's type for as long as the client is
//! connected; here the guest is borrowed only from a stop until it continues.

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

/// Runs the next crank, and lets a client debug its delivery to this vat. Waits for the client when the delivery begins, and for none if
/// the crank delivers nothing to the vat. `workers` is one [for a debugger](Warehouse::for_debugger).
///
/// # Errors
///
/// Those that stop the host without a debugger too; or the workers are not for a debugger. Neither a client nor the socket can cause one.
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

/// Lets the first client that connects debug so many deliveries to a vat, until the debugger is detached. Returns a flag that is set once
/// no client will debug any more of them. `workers` is one [for a debugger](Warehouse::for_debugger).
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
