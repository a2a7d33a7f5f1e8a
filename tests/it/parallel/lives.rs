//! Whole lives: each scenario there is, and random ones.

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;
use vathost::{
    BlockPolicy, Host, Scenario, StaticVat, host::controller::Arg, state::table::Options, vat::Speculations,
};

use super::{Log, Seen, Way, same, sum};
use crate::dice::Dice;

const VATS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vats");

/// What happens to the host between two blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    Nothing,
    Restart,
    Evict,
}

fn add(sum_: &mut Speculations, host: &Host) {
    *sum_ = sum(&[*sum_, Speculations::of(host)]);
}

/// Runs a scenario in blocks of this many cranks, at most so many blocks.
fn live(scenario: &Scenario, way: &Way, between: Between, cranks: u64, threads: usize) -> (Seen, Speculations) {
    let folder = TempDir::new().unwrap();
    let way = Way { state: (between == Between::Restart).then(|| folder.path().join("state")), ..way.clone() };
    let (log, mut speculations, mut seen) = (Log::default(), Speculations::default(), Seen::default());
    let mut host = way.open(threads, &log);
    host.install(scenario).unwrap();
    for _ in 0..(400 / cranks).max(1) {
        let policy = BlockPolicy { cranks, block_time: 5, ..BlockPolicy::default() };
        let end = host.run_block(&policy, &mut |_| true).unwrap();
        seen.hashes.push(end.state_hash.to_string());
        match between {
            Between::Nothing => (),
            Between::Evict => host.evict_all(),
            Between::Restart => {
                add(&mut speculations, &host);
                drop(host);
                host = way.open(threads, &log);
            }
        }
        if end.quiescent {
            break;
        }
    }
    add(&mut speculations, &host);
    seen.report = serde_json::to_string(&host.report().unwrap()).unwrap();
    seen.events = std::mem::take(&mut log.0.lock().unwrap());
    (seen, speculations)
}

#[test]
fn every_scenario_lives_alike_on_any_number_of_threads() {
    let ways = [
        (Way::default(), Between::Nothing, 200),
        (Way { snapshot_interval: Some(3), max_live: Some(2), ..Way::default() }, Between::Nothing, 7),
        (Way { snapshot_interval: Some(2), compare_pages: true, ..Way::default() }, Between::Restart, 20),
        (Way { snapshot_interval: Some(0), ..Way::default() }, Between::Evict, 40),
    ];
    let mut all = Vec::new();
    let mut folders: Vec<_> = fs::read_dir(VATS).unwrap().map(|it| it.unwrap().path()).collect();
    // What the hog does takes all fuel, and would take a minute here.
    folders.retain(|it| it.join("vat.toml").exists() && !it.ends_with("hog"));
    folders.sort();
    assert!(folders.len() > 12);
    for folder in &folders {
        let scenario = Scenario::read(folder).unwrap();
        for (way, between, cranks) in &ways {
            let what = format!("{} {way:?} {between:?}", folder.display());
            all.extend(same(&what, |threads| live(&scenario, way, *between, *cranks, threads)));
        }
    }
    let all = sum(&all);
    assert!(all.used > 300 && all.taken_back > 100, "{all:?}");
}

fn jugglers() -> Scenario {
    let wasm = fs::read(Path::new(VATS).join("juggler.wasm")).unwrap();
    let juggler = |name: &str| StaticVat {
        name: name.to_owned(),
        wasm: wasm.clone(),
        options: Options::default(),
        parameters: "#{}".to_owned(),
    };
    Scenario {
        vats: vec![juggler("juggler")],
        bootstrap: Some("juggler".to_owned()),
        bundles: [("juggler".to_owned(), wasm.clone())].into(),
        ..Scenario::default()
    }
}

/// One thing that the juggler is to do with its balls: vats that it creates, upgrades, pauses and ends, that hold each other, and that
/// fault.
fn command(dice: &mut Dice) -> (&'static str, Vec<Arg>) {
    let ball = dice.below(8);
    let (method, args) = match dice.below(24) {
        0..=5 => {
            let on_fault = dice.one_of(&["terminate", "pause", "reject"]).unwrap();
            ("create", vec![json!({ "name": "ball", "onFault": on_fault, "reapInterval": 3 })])
        }
        6..=11 => {
            let others: Vec<u64> = (0..dice.below(4)).map(|_| dice.below(8)).collect();
            ("toss", vec![json!(ball), json!(others)])
        }
        12..=13 => ("clear", vec![json!(ball)]),
        14..=15 => ("trip", vec![json!(ball)]),
        16 => ("upgrade", vec![json!(ball), json!(dice.below(4) > 0)]),
        17 => ("pause", vec![json!(ball)]),
        18..=19 => ("resume", vec![json!(ball)]),
        20..=21 => ("terminate", vec![json!(0)]),
        _ => ("dropBall", vec![json!(ball)]),
    };
    (method, args.into_iter().map(Arg::from).collect())
}

/// Lets a juggler do random things, block by block; some blocks are interrupted.
fn juggle(seed: u64, way: &Way, threads: usize) -> (Seen, Speculations) {
    let (log, mut dice, mut seen) = (Log::default(), Dice(seed), Seen::default());
    let mut host = way.open(threads, &log);
    host.install(&jugglers()).unwrap();
    for _ in 0..25 {
        for _ in 0..=dice.below(12) {
            let (method, args) = command(&mut dice);
            let sent = host.send("juggler", method, args).unwrap();
            if dice.below(2) == 0 {
                host.forget(sent).unwrap();
            }
        }
        let (mut left, policy) = (dice.below(30), BlockPolicy { cranks: 1 + dice.below(60), ..BlockPolicy::default() });
        let end = host.run_block(&policy, &mut |_| {
            left = left.wrapping_sub(1);
            left != 0
        });
        seen.hashes.push(end.unwrap().state_hash.to_string());
    }
    seen.report = serde_json::to_string(&host.report().unwrap()).unwrap();
    seen.events = std::mem::take(&mut log.0.lock().unwrap());
    (seen, Speculations::of(&host))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_are_alike_on_any_number_of_threads(seed: u64, max_live in 0_usize..6, interval in 0_u64..5) {
        let max_live = Some(max_live).filter(|it| *it > 0);
        let way = Way { max_live, snapshot_interval: Some(interval), ..Way::default() };
        same(&format!("{seed} {way:?}"), |threads| juggle(seed, &way, threads));
    }
}

#[test]
fn some_random_lives_use_speculations_and_take_some_back() {
    let all: Vec<_> =
        (0..6).flat_map(|seed| same("juggler", |threads| juggle(seed, &Way::default(), threads))).collect();
    let all = sum(&all);
    assert!(all.used > 100 && all.taken_back > 20, "{all:?}");
}
