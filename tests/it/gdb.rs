//! Guests under a debugger: a client of gdb's remote protocol over a real socket, lldb where there is one, and gdb on the host itself.

pub(crate) mod client;
mod engine;
mod hostile;
mod lldb;
mod native;
mod stand;

use std::{io::Write, process::Command};

use client::{Client, FILE, unhex};
use stand::{GUEST, debugged, instructions, stand, undebugged};
use vathost::{
    debug::gdb,
    kernel::{self, Workers},
    vat::Warehouse,
};

/// Stores 42, of which it computes a half in another function.
pub(crate) const DOUBLER: &str = r#"(module
    (import "vat1" "vatstore_set" (func $vatstore_set (param i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (global $calls (mut i32) (i32.const 7))
    (data (i32.const 64) "key")
    (func $double (param $x i32) (result i32) (local $y i64)
        (local.set $y (i64.const 5))
        (i32.add (local.get $x) (local.get $x)))
    (func (export "vat_deliver") (param $length i32) (local $n i32)
        (local.set $n (i32.const 20))
        (local.set $n (call $double (local.get $n)))
        (local.set $n (i32.add (local.get $n) (i32.const 2)))
        (i32.store (i32.const 128) (local.get $n))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (call $vatstore_set (i32.const 64) (i32.const 3) (i32.const 128) (i32.const 4))))"#;

pub(crate) fn wasm(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|err| panic!("{err}"))
}

/// The same, but that it does this first, at every delivery but startVat.
fn doing(body: &str) -> Vec<u8> {
    let first = "(local.set $n (i32.const 20))";
    wasm(&DOUBLER.replace(first, &format!("(if (i32.gt_u (global.get $calls) (i32.const 7)) (then {body})) {first}")))
}

/// Whether this program is here. Where it is not, says that the test did not run.
pub(crate) fn is_here(program: &str) -> bool {
    let here = Command::new(program).arg("--version").output().is_ok();
    if !here {
        // `eprintln` would be captured.
        std::io::stderr().write_all(format!("not run: no {program}\n").as_bytes()).unwrap();
    }
    here
}

/// A client that has shaken hands.
fn greeted(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.shake_hands();
    client
}

#[test]
fn a_client_stops_at_the_first_instruction_and_sees_everything() {
    let wasm = wasm(DOUBLER);
    let (deliver, mut block) = (instructions(&wasm, 1), stand(&wasm));
    let mut workers = Warehouse::new(None).unwrap();
    kernel::bring_up(&mut block, &mut workers, GUEST).unwrap();
    let image = workers.worker(GUEST).unwrap().image(None).unwrap().unwrap();
    let pages = image.heap.pages.iter().map(|it| it.map_or(vec![0; 4096], |it| image.fresh[&it].to_vec()));
    let heap: Vec<u8> = pages.flatten().collect();
    let outcome = debugged(&wasm, |address| {
        let mut client = greeted(address);
        assert!(client.ask("?").starts_with("T05thread:1;"));
        let info = client.ask("qProcessInfo");
        assert!(info.contains(&format!("triple:{};", hex("wasm32-unknown-unknown-wasm"))), "{info}");
        assert!(client.ask("qHostInfo").contains("ptrsize:4;"));
        assert!(client.ask("qRegisterInfo0").starts_with("name:pc;"));
        assert!(client.ask("qRegisterInfo1").starts_with('E'));
        assert_eq!((client.ask("qfThreadInfo"), client.ask("qsThreadInfo")), ("m1".into(), "l".into()));
        assert_eq!(
            client.ask("qXfer:libraries:read::0,1000"),
            "l<library-list><library name=\"v1.wasm\"><section address=\"0x4000000000000000\"/></library></library-list>"
        );
        assert!(client.ask("qXfer:libraries:read::0,10").starts_with("m<library-list>"));
        assert_eq!(client.stack(), [deliver[0]]);
        assert_eq!(unhex(&client.ask("p0")), (FILE | deliver[0]).to_le_bytes());
        assert_eq!(client.read(FILE), wasm);
        assert!(client.read(0) == heap, "the memory is the heap of the undebugged vat");
        assert!(client.value("Local", 0, 0) > 0, "the length of the delivery");
        assert_eq!(client.value("Local", 0, 1), 0);
        assert_eq!(client.value("Global", 0, 0), 8, "startVat was before");
        assert_eq!(client.ask("c"), "W00");
        assert_eq!(client.packet(), None, "the server hangs up");
    });
    assert_eq!(outcome, undebugged(&wasm));
    assert!(outcome.stored.contains("*\\0\\0\\0"), "{}", outcome.stored);
}

/// What is told of a stop by SIGTRAP.
fn stop(reason: &str, at: u64) -> String {
    let bytes: String = (FILE | at).to_le_bytes().iter().map(|it| format!("{it:02x}")).collect();
    format!("T05thread:1;thread-pcs:{:x};00:{bytes};reason:{reason};", FILE | at)
}

fn hex(text: &str) -> String {
    text.bytes().map(|it| format!("{it:02x}")).collect()
}

#[test]
fn breakpoints_hit_steps_step_and_return_addresses_are_where_calls_return_to() {
    let wasm = wasm(DOUBLER);
    let (double, deliver) = (instructions(&wasm, 0), instructions(&wasm, 1));
    let outcome = debugged(&wasm, |address| {
        let mut client = greeted(address);
        client.breakpoint(true, double[0]);
        assert_eq!(client.ask("vCont;c"), stop("breakpoint", double[0]));
        // i32.const, local.set, local.get, call, local.set: it returns to the last.
        assert_eq!(client.stack(), [double[0], deliver[4]]);
        assert_eq!((client.value("Local", 0, 0), client.value("Local", 1, 1)), (20, 20));
        for at in double.iter().skip(1) {
            assert_eq!(client.ask("vCont;s:1"), stop("trace", *at));
            assert_eq!(client.stack(), [*at, deliver[4]]);
        }
        assert_eq!(client.value("Local", 0, 1), 5);
        client.breakpoint(true, deliver[4]);
        assert_eq!(client.ask("c"), stop("breakpoint", deliver[4]));
        assert_eq!((client.stack(), client.value("StackValue", 0, 0)), (vec![deliver[4]], 40));
        client.breakpoint(false, deliver[4]);
        client.breakpoint(true, deliver[9]);
        assert!(client.ask("c").starts_with("T05"));
        assert_eq!((client.stack(), client.value("Local", 0, 1)), (vec![deliver[9]], 42));
        assert_eq!(client.ask("D"), "OK");
    });
    assert_eq!(outcome, undebugged(&wasm));
}

#[test]
fn stepping_goes_through_the_authors_code_only() {
    let wasm = wasm(DOUBLER);
    let (double, deliver) = (instructions(&wasm, 0), instructions(&wasm, 1));
    let mut seen = vec![];
    let outcome = debugged(&wasm, |address| {
        let mut client = greeted(address);
        loop {
            seen.push(client.stack()[0]);
            match &*client.ask("s") {
                step if step.ends_with("reason:trace;") => (),
                end => return assert_eq!(end, "W00"),
            }
        }
    });
    // The call leads away after the fourth.
    let expected: Vec<u64> = [&deliver[..4], &double, &deliver[4..]].concat();
    assert_eq!(seen, expected);
    assert_eq!(outcome, undebugged(&wasm));
}

#[test]
fn a_breakpoint_set_twice_is_one_and_one_removed_hits_no_more() {
    let wasm = wasm(DOUBLER);
    let double = instructions(&wasm, 0);
    let outcome = debugged(&wasm, |address| {
        let mut client = greeted(address);
        for set in [true, true, false, false] {
            client.breakpoint(set, double[0]);
        }
        assert_eq!(client.ask("c"), "W00");
    });
    assert_eq!(outcome, undebugged(&wasm));
}

#[test]
fn what_a_fault_is_about_can_be_looked_at() {
    let faults = [
        ("unreachable", 4, "T06thread:1;", "wasm `unreachable` instruction executed"),
        ("(drop (i32.load (i32.const -1)))", 5, "T06thread:1;", "out of bounds memory access"),
        ("(loop $l (br $l))", 4, "T06thread:1;", "all fuel consumed by WebAssembly"),
        ("(call $vatstore_set (i32.const -1) (i32.const 9) (i32.const 0) (i32.const 0))", 8, "T06", "illegal syscall"),
    ];
    for (body, place, signal, words) in faults {
        let wasm = doing(body);
        let outcome = debugged(&wasm, |address| {
            let mut client = greeted(address);
            let stop = client.ask("c");
            assert!(stop.starts_with(signal), "{body}: {stop}");
            let (_, told) = stop.split_once("description:").unwrap();
            let told = String::from_utf8(unhex(told.trim_end_matches(';'))).unwrap();
            assert!(told.contains(words), "{body}: {told}");
            assert_eq!(client.stack().len(), 1, "{body}");
            let deliver = instructions(&wasm, 1);
            let at = deliver.iter().position(|it| *it == client.stack()[0]);
            assert_eq!(at, Some(place), "{body}");
            assert_eq!(client.ask("c"), "X06", "{body}");
        });
        assert!(outcome.ended.is_some(), "{body}");
        assert_eq!(outcome, undebugged(&wasm), "{body}");
    }
}

#[test]
fn a_guest_that_loops_is_stopped_by_an_interrupt() {
    let wasm = doing("(loop $l (br $l))");
    let outcome = debugged(&wasm, |address| {
        let mut client = greeted(address);
        client.send("c");
        client.stream.write_all(&[3]).unwrap();
        let stop = client.packet().unwrap();
        assert!(stop.starts_with("T02thread:1;") && stop.ends_with("reason:signal;"), "{stop}");
        let deliver = instructions(&wasm, 1);
        assert!(deliver[4..6].contains(&client.stack()[0]));
        assert_eq!(client.ask("D"), "OK");
    });
    assert_eq!(outcome.ended.as_deref(), Some("out of fuel"));
    assert_eq!(outcome, undebugged(&wasm));
}

#[test]
fn a_stack_that_is_exhausted_is_the_guests_fault_under_a_debugger_too() {
    let calls = "(if (i32.gt_u (global.get $calls) (i32.const 7)) (then (call $deep (i32.const 0))))";
    let deep = "(func $deep (param i32) (call $deep (i32.add (local.get 0) (i32.const 1))))";
    let text = DOUBLER.replace("(func $double", &format!("{deep} (func $double"));
    let wasm = wasm(&text.replace("(local.set $n (i32.const 20))", calls));
    let outcome = debugged(&wasm, |address| {
        let mut client = greeted(address);
        assert!(client.ask("c").starts_with("T06"));
        assert_eq!(client.stack().len(), 1_000, "no more are shown");
        assert_eq!(client.ask("c"), "X06");
    });
    assert_eq!(outcome.ended.as_deref(), Some("call stack exhausted"));
    assert_eq!(outcome, undebugged(&wasm));
}

#[test]
fn nobody_waits_for_a_client_where_nothing_is_delivered_to_the_vat() {
    let wasm = wasm(DOUBLER);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut workers = Warehouse::for_debugger(None).unwrap();
    let other = vathost::model::id::VatId(2);
    let (block, ran) = gdb::serve(stand(&wasm), other, &mut workers, listener).unwrap();
    assert!(ran.is_some());
    assert_eq!(block.state_hash().expect("hashes").to_string(), undebugged(&wasm).hash);
}

#[test]
fn vats_that_run_for_themselves_cannot_be_debugged() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = gdb::serve(stand(&wasm(DOUBLER)), GUEST, &mut Warehouse::new(None).unwrap(), listener);
    assert!(refused.unwrap_err().to_string().contains("attach a debugger"));
}

#[test]
fn the_user_is_told_how_to_attach_and_who_else_can() {
    let local = "127.0.0.1:4711".parse().unwrap();
    assert_eq!(gdb::invitation(local), "lldb -o 'process connect --plugin wasm connect://127.0.0.1:4711'");
    assert_eq!(gdb::warning(local), None);
    assert!(gdb::warning("0.0.0.0:4711".parse().unwrap()).unwrap().contains("other machines"));
}
