//! What a commit that was handed over keeps others from, and how its end is told.

use std::{sync::mpsc, thread, time::Duration};

use crate::{
    model::blame::HostFault,
    store::{Database, Handover, Meta},
};

fn meta(scenario: &str) -> Meta {
    Meta { scenario: scenario.to_owned(), ..Meta::default() }
}

fn put(database: &mut Database, scenario: &str) {
    let transaction = database.transaction().expect("begins");
    transaction.put_meta(&meta(scenario)).expect("writes");
    transaction.commit().expect("commits");
}

#[test]
fn who_asks_for_the_file_gets_it_after_the_commit_that_was_handed_over() {
    let mut database = Database::memory(&[]).expect("a database");
    put(&mut database, "before");
    let (handover, outcome) = Handover::of(&database);
    let database = &database;
    thread::scope(|scope| {
        let (send, answers) = mpsc::channel();
        for ask in [
            |it: &Database| it.meta().expect("reads").map(|it| it.scenario),
            |it: &Database| {
                it.file.settle();
                None
            },
        ] {
            let send = send.clone();
            scope.spawn(move || send.send(ask(database)));
        }
        answers.recv_timeout(Duration::from_millis(100)).expect_err("nobody is answered yet");
        assert!(outcome.get().is_none());
        scope.spawn(move || {
            handover.write(|transaction| {
                transaction.put_meta(&meta("after"))?;
                // Who writes may ask as well.
                database.meta().map(|it| assert_eq!(it, Some(meta("after"))))
            });
        });
        let mut answers = [answers.recv().expect("one"), answers.recv().expect("the other")];
        answers.sort();
        assert_eq!(answers, [None, Some("after".to_owned())]);
        outcome.wait().expect("it is durable");
    });
}

#[test]
fn a_commit_that_fails_or_is_never_written_is_told_and_kept_with_the_file() {
    for write in [true, false] {
        let mut database = Database::memory(&[]).expect("a database");
        put(&mut database, "before");
        let (handover, outcome) = Handover::of(&database);
        match write {
            true => handover.write(|transaction| {
                transaction.put_meta(&meta("after"))?;
                Err(HostFault::new("write", "on purpose"))
            }),
            false => drop(handover),
        }
        let why = if write { "on purpose" } else { "whoever was to write it has ended" };
        assert_eq!(outcome.wait().expect_err("it failed").why, why);
        assert_eq!(database.file.check().expect_err("it is kept").why, why);
        assert_eq!(database.meta().expect("reads"), Some(meta("before")));
    }
}

#[test]
fn the_folder_of_a_state_stays_locked_until_the_commit_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let open = || Database::open(dir.path(), &[]);
    let database = open().expect("opens");
    let (handover, outcome) = Handover::of(&database);
    drop(database);
    assert_eq!(open().expect_err("it is locked").why, "another process has it open");
    handover.write(|transaction| transaction.put_meta(&meta("after")));
    outcome.wait().expect("it is durable");
    assert_eq!(open().expect("opens").meta().expect("reads"), Some(meta("after")));
}
