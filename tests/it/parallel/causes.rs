//! Each cause for which a speculation is taken back, and those for which it is not.

use std::num::NonZeroUsize;

use vathost::{
    BlockPolicy, Host, HostOptions, Scenario, StaticVat, VatId,
    state::table::{OnFault, Options},
    vat::Speculations,
};

use super::{Log, Seen, Way, same};

/// Vats `a`, `b`, `c` and `d` of `mule.wat`, up and running: each has worked once.
pub(super) fn mules(way: &Way, options: &Options, threads: usize) -> (Host, Log) {
    let wasm = wat::parse_str(include_str!("mule.wat")).unwrap();
    let mule = |name: &str| StaticVat {
        name: name.to_owned(),
        wasm: wasm.clone(),
        options: options.clone(),
        parameters: "#{}".to_owned(),
    };
    let log = Log::default();
    let mut host = way.open(threads, &log);
    let vats = ["a", "b", "c", "d"].map(mule).into();
    host.install(&Scenario { vats, engine: way.engine, ..Scenario::default() }).unwrap();
    run(&mut host);
    // The others leave again, if there is room for fewer.
    say(&mut host, "dw cw aw bw");
    run(&mut host);
    (host, log)
}

/// Sends messages: each word names a vat, and the letter of its method.
pub(super) fn say(host: &mut Host, words: &str) {
    for word in words.split_whitespace() {
        let (vat, method) = word.split_at(1);
        host.send(vat, method, []).unwrap();
    }
}

pub(super) fn run(host: &mut Host) {
    while !host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap().quiescent {}
}

pub(super) fn forgiving() -> Options {
    Options { on_fault: OnFault::Reject, ..Options::default() }
}

/// What became of the speculations that `act` led to, on two threads and on four.
#[track_caller]
pub(super) fn became(what: &str, way: &Way, options: &Options, act: impl Fn(&mut Host)) -> Speculations {
    let [two, four] = same(what, |threads| {
        let (mut host, log) = mules(way, options, threads);
        let before = Speculations::of(&host);
        act(&mut host);
        // Whatever happened, the heaps are as they should be: the count in them is answered.
        let after = Speculations::of(&host);
        for vat in ["a", "b", "c", "d"] {
            // One of them may have ended.
            let _ = host.send(vat, "r", []);
        }
        run(&mut host);
        let hash = host.standing().state_hash.clone();
        let report = serde_json::to_string(&host.report().unwrap()).unwrap();
        let events = std::mem::take(&mut *log.0.lock().unwrap());
        let of = |now: u64, then: u64| now - then;
        let speculations = Speculations {
            made: of(after.made, before.made),
            used: of(after.used, before.used),
            taken_back: of(after.taken_back, before.taken_back),
        };
        (Seen { hashes: vec![hash], report, events }, speculations)
    });
    assert_eq!(two, four, "{what}: what is chosen depends on the fuel alone");
    two
}

pub(super) fn counted(made: u64, used: u64, taken_back: u64) -> Speculations {
    Speculations { made, used, taken_back }
}

pub(super) fn next_crank(host: &Host) -> u64 {
    host.block().unwrap().tables().globals().next_crank.0
}

#[test]
fn deliveries_that_come_as_forecast_are_used() {
    let used = became("work", &Way::default(), &forgiving(), |host| {
        say(host, "aw bk cw dk");
        run(host);
    });
    assert_eq!(used, counted(4, 4, 0));
}

#[test]
fn a_vat_runs_ahead_by_one_delivery_a_round() {
    let used = became("rounds", &Way::default(), &forgiving(), |host| {
        say(host, "aw aw bw ak bw bk");
        run(host);
    });
    // While the speculation of `b` waits, the second message to `a` is delivered in its turn; the last round would be one vat.
    assert_eq!(used, counted(4, 4, 0));
}

#[test]
fn a_trap_ends_a_speculation_and_the_heap_is_as_before() {
    for on_fault in [OnFault::Reject, OnFault::Pause, OnFault::Terminate] {
        let options = Options { on_fault, ..Options::default() };
        let taken = became("trap", &Way::default(), &options, |host| {
            say(host, "at bw cw");
            run(host);
        });
        assert_eq!(taken, counted(3, 2, 1), "{on_fault:?}");
    }
}

#[test]
fn memory_that_grew_in_a_delivery_that_came_to_nothing_is_gone() {
    let taken = became("grow", &Way::default(), &forgiving(), |host| {
        say(host, "ag bw");
        host.order(&format!("crank-{}: skip", next_crank(host))).unwrap();
        run(host);
        say(host, "ak bk");
        run(host);
    });
    assert_eq!(taken.taken_back, 1, "{taken:?}");
}

#[test]
fn a_syscall_that_only_the_kernel_can_refuse_ends_the_delivery_where_it_was_made() {
    let used = became("bad send", &Way::default(), &forgiving(), |host| {
        say(host, "ab bw");
        run(host);
    });
    assert_eq!(used, counted(2, 2, 0), "it was applied up to there");
}

#[test]
fn another_delivery_than_was_forecast_takes_a_speculation_back() {
    let taken = became("skip", &Way::default(), &forgiving(), |host| {
        say(host, "aw bw ak");
        host.order(&format!("crank-{}: skip", next_crank(host))).unwrap();
        run(host);
    });
    assert_eq!(taken, counted(2, 1, 1));
}

#[test]
fn a_vat_that_is_paused_keeps_its_speculation_until_it_is_resumed() {
    let used = became("pause", &Way::default(), &forgiving(), |host| {
        say(host, "aw bw");
        let crank = next_crank(host);
        host.order(&format!("crank-{crank}: pause v1")).unwrap();
        run(host);
        host.order(&format!("crank-{}: resume v1", next_crank(host))).unwrap();
        say(host, "cw");
        run(host);
    });
    assert_eq!(used, counted(2, 2, 0));
}

#[test]
fn a_vat_that_ends_takes_its_speculation_with_it() {
    let taken = became("terminate", &Way::default(), &forgiving(), |host| {
        say(host, "aw bw");
        host.order(&format!("crank-{}: terminate v2", next_crank(host))).unwrap();
        run(host);
    });
    assert_eq!(taken, counted(2, 1, 1));
}

#[test]
fn a_vat_that_is_evicted_loses_its_speculation() {
    for snapshot_interval in [0, 1, 100] {
        let way = Way { max_live: Some(2), snapshot_interval: Some(snapshot_interval), ..Way::default() };
        let taken = became("evict", &way, &forgiving(), |host| {
            say(host, "cw bw aw");
            run(host);
        });
        assert_eq!(taken, counted(2, 1, 1), "every {snapshot_interval}");
    }
}

#[test]
fn whoever_looks_at_a_heap_sees_it_between_two_deliveries() {
    for shadowed in [false, true] {
        let taken = became("look", &Way::default(), &forgiving(), |host| {
            if shadowed {
                // A fault, so that a shadow is kept from now on.
                say(host, "bt");
                run(host);
                say(host, "bw");
                run(host);
            }
            say(host, "aw bw");
            host.run_block(&BlockPolicy::default(), &mut |_| false).unwrap();
            let image = host.heap(VatId(2)).unwrap();
            let again = host.heap(VatId(2)).unwrap();
            assert_eq!(image.heap, again.heap);
            host.evict_all();
            assert_eq!(host.heap(VatId(2)).unwrap().heap, image.heap, "as a replay makes it");
            run(host);
        });
        assert_eq!(taken, counted(2, 1, 1), "{shadowed}");
    }
}

#[test]
fn an_interrupted_block_keeps_its_speculations() {
    let used = became("interrupt", &Way::default(), &forgiving(), |host| {
        say(host, "aw bw cw dw");
        for _ in 0..3 {
            assert!(!host.run_block(&BlockPolicy::default(), &mut |_| false).unwrap().closed);
        }
        run(host);
    });
    assert_eq!(used, counted(4, 4, 0));
}

#[test]
fn an_upgrade_takes_a_speculation_back() {
    let taken = became("upgrade", &Way::default(), &forgiving(), |host| {
        let wasm = wat::parse_str(include_str!("mule.wat")).unwrap();
        let bundle = host.put_bundle(&wasm).unwrap();
        say(host, "aw bw");
        host.order(&format!("crank-{}: upgrade v2 bundle {bundle}", next_crank(host))).unwrap();
        run(host);
    });
    assert_eq!(taken, counted(2, 1, 1));
}

#[test]
fn a_vat_whose_speculations_are_taken_back_runs_in_its_turn_for_a_while() {
    let taken = became("distrust", &Way::default(), &forgiving(), |host| {
        for _ in 0..6 {
            say(host, "at bw cw");
            run(host);
        }
    });
    assert_eq!(taken, counted(13, 12, 1));
}

/// Two vats that do this so many times with each message, and are told to five times: the least fuel of such a delivery, and how many of them
/// were made ahead of their turn, by the choice that a host makes.
fn made_ahead(body: &str, times: u32) -> (u64, u64) {
    let wasm = wat::parse_str(format!(
        "(module (import \"vat1\" \"vatstore_get\" (func $get (param i32 i32) (result i32)))
           (memory (export \"memory\") 1) (data (i32.const 0) \"key\")
           (func (export \"vat_deliver\") (param i32) (local $i i32) (local.set $i (i32.const {times}))
             (loop $again {body} (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))"
    ))
    .unwrap();
    let vat = |name: &str| StaticVat {
        name: name.to_owned(),
        wasm: wasm.clone(),
        options: Options::default(),
        parameters: "#{}".to_owned(),
    };
    let mut host = Host::open(HostOptions { threads: NonZeroUsize::new(2), ..HostOptions::default() }).unwrap();
    host.install(&Scenario { vats: ["a", "b"].map(vat).into(), ..Scenario::default() }).unwrap();
    run(&mut host);
    let mut least = u64::MAX;
    for _ in 0..5 {
        say(&mut host, "aw bw");
        let end = host.run_block(&BlockPolicy::default(), &mut |ran| {
            least = least.min(ran.fuel);
            true
        });
        assert!(end.unwrap().quiescent);
    }
    (least, Speculations::of(&host).made)
}

#[test]
fn guests_run_ahead_for_what_they_do_themselves_and_not_for_their_syscalls() {
    let (fuel, made) = made_ahead("", 100_000);
    assert!(fuel > 200_000 && made > 4, "{fuel} {made}");
    let (fuel, made) = made_ahead("(drop (call $get (i32.const 0) (i32.const 3)))", 400);
    assert!(fuel > 200_000 && made == 0, "{fuel} {made}");
}
