//! `upgrade`.

use expect_test::expect;
use vathost::{model::id::DeliveryNum, state::transcript::End};

use super::{PAUSE, RESUME, TERMINATE, Town, UPGRADE, rig::Rig};

#[test]
fn a_null_upgrade_keeps_what_is_durable_and_loses_the_rest() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.on("x.give", "set k v; send o-50 take(o+d1/1,o+7)");
    t.call("x.give(a)");
    t.run();
    assert_eq!(t.ask(x, UPGRADE), "=#{\"incarnationNumber\":1}");
    t.log();
    t.on("a.go", "send o-50 hi(); send o-51 hi()->p+1; send o-52 hi(); subscribe p+1");
    t.on("x.hi", "get k");
    t.call("a.go(x)");
    t.check(expect![[r#"
        a: o+0.go(o-52)->p-60
        x: o+d1/1.hi()
        x> get k = "v"
        x: o+0.hi()
        a: notify p+1!Error(vat terminated)"#]]);
    assert_eq!(t.incarnation("x"), 1);
}

#[test]
fn the_old_incarnation_brings_out_its_dead_first() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.call("x.keep(a)");
    t.on("x.bringOutYourDead", "drop o-50; retire-imports o-50; set boyd done");
    t.on("x.startVat", "get boyd");
    t.post(x, UPGRADE, &[]);
    t.check(expect![[r#"
        x: o+0.keep(o-50)->p-60
        x: bringOutYourDead
        x> get boyd = "done""#]]);
    assert_eq!(t.clist("x"), "");
}

#[test]
fn what_the_old_incarnation_decided_rejects_with_its_number() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.on("a.go", "send o-50 get()->p+1; subscribe p+1; send p+1 more()->p+2; subscribe p+2");
    t.on("a.go", "send o-50 get()->p+3; subscribe p+3");
    for _ in 0..2 {
        t.call("a.go(x)");
        t.run();
        t.ask(x, UPGRADE);
    }
    t.check(expect![[r#"
        x: bringOutYourDead
        a: notify p+3!#{"incarnationNumber":1,"name":"vatUpgraded","upgradeMessage":"vat upgraded"}"#]]);
}

#[test]
fn what_the_old_incarnation_subscribed_to_is_told_to_the_new_one() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.on("x.go", "send o-50 get()->p+1; subscribe p+1");
    t.call("x.go(a)");
    t.run();
    t.ask(x, UPGRADE);
    t.log();
    t.on("a.now", "resolve p-60=late");
    t.call("a.now");
    t.check(expect![[r#"
        a: o+0.now()->p-61
        x: notify p+1=late"#]]);
}

#[test]
fn a_failing_upgrade_rewinds_and_the_old_incarnation_goes_on() {
    for (event, script, why) in [
        ("x.bringOutYourDead", "drop o-50; trap boom", "boom"),
        ("x.bringOutYourDead", "send o-99 hi()", "illegal syscall send: o-99 is not in the c-list"),
        ("x.bringOutYourDead", "exit bye", "the vat ended itself"),
        ("x.startVat", "set k other; trap boom", "boom"),
        ("x.startVat", "set k other; exit bye", "the vat ended itself"),
        ("x.startVat", "exit-failure bye", "the vat ended itself"),
        ("x.startVat", "burn 2000000000", "out of fuel"),
    ] {
        let mut t = Town::new("a");
        let x = t.create("x", "", &[]);
        t.on("x.ready", "set k v; send o-50 take(o+7)");
        t.call("x.ready(a)");
        t.on("a.go", "send o-50 get()->p+1; subscribe p+1");
        t.call("a.go(x)");
        t.run();
        let (clist, stored) = (t.clist("x"), t.stored("x"));
        t.on(event, script);
        assert_eq!(t.ask(x, UPGRADE), format!("!Error(vat-upgrade failure: {why})"), "{script}");
        t.log();
        assert_eq!((t.clist("x"), t.stored("x"), t.incarnation("x")), (clist, stored, 0), "{script}");
        // Its export and its promise are as they were.
        t.on("a.more", "send o-51 hi()");
        t.on("x.hi", "resolve p-61=still");
        t.call("a.more");
        assert_eq!(t.run(), "a: o+0.more()->p-61\nx: o+7.hi()\na: notify p+1=still", "{script}");
    }
}

#[test]
fn the_incarnation_counts_successes_only() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    let mut told = Vec::new();
    for script in ["", "trap boom", "", "trap boom", "trap boom", ""] {
        t.on("x.startVat", script);
        told.push(t.ask(x, UPGRADE).contains("incarnationNumber"));
    }
    assert_eq!(told, [true, false, true, false, false, true]);
    assert_eq!(t.incarnation("x"), 3);
}

#[test]
fn a_failed_upgrade_takes_one_delivery_number() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.on("x.startVat", "trap boom");
    t.ask(x, UPGRADE);
    t.ask(x, UPGRADE);
    let entries = t.block().transcript(t.vat("x"), DeliveryNum(0)).unwrap();
    let entries: Vec<_> =
        entries.map(|it| it.unwrap()).map(|it| (it.number.0, matches!(it.end, End::Done { .. }))).collect();
    assert_eq!(entries, [(0, true), (1, false), (2, true), (3, true)]);
    assert_eq!(t.tables().vats.get(&t.vat("x")).unwrap().first_delivery, DeliveryNum(3));
}

#[test]
fn a_wrong_request_changes_nothing() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    assert_eq!(t.ask(x, "[\"upgrade\",[\"nope\"]]"), "!Error(there is no bundle `nope`)");
    assert_eq!(t.ask(x, "[\"upgrade\",[]]"), "!Error(argument 0 must be a text)");
    assert_eq!(t.ask(x, "[\"upgrade\",[\"script\",\"$0\"]]"), "!Error(there is no such slot)");
    assert_eq!((t.run(), t.incarnation("x")), (String::new(), 0));
}

#[test]
fn a_vat_that_ended_meanwhile_is_not_upgraded() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    let (upgraded, _) = (t.post(x, UPGRADE, &[]), t.post(x, TERMINATE, &[]));
    t.run();
    // The upgrade took its turn behind the message that ended the vat.
    assert_eq!(t.outcome(upgraded), "!Error(vat terminated)");
    assert_eq!(t.ask(x, UPGRADE), "!Error(vat terminated)");
    assert_eq!(t.incarnation("x"), 0);
}

#[test]
fn a_paused_vat_is_upgraded_untold_and_stays_paused() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.ask(x, PAUSE);
    t.call("x.first");
    t.call("x.second");
    assert_eq!(t.ask(x, UPGRADE), "=#{\"incarnationNumber\":1}");
    assert_eq!(t.run(), "");
    t.ask(x, RESUME);
    t.check(expect![[r#"
        x: o+0.first()->p-60
        x: o+0.second()->p-61"#]]);
}

#[test]
fn a_heap_is_lost_and_what_is_stored_is_kept_over_restarts() {
    let mut rig = Rig::new();
    let (root, facet) = rig.create("mortal", "{}", "{}");
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(rig.ask(root, "[\"increment\",[]]"));
        rig.restart();
        told.push(rig.ask(root, "[\"increment\",[]]"));
        told.push(rig.ask(facet, "[\"upgrade\",[\"mortal\",{}]]"));
        rig.restart();
        told.push(rig.ask(root, "[\"total\",[]]"));
    }
    told.push(rig.ask(root, "[\"increment\",[]]"));
    let expected = ["1", "2", "{\"incarnationNumber\":1}", "2", "1", "2", "{\"incarnationNumber\":2}", "4", "1"];
    assert_eq!(told, expected.map(|it| format!("#{it}")));
}

#[test]
fn restarts_around_upgrades_change_no_hash() {
    let run = |restarts: bool| {
        let mut rig = Rig::new();
        let (root, facet) = rig.create("mortal", "{}", "{}");
        let mut hashes = Vec::new();
        for (target, message) in [
            (root, "[\"increment\",[]]"),
            (facet, "[\"upgrade\",[\"mortal\",{\"stillborn\":\"as requested\"}]]"),
            (root, "[\"increment\",[]]"),
            (facet, "[\"upgrade\",[\"mortal\",{}]]"),
            (facet, "[\"upgrade\",[\"mortal\",{\"stillborn\":\"as requested\"}]]"),
            (root, "[\"increment\",[]]"),
            (root, "[\"total\",[]]"),
        ] {
            let answer = rig.ask(target, message);
            hashes.push((answer, rig.block().state_hash().expect("hashes").to_string()));
            if restarts {
                rig.restart();
            }
        }
        hashes
    };
    let straight = run(false);
    assert_eq!(run(true), straight);
    let answers: Vec<_> = straight.iter().map(|it| it.0.chars().take(3).collect::<String>()).collect();
    assert_eq!(answers, ["#1", "!#{", "#2", "#{\"", "!#{", "#1", "#3"]);
}

#[test]
fn a_durable_object_answers_after_an_upgrade_and_another_does_not() {
    let mut rig = Rig::new();
    let (root, facet) = rig.create("vault", "{}", "{}");
    let made = rig.post(root, "[\"makeBox\",[]]");
    rig.run();
    let kept = rig.slots(made)[0];
    assert_eq!(rig.ask(kept, "[\"put\",[7]]"), "#\"#undefined\"");
    rig.ask(facet, "[\"upgrade\",[\"vault\",{}]]");
    assert_eq!(rig.ask(kept, "[\"get\",[]]"), "#\"+7\"");

    let (root, facet) = rig.create("mortal", "{}", "{}");
    let (made, hangs) = (rig.post(root, "[\"child\",[]]"), rig.post(root, "[\"hang\",[]]"));
    rig.run();
    let lost = rig.slots(made)[0];
    assert_eq!(rig.ask(lost, "[\"hello\",[]]"), "#true");
    rig.ask(facet, "[\"upgrade\",[\"mortal\",{}]]");
    assert_eq!(rig.ask(lost, "[\"hello\",[]]"), "!#{\"#error\":\"vat terminated\",\"name\":\"Error\"}");
    let disconnected = "{\"incarnationNumber\":0,\"name\":\"vatUpgraded\",\"upgradeMessage\":\"vat upgraded\"}";
    assert_eq!(rig.outcome(hangs), format!("!#{disconnected}"));
}
