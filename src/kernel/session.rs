//! Sessions: vats without code, through which the world outside holds references.
//!
//! ```text
//!   from outside: open ─▶ give, act … ─▶ end          in a crank: a delivery ─▶ an event in the session's outbox
//!                  (a step each, that is undone              └─ no room: the session ends, as by a vat's fault
//!                   where the session is at fault)
//! ```
//!
//! Invariants: what the outside says in the name of a session goes through the same translation and the same checks as
//! what a vat says, and is applied whole or not at all; a fault ends the session, and nothing else.

use crate::{
    invariant,
    kernel::{
        Ended, Ledger, Usage, gc,
        translate::{Inward, Outward},
    },
    model::{
        blame::{Fault, KernelPanic, VatFault},
        body,
        id::{BundleId, DeliveryNum, KRef, TextOrd, VRef, VatId},
        limits,
        value::{CapData, Delivery, Syscall},
    },
    slog::{Data, Detail, Event},
    state::block::Step,
    state::table::{Options, Session, SessionEvent, Status, Tally, Vat},
};

/// One request from outside to a session.
#[derive(Clone, Debug)]
pub enum SessionInput {
    /// The session begins.
    Open {
        /// The name of the session.
        name: String,
    },
    /// Syscalls in its name: all of them, or none.
    Act(Vec<Syscall<VRef>>),
    /// The session is to hold this.
    Give {
        /// What it is to hold.
        target: SessionTarget,
        /// The number under which the outbox tells of it.
        tag: u64,
    },
    /// The outside has the events up to this one.
    Acknowledge(u64),
    /// The session ends.
    End {
        /// The reason, for people.
        reason: String,
    },
}

/// The target of a reference that a session is given from outside.
#[derive(Clone, Copy, Debug)]
pub enum SessionTarget {
    /// The root object of a vat.
    Root(VatId),
    /// An object or a promise.
    Held(KRef),
}

impl Ledger {
    /// Applies what the outside asks of a session. What comes too late, after the session's end, is passed over.
    pub fn session_input(&mut self, session: VatId, input: SessionInput) -> Result<(), Fault> {
        match input {
            SessionInput::Open { name } => self.open_session(session, &name),
            SessionInput::Acknowledge(up_to) => self.acknowledge_events(session, up_to),
            _ if !self.tables().is_session(session) || !self.tables().is_alive(session) => Ok(()),
            SessionInput::Act(syscalls) => self.act_as_session(session, syscalls),
            SessionInput::Give { target, tag } => self.give(session, target, tag),
            SessionInput::End { reason } => self.terminate_with_reason(session, &reason),
        }
    }

    fn open_session(&mut self, promised: VatId, name: &str) -> Result<(), Fault> {
        self.make_room_for_session()?;
        let vat = self.tables_mut().update_globals(|it| {
            let vat = it.next_vat;
            it.next_vat = vat.next();
            vat
        });
        invariant!(vat == promised, "vat.known", "{vat} is the new session, {promised} was promised");
        let row = Vat {
            name: name.to_owned(),
            family: vat,
            creator: None,
            made: 0,
            bundle: BundleId::NONE,
            options: session_options(),
            incarnation: 0,
            status: Status::Running,
            first_delivery: DeliveryNum(0),
            may_be_asked: false,
            ending: None,
        };
        let (bundle, parameters) = (row.bundle, CapData::plain(""));
        self.tables_mut().vats.insert(vat, row);
        self.tables_mut().tallies.insert(vat, Tally { served: vat, ..Tally::default() });
        self.tables_mut().sessions.insert(vat, Session { name: name.to_owned(), next: 1, ended: false });
        let event = || Event::CreateVat {
            vat,
            name,
            dynamic: true,
            bundle,
            manager_type: "session",
            vat_parameters: Data(&parameters),
        };
        self.slog().record(Detail::Cranks, event);
        Ok(())
    }

    /// What came before stands; then all syscalls are made, or the session ends.
    fn act_as_session(&mut self, session: VatId, syscalls: Vec<Syscall<VRef>>) -> Result<(), Fault> {
        self.settle_down()?;
        self.seal(Step::Outside)?;
        self.act_for(Some(session));
        match self.make_syscalls(session, syscalls) {
            Err(Fault::Vat(fault)) => {
                self.rewind();
                self.end_faulty(session, *fault)?;
            }
            other => other?,
        }
        self.act_for(None);
        Ok(())
    }

    fn make_syscalls(&mut self, session: VatId, syscalls: Vec<Syscall<VRef>>) -> Result<(), Fault> {
        VatFault::limit("syscalls of an act", syscalls.len() as u64, u64::from(limits::SYSCALLS_MAX))?;
        for syscall in syscalls {
            let kind = syscall.kind();
            if let Syscall::Resolve(all) = &syscall {
                let bytes = all.iter().map(|it| (it.data.body.len() + 8 * it.data.slots.len()) as u64).sum();
                VatFault::limit("bytes of a resolve", bytes, limits::RESOLVE_BYTES_MAX)?;
            }
            let translated = Outward { ledger: self, vat: session, kind }.translate(syscall)?;
            self.check_queued(session, &translated)?;
            match translated {
                Syscall::Send { target, message } => self.send(target, message)?,
                Syscall::Subscribe(promise) => self.subscribe(session, promise)?,
                Syscall::Resolve(resolutions) => self.resolve(session, resolutions)?,
                Syscall::DropImports(all) => all.into_iter().try_for_each(|it| gc::drop_import(self, session, it))?,
                Syscall::RetireImports(all) => {
                    all.into_iter().try_for_each(|it| gc::retire_import(self, session, it))?
                }
                Syscall::RetireExports(all) => {
                    all.into_iter().try_for_each(|it| gc::retire_export(self, session, it))?
                }
                _ => return Err(VatFault::illegal(kind, "a session makes no such syscall").into()),
            }
        }
        Ok(())
    }

    /// Ends a session for what was done in its name.
    fn end_faulty(&mut self, session: VatId, fault: VatFault) -> Result<(), Fault> {
        let info = body::error(&fault.told());
        self.terminate(session, &Ended { aborted: true, info, fault: Some(fault) })
    }

    fn give(&mut self, session: VatId, target: SessionTarget, tag: u64) -> Result<(), Fault> {
        let tables = self.tables();
        let kref = match target {
            SessionTarget::Root(vat) if tables.is_alive(vat) => Ok(self.root(vat)?.into()),
            SessionTarget::Root(vat) => Err(format!("{vat} has ended")),
            SessionTarget::Held(KRef::Object(id)) if tables.objects.contains(&id) => Ok(id.into()),
            SessionTarget::Held(KRef::Promise(id)) if tables.promises.contains(&id) => Ok(id.into()),
            SessionTarget::Held(kref) => Err(format!("{kref} is gone")),
        };
        let event = match kref {
            Ok(kref) => SessionEvent::Given { tag, vref: Inward { ledger: self, vat: session }.import(kref)? },
            Err(reason) => SessionEvent::NotGiven { tag, reason },
        };
        match self.tell_session(session, event) {
            Err(fault) => self.end_faulty(session, fault),
            Ok(told) => Ok(told?),
        }
    }

    /// Delivers to a session: the event waits in its outbox.
    pub(super) fn deliver_to_session(&mut self, session: VatId, delivery: &Delivery<VRef>) -> Result<Usage, Fault> {
        self.tell_session(session, SessionEvent::Delivery(delivery.clone()))??;
        Ok(Usage::default())
    }

    /// Puts an event into a session's outbox, if there is room.
    fn tell_session(&mut self, session: VatId, event: SessionEvent) -> Result<Result<(), KernelPanic>, VatFault> {
        let outbox = &self.tables().session_outbox;
        let (events, bytes) = outbox.sums(session);
        VatFault::limit("events of a session", events + 1, limits::SESSION_EVENTS_MAX)?;
        let others = outbox.bytes() - bytes;
        let left = limits::SESSIONS_BYTES_MAX.saturating_sub(others) / 2;
        VatFault::limit("bytes of a session", bytes + event.bytes(), limits::SESSION_BYTES_MAX.min(left))?;
        Ok(self.append_event(session, event))
    }

    fn append_event(&mut self, session: VatId, event: SessionEvent) -> Result<(), KernelPanic> {
        let number = self.tables_mut().sessions.update(&session, |it| {
            it.next += 1;
            it.next - 1
        });
        let number = number.ok_or_else(|| KernelPanic::new("vat.known", session))?;
        self.tables_mut().session_outbox.insert((session, number), event);
        Ok(())
    }

    /// Removes the events that the outside has; one that has ended, and has nothing more to say, is forgotten.
    fn acknowledge_events(&mut self, session: VatId, up_to: u64) -> Result<(), Fault> {
        let known: Vec<_> =
            self.tables().session_outbox.range((session, 0)..=(session, up_to)).map(|(key, _)| *key).collect();
        for key in known {
            self.tables_mut().session_outbox.remove(&key);
        }
        self.forget_session(session);
        Ok(())
    }

    /// The session ends, with its vat: what the outside did not take is gone, but for the reason of the end.
    pub(super) fn end_session(&mut self, session: VatId, reason: &str) -> Result<(), KernelPanic> {
        if !self.tables().is_session(session) {
            return Ok(());
        }
        self.clear_outbox(session);
        self.append_event(session, SessionEvent::Ended { reason: reason.to_owned() })?;
        self.tables_mut().sessions.update(&session, |it| it.ended = true);
        Ok(())
    }

    /// Forgets that a session that has ended waits for a promise: no row may name a vat that is forgotten.
    pub(super) fn unsubscribe_session(&mut self, vat: VatId, kref: KRef) {
        if let (KRef::Promise(id), true) = (kref, self.tables().is_session(vat)) {
            self.tables_mut().subscribers.remove(&(id, TextOrd(vat.0)));
        }
    }

    fn clear_outbox(&mut self, session: VatId) {
        let all: Vec<u64> = self.tables().session_outbox.of(session, 0).map(|(number, _)| number).collect();
        for number in all {
            self.tables_mut().session_outbox.remove(&(session, number));
        }
    }

    /// Forgets a session that has ended once nothing refers to its vat any more, and its outbox is empty.
    pub(super) fn forget_session(&mut self, session: VatId) {
        if self.tables().session_outbox.sums(session).0 == 0 && self.is_forgettable(session) {
            self.remove_session(session);
        }
    }

    /// Forgets the oldest session that has ended where there is no room for another, whether its end was told or not.
    fn make_room_for_session(&mut self) -> Result<(), Fault> {
        while self.tables().sessions.len() as u64 >= limits::SESSIONS_MAX {
            let oldest = self.tables().sessions.ended().take(LOOKED_AT).find(|it| self.is_forgettable(*it));
            let Some(oldest) = oldest else { break };
            self.clear_outbox(oldest);
            self.remove_session(oldest);
        }
        Ok(())
    }

    /// Returns whether the rows of a session's vat can go: its cleanup is done, it has made nothing that lives, and no
    /// queue holds anything in its name.
    fn is_forgettable(&self, session: VatId) -> bool {
        let tables = self.tables();
        let cleaned = |it: &Vat| it.status.is_cleaned() && it.made == 0;
        tables.is_session(session)
            && tables.vats.get(&session).is_some_and(cleaned)
            && tables.queue.load(session).items == 0
            && !self.has_posted(session)
    }

    fn remove_session(&mut self, session: VatId) {
        let tables = self.tables_mut();
        tables.sessions.remove(&session);
        tables.vats.remove(&session);
        tables.tallies.remove(&session);
    }
}

/// Sessions that have ended among which one is looked for that can be forgotten.
const LOOKED_AT: usize = 16;

fn session_options() -> Options {
    Options {
        fuel_per_delivery: 0,
        memory_max: 0,
        store_max: 0,
        reap_interval: None,
        reap_gc_krefs: None,
        snapshot_interval: None,
        queued_max: limits::SESSION_QUEUED_MAX,
        queued_bytes_max: limits::SESSION_BYTES_MAX,
        refs_max: limits::SESSION_REFS_MAX,
        vats_max: limits::SESSION_VATS_MAX,
        ..Options::default()
    }
}
