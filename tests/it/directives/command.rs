//! The verb `vathost directives`.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use expect_test::expect;
use serde_json::{Value, json};
use vathost::{
    directive::GRAMMAR,
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
};

use crate::cli::Place;

fn vathost(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vathost")).current_dir(dir).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_grammar_is_printed() {
    let output = vathost(Path::new("."), &["directives", "grammar"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), GRAMMAR));
}

#[test]
fn a_file_is_checked_without_a_state() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "crank-12345: terminate v12 # at last\ncrank-8: halt\n").unwrap();
    let output = vathost(dir.path(), &["directives", "check", "a"]);
    assert_eq!(output.status.code(), Some(0));
    expect![[r#"
        line  directive
           1  crank-12345: terminate v12
           2  crank-8: halt
        digest 472bf28cf7f91cb1d22f5b6ed10a71e7ed308716ca9e22b26323606422bc8e54
    "#]]
    .assert_eq(text(&output.stdout));
    fs::write(dir.path().join("b"), "crank-8: halt\n\ncrank-12345: terminate v12").unwrap();
    let json = vathost(dir.path(), &["directives", "check", "b", "--json"]);
    expect![[r#"
        {"digest":"472bf28cf7f91cb1d22f5b6ed10a71e7ed308716ca9e22b26323606422bc8e54","directives":[{"inConsensus":false,"line":"crank-8: halt","number":1},{"inConsensus":true,"line":"crank-12345: terminate v12","number":3}],"ok":true}
    "#]].assert_eq(text(&json.stdout));
}

#[test]
fn a_file_that_is_wrong_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "crank 8: halt\ncrank-8: skp\n").unwrap();
    let output = vathost(dir.path(), &["directives", "check", "a"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
    expect![[r#"
        error: a:1:1: unexpected `crank`
        1 | crank 8: halt
          | ^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
          = did you mean `crank-8`?

        a:2:10: unexpected `skp`
        2 | crank-8: skp
          |          ^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt`, `replace-kernel` or `replace-engine`
          = did you mean `skip`?
        hint: `vathost directives grammar` prints the grammar
    "#]]
    .assert_eq(text(&output.stderr));
    let json = vathost(dir.path(), &["directives", "check", "a", "--json"]);
    assert_eq!(json.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["problems"][1]["hint"], "did you mean `skip`?");
    assert_eq!(vathost(dir.path(), &["directives", "check", "absent"]).status.code(), Some(2));
    assert_eq!(vathost(dir.path(), &["directives", "check", "a", "--state", "absent"]).status.code(), Some(2));
}

#[test]
fn against_a_state_each_line_has_its_class_and_a_missed_one_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = Scenario::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vats/globals"))).unwrap();
    // One that can be replaced by a newer.
    let scenario = Scenario { kernel: Some(1), ..scenario };
    let mut controller =
        Host::open(HostOptions { state: Some(dir.path().join("state")), ..HostOptions::default() }).unwrap();
    controller.install(&scenario).unwrap();
    controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    let next = controller.block().unwrap().tables().globals().next_crank.0;
    let check = |lines: &str| {
        fs::write(dir.path().join("a"), lines).unwrap();
        vathost(dir.path(), &["directives", "check", "a", "--state", "state", "--json"])
    };
    let classes = |output: &Output| -> Vec<String> {
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["directives"].as_array().unwrap().iter().map(|it| it["status"].as_str().unwrap().to_owned()).collect()
    };
    let last = next - 1;
    let fine = check(&format!("crank-{next}: skip\ncrank-{last}: halt\nblock-2: replace-kernel 2\nblock-2: halt"));
    assert_eq!(
        (fine.status.code(), classes(&fine)),
        (Some(0), ["pending", "missed", "pending", "pending"].map(str::to_owned).into())
    );
    let missed =
        check(&format!("crank-{last}: skip\nv1/delivery-0: pause\nv1/delivery-999: pause\nblock-1: replace-kernel 1"));
    assert_eq!(
        (missed.status.code(), classes(&missed)),
        (Some(2), ["missed", "missed", "pending", "expired"].map(str::to_owned).into())
    );
    fs::write(dir.path().join("a"), "crank-0: halt\nv1/delivery-0: skip\n").unwrap();
    let people = vathost(dir.path(), &["directives", "check", "a", "--state", "state"]);
    assert_eq!(people.status.code(), Some(2));
    expect![[r#"
        line  directive            class
           1  crank-0: halt        missed (no harm)
           2  v1/delivery-0: skip  missed
        digest d072e16ac29d557192a478ec0f8cea4505e04d90195fc2760af31b5de4f53611
    "#]]
    .assert_eq(text(&people.stdout));
    expect![[r#"
        error: the state is past these directives and has no record of them:
            v1/delivery-0: skip
          restore a state from before that place, or start with --accept-missed-directives to go on without
    "#]]
    .assert_eq(text(&people.stderr));
}

#[test]
fn a_place_that_cannot_come_is_said_so() {
    let place = Place::new();
    // v4 ends itself.
    let ran = place.vathost("run vats/bank --state @state --json").ok().json();
    assert_eq!(ran["vats"]["west"]["status"], "terminated");
    let next = ran["cranks"].as_u64().unwrap();
    place.write("p", &format!("crank-{next}: pause v2"));
    place.vathost("run --state @state --directives @p").ok();
    let lines = "v4/delivery-900: skip\nv2/delivery-900: skip\nv99/delivery-3: skip\nv1/delivery-900: skip
crank-900: terminate v99\ncrank-901: terminate v4\ncrank-902: skip v4\ncrank-903: terminate v1";
    place.write("d", lines);
    let notes = |json: &Value| {
        let lines = json["directives"].as_array().unwrap().iter();
        lines.map(|it| it["note"].as_str().unwrap_or("-").to_owned() + "\n").collect::<String>()
    };
    let json = place.vathost("directives check @d --state @state --json").ok().json();
    expect![[r#"
        it can never come: v4 is dead
        not before v2 is resumed: it is paused
        not before there is a v99
        -
        there is no v99: unless it is created by then, the host halts there
        v4 is dead: it will have no effect
        no delivery to v4 can come: it is dead
        -
    "#]]
    .assert_eq(&notes(&json));
    place.vathost("directives check @d --state @state").ok().shows("pending; it can never come: v4 is dead");
    place.vathost("run --state @state --directives @d").ok().says("v4/delivery-900: skip: pending; it can never come");
    let next = place.vathost("inspect @state --json").ok().json()["cranks"].as_u64().unwrap();
    place.write("d", &format!("crank-{next}: skip"));
    let told = "pending; nothing is left to do: it waits for what comes next, from outside";
    place.vathost("directives check @d --state @state").ok().shows(told);
    place.vathost("run --state @state --directives @d").ok().says(told);
    let called = place.vathost("call @state north makePurse 5 --directives @d").code(1);
    called.shows("rejected Error: delivery skipped by directive");
}

#[test]
fn what_is_printed_for_people_is_there_as_json() {
    let place = Place::new();
    for words in ["directives grammar", "fault grammar"] {
        let text = place.vathost(words).ok().stdout;
        let json = place.vathost(&format!("{words} --json")).ok().json();
        assert_eq!(json["grammar"].as_str().unwrap().trim_end(), text.trim_end(), "{words}");
    }
    let text = place.vathost("fault init vats/bank").ok().stdout;
    let json = place.vathost("fault init vats/bank --json").ok().json();
    assert_eq!(json["campaign"].as_str().unwrap().trim_end(), text.trim_end());
    let written = place.vathost("fault init vats/bank --json --out @c.toml").ok().json();
    assert_eq!(written["file"], place.path("c.toml").display().to_string());
    place.vathost("run vats/bank --slog @slog -q").ok();
    let export = place.vathost("slog export @slog --format dot --out @it.dot --json").ok().json();
    let bytes = fs::metadata(place.path("it.dot")).unwrap().len();
    assert_eq!([&export["format"], &export["bytes"]], [&json!("dot"), &json!(bytes)]);
    place.vathost("slog export @slog --format dot --json").code(2);
}

/// One rendering of bodies, wherever they are shown.
#[test]
fn a_plan_shows_results_as_a_run_does() {
    let place = Place::new();
    place.vathost("run vats/bank --state @state --blocks 1 --cranks-per-block 5").ok();
    let plan = place.vathost_with("directives plan @state --blocks 20 --add", &["crank-30: pause v1"]).ok();
    plan.shows("  north.makePurse fulfilled <Purse ko28>\n").shows("rejected Error: target has no method robBank\n");
}
