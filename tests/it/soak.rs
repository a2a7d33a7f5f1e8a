//! The soak: four replicas, one hash, memory flat.

use std::process::Command;

use serde_json::Value;

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
