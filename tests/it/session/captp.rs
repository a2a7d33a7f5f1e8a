//! CapTP on a host: the bank, called by frames that a client might send, by hostile ones, and by `@endo/captp` itself.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use vathost::{
    Host, SessionEvent, SessionId,
    serve::captp::{Connection, Turn},
};

use super::host::{open, settle};

use crate::dice::Dice;

/// A client of a host, without a socket: what the endpoint does with both.
struct Client {
    host: Host,
    session: SessionId,
    connection: Connection,
    heard: u64,
}

impl Client {
    fn of(mut host: Host, vats: &[&str]) -> Client {
        let session = host.open_session("captp").unwrap();
        for (tag, vat) in vats.iter().enumerate() {
            host.give(session, *vat, tag as u64).unwrap();
        }
        settle(&mut host);
        let mut exports = BTreeMap::new();
        for (number, event) in host.outbox_of(session, 0).collect::<Vec<_>>() {
            let SessionEvent::Given { tag, vref } = event else { panic!("{event:?}") };
            exports.insert(vats[usize::try_from(tag).unwrap()].to_owned(), vref);
            host.acknowledge(session, number);
        }
        let heard = vats.len() as u64;
        Client { host, session, connection: Connection::new(exports), heard }
    }

    fn take(&mut self, turn: Turn, messages: &mut Vec<Value>) {
        messages.extend(turn.messages);
        if !turn.syscalls.is_empty() {
            self.host.act(self.session, turn.syscalls).unwrap();
        }
        if let Some(reason) = turn.ended {
            self.host.end_session(self.session, &reason).unwrap();
        }
    }

    /// Runs the host until nothing is left, and tells the client all that happened.
    fn run(&mut self, messages: &mut Vec<Value>) {
        while !self.host.is_quiescent().unwrap() {
            settle(&mut self.host);
            let events: Vec<_> = self.host.outbox_of(self.session, self.heard + 1).collect();
            if let Some((last, _)) = events.last() {
                self.heard = *last;
                self.host.acknowledge(self.session, self.heard);
            }
            let turn = self.connection.tell(events.iter().map(|(_, it)| it));
            self.take(turn, messages);
        }
    }

    fn say(&mut self, message: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        let turn = self.connection.receive(message);
        self.take(turn, &mut messages);
        self.run(&mut messages);
        messages
    }

    fn is_alive(&self) -> bool {
        self.host.sessions().iter().any(|it| it.id == self.session && it.is_alive())
    }
}

fn call(number: u64, target: &str, body: Value, slots: &[&str]) -> String {
    json!({
        "type": "CTP_CALL", "epoch": 0, "questionID": format!("q-{number}"), "target": target,
        "method": { "body": body.to_string(), "slots": slots },
    })
    .to_string()
}

#[test]
fn a_client_calls_the_bank_in_one_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let mut client = Client::of(open(&dir.path().join("state")), &["market", "north"]);
    let boot = client.say("{\"type\":\"CTP_BOOTSTRAP\",\"epoch\":0,\"questionID\":\"q-1\"}");
    let slots = boot[0]["result"]["slots"].as_array().unwrap();
    let north = slots[1].as_str().unwrap().replace('+', "-");
    let turns = [
        call(2, &north, json!(["makePurse", [100]]), &[]),
        call(3, "q-2", json!(["withdraw", [30]]), &[]),
        call(4, "q-2", json!(["balance", []]), &[]),
        call(5, "q-2", json!(["withdraw", [3000]]), &[]),
    ];
    let mut messages = Vec::new();
    for it in &turns {
        let turn = client.connection.receive(it);
        client.take(turn, &mut messages);
    }
    client.run(&mut messages);
    assert_eq!(messages.len(), 4, "{messages:?}");
    let of = |number: u64| messages.iter().find(|it| it["answerID"] == format!("q-{number}")).unwrap();
    assert_eq!(of(4)["result"]["body"], "{\"@qclass\":\"bigint\",\"digits\":\"70\"}");
    assert!(of(5)["exception"]["body"].as_str().unwrap().contains("\"@qclass\":\"error\""), "{}", of(5));
    let purse = of(2)["result"]["slots"][0].as_str().unwrap().replace('+', "-");
    let clist = client.host.sessions()[0].clist;
    client.say(&json!({ "type": "CTP_DROP", "slotID": purse, "decRefs": 1, "epoch": 0 }).to_string());
    assert_eq!(client.host.sessions()[0].clist, clist - 1, "it is dropped in the kernel");
    let last = client.say("{\"type\":\"CTP_DISCONNECT\",\"epoch\":0,\"reason\":\"bye\"}");
    assert_eq!(last, [json!({ "type": "CTP_DISCONNECT", "epoch": 0, "reason": "bye" })]);
    assert!(!client.is_alive());
}

/// Whatever well-formed frames say, the kernel finds no fault with the session: its end is only ever the connection's.
#[test]
fn random_frames_never_make_the_session_break_a_rule_of_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = open(&dir.path().join("state"));
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let mut client = Client::of(host, &["north", "south"]);
        client.say("{\"type\":\"CTP_BOOTSTRAP\",\"questionID\":\"q-0\"}");
        for number in 1..60 {
            let slots: Vec<String> = (0..2)
                .map(|_| {
                    let kind = ["o+", "o-", "p+", "p-", "q-"][dice.place(5)];
                    let base = if matches!(kind, "o-" | "p-") { 50 + 10 * usize::from(kind == "p-") } else { 0 };
                    format!("{kind}{}", base + dice.place(6))
                })
                .collect();
            let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
            let slot = json!({ "@qclass": "slot", "index": dice.place(2) });
            let (method, args) = [
                ("makePurse", json!([100])),
                ("deposit", json!([slot])),
                ("withdraw", json!([3])),
                ("balance", json!([])),
                ("close", json!([])),
                ("pay", json!([slot, 5])),
                ("__getMethodNames__", json!([])),
            ][dice.place(7)]
            .clone();
            let target = if dice.place(2) == 0 { "o-50" } else { slots[0] };
            let data = json!({ "body": slot.to_string(), "slots": slots });
            let frame = match dice.place(8) {
                0..=3 => call(number, target, json!([method, args]), &slots),
                4 => json!({ "type": "CTP_RESOLVE", "promiseID": format!("p-{}", dice.place(6)), "res": data })
                    .to_string(),
                5 => json!({ "type": "CTP_RESOLVE", "promiseID": format!("p-{}", dice.place(6)), "rej": data })
                    .to_string(),
                6 if !client.connection.asked().is_empty() => {
                    let asked = client.connection.asked()[0];
                    json!({ "type": "CTP_RETURN", "answerID": format!("q-{asked}"), "result": data }).to_string()
                }
                _ => json!({ "type": "CTP_DROP", "slotID": slots[1], "decRefs": dice.place(3) }).to_string(),
            };
            client.say(&frame);
            assert!(client.is_alive(), "seed {seed}: {frame}: {:?}", client.host.sessions());
        }
        client.say("{\"type\":\"CTP_DISCONNECT\"}");
        assert!(client.host.sessions().is_empty(), "it is forgotten");
        host = client.host;
    }
}

/// The package, in a folder of its own; nothing where there is no node, or no registry.
#[expect(clippy::print_stderr, reason = "who runs the tests is told what was not tested")]
fn node(dir: &Path) -> Option<Child> {
    let install = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--prefix"])
        .arg(dir)
        .args(["@endo/captp@4.5.1", "@endo/init@1.1.13"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    match install {
        Ok(done) if done.status.success() => (),
        Ok(done) => {
            eprintln!("not tested: npm has no package: {}", String::from_utf8_lossy(&done.stderr));
            return None;
        }
        Err(err) => {
            eprintln!("not tested: there is no npm: {err}");
            return None;
        }
    }
    std::fs::write(dir.join("client.mjs"), include_str!("client.mjs")).unwrap();
    let mut command = Command::new("node");
    command.arg("client.mjs").current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().map_err(|err| eprintln!("not tested: there is no node: {err}")).ok()
}

/// The client's side is `client.mjs`: a line is a frame, and a line that begins with `#` is a result.
#[test]
fn the_package_itself_calls_and_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut child) = node(dir.path()) else { return };
    let mut client = Client::of(open(&dir.path().join("state")), &["north", "south"]);
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut results = Vec::new();
    for line in BufReader::new(from).lines() {
        let line = line.unwrap();
        if let Some(result) = line.strip_prefix('#') {
            results.push(result.to_owned());
            continue;
        }
        for message in client.say(&line) {
            // The client may have gone, with what it wanted.
            let _ = writeln!(to, "{message}");
        }
    }
    assert!(child.wait().unwrap().success());
    let expected = [
        "roots north,south",
        "balance 70",
        "rejected true",
        "south 31",
        "member 12",
        "dropped true",
        "disconnected true",
    ];
    assert_eq!(results, expected);
    assert!(!client.is_alive());
}
