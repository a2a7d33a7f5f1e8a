//! A fault that its vat survives: the heap goes back to where it was, from memory where it can, and nobody can tell.

use std::fmt::Write as _;

use vathost::{model::id::VatId, state::snapshot::Image};

use super::{
    DEFAULT,
    lab::{How, Lab, Log, Outcome, step},
};

/// Counts its messages in a global and all over its memory; then does what the first letter of the method says.
const GUEST: &str = r#"(module
  (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
  (memory (export "memory") 2 100)
  (global $count (mut i64) (i64.const 0))
  (func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
  (func $work
    (global.set $count (i64.add (global.get $count) (i64.const 1)))
    (i64.store (i32.const 8192) (global.get $count))
    (i64.store (i32.and (i32.wrap_i64 (i64.mul (global.get $count) (i64.const 20480))) (i32.const 0x1ff00))
      (global.get $count)))
  (func $grow
    (drop (memory.grow (i32.const 1)))
    (i64.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)) (global.get $count)))
  (func $touch (param $at i32)
    (loop $pages
      (i64.store (local.get $at) (global.get $count))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $pages (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536))))))
  (func $spin (param $times i32)
    (loop $on (br_if $on (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
  (func (export "vat_deliver") (param $len i32) (local $letter i32)
    (call $input_read (i32.const 0) (i32.const 0)
      (select (local.get $len) (i32.const 64) (i32.lt_u (local.get $len) (i32.const 64))))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return)))
    (local.set $letter (i32.load8_u (i32.const 35)))
    (call $work)
    (if (i32.eq (local.get $letter) (i32.const 0x67)) (then (call $grow)))                     ;; g: grow
    (if (i32.eq (local.get $letter) (i32.const 0x47)) (then (call $grow) (unreachable)))       ;; G: grow, and trap
    (if (i32.eq (local.get $letter) (i32.const 0x74)) (then (call $touch (i32.const 0))))      ;; t: touch every page
    (if (i32.eq (local.get $letter) (i32.const 0x54)) (then (call $touch (i32.const 0)) (unreachable)))
    (if (i32.eq (local.get $letter) (i32.const 0x44)) (then (drop (call $deep (i32.const 0)))))  ;; D: too deep
    (if (i32.eq (local.get $letter) (i32.const 0x46)) (then (loop $ever (br $ever))))            ;; F: out of fuel
    (if (i32.eq (local.get $letter) (i32.const 0x73)) (then (call $spin (i32.const 10000000)))) ;; s: 60 million
    ))"#;

/// One vat of this guest, and a message for each letter: a capital is a fault.
fn sends(lab: &Lab, options: &str, letters: &str) {
    let mut toml = format!("[vats.a]\nbundle = \"guest.wat\"\noptions = {{ {options} }}\n");
    for letter in letters.chars() {
        write!(toml, "[[send]]\nto = \"a\"\nmethod = \"{letter}\"\n").unwrap();
    }
    lab.write("rollback", &toml, GUEST);
}

const REJECTS: &str = "on_fault = \"reject\", fuel_per_delivery = 1_000_000";
/// Faults of every kind between deliveries that go well, some in a row.
const MIXED: &str = "wwTwgTTwGwGGgwDwtDFwwTgGwwtTwFFwGDw";

#[test]
fn how_a_vat_comes_back_from_its_faults_changes_no_hash() {
    let lab = Lab::new();
    sends(&lab, REJECTS, MIXED);
    let never = How { interval: Some(0), ..DEFAULT };
    // Nothing is ever kept: each delivery begins with a replay of all that went well before.
    let (expected, _) = lab.run("rollback", How { max_live: Some(0), ..never });
    for interval in [Some(0), Some(1), Some(7), None] {
        for compare_pages in [false, true] {
            for max_live in [None, Some(0)] {
                let how = How { max_live, interval, compare_pages, ..DEFAULT };
                assert_eq!(lab.run("rollback", how).0, expected, "{how:?}");
            }
        }
    }
    assert_eq!(lab.run_with_restarts("rollback", never).0, expected);
}

#[test]
fn only_the_first_fault_costs_a_replay() {
    let lab = Lab::new();
    sends(&lab, REJECTS, MIXED);
    let (_, log) = lab.run("rollback", How { interval: Some(0), ..DEFAULT });
    // After the first fault, of all deliveries so far: the start, those that went well, the one that did not.
    let first = MIXED.find('T').unwrap() as u64;
    assert_eq!(log.of("start-replay"), [("v1".to_owned(), first + 2)]);
}

/// The heap after each block, as it is, and as replay makes it.
fn heaps(letters: &str, compare_pages: bool, evict: bool) -> Vec<Image> {
    let lab = Lab::new();
    sends(&lab, REJECTS, letters);
    let how = How { interval: Some(0), compare_pages, ..DEFAULT };
    let mut controller = lab.open(how, None, &Log::default());
    controller.install(&lab.scenario("rollback")).unwrap();
    let mut heaps = Vec::new();
    while step(&mut controller, &mut Outcome::new()).unwrap() {
        if evict {
            controller.evict_all();
        }
        heaps.push(controller.heap(VatId(1)).unwrap());
    }
    heaps
}

#[test]
fn nothing_is_left_of_a_delivery_that_faulted() {
    let expected = heaps(MIXED, true, true);
    assert!(expected.len() > 10 && expected.first() != expected.last());
    for compare_pages in [false, true] {
        let found = heaps(MIXED, compare_pages, false);
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found == expected, "another heap after block {}, comparing: {compare_pages}", at + 1);
        }
        assert_eq!(found.len(), expected.len());
    }
}

/// The positions of the snapshots that are taken.
fn saved(options: &str, letters: &str, how: How) -> Vec<u64> {
    let lab = Lab::new();
    sends(&lab, options, letters);
    let (_, log) = lab.run("rollback", how);
    log.of("heap-snapshot-save").into_iter().map(|(_, position)| position).collect()
}

#[test]
fn a_delivery_that_faulted_is_followed_by_a_snapshot_as_any_other() {
    assert_eq!(saved(&format!("{REJECTS}, snapshot_interval = 3"), "wwTTTTTT", DEFAULT), [3, 6, 9]);
}

#[test]
fn much_fuel_is_a_reason_for_a_snapshot_however_few_deliveries_used_it() {
    for options in ["", "snapshot_interval = 0"] {
        assert_eq!(saved(options, "sswss", DEFAULT), [3, 6], "{options}");
        assert!(saved(options, "sswss", How { interval: Some(0), ..DEFAULT }).is_empty(), "this host takes none");
    }
    // Less of it where the vat is evicted.
    assert_eq!(saved("", "wswsw", How { max_live: Some(0), ..DEFAULT }), [3, 5]);
}

#[test]
fn deliveries_that_write_more_than_they_pay_for_are_followed_by_no_snapshot() {
    let grown = "g".repeat(90);
    let every = "snapshot_interval = 1";
    let before = saved(every, &grown, DEFAULT);
    assert!(before.len() > 60, "{before:?}");
    // 1,472 pages each time: 6 million, which takes the fuel of 80 such deliveries.
    let touched = saved(every, &format!("{grown}{}", "t".repeat(40)), DEFAULT);
    assert!(touched.len() <= before.len() + 2, "{touched:?}");
    // What they earned meanwhile pays in the end.
    let paid = saved(every, &format!("{grown}{}ss", "t".repeat(40)), DEFAULT);
    assert!(paid.contains(&132), "{paid:?}");
}
