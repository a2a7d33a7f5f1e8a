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
    HostOptions,
    slog::{Detail, Event, Recorder, Slog},
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
fn a_host_that_records_waits_so_that_each_commit_stands_before_the_next_block() {
    let (dir, gate, events) = (TempDir::new().unwrap(), Gate::default(), Events::default());
    let slog = Slog::new(Detail::Cranks, events.clone());
    let mut host = game(&HostOptions { slog, ..gate.options(dir.path()) });
    while !host.is_quiescent().unwrap() {
        run(&mut host, 4, u64::MAX, &mut |_| true).1.unwrap();
    }
    assert_eq!(gate.asked(), 0);
    let events = events.0.lock().unwrap();
    let blocks: Vec<&str> =
        events.iter().map(String::as_str).filter(|it| ["begin-block", "commit-finish"].contains(it)).collect();
    assert!(blocks.len() > 20 && blocks.ends_with(&["begin-block", "commit-finish"]));
    assert!(blocks.rchunks(2).take(5).all(|it| it == ["begin-block", "commit-finish"]), "{blocks:?}");
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
