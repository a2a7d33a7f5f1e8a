//! The end of a vat.

use expect_test::expect;
use vathost::{
    model::{
        limits::CLEANUP_ROWS_PER_CRANK,
        value::{Bytes, Syscall},
    },
    state::table::{Options, Status},
};

use super::{World, plain};

#[test]
fn what_the_dead_vat_decided_rejects_and_messages_to_its_objects_splat() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get()->p+1; send o-50 make()->p+2; subscribe p+1; subscribe p+2");
    w.on("b.make", "resolve p-61=$o+1");
    w.on("a.later", "send o-51 hi()->p+3; subscribe p+3");
    w.call("a.go(b)");
    w.run();
    w.terminate("b");
    w.call("a.later");
    w.check(expect![[r#"
        a: notify p+1!Error(vat terminated)
        a: o+0.later()->p-61
        a: notify p+3!Error(vat terminated)"#]]);
}

#[test]
fn messages_that_waited_for_a_promise_of_the_dead_vat_get_its_rejection() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get()->p+1; send p+1 hi()->p+2; subscribe p+2");
    w.call("a.go(b)");
    w.run();
    w.terminate("b");
    w.check(expect!["a: notify p+2!Error(vat terminated)"]);
    assert_eq!(w.stray_promises(), 1, "p+1, which a still holds");
}

#[test]
fn other_entries_of_the_queue_are_unharmed() {
    let mut w = World::new("a b c");
    w.on("a.go", "send o-51 one(); send o-50 hi(); send o-51 two()");
    w.call("a.go(b,c)");
    w.step();
    w.terminate("b");
    w.check(expect![[r#"
        a: o+0.go(o-50,o-51)->p-60
        c: o+0.one()
        c: o+0.two()"#]]);
}

#[test]
fn terminating_twice_is_harmless() {
    let mut w = World::new("a b");
    w.terminate("b");
    w.terminate("b");
    assert_eq!(w.run(), "");
    w.terminate("b");
    assert_eq!(w.run(), "");
}

#[test]
fn a_vat_that_never_started_can_be_terminated() {
    let mut w = World::new("a");
    let vat = w.outside(|crank| {
        let data = vathost::model::value::CapData::plain("#{}");
        let vat = crank.create_vat("late", vathost::model::id::BundleId::of(b""), plain(), data)?;
        crank.terminate_with_reason(vat, "enough")?;
        Ok(vat)
    });
    assert_eq!(w.run(), "");
    assert!(!w.tables().is_alive(vat));
}

#[test]
fn a_promise_that_the_dead_vat_gave_away_as_a_result_is_still_settled() {
    let mut w = World::new("a b c");
    w.on("b.go", "send o-50 get()->p+1; send o-51 take(p+1); exit bye");
    w.on("c.get", "resolve p-60=fine");
    w.on("a.take", "subscribe p-60");
    w.call("b.go(c,a)");
    w.check(expect![[r#"
        b: o+0.go(o-50,o-51)->p-60
        b exited(false): bye
        c: o+0.get()->p-60
        a: o+0.take(p-60)
        a: notify p-60=fine"#]]);
}

#[test]
fn a_vat_with_many_rows_is_cleaned_up_in_many_cranks_each_within_its_budget() {
    let rows = 2 * CLEANUP_ROWS_PER_CRANK + 1;
    let mut w = World::new("a b");
    w.on_code("b.fill", move |syscalls| {
        (0..rows).try_for_each(|at| {
            syscalls.call(Syscall::VatstoreSet(Bytes::from(format!("{at:08}")), "v".into())).map(drop)
        })
    });
    w.call("b.fill");
    w.run();
    w.terminate("b");
    let left = |w: &World| w.stored("b").len() + w.tables().clist.of(w.vat("b")).count();
    let mut steps = vec![left(&w)];
    while w.step().is_some() {
        steps.push(left(&w));
    }
    // The root and the c-list entry of a message's result come first.
    assert_eq!(steps, [rows + 2, rows + 2 - CLEANUP_ROWS_PER_CRANK, rows + 2 - 2 * CLEANUP_ROWS_PER_CRANK, 0]);
    assert!(matches!(w.tables().vats.get(&w.vat("b")).unwrap().status, Status::Terminated { cleaned: true, .. }));
    assert_eq!(w.slog("vat-cleanup").len(), 3);
    assert_eq!(w.slog("vat-cleanup-complete").len(), 1);
}

#[test]
fn cleanup_goes_on_while_new_messages_come_and_hold_up_nobody_for_ever() {
    let rows = CLEANUP_ROWS_PER_CRANK;
    let mut w = World::new("a b");
    w.on_code("b.fill", move |syscalls| {
        (0..rows).try_for_each(|at| {
            syscalls.call(Syscall::VatstoreSet(Bytes::from(format!("{at:08}")), "v".into())).map(drop)
        })
    });
    w.call("b.fill");
    w.run();
    w.terminate("b");
    w.step();
    w.call("a.hi(b)");
    let answer = w.call("b.hi");
    w.check(expect!["a: o+0.hi(o-50)->p-60"]);
    assert_eq!(w.outcome(answer), "!Error(vat terminated)");
}

#[test]
fn importers_of_a_dead_vats_objects_hear_of_it_when_they_no_longer_reach_them() {
    let mut w = World::new("a b c");
    w.on("b.go", "send o-50 take(o+1,o+2); send o-51 take(o+1)");
    w.on("a.take", "drop o-50 o-51");
    w.call("b.go(a,c)");
    w.run();
    w.terminate("b");
    w.check(expect!["a: retireImports o-51"]);
    assert_eq!(w.clist("a"), "_o-50:ko23", "c reaches it still");
}

#[test]
fn all_rows_of_the_dead_are_gone_after_cleanup() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hi(o+1,p+1)->p+2");
    w.on("b.hi", "set k v; subscribe p-60; send o-50 ho(o+5,p+5)->p+6; drop o-50");
    w.call("a.go(b)");
    w.run();
    w.terminate("b");
    w.run();
    assert_eq!(w.tables().clist.of(w.vat("b")).count(), 0);
    assert_eq!(w.stored("b"), []);
    assert_eq!(w.block().transcript(w.vat("b"), vathost::model::id::DeliveryNum(0)).unwrap().count(), 0);
}

#[test]
fn a_critical_vats_death_is_a_kernel_panic_however_it_dies() {
    for script in ["trap boom", "send o-99 hi()", "exit bye", "exit-failure bad"] {
        let mut w = World::of([("a", Options { critical: true, ..plain() })]);
        w.on("a.hi", script);
        w.call("a.hi");
        let panic = w.panics();
        assert_eq!(panic.invariant, "vat.critical", "{script}");
        assert!(panic.detail.starts_with("v1 (a) ended"), "{}", panic.detail);
    }
}

#[test]
fn the_reason_says_what_happened() {
    for (script, reason) in [
        ("trap boom", "boom"),
        ("send o-99 hi()", "illegal syscall send: o-99 is not in the c-list"),
        ("exit bye", "bye"),
        ("exit-failure [o+1]", "#[\"$0\"]"),
    ] {
        let mut w = World::new("a");
        w.on("a.hi", script);
        w.call("a.hi");
        w.run();
        let row = w.tables().vats.get(&w.vat("a")).unwrap();
        assert_eq!(row.status, Status::Terminated { reason: reason.to_owned(), cleaned: true });
    }
}
