//! Sessions, as a server uses them. A session is a vat without code: it holds references as a vat does, makes the syscalls that its client
//! asks for, and receives deliveries, as events in its outbox.
//!
//! ```text
//!   open_session ─▶ give, act, acknowledge … ─▶ run_block ─▶ outbox_of ─▶ (the client) ─▶ acknowledge
//!                          end_session ─▶ run_block ─▶ Ended, in the outbox
//! ```
//!
//! Invariants: what is asked of a session waits for the next block, as every input does; the outbox shows only committed events, and each
//! stays until it is acknowledged.

use crate::{
    host::controller::{Host, To, halted, input, input::Input},
    kernel::{SessionInput, SessionTarget},
    model::{
        blame::HostFault,
        id::{VRef, VatId},
        limits,
        value::Syscall,
    },
    state::table::{Status, Tables},
};

pub use crate::state::table::SessionEvent;

/// The identity of a session, which is that of a vat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub VatId);

/// The reason why a request to a session was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionRefusal {
    /// There is no such session, or no longer.
    #[error("there is no session {0}: it ended, and was forgotten")]
    Unknown(VatId),
    /// The session has ended.
    #[error("the session {vat} has ended: {reason}")]
    Ended {
        /// The vat that the session is.
        vat: VatId,
        /// The reason of its end.
        reason: String,
    },
    /// The session was paused by an operator, and takes nothing from outside.
    #[error("the session {vat} is paused: {reason}")]
    Paused {
        /// The vat that the session is.
        vat: VatId,
        /// The reason of its pause.
        reason: String,
    },
    /// Another session has the name.
    #[error("there is a session `{0}` already: go on with it, end it, or choose another name")]
    NameTaken(String),
    /// The name is not a valid one.
    #[error("a session's name has 1 to {} bytes, and no control character", limits::NAME_BYTES_MAX)]
    BadName,
    /// The state has as many sessions as it may.
    #[error(
        "there are {} sessions, as many as a state may have: end one, or acknowledge the end of one",
        limits::SESSIONS_MAX
    )]
    TooMany,
    /// The reference to be given does not exist, or the host has halted.
    #[error(transparent)]
    Host(#[from] HostFault),
}

/// A session, as a list of them shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSummary {
    /// The identity of the session.
    pub id: SessionId,
    /// The name that it was opened with.
    pub name: String,
    /// The reason of its end, if it has ended.
    pub ended: Option<String>,
    /// The reason of its pause, if it is paused.
    pub paused: Option<String>,
    /// Number of references that it knows.
    pub clist: u64,
    /// Number of events that are not acknowledged.
    pub outbox: u64,
    /// Bytes that these events count for.
    pub outbox_bytes: u64,
}

impl SessionSummary {
    /// Returns whether the session has not ended.
    pub fn is_alive(&self) -> bool {
        self.ended.is_none()
    }
}

impl Host {
    /// Opens a session with the next block. Its identity is known at once, and things may be asked of it.
    ///
    /// # Errors
    ///
    /// The name is taken or not valid, or there are too many sessions.
    pub fn open_session(&mut self, name: &str) -> Result<SessionId, SessionRefusal> {
        let tables = self.block.as_ref().ok_or_else(halted)?.tables();
        if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(SessionRefusal::BadName);
        }
        let is_opening = opening(self).filter(|(_, it)| *it == name).count() > 0;
        if is_opening || tables.sessions.named(name).is_some() {
            return Err(SessionRefusal::NameTaken(name.to_owned()));
        }
        let alive = (tables.sessions.len() - tables.sessions.ended().count() + opening(self).count()) as u64;
        if alive >= limits::SESSIONS_MAX {
            return Err(SessionRefusal::TooMany);
        }
        let id = VatId(tables.globals().next_vat.0 + opening(self).count() as u64);
        ask(self, id, SessionInput::Open { name: name.to_owned() });
        Ok(SessionId(id))
    }

    /// Ends a session with the next block: its promises are rejected, its objects are broken, what it holds is let go.
    ///
    /// # Errors
    ///
    /// There is no such session, or it has ended.
    pub fn end_session(&mut self, session: SessionId, reason: &str) -> Result<(), SessionRefusal> {
        match check(self, session) {
            Ok(()) | Err(SessionRefusal::Paused { .. }) => (),
            Err(refusal) => return Err(refusal),
        }
        ask(self, session.0, SessionInput::End { reason: reason.to_owned() });
        Ok(())
    }

    /// Gives a session a reference with the next block. An event in its outbox, with this tag, says under which name the session knows it.
    ///
    /// # Errors
    ///
    /// The session has ended or is paused, or the reference does not exist.
    pub fn give<'a>(&mut self, session: SessionId, to: impl Into<To<'a>>, tag: u64) -> Result<(), SessionRefusal> {
        check(self, session)?;
        let tables = self.block.as_ref().ok_or_else(halted)?.tables();
        let target = match input::target(tables, to.into())?.0 {
            input::Target::Root(vat) => SessionTarget::Root(vat),
            input::Target::Held(kref) => SessionTarget::Held(kref),
        };
        ask(self, session.0, SessionInput::Give { target, tag });
        Ok(())
    }

    /// Makes syscalls for a session, with the next block, as one delivery of a vat would: all of them, or none. A syscall that a vat may not
    /// make ends the session, and so does any other than `send`, `subscribe`, `resolve`, `dropImports`, `retireImports` and `retireExports`.
    /// The caller numbers the session's exports.
    ///
    /// A vat has seen every delivery that was made to it when it makes a syscall; a client may not have. So the caller must first read all
    /// events of the last committed block. It must not drop a reference that one of them names anew, nor mention a promise that one of them
    /// settles (a session forgets a settled promise, as a vat does).
    ///
    /// # Errors
    ///
    /// The session has ended or is paused.
    pub fn act(&mut self, session: SessionId, syscalls: Vec<Syscall<VRef>>) -> Result<(), SessionRefusal> {
        check(self, session)?;
        ask(self, session.0, SessionInput::Act(syscalls));
        Ok(())
    }

    /// Returns the events of a session from this number on that were not acknowledged, as of the last committed block.
    pub fn outbox_of(&self, session: SessionId, from: u64) -> impl Iterator<Item = (u64, SessionEvent)> {
        let outbox = self.block.iter().flat_map(move |it| it.tables().session_outbox.of(session.0, from));
        outbox.map(|(number, it)| (number, it.clone()))
    }

    /// Acknowledges, with the next block, the events up to this number: the state no longer keeps them.
    pub fn acknowledge(&mut self, session: SessionId, up_to: u64) {
        let Some(block) = &self.block else { return };
        if block.tables().session_outbox.of(session.0, 0).next().is_some_and(|(first, _)| first <= up_to) {
            ask(self, session.0, SessionInput::Acknowledge(up_to));
        }
    }

    /// Returns the session of this name, alive or ended, if the state has it.
    pub fn session(&self, name: &str) -> Option<SessionId> {
        self.block.as_ref()?.tables().sessions.named(name).map(SessionId)
    }

    /// Returns all sessions of the state, as of the last committed block.
    pub fn sessions(&self) -> Vec<SessionSummary> {
        let Some(block) = &self.block else { return Vec::new() };
        let tables = block.tables();
        tables.sessions.iter().map(|(vat, row)| summary(tables, *vat, &row.name)).collect()
    }
}

fn summary(tables: &Tables, vat: VatId, name: &str) -> SessionSummary {
    let (outbox, outbox_bytes) = tables.session_outbox.sums(vat);
    let (mut ended, mut paused) = (None, None);
    match tables.vats.get(&vat).map(|it| &it.status) {
        Some(Status::Terminated { reason, .. }) => ended = Some(reason.clone()),
        Some(Status::Paused { reason }) => paused = Some(reason.clone()),
        Some(Status::Running) | None => (),
    }
    let clist = tables.clist.of(vat).count() as u64;
    SessionSummary { id: SessionId(vat), name: name.to_owned(), ended, paused, clist, outbox, outbox_bytes }
}

fn ask(host: &mut Host, session: VatId, input: SessionInput) {
    host.inputs.push(Input::Session(session, input));
}

/// The sessions that the next block opens.
fn opening(host: &Host) -> impl Iterator<Item = (VatId, &str)> {
    host.inputs.iter().filter_map(|it| match it {
        Input::Session(vat, SessionInput::Open { name }) => Some((*vat, name.as_str())),
        _ => None,
    })
}

fn check(host: &Host, SessionId(vat): SessionId) -> Result<(), SessionRefusal> {
    let tables = host.block.as_ref().ok_or_else(halted)?.tables();
    let Some(row) = tables.vats.get(&vat).filter(|_| tables.is_session(vat)) else {
        let opens = opening(host).any(|(it, _)| it == vat);
        return if opens { Ok(()) } else { Err(SessionRefusal::Unknown(vat)) };
    };
    match &row.status {
        Status::Running => Ok(()),
        Status::Paused { reason } => Err(SessionRefusal::Paused { vat, reason: reason.clone() }),
        Status::Terminated { reason, .. } => Err(SessionRefusal::Ended { vat, reason: reason.clone() }),
    }
}
