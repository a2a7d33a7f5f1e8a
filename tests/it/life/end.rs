//! `terminate`, `done`, and what becomes of the dead.

use expect_test::expect;
use vathost::{
    model::limits::CLEANUP_ROWS_PER_CRANK,
    state::table::{QueueId, Status},
};

use super::{DONE, PAUSE, RESUME, TERMINATE, Town, UPGRADE, rig::Rig};

#[test]
fn done_is_fulfilled_by_an_exit_and_rejected_by_any_other_end() {
    for (script, outcome) in [
        ("exit bye", "=bye"),
        ("exit-failure bad", "!bad"),
        ("trap boom", "!Error(boom)"),
        ("send o-99 hi()", "!Error(syscall translation error: prepare to die)"),
        ("burn 2000000000", "!Error(out of fuel)"),
    ] {
        let mut t = Town::new("a");
        let x = t.create("x", "", &[]);
        let (one, two) = (t.post(x, DONE, &[]), t.post(x, DONE, &[]));
        t.run();
        assert_eq!(t.outcome(one), "pending");
        t.on("x.hi", script);
        t.call("x.hi");
        t.run();
        assert_eq!((&*t.outcome(one), &*t.outcome(two)), (outcome, outcome), "{script}");
    }
}

#[test]
fn done_is_rejected_with_the_reason_of_a_terminate() {
    for (message, outcome) in [
        (TERMINATE, "!Error(enough)"),
        ("[\"terminate\",[\"enough\"]]", "!enough"),
        ("[\"terminate\",[]]", "!Error(vat terminated)"),
    ] {
        let mut t = Town::new("a");
        let x = t.create("x", "", &[]);
        let done = t.post(x, DONE, &[]);
        assert_eq!(t.ask(x, message), "=#undefined");
        assert_eq!(t.outcome(done), outcome, "{message}");
    }
}

#[test]
fn the_words_of_an_end_may_hold_presences() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    let done = t.post(x, DONE, &[]);
    t.on("x.hi", "exit [o-50]");
    t.call("x.hi(a)");
    t.run();
    assert_eq!(t.outcome(done), format!("=[{}]", t.root("a")));

    let y = t.create("y", "", &[]);
    let done = t.post(y, DONE, &[]);
    let root = t.root("a").into();
    t.post(y, "[\"terminate\",[[\"$0\"]]]", &[root]);
    t.run();
    assert_eq!(t.outcome(done), format!("![{}]", t.root("a")));
}

#[test]
fn whoever_asks_late_how_a_vat_ended_is_told_the_same() {
    for script in ["exit bye", "exit [o-50]", "exit-failure [o+1]", "trap boom"] {
        let mut t = Town::new("a");
        let x = t.create("x", "", &[]);
        let early = t.post(x, DONE, &[]);
        t.on("x.hi", script);
        t.call("x.hi(a)");
        t.run();
        let late = t.post(x, DONE, &[]);
        t.run();
        assert_ne!(t.outcome(early), "pending");
        assert_eq!(t.outcome(late), t.outcome(early), "{script}");
    }
}

#[test]
fn last_words_are_kept_as_long_as_somebody_may_ask() {
    let mut t = Town::new("a");
    let admin = t.admin;
    t.on("a.go", "send o-50 #[\"createVat\",[\"script\",{},{\"name\":\"x\"}]]->p+1; subscribe p+1");
    t.on("a.notify", "send o-51 end(o+7)");
    t.on("x.end", "exit [o-50]");
    t.call(&format!("a.go({admin})"));
    t.run();
    let (vat, row) = t.tables().vats.iter().next_back().unwrap();
    let vat = *vat;
    assert!(row.ending.is_some());
    let word = t.object("a", "o+7");
    assert_eq!(t.counts(word), Some((1, 1)));
    t.on("a.drop", "drop o-52; retire-imports o-52");
    t.call("a.drop");
    t.run();
    assert_eq!(t.tables().vats.get(&vat).unwrap().ending, None);
    assert_eq!(t.counts(word), None);
}

#[test]
fn nobody_can_ask_how_a_static_vat_ended_and_nothing_is_kept_of_it() {
    let mut t = Town::new("a");
    t.on("a.hi", "exit [o+1]");
    t.call("a.hi");
    t.run();
    assert_eq!(t.tables().vats.get(&t.vat("a")).unwrap().ending, None);
    assert_eq!(t.tables().objects.len(), 2, "the vat admin, and the root, which the host holds");
}

#[test]
fn terminating_twice_is_harmless_and_the_first_reason_stays() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    let done = t.post(x, DONE, &[]);
    let (one, two) = (t.post(x, TERMINATE, &[]), t.post(x, "[\"terminate\",[\"again\"]]", &[]));
    t.run();
    assert_eq!((t.outcome(one), t.outcome(two)), ("=#undefined".to_owned(), "=#undefined".to_owned()));
    assert_eq!(t.ask(x, TERMINATE), "=#undefined");
    assert_eq!(t.outcome(done), "!Error(enough)");
    assert_eq!(t.slog("terminate").len(), 1);
}

#[test]
fn the_dead_can_be_asked_for_nothing() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.ask(x, TERMINATE);
    for method in ["pause", "resume", "upgrade", "changeOptions", "explode"] {
        assert_eq!(t.ask(x, &format!("[\"{method}\",[]]")), "!Error(vat terminated)", "{method}");
    }
}

#[test]
fn what_it_decided_rejects_and_its_objects_splat() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.on("a.go", "send o-50 get()->p+1; subscribe p+1");
    t.call("a.go(x)");
    t.run();
    t.post(x, TERMINATE, &[]);
    t.on("a.later", "send o-50 hi()->p+2; subscribe p+2");
    t.call("a.later");
    t.check(expect![[r#"
        a: o+0.later()->p-61
        a: notify p+1!Error(vat terminated)
        a: notify p+2!Error(vat terminated)"#]]);
}

#[test]
fn a_vat_ends_itself_through_its_own_facet_after_the_delivery() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.on("x.suicide", "send o-50 #[\"terminate\",[]]; send o-50 #[\"terminate\",[]]; resolve p-60=sure; set k v");
    t.call(&format!("x.suicide({x})"));
    t.check(expect!["x: o+0.suicide(o-50)->p-60"]);
    assert_eq!(t.last(), "=sure");
    assert!(!t.tables().is_alive(t.vat("x")));
}

#[test]
fn cleanup_goes_on_over_restarts_within_its_budget() {
    let rows = 2 * CLEANUP_ROWS_PER_CRANK + 10;
    let mut rig = Rig::new();
    let (root, facet) = rig.create("mortal", "{}", "{\"reapInterval\":0}");
    let vat = rig.vat(root);
    rig.ask(root, &format!("[\"fill\",[{rows}]]"));
    let stored = |rig: &Rig| rig.block().tables().vatstore.iter().filter(|((it, _), _)| *it == vat).count();
    let before = stored(&rig);
    assert!(before >= rows);
    let done = rig.post(facet, TERMINATE);
    let mut left = Vec::new();
    while rig.step() {
        rig.restart();
        left.push(stored(&rig));
    }
    assert_eq!(left[0], before, "the crank that ended it");
    assert!(left.windows(2).all(|it| it[0] - it[1] <= CLEANUP_ROWS_PER_CRANK), "{left:?}");
    assert!(left.len() >= 4 && left.last() == Some(&0), "{left:?}");
    let tables = rig.block().tables();
    assert!(matches!(tables.vats.get(&vat).unwrap().status, Status::Terminated { cleaned: true, .. }));
    assert_eq!((tables.clist.of(vat).count(), tables.queue.of(QueueId::Cleanup).count()), (0, 0));
    assert_eq!(rig.outcome(done), "#\"#undefined\"");
    assert_eq!(rig.ask(root, "[\"total\",[]]"), "!#{\"#error\":\"vat terminated\",\"name\":\"Error\"}");
}

#[test]
fn a_guest_ends_itself_and_keeps_or_undoes_the_delivery() {
    for (failure, done_is) in
        [("false", "#\"as requested\""), ("true", "!#{\"#error\":\"as requested\",\"name\":\"Error\"}")]
    {
        let mut rig = Rig::new();
        let (root, facet) = rig.create("mortal", "{}", "{}");
        let done = rig.post(facet, DONE);
        let exit = rig.ask(root, &format!("[\"exit\",[{failure}]]"));
        assert_eq!(exit.contains("vat terminated"), failure == "true", "{exit}");
        assert_eq!(rig.outcome(done), done_is);
    }
}

#[test]
fn one_of_many_facets_ends_only_its_own_vat_and_what_was_queued_behind_it_splats() {
    let mut t = Town::new("a");
    let facets = ["x", "y", "z"].map(|it| t.create(it, "", &[]));
    t.post(facets[1], TERMINATE, &[]);
    let answers = ["x.hi", "y.hi", "z.hi"].map(|it| t.call(it));
    t.check(expect![[r#"
        x: o+0.hi()->p-60
        z: o+0.hi()->p-60"#]]);
    assert_eq!(answers.map(|it| t.outcome(it)), ["pending", "!Error(vat terminated)", "pending"]);
}

#[test]
fn whatever_is_asked_in_whatever_order_all_is_answered_by_the_end_and_nothing_is_left() {
    const ACTS: [&str; 10] = ["pause", "resume", "upgrade", "fail", "change", "done", "hi", "bad", "reap", "step"];
    for on_fault in ["terminate", "pause", "reject"] {
        for order in 0..ACTS.len().pow(3) {
            let order = [order / 100, order / 10 % 10, order % 10].map(|it| ACTS[it]);
            let mut t = Town::new("a");
            let x = t.create("x", &format!(",\"onFault\":\"{on_fault}\""), &[]);
            let vat = t.vat("x");
            let mut answers = Vec::new();
            // Something to hold, to decide, and to be told of.
            t.on("x.ready", "set k v; send o-50 take(o+7,p+9)->p+8; subscribe p+8");
            t.call("x.ready(a)");
            t.run();
            for act in order {
                match act {
                    "pause" => answers.push(t.post(x, PAUSE, &[])),
                    "resume" => answers.push(t.post(x, RESUME, &[])),
                    "upgrade" => answers.push(t.post(x, UPGRADE, &[])),
                    "fail" => {
                        t.on("x.startVat", "set k w; trap boom");
                        answers.push(t.post(x, UPGRADE, &[]));
                    }
                    "change" => answers.push(t.post(x, "[\"changeOptions\",[{}]]", &[])),
                    "done" => answers.push(t.post(x, DONE, &[])),
                    "hi" => answers.push(t.call("x.hi(a)")),
                    "bad" => {
                        t.on("x.bad", "set k w; drop o-50; trap boom");
                        answers.push(t.call("x.bad(a)"));
                    }
                    "reap" => t.outside(|crank| {
                        crank.reap([vat]);
                        Ok(())
                    }),
                    _ => drop(t.step()),
                }
            }
            answers.push(t.post(x, TERMINATE, &[]));
            t.run();
            for answer in answers {
                assert_ne!(t.outcome(answer), "pending", "{on_fault} {order:?}");
            }
            assert!(matches!(t.status("x"), Status::Terminated { cleaned: true, .. }), "{on_fault} {order:?}");
            assert_eq!((t.tables().clist.of(vat).count(), t.stored("x").len()), (0, 0), "{on_fault} {order:?}");
            assert_eq!((t.tables().queue.len(), t.tables().gc.len()), (0, 0), "{on_fault} {order:?}");
        }
    }
}
