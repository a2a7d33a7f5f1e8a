//! Sessions of CapTP clients: opened, spoken for, told of what happened, left, and found again.
//!
//! ```text
//!   a socket ─▶ open ─▶ Opening: the block that gives it the roots ─▶ CaptpClient ─▶ frame ─▶ syscalls, an input of the next block
//!                                                                      ▲   │
//!                  every block: hear (events become frames, and rows with it) ─▶ commit ─▶ settle (frames go out)
//!   leave: the session ends, or waits a grace period for its client
//! ```
//!
//! Invariants: what is kept of a client that may come back is written with the inputs or with the block that changed it; nothing is
//! said to a client before that; an event of a session is heard in the block that brought it, so that nobody speaks for a client
//! before it was told of all that happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde_json::{Value, json};

use super::client::{CaptpClient, KeptSession, Opened, OpeningRow, read_kept};
use crate::{
    host::controller::{Host, SessionId, SessionRefusal},
    kernel::Halt,
    model::id::{VRef, VatId},
    serve::{
        ask::Reply,
        bounds::Bounds,
        captp::Connection,
        metrics::Metrics,
        problem::Problem,
        token::{CapToken, TokenHash},
    },
    state::{block::Block, table::SessionEvent},
    store::{BesideRow, KeptRow},
};

/// The codes by which a connection is closed.
pub(in crate::serve) mod codes {
    /// The client disconnected.
    pub(in crate::serve) const GOODBYE: u16 = 1000;
    /// The host stops; it can be met again.
    pub(in crate::serve) const STOPPING: u16 = 1012;
    /// A frame is none of this protocol's.
    pub(in crate::serve) const MALFORMED: u16 = 1002;
    /// A frame is not text.
    pub(in crate::serve) const NOT_TEXT: u16 = 1003;
    /// A frame is not in UTF-8.
    pub(in crate::serve) const NOT_UTF8: u16 = 1007;
    /// The client reads, or answers, too slowly.
    pub(in crate::serve) const SLOW: u16 = 1008;
    /// A frame is too large.
    pub(in crate::serve) const TOO_LARGE: u16 = 1009;
    /// The host has halted.
    pub(in crate::serve) const HALTED: u16 = 1011;
    /// The kernel ended the session.
    pub(in crate::serve) const ENDED: u16 = 4000;
    /// Another connection goes on with the session.
    pub(in crate::serve) const MOVED: u16 = 4001;
    /// An operator paused the session.
    pub(in crate::serve) const PAUSED: u16 = 4002;
}

/// The beginning of the name of every session of these.
const NAMES: &str = "captp-";

/// The session that a client asks for when it connects.
#[derive(Debug, Clone, Copy)]
pub(in crate::serve) enum Resume {
    /// A session that ends with the connection.
    No,
    /// A session that can be found again, by a token that it is told.
    New,
    /// The session of this token. Whoever has received frames of it goes on behind them; whoever has not was started anew.
    Again { token: CapToken, received: Option<u64> },
}

/// A session that the next block opens.
pub(super) struct Opening {
    pub(super) names: Vec<String>,
    /// The objects of the session before, by the names that the client had for them.
    pub(super) held: Vec<VRef>,
    given: BTreeMap<u64, VRef>,
    told: usize,
    heard: u64,
    token: Option<TokenHash>,
    /// The token of a session that is new.
    secret: Option<CapToken>,
    pub(super) reply: Option<Reply<Opened>>,
}

/// All sessions of CapTP clients.
#[derive(Default)]
pub(in crate::serve) struct CaptpSessions {
    pub(super) clients: BTreeMap<VatId, CaptpClient>,
    pub(super) openings: BTreeMap<VatId, Opening>,
    pub(super) tokens: BTreeMap<TokenHash, VatId>,
    /// The number in the next name.
    next_name: u64,
    /// Those whose rows are to be written with the next inputs.
    unwritten: BTreeSet<VatId>,
    /// Those about which something was learned in this block.
    touched: BTreeSet<VatId>,
    /// Those that were opened by this block.
    opened: Vec<(VatId, Opening)>,
    /// Those that ended in this block.
    over: Vec<(VatId, CaptpClient)>,
    /// Rows to be written with the next inputs.
    rows: Vec<BesideRow>,
    /// Those that owed syscalls when the host was started.
    owing: BTreeSet<VatId>,
    /// Those of an earlier host that no client can come back to, and whether they are alive.
    stale: BTreeMap<VatId, bool>,
    /// The ends of those whose clients are away.
    deadlines: BTreeSet<(Instant, VatId)>,
    /// Events that need not be kept any more: said with the next block.
    heard: BTreeMap<VatId, u64>,
}

impl CaptpSessions {
    /// Reads what was kept, and takes up each session where it was. Nothing is asked of the host before its next block: one that is
    /// open goes on as it was begun.
    pub(super) fn read(rows: &[KeptRow], host: &Host, bounds: &Bounds) -> Result<CaptpSessions, Box<Halt>> {
        let mut sessions = CaptpSessions::default();
        let deadline = now() + bounds.session_grace;
        let mut kept = read_kept(rows)?;
        for it in host.sessions().into_iter().filter(|it| it.name.starts_with(NAMES)) {
            let SessionId(session) = it.id;
            let number = it.name.strip_prefix(NAMES).and_then(|it| it.parse::<u64>().ok());
            sessions.next_name = sessions.next_name.max(number.unwrap_or_default());
            match kept.remove(&session) {
                Some(KeptSession::Open(client)) => {
                    if !client.owed.is_empty() {
                        sessions.owing.insert(session);
                    }
                    sessions.put(session, *client);
                    sessions.set_deadline(session, Some(deadline));
                }
                Some(KeptSession::Opening(row)) => drop(sessions.openings.insert(session, Opening::of_row(row))),
                None => drop(sessions.stale.insert(session, it.is_alive())),
            }
        }
        // Of a state that went back, or of a session that is forgotten.
        for (session, it) in kept {
            match it {
                KeptSession::Open(client) => client.forget_rows(session, &mut sessions.rows),
                KeptSession::Opening(_) => sessions.rows.push(OpeningRow::forget_row(session)),
            }
        }
        // Of a block that a kernel panic undid only the inputs are there: what they brought was not heard.
        let rows = sessions.hear(host.block()?);
        sessions.rows.extend(rows);
        Ok(sessions)
    }

    fn put(&mut self, session: VatId, client: CaptpClient) {
        if let Some(token) = client.token {
            self.tokens.insert(token, session);
        }
        self.clients.insert(session, client);
    }

    /// Returns the number of clients that are connected, and of those that are away.
    pub(in crate::serve) fn count(&self) -> (usize, usize) {
        let connected = self.clients.values().filter(|it| it.is_connected()).count();
        (connected, self.clients.len() - connected)
    }

    /// Returns the number of sessions, and of those that are about to be opened.
    pub(super) fn len(&self) -> usize {
        self.clients.len() + self.openings.len()
    }

    /// Returns the name of the next session.
    pub(super) fn next_name(&mut self) -> String {
        self.next_name += 1;
        format!("{NAMES}{}", self.next_name)
    }

    /// Lets those go whose sockets are gone without a word.
    pub(super) fn leave_dead(&mut self, host: &mut Host, bounds: &Bounds) {
        let is_dead = |it: &CaptpClient| !it.is_connected() && it.deadline.is_none() && it.closing.is_none();
        let dead: Vec<VatId> = self.clients.iter().filter(|(_, it)| is_dead(it)).map(|(session, _)| *session).collect();
        for session in dead {
            self.leave_session(host, session, bounds, codes::GOODBYE, "its client is gone");
        }
    }

    /// Something was asked of this session: the next commit tells its client.
    pub(super) fn wait(&mut self, session: VatId) {
        if let Some(client) = self.clients.get_mut(&session) {
            client.waits = true;
            self.touched.insert(session);
            if client.token.is_some() {
                self.unwritten.insert(session);
            }
        }
    }

    /// Returns whether something is to be written, or to be ended.
    pub(super) fn is_due(&self) -> bool {
        let is_late = || self.deadline().is_some_and(|it| it <= now());
        !(self.unwritten.is_empty() && self.rows.is_empty() && self.owing.is_empty() && self.stale.is_empty())
            || is_late()
    }

    /// The time at which the first session ends whose client is away.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(time, _)| *time)
    }

    /// Notes when a session ends, unless its client comes back; or that it is there.
    pub(super) fn set_deadline(&mut self, session: VatId, deadline: Option<Instant>) {
        let Some(client) = self.clients.get_mut(&session) else { return };
        if let Some(before) = std::mem::replace(&mut client.deadline, deadline) {
            self.deadlines.remove(&(before, session));
        }
        self.deadlines.extend(deadline.map(|it| (it, session)));
    }

    /// Gives the host what the next block is to take in: none where one is open, which would be another block then.
    pub(super) fn prepare(&mut self, host: &mut Host) {
        if host.block().is_ok_and(|it| it.meta().open) {
            return;
        }
        for (session, is_alive) in std::mem::take(&mut self.stale) {
            if is_alive {
                let _ = host.end_session(SessionId(session), "the host was started anew");
            }
        }
        for session in std::mem::take(&mut self.owing) {
            self.act_owed(host, session);
        }
        let time = now();
        while let Some((_, session)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= time) {
            self.set_deadline(session, None);
            self.end(host, session, codes::ENDED, "its client did not come back");
        }
        for (session, up_to) in std::mem::take(&mut self.heard) {
            host.acknowledge(SessionId(session), up_to);
        }
        let mut rows = std::mem::take(&mut self.rows);
        for session in std::mem::take(&mut self.unwritten) {
            if let Some(client) = self.clients.get_mut(&session) {
                client.take_rows(session, &mut rows);
            }
        }
        if !rows.is_empty() {
            host.keep_with_inputs(rows);
        }
    }

    /// Ends a session with the next block.
    pub(super) fn end(&mut self, host: &mut Host, session: VatId, code: u16, reason: &str) {
        let Some(client) = self.clients.get_mut(&session).filter(|it| it.closing.is_none()) else { return };
        client.closing = Some((code, reason.to_owned()));
        self.set_deadline(session, None);
        // Where it has ended already that is in its outbox.
        let _ = host.end_session(SessionId(session), reason);
    }

    /// Takes the events of a block that is about to be committed. Returns the rows that are to be written with it.
    pub(super) fn hear(&mut self, block: &Block) -> Vec<BesideRow> {
        let mut rows = Vec::new();
        let tables = block.tables();
        let outbox = &tables.session_outbox;
        let sessions: Vec<VatId> = outbox.sessions().collect();
        for session in sessions {
            if let Some(opening) = self.openings.get_mut(&session) {
                let events = outbox.of(session, opening.heard + 1);
                if opening.hear(events)
                    && let Some(opening) = self.openings.remove(&session)
                {
                    self.opened.push((session, opening));
                }
            } else if let Some(client) = self.clients.get_mut(&session) {
                let events: Vec<(u64, &SessionEvent)> = outbox.of(session, client.heard + 1).collect();
                let Some((last, _)) = events.last() else { continue };
                client.heard = *last;
                self.heard.insert(session, *last);
                self.touched.insert(session);
                let has_ended = events.iter().find_map(|(_, it)| match it {
                    SessionEvent::Ended { reason } => Some(reason.clone()),
                    _ => None,
                });
                let turn = client.connection.tell(events.into_iter().map(|(_, it)| it));
                client.put(turn.messages);
                client.owed.extend(turn.syscalls);
                if let Some(reason) = has_ended {
                    client.closing.get_or_insert((codes::ENDED, reason));
                    client.forget_rows(session, &mut rows);
                    self.take_out(session);
                } else {
                    client.take_rows(session, &mut rows);
                    self.unwritten.remove(&session);
                }
            } else if tables.sessions.get(&session).is_some_and(|it| it.name.starts_with(NAMES)) {
                // What it is told nobody reads.
                self.heard.insert(session, u64::MAX);
            }
        }
        self.seat_opened(&mut rows);
        rows
    }

    /// Takes out a session that has ended.
    fn take_out(&mut self, session: VatId) {
        self.unwritten.remove(&session);
        self.set_deadline(session, None);
        if let Some(client) = self.clients.remove(&session) {
            // Its successor may have the token by now.
            if let Some(token) = client.token.filter(|it| self.tokens.get(it) == Some(&session)) {
                self.tokens.remove(&token);
            }
            self.over.push((session, client));
        }
    }

    /// Makes clients of those that were given all that they asked for.
    fn seat_opened(&mut self, rows: &mut Vec<BesideRow>) {
        for at in 0..self.opened.len() {
            let (session, opening) = &self.opened[at];
            let mut client = CaptpClient::new(opening.connection(), opening.token, opening.heard);
            let session = *session;
            self.heard.insert(session, client.heard);
            client.take_rows(session, rows);
            self.put(session, client);
        }
    }

    /// After the commit: syscalls that follow are given to the host, frames go out, and whoever waits for its session has it.
    pub(super) fn settle(&mut self, host: &mut Host, bounds: &Bounds, metrics: &Metrics) -> usize {
        for (session, mut opening) in std::mem::take(&mut self.opened) {
            let Some(client) = self.clients.get_mut(&session) else { continue };
            let hello = opening.hello();
            let opened = opening.reply.take().map(|reply| reply.send(Ok(client.attach(session, hello, 0))));
            if opened.is_none_or(|it| it.is_err()) {
                self.leave_session(host, session, bounds, codes::GOODBYE, "its client is gone");
            }
        }
        let mut told = 0;
        for (_, mut client) in std::mem::take(&mut self.over) {
            metrics.frames_sent(client.flush(usize::MAX).unwrap_or_default());
            if let Some((code, reason)) = client.closing.take() {
                client.detach(code, &reason);
            }
        }
        for session in std::mem::take(&mut self.touched) {
            told += 1;
            self.settle_one(host, session, bounds, metrics);
        }
        told
    }

    /// Makes the syscalls that follow from what was heard, with the next block.
    fn act_owed(&mut self, host: &mut Host, session: VatId) {
        let Some(client) = self.clients.get_mut(&session).filter(|it| !it.owed.is_empty()) else { return };
        match host.act(SessionId(session), client.owed.clone()) {
            // They are made once it is resumed.
            Err(SessionRefusal::Paused { .. }) => drop(self.touched.insert(session)),
            _ => {
                client.owed.clear();
                if client.token.is_some() {
                    self.unwritten.insert(session);
                }
            }
        }
    }

    fn settle_one(&mut self, host: &mut Host, session: VatId, bounds: &Bounds, metrics: &Metrics) {
        self.act_owed(host, session);
        let Some(client) = self.clients.get_mut(&session) else { return };
        match client.flush(bounds.unread_bytes) {
            Some(count) => metrics.frames_sent(count),
            None => {
                let why = "it reads too slowly: what waits for it is more than the host keeps";
                self.leave_session(host, session, bounds, codes::SLOW, why);
            }
        }
    }

    /// The client has gone: its session ends, or waits for it.
    pub(super) fn leave_session(&mut self, host: &mut Host, session: VatId, bounds: &Bounds, code: u16, reason: &str) {
        let Some(client) = self.clients.get_mut(&session) else { return };
        client.detach(code, reason);
        if client.token.is_some() && client.closing.is_none() {
            self.set_deadline(session, Some(now() + bounds.session_grace));
        } else {
            self.end(host, session, code, reason);
        }
    }

    /// Closes all connections: the host stops, or has halted.
    pub(super) fn close_all(&mut self, why: &Problem) {
        let code = if why.kind == "stopping" { codes::STOPPING } else { codes::HALTED };
        for client in self.clients.values_mut() {
            client.detach(code, why.kind);
        }
        for opening in std::mem::take(&mut self.openings).into_values() {
            if let Some(reply) = opening.reply {
                let _ = reply.send(Err(why.clone()));
            }
        }
    }
}

impl Opening {
    pub(super) fn new(
        names: Vec<String>,
        held: Vec<VRef>,
        token: Option<TokenHash>,
        secret: Option<CapToken>,
    ) -> Opening {
        Opening { names, held, given: BTreeMap::new(), told: 0, heard: 0, token, secret, reply: None }
    }

    fn of_row(OpeningRow { token, names, held }: OpeningRow) -> Opening {
        Opening::new(names, held, Some(token), None)
    }

    /// The row by which it is known after a crash, if its client may come back.
    pub(super) fn row(&self) -> Option<OpeningRow> {
        let (names, held) = (self.names.clone(), self.held.clone());
        self.token.map(|token| OpeningRow { token, names, held })
    }

    /// Takes events; whether all is known by then.
    fn hear<'a>(&mut self, events: impl Iterator<Item = (u64, &'a SessionEvent)>) -> bool {
        for (number, event) in events {
            match event {
                SessionEvent::Given { tag, vref } => drop(self.given.insert(*tag, *vref)),
                SessionEvent::NotGiven { .. } => (),
                // What follows is heard by the client.
                SessionEvent::Delivery(_) => break,
                SessionEvent::Ended { .. } => return true,
            }
            self.heard = number;
            self.told += 1;
        }
        self.told >= self.names.len() + self.held.len()
    }

    /// The translator for a session with these roots and objects.
    fn connection(&self) -> Connection {
        let given = |at: usize| self.given.get(&(at as u64)).copied();
        let names = self.names.iter().enumerate();
        let roots = names.filter_map(|(at, name)| Some((name.clone(), given(at)?))).collect();
        let mut connection = Connection::new(roots);
        (self.names.len()..self.names.len() + self.held.len()).filter_map(given).for_each(|it| connection.hold(it));
        connection
    }

    /// What a client that may come back is told first.
    fn hello(&self) -> Option<Value> {
        self.token?;
        let mut hello = json!({ "type": "VATHOST_SESSION", "received": 0 });
        if let Some(secret) = self.secret {
            hello["resume"] = secret.text().into();
        } else {
            let given = |at: usize| self.given.get(&((self.names.len() + at) as u64));
            let held = self.held.iter().enumerate();
            let held = held.filter_map(|(at, was)| {
                Some((format!("o-{}", was.number()), format!("o+{}", given(at)?.number()).into()))
            });
            hello["held"] = Value::Object(held.collect());
        }
        Some(hello)
    }
}

fn now() -> Instant {
    super::now()
}
