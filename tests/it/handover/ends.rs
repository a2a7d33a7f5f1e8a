//! What is told of a block whose commit was handed over, and when; and what becomes of it and the next one where something ends.

use std::{
    cell::{Cell, RefCell},
    io,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use vathost::{
    Host, HostOptions,
    slog::{Detail, Event, Reader, Recorder, Slog, SlogFormat, Writer},
    state::retention::Keep,
    store::Database,
};

use super::{Gate, game, in_turn, open, options, policy, run};

/// The state hash that another process finds.
fn durable(dir: &TempDir) -> String {
    Database::open_read_only(dir.path()).unwrap().meta().unwrap().unwrap().state_hash.to_string()
}

/// Goes on to the end of the game, in turn; the hashes of what was left.
fn rest(dir: &TempDir, cranks: u64) -> Vec<String> {
    let mut host = open(&options(dir.path()));
    let mut hashes = vec![host.standing().state_hash.clone()];
    while !host.is_quiescent().unwrap() {
        hashes.push(host.run_block(&policy(cranks), &mut |_| true).unwrap().state_hash.to_string());
    }
    hashes
}

#[test]
fn nothing_of_a_block_is_told_before_it_is_durable_though_the_next_one_runs() {
    let (dir, gate, hashes) = (TempDir::new().unwrap(), Gate::default(), in_turn(4));
    let mut host = game(&gate.options(dir.path()));
    let before = host.standing().state_hash.clone();
    gate.close();
    let (told, cranks) = (RefCell::new(Vec::new()), Cell::new(0));
    let each = &mut |_: &_| {
        cranks.set(cranks.get() + 1);
        if cranks.get() == 6 {
            // The second block runs, and the first is being written.
            gate.await_sync();
            assert!(told.borrow().is_empty());
            assert_eq!(durable(&dir), before);
            gate.open();
        }
        true
    };
    host.run_blocks(&policy(4), 3, each, &mut |end| {
        assert_eq!(durable(&dir), end.state_hash.to_string(), "it is told when it is durable");
        told.borrow_mut().push(end.state_hash.to_string());
        true
    })
    .unwrap();
    assert_eq!((told.into_inner(), cranks.get()), (hashes[..3].to_vec(), 12));
    assert_eq!(host.standing().state_hash, hashes[2]);
}

#[test]
fn a_block_that_is_durable_is_told_while_the_next_one_still_runs() {
    let (dir, gate, hashes) = (TempDir::new().unwrap(), Gate::default(), in_turn(18));
    let mut host = game(&gate.options(dir.path()));
    let (told, mut cranks, mut told_at) = (Cell::new(0), 0, None);
    let each = &mut |_: &_| {
        cranks += 1;
        while cranks == 19 && durable(&dir) != hashes[0] {
            thread::yield_now();
        }
        // It is told some microseconds later: at one of the cranks that follow.
        if cranks > 19 && told.get() == 0 {
            thread::sleep(Duration::from_millis(10));
        }
        if told.get() > 0 {
            told_at.get_or_insert(cranks);
        }
        true
    };
    host.run_blocks(&policy(18), 2, each, &mut |_| {
        told.set(told.get() + 1);
        true
    })
    .unwrap();
    assert!(told_at.is_some_and(|it| it < 36), "told at crank {told_at:?}");
}

#[test]
fn no_more_blocks_run_than_were_asked_for_and_none_after_a_no() {
    let (dir, gate, hashes) = (TempDir::new().unwrap(), Gate::default(), in_turn(4));
    let mut host = game(&gate.options(dir.path()));
    let (told, ran) = run(&mut host, 4, 3, &mut |_| true);
    ran.unwrap();
    assert_eq!(told.iter().map(|it| it.state_hash.to_string()).collect::<Vec<_>>(), hashes[..3]);
    assert_eq!(gate.asked(), 2, "the last one is waited for anyway");
    let mut told = 0;
    host.run_blocks(&policy(4), u64::MAX, &mut |_| true, &mut |_| {
        told += 1;
        false
    })
    .unwrap();
    // The second one was running when it was said.
    assert_eq!((told, host.standing().state_hash.as_str()), (2, hashes[4].as_str()));
}

#[test]
fn a_commit_that_fails_halts_the_host_with_its_fault_whatever_the_next_block_comes_to() {
    let hashes = in_turn(4);
    for halts in [false, true] {
        let (dir, gate) = (TempDir::new().unwrap(), Gate::default());
        let mut host = game(&gate.options(dir.path()));
        let before = host.standing().state_hash.clone();
        let next = host.block().unwrap().tables().globals().next_crank.0;
        if halts {
            host.order(&format!("crank-{}: halt", next + 7)).unwrap();
        }
        gate.fail();
        gate.close();
        let mut last = 0;
        let (told, ran) = run(&mut host, 4, 5, &mut |crank| {
            last = crank;
            if crank == 7 {
                gate.await_sync();
                gate.open();
            }
            true
        });
        let halt = ran.unwrap_err().to_string();
        assert!(
            halt.contains("commit a block (the state `") && halt.ends_with("sync: Input/output error (os error 5)"),
            "{halt}"
        );
        assert!(told.is_empty() && last <= 8, "{last} cranks, and {} blocks were told of", told.len());
        assert_eq!(host.standing().state_hash, before);
        assert!(host.run_blocks(&policy(4), 1, &mut |_| true, &mut |_| true).is_err(), "it is over");
        drop(host);
        let rest = rest(&dir, 4);
        let at = if rest[0] == before { 0 } else { 1 };
        assert_eq!(rest[1 - at..], hashes[..], "it goes on from before the commit, or from after it");
    }
}

#[test]
fn a_block_is_durable_and_told_of_though_the_next_one_halts() {
    let (dir, gate, hashes) = (TempDir::new().unwrap(), Gate::default(), in_turn(4));
    let mut host = game(&gate.options(dir.path()));
    let next = host.block().unwrap().tables().globals().next_crank.0;
    host.order(&format!("crank-{}: halt", next + 6)).unwrap();
    gate.close();
    let (told, ran) = run(&mut host, 4, 5, &mut |crank| {
        if crank == 6 {
            gate.await_sync();
            gate.open();
        }
        true
    });
    assert_eq!(ran.unwrap_err().to_string(), format!("halted before crank-{0} by `crank-{0}: halt`", next + 6));
    assert_eq!(told.iter().map(|it| it.state_hash.to_string()).collect::<Vec<_>>(), hashes[..1]);
    assert_eq!(host.standing().state_hash, hashes[0]);
    drop(host);
    assert_eq!(rest(&dir, 4), hashes);
}

#[test]
fn a_block_that_is_interrupted_while_the_one_before_is_written_goes_on_to_the_same_hash() {
    let (dir, gate, hashes) = (TempDir::new().unwrap(), Gate::default(), in_turn(4));
    let mut host = game(&gate.options(dir.path()));
    gate.close();
    let (told, ran) = run(&mut host, 4, 5, &mut |crank| {
        if crank == 6 {
            gate.await_sync();
            gate.open();
        }
        crank != 6
    });
    ran.unwrap();
    assert_eq!(told.iter().map(|it| (it.closed, it.cranks)).collect::<Vec<_>>(), [(true, 4), (false, 2)]);
    assert_eq!(told[0].state_hash.to_string(), hashes[0]);
    let (told, ran) = run(&mut host, 4, u64::MAX, &mut |_| true);
    ran.unwrap();
    assert_eq!(told.iter().map(|it| it.state_hash.to_string()).collect::<Vec<_>>(), hashes[1..]);
}

/// The events of a recording, by their names.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Recorder for Events {
    fn record(&mut self, event: &Event<'_>) {
        let event = serde_json::to_value(event).unwrap();
        self.0.lock().unwrap().push(event["type"].as_str().unwrap().to_owned());
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_block_is_recorded_as_committed_when_it_is_durable() {
    let (dir, gate, events) = (TempDir::new().unwrap(), Gate::default(), Events::default());
    let slog = Slog::new(Detail::Cranks, events.clone());
    let mut host = game(&HostOptions { slog, ..gate.options(dir.path()) });
    let count = |name: &str| events.0.lock().unwrap().iter().filter(|it| *it == name).count();
    let before = count("commit-finish");
    gate.close();
    run(&mut host, 4, 5, &mut |crank| {
        if crank == 6 {
            gate.await_sync();
            assert_eq!((count("commit-finish"), count("end-block-finish")), (before, before + 1));
            gate.open();
        }
        true
    })
    .1
    .unwrap();
    assert_eq!((count("commit-finish"), count("end-block-finish")), (before + 5, before + 5));
    // One that fails is never recorded as committed.
    gate.fail();
    run(&mut host, 4, 5, &mut |_| true).1.unwrap_err();
    assert_eq!(count("commit-finish"), before + 5);
}

/// The lines of a recording of the game, without what the clock says.
fn recorded(options: &HostOptions, format: SlogFormat, run: &dyn Fn(&mut Host)) -> Vec<serde_json::Value> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.slog");
    let slog = Slog::new(Detail::Syscalls, Writer::append_as(&path, format).unwrap());
    let mut host = game(&HostOptions { slog, ..options.clone() });
    while !host.is_quiescent().unwrap() {
        run(&mut host);
    }
    drop(host);
    let mut before = 0.0;
    let records = Reader::open(&path).unwrap().map(|it| it.unwrap().value);
    let timeless = records.map(|mut it| {
        let time = it["monotime"].as_f64().unwrap();
        assert!(time >= before && (it["type"] != "commit-finish" || it["seconds"].is_number()), "{it}");
        before = time;
        for clock in ["time", "monotime", "seconds"] {
            it.as_object_mut().unwrap().remove(clock);
        }
        it
    });
    timeless.collect()
}

#[test]
fn a_recording_has_the_same_lines_whoever_writes_the_commits() {
    for format in [SlogFormat::Json, SlogFormat::Binary] {
        let (dirs, gate) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], Gate::default());
        let in_turn = recorded(&options(dirs[0].path()), format, &|host| {
            host.run_block(&policy(4), &mut |_| true).unwrap();
        });
        let handed_over = recorded(&gate.options(dirs[1].path()), format, &|host| {
            run(host, 4, u64::MAX, &mut |_| true).1.unwrap();
        });
        assert!(gate.asked() > 20 && in_turn.len() > 500, "{} commits, {} lines", gate.asked(), in_turn.len());
        let differs = in_turn.iter().zip(&handed_over).find(|(a, b)| a != b);
        assert_eq!((differs, in_turn.len()), (None, handed_over.len()));
    }
}

#[test]
fn a_commit_that_took_longer_than_to_the_next_block_has_a_track_of_its_own_in_a_trace() {
    let (dir, gate) = (TempDir::new().unwrap(), Gate::default());
    let path = dir.path().join("a.slog");
    let slog = Slog::new(Detail::Cranks, Writer::append(&path).unwrap());
    let mut host = game(&HostOptions { slog, ..gate.options(&dir.path().join("state")) });
    gate.close();
    run(&mut host, 4, 2, &mut |crank| {
        if crank == 6 {
            gate.await_sync();
            thread::sleep(Duration::from_millis(20));
            gate.open();
        }
        true
    })
    .1
    .unwrap();
    drop(host);
    let vathost = std::process::Command::new(env!("CARGO_BIN_EXE_vathost"));
    let output = { vathost }.args(["slog", "export", "--format", "chrome-trace"]).arg(&path).output().unwrap();
    let trace: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let slices = trace["traceEvents"].as_array().unwrap().iter().filter(|it| it["ph"] == "X");
    let commits: Vec<_> = slices.filter(|it| it["name"] == "commit").collect();
    let apart: Vec<_> = commits.iter().filter(|it| it["tid"] != 0).collect();
    assert_eq!((apart.len(), commits[0]["tid"] == 0), (1, true), "{commits:?}");
    assert!(apart[0]["dur"].as_f64().unwrap() > 19e3, "{commits:?}");
}

#[test]
fn blocks_wait_where_they_are_small_or_what_their_commit_needs_is_in_use() {
    let asked = |change: fn(HostOptions) -> HostOptions| {
        let (dir, gate) = (TempDir::new().unwrap(), Gate::default());
        let mut host = game(&change(gate.options(dir.path())));
        while !host.is_quiescent().unwrap() {
            run(&mut host, 4, u64::MAX, &mut |_| true).1.unwrap();
        }
        gate.asked()
    };
    let all = asked(|it| it);
    assert!(all > 20, "{all}");
    assert!(asked(|it| HostOptions { handed_over_min: Some(4), ..it }) > 5);
    assert_eq!(asked(|it| HostOptions { handed_over_min: Some(5), ..it }), 0);
    assert_eq!(asked(|it| HostOptions { handed_over_min: None, ..it }), 0);
    // What may leave does so with every eighth block, which waits.
    let needed = asked(|it| HostOptions { keep: Keep::Needed, ..it });
    assert!(all * 3 / 4 < needed && needed < all, "{needed} of {all}");
}

#[test]
fn what_is_not_needed_leaves_a_host_that_hands_its_commits_over() {
    let (dir, gate) = (TempDir::new().unwrap(), Gate::default());
    let options = HostOptions { keep: Keep::Needed, snapshot_interval: Some(2), ..gate.options(dir.path()) };
    let mut host = game(&options);
    while !host.is_quiescent().unwrap() {
        run(&mut host, 4, u64::MAX, &mut |_| true).1.unwrap();
        let database = Database::open_read_only(dir.path()).unwrap();
        let heads = database.heads().unwrap();
        for vat in heads.vats() {
            let kept = heads.next(vat).0 - database.begins_at(vat).unwrap().0;
            assert!(kept <= 30, "{kept} deliveries of {vat} are kept");
        }
    }
    let database = Database::open_read_only(dir.path()).unwrap();
    let heads = database.heads().unwrap();
    assert!(heads.vats().into_iter().all(|it| heads.next(it).0 > 90));
}
