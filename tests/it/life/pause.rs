//! `pause` and `resume`.

use expect_test::expect;
use vathost::state::table::{QueueId, Status};

use super::{PAUSE, RESUME, TERMINATE, Town, UPGRADE, rig::Rig};

#[test]
fn what_is_for_a_paused_vat_waits_in_order_while_others_proceed() {
    let mut t = Town::new("a b");
    let x = t.create("x", "", &[]);
    assert_eq!(t.ask(x, PAUSE), "=#undefined");
    assert_eq!(*t.status("x"), Status::Paused { reason: "lunch".to_owned() });
    t.on("a.go", "send o-50 one(); send o-51 hi(); send o-50 two(); send o-50 three()");
    t.call("a.go(x,b)");
    t.check(expect![[r#"
        a: o+0.go(o-50,o-51)->p-60
        b: o+0.hi()"#]]);
    assert_eq!(t.tables().queue.of(QueueId::Pause(t.vat("x"))).count(), 3);
    assert_eq!(t.ask(x, RESUME), "=#undefined");
    t.check(expect![[r#"
        x: o+0.one()
        x: o+0.two()
        x: o+0.three()"#]]);
    assert_eq!(*t.status("x"), Status::Running);
}

#[test]
fn what_waited_goes_before_what_is_newer() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.ask(x, PAUSE);
    t.call("x.old");
    t.call("x.older");
    t.run();
    t.post(x, RESUME, &[]);
    t.call("a.newer");
    t.call("x.newest");
    t.check(expect![[r#"
        x: o+0.old()->p-60
        x: o+0.older()->p-61
        a: o+0.newer()->p-60
        x: o+0.newest()->p-62"#]]);
}

#[test]
fn notifies_garbage_reaps_and_options_wait_too() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.on("x.go", "send o-50 get(o+7)->p+1; subscribe p+1");
    t.call("x.go(a)");
    t.run();
    t.ask(x, PAUSE);
    t.on("a.now", "resolve p-60=late; drop o-50; retire-imports o-50");
    t.call("a.now");
    t.check(expect!["a: o+0.now()->p-61"]);
    let vat = t.vat("x");
    t.outside(|crank| {
        crank.reap([vat]);
        Ok(())
    });
    t.ask(x, "[\"changeOptions\",[{\"reapInterval\":50}]]");
    assert_eq!(t.run(), "");
    t.ask(x, RESUME);
    t.check(expect![[r#"
        x: dropExports o+7
        x: retireExports o+7
        x: notify p+1=late
        x: bringOutYourDead
        x: changeOptions"#]]);
    assert!(t.tables().gc.is_empty());
}

#[test]
fn a_paused_vat_can_be_terminated_and_its_queue_splats() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.ask(x, PAUSE);
    t.on("a.go", "send o-50 one()->p+1; send o-50 two()->p+2; subscribe p+1; subscribe p+2");
    t.call("a.go(x)");
    let vat = t.vat("x");
    t.outside(|crank| {
        crank.reap([vat]);
        Ok(())
    });
    t.run();
    t.ask(x, TERMINATE);
    t.check(expect![[r#"
        a: notify p+1!Error(vat terminated)
        a: notify p+2!Error(vat terminated)"#]]);
    assert!(matches!(t.status("x"), Status::Terminated { cleaned: true, .. }));
    assert_eq!(t.tables().queue.of(QueueId::Pause(vat)).count(), 0);
}

#[test]
fn a_paused_vat_is_upgraded_with_what_waits_for_it() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.on("x.give", "send o-50 take(o+7)");
    t.call("x.give(a)");
    t.run();
    t.ask(x, PAUSE);
    t.on("a.go", "send o-50 lost()->p+1; subscribe p+1");
    t.call("a.go");
    t.call("x.kept");
    t.run();
    t.ask(x, UPGRADE);
    t.ask(x, RESUME);
    t.check(expect![[r#"
        x: o+0.kept()->p-61
        a: notify p+1!Error(vat terminated)"#]]);
}

#[test]
fn pausing_twice_keeps_what_waits_and_resuming_who_runs_is_harmless() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    assert_eq!(t.ask(x, RESUME), "=#undefined");
    t.ask(x, PAUSE);
    t.call("x.hi");
    t.run();
    assert_eq!(t.ask(x, "[\"pause\",[\"dinner\"]]"), "=#undefined");
    assert_eq!(*t.status("x"), Status::Paused { reason: "dinner".to_owned() });
    t.ask(x, RESUME);
    t.check(expect!["x: o+0.hi()->p-60"]);
    t.ask(x, RESUME);
    assert_eq!((t.run(), t.status("x")), (String::new(), &Status::Running));
}

#[test]
fn a_reason_may_be_an_error_or_missing() {
    for (message, expected) in [
        ("[\"pause\",[{\"#error\":\"fire\",\"name\":\"Error\"}]]", "fire"),
        ("[\"pause\",[\"!$5\"]]", "$5"),
        ("[\"pause\",[]]", "no reason given"),
        ("[\"pause\",[5]]", "no reason given"),
    ] {
        let mut t = Town::new("a");
        let x = t.create("x", "", &[]);
        t.ask(x, message);
        assert_eq!(*t.status("x"), Status::Paused { reason: expected.to_owned() }, "{message}");
    }
}

#[test]
fn a_vat_that_is_paused_before_its_turn_gets_what_was_queued_after_the_resume() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.post(x, PAUSE, &[]);
    t.call("x.hi");
    t.call("x.ho");
    assert_eq!(t.run(), "");
    t.post(x, RESUME, &[]);
    t.post(x, PAUSE, &[]);
    // What waited goes before the second pause.
    t.check(expect![[r#"
        x: o+0.hi()->p-60
        x: o+0.ho()->p-61"#]]);
    assert!(t.tables().is_paused(t.vat("x")));
}

#[test]
fn a_vat_is_still_paused_after_a_restart() {
    let mut rig = Rig::new();
    let (root, facet) = rig.create("mortal", "{}", "{}");
    assert_eq!(rig.ask(root, "[\"increment\",[]]"), "#1");
    rig.ask(facet, PAUSE);
    let answers = [rig.post(root, "[\"increment\",[]]"), rig.post(root, "[\"increment\",[]]")];
    rig.run();
    rig.restart();
    rig.run();
    assert!(rig.block().tables().is_paused(rig.vat(root)));
    assert_eq!(answers.map(|it| rig.outcome(it)), ["pending", "pending"]);
    rig.restart();
    rig.ask(facet, RESUME);
    assert_eq!(answers.map(|it| rig.outcome(it)), ["#2", "#3"]);
}
