//! What is left after `kill -9` under load: all that was acknowledged, and each key acted once.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::server::{Served, texts};
use crate::cli::Place;

/// How often the host is killed. `VATHOST_SERVE_KILLS=500` is the long form.
fn kills() -> u64 {
    std::env::var("VATHOST_SERVE_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(10)
}

fn make_purse(host: &Served, key: &str) -> Option<Value> {
    let body = json!({ "method": "makePurse", "args": [1] }).to_string();
    let answer = host.try_request("POST", "/cap/north", &[("Idempotency-Key", key)], &body).ok()?;
    (answer.status == 200).then_some(answer.body)
}

#[test]
fn after_every_kill_all_that_was_acknowledged_is_there_and_each_key_acted_once() {
    let place = Place::new();
    let keys = AtomicU64::new(0);
    let answers: Mutex<BTreeMap<String, Option<Value>>> = Mutex::default();
    for round in 0..kills() {
        let host = Served::start(&place, "vats/bank --state @state");
        // What was under way when it was killed is asked again, and what was answered has the same answer.
        let known = answers.lock().unwrap().clone();
        for (key, before) in known.iter().rev().take(40) {
            let now = make_purse(&host, key).unwrap();
            assert!(before.is_none() || before.as_ref() == Some(&now), "{key}: {before:?}, then {now}");
            answers.lock().unwrap().insert(key.clone(), Some(now));
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let key = format!("key-{:06}", keys.fetch_add(1, Ordering::Relaxed));
                        answers.lock().unwrap().insert(key.clone(), None);
                        let answer = make_purse(&host, &key);
                        answers.lock().unwrap().insert(key, answer);
                    }
                });
            }
            // Not always at the same point of a block.
            std::thread::sleep(Duration::from_micros(60_000 + round * 3_137 % 20_000));
            host.kill_now();
            done.store(true, Ordering::Relaxed);
        });
    }
    let host = Served::start(&place, "@state");
    let known = answers.lock().unwrap().clone();
    assert!(known.values().flatten().count() as u64 > kills(), "{}", known.len());
    for (key, before) in &known {
        let now = make_purse(&host, key).unwrap();
        assert!(before.is_none() || before.as_ref() == Some(&now), "{key}: {before:?}, then {now}");
    }
    let (code, said) = host.end_by("-TERM");
    assert_eq!(code, Some(0), "{said:?}");
    // The bank's own books: 105 were made by the scenario, and 1 for each key.
    let made = place.vathost("inspect @state kv north");
    assert!(made.stdout.contains(&(105 + known.len()).to_string()), "{} {}", made.stdout, known.len());
    // Each delivery does again what it did, and every count and hash is right.
    assert_eq!(place.vathost("verify @state").code, 0);
    for vat in ["market", "north", "south"] {
        assert_eq!(place.vathost(&format!("replay @state --vat {vat}")).code, 0, "{vat}");
    }
}

#[test]
fn a_kernel_panic_under_load_is_reported_as_by_run_and_clients_go_on_with_their_keys() {
    let place = Place::new();
    let words = "vats/bank --state @state --experimental --plant object.counts@method-deposit";
    let host = Served::start(&place, "vats/bank --state @state --experimental");
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
    assert_eq!(host.end_by("-TERM").0, Some(0));
    let host = Served::start(&place, words);
    let open = |host: &Served, bank: &str| host.call(bank, "makePurse", json!([50])).value()["@cap"].clone();
    let (from, to) = (open(&host, "/cap/north"), open(&host, "/cap/south"));
    let body = json!({ "method": "pay", "args": [{ "@cap": from }, { "@cap": to }, 20] }).to_string();
    let key = [("Idempotency-Key", "payment-1")];
    let refused = host.request("POST", "/cap/north", &key, &body);
    assert_eq!(refused.problem(), (503, "kernel-panic".to_owned()));
    let detail = refused.body["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("object.counts") && detail.contains("same Idempotency-Key"), "{detail}");
    let (code, said) = host.ended();
    assert_eq!(code, Some(70), "{said:?}");
    // The report that `run` prints is a text in the log, line by line.
    let mut told = said.iter().map(|it| serde_json::from_str::<Value>(it).unwrap());
    let halted = told.find(|it| it["event"] == "halted").unwrap();
    assert_eq!((&halted["kind"], &halted["exitCode"]), (&json!("kernel-panic"), &json!(70)), "{halted}");
    assert!(halted["epitaph"]["invariant"].is_string(), "{halted}");
    let said = texts(&said);
    let line = said.lines().map(str::trim).find(|it| it.starts_with("crank-") && it.contains(": skip")).unwrap();
    for part in
        ["kernel panic in crank", "state is intact at block", "all of it:", "to go on, agree with the other operators"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Without the line it is met again, at once.
    let mut again = place.command(&format!("serve {words} --listen 127.0.0.1:0"));
    assert_eq!(again.output().unwrap().status.code(), Some(70));
    place.write("fix.directives", &format!("{line}\n"));
    let host = Served::start(&place, &format!("{words} --directives @fix.directives"));
    let answer = host.request("POST", "/cap/north", &key, &body);
    // The deposit was skipped, and so the money came back.
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("rejected")), "{answer:?}");
    assert_eq!(host.call(from.as_str().unwrap(), "balance", json!([])).value(), 50);
    assert_eq!(host.request("POST", "/cap/north", &key, &body).body, answer.body);
    assert_eq!(host.get("/status").body["lastDirective"]["line"], line);
}
