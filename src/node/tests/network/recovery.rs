//! What operators do when their validators have halted: the workflow that this program is for, and its variations.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::nodes::{Network, PROGRAM, run, run_well};

const ALL: [usize; 4] = [0, 1, 2, 3];

/// Starts four validators, and has them halt by a message that triggers the bug. Returns the id of the message, and a report.
fn panicked(net: &mut Network, running: &[usize]) -> (String, Value) {
    running.iter().for_each(|it| net.start(*it));
    net.all_reach(running, 2);
    let id = net.submit(running[0], 1, "forger", "forge", json!(["resolve-what-another-decides", "@honest"]));
    let reports = net.all_halt(running, 70);
    let place = |it: &Value| (it["height"].clone(), it["stateHash"].clone(), it["epitaph"]["crank"].clone());
    assert!(reports.iter().all(|it| place(it) == place(&reports[0])), "{reports:?}");
    (id, reports[0].clone())
}

/// The line of a report that does this, to paste.
fn line(report: &Value, verb: &str) -> String {
    let ways = report["waysOn"].as_array().unwrap();
    ways.iter().filter_map(Value::as_str).find(|it| it.contains(verb)).unwrap().to_owned()
}

#[test]
fn all_halt_in_one_block_and_go_on_by_one_line_to_one_hash() {
    let mut net = Network::of_forger(4);
    let (id, report) = panicked(&mut net, &ALL);
    let height = report["height"].as_u64().unwrap();
    let text = report["text"].as_str().unwrap();
    assert!(text.contains("promise.decider") && text.contains("put it into"), "{text}");

    // Without a line they halt again, each from its own records: no peer is needed.
    for node in ALL {
        net.start(node);
        assert_eq!(net.halts(node)["epitaph"]["crank"], report["epitaph"]["crank"]);
        assert_eq!(net.ends(node), 70);
    }

    let recording = net.home(0).join("node.slog");
    let last = run_well(&["vathost", "slog", "last", recording.to_str().unwrap()]);
    assert!(last.contains("resolve-what-another-decides"), "{last}");
    let copy = net.dir.path().join("copy").to_str().unwrap().to_owned();
    run_well(&["fork", "--home", &net.home_text(0), &copy]);
    let mut debugger = Command::new(PROGRAM)
        .args(["vathost", "debug", "--state", &copy, "--at", "panic"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    debugger.stdin.take().unwrap().write_all(b"delivery\nstep\nstep\n").unwrap();
    let shown = String::from_utf8(debugger.wait_with_output().unwrap().stdout).unwrap();
    assert!(shown.contains("resolve"), "{shown}");

    let skip = line(&report, "skip");
    ALL.iter().for_each(|it| net.direct(*it, &skip));
    let begun = Instant::now();
    net.start_all();
    let hash = net.all_reach(&ALL, height + 1);
    net.all_reach(&ALL, height + 2);
    println!("{:.2} s from the fourth line to the next decided block", begun.elapsed().as_secs_f64());
    for node in ALL {
        let (_, block) = net.get(node, &format!("/block/{}", height + 1));
        assert_eq!(block["result"]["stateHash"], hash.as_str());
        assert!(block["result"]["fired"][0].as_str().unwrap().ends_with(&skip), "{block}");
        let answer = net.result(node, &id, 20);
        assert_eq!(answer["status"], "rejected", "{answer}");
    }
    assert_eq!(net.call(1, "honest", "increment", json!([2]))["status"], "fulfilled");
    net.stop_all();
}

#[test]
fn three_agree_and_the_one_with_another_line_stops_itself_and_comes_back_by_undo() {
    let mut net = Network::of_forger(4);
    let (_, report) = panicked(&mut net, &ALL);
    let height = report["height"].as_u64().unwrap();
    (0..3).for_each(|it| net.direct(it, &line(&report, "skip")));
    net.direct(3, &line(&report, "terminate"));
    net.start_all();
    net.all_reach(&[0, 1, 2], height + 4);
    let odd = net.halts(3);
    assert_eq!(net.ends(3), 75, "{odd}");
    assert_eq!(odd["kind"], "divergence");
    let text = odd["text"].as_str().unwrap();
    assert!(text.contains("skip") && text.contains("terminate") && text.contains("vathost-node undo"), "{text}");
    let undone: Value = serde_json::from_str(&run_well(&["undo", "--json", "--home", &net.home_text(3)])).unwrap();
    assert_eq!(undone["undone"], height + 1);
    let beyond = run(&["undo", "--home", &net.home_text(3)]);
    assert!(
        !beyond.status.success() && String::from_utf8_lossy(&beyond.stderr).contains("one block can be undone"),
        "{beyond:?}"
    );
    net.direct(3, &line(&report, "skip"));
    net.start(3);
    let now = net.height(0) + 3;
    net.all_reach(&ALL, now);
    net.stop_all();
}

#[test]
fn a_split_in_halves_makes_no_fork_and_no_block_and_undo_repairs_it() {
    let mut net = Network::of_forger(4);
    let (_, report) = panicked(&mut net, &ALL);
    let height = report["height"].as_u64().unwrap();
    for node in ALL {
        net.direct(node, &line(&report, if node < 2 { "skip" } else { "terminate" }));
    }
    net.start_all();
    let hashes: Vec<String> = ALL.iter().map(|it| net.reaches(*it, height + 1)).collect();
    assert!(hashes[0] == hashes[1] && hashes[2] == hashes[3] && hashes[0] != hashes[2], "{hashes:?}");
    // Each half hears a proposal of the other, and says why it does not vote for it.
    for node in ALL {
        let objection = net.hears(node, "an objection", |it| it["event"] == "objection");
        assert!(objection["why"].as_str().unwrap().contains("this node to"), "{objection}");
        assert_eq!(net.get(node, "/status").1["height"], height + 1);
    }
    net.stop_all();
    for node in [2, 3] {
        run_well(&["undo", "--home", &net.home_text(node)]);
        net.direct(node, &line(&report, "skip"));
    }
    net.start_all();
    net.all_reach(&ALL, height + 3);
    net.stop_all();
}

#[test]
fn a_node_that_was_down_when_the_line_was_given_learns_of_it_from_the_decided_blocks() {
    let mut net = Network::of_forger(4);
    let (_, report) = panicked(&mut net, &[0, 1, 2]);
    let height = report["height"].as_u64().unwrap();
    let skip = line(&report, "skip");
    (0..3).for_each(|it| net.direct(it, &skip));
    (0..3).for_each(|it| net.start(it));
    net.all_reach(&[0, 1, 2], height + 3);
    net.start(3);
    let told = net.halts(3);
    assert_eq!((net.ends(3), &told["kind"]), (2, &json!("missing-directives")), "{told}");
    assert!(told["text"].as_str().unwrap().contains(&skip), "{told}");
    net.direct(3, &skip);
    net.start(3);
    let now = net.height(0) + 3;
    net.all_reach(&ALL, now);
    net.stop_all();
}

#[test]
fn another_kernel_takes_all_past_it_in_the_same_block() {
    let mut net = Network::of_forger(4);
    let (_, report) = panicked(&mut net, &ALL);
    let height = report["height"].as_u64().unwrap();
    let replace = line(&report, "replace-kernel");
    ALL.iter().for_each(|it| net.direct(*it, &replace));
    net.start_all();
    net.all_reach(&ALL, height + 2);
    for node in ALL {
        assert!(net.get(node, "/status").1["kernelVersion"].as_u64().unwrap() > 1);
    }
    net.stop_all();
}
