//! The npm package `@endo/captp` itself, in node, speaks to a served host. Where there is no npm or no registry this is said, and not
//! tested.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use vathost::{Arg, BlockPolicy, Host, HostOptions, Outcome, Scenario};

use super::{captp::wait_for_sessions, npm, server::Served};
use crate::{cli::Place, dice::Dice};

fn with_scripts(dir: &Path) -> bool {
    if !npm::install(dir) {
        return false;
    }
    for (name, text) in [
        ("connect.mjs", include_str!("connect.mjs")),
        ("objects.mjs", include_str!("objects.mjs")),
        ("random.mjs", include_str!("random.mjs")),
        ("goes_on.mjs", include_str!("goes_on.mjs")),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    true
}

#[test]
fn objects_go_both_ways_between_javascript_and_vats() {
    let place = Place::new();
    let dir = place.path("node");
    if !with_scripts(&dir) {
        return;
    }
    let host = Served::start(&place, "vats/bank --state @state");
    let mut node = Command::new("node")
        .args(["--expose-gc", "objects.mjs", &format!("ws://{}/captp", host.address)])
        .current_dir(&dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(node.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut lines = lines.filter_map(|it| it.strip_prefix("# ").map(str::to_owned));
    let first: Vec<String> = lines.by_ref().take_while(|it| it != "ready").collect();
    assert_eq!(
        first,
        [
            "balance 100",
            "early 6",
            "left 80, in the till 20",
            "left 75",
            "refused we are closed",
            "balance 75",
            "kept paying 103, paid 3",
            "balance 75",
        ]
    );
    // Of the twenty purses that it let go its engine has collected most.
    let rows = place.vathost("inspect @state clist captp-1 --json").ok().json();
    let imports = rows.as_array().unwrap().iter().filter(|it| it["vref"].as_str().unwrap().starts_with("o-")).count();
    assert!(imports < 15, "{imports}: {rows}");
    node.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(rest, ["closed 1005 ", "pending closed: "]);
    assert!(node.wait().unwrap().success());
}

/// The module of docs/serve.md that goes on by itself, as it stands.
fn session_module() -> String {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/serve.md")).unwrap();
    let blocks = docs.split("```js\n").skip(1).map(|it| it.split("```").next().unwrap());
    blocks.into_iter().find(|it| it.contains("export const connect")).unwrap().to_owned()
}

#[test]
fn a_client_as_the_docs_have_it_goes_on_while_its_host_is_killed_and_each_call_acts_once() {
    let place = Place::new();
    let dir = place.path("node");
    if !with_scripts(&dir) {
        return;
    }
    std::fs::write(dir.join("session.mjs"), session_module()).unwrap();
    let mut host = Served::start(&place, "vats/bank --state @state");
    let address = host.address.to_string();
    let mut node = Command::new("node")
        .args(["goes_on.mjs", &format!("ws://{address}/captp")])
        .current_dir(&dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(node.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut lines = lines.filter_map(|it| it.strip_prefix("# ").map(str::to_owned));
    assert_eq!(lines.next().unwrap(), "begun");
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(150 + 7 * round));
        if round % 2 == 0 {
            host.kill();
        } else {
            assert_eq!(host.end_by("-TERM").0, Some(0));
        }
        host = Served::start_at(&place, "@state", &address);
    }
    std::thread::sleep(Duration::from_millis(300));
    node.stdin.take().unwrap().write_all(b"enough\n").unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(rest, ["rejected 0, missing 0, till 0", "calls many"]);
    assert!(node.wait().unwrap().success());
    wait_for_sessions(&host, json!({ "connected": 0, "away": 0 }));
    drop(host);
    assert_eq!(place.vathost("verify @state").code, 0);
}

/// A thousand exchanges with two banks. A purse is named by its place in the order of their making.
fn exchanges(seed: u64) -> Vec<Value> {
    let mut dice = Dice(seed);
    let mut banks: Vec<&str> = Vec::new();
    let mut all = Vec::new();
    while all.len() < 1_000 {
        let bank = ["north", "south"][dice.place(2)];
        let amount = dice.place(60);
        let some = dice.place(banks.len().max(1));
        all.push(match dice.place(20) {
            _ if banks.len() < 2 => {
                banks.push(bank);
                json!({ "bank": bank, "method": "makePurse", "args": [amount] })
            }
            0 => json!({ "bank": bank, "method": "makePurse", "args": ["much"] }),
            1..=3 if banks.len() < 60 => {
                banks.push(bank);
                json!({ "bank": bank, "method": "makePurse", "args": [amount] })
            }
            4..=6 => {
                // From a purse of the bank, or else it is refused.
                json!({ "bank": banks[some], "method": "pay", "args": [some, dice.place(banks.len()), amount] })
            }
            7 => json!({ "purse": some, "method": "close", "args": [] }),
            8 => json!({ "purse": some, "method": "rob", "args": [amount, [true, null, { "a": "#b" }]] }),
            9..=12 => json!({ "purse": some, "method": "withdraw", "args": [amount] }),
            13..=15 => json!({ "purse": some, "method": "deposit", "args": [amount] }),
            _ => json!({ "purse": some, "method": "balance", "args": [] }),
        });
    }
    all
}

/// The answers of the same vats, when the host runs until nothing is left after each message.
fn answers_of_a_run(exchanges: &[Value]) -> Vec<String> {
    let mut host = Host::open(HostOptions::default()).unwrap();
    host.install(&Scenario::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/bank")).unwrap()).unwrap();
    let settle = |host: &mut Host| {
        while !host.is_quiescent().unwrap() {
            host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
        }
    };
    settle(&mut host);
    let mut purses = Vec::new();
    let mut answers = Vec::new();
    for it in exchanges {
        let method = it["method"].as_str().unwrap();
        let args = it["args"].as_array().unwrap();
        let given: Vec<Arg> = match method {
            "pay" => {
                let purse = |at: usize| Arg::held(purses[usize::try_from(args[at].as_u64().unwrap()).unwrap()]);
                vec![purse(0), purse(1), Arg::Data(args[2].clone())]
            }
            _ => args.iter().cloned().map(Arg::Data).collect(),
        };
        let sent = match it["bank"].as_str() {
            Some(bank) => host.send(bank, method, given),
            None => host.send(purses[usize::try_from(it["purse"].as_u64().unwrap()).unwrap()], method, given),
        };
        let sent = sent.unwrap();
        settle(&mut host);
        let outcome = host.outcome(sent).unwrap();
        let data = outcome.data().unwrap().clone();
        let body: Value = serde_json::from_str(&data.body.as_text().unwrap()[1..]).unwrap();
        answers.push(match (&outcome, &body) {
            (Outcome::Rejected(_), _) => {
                format!("{}: {}", body["name"].as_str().unwrap(), body["#error"].as_str().unwrap())
            }
            (_, Value::String(text)) if text.starts_with('$') => {
                purses.push(data.slots[0]);
                "a purse".to_owned()
            }
            (_, Value::String(text)) => text.trim_start_matches(['+', '#']).to_owned(),
            other => panic!("{other:?}"),
        });
    }
    answers
}

#[test]
fn a_thousand_random_exchanges_have_the_answers_that_the_same_vats_give_in_a_run() {
    let place = Place::new();
    let dir = place.path("node");
    if !with_scripts(&dir) {
        return;
    }
    let exchanges = exchanges(7);
    std::fs::write(dir.join("exchanges.json"), Value::from(exchanges.clone()).to_string()).unwrap();
    let host = Served::start(&place, "vats/bank --state @state");
    let printed = npm::node(&dir, "random.mjs", &[&format!("ws://{}/captp", host.address)]);
    let answers: Vec<String> = serde_json::from_str(&printed).unwrap();
    let expected = answers_of_a_run(&exchanges);
    for (at, (found, expected)) in answers.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "exchange {at}: {}", exchanges[at]);
    }
    assert_eq!(answers.len(), 1_000);
    let of = |text: &str| answers.iter().filter(|it| it.contains(text)).count();
    assert!(of("a purse") > 30 && of("insufficient funds") > 20 && of("has no method") > 20, "{answers:?}");
}
