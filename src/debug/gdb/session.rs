//! One client and the deliveries that it debugs: waits for the client, reports stops to it, and lets the guest continue as it asks.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    debug::gdb::{
        answer::{self, GdbAnswer},
        wire::Client,
    },
    model::id::VatId,
    vat::{Debugger, Interrupter, Resume, Stop, Stopped},
};

/// A session, from before its client is there until it is gone.
#[derive(Debug)]
pub(super) struct GdbSession {
    listener: TcpListener,
    vat: VatId,
    interrupter: Interrupter,
    phase: Phase,
    /// Deliveries that the client is still to be shown.
    left: u64,
    /// The client's breakpoints, which hold for the next delivery, too.
    breakpoints: BTreeSet<u64>,
    over: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Phase {
    /// No client has connected yet.
    Waiting,
    Attached(Client),
    /// The client is gone, and no other is accepted.
    Over,
}

impl GdbSession {
    /// Makes a session over so many deliveries to the vat, and the flag that is set once no client will debug any more of them.
    pub(super) fn new(
        listener: TcpListener,
        vat: VatId,
        interrupter: Interrupter,
        deliveries: u64,
    ) -> (GdbSession, Arc<AtomicBool>) {
        let over = Arc::new(AtomicBool::new(false));
        let (phase, breakpoints) = (Phase::Waiting, BTreeSet::new());
        (GdbSession { listener, vat, interrupter, phase, left: deliveries, breakpoints, over: over.clone() }, over)
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits for a client and its first packet. A connection that ends before that, such as a probe of the port, does not count.
    fn wait(&mut self) -> Option<(Client, Vec<u8>)> {
        loop {
            let (stream, _) = self.listener.accept().ok()?;
            let mut client = Client::new(stream, self.interrupter.clone()).ok()?;
            if let Some(packet) = client.next() {
                return Some((client, packet));
            }
        }
    }

    /// Answers one packet after the other until the client lets the guest continue. `None` if it has disconnected or detached.
    fn converse(&mut self, guest: &mut Stopped<'_>, stop: &Stop) -> Option<Resume> {
        let mut first = None;
        if let Phase::Waiting = self.phase {
            let (client, packet) = self.wait()?;
            (self.phase, first) = (Phase::Attached(client), Some(packet));
        } else if let Phase::Attached(client) = &mut self.phase {
            if *stop == Stop::Entry {
                for at in &self.breakpoints {
                    guest.set_breakpoint(*at, true);
                }
            }
            // The client waits for this reply.
            client.send(&answer::stop_reply(guest, stop)).ok()?;
        }
        let Phase::Attached(client) = &mut self.phase else { return None };
        loop {
            let packet = match first.take() {
                Some(packet) => packet,
                None => client.next()?,
            };
            match answer::answer(guest, self.vat, stop, &packet) {
                GdbAnswer::Text(text) => client.send(&text).ok()?,
                GdbAnswer::WithoutAcknowledgement => {
                    client.send("OK").ok()?;
                    client.stop_acknowledging();
                }
                GdbAnswer::Resume(resume) => {
                    self.breakpoints.clone_from(guest.breakpoints());
                    return Some(resume);
                }
                GdbAnswer::Detach(text) => {
                    // If the client does not receive it, nothing is lost.
                    let _ = client.send(text);
                    return None;
                }
            }
        }
    }
}

impl Debugger for GdbSession {
    fn stopped(&mut self, guest: &mut Stopped<'_>, stop: &Stop) -> Resume {
        if let (Stop::Interrupt, Phase::Attached(client)) = (stop, &mut self.phase)
            && !client.interrupts()
        {
            return Resume::Same;
        }
        self.converse(guest, stop).unwrap_or_else(|| {
            self.end();
            Resume::Free
        })
    }

    fn ended(&mut self, well: bool) {
        self.left = self.left.saturating_sub(1);
        if well && self.left > 0 && matches!(self.phase, Phase::Attached(_)) {
            // The next reply to the client is the beginning of the next delivery.
            return;
        }
        if let Phase::Attached(client) = &mut self.phase {
            // It may be gone.
            let _ = client.send(if well { "W00" } else { "X06" });
        }
        self.end();
    }
}

/// Sends the end to a client that waits for a delivery which never came.
impl Drop for GdbSession {
    fn drop(&mut self) {
        if let Phase::Attached(client) = &mut self.phase {
            let _ = client.send("W00");
        }
    }
}
