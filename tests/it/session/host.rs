//! Sessions of a host: durable, restarted, exported, looked at.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vathost::{
    BlockPolicy, Host, HostOptions, Scenario, SessionEvent, SessionId, SessionRefusal, VRef,
    model::{
        id::VatId,
        value::{CapData, Delivery, Message, Syscall},
    },
};

use crate::state::vathost;

fn options(dir: &Path) -> HostOptions {
    let code_cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("session-cache/vathost"));
    HostOptions {
        state: Some(dir.to_owned()),
        code_cache,
        audit: vathost::host::options::Audit::EACH,
        ..HostOptions::default()
    }
}

/// A bank that has had its day.
pub(super) fn open(dir: &Path) -> Host {
    let mut host = Host::open(options(dir)).unwrap();
    if host.is_new() {
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/bank");
        host.install(&Scenario::read(&scenario).unwrap()).unwrap();
        settle(&mut host);
    }
    host
}

/// Runs until nothing is left.
pub(super) fn settle(host: &mut Host) {
    while !host.is_quiescent().unwrap() {
        block(host);
    }
}

fn block(host: &mut Host) {
    host.run_block(&BlockPolicy { cranks: 3, ..BlockPolicy::default() }, &mut |_| true).unwrap();
}

fn vref(text: &str) -> VRef {
    text.parse().unwrap()
}

/// A call without references, whose answer is awaited.
pub(super) fn call(target: VRef, method: &str, args: Value, result: &str) -> Vec<Syscall<VRef>> {
    let methargs = CapData::plain(format!("#{}", json!([method, args])));
    let result = vref(result);
    vec![Syscall::Send { target, message: Message { methargs, result: Some(result) } }, Syscall::Subscribe(result)]
}

/// All events, which are then acknowledged.
pub(super) fn hear(host: &mut Host, session: SessionId) -> Vec<SessionEvent> {
    let all: Vec<_> = host.outbox_of(session, 0).collect();
    if let Some((last, _)) = all.last() {
        host.acknowledge(session, *last);
    }
    all.into_iter().map(|(_, it)| it).collect()
}

/// The root of a vat, for a new session.
pub(super) fn connect(host: &mut Host, name: &str, vat: &str) -> (SessionId, VRef) {
    let session = host.open_session(name).unwrap();
    host.give(session, vat, 7).unwrap();
    settle(host);
    match &hear(host, session)[..] {
        [SessionEvent::Given { tag: 7, vref }] => (session, *vref),
        other => panic!("{other:?}"),
    }
}

/// The only answer among the events: its body and its references.
#[track_caller]
pub(super) fn answer(events: &[SessionEvent]) -> (String, Vec<VRef>) {
    match events {
        [SessionEvent::Delivery(Delivery::Notify(all))] => {
            (all[0].data.body.as_text().unwrap().to_owned(), all[0].data.slots.clone())
        }
        other => panic!("{other:?}"),
    }
}

/// A client's day, where `between` may close and open the host after each block. Returns all hashes.
fn day(mut host: Host, between: &mut dyn FnMut(Host) -> Host) -> Vec<String> {
    let mut hashes = Vec::new();
    let mut run = |mut host: Host| {
        while !host.is_quiescent().unwrap() {
            block(&mut host);
            hashes.push(host.standing().state_hash.clone());
            host = between(host);
        }
        host
    };
    let session = host.open_session("client").unwrap();
    host.give(session, "north", 7).unwrap();
    host.send("south", "makePurse", [3.into()]).unwrap();
    host = run(host);
    assert_eq!(host.session("client"), Some(session));
    let [SessionEvent::Given { vref: north, .. }] = hear(&mut host, session)[..] else { panic!("it is given") };
    // A purse, and what is asked of it before it is there.
    let mut calls = call(north, "makePurse", json!([100]), "p+1");
    calls.extend(call(vref("p+1"), "withdraw", json!([30]), "p+2"));
    calls.extend(call(vref("p+1"), "balance", json!([]), "p+3"));
    host.act(session, calls).unwrap();
    host = run(host);
    let told = hear(&mut host, session);
    assert_eq!(told.len(), 3, "{told:?}");
    let purse = answer(&told[..1]).1[0];
    assert_eq!(answer(&told[2..]).0, "#\"+70\"");
    host.act(session, call(purse, "balance", json!([]), "p+4")).unwrap();
    host.act(session, vec![Syscall::DropImports(vec![north])]).unwrap();
    host = run(host);
    assert_eq!(answer(&hear(&mut host, session)).0, "#\"+70\"");
    host.end_session(session, "good night").unwrap();
    host = run(host);
    assert!(matches!(&hear(&mut host, session)[..], [SessionEvent::Ended { reason }] if reason == "good night"));
    host = run(host);
    assert_eq!(host.session("client"), None, "it is forgotten");
    hashes
}

#[test]
fn a_host_that_is_closed_and_opened_after_each_block_comes_to_the_same_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|it| dir.path().join(it));
    let undisturbed = day(open(&a), &mut |host| host);
    assert!(undisturbed.len() > 5, "{}", undisturbed.len());
    let restarted = day(open(&b), &mut |host| {
        drop(host);
        open(&b)
    });
    assert_eq!(undisturbed, restarted);
    for state in [&a, &b] {
        let verified = vathost(&["verify", "--replay", "--json"], &[state]);
        assert_eq!(verified.code, 0, "{} {}", verified.out, verified.err);
    }
}

/// A state with a session that has something in its outbox.
fn with_session() -> (TempDir, PathBuf, SessionId) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut host = open(&state);
    let (session, north) = connect(&mut host, "client", "north");
    host.act(session, call(north, "makePurse", json!([5]), "p+1")).unwrap();
    settle(&mut host);
    (dir, state, session)
}

#[test]
fn an_archive_keeps_sessions_and_what_waits_for_them() {
    let (dir, state, session) = with_session();
    let [file, copy] = ["file", "copy"].map(|it| dir.path().join(it));
    assert_eq!(vathost(&["export"], &[&state, &file]).code, 0);
    assert_eq!(vathost(&["import"], &[&file, &copy]).code, 0);
    assert_eq!(vathost(&["diff"], &[&state, &copy]).code, 0);
    let verified = vathost(&["verify", "--replay"], &[&copy]);
    assert_eq!(verified.code, 0, "{} {}", verified.out, verified.err);
    let ends = [&state, &copy].map(|it| {
        let mut host = open(it);
        let told = hear(&mut host, session);
        host.act(session, call(answer(&told).1[0], "balance", json!([]), "p+1")).unwrap();
        settle(&mut host);
        assert_eq!(answer(&hear(&mut host, session)).0, "#\"+5\"");
        host.standing().state_hash.clone()
    });
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn inspect_shows_a_session_as_one() {
    let (_dir, state, session) = with_session();
    let inspect = |words: &str| {
        let state = state.to_str().unwrap();
        let words: Vec<&str> = ["inspect", "--state", state].into_iter().chain(words.split(' ')).collect();
        vathost(&words, &[])
    };
    let vats = inspect("vats --json");
    let rows = vats.json();
    let rows = rows.as_array().unwrap_or_else(|| panic!("{}{}", vats.out, vats.err));
    let kinds: Vec<_> = rows.iter().filter(|it| it["kind"] == "session").map(|it| &it["name"]).collect();
    assert_eq!(kinds, ["client"]);
    let one = inspect(&format!("vat {}", session.0));
    assert!(one.out.contains("session, running") && one.out.contains("1 event"), "{}{}", one.out, one.err);
    let outbox = inspect(&format!("transcript {}", session.0));
    assert_eq!(outbox.code, 0, "{}", outbox.err);
}

#[test]
fn what_cannot_be_asked_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = open(&dir.path().join("state"));
    let session = host.open_session("client").unwrap();
    host.act(session, Vec::new()).expect("what is to be opened may be asked already");
    let taken = host.open_session("client");
    assert!(matches!(taken, Err(SessionRefusal::NameTaken(_))));
    settle(&mut host);
    assert!(matches!(host.open_session("client"), Err(SessionRefusal::NameTaken(_))));
    for bad in ["", "a\nb", &"x".repeat(300)] {
        assert!(matches!(host.open_session(bad), Err(SessionRefusal::BadName)));
    }
    let unknown = SessionId(VatId(999));
    assert!(matches!(host.act(unknown, Vec::new()), Err(SessionRefusal::Unknown(_))));
    assert!(matches!(host.act(SessionId(VatId(1)), Vec::new()), Err(SessionRefusal::Unknown(_))), "a vat is none");
    let why = |it: Result<(), SessionRefusal>| it.unwrap_err().to_string();
    assert!(why(host.give(session, "nobody", 1)).contains("no vat `nobody`"));
    assert!(why(host.give(session, "client", 1)).contains("no vat `client`"));
    assert!(host.send("client", "hi", []).is_err(), "a session has no root");
    host.acknowledge(unknown, 5);
    host.end_session(session, "enough").unwrap();
    settle(&mut host);
    assert!(why(host.act(session, Vec::new())).contains("enough"));
    assert!(why(host.end_session(session, "again")).contains("enough"));
    let listed = host.sessions();
    assert_eq!((listed.len(), listed[0].is_alive(), listed[0].outbox), (1, false, 1));
}

#[test]
fn messages_and_sessions_of_one_block_each_get_what_they_were_promised() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = open(&dir.path().join("state"));
    let (session, north) = connect(&mut host, "client", "north");
    host.act(session, call(north, "makePurse", json!([1]), "p+1")).unwrap();
    let sent = host.send("north", "makePurse", [2.into()]).unwrap();
    let other = host.open_session("other").unwrap();
    host.act(session, call(north, "makePurse", json!([1]), "p+2")).unwrap();
    let last = host.send("north", "makePurse", [2.into()]).unwrap();
    let third = host.open_session("third").unwrap();
    settle(&mut host);
    assert_eq!(hear(&mut host, session).len(), 2);
    for it in [sent, last] {
        assert!(matches!(host.outcome(it).unwrap(), vathost::Outcome::Fulfilled(_)));
    }
    assert_eq!([host.session("other"), host.session("third")], [Some(other), Some(third)]);
}
