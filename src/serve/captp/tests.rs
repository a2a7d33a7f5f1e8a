//! A connection without a socket and without a host: what a client says, what its session is told, and what comes of both.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Connection, Turn, body, incoming::kind_of};
use crate::{
    model::{
        id::VRef,
        value::{CapData, Delivery, Message, Resolution, Syscall},
    },
    state::table::SessionEvent,
};

fn vref(text: &str) -> VRef {
    text.parse().unwrap()
}

/// A client that has the bank, `o-1` to it.
fn connected() -> Connection {
    let mut connection = Connection::new(BTreeMap::from([("bank".to_owned(), vref("o-1"))]));
    say(&mut connection, json!({ "type": "CTP_BOOTSTRAP", "epoch": 0, "questionID": "q-1" }));
    connection
}

fn say(connection: &mut Connection, message: Value) -> Turn {
    connection.receive(&message.to_string())
}

fn data(body: &str, slots: &[&str]) -> Value {
    json!({ "body": body, "slots": slots })
}

fn call(number: u64, target: &str, method: &str, slots: &[&str]) -> Value {
    json!({ "type": "CTP_CALL", "epoch": 0, "questionID": format!("q-{number}"), "target": target, "method": data(method, slots) })
}

fn notify(promise: &str, rejected: bool, body: &str, slots: &[&str]) -> SessionEvent {
    let data = CapData { body: body.into(), slots: slots.iter().map(|it| vref(it)).collect() };
    SessionEvent::Delivery(Delivery::Notify(vec![Resolution { promise: vref(promise), rejected, data }]))
}

fn exception(turn: &Turn) -> String {
    match &turn.messages[..] {
        [message] if message["type"] == "CTP_RETURN" => {
            message["exception"]["body"].as_str().unwrap_or("none").to_owned()
        }
        other => panic!("{other:?}"),
    }
}

/// The event that makes the host say this, where its objects are `o-N` to the session.
fn event_for(message: &Value) -> SessionEvent {
    let slot = |it: &Value| {
        let text = it.as_str().unwrap();
        vref(&format!("{}{}{}", &text[..1], if &text[1..2] == "+" { "-" } else { "+" }, &text[2..]))
    };
    let capdata = |it: &Value| {
        let slots: Vec<VRef> = it["slots"].as_array().unwrap().iter().map(slot).collect();
        let kinds: Vec<_> = slots.iter().map(|it| kind_of(*it)).collect();
        CapData { body: body::to_smallcaps(it["body"].as_str().unwrap(), &kinds).unwrap().into(), slots }
    };
    let number = |name: &str| message[name].as_str().unwrap()[2..].parse::<u64>().unwrap();
    SessionEvent::Delivery(match message["type"].as_str().unwrap() {
        "CTP_RETURN" => {
            let rejected = message.get("exception").is_some();
            let data = capdata(message.get("exception").unwrap_or(&message["result"]));
            let promise = super::own_promise(number("answerID"), super::ANSWER);
            Delivery::Notify(vec![Resolution { promise, rejected, data }])
        }
        "CTP_CALL" => Delivery::Message {
            target: slot(&message["target"]),
            message: Message { methargs: capdata(&message["method"]), result: Some(vref("p-60")) },
        },
        other => panic!("{other}"),
    })
}

/// What the package itself said to itself: our answers are its answers, but that the bootstrap object is a record.
#[test]
fn the_recorded_exchange_of_the_package_is_held_with_us_as_its_server() {
    let mut connection = Connection::new(BTreeMap::from([("bank".to_owned(), vref("o-1"))]));
    let mut made: Vec<String> = Vec::new();
    let mut said: Vec<Value> = Vec::new();
    for line in include_str!("exchange.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let message = &line["message"];
        let turn = if line["from"] == "client" {
            connection.receive(&message.to_string())
        } else if said.is_empty() {
            connection.tell(&[event_for(message)])
        } else {
            Turn::default()
        };
        said.extend(turn.messages);
        made.extend(turn.syscalls.iter().map(|it| format!("{} {:?}", it.kind(), it.refs())));
        if line["from"] == "server" {
            let mut ours = said.remove(0);
            if message["answerID"] == "q-1" && message["type"] == "CTP_RETURN" {
                assert_eq!(
                    ours["result"]["body"],
                    "{\"bank\":{\"@qclass\":\"slot\",\"iface\":\"Alleged: bank\",\"index\":0}}"
                );
                ours["result"]["body"] = message["result"]["body"].clone();
            }
            let parsed = |it: &Value| {
                let mut it = it.clone();
                for name in ["method", "result", "exception"] {
                    if let Some(body) = it.get_mut(name).and_then(|it| it.get_mut("body")) {
                        *body = serde_json::from_str(body.as_str().unwrap()).unwrap();
                    }
                }
                it
            };
            assert_eq!(parsed(&ours), parsed(message));
        }
    }
    assert!(said.is_empty() && connection.has_ended(), "{said:?}");
    let wanted = [
        "send [o-1, p+7]",
        "subscribe [p+7]",
        "send [p+7, p+10]",
        "subscribe [p+10]",
        "send [o-2, o+1, p+13]",
        "subscribe [p+13]",
        "resolve [p-60]",
        "send [o-1, p+16]",
        "subscribe [p+16]",
        "send [o-1, p+19]",
        "subscribe [p+19]",
        "send [p+19, p+3, p+22]",
        "subscribe [p+22]",
        "resolve [p+3]",
    ];
    assert_eq!(made, wanted);
}

#[test]
fn a_reference_is_dropped_when_it_was_dropped_as_often_as_it_was_sent() {
    let mut connection = connected();
    for number in [2, 3] {
        say(&mut connection, call(number, "o-1", "[\"makePurse\",[]]", &[]));
        connection.tell(&[notify(&format!("p+{}", 3 * number + 1), false, "#[\"$0\",\"$0\"]", &["o-50"])]);
    }
    let drop = |times: u64| json!({ "type": "CTP_DROP", "slotID": "o-50", "decRefs": times, "epoch": 0 });
    assert_eq!(say(&mut connection, drop(1)), Turn::default(), "one of two");
    let turn = say(&mut connection, drop(1));
    assert_eq!(turn.syscalls, [Syscall::DropImports(vec![vref("o-50")]), Syscall::RetireImports(vec![vref("o-50")])]);
    assert_eq!(say(&mut connection, drop(1)), Turn::default(), "it is gone");
    let turn = say(&mut connection, call(4, "o-50", "[\"balance\",[]]", &[]));
    assert!(exception(&turn).contains("nothing under"), "{turn:?}");
    let turn = say(&mut connection, call(5, "o-1", "[\"keep\",[{\"@qclass\":\"slot\",\"index\":0}]]", &["o-50"]));
    assert!(exception(&turn).contains("nothing under"), "{turn:?}");
}

#[test]
fn what_no_message_tells_of_is_let_go() {
    let mut connection = connected();
    say(&mut connection, call(2, "o-1", "[\"makePurse\",[]]", &[]));
    // One is named by no body, one by a body that cannot be told; one of those another event tells of.
    let take = |body: &str, slots: &[&str]| {
        let methargs = CapData { body: body.into(), slots: slots.iter().map(|it| vref(it)).collect() };
        let message = Message { methargs, result: Some(vref("p-61")) };
        SessionEvent::Delivery(Delivery::Message { target: vref("o+1"), message })
    };
    let turn = connection.tell(&[
        take("#[\"take\",[\"#what\"]]", &["o-52", "o-50"]),
        notify("p+7", false, "#\"$1\"", &["o-51", "o-50"]),
    ]);
    let gone = vec![vref("o-51"), vref("o-52")];
    assert_eq!(turn.syscalls[1..], [Syscall::DropImports(gone.clone()), Syscall::RetireImports(gone)]);
    assert!(matches!(&turn.syscalls[0], Syscall::Resolve(all) if all[0].rejected), "{turn:?}");
    assert_eq!(turn.messages.len(), 1);
}

#[test]
fn a_call_that_crosses_its_answer_goes_to_what_was_answered() {
    let mut connection = connected();
    for (number, body) in [(2, "#\"$0.Alleged: Purse\""), (3, "#{\"a\":\"+5\",\"b\":\"$0\"}")] {
        say(&mut connection, call(number, "o-1", "[\"get\",[]]", &[]));
        connection.tell(&[notify(&format!("p+{}", 3 * number + 1), false, body, &["o-50"])]);
    }
    let turn = say(&mut connection, call(10, "q-2", "[\"balance\",[]]", &[]));
    assert!(matches!(turn.syscalls[0], Syscall::Send { target, .. } if target == vref("o-50")), "{turn:?}");
    // A member of a record can be had, and called.
    let turn = say(&mut connection, call(11, "q-3", "[\"a\"]", &[]));
    assert_eq!(turn.messages[0]["result"]["body"], "{\"@qclass\":\"bigint\",\"digits\":\"5\"}");
    say(&mut connection, call(12, "q-3", "[\"b\"]", &[]));
    let turn = say(&mut connection, call(13, "q-12", "[\"balance\",[]]", &[]));
    assert!(matches!(turn.syscalls[0], Syscall::Send { target, .. } if target == vref("o-50")), "{turn:?}");
    let turn = say(&mut connection, call(14, "q-3", "[\"c\"]", &[]));
    assert!(exception(&turn).contains("no such method or member"));
    // As an argument it is a promise that is settled alike.
    let turn = say(&mut connection, call(15, "o-1", "[\"take\",[{\"@qclass\":\"slot\",\"index\":0}]]", &["q-2"]));
    let [Syscall::Send { message, .. }, Syscall::Subscribe(_), Syscall::Resolve(all)] = &turn.syscalls[..] else {
        panic!("{turn:?}")
    };
    assert_eq!(message.methargs.slots, [all[0].promise]);
    assert_eq!(all[0].data.slots, [vref("o-50")]);
}

#[test]
fn promises_of_the_host_are_followed_and_told_once_they_are_settled() {
    let mut connection = connected();
    say(&mut connection, call(2, "o-1", "[\"later\",[]]", &[]));
    let turn = connection.tell(&[notify("p+7", false, "#[\"&0\",\"&1\"]", &["p-60", "p+7"])]);
    assert_eq!(turn.syscalls, [Syscall::Subscribe(vref("p-60"))]);
    assert_eq!(turn.messages[0]["result"]["slots"], json!(["p+60", "q+2"]));
    let turn = say(&mut connection, call(3, "p-60", "[\"hi\",[]]", &[]));
    assert!(matches!(turn.syscalls[0], Syscall::Send { target, .. } if target == vref("p-60")), "{turn:?}");
    let turn = connection.tell(&[notify("p-60", true, "#{\"#error\":\"no\",\"name\":\"Error\"}", &[])]);
    assert_eq!((&turn.messages[0]["type"], &turn.messages[0]["promiseID"]), (&json!("CTP_RESOLVE"), &json!("p-60")));
    assert!(turn.messages[0].get("rej").is_some());
    let turn = say(&mut connection, call(4, "p-60", "[\"hi\",[]]", &[]));
    assert!(exception(&turn).contains("no"), "a call to it is rejected with the same");
}

#[test]
fn blocking_calls_and_what_vats_have_not_are_refused() {
    let mut connection = connected();
    let mut trap = call(2, "o-1", "[\"hi\",[]]", &[]);
    trap["trap"] = true.into();
    let iterate = json!({ "type": "CTP_TRAP_ITERATE", "questionID": "q-3", "serialized": data("[\"next\",[]]", &[]) });
    for (message, why) in [
        (trap, "blocking"),
        (iterate, "blocking"),
        (call(4, "o-1", "[null,[]]", &[]), "no function"),
        (call(5, "o-1", "[\"balance\"]", &[]), "no members"),
        (call(6, "o-1", "[\"hi\",[{\"@qclass\":\"ibid\"}]]", &[]), "ibid"),
        (call(7, "o-1", "[\"hi\",[{\"@qclass\":\"slot\",\"index\":0}]]", &["p-99"]), "nothing under"),
        (call(8, "o+1", "[\"hi\",[]]", &[]), "nothing under"),
        (call(9, "q-99", "[\"hi\",[]]", &[]), "nothing under"),
    ] {
        let turn = say(&mut connection, message);
        assert!(turn.syscalls.is_empty() && turn.ended.is_none() && exception(&turn).contains(why), "{turn:?}");
    }
}

#[test]
fn what_is_no_message_ends_the_connection() {
    for message in [
        "",
        "5",
        "[]",
        "{}",
        "{\"type\":5}",
        "{\"type\":\"CTP_NONSENSE\"}",
        "{\"type\":\"CTP_CALL\"}",
        "{\"type\":\"CTP_CALL\",\"questionID\":\"q-1\",\"target\":\"o-1\"}",
        "{\"type\":\"CTP_RETURN\",\"answerID\":\"q-1\",\"result\":5}",
        "{\"type\":\"CTP_RESOLVE\",\"promiseID\":\"p+1\",\"res\":{\"body\":\"1\",\"slots\":[]}}",
        "{\"type\":\"CTP_RESOLVE\",\"promiseID\":\"p-1\"}",
        "{\"type\":\"CTP_DROP\",\"slotID\":\"\\u00e9\"}",
        "{\"type\":\"CTP_DROP\",\"slotID\":\"o-1\",\"decRefs\":-1}",
        "{\"type\":\"CTP_BOOTSTRAP\",\"questionID\":\"q-99999999999999999999\"}",
    ] {
        let mut connection = connected();
        let turn = connection.receive(message);
        assert!(turn.ended.is_some() && turn.syscalls.is_empty(), "{message}: {turn:?}");
        assert_eq!(turn.messages[0]["type"], "CTP_DISCONNECT");
        assert_eq!(connection.receive("{}"), Turn::default(), "what comes then is passed over");
    }
}

/// Data as a client may write it, right or wrong.
fn anything() -> impl Strategy<Value = Value> {
    let slot =
        (prop::sample::select(vec!["o+", "o-", "p+", "p-", "q-"]), 0..5_u64).prop_map(|(kind, n)| format!("{kind}{n}"));
    let body = prop::sample::select(vec![
        "[\"hi\",[]]",
        "[\"hi\",[]]",
        "[\"hi\",[]]",
        "[\"hi\",[{\"@qclass\":\"slot\",\"index\":0}]]",
        "[\"hi\",[{\"@qclass\":\"slot\",\"index\":0}]]",
        "[\"hi\",[{\"@qclass\":\"slot\",\"index\":0}]]",
        "{\"@qclass\":\"slot\",\"index\":0}",
        "[\"a\"]",
        "5",
        "[",
        "#\"$0\"",
        "{\"@qclass\":\"hilbert\",\"original\":{\"@qclass\":\"slot\",\"index\":1}}",
        "[null,[]]",
    ]);
    (body, prop::collection::vec(slot, 0..3)).prop_map(|(body, slots)| json!({ "body": body, "slots": slots }))
}

fn frame() -> impl Strategy<Value = String> {
    let slot = || (prop::sample::select(vec!["o-", "o-", "p-", "q-", "q-", "o+"]), 0..6_u64);
    let target = || prop_oneof![Just("o-1".to_owned()), slot().prop_map(|(kind, n)| format!("{kind}{n}"))];
    let asked = json!({ "type": "CTP_BOOTSTRAP" });
    prop_oneof![
        8 => (0..30_u64, target(), anything()).prop_map(|(number, target, method)| {
            json!({ "type": "CTP_CALL", "questionID": format!("q-{number}"), "target": target, "method": method })
        }),
        1 => (0..30_u64).prop_map(move |number| {
            let mut asked = asked.clone();
            asked["questionID"] = format!("q-{number}").into();
            asked
        }),
        3 => (0..4_u64, any::<bool>(), anything()).prop_map(|(number, rejected, data)| {
            json!({ "type": "CTP_RESOLVE", "promiseID": format!("p-{number}"), if rejected { "rej" } else { "res" }: data })
        }),
        3 => (target(), 0..3_u64).prop_map(|(slot, n)| json!({ "type": "CTP_DROP", "slotID": slot, "decRefs": n })),
        1 => (0..30_u64).prop_map(|number| json!({ "type": "CTP_TRAP_ITERATE", "questionID": format!("q-{number}") })),
    ]
    .prop_map(|it| it.to_string())
}

/// What a kernel would hold a session to: imports that it was given, promises that are there.
#[derive(Default)]
struct Ledger {
    objects: BTreeSet<VRef>,
    promises: BTreeSet<VRef>,
    /// Promises that the session may settle.
    decides: BTreeSet<VRef>,
}

impl Ledger {
    fn names(&mut self, it: VRef) {
        if it.is_promise() && it.is_own() {
            if self.promises.insert(it) {
                self.decides.insert(it);
            }
        } else if it.is_promise() {
            assert!(self.promises.contains(&it), "{it} is no promise of the session's");
        } else {
            assert!(it.is_own() || self.objects.contains(&it), "{it} is not the session's");
        }
    }

    fn make(&mut self, syscall: &Syscall<VRef>) {
        match syscall {
            Syscall::Send { target, message } => {
                self.names(*target);
                message.methargs.slots.iter().for_each(|it| self.names(*it));
                let result = message.result.expect("each call has an answer");
                assert!(self.promises.insert(result), "{result} is in use");
            }
            Syscall::Subscribe(promise) => self.names(*promise),
            Syscall::Resolve(all) => {
                for it in all {
                    self.names(it.promise);
                    assert!(self.decides.contains(&it.promise), "{} is not the session's to settle", it.promise);
                    it.data.slots.iter().for_each(|it| self.names(*it));
                    self.promises.remove(&it.promise);
                    self.decides.remove(&it.promise);
                }
            }
            Syscall::DropImports(all) => {
                all.iter().for_each(|it| assert!(self.objects.contains(it), "{it} is dropped twice"))
            }
            Syscall::RetireImports(all) => {
                all.iter().for_each(|it| assert!(self.objects.remove(it), "{it} is retired twice"))
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The rows of a connection, as they are kept.
#[derive(Default)]
struct Shelf(BTreeMap<Vec<u8>, Vec<u8>>);

impl Shelf {
    /// Keeps what changed, and makes the connection anew from its rows.
    fn kept(&mut self, connection: &mut Connection) -> Connection {
        let mut changes = Vec::new();
        connection.take_rows(b"of it", &mut changes);
        for (key, value) in changes {
            let key = key.strip_prefix(b"of it").unwrap().to_vec();
            match value {
                Some(value) => drop(self.0.insert(key, value)),
                None => drop(self.0.remove(&key)),
            }
        }
        let rows: Vec<_> = self.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Connection::of_rows(connection.head(), &rows).unwrap()
    }
}

#[derive(Clone, Debug)]
enum Say {
    Frame(String),
    /// The client answers a question of the host's.
    Answer(Value),
    /// A vat answers one of the open questions, or settles one of its promises.
    Settle(usize, usize),
    /// A vat calls an object of the client's.
    Call(u64),
}

fn step() -> impl Strategy<Value = Say> {
    prop_oneof![
        6 => frame().prop_map(Say::Frame),
        1 => anything().prop_map(Say::Answer),
        3 => (any::<usize>(), 0..5_usize).prop_map(|(at, how)| Say::Settle(at, how)),
        1 => (0..4_u64).prop_map(Say::Call),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_a_connection(message in ".{0,60}") {
        let mut connection = connected();
        let turn = connection.receive(&message);
        prop_assert!(turn.ended.is_some());
    }

    /// Whatever a client says and vats answer, no syscall names what the session does not have; and what is kept of the connection
    /// is all of it.
    #[test]
    fn a_hostile_client_never_makes_its_session_say_what_it_may_not(steps in prop::collection::vec(step(), 1..60)) {
        let mut connection = connected();
        connection.keep();
        let mut shelf = Shelf::default();
        let mut ledger = Ledger::default();
        ledger.objects.insert(vref("o-1"));
        let (mut next_object, mut next_promise) = (2, 1);
        for step in steps {
            let turn = match step {
                Say::Frame(frame) => connection.receive(&frame),
                Say::Answer(data) => {
                    let Some(number) = connection.asked().first().copied() else { continue };
                    say(&mut connection, json!({ "type": "CTP_RETURN", "answerID": format!("q-{number}"), "result": data }))
                }
                Say::Settle(at, how) => {
                    let open: Vec<VRef> = ledger.promises.iter().copied().filter(|it| !ledger.decides.contains(it)).collect();
                    if open.is_empty() { continue }
                    let promise = open[at % open.len()];
                    let (object, other) = (VRef::imported_object(next_object), VRef::imported_promise(next_promise));
                    let (body, slots) = [
                        ("#\"$0\"", vec![object]), ("#[\"&0\",\"$1\"]", vec![other, object]), ("#\"#what\"", vec![object]),
                        ("#{\"a\":\"$0\"}", vec![object]), ("#{\"#error\":\"no\",\"name\":\"Error\"}", vec![]),
                    ][how].clone();
                    for it in &slots {
                        if it.is_promise() { ledger.promises.insert(*it); next_promise += 1 } else { ledger.objects.insert(*it); next_object += 1 }
                    }
                    ledger.promises.remove(&promise);
                    let data = CapData { body: body.into(), slots };
                    let resolution = Resolution { promise, rejected: how == 4, data };
                    connection.tell(&[SessionEvent::Delivery(Delivery::Notify(vec![resolution]))])
                }
                Say::Call(to) => {
                    let result = VRef::imported_promise(next_promise);
                    next_promise += 1;
                    ledger.promises.insert(result);
                    ledger.decides.insert(result);
                    let message = Message { methargs: CapData::plain("#[\"hi\",[]]"), result: Some(result) };
                    connection.tell(&[SessionEvent::Delivery(Delivery::Message { target: VRef::own_object(to), message })])
                }
            };
            turn.syscalls.iter().for_each(|it| ledger.make(it));
            if connection.has_ended() {
                let mut gone = Vec::new();
                connection.forget_rows(b"", &mut gone);
                gone.into_iter().for_each(|(key, _)| drop(shelf.0.remove(&key)));
                prop_assert!(shelf.0.is_empty());
                break;
            }
            let again = shelf.kept(&mut connection);
            prop_assert_eq!(format!("{connection:?}"), format!("{again:?}"));
            connection = again;
        }
    }
}
