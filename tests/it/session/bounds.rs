//! The bounds of sessions: who never reads is ended, and nothing else is touched.

use vathost::model::limits;

use super::served;

#[test]
fn an_endless_outbox_ends_its_session_alone() {
    let mut w = served(3, "a");
    w.open("t");
    w.give("t", "a", 0);
    w.heard("t");
    let body = format!("#[\"{}\",[]]", "x".repeat(1 << 20 >> 1));
    w.on("a.keep", "");
    w.say("s", "send o-50 keep(o+7)");
    w.run();
    let mut sent = 0;
    while w.tables().is_alive(w.vat("s")) {
        w.on("a.go", &format!("send o-50 {body}"));
        w.call("a.go");
        w.run();
        sent += 1;
        assert!(sent < 100, "it is never ended");
    }
    assert!(sent > 16, "{sent}: so much fits");
    let bytes = w.tables().session_outbox.bytes();
    assert!(bytes < limits::SESSION_BYTES_MAX / 16, "{bytes}: what nobody read is gone");
    assert!(w.heard("s").contains("bytes of a session"));
    w.on("a.hi", "resolve p-64=hello");
    w.say("t", "send o-50 hi()");
    assert!(w.run().contains("a: o+0.hi()"), "the others live");
}

#[test]
fn many_events_end_a_session_too() {
    let mut w = served(3, "a");
    let (s, a) = (w.vat("s"), w.vat("a"));
    w.outside(|crank| {
        for _ in 0..=limits::SESSION_EVENTS_MAX {
            let give = super::SessionInput::Give { target: super::SessionTarget::Root(a), tag: 1 };
            crank.session_input(s, give)?;
        }
        Ok(())
    });
    assert!(w.heard("s").contains("events of a session"));
}

#[test]
fn a_session_may_have_only_so_much_under_way() {
    let mut w = served(3, "a");
    w.on("a.never", "");
    let s = w.vat("s");
    let mut number = 0;
    while w.tables().is_alive(s) {
        let calls: Vec<String> = (0..60_000).map(|it| format!("send o-50 never()->p+{}", number + it)).collect();
        w.say("s", &calls.join(";"));
        number += 60_000;
        assert!(number < 200_000, "there is no end of it");
    }
    assert!(w.heard("s").contains("queuedMax"));
}
