//! Commits that another thread writes while the next block runs: nobody can tell, but by the time that it takes.

mod ends;
mod lives;

use std::{
    path::Path,
    sync::{Arc, Condvar, LazyLock, Mutex},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use vathost::{
    Audit, BlockPolicy, Host, HostOptions, Scenario,
    host::controller::BlockEnd,
    kernel::Halt,
    lab::disk::{Asked, Disk, DiskVerdict, Errno, FileOp},
};

/// Compiled code, which all lives share.
static CODE: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

/// The longest that anybody waits at the gate: who waits longer waits for what will not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gate before the syncs of the thread that writes commits.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Syncs>, Condvar)>);

#[derive(Default)]
struct Syncs {
    /// Syncs that the thread has asked for.
    asked: u64,
    is_closed: bool,
    /// Whether one waits at the gate.
    waits: bool,
    fails: bool,
}

impl Gate {
    fn with<T>(&self, act: impl FnOnce(&mut Syncs) -> T) -> T {
        let done = act(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        done
    }

    /// From now on its syncs wait until the gate is opened.
    fn close(&self) {
        self.with(|it| it.is_closed = true);
    }

    fn open(&self) {
        self.with(|it| it.is_closed = false);
    }

    /// From now on its syncs fail.
    fn fail(&self) {
        self.with(|it| it.fails = true);
    }

    fn asked(&self) -> u64 {
        self.with(|it| it.asked)
    }

    /// Returns once a sync waits at the closed gate.
    fn await_sync(&self) {
        let (syncs, changed) = &*self.0;
        let (it, waited) = changed.wait_timeout_while(syncs.lock().unwrap(), PATIENCE, |it| !it.waits).unwrap();
        drop(it);
        assert!(!waited.timed_out(), "no commit was handed over");
    }

    fn pass(&self) -> DiskVerdict {
        let (syncs, changed) = &*self.0;
        self.with(|it| (it.asked, it.waits) = (it.asked + 1, true));
        let (mut it, waited) = changed.wait_timeout_while(syncs.lock().unwrap(), PATIENCE, |it| it.is_closed).unwrap();
        it.waits = false;
        // Nobody opens the gate: whoever is to do so may wait for this very commit.
        if it.fails || waited.timed_out() { DiskVerdict::Fail(Errno::Eio) } else { DiskVerdict::Go }
    }

    fn disk(&self) -> Disk {
        let gate = self.clone();
        Disk::new(move |asked: &Asked<'_>| {
            let is_handed_over = thread::current().name() == Some("commit");
            if asked.op == FileOp::Sync && is_handed_over { gate.pass() } else { DiskVerdict::Go }
        })
    }

    /// Options for a host whose commits are handed over, however small the blocks are.
    fn options(&self, dir: &Path) -> HostOptions {
        HostOptions { files: Some(Arc::new(self.disk())), handed_over_min: Some(0), ..options(dir) }
    }
}

fn options(dir: &Path) -> HostOptions {
    HostOptions {
        state: Some(dir.to_owned()),
        code_cache: Some(CODE.path().to_owned()),
        audit: Audit::Never,
        ..HostOptions::default()
    }
}

fn open(options: &HostOptions) -> Host {
    crate::snapshot::lab::patiently(|| Host::open(options.clone()))
}

fn policy(cranks: u64) -> BlockPolicy {
    BlockPolicy { cranks, block_time: 5, ..BlockPolicy::default() }
}

fn scenario(name: &str) -> Scenario {
    Scenario::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vats").join(name)).unwrap()
}

/// Opens the state of these options with a game of ping and pong in it.
fn game(options: &HostOptions) -> Host {
    let mut host = open(options);
    host.install(&scenario("pingpong")).unwrap();
    host
}

/// Runs blocks, at the most so many; the ends that were told, and how it came out.
fn run(
    host: &mut Host,
    cranks: u64,
    most: u64,
    each: &mut dyn FnMut(u64) -> bool,
) -> (Vec<BlockEnd>, Result<(), Box<Halt>>) {
    let (mut told, mut count) = (Vec::new(), 0);
    let each = &mut |_: &_| {
        count += 1;
        each(count)
    };
    let ran = host.run_blocks(&policy(cranks), most, each, &mut |end| {
        told.push(end);
        true
    });
    (told, ran)
}

/// The hashes of the blocks of the game, one after the other, each written before the next.
fn in_turn(cranks: u64) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let mut host = game(&options(dir.path()));
    let mut hashes = Vec::new();
    while !host.is_quiescent().unwrap() {
        hashes.push(host.run_block(&policy(cranks), &mut |_| true).unwrap().state_hash.to_string());
    }
    hashes
}
