//! The soak: four replicas, one hash, memory flat. The siege: hostile vats beside honest ones, which do not notice.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use vathost::bench::{Besieged, Siege, Until, attacker_names, siege};

#[test]
fn replicas_that_live_differently_agree_at_every_block_and_do_not_grow() {
    let args = ["bench", "soak", "--blocks", "240", "--seed", "4", "--json"];
    let output = Command::new(env!("CARGO_BIN_EXE_vathost")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let soaked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| soaked[name].as_u64().unwrap();
    // Much of everything happened.
    assert!(number("cranks") > 3_000 && number("vats") > 100 && number("upgrades") > 20, "{soaked}");
    assert!(number("vats") - number("terminated") <= 30 && number("restarts") > 60, "{soaked}");
    let halves = |name: &str| [0, 1].map(|it| soaked[name][it].as_u64().unwrap());
    let [half, end] = halves("rows");
    assert!(end < half + half / 2, "rows grow: {soaked}");
    let [half, end] = halves("memoryBytes");
    assert!(end < half + half / 4, "memory grows: {soaked}");
}

fn lay_siege(attackers: &[&str], cranks: u64) -> Besieged {
    let dir = TempDir::new().unwrap();
    let attackers = attackers.iter().map(|it| (*it).to_owned()).collect();
    let what = Siege { until: Until::Cranks(cranks), burst: 50, attackers, cranks_per_block: 10 };
    siege(&what, dir.path(), &mut |_| ()).unwrap()
}

#[track_caller]
fn unharmed(besieged: &Besieged, by: &str) {
    assert!(besieged.answers > 1, "{by}: {besieged:?}");
    assert!(besieged.equal(), "{by}: {besieged:?}");
    assert!(besieged.deliveries[1] < besieged.deliveries[0], "{by} did nothing: {besieged:?}");
    assert!(besieged.in_time(), "{by}: {besieged:?}");
}

#[test]
fn honest_vats_tell_and_keep_under_any_flood_what_they_do_in_peace() {
    let names = attacker_names();
    assert_eq!(names.len(), 12);
    for name in names {
        unharmed(&lay_siege(&[name], 150), name);
    }
}

#[test]
fn honest_vats_tell_and_keep_under_all_floods_what_they_do_in_peace() {
    unharmed(&lay_siege(&[], 1_000), "all");
}

#[test]
fn who_creates_vats_without_end_comes_to_the_bound() {
    let besieged = lay_siege(&["creator"], 3_000);
    unharmed(&besieged, "creator");
    let [_, half, end] = besieged.rows;
    assert!(half > 200 && end < half + 50, "{besieged:?}");
}

#[test]
fn a_siege_is_told_and_an_unknown_attacker_refused() {
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_vathost")).args(["bench", "siege"]).args(args).output().unwrap()
    };
    let output = run(&["--cranks", "200", "--burst", "10", "--attacker", "console", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["digests"][0], told["digests"][1], "{told}");
    assert!(told["answers"].as_u64() > Some(0) && told["latency"][0]["cranks"].as_f64() > Some(0.0), "{told}");
    let output = run(&["--attacker", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("there is no attacker `nobody`") && err.contains("self-flood"), "{err}");
}
