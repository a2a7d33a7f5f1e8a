//! What sockets ask of the kernel's thread: to open a session or go on with one, to take a frame, and to leave.

use super::{
    Desk,
    client::{CaptpClient, Opened, Seat},
    session::{Opening, Resume, codes},
};
use crate::{
    host::controller::{SessionId, SessionRefusal, To},
    model::id::{KRef, VRef, VatId},
    serve::{
        ask::Reply,
        problem::Problem,
        token::{CapToken, TokenHash},
    },
    state::table::Status,
};

impl Desk<'_> {
    /// Opens a session for a socket, or goes on with the one that it names.
    pub(in crate::serve) fn open_captp(&mut self, names_are_open: bool, resume: Resume, reply: Reply<Opened>) {
        let asked = match resume {
            Resume::No => self.open_new(names_are_open, None, reply),
            Resume::New => match CapToken::random() {
                Ok(token) => self.open_new(names_are_open, Some(token), reply),
                Err(err) => Err((reply, Problem::new("unexpected", err.to_string()))),
            },
            Resume::Again { token, received: None } => self.open_anew(names_are_open, token, reply),
            Resume::Again { token, received: Some(arrived) } => match self.go_on(token, arrived) {
                Ok(opened) => {
                    let seat = opened.seat;
                    if reply.send(Ok(opened)).is_err() {
                        self.leave(seat, codes::GOODBYE, "its client is gone");
                    }
                    Ok(())
                }
                Err(why) => Err((reply, why)),
            },
        };
        if let Err((reply, why)) = asked {
            let _ = reply.send(Err(why));
        }
    }

    /// A session that is new.
    fn open_new(
        &mut self,
        names_are_open: bool,
        secret: Option<CapToken>,
        reply: Reply<Opened>,
    ) -> Result<(), (Reply<Opened>, Problem)> {
        if let Err(why) = self.check_room() {
            return Err((reply, why));
        }
        let names = self.open_names(names_are_open);
        if names.is_empty() {
            return Err((reply, Problem::new("no-capability", NOTHING_OPEN)));
        }
        let opening = Opening::new(names, Vec::new(), secret.map(CapToken::hash), secret);
        self.begin_session(opening, None, reply)
    }

    /// A client that was started anew: what its session held is given to a new one, and the old one ends.
    fn open_anew(
        &mut self,
        names_are_open: bool,
        token: CapToken,
        reply: Reply<Opened>,
    ) -> Result<(), (Reply<Opened>, Problem)> {
        let before = match self.captp.find(token.hash()) {
            Ok(it) => it,
            Err(why) => return Err((reply, why)),
        };
        let names = self.open_names(names_are_open);
        let held = self.captp.clients.get(&before).map(|it| it.connection.held()).unwrap_or_default();
        let opening = Opening::new(names, held, Some(token.hash()), None);
        self.begin_session(opening, Some(before), reply)
    }

    fn begin_session(
        &mut self,
        mut opening: Opening,
        before: Option<VatId>,
        reply: Reply<Opened>,
    ) -> Result<(), (Reply<Opened>, Problem)> {
        let name = self.captp.next_name();
        let session = match self.host.open_session(&name) {
            Ok(it) => it,
            Err(SessionRefusal::TooMany) => return Err((reply, Problem::busy(TOO_MANY))),
            Err(why) => return Err((reply, Problem::new("refused", why.to_string()))),
        };
        if let Err(why) = self.give_all(session, &mut opening, before) {
            let _ = self.host.end_session(session, "it was not given what it was opened for");
            return Err((reply, Problem::new("refused", why.to_string())));
        }
        if let Some(row) = opening.row() {
            self.host.keep_with_inputs(vec![row.row(session.0)]);
        }
        if let Some(before) = before {
            self.captp.end(self.host, before, codes::MOVED, "its client was started anew");
            if let Some(client) = self.captp.clients.get_mut(&before) {
                client.detach(codes::MOVED, "the client was started anew");
            }
        }
        opening.reply = Some(reply);
        self.captp.openings.insert(session.0, opening);
        Ok(())
    }

    /// Gives a session the roots of its names, and what the one before it held.
    fn give_all(
        &mut self,
        session: SessionId,
        opening: &mut Opening,
        before: Option<VatId>,
    ) -> Result<(), SessionRefusal> {
        for (tag, name) in opening.names.iter().enumerate() {
            let vat = self.book.exports().get(name).copied().unwrap_or_default();
            self.host.give(session, To::Vat(VatId(vat)), tag as u64)?;
        }
        let Some(before) = before else { return Ok(()) };
        let mut held: Vec<(VRef, KRef)> = Vec::new();
        if let Ok(block) = self.host.block() {
            let clist = &block.tables().clist;
            let kref = |it: &VRef| Some((*it, clist.get(&(before, *it))?.kref));
            held = opening.held.iter().filter_map(kref).collect();
        }
        // Those of its roots are given by name.
        let roots: Vec<KRef> = opening.names.iter().filter_map(|it| self.root_named(it)).collect();
        held.retain(|(_, kref)| !roots.contains(kref));
        for (at, (_, kref)) in held.iter().enumerate() {
            self.host.give(session, To::Held(*kref), (opening.names.len() + at) as u64)?;
        }
        opening.held = held.into_iter().map(|(vref, _)| vref).collect();
        Ok(())
    }

    fn root_named(&self, name: &str) -> Option<KRef> {
        self.host.root_of(VatId(*self.book.exports().get(name)?))
    }

    /// The names that are open, of vats that are alive.
    fn open_names(&self, names_are_open: bool) -> Vec<String> {
        let alive = self.book.exports().iter().filter(|(_, vat)| self.host.is_alive(VatId(**vat)));
        alive.filter(|_| names_are_open).map(|(name, _)| name.clone()).collect()
    }

    fn check_room(&mut self) -> Result<(), Problem> {
        if self.captp.len() >= self.bounds.sessions {
            self.captp.leave_dead(self.host, &self.bounds);
            return Err(Problem::busy(TOO_MANY));
        }
        Ok(())
    }

    /// A client that goes on where it was.
    fn go_on(&mut self, token: CapToken, arrived: u64) -> Result<Opened, Problem> {
        let session = self.captp.find(token.hash())?;
        let client = self.captp.client(session)?;
        client.can_go_on(arrived).map_err(|why| Problem::new("dropped", why))?;
        let hello = client.hello();
        let opened = client.attach(session, Some(hello), arrived);
        self.captp.set_deadline(session, None);
        Ok(opened)
    }

    /// Takes a frame of a client's.
    pub(in crate::serve) fn take_frame(&mut self, seat: Seat, frame: &str) {
        self.metrics.frame_received();
        let Seat { session, socket } = seat;
        let status = self.status_of_session(session);
        let Some(client) = self.captp.clients.get_mut(&session).filter(|it| it.is_at(socket)) else { return };
        if let Some((code, why)) = status {
            self.captp.leave_session(self.host, session, &self.bounds, code, &why);
            return;
        }
        if !client.take_number() {
            return;
        }
        let turn = client.connection.receive(frame);
        let is_said = turn.syscalls.is_empty() && turn.ended.is_none();
        client.put(turn.messages);
        if !turn.syscalls.is_empty() {
            // Its status was looked at: it takes them.
            let _ = self.host.act(SessionId(session), turn.syscalls);
        }
        if let Some(reason) = turn.ended {
            let code = if client.connection.is_broken() { codes::MALFORMED } else { codes::GOODBYE };
            self.captp.end(self.host, session, code, &reason);
        } else if is_said && client.token.is_none() && !client.waits {
            // There is nothing to make durable.
            let sent = client.flush(self.bounds.unread_bytes);
            self.metrics.frames_sent(sent.unwrap_or_default());
            if sent.is_none() {
                self.captp.leave_session(self.host, session, &self.bounds, codes::SLOW, "it reads too slowly");
            }
            return;
        }
        self.captp.wait(session);
    }

    /// Why a session takes nothing now, if it does not, with the code for its client.
    fn status_of_session(&self, session: VatId) -> Option<(u16, String)> {
        let status = self.host.block().ok()?.tables().vats.get(&session).map(|it| &it.status);
        match status? {
            Status::Running => None,
            Status::Paused { reason } => Some((codes::PAUSED, reason.clone())),
            Status::Terminated { reason, .. } => Some((codes::ENDED, reason.clone())),
        }
    }

    /// A client has the frames up to this one.
    pub(in crate::serve) fn frames_arrived(&mut self, seat: Seat, up_to: u64) {
        let client = self.captp.clients.get_mut(&seat.session).filter(|it| it.is_at(seat.socket));
        if let Some(client) = client {
            client.arrived(up_to);
        }
    }

    /// A socket is closed. Its session waits for its client if it may come back, and if the client did not break the rules.
    pub(in crate::serve) fn leave(&mut self, seat: Seat, code: u16, reason: &str) {
        let Some(client) = self.captp.clients.get_mut(&seat.session).filter(|it| it.is_at(seat.socket)) else { return };
        let breaks = [codes::MALFORMED, codes::NOT_TEXT, codes::NOT_UTF8, codes::TOO_LARGE].contains(&code);
        if breaks {
            client.detach(code, reason);
            self.captp.end(self.host, seat.session, code, reason);
        } else {
            self.captp.leave_session(self.host, seat.session, &self.bounds, code, reason);
        }
    }
}

impl super::session::CaptpSessions {
    /// Finds the session of a token, if it is open and goes on.
    fn find(&self, token: TokenHash) -> Result<VatId, Problem> {
        let session = self.tokens.get(&token).copied();
        let is_open = |it: &VatId| self.clients.get(it).is_some_and(|it| it.closing.is_none());
        session.filter(is_open).ok_or_else(|| Problem::new("no-capability", NO_SESSION))
    }

    fn client(&mut self, session: VatId) -> Result<&mut CaptpClient, Problem> {
        self.clients.get_mut(&session).ok_or_else(|| Problem::new("no-capability", NO_SESSION))
    }
}

const TOO_MANY: &str = "there are as many sessions as the host lets be: try again when some have ended";
const NOTHING_OPEN: &str = "no vat is open by name here: a session would hold nothing";
const NO_SESSION: &str =
    "there is no session of this token: it has ended, or the host never had it. `resume=new` opens another";
