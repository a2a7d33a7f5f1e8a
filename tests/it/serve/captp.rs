//! The WebSocket: clients of a served bank, by frames; what they are told, what is let go, what ends, and what goes on.

use serde_json::{Value, json};

use super::{
    client::{Came, CaptpClient, number_of, slot, turned},
    server::{Served, texts},
};
use crate::cli::Place;

/// The rows of the c-list of a session.
fn clist(place: &Place, session: &str) -> usize {
    place.vathost(&format!("inspect @state clist {session} --json")).ok().json().as_array().unwrap().len()
}

/// The kernel's objects.
fn objects(place: &Place) -> usize {
    place.vathost("inspect @state objects --json").ok().json().as_array().unwrap().len()
}

pub(super) fn sessions(host: &Served) -> Value {
    host.get("/status").body["sessions"].clone()
}

/// Waits until the host says so of its sessions.
#[track_caller]
pub(super) fn wait_for_sessions(host: &Served, expected: Value) {
    for _ in 0..600 {
        if sessions(host) == expected {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{} is not {expected}", sessions(host));
}

#[test]
fn a_client_makes_purses_pays_and_is_refused_in_one_round_trip() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut client = CaptpClient::connect(&host, "");
    let roots = client.bootstrap();
    assert_eq!(roots.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["market", "north", "south"]);
    let north = roots[1].1.clone();
    // All is sent before anything is answered.
    let purse = client.call(&north, "makePurse", json!([100]), &[]);
    let taken = client.call(&purse, "withdraw", json!([30]), &[]);
    let left = client.call(&purse, "balance", json!([]), &[]);
    let refused = client.call(&purse, "withdraw", json!([1000]), &[]);
    let unknown = client.call(&purse, "robBank", json!([]), &[]);
    assert!(client.answer(&taken).get("result").is_some());
    assert_eq!(number_of(&client.answer(&left)), 70);
    for (question, why) in [(refused, "insufficient funds"), (unknown, "target has no method robBank")] {
        let answer = client.answer(&question);
        assert!(answer["exception"]["body"].as_str().unwrap().contains(why), "{answer}");
    }
    let purse = turned(client.answer(&purse)["result"]["slots"][0].as_str().unwrap());
    assert_eq!(client.number(&purse, "balance"), 70);
    // The same purse is known to whoever asks by HTTP only if it is given: there is one session.
    assert_eq!(sessions(&host), json!({ "connected": 1, "away": 0 }));
    let text = host.get("/metrics").body.as_str().unwrap().to_owned();
    assert!(text.contains("vathost_sessions{kind=\"connected\"} 1"), "{text}");
    assert!(text.contains("vathost_frames_total{kind=\"received\"} 7"), "{text}");
    assert!(text.contains("vathost_frames_total{kind=\"sent\"} 7"), "{text}");
}

#[test]
fn an_object_of_the_client_is_called_back_and_its_answer_counts() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut client = CaptpClient::connect(&host, "");
    let north = client.root("north");
    let purse = client.object(&north, "makePurse", json!([100]));
    for (number, refuses) in [(1, false), (2, true)] {
        let paid = client.call(&north, "pay", json!([slot(0), slot(1), 20]), &[&purse, &format!("o+{number}")]);
        let asked = client.until(|it| it["type"] == "CTP_CALL");
        assert_eq!(asked["target"], format!("o-{number}"));
        assert_eq!(asked["method"]["body"], "[\"deposit\",[{\"@qclass\":\"bigint\",\"digits\":\"20\"}]]");
        let mut answer = json!({ "type": "CTP_RETURN", "epoch": 0, "answerID": asked["questionID"] });
        if refuses {
            let error = json!({ "@qclass": "error", "name": "Error", "message": "no, thanks" });
            answer["exception"] = json!({ "body": error.to_string(), "slots": [] });
        } else {
            answer["result"] = json!({ "body": "{\"@qclass\":\"undefined\"}", "slots": [] });
        }
        client.send(&answer);
        let paid = client.answer(&paid);
        if refuses {
            assert!(paid["exception"]["body"].as_str().unwrap().contains("no, thanks"), "{paid}");
        } else {
            assert_eq!(number_of(&paid), 80);
        }
    }
    assert_eq!(client.number(&purse, "balance"), 80);
}

#[test]
fn what_a_client_drops_is_let_go_by_the_kernel_and_collected() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut client = CaptpClient::connect(&host, "");
    let north = client.root("north");
    let mut purses = Vec::new();
    for _ in 0..30 {
        purses.push(client.object(&north, "makePurse", json!([1])));
    }
    let (known, there) = (clist(&place, "captp-1"), objects(&place));
    for it in &purses {
        client.send(&json!({ "type": "CTP_DROP", "slotID": it, "decRefs": 1, "epoch": 0 }));
    }
    // It is done before what is sent behind it.
    client.object(&north, "makePurse", json!([1]));
    assert_eq!(clist(&place, "captp-1"), known - 30 + 1);
    assert!(objects(&place) <= there - 30 + 1, "{} {there}", objects(&place));
    // Who dropped it cannot speak to it.
    let answer = client.ask(&purses[0], "balance", json!([]));
    assert!(answer["exception"]["body"].as_str().unwrap().contains("nothing under the target"), "{answer}");
}

#[test]
fn a_client_that_disconnects_rejects_what_it_owes_and_its_session_is_forgotten() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    for goodbye in [true, false] {
        let mut client = CaptpClient::connect(&host, "");
        let north = client.root("north");
        let purse = client.object(&north, "makePurse", json!([100]));
        client.call(&north, "pay", json!([slot(0), slot(1), 20]), &[&purse, "o+1"]);
        client.until(|it| it["type"] == "CTP_CALL");
        // The money is under way, to whoever goes now.
        if goodbye {
            client.send(&json!({ "type": "CTP_DISCONNECT", "epoch": 0, "reason": "bye" }));
            assert_eq!(client.until(|it| it["type"] == "CTP_DISCONNECT")["reason"], "bye");
            assert_eq!(client.end(), (1000, "bye".to_owned()));
        }
        drop(client);
        wait_for_sessions(&host, json!({ "connected": 0, "away": 0 }));
    }
    // The next block forgets them, and no money is missing: what was open came back.
    host.call("/cap/market", "report", json!([]));
    host.call("/cap/market", "report", json!([]));
    let vats = place.vathost("inspect @state vats --json").ok().json();
    assert!(vats.as_array().unwrap().iter().all(|it| !it["name"].as_str().unwrap().starts_with("captp-")), "{vats}");
    let open = place.vathost("inspect @state kv north --json").ok().json();
    let open = open.as_array().unwrap().iter().find(|it| it["key"] == "open").unwrap().clone();
    assert!(open.to_string().contains("+0"), "{open}");
}

#[test]
fn a_promise_of_the_client_arrives_as_a_promise_before_and_after_it_is_settled() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut client = CaptpClient::connect(&host, "");
    let north = client.root("north");
    let purse = client.object(&north, "makePurse", json!([100]));
    for _ in 0..2 {
        let paid = client.call(&north, "pay", json!([slot(0), slot(1), 20]), &[&purse, "p+1"]);
        let paid = client.answer(&paid);
        assert!(paid["exception"]["body"].as_str().unwrap().contains("found a promise"), "{paid}");
        let res = json!({ "body": slot(0).to_string(), "slots": [purse] });
        client.send(&json!({ "type": "CTP_RESOLVE", "promiseID": "p-1", "res": res }));
    }
    assert_eq!(client.number(&purse, "balance"), 100);
}

#[test]
fn a_client_goes_on_behind_the_frames_that_it_has_after_it_was_cut_off() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut client = CaptpClient::connect(&host, "?resume=new");
    let hello = client.frame();
    assert_eq!((&hello["type"], &hello["received"]), (&json!("VATHOST_SESSION"), &json!(0)));
    let token = hello["resume"].as_str().unwrap().to_owned();
    let north = client.root("north");
    let purse = client.object(&north, "makePurse", json!([100]));
    let received = client.received;
    // Two calls of which it does not hear, and an object of its own that is to be called.
    client.call(&purse, "withdraw", json!([30]), &[]);
    let paid = client.call(&north, "pay", json!([slot(0), slot(1), 20]), &[&purse, "o+1"]);
    let last = client.next_after_received(5);
    assert_eq!(last["received"], 5 - 1);
    drop(client);
    wait_for_sessions(&host, json!({ "connected": 0, "away": 1 }));
    let mut again = CaptpClient::connect(&host, &format!("?resume={token}&received={received}"));
    let hello = again.frame();
    assert_eq!(hello, json!({ "type": "VATHOST_SESSION", "received": 4 }));
    assert!(again.answer("q-3").get("result").is_some());
    let asked = again.until(|it| it["type"] == "CTP_CALL");
    let done = json!({ "body": "{\"@qclass\":\"undefined\"}", "slots": [] });
    again.send(&json!({ "type": "CTP_RETURN", "epoch": 0, "answerID": asked["questionID"], "result": done }));
    assert_eq!(number_of(&again.answer(&paid)), 50);
}

impl CaptpClient {
    /// Reads until the host says that it has more than so many frames, less one.
    fn next_after_received(&mut self, count: u64) -> Value {
        self.until(|it| it["type"] == "VATHOST_RECEIVED" && it["received"].as_u64().unwrap() + 1 >= count)
    }
}

#[test]
fn after_kill_9_a_client_goes_on_and_each_call_acted_once() {
    let place = Place::new();
    let mut host = Served::start(&place, "vats/bank --state @state");
    let mut client = CaptpClient::connect(&host, "?resume=new");
    let token = client.frame()["resume"].as_str().unwrap().to_owned();
    let north = client.root("north");
    let purse = client.object(&north, "makePurse", json!([1_000]));
    let mut said: Vec<Value> = Vec::new();
    let mut base = 2;
    let mut calls = 0;
    let mut answered = 0;
    let mut next = 100;
    for round in 0..12 {
        // It sends, and does not know how far that came.
        for _ in 0..5 {
            let frame = json!({
                "type": "CTP_CALL", "epoch": 0, "questionID": format!("q-{next}"), "target": purse,
                "method": { "body": "[\"withdraw\",[1]]", "slots": [] },
            });
            next += 1;
            calls += 1;
            client.send(&frame);
            said.push(frame);
        }
        if round % 3 > 0 {
            client.until(|it| it["type"] == "CTP_RETURN");
            answered += 1;
        }
        host.kill();
        // What it had got before the end is counted.
        while let Came::Frame(frame) = client.next() {
            answered += usize::from(frame["type"] == "CTP_RETURN");
        }
        let received = client.received;
        host = Served::start(&place, "@state");
        client = CaptpClient::connect(&host, &format!("?resume={token}&received={received}"));
        client.received = received;
        let hello = client.frame();
        let taken = usize::try_from(hello["received"].as_u64().unwrap()).unwrap();
        assert!(taken >= base && taken <= base + said.len(), "{taken} {base} {}", said.len());
        said.drain(..taken - base);
        base = taken;
        for it in &said {
            client.send(it);
        }
    }
    while answered < calls {
        assert_eq!(client.until(|it| it["type"] == "CTP_RETURN")["exception"], Value::Null);
        answered += 1;
    }
    let balance = json!({
        "type": "CTP_CALL", "epoch": 0, "questionID": "q-9000", "target": purse,
        "method": { "body": "[\"balance\",[]]", "slots": [] },
    });
    client.send(&balance);
    assert_eq!(number_of(&client.answer("q-9000")), 1_000 - calls as u64);
    drop(client);
    drop(host);
    assert_eq!(place.vathost("verify @state").code, 0);
    assert_eq!(place.vathost("replay @state --vat north").code, 0);
}

#[test]
fn a_client_that_was_started_anew_finds_what_its_session_held_and_its_old_objects_are_broken() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut client = CaptpClient::connect(&host, "?resume=new");
    let token = client.frame()["resume"].as_str().unwrap().to_owned();
    let north = client.root("north");
    let purse = client.object(&north, "makePurse", json!([100]));
    client.call(&north, "pay", json!([slot(0), slot(1), 20]), &[&purse, "o+1"]);
    client.until(|it| it["type"] == "CTP_CALL");
    // While it is connected another one goes on: the first is told.
    let mut again = CaptpClient::connect(&host, &format!("?resume={token}"));
    assert_eq!(client.end().0, 4001);
    let hello = again.frame();
    assert_eq!(hello["received"], 0);
    let held = hello["held"].as_object().unwrap();
    assert_eq!(held.len(), 1, "{hello}");
    let purse = turned(held[&purse].as_str().unwrap());
    // Numbers begin anew, and what the old one was asked is rejected: the money came back.
    assert_eq!(again.bootstrap().len(), 3);
    assert_eq!(again.number(&purse, "balance"), 100);
    assert_eq!(sessions(&host), json!({ "connected": 1, "away": 0 }));
    // The host too.
    host.kill();
    let host = Served::start(&place, "@state");
    let mut third = CaptpClient::connect(&host, &format!("?resume={token}"));
    let held = third.frame()["held"].clone();
    let purse = turned(held[&purse].as_str().unwrap());
    assert_eq!(third.number(&purse, "balance"), 100);
    // Once it says goodbye nobody finds it.
    third.send(&json!({ "type": "CTP_DISCONNECT", "epoch": 0, "reason": "bye" }));
    assert_eq!(third.end().0, 1000);
    let refused = CaptpClient::try_connect(&host, &format!("?resume={token}"), &[]).err().unwrap();
    assert_eq!((refused.0, refused.1["type"].clone()), (404, json!("urn:vathost:problem:no-capability")));
}

#[test]
fn a_session_without_a_token_ends_with_its_host_and_one_with_it_after_the_grace_period() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut plain = CaptpClient::connect(&host, "");
    plain.bootstrap();
    host.kill();
    assert_eq!(plain.end(), (1006, String::new()));
    let host = Served::start(&place, "@state --session-grace 1");
    wait_for_sessions(&host, json!({ "connected": 0, "away": 0 }));
    let mut client = CaptpClient::connect(&host, "?resume=new");
    let token = client.frame()["resume"].as_str().unwrap().to_owned();
    client.bootstrap();
    drop(client);
    wait_for_sessions(&host, json!({ "connected": 0, "away": 1 }));
    wait_for_sessions(&host, json!({ "connected": 0, "away": 0 }));
    assert_eq!(CaptpClient::try_connect(&host, &format!("?resume={token}&received=1"), &[]).err().unwrap().0, 404);
    // A host that stops says so.
    let mut client = CaptpClient::connect(&host, "?resume=new");
    client.frame();
    assert_eq!(host.end_by("-TERM").0, Some(0));
    assert_eq!(client.end(), (1012, "stopping".to_owned()));
}

#[test]
fn after_a_kernel_panic_and_its_line_a_client_goes_on_and_has_its_answer() {
    let place = Place::new();
    let words = "vats/bank --state @state --experimental --plant object.counts@method-deposit";
    let host = Served::start(&place, "vats/bank --state @state --experimental");
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
    assert_eq!(host.end_by("-TERM").0, Some(0));
    let host = Served::start(&place, words);
    let mut plain = CaptpClient::connect(&host, "");
    plain.bootstrap();
    let mut client = CaptpClient::connect(&host, "?resume=new");
    let token = client.frame()["resume"].as_str().unwrap().to_owned();
    let roots = client.bootstrap();
    let (from, to) =
        (client.object(&roots[1].1, "makePurse", json!([50])), client.object(&roots[2].1, "makePurse", json!([50])));
    let paid = client.call(&roots[1].1, "pay", json!([slot(0), slot(1), 20]), &[&from, &to]);
    assert_eq!(client.end(), (1011, "kernel-panic".to_owned()));
    assert_eq!(plain.end(), (1011, "kernel-panic".to_owned()));
    let (code, said) = host.ended();
    assert_eq!(code, Some(70), "{said:?}");
    let said = texts(&said);
    let line = said.lines().map(str::trim).find(|it| it.starts_with("crank-") && it.contains(": skip")).unwrap();
    place.write("fix.directives", &format!("{line}\n"));
    let host = Served::start(&place, &format!("{words} --directives @fix.directives"));
    assert_eq!(host.get("/status").body["lastDirective"]["line"], line);
    let mut again = CaptpClient::connect(&host, &format!("?resume={token}&received={}", client.received));
    // The call was taken in before the host halted: it need not be sent again.
    assert_eq!(again.frame(), json!({ "type": "VATHOST_SESSION", "received": 4 }));
    // The deposit was skipped, and so the money came back.
    assert!(again.answer(&paid).get("exception").is_some());
    let question = "q-50";
    again.send(&json!({
        "type": "CTP_CALL", "epoch": 0, "questionID": question, "target": from,
        "method": { "body": "[\"balance\",[]]", "slots": [] },
    }));
    assert_eq!(number_of(&again.answer(question)), 50);
    wait_for_sessions(&host, json!({ "connected": 1, "away": 0 }));
}

#[test]
fn a_session_is_paused_resumed_and_ended_by_an_operator_like_a_vat() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut client = CaptpClient::connect(&host, "?resume=new");
    let token = client.frame()["resume"].as_str().unwrap().to_owned();
    let north = client.root("north");
    assert_eq!(place.vathost("pause @state captp-1 --reason testing").code, 0);
    client.call(&north, "makePurse", json!([1]), &[]);
    assert_eq!(client.end(), (4002, "testing".to_owned()));
    assert_eq!(place.vathost("resume @state captp-1").code, 0);
    let mut again = CaptpClient::connect(&host, &format!("?resume={token}&received={}", client.received));
    // What it sent while it was paused was not taken: it sends it again.
    assert_eq!(again.frame()["received"], 1);
    again.send(&json!({
        "type": "CTP_CALL", "epoch": 0, "questionID": "q-2", "target": north,
        "method": { "body": "[\"makePurse\",[1]]", "slots": [] },
    }));
    again.answer("q-2");
    assert_eq!(place.vathost("terminate @state captp-1 --reason enough").code, 0);
    let (code, reason) = again.end();
    assert!(code == 4000 && reason.contains("enough"), "{code} {reason}");
    assert_eq!(sessions(&host), json!({ "connected": 0, "away": 0 }));
    assert_eq!(CaptpClient::try_connect(&host, &format!("?resume={token}"), &[]).err().unwrap().0, 404);
}

#[test]
fn many_sessions_come_and_go_and_nothing_of_them_is_left() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    // Vats that somebody was given have roots from then on.
    CaptpClient::connect(&host, "").root("north");
    let there = objects(&place);
    for round in 0..20 {
        let query = if round % 2 == 0 { "" } else { "?resume=new" };
        let mut clients: Vec<CaptpClient> = (0..10).map(|_| CaptpClient::connect(&host, query)).collect();
        for client in &mut clients {
            let north = client.root("north");
            let purse = client.object(&north, "makePurse", json!([1]));
            client.call(&north, "pay", json!([slot(0), slot(1), 1]), &[&purse, "o+1"]);
            client.until(|it| it["type"] == "CTP_CALL");
            client.send(&json!({ "type": "CTP_DISCONNECT", "epoch": 0, "reason": "bye" }));
        }
        clients.iter_mut().for_each(|it| assert_eq!(it.end().0, 1000));
    }
    wait_for_sessions(&host, json!({ "connected": 0, "away": 0 }));
    for _ in 0..3 {
        host.call("/cap/market", "report", json!([]));
    }
    assert!(objects(&place) <= there, "{} {there}", objects(&place));
    let vats = place.vathost("inspect @state vats --json").ok().json();
    assert_eq!(vats.as_array().unwrap().len(), 4, "{vats}");
    assert_eq!(host.end_by("-TERM").0, Some(0));
    assert_eq!(place.vathost("verify @state").code, 0);
    // Nor of what is kept beside the state.
    let host = vathost::Host::open(vathost::HostOptions {
        state: Some(place.path("state")),
        read_only: true,
        ..Default::default()
    });
    let rows = host.unwrap().beside().unwrap();
    assert_eq!(rows.iter().filter(|(key, _)| key[0] == b's').count(), 0);
}
