//! The commit of a staged block, and its undoing, on a disk that ends at each of their operations: state, height, hash and result
//! are one transaction, so what is found is all of the block or nothing of it.
//!
//! A run of the tests tries some of the operations, evenly spread, with each kind of loss; `CRASH_MATRIX=all` tries all.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tempfile::TempDir;
use vathost::{
    HostOptions,
    host::staged::{BlockResult, ReplicaInfo, StagedHost},
    lab::disk::{Asked, Disk, DiskVerdict, Loss},
};

use super::{POLICY, decide, install, next, options, purse};

/// A state of a few blocks; the last one can be undone.
struct Before {
    dir: TempDir,
    info: ReplicaInfo,
    result: BlockResult,
}

/// A step that a staged host does durably, in one transaction.
type Act = fn(&mut StagedHost) -> bool;

fn open(dir: &Path, disk: Option<&Disk>) -> StagedHost {
    let files = disk.map(|it| Arc::new(it.clone()) as _);
    let options = HostOptions { files, snapshot_interval: Some(2), ..options(Some(dir.to_owned())) };
    StagedHost::new(install("bank", options), true).unwrap()
}

fn commit(host: &mut StagedHost) -> bool {
    let header = next(host);
    host.decide(&header, [purse(7), purse(8)], &POLICY).is_ok()
}

fn undo(host: &mut StagedHost) -> bool {
    host.undo_last().is_ok()
}

impl Before {
    fn new() -> Before {
        let dir = tempfile::tempdir().unwrap();
        let mut host = open(dir.path(), None);
        (0..3).for_each(|it| drop(decide(&mut host, vec![purse(it)])));
        let (info, result) = (host.info().unwrap(), host.result_of(3).unwrap().unwrap());
        drop(host);
        Before { dir, info, result }
    }

    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.dir.path()).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
        }
        copy
    }

    /// Ends the machine at the operation of this number after the act began. Returns what is found, or nothing where the act has no such
    /// operation.
    fn end_at(&self, number: u64, loss: Loss, act: Act) -> Option<(TempDir, bool)> {
        let copy = self.copy();
        let armed = Arc::new(AtomicBool::new(false));
        let (is_armed, mut count) = (armed.clone(), 0);
        let disk = Disk::new(move |_: &Asked<'_>| {
            count += u64::from(is_armed.load(Ordering::SeqCst));
            if count == number { DiskVerdict::Die(loss) } else { DiskVerdict::Go }
        });
        let mut host = open(copy.path(), Some(&disk));
        armed.store(true, Ordering::SeqCst);
        let done = act(&mut host);
        let ended = disk.is_dead();
        armed.store(false, Ordering::SeqCst);
        drop(host);
        ended.then_some((copy, done))
    }
}

/// The numbers of some operations up to this one, the last among them.
fn sample(last: u64) -> impl Iterator<Item = u64> {
    let all = std::env::var_os("CRASH_MATRIX").is_some_and(|it| it == "all");
    let most = if all { last } else { last.min(8) };
    (1..=most).map(move |it| it * last / most)
}

/// Tries operations of an act, with each kind of loss, and checks what is found; how often the act was found undone and done.
fn matrix(act: Act, check: impl Fn(&Before, &mut StagedHost) -> bool) -> (u64, u64) {
    let before = Before::new();
    let last = (1..).step_by(16).find(|it| before.end_at(*it, Loss::Nothing, act).is_none()).unwrap();
    let last = (1..last).rfind(|it| before.end_at(*it, Loss::Nothing, act).is_some()).unwrap();
    let (mut old, mut new) = (0, 0);
    let losses: [fn(u64) -> Loss; 3] = [|_| Loss::Nothing, |_| Loss::Unsynced, |seed| Loss::Torn { sector: 512, seed }];
    for loss in losses {
        for number in sample(last) {
            let (found, done) = before.end_at(number, loss(number), act).unwrap();
            let mut host = open(found.path(), None);
            let is_new = check(&before, &mut host);
            assert!(is_new || !done, "{number}: what the host said is there");
            old += u64::from(!is_new);
            new += u64::from(is_new);
        }
    }
    (old, new)
}

#[test]
fn a_commit_that_ends_anywhere_leaves_state_height_hash_and_result_or_none_of_them() {
    let (old, new) = matrix(commit, |before, host| {
        let (info, result) = (host.info().unwrap(), host.result_of(4).unwrap());
        let header = result.as_ref().map_or_else(|| next(host), |it| it.header.clone());
        match &result {
            None => assert_eq!(info, before.info),
            Some(it) => assert_eq!((info.height, &info.state_hash), (4, &it.state_hash)),
        }
        // Executed now, or answered from the record: the same block either way.
        let again = host.decide(&header, [purse(7), purse(8)], &POLICY).unwrap();
        assert_eq!((again.receipts.len(), host.info().unwrap().height), (2, 4));
        assert!(result.as_ref().is_none_or(|it| *it == again));
        assert_eq!(host.undo_last().unwrap(), before.info, "the record to undo it belongs to the transaction, too");
        result.is_some()
    });
    assert!(old > 3 && new > 0, "{old} {new}");
}

#[test]
fn an_undo_that_ends_anywhere_leaves_the_block_whole_or_gone() {
    let (old, new) = matrix(undo, |before, host| {
        let (info, result) = (host.info().unwrap(), host.result_of(3).unwrap());
        let undone = info.height == 2;
        if undone {
            assert_eq!(result, None);
            assert_eq!(info.state_hash, before.result.header.prev_state_hash);
            assert!(host.undo_last().is_err(), "no second block is undone");
        } else {
            assert_eq!((info, result), (before.info.clone(), Some(before.result.clone())));
            assert_eq!(host.undo_last().unwrap().height, 2);
        }
        undone
    });
    assert!(old > 3 && new > 0, "{old} {new}");
}
