//! Directives as the host obeys them, and what comes of a kernel panic: the binary is run on real states. How the kernel obeys
//! each kind is in `kernel::obey`.

mod host;
mod plants;
mod replicas;

use vathost::{
    directive::DirectiveSet,
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    model::id::BundleId,
};

use crate::cli::{Place, Ran, under_the_first_kernel};

const RUN: &str = "run first:pingpong --cranks-per-block 20 --json";

/// Runs the game on the state in `@state` with these directives.
fn run(place: &Place, lines: &str, more: &str) -> Ran {
    place.write("d", lines);
    place.vathost(&format!("{RUN} --state @state --directives @d {more}"))
}

/// The hash of the game without directives, after so many blocks.
fn hash_at(place: &Place, height: u64) -> String {
    match height {
        0 => panic!("block 0 has no run"),
        _ => place.vathost(&format!("{RUN} --blocks {height}")).ok().hash(),
    }
}

/// How many directives were obeyed.
fn obeyed(ran: &Ran) -> usize {
    let report = ran.json();
    report["directives"].as_array().unwrap().iter().filter(|it| it["crank"].is_u64()).count()
}

/// The state as it is on the disk: its height and hash.
fn committed(place: &Place, state: &str) -> (u64, String) {
    let overview = place.vathost(&format!("inspect --state {state} --json")).ok().json();
    (overview["height"].as_u64().unwrap(), overview["stateHash"].as_str().unwrap().to_owned())
}

#[test]
fn a_halt_stops_at_the_last_committed_block_and_is_never_run_past() {
    let place = Place::new();
    for _ in 0..3 {
        run(&place, "crank-50: halt", "").code(3).says("halted before crank-50 by `crank-50: halt`");
        assert_eq!(committed(&place, "@state"), (2, hash_at(&place, 2)));
    }
    let on = place.vathost(&format!("{RUN} --state @state")).ok();
    assert_eq!(on.hash(), place.vathost(RUN).ok().hash());
}

#[test]
fn a_halt_at_the_edge_of_a_block_keeps_the_block_before_whole() {
    for (crank, height) in [(39, 1), (40, 2), (41, 2), (59, 2), (60, 3)] {
        let place = Place::new();
        run(&place, &format!("crank-{crank}: halt"), "").code(3);
        assert_eq!(committed(&place, "@state"), (height, hash_at(&place, height)), "crank {crank}");
    }
    let place = Place::new();
    run(&place, "crank-0: halt", "").code(3);
    assert_eq!(committed(&place, "@state").0, 0, "the genesis is there");
    run(&place, "block-3: halt", "").code(3);
    assert_eq!(committed(&place, "@state"), (2, hash_at(&place, 2)));
}

#[test]
fn a_halt_that_is_never_reached_is_no_halt() {
    let place = Place::new();
    let straight = place.vathost(RUN).ok();
    let cranks = straight.json()["cranks"].as_u64().unwrap();
    assert_eq!(run(&place, &format!("crank-{}: halt", cranks + 1), "").ok().hash(), straight.hash());
    let last = Place::new();
    run(&last, &format!("crank-{}: halt", cranks - 1), "").code(3);
}

#[test]
fn a_guard_that_does_not_match_commits_nothing_of_its_block() {
    for line in [
        "crank-50: skip v99",
        "crank-50: skip expect 0123456789abcdef",
        "crank-50: terminate v99",
        "expect state 0123456789abcdef before crank-50",
        "v2/delivery-0: skip",
    ] {
        let place = Place::new();
        run(&place, line, "").code(3).says(line);
        let height = if line.starts_with("v2") { 0 } else { 2 };
        assert_eq!(committed(&place, "@state").0, height, "{line}");
        if height > 0 {
            assert_eq!(committed(&place, "@state").1, hash_at(&place, height), "{line}");
        }
    }
}

#[test]
fn the_hash_of_a_block_is_what_to_expect_before_the_next() {
    let place = Place::new();
    let (before, straight) = (hash_at(&place, 2), place.vathost(RUN).ok().hash());
    let lines = format!("expect state {before} before block-3\nexpect state {before} before crank-40");
    assert_eq!(run(&place, &lines, "").ok().hash(), straight);
    let wrong = Place::new();
    let told = run(&wrong, &format!("expect state {before} before block-4"), "").code(3);
    told.says(&format!("the state hash is {}", hash_at(&place, 3)));
    assert_eq!(committed(&wrong, "@state").0, 3);
}

#[test]
fn a_mistake_in_the_file_refuses_the_start_and_makes_no_state() {
    let place = Place::new();
    run(&place, "crank-50: hlat", "").code(2).says("hlat");
    assert!(!place.path("state").exists());
    place.vathost(&format!("{RUN} --state @state --directives @none")).code(2);
    assert!(!place.path("state").exists());
}

#[test]
fn every_line_is_classed_at_the_start() {
    let place = Place::new();
    run(&place, "crank-30: resume v1\ncrank-50: break", "--blocks 3").ok().says("crank-30: resume v1: pending");
    let lines = "crank-30: resume v1\ncrank-50: break\nblock-9: replace-kernel 1\ncrank-100: resume v2";
    run(&place, lines, "--blocks 1")
        .ok()
        .says("crank-30: resume v1: applied at crank-30")
        .says("crank-50: break: missed")
        .says("block-9: replace-kernel 1: expired")
        .says("crank-100: resume v2: pending")
        .says("directives digest ");
}

#[test]
fn a_missed_directive_refuses_the_start_unless_that_is_accepted() {
    let place = Place::new();
    run(&place, "", "--blocks 3").ok();
    let before = committed(&place, "@state");
    for line in ["crank-59: skip", "v2/delivery-3: pause", "block-3: replace-kernel 2", "crank-0: terminate v2"] {
        run(&place, line, "").code(2).says(line).says("--accept-missed-directives");
        assert_eq!(committed(&place, "@state"), before, "{line}");
    }
    run(&place, "crank-59: halt\nexpect state 01234567 before crank-1", "--blocks 1")
        .ok()
        .says("crank-59: halt: missed");
    let on = run(&place, "crank-59: skip", "--accept-missed-directives").ok();
    assert_eq!(on.hash(), place.vathost(RUN).ok().hash(), "it was not obeyed");
    let first_to_come = Place::new();
    run(&first_to_come, "", "--blocks 3").ok();
    run(&first_to_come, "crank-60: skip", "").ok().says("crank-60: skip: pending");
}

#[test]
fn what_was_obeyed_in_a_block_that_was_dropped_is_obeyed_again() {
    let straight = run(&Place::new(), "crank-25: skip", "").ok();
    assert_eq!(obeyed(&straight), 1);
    let place = Place::new();
    run(&place, "crank-25: skip\ncrank-30: halt", "").code(3);
    let on = run(&place, "crank-25: skip", "").ok().says("crank-25: skip: pending");
    assert_eq!(on.json(), straight.json());
    let again = run(&place, "crank-25: skip", "").ok().says("crank-25: skip: applied at crank-25");
    assert_eq!(again.json(), straight.json());
}

#[test]
fn a_restart_after_every_crank_obeys_each_line_once() {
    let lines = "crank-5: pause v2\ncrank-6: resume v2\nv2/delivery-10: skip\nblock-2: replace-kernel 2\ncrank-36: resume v1\ncrank-38: terminate v2";
    let straight = run(&Place::new(), lines, "").ok();
    assert_eq!(obeyed(&straight), 6);
    let place = Place::new();
    let scenario = Scenario::read(&under_the_first_kernel("pingpong")).unwrap();
    let mut starts = 0;
    let hash = loop {
        let mut controller =
            Host::open(HostOptions { state: Some(place.path("state")), ..HostOptions::default() }).unwrap();
        if controller.is_new() {
            controller.install(&scenario).unwrap();
        }
        let mut set = DirectiveSet::default();
        set.read("test", lines.as_bytes()).unwrap();
        controller.set_directives(set, false).unwrap();
        if controller.is_quiescent().unwrap() {
            break controller.block().unwrap().state_hash().expect("hashes").to_string();
        }
        controller.run_block(&BlockPolicy { cranks: 20, ..BlockPolicy::default() }, &mut |_| false).unwrap();
        starts += 1;
    };
    assert!(starts > 35, "{starts}");
    assert_eq!(hash, straight.hash());
}

#[test]
fn another_kernel_is_in_force_from_its_block_on_and_the_state_keeps_it() {
    let place = Place::new();
    let version = |ran: Ran| ran.json()["kernelVersion"].as_u64().unwrap();
    let line = "block-3: replace-kernel 2";
    assert_eq!(version(run(&place, line, "--blocks 2").ok()), 1);
    assert_eq!(committed(&place, "@state").1, hash_at(&place, 2));
    assert_eq!(version(run(&place, line, "--blocks 1").ok()), 2);
    assert_ne!(committed(&place, "@state").1, hash_at(&place, 3));
    let ended = run(&place, "block-3: replace-kernel 2\nblock-8: replace-kernel 2", "").ok();
    assert_eq!(version(ended.says("block-8: replace-kernel 2: expired")), 2);
}

#[test]
fn an_upgrade_names_its_bundle_by_the_beginning_of_its_hash() {
    let place = Place::new();
    let bundle = BundleId::of(&std::fs::read("vats/pong.wasm").unwrap()).to_string();
    let upgraded = run(&place, &format!("v2/delivery-10: upgrade v2 bundle {}", &bundle[..8]), "").ok();
    let pong = &upgraded.json()["vats"]["pong"];
    assert_eq!((&pong["incarnation"], &pong["status"]), (&1.into(), &"running".into()));
    let other = Place::new();
    run(&other, "v2/delivery-10: upgrade v2 bundle 0123456789abcdef", "").code(74).says("--bundle FILE.wasm");
    assert_eq!(committed(&other, "@state"), (1, hash_at(&place, 1)));
}

#[test]
fn vats_that_are_evicted_and_replayed_come_to_the_same_hash_past_what_was_skipped() {
    let lines = "v2/delivery-4: skip\nv1/delivery-50: skip";
    let straight = run(&Place::new(), lines, "").ok();
    let place = Place::new();
    let evicted = run(&place, lines, "--max-live 1").ok();
    assert_eq!((evicted.json(), obeyed(&evicted)), (straight.json(), 2));
    place.vathost("verify @state").ok();
    place.vathost("replay --state @state --vat v2").ok();
}

#[test]
fn a_thousand_lines_that_wait_change_no_hash() {
    let place = Place::new();
    let lines: String = (0..1_000).map(|n| format!("crank-{}: skip\n", 1_000_000 + n)).collect();
    assert_eq!(run(&place, &lines, "").ok().hash(), place.vathost(RUN).ok().hash());
}
