//! The flight recorder: what it writes, that it changes nothing, and that it can be read, however it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use expect_test::{Expect, expect};
use serde_json::Value;
use tempfile::TempDir;
use vathost::{
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    inspect::recording::Status,
    kernel::Ran,
    slog::{Detail, Event, Indexing, News, Reader, Slog, Writer},
};

mod binary;
mod diff;
mod export;
mod follow;
mod reading;
mod rotation;
mod seek;
mod trace;
mod verbs;
mod writing;

/// A folder with a scenario of relays in it, and room for recordings.
struct Lab(TempDir);

impl Lab {
    /// Vats by name, messages as `to method [args]`.
    fn new(vats: &str, sends: &str) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("relay.wat"), include_str!("slog/relay.wat")).unwrap();
        let vats = vats.split(' ').map(|it| match it.strip_prefix('!') {
            Some(critical) => format!("[vats.{critical}]\nbundle = \"relay.wat\"\noptions = {{ critical = true }}\n"),
            None => format!("[vats.{it}]\nbundle = \"relay.wat\"\n"),
        });
        let sends = sends.split(", ").map(|it| {
            let mut words = it.split(' ');
            let (to, method) = (words.next().unwrap(), words.next().unwrap());
            let args: Vec<_> = words.map(|it| format!("{it:?}")).collect();
            format!("[[send]]\nto = {to:?}\nmethod = {method:?}\nargs = [{}]\n", args.join(", "))
        });
        // In SwingSet's order: it is easier to foretell who comes when.
        let text = format!("kernel = 1\n{}", vats.chain(sends).collect::<String>());
        fs::write(dir.path().join("vat.toml"), text).unwrap();
        Lab(dir)
    }

    /// One vat asks another; one traps, one lies, one leaves.
    fn busy() -> Lab {
        Lab::new("alice bob carol dave erin", "alice ask @bob, bob bytes, carol trap, dave forge, erin exit")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs it to its end in memory; the state hash.
    fn run(&self, slog: Slog) -> String {
        let mut controller = Host::open(HostOptions { slog, ..HostOptions::default() }).unwrap();
        controller.install(&Scenario::read(self.0.path()).unwrap()).unwrap();
        while !controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap().quiescent {}
        controller.slog().flush().unwrap();
        controller.report().unwrap().state_hash
    }

    /// Records it to a file of this name.
    fn record(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.run(Slog::new(Detail::Syscalls, Writer::append(&path).unwrap()));
        path
    }

    /// Runs the binary in this folder.
    fn vathost(&self, args: &str) -> Output {
        let command = Command::new(env!("CARGO_BIN_EXE_vathost"))
            .args(args.split_whitespace())
            .current_dir(self.0.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Output { code: command.status.code(), stdout: text(command.stdout), stderr: text(command.stderr) }
    }

    /// What the binary prints, with what differs from run to run made equal.
    fn check(&self, args: &str, expected: Expect) {
        let output = self.vathost(args);
        assert_eq!(output.stderr, "", "{args}");
        expected.assert_eq(&redacted_text(&output.stdout));
    }
}

#[derive(Debug)]
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Output {
    #[track_caller]
    fn ok(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }
}

/// All events of a recording.
fn events(path: &Path) -> Vec<Value> {
    Reader::open(path).unwrap().map(|it| it.unwrap().value).collect()
}

fn is(event: &Value, kind: &str) -> bool {
    event["type"] == kind
}

/// An event without its times; hashes and fuel, which others may change, are made equal.
fn redacted(event: &Value) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().unwrap();
    fields.retain(|name, _| !["time", "monotime", "seconds"].contains(&name.as_str()));
    for name in ["version", "engine", "stateHash", "crankhash", "activityhash", "bundle"] {
        if let Some(value) = fields.get_mut(name) {
            *value = "…".into();
        }
    }
    if let Some(fuel) = event.pointer_mut("/dr/2/compute") {
        *fuel = "…".into();
    }
    event
}

/// Text with times and fuel made equal, and the blanks that depend on them.
fn redacted_text(text: &str) -> String {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for at in 0..words.len() {
            let unit = words.get(at + 1).map(|it| it.trim_end_matches([',', ';']));
            let number = words[at].parse::<f64>().is_ok();
            if number && matches!(unit, Some("µs" | "ms" | "s")) {
                words[at] = "T".to_owned();
                words[at + 1] = words[at + 1].replace("µs", "s").replace("ms", "s");
            }
            if words[at] == "fuel" && at + 1 < words.len() {
                words[at + 1] = "F".to_owned();
            }
        }
        out.push(words.join(" "));
    }
    out.join("\n") + "\n"
}
