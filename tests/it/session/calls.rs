//! What passes between a session and vats.

use expect_test::expect;

use super::{World, served};

#[test]
fn a_call_is_answered() {
    for version in 1..=3 {
        let mut w = served(version, "a");
        w.on("a.hi", "resolve p-60=hello");
        w.say("s", "send o-50 hi()->p+1; subscribe p+1");
        w.check(expect![["a: o+0.hi()->p-60"]]);
        assert_eq!(w.heard("s"), "notify p+1=hello");
        assert_eq!(w.clist("s"), format!("o-50:{}", w.root("a")), "an answered call leaves nothing");
    }
}

#[test]
fn a_call_to_an_unanswered_promise_waits_in_the_kernel() {
    for version in 1..=3 {
        let mut w = served(version, "a b");
        w.on("a.find", "resolve p-60=$o-50");
        w.on("b.hi", "resolve p-60=hello");
        // b is handed to a, so that a can answer with it; the session calls what it does not know yet.
        w.say("s", "send o-50 find(o-51)->p+1; send p+1 hi()->p+2; subscribe p+2");
        w.check(expect![[r#"
            a: o+0.find(o-50)->p-60
            b: o+0.hi()->p-60"#]]);
        assert_eq!(w.heard("s"), "notify p+2=hello");
    }
}

#[test]
fn an_object_of_the_session_is_called_back() {
    for version in 1..=3 {
        let mut w = served(version, "a");
        w.on("a.take", "send o-50 hello()->p+1; subscribe p+1");
        w.say("s", "send o-50 take(o+7)");
        w.run();
        assert_eq!(w.heard("s"), "o+7.hello()->p-60");
        w.say("s", "resolve p-60=fine");
        w.check(expect![["a: notify p+1=fine"]]);
    }
}

#[test]
fn a_promise_of_the_session_is_resolved_and_awaited_by_a_vat() {
    for version in 1..=3 {
        let mut w = served(version, "a");
        w.on("a.wait", "subscribe p-60; send p-60 poke()");
        w.say("s", "send o-50 wait(p+4)");
        w.run();
        assert_eq!(w.outbox("s"), "", "nothing is told before the promise is settled");
        w.say("s", "resolve p+4=$o+8");
        w.check(expect![["a: notify p-60=$o-50"]]);
        assert_eq!(w.heard("s"), "o+8.poke()");
    }
}

#[test]
fn what_the_session_drops_is_collected_at_its_exporter() {
    for version in 1..=3 {
        let mut w = served(version, "a");
        w.on("a.make", "resolve p-60=$o+1");
        w.say("s", "send o-50 make()->p+1; subscribe p+1");
        w.run();
        assert_eq!(w.heard("s"), "notify p+1=$o-51");
        w.say("s", "drop o-51");
        assert_eq!(w.run(), "a: dropExports o+1");
        w.say("s", "retire-imports o-51");
        assert_eq!(w.run(), "a: retireExports o+1");
        assert!(!w.knows("s", "o-51"));
    }
}

#[test]
fn what_a_vat_drops_is_told_to_the_session_that_exports_it() {
    for version in 1..=3 {
        let mut w = served(version, "a");
        w.on("a.take", "drop o-50; retire-imports o-50");
        w.say("s", "send o-50 take(o+7)");
        w.run();
        assert_eq!(w.heard("s"), "dropExports o+7\nretireExports o+7");
        assert!(!w.knows("s", "o+7"));
    }
}

#[test]
fn an_export_that_the_session_retires_is_retired_at_the_vat() {
    let mut w = served(3, "a");
    w.on("a.take", "drop o-50");
    w.say("s", "send o-50 take(o+7)");
    w.run();
    assert_eq!(w.heard("s"), "dropExports o+7");
    w.say("s", "retire-exports o+7");
    w.check(expect![["a: retireImports o-50"]]);
}

#[test]
fn two_sessions_speak_to_each_other_through_a_vat_and_keep_their_own_names() {
    let mut w = served(3, "a");
    w.open("t");
    w.give("t", "a", 9);
    assert_eq!(w.heard("t"), "given 9: o-50");
    w.say("t", "send o-50 keep(o+1)");
    w.on("a.hand", "resolve p-60=$o-50");
    w.run();
    w.say("s", "send o-50 hand()->p+1; send p+1 hello(o+3)->p+2; subscribe p+2");
    w.run();
    assert_eq!(w.heard("t"), "o+1.hello(o-51)->p-60");
    w.say("t", "resolve p-60!never");
    w.run();
    assert_eq!(w.heard("s"), "notify p+2!never");
}

#[test]
fn a_reference_is_given_once_and_again_under_the_same_name() {
    let mut w = World::new("a b");
    w.open("s");
    w.give("s", "b", 1);
    w.give("s", "a", 2);
    w.give("s", "b", 3);
    w.terminate("a");
    w.give("s", "a", 4);
    assert_eq!(w.heard("s"), "given 1: o-50\ngiven 2: o-51\ngiven 3: o-50\nnot given 4: v1 has ended");
}

#[test]
fn what_a_session_dropped_and_is_given_again_is_reached_again() {
    let mut w = served(3, "a");
    w.say("s", "drop o-50");
    w.give("s", "a", 7);
    assert_eq!(w.heard("s"), "given 7: o-50");
    w.say("s", "send o-50 hi()");
    w.check(expect![["a: o+0.hi()"]]);
}
