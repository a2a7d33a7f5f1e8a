//! Faults of the process and its disk: the state is the old one or the new one, and goes on to the same end.

use vathost::experiment::{Class, Isolation, Limits};

use super::lab::{faults, runner};

#[test]
fn a_process_that_is_killed_in_a_crank_a_statement_or_a_commit_loses_its_block_alone() {
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
fn a_disk_that_fails_stops_the_host_and_loses_nothing() {
    let mut bank = runner("bank", Isolation::Rollback, Limits::default());
    for line in ["commit-2/store-op-3: eio", "commit-2/store-op-3: enospc", "commit-3: eio", "commit-1: enospc"] {
        let outcome = bank.run(&faults(line), 0);
        assert_eq!(outcome.class, Class::Recovered, "{line}: {outcome:?}");
    }
}

#[test]
fn power_that_is_lost_in_a_commit_leaves_the_old_state_or_the_new() {
    let mut bank = runner("bank", Isolation::Rollback, Limits::default());
    let outcome = bank.run(&faults("commit-3: lose unsynced"), 0);
    assert_eq!(outcome.class, Class::Recovered, "{outcome:?}");
    let classes: Vec<Class> = (0..12).map(|seed| bank.run(&faults("commit-3: tear at 512"), seed).class).collect();
    assert!(classes.iter().all(|it| [Class::Recovered, Class::Masked].contains(it)), "{classes:?}");
}
