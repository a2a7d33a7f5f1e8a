//! Messages over HTTP: values, references, promises, keys.

use serde_json::json;

use super::server::Served;
use crate::cli::Place;

#[test]
fn a_vat_that_is_exported_answers_and_nothing_else_is_open() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let day = host.call("/cap/market", "report", json!([])).value();
    assert_eq!(day["north"], 70);
    assert_eq!(day["bankrupt"], "vat terminated");
    // A vat's rejection is an answer, and no problem of the host's.
    let rejected = host.call("/cap/south", "robBank", json!([]));
    assert_eq!(rejected.status, 200);
    let reason = json!({ "@error": { "name": "Error", "message": "target has no method robBank" } });
    assert_eq!(rejected.body, json!({ "status": "rejected", "reason": reason }));
    for closed in ["/cap/west", "/cap/v2", "/cap/ko20", "/cap/"] {
        let (status, kind) = host.call(closed, "makePurse", json!([1])).problem();
        assert_eq!((status, &*kind), (404, "no-capability"), "{closed}");
    }
    assert_eq!(host.get("/cap/market").problem(), (405, "method-not-allowed".to_owned()));
}

#[test]
fn references_are_urls_in_answers_and_in_arguments_and_a_text_stays_a_text() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let open = |bank: &str, balance: u64| {
        let purse = host.call(bank, "makePurse", json!([balance])).value();
        assert_eq!(purse["interface"], "Purse");
        purse["@cap"].as_str().unwrap().to_owned()
    };
    let (from, to) = (open("/cap/north", 100), open("/cap/south", 5));
    let paid = host.call("/cap/north", "pay", json!([{ "@cap": from }, { "@cap": to }, 30]));
    assert_eq!(paid.value(), 70);
    // Also by an absolute URL, and beside the interface as it was told.
    let url = format!("http://{}{to}", host.address);
    let paid = host.call("/cap/north", "pay", json!([{ "@cap": from, "interface": "Purse" }, { "@cap": url }, 1]));
    assert_eq!(paid.value(), 69);
    assert_eq!(host.call(&to, "balance", json!([])).value(), 36);
    let refused = host.call("/cap/north", "pay", json!([from, to, 30]));
    assert_eq!(refused.body["status"], "rejected", "a text is no reference: {refused:?}");
    let unknown = format!("/cap/{}", "A".repeat(43));
    let (status, kind) = host.call("/cap/north", "pay", json!([{ "@cap": unknown }, { "@cap": to }, 1])).problem();
    assert_eq!((status, &*kind), (404, "no-capability"));
}

#[test]
fn what_is_dropped_is_gone_and_what_else_names_it_is_not() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let purse = host.call("/cap/north", "makePurse", json!([7])).value()["@cap"].as_str().unwrap().to_owned();
    assert_eq!(host.delete(&purse).status, 204);
    // Nobody can ask for its answer again: nothing is remembered of it.
    assert_eq!(host.call(&purse, "balance", json!([])).problem(), (404, "no-capability".to_owned()));
    assert_eq!(host.delete(&purse).problem(), (404, "no-capability".to_owned()));
    assert_eq!(host.delete("/cap/north").problem(), (404, "no-capability".to_owned()));
    // Two tokens for one object: one is dropped, the other still names it, also after a restart.
    let key = [("Idempotency-Key", "two"), ("Prefer", "respond-async")];
    let body = json!({ "method": "makePurse", "args": [9] }).to_string();
    let promise = host.request("POST", "/cap/north", &key, &body).body["promise"].as_str().unwrap().to_owned();
    let purse = host.get(&format!("{promise}?wait=30")).value()["@cap"].as_str().unwrap().to_owned();
    // The promise of the answer names the purse, too.
    assert_eq!(host.delete(&promise).status, 204);
    assert_eq!(host.get(&promise).problem(), (410, "dropped".to_owned()));
    assert_eq!(host.call(&purse, "balance", json!([])).value(), 9);
    let (code, _) = host.end_by("-TERM");
    assert_eq!(code, Some(0));
    let host = Served::start(&place, "@state");
    assert_eq!(host.call(&purse, "balance", json!([])).value(), 9);
    assert_eq!(host.delete(&purse).status, 204);
    // While there is a key, it is remembered that there was such a token.
    assert_eq!(host.call(&purse, "balance", json!([])).problem(), (410, "dropped".to_owned()));
}

#[test]
fn where_answers_expire_their_tokens_do_with_them_and_nothing_is_left() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --answer-blocks 3");
    let open = |host: &Served, key: &str| {
        let body = json!({ "method": "makePurse", "args": [9] }).to_string();
        let answer = host.request("POST", "/cap/north", &[("Idempotency-Key", key)], &body);
        let promise = answer.body["promise"].as_str().unwrap().to_owned();
        (promise, answer.value()["@cap"].as_str().unwrap().to_owned())
    };
    let (promise, purse) = open(&host, "one");
    assert_eq!(host.call(&purse, "balance", json!([])).value(), 9);
    assert_eq!(host.get(&promise).value()["@cap"], purse);
    // Each call is a block, at least.
    for _ in 0..3 {
        host.call("/cap/south", "makePurse", json!([1])).value();
    }
    assert_eq!(host.get(&promise).problem(), (404, "no-capability".to_owned()));
    assert_eq!(host.call(&purse, "balance", json!([])).problem(), (404, "no-capability".to_owned()));
    // Also where it expires while no server runs.
    let (promise, _) = open(&host, "two");
    let (code, _) = host.end_by("-TERM");
    assert_eq!(code, Some(0));
    for _ in 0..3 {
        place.vathost("call @state south makePurse 1").ok();
    }
    let host = Served::start(&place, "@state");
    assert_eq!(host.get(&promise).problem(), (404, "no-capability".to_owned()));
    for _ in 0..5 {
        host.call("/cap/south", "makePurse", json!([1])).value();
    }
    let (code, _) = host.end_by("-TERM");
    assert_eq!(code, Some(0));
    // What is left are the purses of the last three blocks: an answer and a token each.
    let state = rusqlite::Connection::open(place.path("state/state.sqlite")).unwrap();
    let kept = "SELECT count(*) FROM beside WHERE substr(key, 1, 1) IN (x'61', x'74')";
    let kept: u64 = state.query_row(kept, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned();
    assert!((1..=6).contains(&kept), "{kept}");
}

#[test]
fn a_promise_is_polled_waited_for_followed_and_sent_to() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let body = json!({ "method": "makePurse", "args": [12] }).to_string();
    let begun = host.request("POST", "/cap/north", &[("Prefer", "respond-async")], &body);
    assert_eq!((begun.status, &begun.body["status"]), (202, &json!("pending")));
    let promise = begun.body["promise"].as_str().unwrap().to_owned();
    assert_eq!(begun.header("location"), Some(&*promise));
    let answer = host.get(&format!("{promise}?wait=30"));
    assert_eq!(host.get(&promise).body, answer.body);
    let events = host.get(&format!("{promise}/events"));
    let text = events.body.as_str().unwrap();
    let purse = answer.value()["@cap"].as_str().unwrap().to_owned();
    assert!(text.starts_with("event: fulfilled\ndata: {") && text.contains(&purse), "{text}");
    // What the promise came to is sent to through it.
    let through = promise.replace("/promise/", "/cap/");
    assert_eq!(host.call(&through, "balance", json!([])).value(), 12);
    assert_eq!(host.get(&format!("/promise/{}", "A".repeat(43))).problem(), (404, "no-capability".to_owned()));
    assert_eq!(host.get(&format!("{promise}?wait=long")).problem(), (400, "malformed".to_owned()));
}

#[test]
fn a_key_acts_once_and_its_answer_is_the_same_again() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let key = [("Idempotency-Key", "8e03978e-40d5-43dd-bc93-6894a57f9324")];
    let body = json!({ "method": "makePurse", "args": [100] }).to_string();
    let first = host.request("POST", "/cap/north", &key, &body);
    let purse = first.value()["@cap"].as_str().unwrap().to_owned();
    assert_eq!(host.request("POST", "/cap/north", &key, &body).body, first.body);
    let other = json!({ "method": "makePurse", "args": [101] }).to_string();
    assert_eq!(host.request("POST", "/cap/north", &key, &other).problem(), (422, "other-request".to_owned()));
    // At another place it is another key.
    let elsewhere = host.request("POST", "/cap/south", &key, &body).value();
    assert_ne!(elsewhere["@cap"], purse);
    host.kill();
    let host = Served::start(&place, "vats/bank --state @state");
    assert_eq!(host.request("POST", "/cap/north", &key, &body).body, first.body);
    // The first purse that north made here is its only one: it opened one on the day of the market, and one by a message.
    let made = place.vathost("inspect @state kv north");
    assert!(made.stdout.contains("205"), "{} {}", made.stdout, made.stderr);
    let bad = host.request("POST", "/cap/north", &[("Idempotency-Key", &"x".repeat(300))], &body);
    assert_eq!(bad.problem(), (400, "malformed".to_owned()));
}
