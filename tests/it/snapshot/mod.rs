//! Snapshots and evictions: nobody can tell.

mod incarnation;
mod interrupted;
pub(crate) mod lab;
mod rollback;
mod store;

use std::collections::BTreeMap;

use vathost::{host::controller::Host, model::id::VatId, state::snapshot::GlobalValue};

use lab::{How, Lab, Log, Outcome, step};

const SCENARIOS: [&str; 6] = ["bank", "gc", "counter", "globals", "initialize", "pingpong"];
const DEFAULT: How = How { max_live: None, memory_max: None, interval: None, compare_pages: false };
const NEVER: How = How { interval: Some(0), ..DEFAULT };

/// A vat of every kind of state: globals of all types, a segment that it overwrites with zeros, memory that grows.
const ZOO: &str = r#"(module
  (memory (export "memory") 2 40)
  (data (i32.const 4096) "gone after the first delivery")
  (global $i32 (mut i32) (i32.const 1))
  (global $constant i64 (i64.const 7))
  (global $i64 (export "mine") (mut i64) (i64.const 2))
  (global $f32 (mut f32) (f32.const 3))
  (global $f64 (mut f64) (f64.const 4))
  (global $v128 (mut v128) (v128.const i64x2 5 6))
  (func (export "vat_deliver") (param i32)
    (global.set $i32 (i32.add (global.get $i32) (i32.const 1)))
    (global.set $i64 (i64.add (global.get $i64) (global.get $constant)))
    (global.set $f32 (f32.reinterpret_i32 (i32.add (i32.const 0x7fa00000) (global.get $i32))))
    (global.set $f64 (f64.reinterpret_i64 (i64.add (i64.const 0x7ff4000000000000) (global.get $i64))))
    (global.set $v128 (i64x2.splat (global.get $i64)))
    (memory.fill (i32.const 4096) (i32.const 0) (i32.const 64))
    (drop (memory.grow (i32.const 1)))
    (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (global.get $i32))))"#;

/// Vats `a`, `b`, … of this guest, with these options, and a message to each of `sends`.
fn zoo(lab: &Lab, vats: &str, sends: &str, options: &str) {
    let tables = vats.chars().map(|it| format!("[vats.{it}]\nbundle = \"guest.wat\"\noptions = {{ {options} }}\n"));
    let sends = sends.chars().map(|it| format!("[[send]]\nto = \"{it}\"\nmethod = \"go\"\n"));
    lab.write("zoo", &tables.chain(sends).collect::<String>(), ZOO);
}

#[test]
fn evicting_every_vat_after_every_delivery_changes_no_hash() {
    let lab = Lab::new();
    for name in SCENARIOS {
        let (expected, log) = lab.run(name, NEVER);
        assert!(expected.len() > 1 && log.of("start-replay").is_empty() && log.of("heap-snapshot-save").is_empty());
        for max_live in [0, 1] {
            for interval in [Some(0), Some(1), Some(7), None] {
                let how = How { max_live: Some(max_live), interval, ..DEFAULT };
                let (outcome, log) = lab.run(name, how);
                assert_eq!(outcome, expected, "{name} {how:?}");
                // One vat of one is never too many.
                let evicts = max_live == 0 || !["globals", "initialize"].contains(&name);
                assert_eq!(!log.of("start-replay").is_empty(), evicts, "{name} {how:?}");
            }
        }
    }
}

#[test]
fn the_interval_changes_no_hash() {
    let lab = Lab::new();
    for name in SCENARIOS {
        let (expected, _) = lab.run(name, NEVER);
        for interval in [1, 7] {
            let (outcome, log) = lab.run(name, How { interval: Some(interval), ..DEFAULT });
            assert_eq!(outcome, expected, "{name} every {interval}");
            let saved = log.of("heap-snapshot-save");
            assert!(saved.iter().all(|(_, position)| position % interval == 0), "{name}: {saved:?}");
            assert!(!saved.is_empty() || interval > 1 && name != "pingpong", "{name}: {saved:?}");
        }
    }
}

#[test]
fn a_restart_at_every_block_changes_no_hash() {
    for (name, interval) in SCENARIOS.iter().flat_map(|it| [(it, 0), (it, 1), (it, 7)]) {
        let lab = Lab::new();
        let (expected, _) = lab.run(name, NEVER);
        let (outcome, log) = lab.run_with_restarts(name, How { interval: Some(interval), ..DEFAULT });
        assert_eq!(outcome, expected, "{name} every {interval}");
        let loads = log.of("heap-snapshot-load");
        assert!(interval > 0 || loads.is_empty(), "{name} never");
        assert!(interval != 1 && (interval, *name) != (7, "pingpong") || !loads.is_empty(), "{name} every {interval}");
    }
}

/// Runs block by block, and compares each vat's heap as it is with the one that comes of its snapshot and transcript.
fn compare_heaps(lab: &Lab, name: &str, interval: u64) -> (Host, Log) {
    let log = Log::default();
    // A tracker trusts that a heap was restored as it was said to be; this must not.
    let how = How { interval: Some(interval), compare_pages: true, ..DEFAULT };
    let mut controller = lab.open(how, Some(lab.state()), &log);
    let scenario = lab.scenario(name);
    controller.install(&scenario).unwrap();
    while step(&mut controller, &mut Outcome::new()).unwrap() {
        for vat in (1..).map(VatId).take(scenario.vats.len()) {
            if !controller.block().unwrap().tables().is_alive(vat) {
                assert!(controller.heap(vat).is_err(), "a dead vat has no heap");
                continue;
            }
            let live = controller.heap(vat).unwrap();
            assert!(!live.fresh.is_empty() || live.heap.pages.iter().all(Option::is_none));
            controller.evict_all();
            assert!(live == controller.heap(vat).unwrap(), "{name}: another heap in {vat}");
        }
    }
    (controller, log)
}

#[test]
fn a_snapshot_and_what_came_after_it_make_the_live_heap() {
    for (name, interval) in [("pingpong", 7), ("bank", 3), ("zoo", 3)] {
        let lab = Lab::new();
        zoo(&lab, "ab", "abaabababbabaabb", "");
        let (_, log) = compare_heaps(&lab, name, interval);
        assert!(!log.of("heap-snapshot-load").is_empty());
        assert!(log.of("start-replay").iter().any(|(_, deliveries)| *deliveries > 0), "nothing came after it");
    }
}

#[test]
fn state_in_globals_survives() {
    let lab = Lab::new();
    let (mut controller, log) = compare_heaps(&lab, "globals", 1);
    assert_eq!(controller.report().unwrap().results[3].body.as_deref(), Some("#4"));
    controller.evict_all();
    assert_eq!(controller.heap(VatId(1)).unwrap().heap.globals, [GlobalValue::I64(4)]);
    assert_eq!(log.of("heap-snapshot-load").last().unwrap(), &("v1".to_owned(), 5));

    zoo(&lab, "a", "aaa", "");
    let (outcome, _) = lab.run("zoo", NEVER);
    assert_eq!(lab.run("zoo", How { max_live: Some(0), interval: Some(1), ..DEFAULT }).0, outcome);
}

#[test]
fn a_vats_options_say_how_often() {
    let saved = |options| {
        let lab = Lab::new();
        zoo(&lab, "a", "aaaaaa", options);
        let (_, log) = lab.run("zoo", How::default());
        log.of("heap-snapshot-save").into_iter().map(|(_, position)| position).collect::<Vec<_>>()
    };
    assert_eq!(saved("snapshot_interval = 3"), [3, 6]);
    assert_eq!(saved("snapshot_interval = 1"), [1, 2, 3, 4, 5, 6, 7]);
    assert!(saved("snapshot_interval = 0").is_empty());
    assert!(saved("").is_empty());
}

#[test]
fn an_eviction_adds_snapshots_but_moves_none() {
    let lab = Lab::new();
    let saved = |how| {
        let (_, log) = lab.run("pingpong", how);
        log.of("heap-snapshot-save").into_iter().filter(|(vat, _)| vat == "v1").map(|(_, at)| at).collect::<Vec<_>>()
    };
    let undisturbed = saved(How { interval: Some(25), ..DEFAULT });
    let evicted = saved(How { max_live: Some(0), interval: Some(25), ..DEFAULT });
    assert_eq!(undisturbed[..3], [25, 50, 75]);
    // The memory that a vat begins with is paid for in its first delivery: that is worth a snapshot.
    assert_eq!(evicted[..7], [1, 12, 23, 25, 36, 47, 50]);
    assert!(saved(How { max_live: Some(0), interval: Some(0), ..DEFAULT }).is_empty(), "switched off");
}

#[test]
fn the_least_recently_delivered_to_is_evicted() {
    let lab = Lab::new();
    zoo(&lab, "abc", "babcb", "");
    let (_, log) = lab.run("zoo", How { max_live: Some(2), interval: None, ..DEFAULT });
    // The starts leave b and c. b is used each time before it would be the oldest.
    assert_eq!(log.of("start-replay"), [("v1".to_owned(), 1), ("v3".to_owned(), 1)]);
}

#[test]
fn vats_are_evicted_by_their_memory() {
    let lab = Lab::new();
    // Each takes some hundred kilobytes, and grows: at first there is room for several, in the end for one.
    zoo(&lab, "abcd", "abcdabcdabcdabcdabcdabcdabcd", "");
    let (expected, log) = lab.run("zoo", NEVER);
    assert!(log.of("start-replay").is_empty());
    let mut evicted = Vec::new();
    for memory_max in [1 << 30, 2 << 20, 1 << 20, 500 << 10, 0] {
        let how = How { memory_max: Some(memory_max), ..NEVER };
        let (outcome, log) = lab.run("zoo", how);
        assert_eq!(outcome, expected, "{memory_max}");
        evicted.push(log.of("start-replay").len());
    }
    assert!(evicted.is_sorted() && evicted[0] == 0 && evicted[1] > 0 && evicted[4] > 20, "{evicted:?}");
}

#[test]
fn how_changed_pages_are_found_changes_no_snapshot() {
    for (name, interval) in [("pingpong", 1), ("pingpong", 7), ("bank", 2), ("zoo", 1), ("zoo", 3)] {
        let snapshots = |max_live, compare_pages| {
            let lab = Lab::new();
            zoo(&lab, "ab", "abaabababbabaabb", "");
            let log = Log::default();
            let how = How { max_live, interval: Some(interval), compare_pages, ..DEFAULT };
            let mut controller = lab.open(how, Some(lab.state()), &log);
            controller.install(&lab.scenario(name)).unwrap();
            while step(&mut controller, &mut Outcome::new()).unwrap() {}
            let taken = log.of("heap-snapshot-save").into_iter().zip(log.hashes("heap-snapshot-save"));
            taken.collect::<BTreeMap<_, _>>()
        };
        // When they are worth their work depends on how it is found what that is; what is in them does not.
        let expected = snapshots(None, true);
        // Each instance of those that are evicted begins with the pages of a snapshot.
        for max_live in [None, Some(0)] {
            let mut found = snapshots(max_live, false);
            found.retain(|at, _| expected.contains_key(at));
            assert!(found.len() > 2, "{name} every {interval}: only {} to compare", found.len());
            let same = found.iter().all(|(at, hash)| expected.get(at) == Some(hash));
            assert!(same, "{name} every {interval}, {max_live:?}: {found:?}, but {expected:?}");
        }
    }
}
