//! `onFault`: what a fault means for a vat that is not to die of it.

use expect_test::expect;
use vathost::state::table::{Item, QueueId, Status};

use super::{RESUME, Town, UPGRADE, rig::Rig};

const PAUSES: &str = ",\"onFault\":\"pause\"";
const REJECTS: &str = ",\"onFault\":\"reject\"";

#[test]
fn a_fault_pauses_the_vat_as_it_was_with_the_delivery_first() {
    let mut t = Town::new("a");
    let x = t.create("x", PAUSES, &[]);
    t.on("x.ready", "set k v");
    t.call("x.ready");
    t.run();
    let rows = (t.clist("x"), t.stored("x"));
    t.on("x.bad", "set k other; send o-50 hi(o+7); trap boom");
    t.call("x.bad(a)");
    t.call("x.next");
    t.check(expect!["x: o+0.bad(o-50)->p-61"]);
    assert_eq!((t.clist("x"), t.stored("x")), rows);
    assert_eq!(*t.status("x"), Status::Paused { reason: "boom".to_owned() });
    let first = t.tables().queue.of(QueueId::Pause(t.vat("x"))).next().unwrap().1.clone();
    assert!(matches!(first, Item::Send { message, .. } if message.methargs.body == "#[\"bad\",[\"$0\"]]".into()));
    t.ask(x, UPGRADE);
    t.ask(x, RESUME);
    t.check(expect![[r#"
        x: o+0.bad(o-50)->p-61
        x: o+0.next()->p-62"#]]);
}

#[test]
fn an_illegal_syscall_pauses_too_and_a_second_fault_pauses_again() {
    let mut t = Town::new("a");
    let x = t.create("x", PAUSES, &[]);
    for _ in 0..2 {
        t.on("x.bad", "send o-99 hi()");
    }
    t.call("x.bad");
    t.run();
    assert!(t.tables().is_paused(t.vat("x")));
    t.ask(x, RESUME);
    assert!(t.tables().is_paused(t.vat("x")));
    t.ask(x, RESUME);
    t.check(expect![[r#"
        x: o+0.bad()->p-60
        x: o+0.bad()->p-60"#]]);
    assert_eq!(*t.status("x"), Status::Running);
}

#[test]
fn any_kind_of_delivery_waits_after_its_fault() {
    for event in ["notify", "dropExports", "bringOutYourDead", "changeOptions"] {
        let mut t = Town::new("a");
        let x = t.create("x", PAUSES, &[]);
        t.on("x.go", "send o-50 get(o+7)->p+1; subscribe p+1");
        t.call("x.go(a)");
        t.run();
        t.on(&format!("x.{event}"), "trap boom");
        let vat = t.vat("x");
        match event {
            "notify" => t.on("a.now", "resolve p-60=late"),
            "dropExports" => t.on("a.now", "drop o-50"),
            "bringOutYourDead" => t.outside(|crank| {
                crank.reap([vat]);
                Ok(())
            }),
            _ => drop(t.post(x, "[\"changeOptions\",[{}]]", &[])),
        }
        t.call("a.now");
        t.run();
        assert!(t.tables().is_paused(vat), "{event}");
        t.ask(x, RESUME);
        let told = t.run();
        assert!(told.starts_with(&format!("x: {event}")), "{event}: {told}");
        assert_eq!(*t.status("x"), Status::Running);
    }
}

#[test]
fn a_rejecting_vat_gives_its_sender_the_fault_and_lives() {
    let mut t = Town::new("a");
    t.create("x", REJECTS, &[]);
    t.on("a.go", "send o-50 bad(o+1)->p+1; send o-50 good()->p+2; subscribe p+1; subscribe p+2");
    t.on("x.bad", "set k v; send o-50 hi(); resolve p-60=never; trap boom");
    t.on("x.good", "get k; resolve p-60=fine");
    t.call("a.go(x)");
    t.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        x: o+0.bad(o-50)->p-60
        a: dropExports o+1
        a: retireExports o+1
        x: o+0.good()->p-60
        x> get k = "nothing"
        a: notify p+1!Error(boom)
        a: notify p+2=fine"#]]);
    assert_eq!(*t.status("x"), Status::Running);
}

#[test]
fn a_rejecting_vat_that_faults_in_what_nobody_waits_for_loses_it() {
    let mut t = Town::new("a");
    t.create("x", REJECTS, &[]);
    t.on("x.go", "send o-50 get()->p+1; subscribe p+1");
    t.on("a.get", "resolve p-60=yes");
    t.on("x.notify", "trap boom");
    t.call("x.go(a)");
    t.check(expect![[r#"
        x: o+0.go(o-50)->p-60
        a: o+0.get()->p-60
        x: notify p+1=yes"#]]);
    assert!(t.tables().is_alive(t.vat("x")));
    // The promise that it was told of is gone; the one that it decides is not.
    expect!["o-50:ko20 p-60:kp41"].assert_eq(&t.clist("x"));
}

#[test]
fn an_illegal_syscall_is_never_rejected() {
    let mut t = Town::new("a");
    t.create("x", REJECTS, &[]);
    t.on("x.bad", "send o-99 hi()");
    t.call("x.bad");
    t.check(expect![[r#"
        x: o+0.bad()->p-60
        x faulted: illegal syscall send: o-99 is not in the c-list"#]]);
    assert!(!t.tables().is_alive(t.vat("x")));
}

#[test]
fn a_heap_is_as_it_was_before_the_fault_and_an_upgrade_delivers_what_paused_it() {
    for restarts in [false, true] {
        let mut rig = Rig::new();
        let (root, facet) = rig.create("mortal", "{}", "{\"onFault\":\"pause\"}");
        rig.ask(root, "[\"increment\",[]]");
        let vat = rig.vat(root);
        let stored = |rig: &Rig| format!("{:?}", rig.block().tables().vatstore.iter().collect::<Vec<_>>());
        let before = stored(&rig);
        let (bad, next) = (rig.post(root, "[\"trap\",[]]"), rig.post(root, "[\"increment\",[]]"));
        rig.run();
        assert!(rig.block().tables().is_paused(vat));
        assert_eq!((rig.outcome(bad), rig.outcome(next), stored(&rig)), ("pending".into(), "pending".into(), before));
        if restarts {
            rig.restart();
        }
        rig.ask(facet, "[\"upgrade\",[\"mortal\",{\"tame\":true}]]");
        rig.ask(facet, RESUME);
        assert_eq!((&*rig.outcome(bad), &*rig.outcome(next)), ("#1", "#2"));
        assert_eq!(rig.ask(root, "[\"total\",[]]"), "#3");
    }
}

#[test]
fn a_vat_that_is_resumed_without_an_upgrade_has_its_heap_and_faults_again() {
    let mut rig = Rig::new();
    let (root, facet) = rig.create("mortal", "{}", "{\"onFault\":\"pause\"}");
    rig.ask(root, "[\"increment\",[]]");
    rig.post(root, "[\"lie\",[]]");
    rig.run();
    rig.ask(facet, RESUME);
    assert!(rig.block().tables().is_paused(rig.vat(root)));
    rig.ask(facet, "[\"changeOptions\",[{\"onFault\":\"reject\"}]]");
    rig.ask(facet, RESUME);
    // A lie is not rejected.
    assert!(!rig.block().tables().vats.iter().any(|(_, it)| it.status == Status::Running));
}

#[test]
fn a_rejecting_guest_has_its_heap_and_its_store_back() {
    let mut rig = Rig::new();
    let (root, _) = rig.create("mortal", "{}", "{\"onFault\":\"reject\"}");
    let mut told = Vec::new();
    for method in ["increment", "trap", "increment", "total"] {
        told.push(rig.ask(root, &format!("[\"{method}\",[]]")));
        rig.restart();
    }
    assert!(told[1].starts_with("!#{\"#error\":\"trap: "), "{}", told[1]);
    told.remove(1);
    assert_eq!(told, ["#1", "#2", "#2"]);
}

#[test]
fn a_rejecting_vat_loses_any_kind_of_delivery_to_a_fault_and_goes_on() {
    for event in ["dropExports", "retireExports", "bringOutYourDead", "changeOptions"] {
        let mut t = Town::new("a");
        let x = t.create("x", REJECTS, &[]);
        t.on("x.go", "send o-50 take(o+7)");
        t.call("x.go(a)");
        t.run();
        t.on(&format!("x.{event}"), "set k v; trap boom");
        let vat = t.vat("x");
        match event {
            "bringOutYourDead" => t.outside(|crank| {
                crank.reap([vat]);
                Ok(())
            }),
            "changeOptions" => drop(t.post(x, "[\"changeOptions\",[{}]]", &[])),
            _ => t.on("a.now", "drop o-50; retire-imports o-50"),
        }
        t.call("a.now");
        let told = t.run();
        assert!(told.contains(&format!("x: {event}")), "{event}: {told}");
        t.call("x.hi");
        assert!(t.run().starts_with("x: o+0.hi()"), "{event}");
        assert_eq!((t.status("x"), t.stored("x")), (&Status::Running, Vec::new()), "{event}");
    }
}
