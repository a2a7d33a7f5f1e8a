//! Blocks flow, submissions are answered, and nodes that were away catch up.

use serde_json::json;

use crate::nodes::{Network, run, run_well};

#[test]
fn four_processes_make_blocks_and_answer_a_message_by_its_id_on_any_node_after_a_restart_too() {
    let mut net = Network::of_bank(4);
    net.start_all();
    net.all_reach(&[0, 1, 2, 3], 3);
    let answer = net.call(0, "north", "makePurse", json!([100]));
    assert_eq!(answer["status"], "fulfilled", "{answer}");
    let id = answer["id"].as_str().unwrap().to_owned();
    for node in 0..4 {
        let other = net.result(node, &id, 10);
        assert_eq!((&other["status"], &other["value"]), (&answer["status"], &answer["value"]), "node-{node}: {other}");
    }
    let refused = net.call(1, "south", "robBank", json!([]));
    assert_eq!(refused["status"], "rejected", "{refused}");
    net.stop_all();
    net.start_all();
    assert_eq!(net.result(2, &id, 0)["status"], "fulfilled");
    net.stop_all();
}

#[test]
fn a_duplicate_is_refused_and_so_is_what_nobody_opened() {
    let mut net = Network::of_bank(1);
    net.start(0);
    net.reaches(0, 1);
    let message = net.message(0, 7, "north", "makePurse", json!([1]));
    let (status, taken) = net.post(0, "/submit?wait=30", &message);
    assert_eq!((status, &taken["status"]), (200, &json!("fulfilled")), "{taken}");
    let (status, again) = net.post(0, "/submit", &message);
    assert_eq!((status, &again["id"]), (409, &taken["id"]), "{again}");
    let (status, west) = net.post(0, "/submit", &net.message(0, 8, "west", "makePurse", json!([1])));
    assert_eq!(status, 400);
    assert!(
        west["detail"].as_str().unwrap().contains("no vat is open by the name `west`: open are market, north, south")
    );
    let (status, named) = net.post(0, "/submit", &net.message(0, 9, "north", "makePurse", json!(["@ko21"])));
    assert_eq!(status, 400, "{named}");
    let mut late = net.message(0, 10, "north", "makePurse", json!([1]));
    late["lastHeight"] = 0.into();
    let (status, late) = net.post(0, "/submit", &late);
    assert!(status == 400 && late["detail"].as_str().unwrap().starts_with("it is good up to block 0"), "{late}");
    let (status, mail) = net.post(
        0,
        "/submit",
        &json!({ "nonce": 1, "lastHeight": 100, "input": json!({ "kind": "mail", "number": 1, "message": "x" }).to_string() }),
    );
    assert!(status == 400 && mail["detail"].as_str().unwrap().contains("messages only"), "{mail}");
}

#[test]
fn who_submits_to_a_chain_of_keys_signs_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let bank = format!("{}/../../vats/bank", env!("CARGO_MANIFEST_DIR"));
    let port = |it: &std::net::TcpListener| it.local_addr().unwrap().port();
    let held = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let (listen, http) = (format!("/ip4/127.0.0.1/tcp/{}", port(&held[0])), format!("127.0.0.1:{}", port(&held[1])));
    drop(held);
    let made = run_well(&["init", "--home", &at("home"), "--name", "alice", "--listen", &listen, "--http", &http]);
    let validator = made.lines().find_map(|it| it.strip_prefix("validator  ")).unwrap().to_owned();
    // Somebody's key is a validator's file here: each holds a secret of 64 digits.
    let somebody = run_well(&["init", "--home", &at("somebody"), "--name", "somebody"]);
    let key = somebody.lines().find_map(|it| it.strip_prefix("validator  somebody:")).unwrap().to_owned();
    let args = ["genesis", "--chain", "bank", "--scenario", &bank, "--validator", &validator];
    let nobody = run(&args);
    assert_eq!(nobody.status.code(), Some(2));
    let genesis = run_well(&[&args[..], &["--submitter", &key]].concat());
    std::fs::write(at("genesis.json"), genesis).unwrap();
    run_well(&["init", "--home", &at("home"), "--genesis", &at("genesis.json"), "--scenario", &bank]);
    let mut child =
        std::process::Command::new(crate::nodes::PROGRAM).args(["start", "--home", &at("home")]).spawn().unwrap();
    let url = format!("http://{http}");
    let is_up = || run(&["status", "--node", &url]).status.success();
    (0..200).take_while(|_| !is_up()).for_each(|_| std::thread::sleep(std::time::Duration::from_millis(100)));
    let unsigned = run(&["submit", "--node", &url, "north", "makePurse", "5"]);
    assert!(String::from_utf8_lossy(&unsigned.stderr).contains("401: it is not signed"), "{unsigned:?}");
    let stranger =
        run(&["submit", "--node", &url, "--key", &format!("{}/validator.key", at("home")), "north", "makePurse", "5"]);
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("none of those that may submit"), "{stranger:?}");
    let signed = run(&[
        "submit",
        "--node",
        &url,
        "--key",
        &format!("{}/validator.key", at("somebody")),
        "north",
        "makePurse",
        "5",
    ]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(String::from_utf8_lossy(&signed.stdout).starts_with("fulfilled in block"), "{signed:?}");
}

#[test]
fn a_node_that_comes_late_and_one_that_was_killed_catch_up_to_one_hash() {
    let mut net = Network::of_bank(4);
    (0..3).for_each(|it| net.start(it));
    net.all_reach(&[0, 1, 2], 3);
    net.call(0, "north", "makePurse", json!([100]));
    net.kill(1);
    net.start(3);
    net.start(1);
    net.call(2, "south", "makePurse", json!([7]));
    let height = net.height(0) + 3;
    net.all_reach(&[0, 1, 2, 3], height);
    net.stop_all();
}
