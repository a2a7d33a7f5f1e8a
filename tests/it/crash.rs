//! The crash matrix: the host ends, or its disk fails, at each operation on a file of a whole life: laying out, installing, blocks with
//! snapshots, directives and an upgrade, closing, opening. All in this process: a machine that ended leaves its files as `lab::disk::Disk`
//! says, and they are opened in SQLite's own way. `tests/it/fault/store.rs` has processes that are really killed.
//!
//! A run of the tests tries some of the operations, evenly spread; `CRASH_MATRIX=all cargo test --test it crash::` tries all.

mod lab;

use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use vathost::{
    lab::disk::{Asked, Disk, DiskVerdict, Errno, FileOp, Loss},
    model::id::BundleId,
    state::table::Tables,
    store::Database,
};

use lab::{Blocks, Commits, Found, Golden, Workload, at, disturbed, failed_then_lost, from, lives};

const BOTH: [Commits; 2] = [Commits::InTurn, Commits::HandedOver];

/// Disturbs these operations, whoever writes the commits; how often the state was found at the last block that was told of, and at the one after it.
fn matrix(numbers: &[u64], disk: impl Fn(u64) -> Disk, after: impl Fn(&Disk)) -> (usize, usize) {
    let (mut old, mut new, mut bad) = (0, 0, Vec::new());
    for (number, commits) in numbers.iter().flat_map(|number| BOTH.map(|it| (*number, it))) {
        match disturbed(&disk(number), commits, &after) {
            Ok((ran, it)) => {
                old += usize::from(it == Found::Old);
                new += usize::from(it == Found::New);
                let named = |why: &str| why.contains("state `") && why.contains(": ");
                let unnamed = ran.err().filter(|it| !it.is_host_fault || !named(&it.why));
                bad.extend(unnamed.map(|it| (number, commits, it.why)));
            }
            Err(why) => bad.push((number, commits, why)),
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(old > 0);
    (old, new)
}

#[test]
fn the_workload_has_every_kind_of_operation_and_is_the_same_each_time() {
    let golden = Golden::get();
    let has = |wanted: fn(&FileOp) -> bool| golden.ops.iter().any(|(op, _)| wanted(op));
    assert!(has(|op| matches!(op, FileOp::Write { .. })) && has(|op| matches!(op, FileOp::Truncate { .. })));
    assert!(
        [FileOp::Create, FileOp::Sync, FileOp::Delete, FileOp::GrowIndex]
            .iter()
            .all(|it| golden.ops.iter().any(|(op, _)| op == it))
    );
    assert!(golden.ops.len() > 300 && golden.blocks.len() > 6, "{} {}", golden.ops.len(), golden.blocks.len());
    for commits in BOTH {
        let again = Golden::record(commits);
        assert_eq!((again.ops, again.blocks), (golden.ops.clone(), golden.blocks.clone()), "{commits:?}");
    }
}

#[test]
fn a_process_that_ends_at_any_operation_leaves_the_last_block_or_the_next() {
    let golden = Golden::get();
    let numbers: Vec<u64> = golden.sample(100).into_iter().chain(golden.syncs()).collect();
    let (_, new) = matrix(&numbers, |number| at(number, DiskVerdict::Die(Loss::Nothing)), |_| ());
    // What is written and not synced outlives a process.
    assert!(new > 0);
}

#[test]
fn power_that_is_lost_at_any_operation_leaves_the_last_block_or_the_next() {
    matrix(&Golden::get().losses(), |number| at(number, DiskVerdict::Die(Loss::Unsynced)), |_| ());
}

#[test]
fn writes_of_which_some_sectors_are_lost_leave_the_last_block_or_the_next() {
    for sector in [512, 4_096] {
        let torn = |number| at(number, DiskVerdict::Die(Loss::Torn { sector, seed: number }));
        matrix(&Golden::get().sample(40), torn, |_| ());
    }
}

#[test]
fn a_host_that_ends_again_and_again_in_its_recoveries_too_comes_to_the_same_end() {
    // More than the largest commit has, so that each life gets on.
    for number in [140, 157, 180] {
        for loss in [|_| Loss::Nothing, |_| Loss::Unsynced, |life| Loss::Torn { sector: 512, seed: life }] {
            for commits in BOTH {
                let lives = lives(number, commits, loss).unwrap();
                assert!(lives > 2, "{number}: {lives}");
            }
        }
    }
}

#[test]
fn an_operation_that_fails_once_stops_the_host_or_was_not_needed() {
    for errno in [Errno::Eio, Errno::Enospc] {
        // Then power is lost too: nothing rests on what a sync that failed left behind.
        let after = |disk: &Disk| disk.lose(Loss::Unsynced).unwrap();
        matrix(&Golden::get().sample(40), |number| at(number, DiskVerdict::Fail(errno)), after);
    }
}

#[test]
fn a_disk_that_fails_from_any_operation_on_stops_the_host() {
    for errno in [Errno::Eio, Errno::Enospc] {
        matrix(&Golden::get().sample(20), |number| from(number, DiskVerdict::Fail(errno)), |_| ());
    }
}

#[test]
fn a_sync_that_fails_is_never_tried_again_nor_anything_else_until_the_state_is_opened_anew() {
    let golden = Golden::get();
    // Before there is a log there is nothing but an empty file, which SQLite makes empty again.
    let log = golden.ops.iter().position(|it| *it == (FileOp::Create, "state.sqlite-wal".to_owned())).unwrap() as u64;
    for (number, commits) in golden.syncs().filter(|it| *it > log).flat_map(|number| BOTH.map(|it| (number, it))) {
        let later = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut count) = (later.clone(), 0);
        let disk = Disk::new(move |asked: &Asked<'_>| {
            count += 1;
            if count > number {
                seen.lock().unwrap().push(asked.op);
            }
            if count == number { DiskVerdict::Fail(Errno::Eio) } else { DiskVerdict::Go }
        });
        let dir = tempfile::tempdir().unwrap();
        let ran = Workload::get().run(dir.path(), &disk, commits, &mut Blocks::new());
        let later = later.lock().unwrap();
        match ran {
            Err(stopped) => {
                assert!(later.is_empty(), "{number}: {later:?}");
                assert!(
                    stopped.why.ends_with("disk I/O error: sync: Input/output error (os error 5)"),
                    "{}",
                    stopped.why
                );
            }
            // That of a log which is copied when the state is closed. Who opens it begins the index of the log anew.
            Ok(()) => assert!(later.first().is_none_or(|it| *it == FileOp::GrowIndex), "{number}: {later:?}"),
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_the_systems_memory_is_on_the_disk_before_anything_rests_on_it() {
    let mut came = 0;
    for sync in Golden::get().syncs() {
        for later in [1, 20, 50, 90, 130, 170] {
            for commits in BOTH {
                let both =
                    failed_then_lost(sync, commits, later).unwrap_or_else(|why| panic!("{sync} + {later}: {why}"));
                came += u32::from(both);
            }
        }
    }
    assert!(came > 10, "{came}");
}

/// A state with one commit that is so large that the log is copied with it: all operations on files, and how it ended.
fn large_commit(disk: &Disk) -> (TempDir, Result<(), String>) {
    let dir = tempfile::tempdir().unwrap();
    let mut database = Database::open_on(dir.path(), &Tables::layout(), Some(disk), None).unwrap();
    let bytes = vec![7; 36 << 20];
    let transaction = database.transaction().unwrap();
    transaction.put_bundle(BundleId::of(&bytes), &bytes).unwrap();
    let ended = transaction.commit().map_err(|it| it.to_string());
    drop(database);
    (dir, ended)
}

#[test]
fn a_disk_that_fails_while_the_log_is_copied_stops_the_host_and_the_commit_has_happened() {
    let ops = Arc::new(Mutex::new(Vec::new()));
    let seen = ops.clone();
    let disk = Disk::new(move |asked: &Asked<'_>| {
        seen.lock().unwrap().push((asked.op, asked.path.extension().unwrap() == "sqlite"));
        DiskVerdict::Go
    });
    let (_dir, ended) = large_commit(&disk);
    ended.unwrap();
    let ops = ops.lock().unwrap().clone();
    // The sync of the file itself behind many writes to it.
    let since_sync = |at: usize| ops[..at].iter().rev().take_while(|it| **it != (FileOp::Sync, true));
    let writes = |at: usize| since_sync(at).filter(|it| matches!(it, (FileOp::Write { .. }, true))).count();
    let copied = (0..ops.len()).find(|at| ops[*at] == (FileOp::Sync, true) && writes(*at) > 8_000).unwrap();
    let number = copied as u64 + 1;
    for number in [number, number - 1, number - 500] {
        let (dir, ended) = large_commit(&at(number, DiskVerdict::Fail(Errno::Eio)));
        let why = ended.unwrap_err();
        assert!(why.starts_with("copy the log (the state `"), "{why}");
        assert!(why.ends_with("Input/output error (os error 5)"), "{why}");
        assert_eq!(Database::open(dir.path(), &Tables::layout()).unwrap().bundles().unwrap().len(), 1);
    }
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let lies = |number| {
        let mut count = 0;
        Disk::new(move |_: &Asked<'_>| {
            count += 1;
            if count == number { DiskVerdict::Die(Loss::Unsynced) } else { DiskVerdict::Pretend }
        })
    };
    let errors: Vec<String> = Golden::get()
        .losses()
        .into_iter()
        .filter_map(|number| disturbed(&lies(number), Commits::HandedOver, |_| ()).err())
        .collect();
    assert!(errors.iter().any(|it| it.contains("nothing is left of the state")), "{errors:#?}");
}
