//! What is refused, with which exit code, and whether the user is told what to do.

use std::fs;

use super::Place;

#[test]
fn a_module_that_can_be_no_vat_is_a_finding() {
    let place = Place::new();
    place.write("bad.wat", r#"(module (import "env" "now" (func)) (func (export "vat_deliver") (param i32)))"#);
    let told = place.vathost("check @bad.wat").code(1).stdout;
    assert!(told.contains("refused") && told.contains("unknown import `env` `now`"), "{told}");
    let refusals = place.vathost("check @bad.wat --json").code(1).json();
    assert_eq!([&refusals["ok"], &refusals["refusals"][0]["rule"]], [&serde_json::json!(false), &"imports".into()]);
    place.vathost("check vats/bank.wasm").ok();
    place.vathost("check @absent.wasm").code(2);
}

#[test]
fn a_falsified_vector_is_a_finding() {
    let place = Place::new();
    let name = "tests/vectors/named-exit-happy-and-sad.json";
    let vector = fs::read_to_string(name).unwrap();
    place.vathost(&format!("conformance {name}")).ok();
    let (host, deliveries) = vector.split_once("\"deliveries\":").expect("deliveries");
    let falsified = format!("{host}\"deliveries\":{}", deliveries.replacen("p-60", "p-61", 1));
    assert_ne!(vector, falsified);
    place.write("false.json", &falsified);
    let told = place.vathost(&format!("conformance {name} @false.json")).code(1).stdout;
    assert!(told.ends_with("ok 1 / 2\n") && told.contains("p-61") && told.contains("p-60"), "{told}");
    place.write("none.json", "{}");
    place.vathost("conformance @none.json").code(2);
}

#[test]
fn a_wrong_command_line_is_told_what_would_be_right() {
    let place = Place::new();
    place.vathost("").code(2).says("Usage: vathost");
    place.vathost("fly").code(2).says("unrecognized subcommand 'fly'");
    place.vathost("run").code(2).says("hint: name a scenario");
    place.vathost("run --state @none").code(2).says("there is no state in").says("hint: name a scenario");
    place.vathost("run vats/bank --blocks 0").code(2).says("--blocks");
    place.vathost("run vats/bank --slog-detail none").code(2).says("--slog");
    place.vathost("run @nowhere").code(2).says("nowhere");
    assert!(!place.path("none").exists(), "a refused run makes no state");
}

#[test]
fn a_scenario_that_makes_no_sense_is_refused_before_anything_runs() {
    let place = Place::new();
    let bank = format!("[vats.bank]\nbundle = \"{}/vats/bank.wasm\"\n", env!("CARGO_MANIFEST_DIR"));
    let cases = [
        ("no-toml", "vats".to_owned(), "no-toml.toml"),
        ("no-vats", String::new(), "it has no vats"),
        ("unknown-key", format!("colour = 1\n{bank}"), "unknown field `colour`"),
        ("unknown-key-of-a-vat", format!("{bank}colour = 1"), "[vats.bank] unknown field `colour`"),
        ("unknown-option", format!("{bank}options = {{ colour = 1 }}"), "unknown field `colour`"),
        (
            "unknown-key-of-a-send",
            format!("{bank}[[send]]\nto = \"bank\"\nmethod = \"x\"\ncolour = 1"),
            "unknown field `colour`",
        ),
        (
            "unknown-vat",
            format!("{bank}[[send]]\nto = \"shop\"\nmethod = \"x\""),
            "there is no vat `shop`; there are: bank",
        ),
        (
            "unknown-argument",
            format!("{bank}[[send]]\nto = \"bank\"\nmethod = \"x\"\nargs = [\"@shop\"]"),
            "no vat `shop`",
        ),
        ("unknown-bootstrap", format!("bootstrap = \"shop\"\n{bank}"), "there is no vat `shop`"),
        ("unknown-bundle", "[vats.bank]\nbundle = \"absent.wasm\"".to_owned(), "absent.wasm"),
    ];
    for (name, text, told) in cases {
        place.write(&format!("{name}.toml"), &text);
        place.vathost(&format!("run @{name}.toml --state @state")).code(2).says("error: ").says(told);
        assert!(!place.path("state").exists(), "{name} made a state");
    }
}

#[test]
fn a_scenario_that_changed_since_its_state_was_made_is_refused() {
    let place = Place::new();
    let bank = format!("[vats.bank]\nbundle = \"{}/vats/bank.wasm\"\n", env!("CARGO_MANIFEST_DIR"));
    place.write("vat.toml", &bank);
    let hash = place.vathost("run @vat.toml --state @state --json").ok().hash();
    place.write("vat.toml", &format!("# A comment is no change.\n{bank}"));
    place.vathost("run @vat.toml --state @state").ok();
    place.write("vat.toml", &format!("{bank}[[send]]\nto = \"bank\"\nmethod = \"makePurse\"\nargs = [1]"));
    place
        .vathost("run @vat.toml --state @state")
        .code(2)
        .says("made from another scenario")
        .says("hint: leave the scenario out");
    assert_eq!(place.vathost("run --state @state --json").ok().hash(), hash);
}
