//! Garbage: who is told what, and when.

use expect_test::expect;
use vathost::{model::id::PromiseId, state::table::Options};

use super::{World, plain};

/// `a` exports `o+1` to the others, and lives on.
fn exported(names: &str, script: &str) -> World {
    let mut w = World::new(names);
    w.on("a.go", script);
    let others: Vec<&str> = names.split(' ').skip(1).collect();
    w.call(&format!("a.go({})", others.join(",")));
    w
}

#[test]
fn an_import_that_is_dropped_and_retired_is_dropped_and_retired_at_its_exporter() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("b.take", "drop o-50");
    w.on("b.later", "retire-imports o-50");
    w.run();
    let id = w.object("a", "o+1");
    assert_eq!(w.counts(id), Some((0, 1)));
    assert_eq!((w.clist("a"), w.clist("b")), ("o-50:ko21 _o+1:ko22 p-60:kp40".to_owned(), "_o-50:ko22".to_owned()));
    w.call("b.later");
    w.check(expect![[r#"
        b: o+0.later()->p-60
        a: retireExports o+1"#]]);
    assert_eq!(w.counts(id), None);
    assert_eq!(w.clist("b"), "p-60:kp41");
}

#[test]
fn an_export_that_its_vat_retires_is_retired_at_those_who_recognize_it() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("b.take", "drop o-50");
    w.on("a.dropExports", "retire-exports o+1");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(o-50)
        a: dropExports o+1
        b: retireImports o-50"#]]);
    assert_eq!(w.clist("b"), "");
}

#[test]
fn drop_and_retire_at_once_come_as_two_deliveries_in_that_order() {
    let mut w = exported("a b", "send o-50 take(o+1,o+2)");
    w.on("b.take", "drop o-50 o-51; retire-imports o-51 o-50");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(o-50,o-51)
        a: dropExports o+1,o+2
        a: retireExports o+1,o+2"#]]);
}

#[test]
fn of_two_importers_only_the_last_drop_counts() {
    let mut w = exported("a b c", "send o-50 take(o+1); send o-51 take(o+1)");
    w.on("b.take", "drop o-50");
    w.on("b.later", "retire-imports o-50");
    w.on("c.later", "drop o-50; retire-imports o-50");
    w.check(expect![[r#"
        a: o+0.go(o-50,o-51)->p-60
        b: o+0.take(o-50)
        c: o+0.take(o-50)"#]]);
    let id = w.object("a", "o+1");
    assert_eq!(w.counts(id), Some((1, 2)));
    w.call("b.later");
    w.run();
    assert_eq!(w.counts(id), Some((1, 1)));
    w.call("c.later");
    w.check(expect![[r#"
        c: o+0.later()->p-60
        a: dropExports o+1
        a: retireExports o+1"#]]);
}

#[test]
fn a_re_export_between_drop_and_action_negates_the_action() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("b.take", "drop o-50; retire-imports o-50");
    // dropExports is delivered; in it the object is exported anew, and the pending retireExports is no longer true.
    w.on("a.dropExports", "send o-50 again(o+1)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(o-50)
        a: dropExports o+1
        b: o+0.again(o-51)"#]]);
    assert_eq!(w.clist("a"), "o-50:ko21 o+1:ko22 p-60:kp40");
    assert_eq!(w.clist("b"), "o-51:ko22");
}

#[test]
fn what_is_reached_again_before_the_crank_ends_is_not_garbage() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("b.take", "send o+0 keep(o-50); drop o-50; retire-imports o-50");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(o-50)
        b: o+0.keep(o-51)"#]]);
    assert_eq!(w.counts(w.object("a", "o+1")), Some((1, 1)));
}

#[test]
fn an_object_that_was_dropped_is_reached_again_under_its_old_name() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("b.take", "drop o-50");
    w.on("a.again", "send o-50 take(o+1)");
    w.run();
    w.call("a.again");
    w.check(expect![[r#"
        a: o+0.again()->p-61
        b: o+0.take(o-50)"#]]);
    assert_eq!(w.clist("b"), "o-50:ko22");
}

#[test]
fn an_object_that_was_retired_comes_back_as_a_new_import() {
    let mut w = exported("a b c", "send o-50 take(o+1); send o-51 take(o+1)");
    w.on("b.take", "drop o-50; retire-imports o-50");
    w.on("a.again", "send o-50 again(o+1)");
    w.run();
    w.call("a.again");
    w.check(expect![[r#"
        a: o+0.again()->p-61
        b: o+0.again(o-51)"#]]);
}

#[test]
fn queued_messages_hold_their_target_and_their_slots() {
    // The message waits for a promise that b does not resolve yet; nobody else holds o+1.
    let mut w = exported("a b", "send o-50 get()->p+1; send p+1 hi(o+1)");
    w.on("b.now", "resolve p-60=$o-50; drop o-50");
    w.run();
    let id = w.object("a", "o+1");
    assert_eq!(w.counts(id), Some((1, 1)));
    w.call("b.now(a)");
    w.check(expect![[r#"
        b: o+0.now(o-50)->p-61
        a: o+0.hi(o+1)
        a: dropExports o+1
        a: retireExports o+1"#]]);
    assert_eq!(w.counts(id), None);
}

#[test]
fn the_data_of_a_settled_promise_hold_their_slots_as_long_as_somebody_holds_the_promise() {
    let mut w = exported("a b", "send o-50 take(p+1); resolve p+1=[o+1]");
    w.on("b.later", "subscribe p-60");
    w.on("b.notify", "drop o-50; retire-imports o-50");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(p-60)"#]]);
    assert_eq!(w.counts(w.object("a", "o+1")), Some((1, 1)));
    w.call("b.later");
    w.check(expect![[r#"
        b: o+0.later()->p-61
        b: notify p-60=[o-50]
        a: dropExports o+1
        a: retireExports o+1"#]]);
}

#[test]
fn a_promise_that_falls_takes_along_what_only_its_data_held() {
    let mut w = exported("a", "resolve p+2=[o+2,p+1]; resolve p+1=[o+1]");
    w.check(expect![[r#"
        a: o+0.go()->p-60
        a: dropExports o+2,o+1
        a: retireExports o+2,o+1"#]]);
    assert_eq!(w.stray_promises(), 0);
}

/// What the crank looked at already is not looked at again when it then loses its last hold: p+1 is a candidate before p+2, whose data
/// hold it. So it is in SwingSet (its set of candidates is a JavaScript `Set` under iteration), and so it stays with us.
#[test]
fn what_loses_its_last_hold_only_while_its_crank_collects_stays_as_in_swingset() {
    let mut w = exported("a", "resolve p+1=[o+1] p+2=[o+2,p+1]");
    w.check(expect![[r#"
        a: o+0.go()->p-60
        a: dropExports o+2
        a: retireExports o+2"#]]);
    assert_eq!(w.stray_promises(), 1);
    assert_eq!(w.promise(PromiseId(41)).refs, 0);
    assert_eq!(w.counts(w.object("a", "o+1")), Some((1, 1)));
}

#[test]
fn a_terminated_importer_releases_what_it_held() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.run();
    w.terminate("b");
    w.check(expect![[r#"
        a: dropExports o+1
        a: retireExports o+1"#]]);
}

#[test]
fn a_terminated_exporter_leaves_orphans_that_live_as_long_as_they_are_reached() {
    let mut w = exported("a b c", "send o-50 take(o+1); send o-51 take(o+1)");
    w.on("b.later", "drop o-50");
    w.on("c.later", "send o-50 hi()->p+1; subscribe p+1");
    w.on("c.notify", "drop o-50");
    w.run();
    let id = w.object("a", "o+1");
    w.terminate("a");
    w.run();
    assert_eq!(w.counts(id), Some((2, 2)));
    w.call("b.later");
    w.call("c.later");
    w.check(expect![[r#"
        b: o+0.later()->p-60
        c: o+0.later()->p-60
        c: notify p+1!Error(vat terminated)
        b: retireImports o-50
        c: retireImports o-50"#]]);
    assert_eq!(w.counts(id), None);
}

#[test]
fn abandoning_what_is_reached_makes_an_orphan_and_the_old_name_means_a_new_object() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("a.leave", "abandon o+1; send o-50 take(o+1)");
    w.on("b.use", "send o-50 hi()->p+1; subscribe p+1; send o-51 hi()");
    w.run();
    w.call("a.leave");
    w.run();
    w.call("b.use");
    w.check(expect![[r#"
        b: o+0.use()->p-60
        a: o+1.hi()
        b: notify p+1!Error(vat terminated)"#]]);
}

#[test]
fn an_abandoned_object_comes_back_to_its_maker_as_an_import() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("a.leave", "abandon o+1");
    w.on("b.back", "send o-51 here(o-50)");
    w.run();
    w.call("a.leave");
    w.call("b.back(a)");
    w.check(expect![[r#"
        a: o+0.leave()->p-61
        b: o+0.back(o-51)->p-60
        a: o+0.here(o-51)"#]]);
}

#[test]
fn abandoning_what_is_only_recognized_retires_it_at_once() {
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("b.take", "drop o-50");
    w.on("a.leave", "abandon o+1");
    w.run();
    w.call("a.leave");
    w.check(expect![[r#"
        a: o+0.leave()->p-61
        b: retireImports o-50"#]]);
    assert_eq!(w.clist("b"), "");
}

#[test]
fn abandoning_what_nobody_knows_removes_it_and_a_pending_action_for_it_is_moot() {
    let mut w = exported("a b", "send o-50 take(o+1,o+2)");
    w.on("b.take", "drop o-50 o-51; retire-imports o-50 o-51");
    w.on("a.dropExports", "abandon o+1");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(o-50,o-51)
        a: dropExports o+1,o+2
        a: retireExports o+2"#]]);
    assert_eq!(w.tables().objects.len(), 2);
}

#[test]
fn actions_come_before_the_run_queue_sorted_as_text_by_vat_kind_and_object() {
    let mut w = World::new("a b");
    let exports: Vec<String> = (1..=90).map(|it| format!("o+{it}")).collect();
    w.on("a.go", &format!("send o-50 take({})", exports.join(",")));
    w.call("a.go(b)");
    w.run();
    // ko22 … ko111 in b: o-50 … o-139. The texts of ko100 and above come before that of ko99.
    w.on("b.later", "send o+0 next(); drop o-127 o-128 o-126; retire-imports o-127");
    w.call("b.later");
    w.check(expect![[r#"
        b: o+0.later()->p-60
        a: dropExports o+79,o+77,o+78
        a: retireExports o+78
        b: o+0.next()"#]]);
}

#[test]
fn an_action_that_is_no_longer_true_is_dropped_without_a_delivery() {
    // b is to be told that its import is retired, and dies first.
    let mut w = exported("a b", "send o-50 take(o+1)");
    w.on("b.take", "drop o-50");
    w.on("a.leave", "abandon o+1");
    w.run();
    w.call("a.leave");
    w.step();
    assert_eq!(w.tables().gc.len(), 1);
    w.terminate("b");
    w.check(expect!["a: o+0.leave()->p-61"]);
    assert!(w.tables().gc.is_empty());
}

#[test]
fn what_a_retire_imports_names_is_forgotten_before_the_vat_hears_of_it() {
    let mut w = exported("a b", "send o-50 take(o+1,o+2)");
    w.on("b.take", "drop o-50 o-51");
    w.on("a.leave", "abandon o+1 o+2");
    w.on("b.retireImports", "try retire-imports o-50");
    w.run();
    w.call("a.leave");
    w.check(expect![[r#"
        a: o+0.leave()->p-61
        b: retireImports o-50,o-51
        b faulted: illegal syscall retireImports: o-50 is not in the c-list"#]]);
}

#[test]
fn a_promise_is_garbage_when_nobody_holds_it_however_it_stands() {
    let mut w = exported("a b", "send o-50 hi()->p+1");
    w.on("b.hi", "resolve p-60=x");
    w.run();
    // b settled it, but a still holds p+1, and may subscribe yet.
    assert_eq!(w.stray_promises(), 1);
    w.on("a.later", "subscribe p+1");
    w.call("a.later");
    w.check(expect![[r#"
        a: o+0.later()->p-61
        a: notify p+1=x"#]]);
    assert_eq!(w.stray_promises(), 0);
}

#[test]
fn results_from_outside_are_held_for_ever() {
    let mut w = World::new("a");
    w.on("a.hi", "resolve p-60=$o+1");
    w.call("a.hi");
    w.run();
    assert_eq!(w.outcome(PromiseId(40)), "=$ko21");
    assert_eq!(w.counts(w.object("a", "o+1")), Some((1, 1)));
}

fn reaps(options: Options, deliveries: usize) -> usize {
    let mut w = World::of([("a", options), ("b", plain())]);
    for _ in 0..deliveries {
        w.call("a.hi");
    }
    w.run().matches("bringOutYourDead").count()
}

#[test]
fn a_vat_brings_out_its_dead_after_so_many_deliveries() {
    let every = |n| Options { reap_interval: Some(n), ..plain() };
    // bringOutYourDead itself, and startVat, do not count.
    assert_eq!((reaps(every(1), 3), reaps(every(3), 8), reaps(every(3), 9), reaps(every(10), 9)), (3, 2, 3, 0));
}

#[test]
fn a_vat_brings_out_its_dead_after_so_many_references_in_gc_deliveries() {
    let run = |exports: &str, drop: &str| {
        let mut w = World::of([("a", Options { reap_gc_krefs: Some(3), ..plain() }), ("b", plain())]);
        w.on("a.go", &format!("send o-50 take({exports})"));
        w.on("b.take", drop);
        w.call("a.go(b)");
        w.run()
    };
    expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(o-50,o-51)
        a: dropExports o+1,o+2
        a: retireExports o+1,o+2
        a: bringOutYourDead"#]]
    .assert_eq(&run("o+1,o+2", "drop o-50 o-51; retire-imports o-50 o-51"));
    assert_eq!(run("o+1,o+2", "drop o-50 o-51").matches("bringOutYourDead").count(), 0);
    assert_eq!(run("o+1,o+2,o+3", "drop o-50 o-51 o-52").matches("bringOutYourDead").count(), 1);
}

#[test]
fn a_vat_that_is_never_to_bring_out_its_dead_does_not_unless_the_host_says_so() {
    assert_eq!(reaps(plain(), 50), 0);
    let mut w = World::new("a b");
    let vats = [w.vat("b"), w.vat("a"), w.vat("b")];
    w.outside(|crank| {
        crank.reap(vats);
        Ok(())
    });
    w.call("a.hi");
    w.check(expect![[r#"
        b: bringOutYourDead
        a: bringOutYourDead
        a: o+0.hi()->p-60"#]]);
}

#[test]
fn a_faulted_or_last_delivery_does_not_count_towards_the_next_reap() {
    let mut w = World::of([("a", Options { reap_interval: Some(1), ..plain() })]);
    w.on("a.hi", "exit bye");
    w.call("a.hi");
    w.check(expect![[r#"
        a: o+0.hi()->p-60
        a exited(false): bye"#]]);
}

#[test]
fn garbage_comes_before_bring_out_your_dead_and_that_before_messages() {
    let mut w = World::of([("a", plain()), ("b", Options { reap_interval: Some(1), ..plain() })]);
    w.on("a.go", "send o-50 take(o+1); send o-50 more()");
    w.on("b.take", "drop o-50");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(o-50)
        a: dropExports o+1
        b: bringOutYourDead
        b: o+0.more()
        b: bringOutYourDead"#]]);
}
