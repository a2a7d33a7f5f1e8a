//! Bugs planted in the kernel: each stops the host at its invariant, loses no committed block, and can be recovered from.

use std::fs;

use serde_json::{Value, json};
use vathost::plant::PLANTS;

use crate::cli::Place;

use super::{committed, obeyed};

const RUN: &str = "run vats/bank --cranks-per-block 5 --audit --experimental";

fn epitaph(place: &Place, crank: u64) -> Value {
    serde_json::from_slice(&fs::read(place.path(&format!("state/panic-{crank}.json"))).unwrap()).unwrap()
}

fn simple() -> impl Iterator<Item = &'static str> {
    PLANTS.iter().copied().filter(|it| it.contains('.'))
}

/// The lines that a panic's report offers.
fn ways_out(report: &str) -> Vec<String> {
    report.lines().filter_map(|it| it.strip_prefix("      crank-")).map(|it| format!("crank-{it}")).collect()
}

#[test]
fn every_plant_stops_the_host_at_its_invariant_and_the_state_at_the_last_block() {
    let straight = Place::new().vathost(&format!("{RUN} --blocks 2 --json")).ok().hash();
    let mut tried = 0;
    for name in simple() {
        let place = Place::new();
        let ran = place.vathost(&format!("{RUN} --state @state --plant {name}@crank-12")).code(70);
        let ran = ran
            .says("kernel panic in crank 12: delivery ")
            .says(&format!("invariant `{name}` failed"))
            .says(&format!("  state is intact at block 2 (state hash {}…)", &straight[..8]))
            .says("  see it:      vathost debug --state ")
            .says("  replay it:   vathost replay --state ")
            .says("  to go on, agree with the other operators on ONE of these lines");
        assert_eq!(committed(&place, "@state"), (2, straight.clone()), "{name}");
        let told = epitaph(&place, 12);
        assert_eq!((&told["invariant"], &told["crank"], &told["block"]), (&json!(name), &json!(12), &json!(3)));
        assert_eq!(told["stateHash"], json!(straight), "{name}");
        let vat = told["vatID"].as_str().unwrap();
        let guard = &told["messageHash"].as_str().unwrap()[..8];
        assert_eq!(
            ways_out(&ran.stderr),
            [
                format!("crank-12: skip {vat} expect {guard}"),
                format!("crank-12: terminate {vat}"),
                format!("crank-12: pause {vat}"),
            ],
            "{name}"
        );
        // The bug is mended, and what stepped on it skipped.
        place.write("d", &ways_out(&ran.stderr)[0]);
        let on = place.vathost(&format!("{RUN} --state @state --directives @d --json")).ok();
        assert_eq!((&on.json()["quiescent"], obeyed(&on)), (&json!(true), 1), "{name}");
        tried += 1;
    }
    assert!(tried >= 20, "every invariant of the kernel's table has a plant");
}

#[test]
fn the_epitaph_has_the_fields_of_the_contract() {
    let place = Place::new();
    let ran = place.vathost(&format!("{RUN} --state @state --plant object.known@crank-12 --json")).code(70);
    let told = epitaph(&place, 12);
    assert_eq!(ran.json()["panic"], told);
    let names: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(
        names.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(" "),
        "backtrace block crank delivery detail directivesDigest dispatch engine invariant kernelVersion location \
         messageHash stateHash syscall syscallKind vatID vatName version"
    );
    assert!(told["location"].as_str().unwrap().starts_with("src/kernel/"), "{told}");
    assert!(!told["backtrace"].as_str().unwrap().is_empty());
}

#[test]
fn a_plant_in_the_first_crank_and_one_that_is_never_reached() {
    let place = Place::new();
    place.vathost(&format!("{RUN} --state @state --plant kernel.no-panic@crank-0")).code(70).says("panic in crank 0");
    assert_eq!(committed(&place, "@state").0, 0);
    let straight = place.vathost(&format!("{RUN} --json")).ok().hash();
    let on = place.vathost(&format!("{RUN} --state @state --plant kernel.no-panic@crank-1000 --json")).ok();
    assert_eq!(on.hash(), straight);
}

#[test]
fn a_lost_decref_is_found_only_by_a_later_audit() {
    let place = Place::new();
    let run = "run vats/bank --cranks-per-block 8 --experimental --audit 10 --state @state";
    place
        .vathost(&format!("{run} --plant lost-decref@crank-12"))
        .code(70)
        .says("kernel panic in crank 20")
        .says("invariant `audit.object-counts` failed");
    assert_eq!(epitaph(&place, 20)["invariant"], "audit.object-counts");
    assert_eq!(committed(&place, "@state").0, 2, "the damage is committed: an audit finds it, it does not prevent it");
}

#[test]
fn nothing_is_planted_in_a_state_that_is_not_for_experiments() {
    let place = Place::new();
    let plant = "--plant object.known@crank-12";
    place.vathost(&format!("run vats/bank {plant}")).code(2).says("--experimental");
    place.vathost(&format!("run vats/bank --state @state {plant}")).code(2).says("--experimental");
    assert!(!place.path("state").exists());
    let before = place.vathost("run vats/bank --state @state --blocks 1 --cranks-per-block 5 --json").ok().hash();
    for more in ["", "--experimental"] {
        let run = format!("run vats/bank --state @state {plant} {more}");
        place.vathost(&run).code(2).says("only in a state for experiments");
        assert_eq!(committed(&place, "@state").1, before);
    }
    place.vathost("run vats/bank --experimental --plant nonsense@crank-1").code(2).says("is not a plant");
}
