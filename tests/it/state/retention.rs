//! The past that a state keeps: how much of it, as an operator chooses, changes no hash; what has left is told as such.

use tempfile::TempDir;
use vathost::{
    HostOptions,
    host::{
        controller::{BlockPolicy, Host},
        scenario::Scenario,
        staged::{BlockHeader, StagedHost},
    },
    model::id::VatId,
    state::{block::history, retention::Keep},
};

use super::*;

const POLICY: BlockPolicy = BlockPolicy { cranks: 5, fuel: None, wall_millis: None, block_time: 3_600 };

/// A host of ping and pong that takes snapshots, keeps this much, and has one vat live at a time.
fn host(dir: &Path, keep: Keep) -> Host {
    let mut host =
        Host::open(HostOptions { keep, snapshot_interval: Some(7), max_live: Some(1), ..options(dir) }).unwrap();
    if host.is_new() {
        host.install(&Scenario::read(&vats("pingpong")).unwrap()).unwrap();
    }
    host
}

/// Runs to the end, opened anew every few blocks. Returns the hash of each block.
fn life(dir: &Path, keep: Keep) -> Vec<String> {
    let mut hashes = Vec::new();
    loop {
        let mut host = host(dir, keep);
        for _ in 0..9 {
            if host.is_quiescent().unwrap() {
                return hashes;
            }
            hashes.push(host.run_block(&POLICY, &mut |_| true).unwrap().state_hash.to_string());
        }
    }
}

/// A number that the state's file answers with.
fn number(dir: &Path, sql: &str) -> u64 {
    sqlite(dir).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned()
}

/// Chunks of transcripts, and the deliveries in them.
fn stored(dir: &Path) -> (u64, u64) {
    (number(dir, "SELECT count(*) FROM transcript"), deliveries_kept(dir))
}

const PING: VatId = VatId(1);

#[test]
fn what_leaves_changes_no_hash_and_what_is_kept_is_what_was_asked_for() {
    let all = TempDir::new().unwrap();
    let hashes = life(all.path(), Keep::All);
    assert!(hashes.len() > 40, "{}", hashes.len());
    let (_, deliveries) = stored(all.path());
    for keep in [Keep::Needed, Keep::Blocks(0), Keep::Blocks(10), Keep::Blocks(1_000), Keep::Days(0), Keep::Days(1)] {
        let dir = TempDir::new().unwrap();
        assert_eq!(life(dir.path(), keep), hashes, "{keep}");
        assert_eq!(findings(dir.path()), None, "{keep}");
        let oldest = number(dir.path(), "SELECT min(height) FROM transcript");
        let (_, left) = stored(dir.path());
        let blocks = hashes.len() as u64;
        match keep {
            Keep::Needed | Keep::Blocks(0) | Keep::Days(0) => {
                assert!(left * 3 < deliveries, "{keep}: {left} of {deliveries}")
            }
            // A day has 24 of these blocks.
            Keep::Blocks(10) | Keep::Days(1) => {
                let kept = if keep == Keep::Days(1) { 24 } else { 10 };
                assert!(oldest > 1 && oldest <= blocks - kept + 1, "{keep}: {oldest} of {blocks}");
                assert!(left < deliveries, "{keep}");
            }
            _ => assert_eq!(left, deliveries, "{keep}"),
        }
    }
}

#[test]
fn the_states_with_and_without_their_past_go_on_to_the_same_hashes() {
    let [all, needed] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let run = |dir: &Path, keep, blocks| {
        let mut host = host(dir, keep);
        for _ in 0..blocks {
            host.run_block(&POLICY, &mut |_| true).unwrap();
        }
    };
    run(all.path(), Keep::All, 30);
    fs::remove_dir(needed.path()).unwrap();
    assert_eq!(vathost(&["fork"], &[all.path(), needed.path()]).code, 0);
    let before = stored(needed.path());
    let said = vathost(&["prune", "--keep", "needed", "--json"], &[needed.path()]);
    let left = said.json()["deliveriesLeft"].as_u64().unwrap();
    let after = stored(needed.path());
    assert_eq!(before.1 - after.1, left, "{}", said.out);
    assert!(left > 50, "{left} of {before:?}");
    // There is no more to leave, and without a word nothing does.
    assert_eq!(vathost(&["prune", "--keep", "needed", "--json"], &[needed.path()]).json()["deliveriesLeft"], 0);
    assert_eq!(vathost(&["prune", "--json"], &[all.path()]).json()["deliveriesLeft"], 0);
    assert_eq!(stored(all.path()), before);
    assert_eq!(findings(needed.path()), None);
    run(all.path(), Keep::All, 5);
    run(needed.path(), Keep::All, 5);
    let hash = |dir: &Path| open(dir).report().unwrap().state_hash;
    assert_eq!(hash(all.path()), hash(needed.path()));
    // The two are compared as far as both have something to compare.
    assert_eq!(vathost(&["diff"], &[all.path(), needed.path()]).code, 0);
}

#[test]
fn who_asks_for_what_has_left_is_told_so_and_the_rest_is_shown() {
    let dir = TempDir::new().unwrap();
    life(dir.path(), Keep::Needed);
    let block = open(dir.path());
    let pruned = history::pruned(block.block().unwrap(), PING).unwrap().expect("something left");
    drop(block);
    let gone = format!("the deliveries before {} left the state by {} (--keep)", pruned.next, pruned.height);
    for args in [
        &["inspect", "transcript", "ping", "--from", "0"][..],
        &["replay", "--vat", "ping"],
        &["replay", "--vat", "ping", "--delivery", "3"],
    ] {
        let said = vathost(args, &[dir.path()]);
        assert!(said.code != 0 && said.err.contains(&gone), "{args:?}: {}{}", said.out, said.err);
    }
    let said = vathost(&["inspect", "transcript", "ping"], &[dir.path()]);
    assert_eq!((said.code, said.err.contains(&gone)), (0, true), "{}", said.err);
    assert!(said.out.starts_with(&format!("{} ", pruned.next)), "{}", said.out);
    let said = vathost(&["inspect", "vat", "ping", "--json"], &[dir.path()]);
    assert_eq!(said.json()["transcriptFrom"], pruned.next.0);
    let copy = TempDir::new().unwrap();
    let said = vathost(&["fork", "--without-snapshots"], &[dir.path(), copy.path()]);
    assert!(said.code != 0 && said.err.contains("without its snapshot a vat cannot come back"), "{}", said.err);
    assert!(is_empty(copy.path()));
    let moved = TempDir::new().unwrap();
    let archive = moved.path().join("state.vathost");
    assert_eq!(vathost(&["export"], &[dir.path(), &archive]).code, 0);
    let again = moved.path().join("again");
    assert_eq!(vathost(&["import"], &[&archive, &again]).code, 0);
    assert_eq!(findings(&again), None);
    assert_eq!(stored(&again), stored(dir.path()));
}

#[test]
fn a_record_of_what_left_that_is_damaged_or_lost_is_found() {
    let source = TempDir::new().unwrap();
    life(source.path(), Keep::Needed);
    for sql in [
        "UPDATE pruned SET next = next + 1",
        "UPDATE pruned SET link = link + 1",
        "UPDATE pruned SET height = height + 1",
        "DELETE FROM pruned",
        "DELETE FROM transcript WHERE first = (SELECT min(first) FROM transcript WHERE vat = 1) AND vat = 1",
        "UPDATE transcript SET height = height + 1 WHERE vat = 1",
        "UPDATE transcript SET time = time + 1 WHERE vat = 1",
    ] {
        let dir = TempDir::new().unwrap();
        Database::copy(source.path(), &dir.path().join("state.sqlite")).unwrap();
        assert!(sqlite(dir.path()).execute(sql, []).unwrap() > 0, "{sql}");
        assert!(findings(dir.path()).is_some_and(|it| it.contains("transcript")), "{sql}: {:?}", findings(dir.path()));
    }
}

#[test]
fn the_last_block_can_be_undone_although_some_of_the_past_left_with_it() {
    let dir = TempDir::new().unwrap();
    let mut staged = StagedHost::new(host(dir.path(), Keep::Needed), true).unwrap();
    let mut hashes = vec![staged.info().unwrap().state_hash];
    let decide = |staged: &mut StagedHost| {
        let info = staged.info().unwrap();
        let header = BlockHeader { height: info.height + 1, time: info.time + 5, prev_state_hash: info.state_hash };
        let before = stored(dir.path());
        let hash = staged.decide(&header, [], &POLICY).unwrap().state_hash;
        (before, stored(dir.path()), hash)
    };
    let mut tried = 0;
    for _ in 0..30 {
        let (before, after, hash) = decide(&mut staged);
        if after.1 < before.1 {
            tried += 1;
            assert_eq!(staged.undo_last().unwrap().state_hash, *hashes.last().unwrap());
            assert_eq!(stored(dir.path()), before);
            assert_eq!(decide(&mut staged).2, hash);
        }
        hashes.push(hash);
    }
    assert!(tried > 3, "{tried}");
    // At rest nothing leaves that the state before the last block may need.
    drop(staged);
    let said = vathost(&["prune", "--keep", "needed"], &[dir.path()]);
    assert!(said.code == 74 && said.err.contains("its last block can be undone"), "{} {}", said.code, said.err);
}

#[test]
fn the_file_of_the_host_says_what_is_kept_and_a_mistake_in_it_is_refused() {
    let dir = TempDir::new().unwrap();
    life(dir.path(), Keep::All);
    let file = dir.path().join("host.toml");
    fs::write(&file, "[host]\nkeep = \"nothing\"\n").unwrap();
    let said = vathost(&["prune"], &[dir.path()]);
    assert!(
        said.code == 2 && said.err.contains("`nothing` is none of `all`, `needed`, `blocks=N` or `days=N`"),
        "{}",
        said.err
    );
    fs::write(&file, "[host]\nkeep = \"blocks=3\"\n").unwrap();
    assert_eq!(HostOptions::of_state(dir.path()).unwrap().keep, Keep::Blocks(3));
    let said = vathost(&["prune", "--json"], &[dir.path()]);
    assert!(said.json()["deliveriesLeft"].as_u64().unwrap() > 50, "{}", said.out);
    let said = vathost(&["run", "--keep", "some", "--state"], &[dir.path()]);
    assert_eq!(said.code, 2, "{}", said.err);
}

#[test]
fn the_sizes_of_a_state_are_those_of_its_files_tables_and_vats() {
    let dir = TempDir::new().unwrap();
    // Some of it in chunks, the rest in the tail.
    let mut begun = host(dir.path(), IN_CHUNKS);
    (0..12).for_each(|_| drop(begun.run_block(&POLICY, &mut |_| true).unwrap()));
    drop(begun);
    life(dir.path(), Keep::All);
    let said = vathost(&["inspect", "size", "--json"], &[dir.path()]);
    let sizes = said.json();
    let file = sizes["files"].as_array().unwrap().iter().find(|it| it["name"] == "state.sqlite").unwrap();
    assert_eq!(file["bytes"], fs::metadata(dir.path().join("state.sqlite")).unwrap().len());
    let tables = sizes["tables"].as_array().unwrap();
    let of = |name: &str| tables.iter().find(|it| it["table"] == name).unwrap();
    let (chunks, deliveries) = stored(dir.path());
    assert_eq!(of("transcript")["rows"], chunks);
    assert!(chunks > 12 && of("tail")["rows"].as_u64().unwrap() > 12);
    let bytes = |it: &Value| it["bytes"].as_u64().unwrap();
    // All pages are somebody's, but for the first, which lists the tables.
    let total: u64 = tables.iter().map(bytes).sum::<u64>() + sizes["unusedBytes"].as_u64().unwrap();
    let pages = number(dir.path(), "PRAGMA page_count");
    assert!(total < pages * 4_096 && total + 5 * 4_096 > pages * 4_096, "{total} of {}", pages * 4_096);
    let vats = sizes["vats"].as_array().unwrap();
    let sum = |name: &str| vats.iter().map(|it| it[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("deliveries"), deliveries);
    assert_eq!(sizes["transcriptBytes"], sum("transcriptBytes"));
    assert_eq!(sum("transcriptBytes"), sum("transcriptBytesRecent"), "fewer blocks than are recent");
    let unneeded = sizes["transcriptBytesUnneeded"].as_u64().unwrap();
    assert!(unneeded > 0 && unneeded < sum("transcriptBytes"), "{unneeded}");
    // What it says could leave is what leaves.
    let stored_bytes = || number(dir.path(), "SELECT sum(length(entries)) FROM transcript");
    assert_eq!(vathost(&["prune", "--keep", "needed"], &[dir.path()]).code, 0);
    assert_eq!(sum("transcriptBytes") - stored_bytes(), unneeded);
    let said = vathost(&["inspect", "size"], &[dir.path()]);
    assert!(said.out.contains("0 B: they leave with `--keep needed`"), "{}", said.out);
}
