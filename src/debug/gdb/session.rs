//! One client and one delivery: who is waited for, what is told when the guest stops, how it goes on.

use std::net::TcpListener;

use crate::{
    debug::gdb::{
        answer::{self, Answer},
        wire::Client,
    },
    model::id::VatId,
    vat::{Debugger, Interrupter, Resume, Stop, Stopped},
};

/// A session, from before its client is there until it is gone.
#[derive(Debug)]
pub(super) struct Session {
    listener: TcpListener,
    vat: VatId,
    interrupter: Interrupter,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Nobody is there yet.
    Waiting,
    Attached(Client),
    /// There will be no client any more.
    Over,
}

impl Session {
    pub(super) fn new(listener: TcpListener, vat: VatId, interrupter: Interrupter) -> Session {
        Session { listener, vat, interrupter, phase: Phase::Waiting }
    }

    /// Waits for a client that says something, and for its first packet. Who hangs up before that, as a probe of the port does, uses
    /// nothing up.
    fn wait(&mut self) -> Option<(Client, Vec<u8>)> {
        loop {
            let (stream, _) = self.listener.accept().ok()?;
            let mut client = Client::new(stream, self.interrupter.clone()).ok()?;
            if let Some(packet) = client.next() {
                return Some((client, packet));
            }
        }
    }

    /// Answers one packet after the other until the client lets the guest go on. `None` where it is gone, or no longer interested.
    fn converse(&mut self, guest: &mut Stopped<'_>, stop: &Stop) -> Option<Resume> {
        let mut first = None;
        if let Phase::Waiting = self.phase {
            let (client, packet) = self.wait()?;
            (self.phase, first) = (Phase::Attached(client), Some(packet));
        } else if let Phase::Attached(client) = &mut self.phase {
            // It waits to hear of it.
            client.send(&answer::stop_reply(guest, stop)).ok()?;
        }
        let Phase::Attached(client) = &mut self.phase else { return None };
        loop {
            let packet = match first.take() {
                Some(packet) => packet,
                None => client.next()?,
            };
            match answer::answer(guest, self.vat, stop, &packet) {
                Answer::Text(text) => client.send(&text).ok()?,
                Answer::WithoutAcknowledgement => {
                    client.send("OK").ok()?;
                    client.stop_acknowledging();
                }
                Answer::Resume(resume) => return Some(resume),
                Answer::Detach(text) => {
                    // Whether it hears that makes no difference.
                    let _ = client.send(text);
                    return None;
                }
            }
        }
    }
}

impl Debugger for Session {
    fn stopped(&mut self, guest: &mut Stopped<'_>, stop: &Stop) -> Resume {
        if let (Stop::Interrupt, Phase::Attached(client)) = (stop, &mut self.phase)
            && !client.interrupts()
        {
            return Resume::Same;
        }
        self.converse(guest, stop).unwrap_or_else(|| {
            self.phase = Phase::Over;
            Resume::Free
        })
    }

    fn ended(&mut self, well: bool) {
        if let Phase::Attached(client) = &mut self.phase {
            // It may be gone.
            let _ = client.send(if well { "W00" } else { "X06" });
        }
        self.phase = Phase::Over;
    }
}
