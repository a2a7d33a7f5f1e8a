//! Vat faults: whose fault it is, and that nothing is left of the delivery.

use expect_test::expect;

use super::World;

#[test]
fn an_unknown_reference_ends_the_vat_and_its_sender_sees_that_it_terminated() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hi()->p+1; subscribe p+1");
    w.on("b.hi", "send o-99 hi()");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.hi()->p-60
        b faulted: illegal syscall send: o-99 is not in the c-list
        a: notify p+1!Error(vat terminated)"#]]);
    assert!(!w.tables().is_alive(w.vat("b")));
}

#[test]
fn an_illegal_syscall_ends_the_vat_even_where_it_swallows_the_error_and_goes_on() {
    let mut w = World::new("a b");
    w.on("b.hi", "try subscribe p-99; set k v; resolve p-60=fine");
    let answer = w.call("b.hi");
    w.check(expect![[r#"
        b: o+0.hi()->p-60
        b faulted: illegal syscall subscribe: p-99 is not in the c-list"#]]);
    assert_eq!(w.outcome(answer), "!Error(vat terminated)");
    assert_eq!(w.stored("b"), []);
}

#[test]
fn an_illegal_syscall_comes_before_a_trap_and_a_trap_before_an_exit() {
    let mut w = World::new("a b c");
    w.on("a.hi", "exit bye; try drop o-99; trap boom");
    w.on("b.hi", "exit bye; trap boom");
    w.on("c.hi", "exit one; exit-failure two; exit three");
    w.call("a.hi");
    w.call("b.hi");
    w.call("c.hi");
    w.check(expect![[r#"
        a: o+0.hi()->p-60
        a faulted: illegal syscall dropImports: o-99 is not in the c-list
        b: o+0.hi()->p-60
        b faulted: boom
        c: o+0.hi()->p-60
        c exited(false): three"#]]);
}

#[test]
fn a_fault_in_start_vat_ends_the_vat_and_messages_that_waited_for_it_splat() {
    let mut w = World::new("a");
    let (vat, root) = w.outside(|crank| {
        let data = vathost::model::value::CapData::plain("#{}");
        let vat = crank.create_vat("late", vathost::model::id::BundleId::of(b""), super::plain(), data)?;
        Ok((vat, crank.root(vat)?))
    });
    w.on("late.startVat", "trap no start");
    let data = vathost::model::value::CapData::plain("#[\"hi\",[]]");
    let answer = w.outside(|crank| crank.send_from_outside(root.into(), data, Some(("late", "hi"))));
    w.run();
    assert!(!w.tables().is_alive(vat));
    assert_eq!(w.outcome(answer), "!Error(vat terminated)");
}

#[test]
fn exit_without_failure_keeps_the_delivery_and_then_ends_the_vat() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 stop(o+0)->p+1; subscribe p+1; send o-50 more()->p+2; subscribe p+2");
    w.on("b.stop", "send o-50 bye(o+1); resolve p-60=stopped; exit [o+1]; send o-50 after()");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.stop(o-50)->p-60
        b exited(false): [ko22]
        a: o+0.bye(o-51)
        a: notify p+1=stopped
        a: o+0.after()
        a: notify p+2!Error(vat terminated)"#]]);
}

#[test]
fn exit_with_failure_undoes_the_delivery_and_ends_the_vat() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 stop(o+0)->p+1; subscribe p+1");
    w.on("b.stop", "send o-50 bye(o+1); set k v; resolve p-60=stopped; exit-failure bad");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.stop(o-50)->p-60
        b exited(true): bad
        a: notify p+1!Error(vat terminated)"#]]);
}

#[test]
fn a_fault_in_a_notify_drops_the_notify() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get()->p+1; subscribe p+1");
    w.on("b.get", "resolve p-60=yes");
    w.on("a.notify", "trap boom");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.get()->p-60
        a: notify p+1=yes
        a faulted: boom"#]]);
    assert_eq!(w.tables().promises.len(), 1, "the awaited one");
}

#[test]
fn a_fault_in_a_gc_delivery_ends_the_vat_and_the_action_is_moot() {
    for kind in ["dropExports", "retireExports"] {
        let mut w = World::new("a b");
        w.on("a.go", "send o-50 take(o+1)");
        w.on("b.take", "drop o-50; retire-imports o-50");
        w.on(&format!("a.{kind}"), "trap boom");
        w.call("a.go(b)");
        w.run();
        assert!(!w.tables().is_alive(w.vat("a")), "{kind}");
        assert!(w.tables().gc.is_empty());
    }
}

#[test]
fn a_fault_in_bring_out_your_dead_ends_the_vat() {
    let mut w = World::new("a");
    w.on("a.bringOutYourDead", "trap boom");
    let vat = w.vat("a");
    w.outside(|crank| {
        crank.reap([vat]);
        Ok(())
    });
    w.check(expect![[r#"
        a: bringOutYourDead
        a faulted: boom"#]]);
}

#[test]
fn a_fault_of_one_vat_leaves_the_others_and_their_messages_alone() {
    let mut w = World::new("a b c");
    w.on("a.go", "send o-50 hi(); send o-51 hi()->p+1; send o-50 hi(); send o-51 ho(); subscribe p+1");
    w.on("b.hi", "trap boom");
    w.on("c.hi", "resolve p-60=fine");
    w.call("a.go(b,c)");
    w.check(expect![[r#"
        a: o+0.go(o-50,o-51)->p-60
        b: o+0.hi()
        b faulted: boom
        c: o+0.hi()->p-60
        c: o+0.ho()
        a: notify p+1=fine"#]]);
}

#[test]
fn what_a_vat_decided_is_rejected_when_it_dies_in_the_order_of_its_names_as_text() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(p+10,p+2,p+1)");
    w.on("b.take", "subscribe p-60; subscribe p-61; subscribe p-62");
    w.on("a.die", "exit bye");
    w.call("a.go(b)");
    w.run();
    w.call("a.die");
    w.check(expect![[r#"
        a: o+0.die()->p-61
        a exited(false): bye
        b: notify p-62!Error(vat terminated)
        b: notify p-60!Error(vat terminated)
        b: notify p-61!Error(vat terminated)"#]]);
}

#[test]
fn syscalls_after_an_exit_are_ordinary_ones() {
    let mut w = World::new("a b");
    w.on("a.go", "exit bye; send o-50 hi(o+1); subscribe p+1; get k");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        a> get k = "nothing"
        a exited(false): bye
        b: o+0.hi(o-50)"#]]);
}
