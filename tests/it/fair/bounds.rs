//! How much of the queues a vat may make, and what becomes of one that makes more.

use vathost::{
    model::{
        blame::Fault,
        id::VRef,
        value::{Delivery, Syscall},
    },
    state::table::{Load, Options, Status},
};

use super::{Role, Stage, Turn, role};

fn bounded(items: u64, bytes: u64) -> Options {
    Options { reap_interval: None, queued_max: items, queued_bytes_max: bytes, ..Options::default() }
}

/// Does this with `go`, and nothing with anything else.
fn at_go(act: impl Fn(&mut Turn<'_>) -> Result<(), Fault> + 'static) -> Role {
    role(move |it| if it.word() == "go" { act(it) } else { Ok(()) })
}

/// Why the vat died of being told `go`, or that it lives.
fn fate(options: Options, act: impl Fn(&mut Turn<'_>) -> Result<(), Fault> + 'static) -> String {
    let vats = vec![("a", options, at_go(act)), ("b", Options::default(), role(|_| Ok(())))];
    let mut stage = Stage::new(3, None, vats);
    stage.block.as_mut().unwrap().set_audit(1);
    stage.tell("a", "go", &["b"]);
    stage.run(u64::MAX);
    let tables = stage.block().tables();
    assert_eq!(tables.queue.load(stage.vat("a")), Load::default(), "nothing waits any more");
    match &tables.vats.get(&stage.vat("a")).unwrap().status {
        Status::Terminated { reason, .. } => reason.clone(),
        _ => "lives".to_owned(),
    }
}

fn sends(count: u64) -> impl Fn(&mut Turn<'_>) -> Result<(), Fault> {
    move |it| (0..count).try_for_each(|_| it.send(VRef::imported_object(50), "hi", &[], None))
}

#[test]
fn a_vat_that_sends_more_than_may_wait_is_at_fault() {
    assert_eq!(fate(bounded(10, 1 << 20), sends(10)), "lives");
    assert_eq!(fate(bounded(10, 1 << 20), sends(11)), "limit of queuedMax crossed: 11, at most 10");
}

#[test]
fn the_bytes_of_bodies_and_slots_are_counted() {
    // `#["hi",[]]` is ten bytes, and each slot eight more than its `"$0",`.
    assert_eq!(fate(bounded(100, 100), sends(10)), "lives");
    assert_eq!(fate(bounded(100, 100), sends(11)), "limit of queuedBytesMax crossed: 110, at most 100");
    let with_a_slot = |it: &mut Turn<'_>| it.send(VRef::imported_object(50), "hi", &[VRef::ROOT], None);
    assert_eq!(fate(bounded(100, 22), with_a_slot), "lives");
    assert!(fate(bounded(100, 21), with_a_slot).contains("crossed: 22"));
}

#[test]
fn news_of_what_a_vat_settles_is_counted_to_it() {
    let settles = |count: u64| {
        role(move |it| {
            if it.word() == "go" {
                for at in 0..count {
                    let result = it.fresh(at);
                    it.send(VRef::ROOT, "hi", &[], Some(result))?;
                    it.call(Syscall::Subscribe(result))?;
                }
            }
            it.result().map_or(Ok(()), |result| it.resolve(result, &[]))
        })
    };
    let run = |count| {
        let mut stage = Stage::new(3, None, vec![("a", bounded(8, 1 << 20), settles(count))]);
        stage.tell("a", "go", &[]);
        stage.run(u64::MAX);
        matches!(stage.block().tables().vats.get(&stage.vat("a")).unwrap().status, Status::Running)
    };
    // Each message that is delivered makes room for the news of its result.
    assert!(run(8));
    assert!(!run(9));
    // And at once: a promise that is settled already is news to whoever subscribes.
    let at_once = fate(bounded(2, 1 << 20), |it| {
        let promises: Vec<VRef> = (0..3).map(|at| it.fresh(at)).collect();
        it.send(VRef::imported_object(50), "take", &promises, None)?;
        it.resolve(promises[0], &[])?;
        it.resolve(promises[1], &[])?;
        it.resolve(promises[2], &[])
    });
    assert_eq!(at_once, "lives", "nobody waits for them");
}

#[test]
fn what_comes_from_outside_is_counted_to_nobody() {
    let vats = vec![("a", bounded(1, 64), at_go(|_| Ok(())))];
    let mut stage = Stage::new(3, None, vats);
    (0..50).for_each(|_| stage.tell("a", "go", &[]));
    assert_eq!(stage.block().tables().queue.load(stage.vat("a")), Load::default());
    assert_eq!(stage.run(u64::MAX), 50);
    assert_eq!(stage.told(stage.vat("a")).len(), 51, "it lives");
}

#[test]
fn messages_that_wait_for_a_promise_or_for_a_paused_vat_are_counted_too() {
    // `a` sends to the result of a message that `b` never answers.
    let patient = |it: &mut Turn<'_>| {
        let result = it.fresh(0);
        it.send(VRef::imported_object(50), "never", &[], Some(result))?;
        (0..5).try_for_each(|_| it.send(result, "then", &[], None))
    };
    let vats = vec![("a", bounded(6, 1 << 20), at_go(patient)), ("b", Options::default(), role(|_| Ok(())))];
    let mut stage = Stage::new(3, None, vats);
    stage.tell("a", "go", &["b"]);
    stage.run(u64::MAX);
    assert_eq!(stage.block().tables().queue.load(stage.vat("a")).items, 5, "the first was delivered");
    stage.tell("a", "go", &["b"]);
    stage.run(u64::MAX);
    let dead = &stage.block().tables().vats.get(&stage.vat("a")).unwrap().status;
    assert!(matches!(dead, Status::Terminated { reason, .. } if reason.contains("crossed: 7")), "{dead:?}");
}

#[test]
fn a_child_may_have_no_more_waiting_than_its_creator() {
    let run = |options: &'static str| {
        let creator = role(move |it| {
            if it.word() == "go" {
                let body = format!("#[\"createVat\",[\"child\",{{}},{{\"name\":\"child\"{options}}}]]");
                let result = it.fresh(0);
                it.send_raw(VRef::imported_object(50), &body, result)?;
                it.call(Syscall::Subscribe(result))?;
            }
            match it.delivery {
                // What it was told goes where the test can read it.
                Delivery::Notify(news) if news[0].rejected => {
                    let why = news[0].data.body.as_text().unwrap_or_default().to_owned();
                    it.call(Syscall::VatstoreSet("why".into(), why.as_str().into()))
                }
                _ => Ok(()),
            }
        });
        let mut stage = Stage::new(3, None, vec![("a", bounded(20, 4_000), creator)]);
        stage.roles.borrow_mut().insert("child".to_owned(), role(|_| Ok(())));
        stage.tell("a", "go", &["vatAdmin"]);
        stage.run(u64::MAX);
        let tables = stage.block().tables();
        let child = tables.vats.iter().find(|(_, it)| it.name == "child").map(|(_, it)| it.clone());
        let why = tables.vatstore.iter().next().map(|(_, it)| it.as_text().unwrap().to_owned());
        child.map(|it| (it.family, it.options.queued_max, it.options.queued_bytes_max)).ok_or(why)
    };
    let family = vathost::model::id::VatId(1);
    assert_eq!(run(""), Ok((family, 20, 4_000)));
    assert_eq!(run(",\"queuedMax\":19,\"queuedBytesMax\":1"), Ok((family, 19, 1)));
    for (options, why) in [
        (",\"queuedMax\":21", "option queuedMax may be 20 at the most"),
        (",\"queuedBytesMax\":4001", "option queuedBytesMax may be 4000 at the most"),
        (",\"weight\":2", "there is no option `weight`"),
    ] {
        let told = run(options).unwrap_err().unwrap();
        assert!(told.contains(why), "{told}");
    }
}
