//! `vathost fault`, as it is typed.

use serde_json::Value;

use crate::cli::Place;

/// What a command with a fault in it came to: exit code, what it printed, what it said beside.
fn fault(place: &Place, words: &str, faults: &[&str], more: &str) -> (i32, String, String) {
    let mut command = place.command(words);
    command.args(faults);
    let more =
        more.split_whitespace().map(|it| it.strip_prefix('@').map_or(it.into(), |it| place.path(it).into_os_string()));
    let output = command.args(more).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn one_experiment_is_told_run_again_from_its_token_and_laid_down_for_the_debugger() {
    let place = Place::new();
    let (code, told, _) = fault(&place, "fault one first:bank", &["v2/delivery-3: skip"], "");
    assert_eq!(code, 0);
    assert!(told.starts_with("SPREAD(3)\n  v2/delivery-3: skip: done in crank 15\n"), "{told}");
    let (_, line, _) = fault(&place, "fault one first:bank", &["v2/delivery-3: skip"], "--json");
    let token = serde_json::from_str::<Value>(&line).unwrap()["token"].as_str().unwrap().to_owned();
    assert!(told.ends_with(&format!("again: vathost fault repro {token}\n")), "{told}");
    let again = place.vathost(&format!("fault repro {token} --json")).ok();
    assert_eq!(again.stdout, line);
    place.vathost(&format!("fault repro {token} --debug @laid-down")).ok().says("--at crank-15");
    // An experiment's state is no state of a real host.
    place.vathost("run --state @laid-down").code(2).says("is an experiment's");
    place
        .vathost(&format!("fault repro {token} --base vats/counter"))
        .code(2)
        .says("is not the base of this experiment");
    place.vathost(&format!("fault repro {token}x")).code(2).says("the token is damaged");
}

#[test]
fn a_state_is_a_base_and_is_not_changed() {
    let place = Place::new();
    place.vathost("run first:bank --cranks-per-block 5 --blocks 3 --state @state").ok();
    let before = place.vathost("inspect --state @state --json").ok().stdout;
    let (code, told, _) =
        fault(&place, "fault one @state", &["v2/delivery-3: terminate"], "--cranks-per-block 5 --replicas 2 --audit");
    assert_eq!(code, 0);
    assert!(told.contains("v2/delivery-3: terminate: done in crank 15"), "{told}");
    let (_, told, _) = fault(&place, "fault one @state", &["v2/delivery-1: skip"], "--cranks-per-block 5");
    assert!(told.starts_with("NOT-REACHED\n"), "what has run is past: {told}");
    let (_, told, _) =
        fault(&place, "fault one @state", &["commit-5/store-op-3: lose unsynced"], "--cranks-per-block 5");
    let recovered = "RECOVERED: after `commit-5/store-op-3: lose unsynced` the state was at block-4";
    assert!(told.starts_with(recovered), "{told}");
    assert_eq!(place.vathost("inspect --state @state --json").ok().stdout, before);
}

#[test]
fn the_fault_space_is_counted_and_the_grammar_printed() {
    let place = Place::new();
    let points = place.vathost("fault points vats/bank --json").ok().json();
    assert_eq!((&points["cranks"]["count"], &points["vats"][1]["syscalls"]["send"]), (&37.into(), &3.into()));
    assert!(points["storeOps"][0]["count"].as_u64() > Some(5), "{points:#}");
    let told = place.vathost("fault points vats/bank").ok().stdout;
    assert!(told.contains("crank-0 … 36") && told.contains("commit-N/store-op-1 … "), "{told}");
    assert_eq!(place.vathost("fault grammar").ok().stdout, vathost::directive::FAULT_GRAMMAR);
    place.vathost("fault points @nothing").code(2).says("neither a state nor a scenario");
    let (code, _, told) = fault(&place, "fault one first:bank", &["v2/delivery-3: skp"], "");
    assert_eq!(code, 2);
    assert!(told.contains("did you mean `skip`?") && told.contains("vathost fault grammar"), "{told}");
}

#[test]
fn a_schedule_is_shrunk() {
    let place = Place::new();
    let faults = ["v4/delivery-9: skip", "v2/delivery-3: kernel-panic object.counts", "crank-900: skip"];
    let (_, told, said) = fault(&place, "fault shrink vats/bank", &faults, "");
    assert!(said.starts_with("3 faults shrunk to 1 by "), "{said}");
    assert!(told.starts_with("KERNEL-PANIC: object.counts\n"), "{told}");
}

#[test]
fn the_ways_on_from_a_panic_are_ranked() {
    let place = Place::new();
    place.write(
        "vat.toml",
        &r#"send = [{ to = "liar", method = "forge", args = ["resolve-what-another-decides", "@counter"] }, { to = "counter", method = "increment", args = [1] }]
            [vats.counter]
            bundle = "VATS/counter.wasm"
            [vats.liar]
            bundle = "VATS/forger.wasm""#
            .replace("VATS", concat!(env!("CARGO_MANIFEST_DIR"), "/vats")),
    );
    let plant = "--plant resolve-non-decider@crank-0";
    place.vathost(&format!("run @vat.toml --state @state --experimental {plant}")).code(70);
    let told = place.vathost(&format!("fault remedy @state {plant} --json")).ok().json();
    let lines: Vec<&str> = told["remedies"].as_array().unwrap().iter().map(|it| it["line"].as_str().unwrap()).collect();
    let holds: Vec<bool> =
        told["remedies"].as_array().unwrap().iter().map(|it| it["holds"].as_bool().unwrap()).collect();
    assert!(told["panic"].as_str().unwrap().contains("`promise.decider` failed"), "{told}");
    assert_eq!((lines.len(), holds.as_slice()), (3, &[true, true, true][..]), "{told}");
    assert!(lines[0].contains(": skip v2"), "the one that touches no vat comes first: {lines:?}");
    let told = place.vathost("fault remedy @state").ok().stdout;
    assert!(told.contains("`promise.decider` failed"), "the bug that its host had: {told}");
    std::fs::remove_file(place.path("state/panic-2.json")).unwrap();
    let told = place.vathost("fault remedy @state").ok().stdout;
    assert!(told.contains("does not panic"), "a host without the bug: {told}");
}
