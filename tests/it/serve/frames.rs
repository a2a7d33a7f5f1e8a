//! CapTP clients that mean no good: each ends its own connection at the most, and others do not notice.

use std::io::Write as _;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    captp::{sessions, wait_for_sessions},
    client::{CaptpClient, slot},
    server::Served,
};
use crate::cli::Place;

#[test]
fn a_malformed_frame_ends_its_connection_with_a_reason_and_no_other() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut good = CaptpClient::connect(&host, "");
    let north = good.root("north");
    let purse = good.object(&north, "makePurse", json!([100]));
    let deep = "[".repeat(100_000);
    let call = |member: &str, value: Value| {
        let mut call = json!({
            "type": "CTP_CALL", "epoch": 0, "questionID": "q-7", "target": "o-50",
            "method": { "body": "[\"balance\",[]]", "slots": [] },
        });
        call[member] = value;
        call.to_string()
    };
    for (frame, why) in [
        (String::new(), "a message is a JSON object"),
        ("{".to_owned(), "a message is a JSON object"),
        ("[]".to_owned(), "a message is a JSON object"),
        (deep, "a message is a JSON object"),
        ("{\"type\":\"CTP_WHAT\"}".to_owned(), "there is no message of type `CTP_WHAT`"),
        (call("questionID", json!("q+7")), "`q+7` is no question"),
        (call("questionID", json!("q-99999999999999999999")), "is no question"),
        (call("target", json!(7)), "is no target"),
        (call("method", json!([])), "there is no body"),
        (call("method", json!({ "body": 1, "slots": [] })), "a body has a text and slots"),
        (call("method", json!({ "body": "[\"a\",[]]", "slots": ["x-1"] })), "`x-1` is no slot"),
        (json!({ "type": "CTP_RETURN", "answerID": "q-1", "result": {} }).to_string(), "q-1 was not asked"),
        (json!({ "type": "CTP_RESOLVE", "promiseID": "p+1", "res": {} }).to_string(), "no promise of the client's"),
        (json!({ "type": "CTP_DROP", "slotID": "o-50", "decRefs": -1 }).to_string(), "`decRefs` is -1"),
    ] {
        let mut bad = CaptpClient::connect(&host, "");
        bad.say(&frame);
        let (code, reason) = bad.end();
        assert!(code == 1002 && reason.contains(why), "{frame:.80}: {code} {reason}");
    }
    wait_for_sessions(&host, json!({ "connected": 1, "away": 0 }));
    assert_eq!(good.number(&purse, "balance"), 100);
}

#[test]
fn what_is_no_frame_at_all_ends_its_connection_with_a_code_of_its_own() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --body-max 20000");
    let mut binary = CaptpClient::connect(&host, "");
    binary.socket.send(Message::binary(vec![1, 2, 3])).unwrap();
    assert_eq!(binary.end(), (1003, "a frame is text".to_owned()));
    // One that says how large it will be is not waited for.
    let mut large = CaptpClient::connect(&host, "");
    large.socket.get_mut().write_all(&[0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4, 5]).unwrap();
    assert_eq!(large.end(), (1009, "a frame has 20000 bytes at the most".to_owned()));
    let mut text = CaptpClient::connect(&host, "");
    text.socket.get_mut().write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).unwrap();
    assert_eq!(text.end().0, 1007);
    let mut unmasked = CaptpClient::connect(&host, "");
    unmasked.socket.get_mut().write_all(b"\x81\x02{}").unwrap();
    assert_eq!(unmasked.end().0, 1002);
    // Also where its session could have been found again: it ends.
    let mut kept = CaptpClient::connect(&host, "?resume=new");
    kept.frame();
    kept.socket.send(Message::binary(vec![1])).unwrap();
    assert_eq!(kept.end().0, 1003);
    wait_for_sessions(&host, json!({ "connected": 0, "away": 0 }));
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
}

#[test]
fn a_reference_of_another_session_names_nothing_in_this_one() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let mut rich = CaptpClient::connect(&host, "");
    let north = rich.root("north");
    let purse = rich.object(&north, "makePurse", json!([100]));
    let mut thief = CaptpClient::connect(&host, "");
    let roots = thief.bootstrap();
    let own: Vec<String> = roots.into_iter().map(|(_, it)| it).collect();
    for number in 0..100 {
        let target = format!("o-{number}");
        if own.contains(&target) {
            continue;
        }
        let answer = thief.ask(&target, "withdraw", json!([100]));
        assert!(answer["exception"]["body"].as_str().unwrap().contains("nothing under the target"), "{answer}");
        let question = thief.call(&own[1], "pay", json!([slot(0), slot(0), 1]), &[&target]);
        let answer = thief.answer(&question);
        assert!(answer["exception"]["body"].as_str().unwrap().contains("there is nothing under"), "{answer}");
    }
    for target in ["p-60", "q-999", "o+1", "p+1"] {
        let answer = thief.ask(target, "balance", json!([]));
        assert!(answer.get("exception").is_some(), "{answer}");
    }
    assert_eq!(rich.number(&purse, "balance"), 100);
}

#[test]
fn sessions_that_are_too_many_are_refused_until_others_end() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --sessions-max 3");
    let mut held: Vec<CaptpClient> = (0..3).map(|_| CaptpClient::connect(&host, "")).collect();
    for _ in 0..200 {
        let (status, problem) = CaptpClient::try_connect(&host, "", &[]).err().unwrap();
        assert_eq!((status, &problem["type"]), (429, &json!("urn:vathost:problem:busy")));
    }
    assert_eq!(held[0].bootstrap().len(), 3);
    held.pop();
    wait_for_sessions(&host, json!({ "connected": 2, "away": 0 }));
    CaptpClient::connect(&host, "").bootstrap();
    drop(held);
    drop(host);
    // A WebSocket is a connection, for as long as it lives.
    let host = Served::start(&place, "@state --connections-max 2");
    let held: Vec<CaptpClient> = (0..2).map(|_| CaptpClient::connect(&host, "")).collect();
    assert!(host.try_request("GET", "/healthz", &[], "").is_err());
    drop(held);
    assert!((0..500).any(|_| host.try_request("GET", "/healthz", &[], "").is_ok()));
}

#[test]
fn a_client_that_answers_no_ping_is_cut_off() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --ping-time 1");
    // It reads nothing, and so it sees no ping.
    let mut mute = CaptpClient::connect(&host, "");
    let mut lively = CaptpClient::connect(&host, "");
    assert_eq!(sessions(&host), json!({ "connected": 2, "away": 0 }));
    for _ in 0..500 {
        if sessions(&host) == json!({ "connected": 1, "away": 0 }) {
            break;
        }
        lively.bootstrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    lively.bootstrap();
    assert_eq!(mute.end(), (1008, "no ping was answered in 2 seconds".to_owned()));
}

#[test]
fn a_client_that_does_not_read_is_not_listened_to_and_then_cut_off_and_others_are_answered() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --unread-max 1000 --ping-time 2");
    let mut slow = CaptpClient::connect(&host, "");
    let north = slow.root("north");
    let mut other = CaptpClient::connect(&host, "");
    let purse = other.object(&north, "makePurse", json!([1]));
    // Each answer is as large as its question, which names a method that there is not.
    slow.socket.get_mut().set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let method = "x".repeat(200_000);
    let body = json!([method, []]).to_string();
    let mut sent = 0;
    for number in 100..400 {
        let call = json!({
            "type": "CTP_CALL", "epoch": 0, "questionID": format!("q-{number}"), "target": north,
            "method": { "body": body, "slots": [] },
        });
        if slow.socket.send(Message::text(call.to_string())).is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 300, "it was listened to all the time");
    for _ in 0..1_000 {
        assert_eq!(other.number(&purse, "balance"), 1);
        if sessions(&host) == json!({ "connected": 1, "away": 0 }) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(sessions(&host), json!({ "connected": 1, "away": 0 }));
    drop(slow);
}

#[test]
fn web_pages_and_foreign_names_are_refused_and_so_are_wrong_urls() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --allow-origin https://shop.example");
    let refused = |query: &str, headers: &[(&'static str, &str)]| {
        let (status, problem) = CaptpClient::try_connect(&host, query, headers).err().unwrap();
        (status, problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned())
    };
    assert_eq!(refused("", &[("origin", "https://evil.example")]), (403, "foreign-origin".to_owned()));
    assert_eq!(refused("", &[("host", "evil.example:7100")]), (403, "foreign-host".to_owned()));
    let allowed = CaptpClient::try_connect(&host, "", &[("origin", "https://shop.example")]);
    assert_eq!(allowed.ok().unwrap().bootstrap().len(), 3);
    for query in ["?resume=guessed", "?what=1", "?received=1", "?resume=new&received=1", "?resume=new&received=-1"] {
        assert_eq!(refused(query, &[]), (400, "malformed".to_owned()), "{query}");
    }
    let unknown = "A".repeat(43);
    assert_eq!(refused(&format!("?resume={unknown}"), &[]), (404, "no-capability".to_owned()));
    assert_eq!(refused(&format!("?resume={unknown}&received=0"), &[]), (404, "no-capability".to_owned()));
    assert_eq!(host.get("/captp").problem(), (400, "malformed".to_owned()));
    drop(host);
    // At an address of a network no names are open, and so there is nothing to hold.
    let host = Served::start_at(&place, "@state", "0.0.0.0:0");
    assert_eq!(CaptpClient::try_connect(&host, "", &[]).err().unwrap().0, 404);
    drop(host);
    let host = Served::start_at(&place, "@state --open-exports", "0.0.0.0:0");
    assert_eq!(CaptpClient::connect(&host, "").bootstrap().len(), 3);
}

#[test]
fn a_client_that_sends_without_a_pause_is_answered_in_order_and_others_are_too() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --frames-max 8");
    let mut flood = CaptpClient::connect(&host, "");
    let north = flood.root("north");
    let purse = flood.object(&north, "makePurse", json!([1_000]));
    let questions: Vec<String> = (0..500).map(|_| flood.call(&purse, "withdraw", json!([1]), &[])).collect();
    let mut other = CaptpClient::connect(&host, "");
    let south = other.root("south");
    let few = other.object(&south, "makePurse", json!([3]));
    assert_eq!(other.number(&few, "balance"), 3);
    let answers: Vec<Value> = (0..500).map(|_| flood.frame()).collect();
    assert!(answers.iter().zip(&questions).all(|(it, question)| it["answerID"] == *question));
    assert_eq!(flood.number(&purse, "balance"), 500);
}
