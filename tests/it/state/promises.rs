//! Promises of which there are too many to read them when a state is opened, with what they were settled with and who waits for them: each
//! is read when somebody speaks of it, and none of that is in a result.

use std::{
    thread,
    time::{Duration, Instant},
};

use vathost::{Audit, host::scrub, state::table::Tables};

use super::{many::*, *};

/// Sends 4,096 new promises to the first vat that it was told of, each time it is called, and settles some of those that it sent two
/// calls ago. At last it exits.
const MAKER: &str = r##"(module
    (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
    (import "vat1" "send" (func $send (param i64 i32 i32 i32 i32 i64)))
    (import "vat1" "resolve" (func $resolve (param i32 i32)))
    (import "vat1" "exit" (func $exit (param i32 i32 i32 i32 i32)))
    (memory (export "memory") 4)
    (data (i32.const 0xf000) "#[\22take\22,[]]")
    (data (i32.const 0xf100) "#\22done\22")
    (global $to (mut i64) (i64.const 0))
    (global $next (mut i64) (i64.const 1))
    (global $calls (mut i32) (i32.const 0))
    (func $promise (param $number i64) (result i64)
        (i64.or (i64.shl (i64.const 3) (i64.const 61)) (local.get $number)))
    (func $settle (param $number i64) (param $rejected i32)
        (i64.store (i32.const 0xe000) (call $promise (local.get $number)))
        (i32.store (i32.const 0xe008) (local.get $rejected))
        (i32.store (i32.const 0xe00c) (i32.const 0xf100))
        (i32.store (i32.const 0xe010) (i32.const 7))
        (call $resolve (i32.const 0xe000) (i32.const 1)))
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
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (local.set $at (i32.const 0x10000))
        (loop $more
            (i64.store (local.get $at) (call $promise (global.get $next)))
            (global.set $next (i64.add (global.get $next) (i64.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 0x18000))))
        (call $send (global.get $to) (i32.const 0xf000) (i32.const 13) (i32.const 0x10000) (i32.const 4096) (i64.const 0))
        (if (i32.lt_u (global.get $calls) (i32.const 3)) (then (return)))
        ;; Of those of two calls ago the first 200, but for each eighth: rejected if its number is odd.
        (local.set $at (i32.const 0))
        (loop $more
            (if (i32.and (local.get $at) (i32.const 7)) (then
                (call $settle
                    (i64.add (i64.sub (global.get $next) (i64.const 12288)) (i64.extend_i32_u (local.get $at)))
                    (i32.and (local.get $at) (i32.const 1)))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 200))))))"##;

/// Subscribes to the first 32 of the promises that it is given, and sends messages to the 64 from the 64th on, and to old ones. It
/// subscribes late to the results of such messages.
const HOLDER: &str = r##"(module
    (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
    (import "vat1" "send" (func $send (param i64 i32 i32 i32 i32 i64)))
    (import "vat1" "subscribe" (func $subscribe (param i64)))
    (memory (export "memory") 4)
    (data (i32.const 0xf000) "#[\22take\22,[]]")
    (global $next (mut i64) (i64.const 1))
    (global $calls (mut i32) (i32.const 0))
    (func $slot (param $number i32) (result i64)
        (i64.load (i32.add (i32.const 32) (i32.mul (local.get $number) (i32.const 8)))))
    (func $result (param $number i64) (result i64)
        (i64.or (i64.shl (i64.const 3) (i64.const 61)) (local.get $number)))
    (func $ask (param $promise i64)
        (call $send (local.get $promise) (i32.const 0xf000) (i32.const 13) (i32.const 0) (i32.const 0)
            (call $result (global.get $next)))
        (global.set $next (i64.add (global.get $next) (i64.const 1))))
    (func (export "vat_deliver") (param $len i32)
        (local $at i32)
        (call $input_read (i32.const 0) (i32.const 0) (local.get $len))
        (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then (return)))
        (if (i32.lt_u (i32.load (i32.const 28)) (i32.const 4096)) (then (return)))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        ;; The number of its first result is noted for each call.
        (i64.store (i32.add (i32.const 0x20000) (i32.mul (global.get $calls) (i32.const 8))) (global.get $next))
        (local.set $at (i32.const 0))
        (loop $more
            (call $subscribe (call $slot (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 32))))
        (local.set $at (i32.const 64))
        (loop $more
            (call $ask (call $slot (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 128))))
        (if (i32.lt_u (global.get $calls) (i32.const 5)) (then (return)))
        ;; Of those of four calls ago: all are settled, but for each eighth.
        (local.set $at (i32.const 128))
        (loop $more
            (call $ask (i64.sub (call $slot (local.get $at)) (i64.const 16384)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 160))))
        (local.set $at (i32.const 0))
        (loop $more
            (call $subscribe (call $result (i64.add
                (i64.load (i32.add (i32.const 0x20000) (i32.mul (i32.sub (global.get $calls) (i32.const 4)) (i32.const 8))))
                (i64.extend_i32_u (local.get $at)))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 64))))))"##;

fn scenario() -> TempDir {
    exchange("maker", MAKER, HOLDER)
}

/// A state in which there are some 16,000 promises, most of them unresolved.
fn many_promises(scenario: &Path) -> TempDir {
    begun(scenario, Audit::Never, |host, dir| {
        host.block().unwrap().tables().promises.len() >= 16_000 && count(dir, "sharers") > 0
    })
}

fn count(dir: &Path, table: &str) -> i64 {
    sqlite(dir).query_row(&format!("SELECT count(*) FROM {table}"), [], |it| it.get(0)).unwrap()
}

fn in_memory(tables: &Tables) -> Vec<bool> {
    let Tables { promises, settlements, subscribers, sharers, .. } = tables;
    vec![promises.is_whole(), settlements.is_whole(), subscribers.is_whole(), sharers.is_whole()]
}

#[test]
fn a_state_of_many_promises_is_opened_without_reading_them_and_goes_on_to_the_same_hash() {
    let scenario = scenario();
    let dir = many_promises(scenario.path());
    let block = opened_unread(dir.path(), in_memory);
    let counts = (block.tables().promises.len(), block.tables().settlements.len(), block.tables().subscribers.len());
    assert!(counts.0 >= 16_000 && counts.1 > 200 && counts.2 > 30, "{counts:?}");
    drop(block);
    lives_alike(dir.path(), Audit::Never, in_memory, |dir| {
        assert_eq!(findings(dir), None);
        // The maker has ended, and what it had promised is rejected; the results of what waited there share that.
        assert_eq!(vathost(&["inspect", "--json"], &[dir]).json()["counts"]["promisesUnresolved"], 0);
        let shared = count(dir, "sharers");
        assert!(shared > 200, "{shared}");
        shared
    });
}

#[test]
fn a_host_that_audits_has_all_promises_in_memory() {
    let scenario = scenario();
    let dir = many_promises(scenario.path());
    let mut host = Host::open(HostOptions { audit: Audit::EACH, memory_max: Some(0), ..options(dir.path()) }).unwrap();
    go_on(&mut host, 2, 2);
    assert_eq!(in_memory(host.block().unwrap().tables()), [true; 4].to_vec());
}

#[test]
fn verbs_see_promises_that_are_in_the_file() {
    let scenario = scenario();
    let dir = many_promises(scenario.path());
    let state = dir.path().to_str().unwrap();
    let counts = vathost(&["inspect", state, "--json"], &[]).json()["counts"].clone();
    let listed = vathost(&["inspect", state, "promises", "--json", "--limit", "1000000"], &[]).json();
    let rows = listed.as_array().unwrap();
    let unresolved: Vec<_> = rows.iter().filter(|it| it["state"] == "unresolved").collect();
    assert_eq!((counts["promises"].clone(), rows.len() >= 16_000), (rows.len().into(), true), "{counts}");
    assert_eq!(counts["promisesUnresolved"], unresolved.len());
    let decided = unresolved.iter().filter(|it| it["decider"] == "v1").count();
    assert!(decided > 10_000, "{decided}");
    assert_eq!(vathost(&["inspect", state, "vat", "maker", "--json"], &[]).json()["decides"], decided);
    let subscribed = rows.iter().map(|it| it["subscribers"].as_array().unwrap().len()).sum::<usize>();
    assert_eq!(i64::try_from(subscribed).unwrap(), count(dir.path(), "subscriber"));
    assert_eq!(findings(dir.path()), None);
}

#[test]
fn a_promise_that_was_damaged_is_a_fault_of_the_host_and_names_its_row() {
    let scenario = scenario();
    let dir = many_promises(scenario.path());
    // The end of the maker asks for all of them; so does what holds the results that share a settlement.
    for table in ["promise", "settlement", "subscriber", "sharers"] {
        let copy = copy_of(dir.path());
        let sql = format!("UPDATE {table} SET checksum = checksum + 1");
        assert!(sqlite(copy.path()).execute(&sql, []).unwrap() > 0, "{sql}");
        let halt = halts(copy.path());
        assert!(halt.contains(&format!("table `{table}`, key")), "{halt}");
    }
}

#[test]
fn a_promise_that_is_missing_is_found_while_the_host_runs() {
    let scenario = scenario();
    let dir = many_promises(scenario.path());
    for table in ["promise", "settlement", "subscriber", "sharers"] {
        let copy = copy_of(dir.path());
        let sql = format!("DELETE FROM {table} WHERE key = (SELECT key FROM {table} LIMIT 1 OFFSET 20)");
        assert_eq!(sqlite(copy.path()).execute(&sql, []), Ok(1), "{table}");
        assert!(findings(copy.path()).is_some(), "{table}");
        let (mut host, patience) = (open(copy.path()), Instant::now() + Duration::from_secs(60));
        let halt = loop {
            let progress = scrub::progress(&host).expect("a scrub");
            let policy = BlockPolicy { cranks: 1, ..BlockPolicy::default() };
            if progress.rows == progress.of
                && let Err(halt) = host.run_block(&policy, &mut |_| true)
            {
                break halt.to_string();
            }
            assert!(Instant::now() < patience && !progress.is_done, "{table}: {progress:?}");
            thread::sleep(Duration::from_millis(20));
        };
        assert!(halt.contains(&format!("table `{table}`: its rows are not those")), "{halt}");
    }
}
