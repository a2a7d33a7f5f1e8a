//! Debian's lldb, where it is on the path, on a guest in Rust that was built with debug information.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    is_here,
    stand::{debugged, undebugged},
};

const LLDB: &str = "lldb-22";

/// The counter, as its author builds it to debug it.
fn counter() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guests-debug");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--package",
            "vathost-vat",
            "--bin",
            "counter",
            "--release",
            "--target",
            "wasm32-unknown-unknown",
        ])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "full")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
        cargo.env_remove(name);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("wasm32-unknown-unknown/release/counter.wasm")
}

/// What lldb says to these commands, once it is attached.
fn lldb(address: SocketAddr, commands: &[&str]) -> String {
    let mut lldb = Command::new(LLDB);
    lldb.args(["--no-lldbinit", "--batch", "--one-line", "settings set use-color false"]);
    lldb.args(["--one-line", &format!("process connect --plugin wasm connect://{address}")]);
    for it in commands {
        lldb.args(["--one-line", it]);
    }
    let output = lldb.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn lldb_stops_in_the_rust_source_of_a_guest_with_its_locals() {
    if !is_here(LLDB) {
        return;
    }
    let wasm = std::fs::read(counter()).unwrap();
    let source = include_str!("../../../guests/src/bin/counter.rs");
    let line = 1 + source.lines().position(|it| it.contains("TOTAL.set(self.total() + by)")).unwrap();
    let mut told = String::new();
    let outcome = debugged(&wasm, |address| {
        let stop = format!("breakpoint set --file counter.rs --line {line}");
        told = lldb(
            address,
            &[
                "bt",
                &stop,
                "continue",
                "frame variable",
                "bt",
                "next",
                "next",
                "step",
                "frame info",
                "finish",
                "detach",
            ],
        );
    });
    let lines = ["TOTAL.set(self.total() + by)", "self.count.update(|count| count + by)", "self.count.get()"];
    let at = |text: &str| 1 + source.lines().position(|it| it.contains(text)).unwrap();
    let stop = |reason: &str, line: usize| format!("stop reason = {reason}\n    frame #0: … at counter.rs:{line}:");
    let expected = [
        "stop reason = trace\n    frame #0: … v1.wasm`vat_deliver(len=0) at counter.rs:".to_owned(),
        stop("breakpoint 1.1", at(lines[0])),
        "(long long) by = 40".to_owned(),
        "frame #8: … v1.wasm`vat_deliver(len=".to_owned(),
        stop("step over", at(lines[1])),
        stop("step over", at(lines[2])),
        stop("step in", 0),
        stop("step out", at(lines[2])),
        "Process 1 detached".to_owned(),
    ];
    let mut rest = &told[..];
    for it in expected {
        for part in it.trim_end_matches("counter.rs:0:").split('…') {
            let at = rest.find(part).unwrap_or_else(|| panic!("`{it}` does not follow in\n{told}"));
            rest = &rest[at + part.len()..];
        }
    }
    assert_eq!(outcome, undebugged(&wasm));
}
