//! Validators that are killed at each step of their work, and states that are handed over or damaged.

use std::{fs, io::Write, path::Path};

use serde_json::{Value, json};
use vathost_node::mortal::STEPS;

use crate::nodes::{Network, run, run_well};

/// The rounds in which a validator is killed: all steps once, or as many as the environment says.
fn rounds() -> usize {
    std::env::var("VATHOST_NODE_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(STEPS.len())
}

#[test]
fn a_validator_that_is_killed_after_any_persist_or_any_answer_comes_back_to_one_hash() {
    let mut net = Network::of_bank(4);
    net.start_all();
    net.all_reach(&[0, 1, 2, 3], 2);
    for round in 0..rounds() {
        // The last node, and then the one before it: the first one tells where the others are.
        let (node, step) = (1 + round % 3, STEPS[round % STEPS.len()]);
        net.kill(node);
        if step == "synced" || step == "history" {
            // There is something to catch up with, or to be asked for.
            let other = 1 + (round + 1) % 3;
            let now = net.height(0) + 2;
            net.reaches(0, now);
            if step == "history" {
                net.kill(other);
                net.start(node);
                net.start(other);
                net.kill(node);
            }
        }
        // A process is ready once, and proposes, catches up and answers about history only now and then.
        let seldom = ["ready", "get-value", "synced", "history"].contains(&step);
        let count = if seldom { 1 } else { 1 + round / STEPS.len() % 3 };
        let death = format!("{step}:{count}");
        net.start_with(node, &["--die-after", &death]);
        net.submit(0, round as u64, "north", "makePurse", json!([round]));
        // A step that does not come is no death: nobody may have to catch up from this one.
        let died = net.ends_within(node, if step == "history" { 2 } else { 30 });
        assert!(died || step == "history", "{death} at node-{node}");
        net.kill(node);
        net.start(node);
        let next = net.height(0) + 2;
        net.all_reach(&[0, node], next);
    }
    let next = net.height(0) + 3;
    net.all_reach(&[0, 1, 2, 3], next);
    net.stop_all();
}

#[test]
fn a_state_is_handed_over_in_a_file_that_a_certificate_vouches_for() {
    let mut net = Network::of_bank(4);
    (0..3).for_each(|it| net.start(it));
    net.all_reach(&[0, 1, 2], 3);
    let message = net.message(0, 7, "north", "makePurse", json!([1]));
    let (_, taken) = net.post(0, "/submit?wait=30", &message);
    let file = net.dir.path().join("bank.node").to_str().unwrap().to_owned();
    let exported: Value =
        serde_json::from_str(&run_well(&["export", "--json", "--home", &net.home_text(0), &file])).unwrap();
    assert_eq!(exported["signers"], 3, "{exported}");

    // A bit that is flipped anywhere is found, and nothing is taken over.
    let good = fs::read(&file).unwrap();
    for at in [30, 200, good.len() / 2, good.len() - 10] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, bad).unwrap();
        let refused = run(&["import", "--home", &net.home_text(3), &file]);
        assert_eq!(refused.status.code(), Some(1), "byte {at}: {refused:?}");
    }
    fs::write(&file, good).unwrap();
    let imported: Value =
        serde_json::from_str(&run_well(&["import", "--json", "--home", &net.home_text(3), &file])).unwrap();
    assert_eq!(imported, exported);
    net.start(3);
    let opened = net.hears(3, "that it is open", |it| it["event"] == "opened");
    assert_eq!((&opened["height"], &opened["stateHash"]), (&exported["height"], &exported["stateHash"]));
    let next = net.height(0) + 2;
    net.all_reach(&[0, 1, 2, 3], next);
    // It knows what was submitted before, and refuses it again.
    let (status, again) = net.post(3, "/submit", &message);
    assert_eq!((status, &again["id"]), (409, &taken["id"]));
    assert_eq!(net.result(3, taken["id"].as_str().unwrap(), 0)["status"], "fulfilled");
    net.stop_all();

    // Of a chain that stands still nobody vouches for the last block; somebody may know its hash.
    let last = net.dir.path().join("last.node").to_str().unwrap().to_owned();
    let exported = run_well(&["export", "--json", "--home", &net.home_text(0), &last]);
    let exported: Value = serde_json::from_str(&exported).unwrap();
    if exported["signers"] == 0 {
        let refused = run(&["import", "--home", &net.home_text(3), &last]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("say so with --trust"), "{refused:?}");
        let hash = exported["stateHash"].as_str().unwrap();
        run_well(&["import", "--home", &net.home_text(3), "--trust", hash, &last]);
    }
}

#[test]
fn a_validator_whose_state_is_damaged_is_told_so_and_goes_on_from_an_export() {
    let mut net = Network::of_bank(4);
    net.start_all();
    net.all_reach(&[0, 1, 2, 3], 3);
    net.stop(3);
    let state = net.home(3).join("state");
    let database = fs::read_dir(&state).unwrap().map(|it| it.unwrap().path()).find(|it| {
        it.extension().is_some_and(|it| it == "sqlite" || it == "db")
            || fs::read(it).is_ok_and(|it| it.starts_with(b"SQLite format 3"))
    });
    let database = database.unwrap();
    let mut bytes = fs::read(&database).unwrap();
    for byte in bytes.iter_mut().skip(4096).step_by(97) {
        *byte ^= 0x55;
    }
    fs::File::create(&database).unwrap().write_all(&bytes).unwrap();
    net.start(3);
    let told = net.halts(3);
    assert_eq!(net.ends(3), 74, "{told}");
    assert!(told["text"].as_str().unwrap().contains("vathost-node import --home"), "{told}");
    let file = net.dir.path().join("bank.node").to_str().unwrap().to_owned();
    run_well(&["export", "--home", &net.home_text(0), &file]);
    run_well(&["import", "--home", &net.home_text(3), &file]);
    net.start(3);
    let next = net.height(0) + 2;
    net.all_reach(&[0, 3], next);
    net.stop_all();
}

/// The blocks by which a home is older, in the test of that: 10,000 take minutes.
fn blocks_behind() -> u64 {
    std::env::var("VATHOST_NODE_BLOCKS").ok().and_then(|it| it.parse().ok()).unwrap_or(60)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|it| it.unwrap()) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_home_that_is_older_by_many_blocks_catches_up_to_the_others() {
    let mut net = Network::new(4, |_| Network::bank(), &["--idle-ms", "0"]);
    net.start_all();
    net.all_reach(&[0, 1, 2, 3], 3);
    net.stop(3);
    let (home, old) = (net.home(3), net.dir.path().join("old"));
    copy(&home, &old);
    net.start(3);
    net.call(0, "north", "makePurse", json!([1]));
    let far = net.height(0) + blocks_behind();
    net.reaches_in(0, far, 1 + blocks_behind() / 5);
    net.stop(3);
    fs::remove_dir_all(&home).unwrap();
    fs::rename(&old, &home).unwrap();
    net.start(3);
    let opened = net.hears(3, "that it is open", |it| it["event"] == "opened");
    assert!(opened["height"].as_u64().unwrap() < far - blocks_behind() / 2, "{opened}");
    let begun = std::time::Instant::now();
    let (now, next) = (net.height(0), net.height(0) + 20);
    net.reaches_in(3, now, 1 + blocks_behind() / 5);
    println!("{} blocks in {:.1} s", blocks_behind(), begun.elapsed().as_secs_f64());
    net.all_reach(&[0, 3], next);
    net.stop_all();
}
