//! Replicas that meet the same bug: they stop as one, and go on as one where their operators agree.

use std::fs;

use serde_json::Value;

use crate::cli::{Place, Ran};

use super::committed;

const REPLICAS: [&str; 4] = ["@r1", "@r2", "@r3", "@r4"];

/// A vat resolves what it does not decide, which is its own fault, unless the kernel forgets to ask.
fn place() -> Place {
    let place = Place::new();
    let text = r#"
        send = [
            { to = "victim", method = "increment", args = [1] },
            { to = "liar", method = "forge", args = ["resolve-what-another-decides", "@victim"] },
            { to = "honest", method = "behave" },
            { to = "victim", method = "increment", args = [41] },
        ]
        [vats]
        victim = { bundle = "VATS/counter.wasm" }
        honest = { bundle = "VATS/forger.wasm" }
        liar = { bundle = "VATS/forger.wasm" }"#;
    place.write("vat.toml", &text.replace("VATS", concat!(env!("CARGO_MANIFEST_DIR"), "/vats")));
    place
}

fn run(place: &Place, state: &str, more: &str) -> Ran {
    let plant = "--experimental --audit --plant resolve-non-decider@crank-0";
    place.vathost(&format!("run @vat.toml --state {state} --cranks-per-block 2 {plant} --json {more}"))
}

/// The epitaph, without what is the machine's.
fn epitaph(place: &Place, state: &str) -> Value {
    let path = place.path(state.trim_start_matches('@')).join("panic-4.json");
    let mut told: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    told.as_object_mut().unwrap().remove("backtrace");
    told
}

/// Four replicas that have all stopped.
fn stopped() -> Place {
    let place = place();
    for state in REPLICAS {
        run(&place, state, "").code(70).says("kernel panic in crank 4: delivery 1 to v3 (liar), syscall 1 resolve");
    }
    place
}

#[test]
fn a_lie_of_a_guest_is_no_panic_of_a_kernel_without_bugs() {
    let place = place();
    let ran = place.vathost("run @vat.toml --audit --json").ok().json();
    assert_eq!([&ran["vats"]["liar"]["status"], &ran["vats"]["victim"]["status"]], ["terminated", "running"]);
}

#[test]
fn all_stop_at_one_crank_with_one_epitaph() {
    let place = stopped();
    let told = REPLICAS.map(|it| epitaph(&place, it));
    assert_eq!(told[0]["invariant"], "promise.decider");
    assert_eq!([&told[0]["vatName"], &told[0]["syscallKind"]], ["liar", "resolve"]);
    assert!(told.iter().all(|it| *it == told[0]));
    let states = REPLICAS.map(|it| committed(&place, it));
    assert_eq!(states[0].0, 2);
    assert!(states.iter().all(|it| *it == states[0]));
}

#[test]
fn with_one_line_all_go_on_to_one_hash_though_the_bug_is_still_there() {
    for action in ["skip v3", "terminate v3", "pause v3"] {
        let place = stopped();
        place.write("d", &format!("crank-4: {action}"));
        let ran = REPLICAS.map(|it| run(&place, it, "--directives @d").ok());
        assert_eq!(ran[0].json()["quiescent"], true, "{action}");
        assert_eq!(ran[0].json()["results"][3]["body"], "#\"+42\"", "{action}: the others are served");
        assert!(ran.iter().all(|it| it.json() == ran[0].json()), "{action}");
        place.vathost("diff @r1 @r4").ok();
    }
}

#[test]
fn one_without_the_line_stops_again_alone() {
    let place = stopped();
    let before = committed(&place, "@r4");
    place.write("d", "crank-4: terminate v3");
    let ran = ["@r1", "@r2", "@r3"].map(|it| run(&place, it, "--directives @d").ok().hash());
    assert!(ran.iter().all(|it| *it == ran[0]));
    run(&place, "@r4", "").code(70).says("kernel panic in crank 4");
    assert_eq!(committed(&place, "@r4"), before);
    assert_eq!(run(&place, "@r4", "--directives @d").ok().hash(), ran[0], "and joins them once it has it");
}

#[test]
fn one_with_another_line_comes_to_another_hash_and_a_comparison_says_so() {
    let place = stopped();
    place.write("d", "crank-4: terminate v3");
    place.write("other", "crank-4: skip v3");
    let ran = ["@r1", "@r2", "@r3"].map(|it| run(&place, it, "--directives @d").ok().hash());
    let other = run(&place, "@r4", "--directives @other").ok().hash();
    assert!(ran.iter().all(|it| *it == ran[0]));
    assert_ne!(other, ran[0]);
    let told = place.vathost("diff @r1 @r4").code(1).stdout;
    assert!(told.contains("crank-4: terminate v3") && told.contains("crank-4: skip v3"), "{told}");
    assert!(told.contains(&ran[0][..8]) && told.contains(&other[..8]), "{told}");
}
