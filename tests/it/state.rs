//! States as things to move, check, copy, compare and run again: `export`, `import`, `verify`, `fork`, `diff`, `replay`.

mod answers;
mod archive;
mod chain;
mod compare;
mod damage;
mod ended;
mod flips;
mod forever;
mod large;
mod layout;
mod many;
mod overlay;
mod promises;
mod references;
mod rerun;
mod retention;
mod spans;
mod stored;
mod tail;
mod traces;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use vathost::{
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    inspect::verify,
    state::retention::Keep,
    store::Database,
};

fn vats(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vats").join(name)
}

fn code_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("state-cache/vathost")
}

fn options(dir: &Path) -> HostOptions {
    HostOptions { state: Some(dir.to_owned()), code_cache: Some(code_cache()), ..HostOptions::default() }
}

fn open(dir: &Path) -> Host {
    Host::open(options(dir)).unwrap()
}

/// Keeps all, each block in chunks of its vats: where something may leave nothing stays in the tail.
const IN_CHUNKS: Keep = Keep::Blocks(1_000_000);

/// The deliveries that are in the transcripts of a state.
fn deliveries_kept(dir: &Path) -> u64 {
    let database = Database::open_read_only(dir).unwrap();
    let heads = database.heads().unwrap();
    heads.vats().into_iter().map(|it| heads.next(it).0 - database.begins_at(it).unwrap().0).sum()
}

/// The text of a vat that writes 256 keys of so many bytes each time it is called, and does `more` with each.
fn hoarder(bytes: usize, more: &str) -> String {
    format!(
        r#"(module
    (import "vat1" "vatstore_set" (func $set (param i32 i32 i32 i32)))
    (import "vat1" "vatstore_get" (func $get (param i32 i32) (result i32)))
    (import "vat1" "vatstore_delete" (func $delete (param i32 i32)))
    (import "vat1" "vatstore_next_key" (func $next (param i32 i32) (result i32)))
    (memory (export "memory") 2)
    (global $calls (mut i32) (i32.const 0))
    (func (export "vat_deliver") (param i32)
        (local $at i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (loop $more
            ;; The key: the number of the call, and that of the key.
            (i32.store8 (i32.const 1024) (global.get $calls))
            (i32.store8 (i32.const 1025) (local.get $at))
            (i32.store (i32.const 4096) (global.get $calls))
            (call $set (i32.const 1024) (i32.const 2) (i32.const 4096) (i32.const {bytes}))
            {more}
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 256))))))"#
    )
}

/// Runs up to this many blocks of so many cranks. Returns the state hash.
fn go_on(controller: &mut Host, blocks: usize, cranks: u64) -> String {
    let policy = BlockPolicy { cranks, ..BlockPolicy::default() };
    for _ in 0..blocks {
        if !controller.is_quiescent().unwrap() {
            controller.run_block(&policy, &mut |_| true).unwrap();
        }
    }
    controller.report().unwrap().state_hash
}

const ALL: usize = usize::MAX;

/// A state made of a scenario, run for this many blocks of ten cranks.
fn make(scenario: &str, dir: &Path, blocks: usize) -> String {
    let mut controller = open(dir);
    controller.install(&Scenario::read(&vats(scenario)).unwrap()).unwrap();
    // `ALL` blocks end when nothing is left.
    let mut hash = go_on(&mut controller, blocks.min(3), 10);
    while blocks == ALL && !controller.is_quiescent().unwrap() {
        hash = go_on(&mut controller, 3, 10);
    }
    hash
}

fn finish(dir: &Path) -> String {
    let mut controller = open(dir);
    let mut hash = go_on(&mut controller, 1, 10);
    while !controller.is_quiescent().unwrap() {
        hash = go_on(&mut controller, 3, 10);
    }
    hash
}

pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{} {}", self.out, self.err))
    }
}

pub(crate) fn vathost(args: &[&str], paths: &[&Path]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vathost"));
    command.env("XDG_CACHE_HOME", code_cache().parent().unwrap()).args(&args[..1]).args(paths).args(&args[1..]);
    let output = command.output().unwrap();
    let text = |it: Vec<u8>| String::from_utf8(it).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Copies the file of a state that no host has open.
fn copy_of(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    fs::copy(dir.join("state.sqlite"), copy.path().join("state.sqlite")).unwrap();
    copy
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

fn sqlite(dir: &Path) -> Connection {
    Connection::open(dir.join("state.sqlite")).unwrap()
}

/// What `verify` says, with the first finding.
fn findings(dir: &Path) -> Option<String> {
    let database = match Database::open_read_only(dir) {
        Ok(database) => database,
        Err(err) => return Some(format!("file: {err}")),
    };
    verify::verify(&database).unwrap().first_finding().map(|(check, text)| format!("{check}: {text}"))
}
