//! The command line as its users meet it: the binary is run, and what it prints, its exit codes and the states that it leaves are
//! looked at.

mod complete;
mod inputs;
mod interface;
mod limits;
mod newcomers;
mod pager;
mod place;
mod policy;
mod recovery;
mod refusals;
mod terminal;

pub(crate) use place::{Place, Ran, under_the_first_kernel};

use std::collections::BTreeSet;

use expect_test::expect;
use serde_json::{Value, json};

#[test]
fn a_run_prints_the_results_and_a_table_of_the_vats() {
    Place::new().vathost("run vats/bank").ok().prints_but_for_fuel(expect![[r#"
        market.bootstrap fulfilled { bankrupt: "vat terminated", closed: "the purse is closed", north: 70n, paid: 70n, south: 130n, tooMuch: "insufficient funds" }
        market.report fulfilled { bankrupt: "vat terminated", closed: "the purse is closed", north: 70n, paid: 70n, south: 130n, tooMuch: "insufficient funds" }
        north.makePurse fulfilled <Purse ko28>
        south.makePurse rejected Error: makePurse: argument 1: expected an integer, found a string
        south.robBank rejected Error: target has no method robBank

        vat  name    deliveries  syscalls       fuel  memory  status
        v1   market          14        26  <fuel>   1 MiB  running
        v2   north           11        56  <fuel>   1 MiB  running
        v3   south            8        23  <fuel>   1 MiB  running
        v4   west             3        16  <fuel>   1 MiB  terminated: out of business

        height 1, 37 cranks, nothing left to do
        state hash   <hash>
        state digest <hash>
    "#]]);
}

#[test]
fn the_object_of_a_run_has_the_fields_of_the_contract() {
    let report = Place::new().vathost("run vats/bank --json").ok().json();
    let names = |it: &Value| it.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(&report),
        "cranks deliveries directives engine engineVersion height kernelVersion quiescent results stateDigest stateHash vats"
    );
    assert_eq!(
        [&report["height"], &report["quiescent"], &report["kernelVersion"]],
        [&json!(1), &json!(true), &json!(vathost::model::kernel_version::DEFAULT)]
    );
    assert_eq!(names(&report["vats"]), "market north south west");
    let (north, west) = (&report["vats"]["north"], &report["vats"]["west"]);
    assert_eq!(names(north), "deliveries fuel id incarnation memoryBytes queued status syscalls");
    assert_eq!([&north["id"], &north["status"], &north["queued"]], [&json!("v2"), &json!("running"), &json!(0)]);
    assert_eq!([&west["status"], &west["reason"]], [&json!("terminated"), &json!("out of business")]);
    let deliveries: u64 =
        report["vats"].as_object().unwrap().values().map(|it| it["deliveries"].as_u64().unwrap()).sum();
    assert_eq!(report["deliveries"], deliveries);
    let purse = json!({
        "to": "north", "method": "makePurse", "status": "fulfilled", "body": "#\"$0.Alleged: Purse\"", "slots": ["ko28"],
    });
    assert_eq!(report["results"][2], purse);
    assert_eq!(report["results"][3]["status"], "rejected");
}

#[test]
fn a_result_that_never_comes_is_pending() {
    let place = Place::new();
    place.write_endless("vat.toml");
    let report = place.vathost("run @vat.toml --blocks 1 --json").ok().json();
    assert_eq!(report["results"], json!([{ "to": "ping", "method": "bootstrap", "status": "pending" }]));
    assert_eq!([&report["height"], &report["cranks"], &report["quiescent"]], [&json!(1), &json!(1000), &json!(false)]);
}

#[test]
fn the_second_run_of_a_state_finds_nothing_to_do() {
    let place = Place::new();
    let first = place.vathost("run vats/bank --state @state --json").ok();
    let second = place.vathost("run vats/bank --state @state --json").ok();
    assert_eq!(first.json(), second.json());
    let without_scenario = place.vathost("run --state @state --json").ok();
    assert_eq!(first.json(), without_scenario.json());
}

#[test]
fn blocks_one_by_one_come_to_the_same_hash_as_straight_through() {
    let place = Place::new();
    let straight = place.vathost("run vats/bank --cranks-per-block 5 --json").ok();
    let mut heights = vec![];
    let last = loop {
        let ran = place.vathost("run vats/bank --state @state --blocks 1 --cranks-per-block 5 --json").ok();
        let report = ran.json();
        heights.push(report["height"].as_u64().unwrap());
        assert!(heights.len() < 100, "it does not end");
        if report["quiescent"] == true {
            break ran;
        }
    };
    assert_eq!(heights, (1..=straight.json()["height"].as_u64().unwrap()).collect::<Vec<_>>());
    assert!(heights.len() > 3);
    assert_eq!(last.hash(), straight.hash());
}

#[test]
fn a_slog_changes_nothing_but_the_file_that_it_is() {
    let place = Place::new();
    let plain = place.vathost("run vats/bank --json").ok();
    let mut sizes = vec![];
    for detail in ["none", "cranks", "deliveries", "syscalls"] {
        let words = format!("run vats/bank --json --slog @{detail}.slog --slog-detail {detail}");
        assert_eq!(place.vathost(&words).ok().json(), plain.json(), "{detail}");
        sizes.push(std::fs::metadata(place.path(&format!("{detail}.slog"))).unwrap().len());
    }
    assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
}

#[test]
fn there_are_completions_for_every_shell() {
    let place = Place::new();
    let help = place.vathost("completions --help").ok().stdout;
    let shells = help.split("possible values: ").nth(1).expect("the shells").split(']').next().unwrap();
    assert!(shells.contains("bash") && shells.contains("zsh"), "{shells}");
    let mut scripts = BTreeSet::new();
    for shell in shells.split(", ") {
        let script = place.vathost(&format!("completions {shell}")).ok().stdout;
        assert!(script.contains("cranks-per-block") && script.contains("inspect"), "{shell}: {script}");
        assert!(scripts.insert(script), "{shell} has that of another shell");
    }
}

#[test]
fn the_help_of_every_verb_has_an_example_of_it() {
    let place = Place::new();
    let mut verbs = vec!["inspect".to_owned()];
    for verb in subcommands(&place, "") {
        // A verb of verbs has its examples there.
        let deeper = subcommands(&place, &verb);
        verbs.extend(if deeper.is_empty() { vec![verb] } else { deeper });
    }
    assert!(verbs.contains(&"run".to_owned()) && verbs.contains(&"inspect vats".to_owned()), "{verbs:?}");
    let without: Vec<_> = verbs
        .into_iter()
        .filter(|verb| {
            let help = place.vathost(&format!("{verb} --help")).ok().stdout;
            let example = help.split("Example").nth(1).unwrap_or("");
            let word = verb.split(' ').next_back().unwrap();
            !(example.contains("vathost ") && example.contains(word))
        })
        .collect();
    assert!(without.is_empty(), "no example: {without:?}");
}

/// The verbs that a help lists, if any, with the words before them.
fn subcommands(place: &Place, words: &str) -> Vec<String> {
    let help = place.vathost(&format!("{words} --help")).ok().stdout;
    let list = help.split("Commands:\n").nth(1).unwrap_or("");
    // Deeper lines are descriptions that go on.
    let verbs = list.lines().take_while(|it| !it.is_empty()).filter_map(|it| it.strip_prefix("  ")?.split(' ').next());
    verbs.filter(|it| !["", "help"].contains(it)).map(|it| format!("{words} {it}").trim().to_owned()).collect()
}

#[test]
fn nothing_but_the_result_is_on_stdout_and_no_colour_unless_asked() {
    let place = Place::new();
    let plain = place.vathost("run nowhere").code(2);
    assert_eq!(plain.stdout, "");
    assert!(plain.stderr.starts_with("error: "), "{}", plain.stderr);
    let coloured = place.vathost("run nowhere --color always").code(2);
    assert!(coloured.stderr.starts_with("\x1b["), "{}", coloured.stderr);
}
