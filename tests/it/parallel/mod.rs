//! Guests in parallel: on any number of threads a life comes to the same hashes, recordings and rows as on one.

mod causes;
mod guess;
mod lives;
mod overlap;

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
};

use serde_json::Value;
use tempfile::TempDir;
use vathost::{
    Audit, Host, HostOptions,
    slog::{Detail, Event, Recorder, Slog},
    vat::Speculations,
};

/// Compiled code, which all lives share.
static CODE: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

/// All events of a life, as JSON.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Value>>>);

impl Recorder for Log {
    fn record(&mut self, event: &Event<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(event).unwrap());
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All that can be seen of a life.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    hashes: Vec<String>,
    report: String,
    events: Vec<Value>,
}

/// What a life is given besides the number of threads.
#[derive(Clone, Debug, Default)]
struct Way {
    state: Option<PathBuf>,
    max_live: Option<usize>,
    snapshot_interval: Option<u64>,
    compare_pages: bool,
    /// The engine version that the state begins with.
    engine: Option<u32>,
}

impl Way {
    /// Opens a host that runs every guest ahead of its turn that it can.
    fn open(&self, threads: usize, log: &Log) -> Host {
        self.open_with(threads, log.clone())
    }

    /// Opens such a host, which records here.
    fn open_with(&self, threads: usize, recorder: impl Recorder + 'static) -> Host {
        let slog = Slog::new(Detail::Syscalls, recorder);
        crate::snapshot::lab::patiently(|| {
            Host::open(HostOptions {
                state: self.state.clone(),
                code_cache: Some(CODE.path().to_owned()),
                slog: slog.clone(),
                audit: Audit::Never,
                max_live: self.max_live,
                snapshot_interval: self.snapshot_interval,
                compare_pages: self.compare_pages,
                threads: NonZeroUsize::new(threads),
                ahead_fuel_min: Some(0),
                ..HostOptions::default()
            })
        })
    }
}

/// Leads a life on one thread, and on others, and checks that nobody can tell which. Returns what became of the speculations of both.
#[track_caller]
fn same(what: &str, life: impl Fn(usize) -> (Seen, Speculations)) -> [Speculations; 2] {
    let (alone, none) = life(1);
    assert_eq!(none, Speculations::default(), "{what}: on one thread each guest runs in its turn");
    [2, 4].map(|threads| {
        let (seen, speculations) = life(threads);
        assert_eq!(seen.hashes, alone.hashes, "{what}, {threads} threads: {speculations:?}");
        assert_eq!(seen.report, alone.report, "{what}, {threads} threads");
        for (at, (seen, alone)) in seen.events.iter().zip(&alone.events).enumerate() {
            assert_eq!(seen, alone, "{what}, {threads} threads, event {at}: {speculations:?}");
        }
        assert_eq!(seen.events.len(), alone.events.len(), "{what}, {threads} threads");
        assert!(speculations.used + speculations.taken_back <= speculations.made, "{speculations:?}");
        speculations
    })
}

fn sum(all: &[Speculations]) -> Speculations {
    all.iter().fold(Speculations::default(), |sum, it| Speculations {
        made: sum.made + it.made,
        used: sum.used + it.used,
        taken_back: sum.taken_back + it.taken_back,
    })
}
