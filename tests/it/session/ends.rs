//! The end of a session: by the outside, by its own fault, by an operator; and what is left of it.

use vathost::kernel::SessionInput;

use super::{World, served};

fn end(w: &mut World, session: &str, reason: &str) {
    let vat = w.vat(session);
    w.ask(vat, SessionInput::End { reason: reason.to_owned() });
}

#[test]
fn the_end_of_a_session_rejects_its_promises_and_breaks_its_objects() {
    for version in 1..=3 {
        let mut w = served(version, "a");
        w.on("a.take", "subscribe p-60; send o-50 hello()->p+1; subscribe p+1");
        w.say("s", "send o-50 take(o+7,p+4)->p+9; subscribe p+9");
        w.run();
        assert_eq!(w.outbox("s"), "o+7.hello()->p-60");
        w.on("a.later", "send o-50 hello()->p+2; subscribe p+2");
        end(&mut w, "s", "the client left");
        let log = w.run();
        assert_eq!(log, "a: notify p-60!Error(vat terminated)\na: notify p+1!Error(vat terminated)");
        w.call("a.later");
        let log = w.run();
        assert!(log.contains("a: notify p+2!Error(vat terminated)"), "an object of the session is broken: {log}");
        assert_eq!(w.heard("s"), "ended: the client left");
    }
}

#[test]
fn what_an_ended_session_held_is_let_go() {
    let mut w = served(3, "a");
    w.on("a.make", "resolve p-60=$o+1");
    w.say("s", "send o-50 make()->p+1; subscribe p+1");
    w.run();
    end(&mut w, "s", "bye");
    assert_eq!(w.run(), "a: dropExports o+1\na: retireExports o+1");
}

#[test]
fn an_illegal_syscall_ends_its_session_and_undoes_what_came_with_it() {
    let mut w = served(3, "a");
    w.open("t");
    w.give("t", "a", 0);
    w.heard("t");
    let cases = [
        ("send o-99 hi()", "not in the c-list"),
        ("subscribe p-99", "not in the c-list"),
        ("resolve p-99=x", "not in the c-list"),
        ("drop o-99", "not in the c-list"),
        ("retire-imports o-50", "still reachable"),
        ("retire-exports o+1", "still reachable"),
        ("get k", "a session makes no such syscall"),
        ("exit bye", "a session makes no such syscall"),
        ("abandon o+1", ""),
        ("call d-70 #[]", ""),
    ];
    for (at, (illegal, why)) in cases.into_iter().enumerate() {
        let name = format!("s{at}");
        w.open(&name);
        w.give(&name, "a", 0);
        w.heard(&name);
        w.say(&name, &format!("send o-50 hi(o+1)->p+1; {illegal}; send o-50 hi()"));
        assert_eq!(w.run(), "", "nothing of it happened");
        let heard = w.heard(&name);
        assert!(heard.starts_with("ended: ") && heard.contains(why), "{illegal}: {heard}");
    }
    // A reference of another session is none of this one's.
    w.say("t", "send o-50 keep(o+1)");
    w.run();
    w.say("s", "send o+1 hi()->p+1; subscribe p+1");
    w.run();
    assert_eq!(
        w.heard("s"),
        "o+1.hi()->p+1\ndropExports o+1\nretireExports o+1",
        "its own o+1, and not that of the other"
    );
    assert_eq!(w.heard("t"), "");
    w.say("t", "send o-50 hi()");
    assert_eq!(w.run(), "a: o+0.hi()", "the others live");
}

#[test]
fn a_fault_undoes_nothing_of_what_came_before_it_in_the_same_step() {
    let mut w = served(3, "a");
    let (s, t) = (w.vat("s"), w.open("t"));
    w.give("t", "a", 0);
    w.outside(|crank| {
        let act = |words: &str| SessionInput::Act(vec![crate::kernel::syscall(words)]);
        crank.session_input(t, act("send o-50 first()"))?;
        crank.session_input(s, act("send o-99 hi()"))?;
        crank.session_input(t, act("send o-50 second()"))
    });
    assert_eq!(w.run(), "a: o+0.first()\na: o+0.second()");
    assert!(w.heard("s").starts_with("ended: "));
}

#[test]
fn a_session_is_forgotten_when_its_end_was_acknowledged() {
    let mut w = served(3, "a");
    let s = w.vat("s");
    end(&mut w, "s", "bye");
    assert_eq!(w.heard("s"), "ended: bye");
    w.run();
    assert!(!w.tables().vats.contains(&s) && !w.tables().tallies.contains(&s) && !w.tables().is_session(s));
    w.open("s");
    end(&mut w, "s", "bye");
    w.run();
    let again = w.vat("s");
    assert!(w.tables().is_session(again), "its end was not told yet");
    assert_eq!(w.heard("s"), "ended: bye");
    assert!(!w.tables().vats.contains(&again));
    // What is asked of it then is passed over.
    w.ask(again, SessionInput::Act(Vec::new()));
    w.ask(again, SessionInput::Acknowledge(9));
    end(&mut w, "s", "bye");
}

#[test]
fn a_session_whose_messages_wait_is_not_forgotten_before_they_are_gone() {
    let mut w = served(3, "a");
    let s = w.vat("s");
    w.on("a.take", "");
    w.say("s", "send o-50 take()->p+1; send p+1 more()->p+2");
    w.run();
    end(&mut w, "s", "bye");
    w.heard("s");
    w.run();
    assert!(w.tables().is_session(s), "a message of its making waits for a promise that a decides");
    w.terminate("a");
    w.run();
    w.ask(s, SessionInput::Acknowledge(0));
    assert!(!w.tables().vats.contains(&s));
}
