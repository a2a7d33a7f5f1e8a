//! Where SwingSet itself breaks, found while recording vectors: each is a vat fault, or simply right.

use expect_test::expect;

use super::{World, pipelining, plain};

#[test]
fn resolving_what_the_vat_does_not_decide_is_its_fault() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(p+1)");
    w.on("b.take", "resolve p-60=mine");
    w.on("a.now", "resolve p+1=fine");
    w.call("a.go(b)");
    w.run();
    w.call("a.now");
    w.check(expect!["a: o+0.now()->p-61"]);
    assert!(!w.tables().is_alive(w.vat("b")));
}

#[test]
fn resolving_the_result_of_ones_own_message_is_a_fault() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hi()->p+1; resolve p+1=mine");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        a faulted: illegal syscall resolve: the vat does not decide p+1"#]]);
}

#[test]
fn resolving_what_is_settled_already_is_a_fault() {
    let mut w = World::new("a b");
    // The name p+1 would mean a new promise by then; p-60 does not.
    w.on("b.hi", "resolve p-60=one; resolve p-60=two");
    w.call("b.hi");
    w.check(expect![[r#"
        b: o+0.hi()->p-60
        b faulted: illegal syscall resolve: p-60 is not in the c-list"#]]);
}

#[test]
fn resolving_one_promise_twice_in_a_batch_is_a_fault() {
    let mut w = World::new("a");
    w.on("a.hi", "resolve p+1=one p-60=x p+1=two");
    w.call("a.hi");
    w.check(expect![[r#"
        a: o+0.hi()->p-60
        a faulted: illegal syscall resolve: p+1 twice"#]]);
}

#[test]
fn resolving_a_promise_that_was_given_away_as_a_result_is_a_fault() {
    let mut w = World::of([("a", pipelining()), ("b", plain())]);
    w.on("a.hi", "send o-50 hi()->p-60; resolve p-60=mine");
    w.call("a.hi(b)");
    w.check(expect![[r#"
        a: o+0.hi(o-50)->p-60
        a faulted: illegal syscall resolve: the vat does not decide p-60"#]]);
}

#[test]
fn giving_a_promise_away_twice_is_a_fault() {
    let mut w = World::of([("a", pipelining()), ("b", plain())]);
    w.on("a.hi", "send o-50 hi()->p-60; send o-50 ho()->p-60");
    w.call("a.hi(b)");
    w.check(expect![[r#"
        a: o+0.hi(o-50)->p-60
        a faulted: illegal syscall send: the vat does not decide p-60"#]]);
}

#[test]
fn sending_to_a_device_is_a_fault() {
    let mut w = World::new("a");
    w.on("a.hi", "send d-70 hi()");
    w.call("a.hi");
    w.check(expect![[r#"
        a: o+0.hi()->p-60
        a faulted: illegal syscall send: d-70 is a device"#]]);
}

#[test]
fn abandoning_an_export_twice_in_one_call_is_a_fault_and_in_two_calls_another() {
    for script in ["send o-50 hi(o+1); abandon o+1 o+1", "send o-50 hi(o+1); abandon o+1; abandon o+1"] {
        let mut w = World::new("a b");
        w.on("a.go", script);
        w.call("a.go(b)");
        w.run();
        assert!(!w.tables().is_alive(w.vat("a")), "{script}");
    }
}

/// `a` exported `o+1` to `b`, which drops and retires it: `dropExports` is next, `retireExports` pends behind it.
fn two_actions_pending() -> World {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(o+1,o+2)->p+1; subscribe p+1");
    w.on("b.take", "drop o-50 o-51; retire-imports o-50 o-51; resolve p-60=done");
    w.call("a.go(b)");
    w
}

#[test]
fn exit_in_a_gc_delivery_with_another_gc_action_pending_ends_the_vat_and_no_more() {
    for end in ["exit bye", "exit-failure bad", "try drop o-99", "trap boom", "try drop o-99; exit bye"] {
        let mut w = two_actions_pending();
        w.on("a.dropExports", end);
        w.run();
        assert!(!w.tables().is_alive(w.vat("a")), "{end}");
        assert!(w.tables().gc.is_empty());
        assert!(w.tables().objects.iter().all(|(_, it)| it.pinned), "{end}: only the roots are left");
        assert!(vathost::kernel::is_quiescent(w.block()));
    }
}

#[test]
fn a_hosts_terminate_while_gc_actions_pend_ends_the_vat_and_no_more() {
    let mut w = two_actions_pending();
    while w.tables().gc.is_empty() {
        w.step().unwrap();
    }
    assert_eq!(w.tables().gc.len(), 4);
    w.terminate("a");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(o-50,o-51)->p-60"#]]);
    assert!(w.tables().gc.is_empty());
    assert!(w.tables().objects.iter().all(|(_, it)| it.pinned));
    w.call("b.hi");
    w.check(expect!["b: o+0.hi()->p-61"]);
}

#[test]
fn a_hosts_terminate_of_the_importer_while_its_retire_imports_pends_ends_it_and_no_more() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(o+1)");
    w.on("b.take", "drop o-50");
    w.on("a.dropExports", "retire-exports o+1");
    w.call("a.go(b)");
    while w.step().is_some() {
        if w.tables().gc.iter().any(|(it, ())| it.vat() == w.vat("b")) {
            w.terminate("b");
        }
    }
    assert!(!w.tables().is_alive(w.vat("b")));
    assert!(w.tables().gc.is_empty());
}
