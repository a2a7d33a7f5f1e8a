//! States that are looked at: nothing is written to them, nothing is copied, and what runs over them comes to what a host would.

use std::collections::BTreeMap;

use rusqlite::OpenFlags;
use vathost::{
    inspect::verify,
    slog::Slog,
    state::{block::Block, table::Tables},
    store::Overlay,
};

use super::*;

/// The names and contents of all files of a state.
pub(super) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap());
    entries.map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap())).collect()
}

fn seen(overlay: &Overlay) -> (String, u64) {
    let block = Block::over(overlay.open().unwrap(), Slog::default()).unwrap();
    (block.committed_hash().to_string(), block.tables().globals().height.0)
}

fn run_over(overlay: &Overlay) -> String {
    let options = HostOptions { over: Some(overlay.clone()), code_cache: Some(code_cache()), ..HostOptions::default() };
    let mut host = Host::open(options).unwrap();
    while !host.is_quiescent().unwrap() {
        go_on(&mut host, 3, 10);
    }
    host.report().unwrap().state_hash
}

#[test]
fn what_runs_over_a_state_comes_to_its_hosts_hash_and_changes_no_file() {
    for scenario in ["bank", "gc"] {
        let dir = TempDir::new().unwrap();
        let hash = make(scenario, dir.path(), 1);
        let before = files(dir.path());
        let overlay = Overlay::over(dir.path()).unwrap();
        assert_eq!(seen(&overlay).0, hash);
        let end = run_over(&overlay);
        assert_ne!(end, hash);
        // What was committed is there for whoever opens it next, and for nobody who looks anew.
        assert_eq!(seen(&overlay).0, end);
        assert!(overlay.written_bytes() > 0);
        assert_eq!(seen(&overlay.blank()).0, hash);
        let verified = verify::verify(&overlay.open().unwrap()).unwrap();
        assert_eq!(verified.first_finding(), None, "{scenario}");
        drop(overlay);
        assert_eq!(files(dir.path()), before, "{scenario}");
        assert_eq!(finish(dir.path()), end, "{scenario}");
    }
}

#[test]
fn one_commit_is_seen_whatever_a_host_commits_and_copies_meanwhile() {
    let dir = TempDir::new().unwrap();
    make("bank", dir.path(), 1);
    let mut host = open(dir.path());
    let copy_log = || {
        let other =
            Connection::open_with_flags(dir.path().join("state.sqlite"), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    };
    let mut looks = Vec::new();
    while !host.is_quiescent().unwrap() {
        // Every other look begins when all of the log is in the file: then the log may begin anew under it.
        if looks.len() % 2 == 1 {
            copy_log();
        }
        let expected = host.report().unwrap().state_hash;
        looks.push((Overlay::over(dir.path()).unwrap(), expected));
        if looks.len() > 3 {
            looks.remove(0);
        }
        go_on(&mut host, 1, 3);
        copy_log();
        for (overlay, expected) in &looks {
            assert_eq!(seen(&overlay.blank()).0, *expected);
            assert_eq!(verify::verify(&overlay.blank().open().unwrap()).unwrap().first_finding(), None);
        }
    }
    let end = host.report().unwrap().state_hash;
    // A look outlives the host, and goes its own way to the same end.
    drop(host);
    let cut = |it: &(Overlay, String)| seen(&it.0).0 == it.1;
    assert!(looks.iter().all(cut));
    assert!(looks.len() == 3);
    drop(looks);
    assert_eq!(seen(&Overlay::over(dir.path()).unwrap()).0, end);
}

#[test]
fn what_a_killed_host_left_in_its_log_is_seen_and_stays_there() {
    let (dir, killed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    make("bank", dir.path(), 1);
    let mut host = open(dir.path());
    go_on(&mut host, 2, 10);
    let hash = host.report().unwrap().state_hash;
    for name in ["state.sqlite", "state.sqlite-wal"] {
        fs::copy(dir.path().join(name), killed.path().join(name)).unwrap();
    }
    drop(host);
    let before = files(killed.path());
    assert!(before["state.sqlite-wal"].len() > 4_096);
    let overlay = Overlay::over(killed.path()).unwrap();
    assert_eq!(seen(&overlay).0, hash);
    assert_eq!(run_over(&overlay), finish(dir.path()));
    drop(overlay);
    let mut after = files(killed.path());
    after.remove("state.sqlite-shm");
    assert_eq!(after, before);
}

#[test]
fn one_connection_at_a_time_is_over_a_state() {
    let dir = TempDir::new().unwrap();
    make("bank", dir.path(), 1);
    let overlay = Overlay::over(dir.path()).unwrap();
    let first = overlay.open().unwrap();
    assert!(overlay.open().is_err());
    assert!(overlay.blank().open().is_ok());
    drop(first);
    assert!(overlay.open().unwrap().altered(&Tables::layout()).unwrap().is_empty());
}
