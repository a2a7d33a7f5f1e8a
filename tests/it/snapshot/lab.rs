//! Runs scenarios, and tells what happened.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use vathost::{
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    kernel::Halt,
    model::blame::HostFault,
    slog::{Detail, Event, Recorder, Slog},
    state::{snapshot::Manifest, table::Tables},
    store::Database,
};

/// The events of a run, as JSON.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Value>>>);

impl Recorder for Log {
    fn record(&mut self, event: &Event<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(event).unwrap());
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn slog(&self) -> Slog {
        Slog::new(Detail::Cranks, self.clone())
    }

    /// The vats and positions of these events, in order.
    pub(crate) fn of(&self, kind: &str) -> Vec<(String, u64)> {
        let events = self.0.lock().unwrap();
        let found = events.iter().filter(|it| it["type"] == kind);
        found
            .map(|it| {
                let number = it["snapPos"].as_u64().or(it["deliveries"].as_u64()).unwrap();
                (it["vatID"].as_str().unwrap().to_owned(), number)
            })
            .collect()
    }
}

impl Log {
    /// The hashes in these events, in order.
    pub(crate) fn hashes(&self, kind: &str) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let found = events.iter().filter(|it| it["type"] == kind);
        found.map(|it| it["hash"].as_str().unwrap().to_owned()).collect()
    }
}

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    pub(crate) max_live: Option<usize>,
    pub(crate) memory_max: Option<u64>,
    pub(crate) interval: Option<u64>,
    pub(crate) compare_pages: bool,
}

/// A folder for a state, for compiled code, and for scenarios made up.
pub(crate) struct Lab(pub(crate) TempDir);

/// What a run comes to: the hash after each block; the digest and the results at the end.
pub(crate) type Outcome = Vec<String>;

pub(crate) const BLOCKS: BlockPolicy = BlockPolicy { cranks: 2, fuel: None, wall_millis: None, block_time: 5 };

impl Lab {
    pub(crate) fn new() -> Lab {
        Lab(tempfile::tempdir().unwrap())
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(crate) fn database(&self) -> Connection {
        Connection::open(self.state().join("state.sqlite")).unwrap()
    }

    /// Replaces a snapshot in the database, as a host would.
    pub(crate) fn put(&self, manifest: &Manifest) {
        let mut database = patiently(|| Database::open(&self.state(), &Tables::layout()));
        let mut meta = database.meta().unwrap().unwrap();
        let transaction = database.transaction().unwrap();
        let old = transaction.snapshot(manifest.vat).unwrap().map(|(it, _)| it);
        let (place, bytes) = ((manifest.vat, manifest.position), manifest.encode().unwrap());
        transaction.put_snapshot(place, &bytes, old.as_ref(), &mut meta.proof.snapshots).unwrap();
        transaction.put_meta(&meta).unwrap();
        transaction.commit().unwrap();
    }

    /// The whole number that a query finds.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.database().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// One of `vats/`, or one that was made up here.
    pub(crate) fn scenario(&self, name: &str) -> Scenario {
        let own = self.0.path().join(name);
        let path = if own.exists() { own } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("vats").join(name) };
        Scenario::read(&path).unwrap()
    }

    /// Makes a scenario up.
    pub(crate) fn write(&self, name: &str, toml: &str, wat: &str) {
        let dir = self.0.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("vat.toml"), toml).unwrap();
        fs::write(dir.join("guest.wat"), wat).unwrap();
    }

    pub(crate) fn open(&self, how: How, state: Option<PathBuf>, log: &Log) -> Host {
        let code_cache = Some(self.0.path().join("code"));
        let How { max_live, memory_max, interval: snapshot_interval, compare_pages } = how;
        patiently(|| {
            let (slog, code_cache, state) = (log.slog(), code_cache.clone(), state.clone());
            Host::open(HostOptions {
                state,
                slog,
                code_cache,
                max_live,
                memory_max,
                snapshot_interval,
                compare_pages,
                ..HostOptions::default()
            })
        })
    }

    /// Runs a scenario in memory to its end.
    pub(crate) fn run(&self, name: &str, how: How) -> (Outcome, Log) {
        let log = Log::default();
        let mut controller = self.open(how, None, &log);
        controller.install(&self.scenario(name)).unwrap();
        let mut outcome = Outcome::new();
        while step(&mut controller, &mut outcome).unwrap() {
            assert!(controller.live() <= how.max_live.unwrap_or(usize::MAX));
        }
        (finish(&controller, outcome), log)
    }

    /// Runs a scenario to its end, with a new process (as it were) for each block.
    pub(crate) fn run_with_restarts(&self, name: &str, how: How) -> (Outcome, Log) {
        let log = Log::default();
        let mut controller = self.open(how, Some(self.state()), &log);
        controller.install(&self.scenario(name)).unwrap();
        let mut outcome = Outcome::new();
        while step(&mut controller, &mut outcome).unwrap() {
            drop(controller);
            controller = self.open(how, Some(self.state()), &log);
        }
        (finish(&controller, outcome), log)
    }

    /// Runs this many blocks of a scenario, and leaves the state on disk.
    pub(crate) fn begin(&self, name: &str, how: How, blocks: usize) {
        let mut controller = self.open(how, Some(self.state()), &Log::default());
        controller.install(&self.scenario(name)).unwrap();
        for _ in 0..blocks {
            assert!(step(&mut controller, &mut Outcome::new()).unwrap(), "it is over too soon");
        }
    }

    /// Goes on with the state on disk, to the end.
    pub(crate) fn go_on(&self, how: How) -> (Result<Outcome, Box<Halt>>, Log) {
        let log = Log::default();
        let mut controller = self.open(how, Some(self.state()), &log);
        let mut outcome = Outcome::new();
        loop {
            match step(&mut controller, &mut outcome) {
                Ok(true) => (),
                Ok(false) => return (Ok(finish(&controller, outcome)), log),
                Err(halt) => return (Err(halt), log),
            }
        }
    }
}

/// Opens what was just closed. Another test may be starting a process meanwhile, which holds all files, and so the lock of a
/// state, until it is another program.
pub(crate) fn patiently<T>(open: impl Fn() -> Result<T, HostFault>) -> T {
    for _ in 0..1_000_000 {
        match open() {
            Err(fault) if fault.why == "another process has it open" => std::thread::yield_now(),
            result => return result.unwrap(),
        }
    }
    panic!("the state is never closed");
}

/// Runs a block; whether there are more.
pub(crate) fn step(controller: &mut Host, outcome: &mut Outcome) -> Result<bool, Box<Halt>> {
    let end = controller.run_block(&BLOCKS, &mut |_| true)?;
    outcome.push(end.state_hash.to_string());
    Ok(!end.quiescent)
}

fn finish(controller: &Host, mut outcome: Outcome) -> Outcome {
    outcome.push(serde_json::to_string(&controller.report().unwrap()).unwrap());
    outcome
}
