//! What is rare in a state: paused vats, the objects that the kernel itself answers for, garbage on its way.

use std::collections::BTreeMap;

use expect_test::expect;
use serde_json::{Value, json};

use super::{array, check, inspect};
use crate::cli::Place;

#[test]
fn a_paused_vat_says_why_and_what_waits_for_it() {
    let place = Place::new();
    place.write("broken.wat", include_str!("broken.wat"));
    let vat = "vats.broken = { bundle = \"broken.wat\", options = { on_fault = \"pause\" } }";
    place.write("vat.toml", &format!("{vat}\nsend = [{{ to = \"broken\", method = \"anything\" }}]"));
    place.vathost("run @vat.toml --state @state").ok();
    check(
        &place,
        "vats",
        expect![[r#"
        vat  name    deliveries  syscalls  fuel  memory  c-list  keys  queued  status
        v1   broken           1         0     0     0 B       1     0       2  paused: trap: wasm trap: wasm `unreachable` instruction executed
    "#]],
    );
    check(
        &place,
        "queue",
        expect![[r#"
        queue  kind      made by  target  goes to    method    result
        v1     startVat  -        -       v1 broken  -         -
        v1     send      -        ko20    v1 broken  anything  kp40
    "#]],
    );
    let queue = array(&place, "queue");
    let waiting = json!({
        "queue": "pause", "waitsFor": "v1", "kind": "send", "by": null, "target": "ko20", "destination": "v1", "method": "anything",
        "body": "#[\"anything\",[]]", "slots": [], "result": "kp40",
    });
    assert_eq!(queue[1], waiting);
    let counts = inspect(&place, "--json").ok().json()["counts"].clone();
    assert_eq!([&counts["vatsPaused"], &counts["vatsTerminated"], &counts["queuePaused"]], [1, 0, 2]);
    // The attempt is in the transcript.
    check(
        &place,
        "transcript broken",
        expect![[r#"
        delivery-0
          faulted: trap: wasm trap: wasm `unreachable` instruction executed
    "#]],
    );
}

#[test]
fn an_object_of_the_kernel_says_what_it_does() {
    let place = Place::new();
    place.vathost("run vats/bank --state @state").ok();
    let objects = array(&place, "objects");
    let admin = objects.iter().find(|it| it["owner"] == "kernel").expect("the vat admin");
    assert_eq!([&admin["role"], &admin["export"]], [&json!("vatAdmin"), &json!(null)]);
    assert!(objects.iter().filter(|it| it["owner"] != "kernel").all(|it| it.get("role").is_none()));
}

#[test]
fn queues_show_garbage_on_its_way() {
    let place = Place::new();
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    for _ in 0..100 {
        place.vathost("run vats/gc --state @state --cranks-per-block 1 --blocks 1").ok();
        for row in array(&place, "queue") {
            let name = |it: &str| row[it].as_str().unwrap().to_owned();
            seen.entry(format!("{} {}", name("queue"), name("kind"))).or_insert(row);
        }
        if seen.contains_key("gc dropExport") && seen.contains_key("run bringOutYourDead") {
            break;
        }
    }
    let drop = &seen["gc dropExport"];
    assert_eq!(drop["destination"], "v2", "the factory's widgets are dropped: {drop}");
    assert!(drop["target"].as_str().unwrap().starts_with("ko"), "{drop}");
    let reap = &seen["run bringOutYourDead"];
    assert!(reap["destination"].as_str().unwrap().starts_with('v'), "{reap}");
}
