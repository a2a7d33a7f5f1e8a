//! What a session is told, which becomes messages to its client.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    model::{
        body::SlotKind,
        id::VRef,
        value::{CapData, Delivery, Message, Resolution, Syscall},
    },
    serve::captp::{
        ANSWER, Connection, EPOCH, Settlement, Turn,
        body::{self, Spoken},
        incoming, parse_own, to_slot,
    },
    state::table::SessionEvent,
};

/// Tells which slots are promises.
pub(super) fn kinds_of(slots: &[VRef]) -> Vec<SlotKind> {
    slots.iter().map(|it| incoming::kind_of(*it)).collect()
}

impl Connection {
    /// Takes all events of the session's outbox since the last time, in the order of their numbers.
    pub fn tell<'a>(&mut self, events: impl IntoIterator<Item = &'a SessionEvent>) -> Turn {
        let mut turn = Turn::default();
        for event in events {
            if !self.ended {
                self.tell_one(event, &mut turn);
            }
        }
        // Only now it is known what none of them told of.
        let untold: Vec<VRef> =
            std::mem::take(&mut self.untold).into_iter().filter(|it| !self.known.has(*it)).collect();
        if !untold.is_empty() && !self.ended {
            turn.syscalls.push(Syscall::DropImports(untold.clone()));
            turn.syscalls.push(Syscall::RetireImports(untold));
        }
        turn
    }

    fn tell_one(&mut self, event: &SessionEvent, turn: &mut Turn) {
        match event {
            SessionEvent::Delivery(Delivery::Message { target, message }) => self.ask(*target, message, turn),
            SessionEvent::Delivery(Delivery::Notify(resolutions)) => self.notify(resolutions, turn),
            SessionEvent::Delivery(Delivery::RetireImports(gone)) => {
                for it in gone {
                    self.known.lose(*it);
                    self.untold.remove(it);
                }
            }
            // What vats no longer hold of the client stays with it: see the head of the module.
            SessionEvent::Delivery(_) | SessionEvent::Given { .. } | SessionEvent::NotGiven { .. } => (),
            SessionEvent::Ended { reason } => {
                self.end(reason, turn);
                turn.ended = None;
            }
        }
    }

    /// A message to an object of the client's.
    fn ask(&mut self, target: VRef, message: &Message<VRef>, turn: &mut Turn) {
        let kinds = kinds_of(&message.methargs.slots);
        if let Err(why) = body::to_qclass(&message.methargs.body, &kinds) {
            self.let_go(&message.methargs.slots);
            if let Some(promise) = message.result {
                let data = incoming::error(&format!("the client cannot be told this: {why}"));
                turn.syscalls.push(Syscall::Resolve(vec![Resolution { promise, rejected: true, data }]));
            }
            return;
        }
        let number = self.next_question;
        self.next_question += 1;
        let mut seen = BTreeSet::new();
        let method = self.capdata(&message.methargs, &mut seen);
        self.asked.insert(number, message.result);
        if let Some(result) = message.result {
            self.known.open(result);
        }
        let (question, target) = (format!("q-{number}"), to_slot(target));
        turn.messages.push(
            json!({ "type": "CTP_CALL", "epoch": EPOCH, "questionID": question, "target": target, "method": method }),
        );
        self.follow(&seen, &[], turn);
    }

    /// Promises are settled: answers to questions, promises of the host.
    fn notify(&mut self, resolutions: &[Resolution<VRef>], turn: &mut Turn) {
        let told: Vec<VRef> = resolutions.iter().map(|it| it.promise).collect();
        let mut seen = BTreeSet::new();
        for Resolution { promise, rejected, data } in resolutions {
            let settlement = self.sayable(Settlement { rejected: *rejected, data: data.clone() });
            let waits = self.known.forget_promise(*promise);
            if promise.is_own() && parse_own(*promise).1 == ANSWER && self.known.is_open(*promise) {
                let name = if settlement.rejected { "exception" } else { "result" };
                let answer = format!("q-{}", parse_own(*promise).0);
                let data = self.capdata(&settlement.data, &mut seen);
                turn.messages.push(json!({ "type": "CTP_RETURN", "epoch": EPOCH, "answerID": answer, name: data }));
            } else if waits || seen.contains(promise) {
                let message = self.resolution_with(*promise, &settlement, &mut seen);
                turn.messages.push(message);
            } else {
                self.let_go(&settlement.data.slots);
            }
            self.known.forget_promise(*promise);
            self.known.settle(*promise, settlement);
        }
        self.follow(&seen, &told, turn);
    }

    /// What the client cannot be told is a rejection that says so.
    fn sayable(&mut self, settlement: Settlement) -> Settlement {
        match body::to_qclass(&settlement.data.body, &kinds_of(&settlement.data.slots)) {
            Ok(_) => settlement,
            Err(why) => {
                self.let_go(&settlement.data.slots);
                Settlement { rejected: true, data: incoming::error(&format!("this cannot be told: {why}")) }
            }
        }
    }

    /// The news of a promise that was passed to the client.
    pub(super) fn resolution(&mut self, promise: VRef, settlement: &Settlement) -> Value {
        self.resolution_with(promise, settlement, &mut BTreeSet::new())
    }

    fn resolution_with(&mut self, promise: VRef, settlement: &Settlement, seen: &mut BTreeSet<VRef>) -> Value {
        let name = if settlement.rejected { "rej" } else { "res" };
        let slot = to_slot(promise).replace('+', "-");
        json!({ "type": "CTP_RESOLVE", "promiseID": slot, name: self.capdata(&settlement.data, seen) })
    }

    /// Data for the client. What it names is counted as sent, once in a message.
    pub(super) fn capdata(&mut self, data: &CapData<VRef>, seen: &mut BTreeSet<VRef>) -> Value {
        // It was tried before.
        let spoken = body::to_qclass(&data.body, &kinds_of(&data.slots));
        let Spoken { text: body, named } =
            spoken.unwrap_or_else(|_| Spoken { text: "null".to_owned(), named: BTreeSet::new() });
        let named: BTreeSet<VRef> = named.iter().filter_map(|it| data.slots.get(*it)).copied().collect();
        named.iter().for_each(|it| self.known.sent(*it));
        let unnamed: Vec<VRef> = data.slots.iter().copied().filter(|it| !named.contains(it)).collect();
        self.let_go(&unnamed);
        seen.extend(named);
        let slots: Vec<String> = data.slots.iter().map(|it| to_slot(*it)).collect();
        json!({ "body": body, "slots": slots })
    }

    /// Follows the promises that the client learned of, but those that it was told the end of.
    fn follow(&mut self, seen: &BTreeSet<VRef>, told: &[VRef], turn: &mut Turn) {
        for it in seen.iter().filter(|it| it.is_promise() && !told.contains(it)) {
            if self.known.is_settled(*it) {
                continue;
            }
            if !it.is_own() && self.known.learn(*it) && !self.known.is_open(*it) {
                turn.syscalls.push(Syscall::Subscribe(*it));
            }
        }
    }

    /// What the client was not told of is dropped, unless another event tells of it.
    fn let_go(&mut self, slots: &[VRef]) {
        self.untold.extend(slots.iter().filter(|it| it.is_imported_object()));
    }
}
