//! C-lists and objects of which there are too many to read them when a state is opened: each is read when somebody speaks of it, and
//! none of that is in a result.

use vathost::{Audit, state::table::Tables};

use super::{many::*, *};

/// Sends 4,096 new objects of its own to the first vat that it was told of, each time it is called; one of them is old. At last it exits.
const EXPORTER: &str = r##"(module
    (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
    (import "vat1" "send" (func $send (param i64 i32 i32 i32 i32 i64)))
    (import "vat1" "exit" (func $exit (param i32 i32 i32 i32 i32)))
    (memory (export "memory") 4)
    (data (i32.const 0xf000) "#[\22take\22,[]]")
    (data (i32.const 0xf100) "#\22done\22")
    (global $to (mut i64) (i64.const 0))
    (global $next (mut i64) (i64.const 1))
    (func (export "vat_deliver") (param $len i32)
        (local $at i32)
        (call $input_read (i32.const 0) (i32.const 0) (local.get $len))
        (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return)))
        ;; The message that tells of others: the slot that is not its own.
        (if (i32.ne (i32.load (i32.const 28)) (i32.const 0)) (then
            (local.set $at (i32.const 32))
            (loop $look
                (global.set $to (i64.load (local.get $at)))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if $look (i64.ne (i64.shr_u (global.get $to) (i64.const 61)) (i64.const 0))))
            (return)))
        (if (i32.eq (i32.load8_u (i32.const 35)) (i32.const 120)) (then
            (call $exit (i32.const 0) (i32.const 0xf100) (i32.const 7) (i32.const 0) (i32.const 0))))
        (local.set $at (i32.const 0x10000))
        (loop $more
            (i64.store (local.get $at) (i64.or (i64.shl (i64.const 1) (i64.const 61)) (global.get $next)))
            (global.set $next (i64.add (global.get $next) (i64.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 0x18000))))
        ;; The seventh of all.
        (i64.store (i32.const 0x10000) (i64.or (i64.shl (i64.const 1) (i64.const 61)) (i64.const 7)))
        (call $send (global.get $to) (i32.const 0xf000) (i32.const 13) (i32.const 0x10000) (i32.const 4096) (i64.const 0))))"##;

/// Lets go of the last sixteen that it was given, and of sixteen of those that it was given four messages ago.
const HOLDER: &str = r##"(module
    (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
    (import "vat1" "drop_imports" (func $drop (param i32 i32)))
    (import "vat1" "retire_imports" (func $retire (param i32 i32)))
    (memory (export "memory") 4)
    (global $calls (mut i64) (i64.const 0))
    (func (export "vat_deliver") (param $len i32)
        (local $at i32)
        (local $n i64)
        (call $input_read (i32.const 0) (i32.const 0) (local.get $len))
        (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return)))
        (call $drop (i32.const 0x7fa0) (i32.const 16))
        (call $retire (i32.const 0x7fa0) (i32.const 16))
        (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
        (if (i64.lt_u (global.get $calls) (i64.const 5)) (then (return)))
        (local.set $n (i64.mul (i64.sub (global.get $calls) (i64.const 5)) (i64.const 4095)))
        (local.set $at (i32.const 0x10000))
        (loop $more
            (i64.store (local.get $at) (i64.add (local.get $n) (i64.const 500)))
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 0x10080))))
        (call $drop (i32.const 0x10000) (i32.const 16))
        (call $retire (i32.const 0x10000) (i32.const 16))))"##;

fn scenario() -> TempDir {
    exchange("exporter", EXPORTER, HOLDER)
}

/// A state in which both vats speak of some 12,000 objects.
fn many_objects(scenario: &Path) -> TempDir {
    begun(scenario, HostOptions::default().audit, |host, _| host.block().unwrap().tables().objects.len() >= 12_000)
}

fn in_memory(tables: &Tables) -> Vec<bool> {
    vec![tables.clist.is_whole(), tables.objects.is_whole()]
}

#[test]
fn a_state_of_many_references_is_opened_without_reading_them_and_goes_on_to_the_same_hash() {
    let scenario = scenario();
    let dir = many_objects(scenario.path());
    let block = opened_unread(dir.path(), in_memory);
    let counts = (block.tables().objects.len(), block.tables().clist.len());
    assert!(counts.0 >= 12_000 && counts.1 > 20_000, "{counts:?}");
    drop(block);
    lives_alike(dir.path(), HostOptions::default().audit, in_memory, findings);
}

#[test]
fn a_host_that_audits_has_all_references_in_memory() {
    let scenario = scenario();
    let dir = many_objects(scenario.path());
    let mut host = Host::open(HostOptions { audit: Audit::EACH, memory_max: Some(0), ..options(dir.path()) }).unwrap();
    go_on(&mut host, 2, 2);
    assert_eq!(in_memory(host.block().unwrap().tables()), [true, true]);
    // What no crank touches.
    drop(host);
    sqlite(dir.path())
        .execute("UPDATE object SET checksum = checksum + 1 WHERE key = (SELECT max(key) FROM object)", [])
        .unwrap();
    assert!(Host::open(HostOptions { audit: Audit::EACH, ..options(dir.path()) }).is_err());
    assert!(Host::open(options(dir.path())).is_ok());
}

#[test]
fn verbs_see_references_that_are_in_the_file() {
    let scenario = scenario();
    let dir = many_objects(scenario.path());
    let state = dir.path().to_str().unwrap();
    let counts = vathost(&["inspect", state, "--json"], &[]).json()["counts"].clone();
    let objects = usize::try_from(counts["objects"].as_u64().unwrap()).unwrap();
    let entries = usize::try_from(counts["clist"].as_u64().unwrap()).unwrap();
    assert!(objects >= 12_000 && entries > 20_000, "{counts}");
    let listed = vathost(&["inspect", state, "objects"], &[]);
    assert_eq!(listed.out.lines().count(), objects + 1, "{}", listed.err);
    let of = |vat: &str| vathost(&["inspect", state, "clist", vat], &[]).out.lines().count() - 1;
    assert_eq!(of("exporter") + of("holder"), entries);
    assert_eq!(findings(dir.path()), None);
}

#[test]
fn a_reference_that_was_damaged_is_a_fault_of_the_host_and_names_its_row() {
    let scenario = scenario();
    let dir = many_objects(scenario.path());
    // The holder's name for what it lets go of in its fifth message, and the object behind it.
    let entry = "(SELECT key FROM clist WHERE hex(key) = '0000000000000002' || '00000000000001F4')";
    let object = "(SELECT key FROM object LIMIT 1 OFFSET 700)";
    for sql in [
        format!("UPDATE clist SET value = x'030000FA0101' WHERE key = {entry}"),
        format!("UPDATE object SET checksum = checksum + 1 WHERE key >= {object}"),
    ] {
        let copy = copy_of(dir.path());
        assert!(sqlite(copy.path()).execute(&sql, []).unwrap() > 0, "{sql}");
        let halt = halts(copy.path());
        assert!(halt.contains("table `clist`, key") || halt.contains("table `object`, key"), "{halt}");
    }
    // One that is gone is a matter of the digest.
    let copy = copy_of(dir.path());
    sqlite(copy.path()).execute(&format!("DELETE FROM object WHERE key = {object}"), []).unwrap();
    assert!(findings(copy.path()).is_some());
}
