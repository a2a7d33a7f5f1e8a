//! Sessions: the world outside holds references as a vat does, says what a vat says, and is told what a vat is told.
//!
//! The tests speak the words of the kernel's (`tests/it/kernel`): `w.say("s", "send o-50 hi(o+1)->p+5; subscribe p+5")` makes
//! syscalls for the session `s`, and `w.heard("s")` tells what its outbox holds, and acknowledges it.

mod bounds;
mod calls;
mod captp;
mod ends;
mod host;
mod orders;

use vathost::{
    kernel::{SessionInput, SessionTarget},
    model::id::{ObjectId, VRef, VatId},
    state::table::SessionEvent,
};

use crate::kernel::{World, describe, plain, syscall};

/// A world of these vats with one session `s`, which was given the root of each: `o-50`, and so on.
fn served(version: u32, names: &str) -> World {
    let mut w = World::under(version, names.split(' ').map(|it| (it, plain())));
    w.open("s");
    for name in names.split(' ') {
        w.give("s", name, 0);
    }
    w.heard("s");
    w
}

impl World {
    /// Opens a session, which is known by this name like a vat.
    fn open(&mut self, name: &str) -> VatId {
        let vat = self.tables().globals().next_vat;
        self.ask(vat, SessionInput::Open { name: name.to_owned() });
        self.vats.insert(name.to_owned(), (vat, ObjectId(0)));
        vat
    }

    #[track_caller]
    fn ask(&mut self, session: VatId, input: SessionInput) {
        self.outside(|crank| crank.session_input(session, input));
    }

    fn give(&mut self, session: &str, vat: &str, tag: u64) {
        let (session, target) = (self.vat(session), SessionTarget::Root(self.vat(vat)));
        self.ask(session, SessionInput::Give { target, tag });
    }

    /// Syscalls in a session's name.
    #[track_caller]
    fn say(&mut self, session: &str, words: &str) {
        let syscalls = words.split(';').map(|it| syscall(it.trim())).collect();
        let session = self.vat(session);
        self.ask(session, SessionInput::Act(syscalls));
    }

    /// What a session's outbox holds.
    fn outbox(&self, session: &str) -> String {
        let all = self.tables().session_outbox.of(self.vat(session), 0);
        let text = |event: &SessionEvent| match event {
            SessionEvent::Delivery(delivery) => describe(delivery).1,
            SessionEvent::Given { tag, vref } => format!("given {tag}: {vref}"),
            SessionEvent::NotGiven { tag, reason } => format!("not given {tag}: {reason}"),
            SessionEvent::Ended { reason } => format!("ended: {reason}"),
        };
        all.map(|(_, event)| text(event)).collect::<Vec<_>>().join("\n")
    }

    /// The same, which is then acknowledged.
    fn heard(&mut self, session: &str) -> String {
        let (text, vat) = (self.outbox(session), self.vat(session));
        let last = self.tables().session_outbox.of(vat, 0).last().map(|(number, _)| number);
        if let Some(last) = last {
            self.ask(vat, SessionInput::Acknowledge(last));
        }
        text
    }

    fn knows(&self, session: &str, vref: &str) -> bool {
        self.tables().clist.contains(&(self.vat(session), vref.parse::<VRef>().unwrap()))
    }
}
