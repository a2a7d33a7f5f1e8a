//! The staged form of a host: what is run is not committed, what is given up or undone leaves nothing, and each rule of an engine.

mod crash;

use std::path::{Path, PathBuf};

use serde_json::json;
use vathost::{
    Audit, BlockPolicy, Host, HostOptions, Scenario,
    directive::DirectiveSet,
    host::staged::{BlockHeader, BlockInput, StageError, StagedHost},
    lab::probe::{Life, PlantedBugs},
};

const POLICY: BlockPolicy = BlockPolicy { cranks: 9, fuel: None, wall_millis: None, block_time: 5 };

fn vats(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vats").join(name)
}

fn options(state: Option<PathBuf>) -> HostOptions {
    let code_cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("code"));
    HostOptions { state, code_cache, audit: Audit::Never, experimental: true, ..HostOptions::default() }
}

fn install(name: &str, options: HostOptions) -> Host {
    let mut host = Host::open(options).unwrap();
    if host.is_new() {
        host.install(&Scenario::read(&vats(name)).unwrap()).unwrap();
    }
    host
}

fn staged(name: &str, keeps_undo: bool) -> StagedHost {
    StagedHost::new(install(name, options(None)), keeps_undo).unwrap()
}

/// The header of the block that comes next.
fn next(host: &StagedHost) -> BlockHeader {
    let info = host.info().unwrap();
    BlockHeader { height: info.height + 1, time: info.time + 5, prev_state_hash: info.state_hash }
}

fn purse(amount: u64) -> BlockInput {
    BlockInput::Send { to: "north".to_owned(), method: "makePurse".to_owned(), args: vec![json!(amount)] }
}

/// Runs the next block, and commits it.
fn decide(host: &mut StagedHost, inputs: Vec<BlockInput>) -> String {
    let header = next(host);
    host.decide(&header, inputs, &POLICY).unwrap().state_hash
}

/// The hashes of a scenario's first blocks, as a host runs them.
fn plain(name: &str, blocks: usize) -> Vec<String> {
    let mut host = install(name, options(None));
    let run = |_| {
        let time = host.block().unwrap().tables().globals().time;
        host.tell_time(time + 5).unwrap();
        host.run_block(&POLICY, &mut |_| true).unwrap().state_hash.to_string()
    };
    (0..blocks).map(run).collect()
}

/// The same, staged: each block is given up once before it began and once after it ran, committed, undone, and run again.
fn there_and_back(name: &str, blocks: usize) -> Vec<String> {
    let mut host = staged(name, true);
    let run = |_| {
        let (header, before) = (next(&host), host.info().unwrap());
        host.begin_block(header.clone()).unwrap();
        host.abort().unwrap();
        host.begin_block(header.clone()).unwrap();
        let first = host.run(&POLICY).unwrap();
        host.abort().unwrap();
        assert_eq!(host.info().unwrap(), before, "{name}: given up");
        assert_eq!(host.decide(&header, [], &POLICY).unwrap(), first, "{name}: the same again");
        assert_eq!(host.undo_last().unwrap(), before, "{name}: undone");
        assert_eq!(host.result_of(header.height).unwrap(), None, "{name}: its result is gone, too");
        host.decide(&header, [], &POLICY).unwrap().state_hash
    };
    (0..blocks).map(run).collect()
}

#[test]
fn every_scenario_comes_to_the_same_hashes_staged_given_up_and_undone() {
    let mut scenarios: Vec<String> = std::fs::read_dir(vats(""))
        .unwrap()
        .map(|it| it.unwrap())
        .filter(|it| it.path().join("vat.toml").exists())
        .map(|it| it.file_name().into_string().unwrap())
        .collect();
    scenarios.sort();
    assert!(scenarios.len() > 5, "{scenarios:?}");
    for name in scenarios {
        assert_eq!(plain(&name, 4), there_and_back(&name, 4), "{name}");
    }
}

#[test]
fn a_block_is_the_next_one_for_this_state_and_not_of_the_past() {
    let mut host = staged("bank", true);
    let first = next(&host);
    let refused = |host: &StagedHost, header: &BlockHeader| host.check_block(header).unwrap_err().to_string();
    assert_eq!(
        refused(&host, &BlockHeader { height: 2, ..first.clone() }),
        "block 2 cannot be executed: block 0 is the last that is committed"
    );
    let other = BlockHeader { prev_state_hash: "00".repeat(32), ..first.clone() };
    assert!(matches!(host.begin_block(other), Err(StageError::HashMismatch { height: 1, .. })));
    host.decide(&BlockHeader { time: 100, ..first.clone() }, [], &POLICY).unwrap();
    let late = BlockHeader { time: 99, ..next(&host) };
    assert_eq!(refused(&host, &late), "block 2 has the time 99, and the block before it 100");
    host.check_block(&next(&host)).unwrap();
    assert!(host.info().unwrap().height == 1, "to look changes nothing");
}

#[test]
fn the_saved_block_is_answered_from_its_record_and_older_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = || StagedHost::new(install("bank", options(Some(dir.path().join("state")))), false).unwrap();
    let mut host = open();
    let first = next(&host);
    let result = host.decide(&first, [purse(7), purse(8)], &POLICY).unwrap();
    assert_eq!(host.decide(&first, [purse(7), purse(8)], &POLICY).unwrap(), result);
    drop(host);
    // After a crash too: nothing is executed again.
    let mut host = open();
    assert_eq!(host.decide(&first, [purse(7), purse(8)], &POLICY).unwrap(), result);
    assert_eq!(host.result_of(1).unwrap(), Some(result.clone()));
    let other = BlockHeader { time: first.time + 1, ..first.clone() };
    assert!(matches!(host.decide(&other, [], &POLICY), Err(StageError::Height { asked: 1, saved: 1 })));
    while !host.host().is_quiescent().unwrap() {
        decide(&mut host, vec![]);
    }
    assert!(matches!(host.decide(&first, [], &POLICY), Err(StageError::Height { asked: 1, .. })));
    let settled: Vec<_> = (1..=host.info().unwrap().height).filter_map(|it| host.result_of(it).unwrap()).collect();
    let receipt = result.receipts[1].result.unwrap();
    let answers = settled.iter().flat_map(|it| &it.settled).filter(|it| it.result == receipt).count();
    assert_eq!(answers, 1, "each answer stands in the result of one block");
}

#[test]
fn what_is_neither_the_next_block_nor_the_saved_one_fails_as_often_as_it_comes_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let open = || StagedHost::new(install("bank", options(Some(dir.path().join("state")))), true).unwrap();
    let mut host = open();
    (0..3).for_each(|it| drop(decide(&mut host, vec![purse(it)])));
    let (before, saved) = (host.info().unwrap(), host.result_of(3).unwrap().unwrap());
    let next = next(&host);
    let wrong = [
        BlockHeader { height: 5, ..next.clone() },
        BlockHeader { height: 400, ..next.clone() },
        BlockHeader { height: 2, ..saved.header.clone() },
        BlockHeader { height: 0, ..next.clone() },
        // The saved height, but another block: it was decided, and something else is committed here.
        BlockHeader { time: saved.header.time + 1, ..saved.header.clone() },
        BlockHeader { prev_state_hash: "11".repeat(32), ..saved.header.clone() },
    ];
    for _ in 0..2 {
        for header in &wrong {
            let failed = host.decide(header, [purse(9)], &POLICY).unwrap_err();
            let asked = header.height;
            assert!(
                matches!(failed, StageError::Height { asked: it, saved: 3 } if it == asked),
                "{header:?}: {failed}"
            );
        }
        let other = BlockHeader { prev_state_hash: "22".repeat(32), ..next.clone() };
        assert!(matches!(host.decide(&other, [purse(9)], &POLICY), Err(StageError::HashMismatch { height: 4, .. })));
        assert_eq!(host.info().unwrap(), before, "what failed is no block, and takes none of its inputs in");
        // A restart makes it no better: the failure is of the block, and no retry can mend it.
        drop(host);
        host = open();
    }
    assert_eq!(host.decide(&saved.header, [], &POLICY).unwrap(), saved);
    assert_eq!(host.decide(&next, [], &POLICY).unwrap().receipts, [], "the inputs that failed with a block are gone");
}

#[test]
fn a_block_that_has_run_is_nowhere_until_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let open = || StagedHost::new(install("bank", options(Some(dir.path().join("state")))), true).unwrap();
    let mut host = open();
    decide(&mut host, vec![purse(1)]);
    let (before, header) = (host.info().unwrap(), next(&host));
    host.begin_block(header.clone()).unwrap();
    host.deliver(purse(2)).unwrap();
    let staged = host.run(&POLICY).unwrap();
    assert_ne!(staged.state_hash, before.state_hash);
    assert_eq!(host.result_of(2).unwrap(), None, "it has no record");
    // The process ends here.
    drop(host);
    let mut host = open();
    assert_eq!((host.info().unwrap(), host.result_of(2).unwrap()), (before, None));
    assert_eq!(host.decide(&header, [purse(2)], &POLICY).unwrap(), staged, "the engine decides it again");
    assert_eq!(host.result_of(2).unwrap(), Some(staged));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut host = staged("bank", false);
    assert_eq!(host.run(&POLICY).unwrap_err().to_string(), "run: `begin_block` comes first, and a block runs once");
    assert_eq!(host.commit().unwrap_err().to_string(), "commit: `run` comes first");
    assert!(host.deliver(purse(1)).unwrap_err().to_string().starts_with("deliver: `begin_block` comes first"));
    let header = next(&host);
    host.begin_block(header.clone()).unwrap();
    assert!(host.begin_block(header).unwrap_err().to_string().starts_with("begin_block: a block is begun"));
    let receipt = host.deliver(BlockInput::Forget { result: "kp999".parse().unwrap() }).unwrap();
    assert_eq!((receipt.result, receipt.refused), (None, None), "who forgets what is not there changes nothing");
    let nobody = BlockInput::Send { to: "nobody".to_owned(), method: "hello".to_owned(), args: vec![] };
    let refused = host.deliver(nobody).unwrap().refused;
    assert_eq!(refused.as_deref(), Some("send a message: there is no vat `nobody`"));
    let mail = host.deliver(BlockInput::Mail { number: 1, message: json!("hello") }).unwrap();
    assert!(mail.refused.unwrap().contains("no vat handles the mailbox's"));
    assert_eq!(host.run(&POLICY).unwrap().receipts.len(), 3);
    assert!(host.info().unwrap_err().to_string().starts_with("info: a block has run"));
    host.commit().unwrap();
}

#[test]
fn one_block_can_be_undone_and_none_beyond_it_nor_without_its_record() {
    let mut host = staged("bank", true);
    assert!(host.undo_last().unwrap_err().to_string().contains("there is no record of the one before"));
    decide(&mut host, vec![purse(1)]);
    let before = host.info().unwrap();
    let other = decide(&mut host, vec![purse(2)]);
    assert_eq!(host.undo_last().unwrap(), before);
    assert!(host.undo_last().unwrap_err().to_string().contains("one block can be undone, and it was"));
    assert_ne!(decide(&mut host, vec![purse(3)]), other, "another block takes its place");

    // A commit without a record makes the record before it useless.
    let mut plain = host.into_host().unwrap();
    plain.run_block(&POLICY, &mut |_| true).unwrap();
    let mut host = StagedHost::new(plain, true).unwrap();
    assert!(host.undo_last().unwrap_err().to_string().contains("something was committed after the block"));

    let mut host = staged("bank", false);
    decide(&mut host, vec![purse(1)]);
    assert!(host.undo_last().unwrap_err().to_string().contains("without its undo record"));
}

#[test]
fn an_undone_block_is_undone_on_disk_and_its_bundles_and_snapshots_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = HostOptions { snapshot_interval: Some(2), ..options(Some(dir.path().join("state"))) };
        StagedHost::new(install("bank", options), true).unwrap()
    };
    let mut host = open();
    (0..3).for_each(|it| drop(decide(&mut host, vec![purse(it)])));
    let before = host.info().unwrap();
    let after = decide(&mut host, vec![purse(9)]);
    drop(host);
    let mut host = open();
    assert_eq!(host.undo_last().unwrap(), before);
    drop(host);
    let mut host = open();
    assert_eq!(host.info().unwrap(), before);
    assert_eq!(decide(&mut host, vec![purse(9)]), after);
}

#[test]
fn a_kernel_panic_commits_nothing_and_a_directive_goes_past_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = |line: &str, bug: bool| {
        let mut directives = DirectiveSet::default();
        directives.read("test", line.as_bytes()).unwrap();
        let bugs = if bug { vec!["object.counts@method-bootstrap".parse().unwrap()] } else { vec![] };
        let probe = PlantedBugs::probe(&bugs, Life::Dear);
        let options = HostOptions { directives, probe, ..options(Some(dir.path().join("state"))) };
        StagedHost::new(install("bank", options), true).unwrap()
    };
    let mut host = open("", true);
    let (header, before) = (next(&host), host.info().unwrap());
    let halted = host.decide(&header, [purse(1)], &POLICY).unwrap_err();
    assert!(matches!(halted, StageError::Halt(_)), "{halted}");
    assert!(matches!(host.begin_block(header.clone()), Err(StageError::Halt(_))), "the host has halted");
    drop(host);
    let mut host = open("", true);
    assert_eq!(host.info().unwrap(), before, "nothing of it was committed");
    host.decide(&header, [purse(1)], &POLICY).unwrap_err();
    drop(host);
    let mut host = open("crank-4: skip", true);
    let result = host.decide(&header, [purse(1)], &POLICY).unwrap();
    assert_eq!(result.fired, ["crank-4: crank-4: skip"]);
    let skipped = host.info().unwrap();
    assert_ne!(skipped.directives_fired_digest, before.directives_fired_digest);
    // The other operators did something else: undone, and done again in their way.
    assert_eq!(host.undo_last().unwrap(), before);
    drop(host);
    let mut host = open("crank-4: pause", true);
    assert_ne!(host.decide(&header, [purse(1)], &POLICY).unwrap().state_hash, skipped.state_hash);
}

#[test]
fn a_staged_state_is_verified_and_exported_and_one_of_its_blocks_is_opened_on_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut host = StagedHost::new(install("bank", options(Some(at("state")))), true).unwrap();
    let after = decide(&mut host, vec![purse(1)]);
    let header = next(&host);
    let report = vathost::inspect::verify::prove(&vathost::store::Database::open_read_only(&at("state")).unwrap());
    report.unwrap();
    let mut archive = std::fs::File::create(at("archive")).unwrap();
    let database = vathost::store::Database::open_read_only(&at("state")).unwrap();
    let summary = vathost::inspect::archive::write(&database, &mut archive, &mut |_, _| ()).unwrap();
    assert_eq!((summary.head.height, summary.head.state_hash.to_string()), (1, after));
    drop(database);

    // On a copy the inputs of the next block are committed, and none of it has run; it comes to the same hash as when it is decided.
    let aside = vathost::store::Aside::new(&at("copy")).unwrap();
    vathost::store::Database::copy(&at("state"), &aside.file()).unwrap();
    aside.place().unwrap();
    let expected = host.decide(&header, [purse(2)], &POLICY).unwrap().state_hash;
    let copy = StagedHost::new(install("bank", options(Some(at("copy")))), false).unwrap();
    let mut open = copy.into_open_block(&header, [purse(2)], &POLICY).unwrap();
    assert!(open.standing().is_open && open.standing().height == 2, "{:?}", open.standing());
    assert_eq!(open.run_block(&POLICY, &mut |_| true).unwrap().state_hash.to_string(), expected);
}
