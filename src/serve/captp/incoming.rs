//! Messages of a client, which become syscalls of its session.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    model::{
        body::{Shape, SlotKind, shape_of},
        id::VRef,
        limits,
        value::{CapData, Message, Resolution, Syscall},
    },
    serve::captp::{
        ANSWER, Connection, EPOCH, NUMBER_MAX, Settlement, THEIRS, Turn, body, outgoing::kinds_of, own_promise,
    },
};

/// The end of a connection, for what its client sent.
struct Broken(String);

/// A call that is answered with an exception.
struct Exception(String);

/// The smallcaps of a body and the references that it names, or why there is none.
type Body = Result<(String, Vec<VRef>), Exception>;

type Members = Map<String, Value>;

fn broken<T>(why: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(why.into()))
}

impl Connection {
    /// Takes a message of the client's.
    pub fn receive(&mut self, message: &str) -> Turn {
        let mut turn = Turn::default();
        if self.ended {
            return turn;
        }
        let received = self.try_receive(message, &mut turn);
        turn.syscalls.append(&mut self.later);
        if let Err(Broken(why)) = received {
            self.broken = !self.ended;
            self.end(&why, &mut turn);
        }
        turn
    }

    fn try_receive(&mut self, message: &str, turn: &mut Turn) -> Result<(), Broken> {
        let Ok(Value::Object(message)) = serde_json::from_str(message) else {
            return broken("a message is a JSON object");
        };
        match message.get("type").and_then(Value::as_str).unwrap_or_default() {
            "CTP_BOOTSTRAP" => self.bootstrap(&message, turn),
            "CTP_CALL" => self.call(&message, turn),
            "CTP_RETURN" => self.answer(&message, turn),
            "CTP_RESOLVE" => self.resolve(&message, turn),
            "CTP_DROP" => self.drop_slot(&message, turn),
            "CTP_TRAP_ITERATE" => {
                let number = self.new_question(&message)?;
                self.throw(number, "this host answers no blocking calls", turn);
                Ok(())
            }
            "CTP_DISCONNECT" => {
                let reason = match message.get("reason") {
                    Some(Value::String(reason)) => reason.clone(),
                    Some(Value::Null) | None => "the client disconnected".to_owned(),
                    Some(other) => other.to_string(),
                };
                self.end(&reason, turn);
                Ok(())
            }
            other => broken(format!("there is no message of type `{other}`")),
        }
    }

    fn bootstrap(&mut self, message: &Members, turn: &mut Turn) -> Result<(), Broken> {
        let number = self.new_question(message)?;
        let mut record = Map::new();
        for (at, name) in self.exports.keys().enumerate() {
            record.insert(crate::model::smallcaps::text(name), json!(format!("${at}.Alleged: {name}")));
        }
        let slots: Vec<VRef> = self.exports.values().copied().collect();
        let data = CapData { body: format!("#{}", Value::from(record)).into(), slots };
        self.returns(number, Settlement { rejected: false, data }, turn);
        Ok(())
    }

    /// The number of a question that was not asked before.
    fn new_question(&mut self, message: &Members) -> Result<u64, Broken> {
        let number = question(message, "questionID")?;
        let promise = own_promise(number, ANSWER);
        if self.known.is_open(promise) || self.known.is_settled(promise) {
            return broken(format!("q-{number} was asked before"));
        }
        if self.known.opened() as u64 >= limits::SESSION_REFS_MAX / 2 {
            return broken("too many questions and promises are open");
        }
        Ok(number)
    }

    fn call(&mut self, message: &Members, turn: &mut Turn) -> Result<(), Broken> {
        let number = self.new_question(message)?;
        match self.try_call(number, message, turn)? {
            Ok(()) => (),
            Err(Exception(why)) => self.throw(number, &why, turn),
        }
        Ok(())
    }

    fn try_call(&mut self, number: u64, message: &Members, turn: &mut Turn) -> Result<Result<(), Exception>, Broken> {
        let refused = |why: String| Ok(Err(Exception(why)));
        if !matches!(message.get("trap"), None | Some(Value::Null | Value::Bool(false))) {
            return refused("this host answers no blocking calls".to_owned());
        }
        let target = self.target(message)?;
        self.call_target(number, target, message, turn)
    }

    fn call_target(
        &mut self,
        number: u64,
        target: Callee,
        message: &Members,
        turn: &mut Turn,
    ) -> Result<Result<(), Exception>, Broken> {
        let refused = |why: String| Ok(Err(Exception(why)));
        let target = match target {
            Callee::There(target) => target,
            Callee::Settled(settlement) => return self.call_settled(number, settlement, message, turn),
            Callee::Gone => return refused("there is nothing under the target".to_owned()),
        };
        let (text, slots) = match self.body_of(message.get("method"))? {
            Ok(it) => it,
            Err(why) => return refused(why.0),
        };
        if let Err(why) = check_methargs(&text) {
            return refused(why);
        }
        let result = own_promise(number, ANSWER);
        self.known.open(result);
        let methargs = CapData { body: text.into(), slots };
        turn.syscalls.push(Syscall::Send { target, message: Message { methargs, result: Some(result) } });
        turn.syscalls.push(Syscall::Subscribe(result));
        Ok(Ok(()))
    }

    /// A call to what is settled already: to a presence it is sent on; of a record a member can be had.
    fn call_settled(
        &mut self,
        number: u64,
        settlement: Settlement,
        message: &Members,
        turn: &mut Turn,
    ) -> Result<Result<(), Exception>, Broken> {
        let kinds = kinds_of(&settlement.data.slots);
        if settlement.rejected {
            self.returns(number, settlement, turn);
            return Ok(Ok(()));
        }
        if let Ok(Shape::Slot(at)) = shape_of(&settlement.data.body, &kinds)
            && let Some(slot) = settlement.data.slots.get(at)
        {
            let target = self.find(*slot);
            return self.call_target(number, target, message, turn);
        }
        let property = message.get("method").and_then(|it| it.get("body")).and_then(Value::as_str);
        let property = property.and_then(|it| serde_json::from_str::<Vec<Value>>(it).ok());
        let member = match property.as_deref() {
            Some([Value::String(name)]) => member_of(&settlement.data, name),
            _ => None,
        };
        match member {
            Some(data) => {
                self.returns(number, Settlement { rejected: false, data }, turn);
                Ok(Ok(()))
            }
            None => Ok(Err(Exception("the target is data, which has no such method or member".to_owned()))),
        }
    }

    fn target(&self, message: &Members) -> Result<Callee, Broken> {
        let text = message.get("target").and_then(Value::as_str).unwrap_or_default();
        let Some((kind, number)) = slot(text) else { return broken(format!("`{text}` is no target")) };
        Ok(match kind {
            "o-" => self.find(VRef::imported_object(number)),
            "p-" => self.find(VRef::imported_promise(number)),
            "q-" => self.find(own_promise(number, ANSWER)),
            _ => Callee::Gone,
        })
    }

    /// Returns what can be sent to under a reference.
    fn find(&self, vref: VRef) -> Callee {
        if let Some(it) = self.known.settlement(vref) {
            return Callee::Settled(it.clone());
        }
        let is_there = self.known.has(vref) || self.known.waits_for(vref) || self.known.is_open(vref);
        if is_there { Callee::There(vref) } else { Callee::Gone }
    }

    /// The smallcaps of a body, and the references that it names. What it brings is open from then on, also where it is refused.
    fn body_of(&mut self, data: Option<&Value>) -> Result<Body, Broken> {
        let Some(Value::Object(data)) = data else { return broken("there is no body") };
        let (Some(Value::String(text)), Some(Value::Array(slots))) = (data.get("body"), data.get("slots")) else {
            return broken("a body has a text and slots");
        };
        if text.len() > limits::BODY_BYTES_MAX as usize || slots.len() > limits::SLOTS_MAX as usize {
            let (bytes, slots) = (limits::BODY_BYTES_MAX, limits::SLOTS_MAX);
            return Ok(Err(Exception(format!("a body has {bytes} bytes and {slots} references at the most"))));
        }
        let mut vrefs = Vec::with_capacity(slots.len());
        for it in slots {
            let text = it.as_str().unwrap_or_default();
            let Some((kind, number)) = slot(text) else { return broken(format!("`{text}` is no slot")) };
            match self.reference(kind, number) {
                Some(vref) => vrefs.push(vref),
                None => return Ok(Err(Exception(format!("there is nothing under {text}")))),
            }
        }
        let kinds = kinds_of(&vrefs);
        let translated = match text.starts_with('#') {
            true => shape_of(text.as_bytes(), &kinds).map(|_| text.clone()),
            false => body::to_smallcaps(text, &kinds),
        };
        let translated = translated.and_then(|it| match it.len() > limits::BODY_BYTES_MAX as usize {
            true => Err("the body is too long".to_owned()),
            false => Ok(it),
        });
        Ok(translated.map(|it| (it, vrefs)).map_err(Exception))
    }

    /// The session's reference for a slot of the client's.
    fn reference(&mut self, kind: &str, number: u64) -> Option<VRef> {
        let promise = match kind {
            "o+" => return Some(VRef::own_object(number)),
            "o-" => return Some(VRef::imported_object(number)).filter(|it| self.known.has(*it)),
            "p+" => own_promise(number, THEIRS),
            "p-" => VRef::imported_promise(number),
            _ => own_promise(number, ANSWER),
        };
        if let Some(settlement) = self.known.settlement(promise).cloned() {
            return Some(self.settled_anew(settlement));
        }
        if self.known.is_settled(promise) {
            return None;
        }
        if kind == "p+" {
            self.known.open(promise);
            return Some(promise);
        }
        (self.known.is_open(promise) || self.known.waits_for(promise)).then_some(promise)
    }

    /// The client answers a question.
    fn answer(&mut self, message: &Members, turn: &mut Turn) -> Result<(), Broken> {
        let number = question(message, "answerID")?;
        let Some(promise) = self.asked.remove(&number) else { return broken(format!("q-{number} was not asked")) };
        let (rejected, data) = match message.get("exception") {
            Some(exception) => (true, Some(exception)),
            None => (false, message.get("result")),
        };
        let settlement = self.settlement_of(rejected, data)?;
        if let Some(promise) = promise {
            self.settle(promise, settlement, turn);
        }
        Ok(())
    }

    /// A promise of the client's is settled.
    fn resolve(&mut self, message: &Members, turn: &mut Turn) -> Result<(), Broken> {
        let text = message.get("promiseID").and_then(Value::as_str).unwrap_or_default();
        let Some(("p-", number)) = slot(text) else { return broken(format!("`{text}` is no promise of the client's")) };
        let promise = own_promise(number, THEIRS);
        let (rejected, data) = match message.get("rej") {
            Some(reason) => (true, Some(reason)),
            None => (false, message.get("res")),
        };
        let settlement = self.settlement_of(rejected, data)?;
        if !self.known.is_settled(promise) {
            self.settle(promise, settlement, turn);
        }
        Ok(())
    }

    /// Settles a promise that the session decides.
    fn settle(&mut self, promise: VRef, settlement: Settlement, turn: &mut Turn) {
        let Settlement { rejected, data } = settlement.clone();
        turn.syscalls.push(Syscall::Resolve(vec![Resolution { promise, rejected, data }]));
        // The session does not tell itself; the client may have been passed the promise on.
        if self.known.forget_promise(promise) {
            let message = self.resolution(promise, &settlement);
            turn.messages.push(message);
        }
        self.known.settle(promise, settlement);
    }

    /// A settlement as a vat can have it: what cannot be said is a rejection that says so.
    fn settlement_of(&mut self, rejected: bool, data: Option<&Value>) -> Result<Settlement, Broken> {
        let checked = match self.body_of(data)? {
            Ok((text, slots)) => match shape_of(text.as_bytes(), &kinds_of(&slots)) {
                Ok(Shape::Slot(at)) if !rejected && slots.get(at).is_some_and(|it| it.is_promise()) => {
                    Err("a promise cannot be settled with a promise".to_owned())
                }
                Ok(_) => Ok(CapData { body: text.into(), slots }),
                Err(why) => Err(why),
            },
            Err(Exception(why)) => Err(why),
        };
        Ok(match checked {
            Ok(data) => Settlement { rejected, data },
            Err(why) => Settlement { rejected: true, data: error(&why) },
        })
    }

    /// The client has dropped something.
    fn drop_slot(&mut self, message: &Members, turn: &mut Turn) -> Result<(), Broken> {
        let text = message.get("slotID").and_then(Value::as_str).unwrap_or_default();
        let times = match message.get("decRefs") {
            None => 0,
            Some(it) => match it.as_u64() {
                Some(times) => times,
                None => return broken(format!("`decRefs` is {it}")),
            },
        };
        let Some((kind, number)) = slot(text) else { return broken(format!("`{text}` is no slot")) };
        let vref = VRef::imported_object(number);
        // The roots can be asked for again: they stay as long as the connection.
        let is_root = self.exports.values().any(|it| *it == vref);
        if kind == "o-" && !is_root && self.known.drop_import(vref, times) {
            self.untold.remove(&vref);
            turn.syscalls.push(Syscall::DropImports(vec![vref]));
            turn.syscalls.push(Syscall::RetireImports(vec![vref]));
        }
        Ok(())
    }

    fn throw(&mut self, number: u64, why: &str, turn: &mut Turn) {
        self.returns(number, Settlement { rejected: true, data: error(why) }, turn);
    }

    /// Answers a question at once.
    fn returns(&mut self, number: u64, settlement: Settlement, turn: &mut Turn) {
        let name = if settlement.rejected { "exception" } else { "result" };
        let mut seen = BTreeSet::new();
        let data = self.capdata(&settlement.data, &mut seen);
        turn.messages
            .push(json!({ "type": "CTP_RETURN", "epoch": EPOCH, "answerID": format!("q-{number}"), name: data }));
        self.known.settle(own_promise(number, ANSWER), settlement);
    }
}

enum Callee {
    There(VRef),
    Settled(Settlement),
    Gone,
}

/// An error as vats have it.
pub(super) fn error(message: &str) -> CapData<VRef> {
    let message = crate::model::smallcaps::text(message);
    CapData::plain(format!("#{}", json!({ "#error": message, "name": "Error" })))
}

/// A slot in a message: its kind with the sign, and its number.
fn slot(text: &str) -> Option<(&str, u64)> {
    let (kind, digits) = text.split_at_checked(2)?;
    let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|it| it.is_ascii_digit()));
    let number = digits.parse().ok().filter(|it| canonical && *it < NUMBER_MAX)?;
    matches!(kind, "o+" | "o-" | "p+" | "p-" | "q+" | "q-").then_some((kind, number))
}

fn question(message: &Members, name: &str) -> Result<u64, Broken> {
    let text = message.get(name).and_then(Value::as_str).unwrap_or_default();
    match slot(text) {
        Some(("q-", number)) => Ok(number),
        _ => broken(format!("`{text}` is no question")),
    }
}

/// A call has a method and arguments: vats have no members, and are no functions.
fn check_methargs(body: &str) -> Result<(), String> {
    let parsed: Result<Vec<Value>, _> = serde_json::from_str(body.trim_start_matches('#'));
    match parsed.as_deref() {
        Ok([Value::String(method), Value::Array(_)]) if !method.starts_with(['#', '$', '&', '+', '-']) => Ok(()),
        Ok([_, Value::Array(_)]) => Err("an object of a vat is no function: call a method of it".to_owned()),
        _ => Err("an object of a vat has methods, and no members to get".to_owned()),
    }
}

/// The member of a record, as data of its own.
fn member_of(data: &CapData<VRef>, name: &str) -> Option<CapData<VRef>> {
    let record: Members = serde_json::from_str(data.body.as_text()?.strip_prefix('#')?).ok()?;
    let is_record = !record.contains_key("#error") && !record.contains_key("#tag");
    let member = record.get(&crate::model::smallcaps::text(name)).filter(|_| is_record)?;
    Some(CapData { body: format!("#{member}").into(), slots: data.slots.clone() })
}

/// Returns the kind of marker that a body has for a reference.
pub(super) fn kind_of(vref: VRef) -> SlotKind {
    if vref.is_promise() { SlotKind::Promise } else { SlotKind::Presence }
}
