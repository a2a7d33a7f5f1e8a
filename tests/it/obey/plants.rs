//! Bugs planted in the kernel: each stops the host at its invariant, loses no committed block, and can be recovered from.

use std::fs;

use serde_json::{Value, json};
use vathost::directive::plant::PLANTS;

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
            .says("  nothing that was tried goes on")
            .says("`--plant object.counts@method-deposit`");
        assert_eq!(committed(&place, "@state"), (2, straight.clone()), "{name}");
        let told = epitaph(&place, 12);
        assert_eq!((&told["invariant"], &told["crank"], &told["block"]), (&json!(name), &json!(12), &json!(3)));
        assert_eq!(told["stateHash"], json!(straight), "{name}");
        let vat = told["vatID"].as_str().unwrap();
        let guard = &told["messageHash"].as_str().unwrap()[..8];
        assert_eq!(ways_out(&ran.stderr), [""; 0], "{name}: the bug breaks that crank whatever is ordered");
        // The bug is mended, and what stepped on it skipped.
        place.write("d", &format!("crank-12: skip {vat} expect {guard}"));
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
        "backtrace block coreDump crank delivery detail directives directivesDigest dispatch engine entry guestBacktrace \
         invariant kernelVersion location messageHash method run stateHash syscall syscallKind vatID vatName version"
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

/// The hash that the report gives a line.
fn promised(report: &str, line: &str) -> String {
    let verdict = report.lines().skip_while(|it| it.trim() != line).nth(1).unwrap();
    verdict.split("state hash ").nth(1).unwrap()[..64].to_owned()
}

const SENT: &str = "run vats/bank --cranks-per-block 8 --experimental --plant object.counts@method-pay --json";

#[test]
fn what_the_report_offers_was_tried_as_this_host_runs_and_leads_to_the_hash_that_it_names() {
    let stopped = || {
        let place = Place::new();
        place.write("d d", "crank-2: resume v1\n");
        let run = format!("{SENT} --state @state -q --directives");
        let ran = place.vathost_with(&run, &[&place.path("d d").display().to_string()]).code(70);
        (place, run, ran)
    };
    let (place, _, ran) = stopped();
    let ran = ran.says("  it was:      a message `pay`").says("crank-2: resume v1").says("d d'; the command then:");
    let told = ran.json();
    assert_eq!(told["panic"]["directives"], json!(["crank-2: resume v1"]));
    let lines = ways_out(&ran.stderr);
    assert!(lines.len() >= 2, "{}", ran.stderr);
    assert_eq!(told["waysOn"]["remedies"][0]["line"], json!(lines[0]));
    // Other tools come to the same, from what the epitaph says.
    place
        .vathost(&format!(
            "replay --state @state --vat {} --delivery {}",
            told["panic"]["vatID"].as_str().unwrap(),
            told["panic"]["delivery"]
        ))
        .code(70);
    assert!(place.vathost("fault remedy @state").ok().stdout.contains(&lines[0]));
    for line in &lines {
        let hash = promised(&ran.stderr, line);
        let plan = place.vathost_with("directives plan --state @state --json --add", &[line.as_str()]).ok().json();
        assert_eq!(plan["plans"][0]["stateHash"], json!(hash), "{line}");
        let (other, run, _) = stopped();
        other.write("d d", &format!("crank-2: resume v1\n{line}\n"));
        let on = other.vathost_with(&run, &[&other.path("d d").display().to_string()]).ok();
        assert_eq!(on.hash(), hash, "{line}");
    }
}

#[test]
fn a_poisoned_entry_is_gone_past_by_the_line_of_the_report() {
    let place = Place::new();
    let run = "run vats/bank --cranks-per-block 8 --experimental --audit 0 --state @state --slog @s \
               --plant poison-queue@crank-14";
    let ran = place.vathost(run).code(70).says(": a message `poison` to kp1125899906842624, which is no delivery: ");
    let lines = ways_out(&ran.stderr);
    let [line] = &lines[..] else { panic!("{}", ran.stderr) };
    place.write("d", line);
    let on = place.vathost(&format!("{run} --directives @d --json")).ok();
    assert_eq!(on.hash(), promised(&ran.stderr, line));
    let told = &on.json()["directives"][0];
    let what = "a message `poison` to kp1125899906842624";
    assert_eq!([&told["status"], &told["consumed"]], [&json!("applied"), &json!(what)]);
    place.vathost("verify @state").ok();
    let crank = line.trim_start_matches("crank-").split(':').next().unwrap();
    let shown = place.vathost(&format!("slog show @s --crank {crank}")).ok().stdout;
    assert!(shown.contains(&format!("  directive {line}: applied; it consumed {what}")), "{shown}");
}

#[test]
fn a_plant_of_a_message_is_spelled_as_it_is_read() {
    for text in ["object.counts@crank-12", "object.counts@method-deposit", "vat.known@message-5f3a9c01"] {
        assert_eq!(text.parse::<vathost::lab::probe::PlantedBug>().unwrap().to_string(), text);
    }
    for text in ["half-commit@method-deposit", "object.counts@message-5f", "object.counts@method-", "x@crank-1"] {
        assert!(text.parse::<vathost::lab::probe::PlantedBug>().is_err(), "{text}");
    }
}
