//! Faults of the process and its disk: the state is the old one or the new one, and goes on to the same end.

use vathost::{
    lab::experiment::{Class, Isolation, Limits, store_ops},
    model::id::BlockHeight,
};

use super::lab::{base, faults, runner, vats};

#[test]
fn a_process_that_is_killed_in_a_crank_or_a_commit_loses_its_block_alone() {
    let mut bank = runner("bank", Isolation::Rollback, Limits::default());
    for line in ["crank-12: kill -9", "v2/delivery-3: kill -9", "commit-2: kill -9", "commit-1/store-op-1: kill -9"] {
        let outcome = bank.run(&faults(line), 0);
        assert_eq!((outcome.class, outcome.done.len()), (Class::Recovered, 1), "{line}: {outcome:?}");
    }
    for line in ["commit-99: kill -9", "commit-2/store-op-9999: eio", "crank-999: kill -9"] {
        assert_eq!(bank.run(&faults(line), 0).class, Class::NotReached, "{line}");
    }
}

#[test]
fn a_disk_that_fails_once_or_for_ever_stops_the_host_and_loses_nothing() {
    let mut bank = runner("bank", Isolation::Rollback, Limits::default());
    for line in ["commit-2/store-op-3: eio", "commit-2/store-op-3: enospc", "commit-3: eio", "commit-1: enospc"] {
        let outcome = bank.run(&faults(line), 0);
        assert_eq!(outcome.class, Class::Recovered, "{line}: {outcome:?}");
    }
}

#[test]
fn power_that_is_lost_leaves_what_was_told_of_and_before_that_the_old_state_or_the_new() {
    let mut bank = runner("bank", Isolation::Rollback, Limits::default());
    let mut class = |line: &str, seed| {
        let outcome = bank.run(&faults(line), seed);
        (outcome.class, outcome.detail.unwrap_or_default())
    };
    // The commit has returned: it is there.
    let kept = "the state was at block-3, with the disturbed block";
    for line in ["commit-3: lose unsynced", "commit-3: tear at 512"] {
        let (class, detail) = class(line, 0);
        assert!(class == Class::Masked && detail.contains(kept), "{line}: {class:?} {detail}");
    }
    let lost = "the state was at block-2, without the disturbed block";
    let (lose, detail) = class("commit-3/store-op-4: lose unsynced", 0);
    assert!(lose == Class::Recovered && detail.contains(lost), "{lose:?} {detail}");
    for seed in 0..4 {
        let (torn, detail) = class("commit-3/store-op-9: tear at 512", seed);
        assert!([Class::Recovered, Class::Masked].contains(&torn), "{torn:?} {detail}");
    }
}

#[test]
fn the_operations_of_each_commit_are_counted_and_there_are_no_more() {
    let cranks = 37;
    let ops = store_ops(&base(&vats("bank"), 5), cranks).unwrap();
    assert_eq!(ops.iter().map(|(height, _)| height.0).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(store_ops(&base(&vats("bank"), 5), cranks).unwrap(), ops);
    let (BlockHeight(height), count) = ops[4];
    let mut bank = runner("bank", Isolation::Rollback, Limits::default());
    let mut class = |op: u64| bank.run(&faults(&format!("commit-{height}/store-op-{op}: kill -9")), 0).class;
    // All is written before the last, which syncs it: what is written outlives a process.
    assert_eq!((class(count), class(count + 1)), (Class::Masked, Class::NotReached));
}
