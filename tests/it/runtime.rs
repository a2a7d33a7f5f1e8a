//! Runtimes and engine versions: a state goes on under another runtime once that is proved, and under another version once
//! a directive says so.

use std::{collections::BTreeMap, path::Path};

use vathost::{
    Audit, BlockPolicy, Host, HostOptions, Scenario,
    host::{
        controller::prove_runtime,
        options::Prove,
        staged::{BlockHeader, StageError, StagedHost},
    },
    model::{blame::Fault, id::VatId},
    state::block::{Block, history},
    store::Database,
    vat::Runtime,
};

use crate::cli::Place;

const POLICY: BlockPolicy = BlockPolicy { cranks: 20, fuel: None, wall_millis: None, block_time: 5 };

/// A game under these versions, in a scenario file of its own.
fn game(place: &Place, versions: &str) -> std::path::PathBuf {
    let vats = concat!(env!("CARGO_MANIFEST_DIR"), "/vats");
    let text = std::fs::read_to_string(Path::new(vats).join("pingpong/vat.toml")).unwrap();
    let text = format!("kernel = 1\n{versions}\n{}", text.replace("\"../", &format!("\"{vats}/")));
    place.write("game/vat.toml", &text);
    place.path("game")
}

fn options(place: &Place) -> HostOptions {
    let code_cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("code"));
    HostOptions { state: Some(place.path("state")), code_cache, audit: Audit::Never, ..HostOptions::default() }
}

/// Runs a game for so many blocks as a host on this runtime, and returns the state hash.
fn run(place: &Place, versions: &str, blocks: usize, options: HostOptions) -> String {
    let mut host = Host::open(options).unwrap();
    if host.is_new() {
        host.install(&Scenario::read(&game(place, versions)).unwrap()).unwrap();
    }
    for _ in 0..blocks {
        host.run_block(&POLICY, &mut |_| true).unwrap();
    }
    host.block().unwrap().committed_hash().to_string()
}

/// A state that a runtime with this name ran for three blocks, and the hash after three more as this binary's runs them.
fn elsewhere(place: &Place, runtime: Runtime, interval: Option<u64>) -> String {
    let there = HostOptions { runtime, snapshot_interval: interval, ..options(place) };
    run(place, "", 3, there);
    let straight = Place::new();
    run(&straight, "", 6, options(&straight))
}

fn recorded(place: &Place) -> String {
    Database::open_read_only(&place.path("state")).unwrap().meta().unwrap().unwrap().runtime
}

#[test]
fn a_state_of_another_runtime_is_proved_once_and_goes_on_to_the_same_hash() {
    for (prove, interval) in [(Prove::Recent, Some(0)), (Prove::Recent, Some(7)), (Prove::All, Some(7))] {
        let place = Place::new();
        let expected = elsewhere(&place, Runtime::named("wasmtime-47.0.0 cranelift"), interval);
        assert_eq!(recorded(&place), "wasmtime-47.0.0 cranelift");
        let mut host = Host::open(HostOptions { prove, ..options(&place) }).unwrap();
        let mut heard = Vec::new();
        let proved = prove_runtime(&mut host, &mut |it| heard.push((it.vats, it.of))).unwrap().unwrap();
        assert_eq!(heard, [(0, 2), (1, 2), (2, 2)]);
        assert_eq!(proved.runtime, "wasmtime-47.0.0 cranelift");
        let all = host.report().unwrap().deliveries;
        match (prove, interval) {
            (Prove::Recent, Some(7)) => assert!(proved.deliveries < 14, "{proved:?}"),
            _ => assert_eq!(proved.deliveries, all),
        }
        assert_eq!(proved.snapshots, if prove == Prove::All { 2 } else { 0 });
        assert_eq!(prove_runtime(&mut host, &mut |_| ()).unwrap(), None);
        drop(host);
        assert_eq!(recorded(&place), Runtime::here().name());
        assert_eq!(run(&place, "", 3, options(&place)), expected);
    }
}

#[test]
fn a_proof_says_of_how_many_vats_it_made_no_delivery_again() {
    let place = Place::new();
    elsewhere(&place, Runtime::named("wasmtime-47.0.0 cranelift"), Some(1));
    let proved = |prove| {
        let copy = Place::new();
        std::fs::create_dir(copy.path("state")).unwrap();
        std::fs::copy(place.path("state/state.sqlite"), copy.path("state/state.sqlite")).unwrap();
        let mut host = Host::open(HostOptions { prove, ..options(&copy) }).unwrap();
        let proved = prove_runtime(&mut host, &mut |_| ()).unwrap().unwrap();
        (proved.vats, proved.untried, proved.deliveries == host.report().unwrap().deliveries)
    };
    assert_eq!(proved(Prove::All), (2, 0, true));
    assert_eq!(proved(Prove::Recent), (2, 2, false));
    let said = place.vathost("run --state @state --blocks 1").ok();
    said.says("2 vats have no delivery behind the snapshot: nothing of theirs was made again");
}

#[test]
fn a_host_that_is_not_asked_proves_the_state_before_its_first_block() {
    let place = Place::new();
    let expected = elsewhere(&place, Runtime::named("wasmtime-47.0.0 cranelift"), None);
    assert_eq!(run(&place, "", 3, options(&place)), expected);
    assert_eq!(recorded(&place), Runtime::here().name());
}

#[test]
fn a_runtime_that_does_otherwise_is_refused_with_the_vat_and_the_delivery_and_nothing_is_written() {
    let place = Place::new();
    elsewhere(&place, Runtime::dearer("wasmtime-47.0.0 cranelift"), Some(0));
    let rows = |place: &Place| std::fs::read(place.path("state/state.sqlite")).unwrap();
    let before = rows(&place);
    let mut host = Host::open(options(&place)).unwrap();
    for _ in 0..2 {
        let halt = host.run_block(&POLICY, &mut |_| true).unwrap_err();
        let Fault::Anachronism(it) = &halt.fault else { panic!("{halt}") };
        let what = format!("fuel, on {} instead of wasmtime-47.0.0 cranelift", Runtime::here().name());
        assert_eq!((it.vat, it.delivery, &*it.what), (VatId(1), 0, &*what));
    }
    drop(host);
    let refused = place.vathost("run --state @state").code(75);
    let refused = refused.says("the vats of this state ran on wasmtime-47.0.0 cranelift; this binary has wasmtime-");
    let refused = refused.says("does not do what wasmtime-47.0.0 cranelift did: nothing was written");
    let refused = refused.says("error: anachronism in v1 delivery 0: fuel, on wasmtime-");
    refused.says("go on with a vathost that has wasmtime-47.0.0 cranelift").says("--vat v1 --delivery 0");
    let said = place.vathost("run --state @state --json").code(75).json();
    assert_eq!((&said["divergence"]["vatID"], &said["divergence"]["delivery"]), (&"v1".into(), &0.into()));
    place.vathost("serve --state @state --listen 127.0.0.1:0").code(75);
    assert_eq!(rows(&place), before);
    assert_eq!(recorded(&place), "wasmtime-47.0.0 cranelift");
    // What only reads asks nobody for a proof.
    place.vathost("inspect --state @state").ok().shows("wasmtime-47.0.0 cranelift").shows("kernel 1, engine 2");
    place.vathost("verify @state").ok();
    place.vathost("export --state @state @archive").ok();
    place.vathost("replay --state @state --vat v1 --delivery 0").code(75).shows("differs in delivery 0: fuel");
}

#[test]
fn a_proof_of_all_finds_a_heap_that_differs_from_its_snapshot() {
    let place = Place::new();
    elsewhere(&place, Runtime::named("wasmtime-47.0.0 cranelift"), Some(7));
    let mut database = Database::open(&place.path("state"), &vathost::state::table::Tables::layout()).unwrap();
    let mut meta = database.meta().unwrap().unwrap();
    let vat = VatId(2);
    let mut manifest = vathost::state::snapshot::Manifest::decode(&database.snapshot(vat).unwrap().unwrap()).unwrap();
    let place_of_page = manifest.heap.pages.iter().position(Option::is_some).unwrap();
    manifest.heap.pages[place_of_page] = None;
    let transaction = database.transaction().unwrap();
    let old = transaction.snapshot(vat).unwrap().map(|(it, _)| it);
    let (at, bytes) = ((vat, manifest.position), manifest.encode().unwrap());
    transaction.put_snapshot(at, &bytes, old.as_ref(), &mut meta.proof.snapshots).unwrap();
    transaction.put_meta(&meta).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let mut host = Host::open(HostOptions { prove: Prove::All, ..options(&place) }).unwrap();
    let halt = prove_runtime(&mut host, &mut |_| ()).unwrap_err();
    let Fault::Anachronism(it) = &halt.fault else { panic!("{halt}") };
    assert_eq!((it.vat, it.delivery), (vat, manifest.position.0 - 1));
    assert!(it.what.starts_with("heap (the page at 0x"), "{}", it.what);
    drop(host);
    place
        .vathost("run --state @state --prove all")
        .code(75)
        .says("anachronism in v2 delivery")
        .says("heap (the page at 0x");
}

#[test]
fn a_staged_host_proves_the_state_first_and_can_still_undo_the_block_before() {
    let place = Place::new();
    let there = HostOptions { runtime: Runtime::named("wasmtime-47.0.0 cranelift"), ..options(&place) };
    run(&place, "", 0, there.clone());
    let next = |host: &StagedHost| {
        let info = host.info().unwrap();
        BlockHeader { height: info.height + 1, time: info.time + 5, prev_state_hash: info.state_hash }
    };
    let mut host = StagedHost::new(Host::open(there).unwrap(), true).unwrap();
    let hashes = [(); 3].map(|()| {
        let header = next(&host);
        host.decide(&header, Vec::new(), &POLICY).unwrap().state_hash
    });
    drop(host);
    let mut host = StagedHost::new(Host::open(options(&place)).unwrap(), true).unwrap();
    assert_eq!(recorded(&place), Runtime::here().name());
    assert_eq!(host.undo_last().unwrap().state_hash, hashes[1]);
    let header = next(&host);
    assert_eq!(host.decide(&header, Vec::new(), &POLICY).unwrap().state_hash, hashes[2]);
}

#[test]
fn a_staged_host_does_not_begin_on_a_runtime_that_does_otherwise() {
    let place = Place::new();
    elsewhere(&place, Runtime::dearer("wasmtime-47.0.0 cranelift"), Some(0));
    let refused = StagedHost::new(Host::open(options(&place)).unwrap(), true).unwrap_err();
    let StageError::Halt(halt) = &refused else { panic!("{refused}") };
    assert!(matches!(halt.fault, Fault::Anachronism(_)), "{halt}");
}

#[test]
fn a_state_from_before_there_were_engine_versions_runs_on_the_first_and_its_old_engine_is_proved() {
    let place = Place::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/states/schema-9.sqlite.zst");
    let file = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    std::fs::create_dir_all(place.path("state")).unwrap();
    std::fs::write(place.path("state/state.sqlite"), file).unwrap();
    let mut host = Host::open(options(&place)).unwrap();
    assert_eq!(host.report().unwrap().engine_version, 1);
    let proved = prove_runtime(&mut host, &mut |_| ()).unwrap().unwrap();
    assert_eq!(proved.runtime, "wasmtime-48.0.8 cranelift config-2 prices-3 pass-2");
    assert!(proved.vats > 0, "{proved:?}");
    drop(host);
    assert_eq!(recorded(&place), Runtime::here().name());
}

#[test]
fn another_engine_is_in_force_from_its_block_on_and_each_delivery_is_made_again_on_its_own() {
    let place = Place::new();
    place.write("d", "block-3: replace-engine 2");
    let go_on = |more: &str| {
        game(&place, "engine = 1");
        place.vathost(&format!("run @game --state @state --directives @d --cranks-per-block 20 --json {more}")).ok()
    };
    let version =
        |blocks: u64| go_on(&format!("--blocks {blocks} --snapshot-interval 0")).json()["engineVersion"].as_u64();
    assert_eq!(version(2), Some(1));
    let block = Block::open_read_only(&place.path("state")).unwrap();
    assert!(block.tables().engine.is_empty());
    drop(block);
    assert_eq!(version(1), Some(2));
    let block = Block::open_read_only(&place.path("state")).unwrap();
    let (_, change) = block.tables().engine.iter().next().unwrap();
    let versions = |vat, number| block.tables().engine_version_of(vat, vathost::model::id::DeliveryNum(number));
    for (vat, first) in change.first.clone() {
        assert_eq!([versions(vat, first.0 - 1), versions(vat, first.0)], [1, 2]);
        assert_eq!(history::begins_at(&block, vat).unwrap().0, 0);
    }
    assert_eq!(change.first.len(), 2);
    drop(block);
    // A new process replays both: in one run it comes to the same.
    let ended = go_on("").hash();
    place.vathost("replay --state @state --vat v1").ok();
    place.vathost("verify @state").ok();
    place.vathost("run @game --state @other --directives @d --cranks-per-block 20 --json --max-live 0").ok();
    assert_eq!(place.vathost("run --state @other --json").ok().hash(), ended);
    let again = place.vathost("run --state @state --directives @d --json").ok();
    assert_eq!(again.json()["directives"][0]["status"], "applied");
}

/// A vat whose messages use a little more than its budget, behind the last place where the fuel is looked at: that ends well under the first
/// version alone.
fn spendthrift(place: &Place) {
    let more = "(local.set $i (i32.add (local.get $i) (i32.const 1)))".repeat(20);
    place.write(
        "spendthrift/guest.wat",
        &format!(
            "(module (memory (export \"memory\") 1) (global $turn (mut i32) (i32.const 0))
               (func (export \"vat_deliver\") (param i32) (local $i i32)
                 (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
                 (if (i32.gt_u (global.get $turn) (i32.const 1)) (then {more}))))"
        ),
    );
    let vat = "engine = 1\n[vats.guest]\nbundle = \"guest.wat\"\noptions = { fuel_per_delivery = 50 }\n";
    let sends = "[[send]]\nto = \"guest\"\nmethod = \"go\"\n".repeat(6);
    place.write("spendthrift/vat.toml", &format!("{vat}{sends}"));
}

#[test]
fn what_only_the_first_version_allowed_is_made_again_as_it_was_and_not_allowed_from_the_second_on() {
    let place = Place::new();
    spendthrift(&place);
    place.write("d", "block-3: replace-engine 2");
    let run = |state: &str, more: &str| {
        place.vathost(&format!("run @spendthrift --state {state} --cranks-per-block 2 --json {more}")).ok()
    };
    let plain = run("@plain", "");
    assert_eq!(plain.json()["vats"]["guest"]["status"], "running");
    assert_eq!(run("@evicted", "--max-live 0 --snapshot-interval 0").hash(), plain.hash());
    place.vathost("replay --state @plain --vat guest").ok().shows("the same");
    let replaced = run("@replaced", "--directives @d");
    let guest = &replaced.json()["vats"]["guest"];
    assert_eq!((&guest["status"], &guest["reason"]), (&"terminated".into(), &"out of fuel".into()));
    let again = run("@restarted", "--directives @d --blocks 2 --max-live 0 --snapshot-interval 0");
    assert_eq!(again.json()["vats"]["guest"]["status"], "running");
    assert_eq!(run("@restarted", "--directives @d --max-live 0 --snapshot-interval 0").hash(), replaced.hash());
}

#[test]
fn an_engine_version_that_this_binary_does_not_have_halts_the_host_and_refuses_the_state() {
    let place = Place::new();
    place.write("d", "block-2: replace-engine 3");
    game(&place, "");
    let halted = place.vathost("run @game --state @state --directives @d --cranks-per-block 20").code(3);
    halted.says("`block-2: replace-engine 3`: this binary can run 1, 2");
    game(&place, "engine = 3");
    place.vathost("run @game").code(2).says("engine = 3: this binary can run 1, 2");
}

#[test]
fn both_versions_charge_the_same_for_what_stays_within_its_budget() {
    for name in ["pingpong", "bank", "gc", "counter", "globals", "initialize", "vault", "hog"] {
        let vats = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats").join(name);
        let fuel = |version: u32| -> BTreeMap<String, u64> {
            let mut scenario = Scenario::read(&vats).unwrap();
            scenario.engine = Some(version);
            let place = Place::new();
            let mut host = Host::open(HostOptions { state: None, ..options(&place) }).unwrap();
            host.install(&scenario).unwrap();
            while !host.is_quiescent().unwrap() {
                host.run_block(&POLICY, &mut |_| true).unwrap();
            }
            let report = host.report().unwrap();
            report.vats.iter().map(|(name, it)| (name.clone(), it.fuel)).collect()
        };
        assert_eq!(fuel(1), fuel(2), "{name}");
    }
}
