//! Directives on sessions: they are obeyed as on vats; an upgrade is refused.

use serde_json::json;
use vathost::{BlockPolicy, Host, SessionEvent, SessionRefusal, model::id::BundleId};

use super::host::{answer, call, connect, hear, open, settle};

/// Orders this for the next crank.
fn order(host: &mut Host, action: &str) {
    let next = host.block().unwrap().tables().globals().next_crank;
    host.order(&format!("{next}: {action}")).unwrap();
}

#[test]
fn a_session_is_terminated_by_a_directive() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = open(&dir.path().join("state"));
    let (session, north) = connect(&mut host, "client", "north");
    order(&mut host, &format!("terminate {} reason \"abuse\"", session.0));
    host.act(session, call(north, "makePurse", json!([5]), "p+1")).unwrap();
    settle(&mut host);
    assert!(matches!(&hear(&mut host, session)[..], [SessionEvent::Ended { reason }] if reason == "abuse"));
}

#[test]
fn a_paused_session_is_told_nothing_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = open(&dir.path().join("state"));
    let (session, north) = connect(&mut host, "client", "north");
    order(&mut host, &format!("pause {} reason \"too loud\"", session.0));
    host.act(session, call(north, "makePurse", json!([5]), "p+1")).unwrap();
    settle(&mut host);
    assert_eq!(hear(&mut host, session), []);
    let refused = host.act(session, Vec::new());
    assert!(matches!(refused, Err(SessionRefusal::Paused { reason, .. }) if reason == "too loud"));
    assert_eq!(host.sessions()[0].paused.as_deref(), Some("too loud"));
    order(&mut host, &format!("resume {}", session.0));
    settle(&mut host);
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    assert_eq!(answer(&hear(&mut host, session)).1.len(), 1);
}

#[test]
fn a_delivery_to_a_session_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = open(&dir.path().join("state"));
    let (session, north) = connect(&mut host, "client", "north");
    host.order(&format!("{}/delivery-0: skip", session.0)).unwrap();
    host.act(session, call(north, "makePurse", json!([5]), "p+1")).unwrap();
    host.act(session, call(north, "makePurse", json!([6]), "p+2")).unwrap();
    settle(&mut host);
    let told = hear(&mut host, session);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_session_cannot_be_upgraded() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = open(&dir.path().join("state"));
    let (session, north) = connect(&mut host, "client", "north");
    order(&mut host, &format!("upgrade {} bundle {}", session.0, BundleId([1; 32])));
    host.act(session, call(north, "makePurse", json!([5]), "p+1")).unwrap();
    let halt = host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap_err();
    assert!(halt.to_string().contains("is a session, which has no code"), "{halt}");
}
