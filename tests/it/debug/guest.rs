//! `debug --gdb`: a debugger of the guest's own code, on the way that the command line opens.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::*;
use crate::gdb::client::Client;

/// Connects to a server that was started with these flags.
fn connected(place: &Place, flags: &[&str]) -> (Client, Child) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vathost"));
    command
        .args(["debug", "--gdb", "127.0.0.1:0", "--json", "--cranks-per-block", "5", "--state"])
        .arg(place.path("state"))
        .args(flags);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.map(|it| it.split_once("connect://").map(|(_, it)| it.trim_end_matches('\'').to_owned()));
    let address = address.flatten().next().unwrap();
    let mut client = Client::connect(address.parse().unwrap());
    client.shake_hands();
    assert!(!client.stack().is_empty());
    (client, child)
}

/// Lets the guest go on, and gives what the command then printed.
fn attached(place: &Place, flags: &[&str]) -> Value {
    let (mut client, child) = connected(place, flags);
    client.ask("vCont;c");
    drop(client);
    object(child)
}

fn object(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[test]
fn the_next_delivery_is_debugged_and_comes_to_what_it_comes_to_without() {
    let place = untouched();
    let answers = answers(&place, "", "next\nnext");
    let crank = place_of(&answers[1])["next"]["crank"].as_u64().unwrap();
    let ran = attached(&place, &["--at", &format!("crank-{crank}")]);
    assert_eq!(ran["crank"], crank);
    assert_eq!(ran["stateHash"], hash(&answers[2]), "{ran}");
    assert!(ran["fuel"].as_u64().unwrap() > 0 && ran["ended"] == false, "{ran}");
}

#[test]
fn a_place_without_a_delivery_and_one_that_is_committed_are_refused() {
    let refusal = |place: &Place, at: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vathost"));
        command.args(["debug", "--gdb", "127.0.0.1:0", "--at", at, "--state"]).arg(place.path("state"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refusal(&untouched(), "crank-99999").contains("the work that is open ends before crank-99999"));
    let dead = refusal(&past::done(), "v4/delivery-0");
    assert!(dead.contains("v4 is dead"), "{dead}");
}

#[test]
fn a_committed_delivery_is_replayed_and_several_are_debugged_by_one_client() {
    let place = past::done();
    let recorded = |number: u64| {
        let at = answers(&place, &format!("--at v2/delivery-{number}"), "delivery");
        at[1]["reply"]["fuel"].as_u64().unwrap()
    };
    let one = attached(&place, &["--at", "v2/delivery-2"]);
    assert_eq!(one["fuel"], recorded(2), "{one}");
    assert_eq!([&one["crank"], &one["deliveryNum"], &one["outcome"]], [&Value::Null, &json!(2), &json!("done")]);
    let (mut client, child) = connected(&place, &["--at", "v2/delivery-2", "--deliveries", "3"]);
    let first = client.stack();
    client.breakpoint(true, first[0]);
    for _ in 0..2 {
        // The next delivery stops at its beginning, where the breakpoint of the first still stands.
        assert!(client.ask("vCont;c").starts_with("T05"));
        assert_eq!(client.stack(), first);
    }
    assert_eq!(client.ask("vCont;c"), "W00");
    let three = object(child);
    let numbers: Vec<_> = three["deliveries"].as_array().unwrap().iter().map(|it| it["deliveryNum"].clone()).collect();
    assert_eq!(numbers, [2, 3, 4], "{three}");
    assert_eq!(three["fuel"], recorded(4));

    let (mut client, child) = connected(&untouched(), &["--at", "v1/delivery-0", "--deliveries", "2"]);
    assert!(client.ask("vCont;c").starts_with("T05"));
    assert_eq!(client.ask("vCont;c"), "W00");
    let two = object(child);
    let numbers: Vec<_> = two["deliveries"].as_array().unwrap().iter().map(|it| it["deliveryNum"].clone()).collect();
    assert_eq!(numbers, [0, 1], "{two}");
    assert!(two["stateHash"].is_string() && two["crank"].as_u64() > Some(0), "{two}");
}

/// A vat that traps is at fault, whether that ends it or not.
#[test]
fn the_end_tells_of_a_fault_that_the_vat_outlives() {
    for (on_fault, ended) in [("terminate", true), ("pause", false), ("reject", false)] {
        let place = Place::new();
        let trap = "(module (memory (export \"memory\") 1) (func (export \"vat_deliver\") (param i32)
            (if (i32.load (i32.const 0)) (then unreachable))
            (i32.store (i32.const 0) (i32.const 1))))";
        place.write("it.wat", trap);
        let vat = format!("[vats.it]\nbundle = \"it.wat\"\noptions = {{ on_fault = \"{on_fault}\" }}\n");
        place.write("vat.toml", &(vat + "[[send]]\nto = \"it\"\nmethod = \"go\"\n"));
        place.write("halt", "v1/delivery-1: halt");
        place.vathost("run @vat.toml --state @state --cranks-per-block 5 --directives @halt").code(3);
        let (mut client, child) = connected(&place, &["--at", "v1/delivery-1"]);
        assert!(client.ask("vCont;c").starts_with("T06"));
        assert_eq!(client.ask("vCont;c"), "X06");
        let ran = object(child);
        assert!(ran["fault"].as_str().unwrap().contains("unreachable"), "{ran}");
        assert_eq!([&ran["ended"], &ran["deliveryNum"]], [&json!(ended), &json!(1)], "{on_fault}: {ran}");
    }
}

/// An lldb that only says how it was started.
const LLDB: &str = "#!/bin/sh
if [ \"$1\" = --version ]; then echo 'lldb version VERSION'; exit; fi
printf '%s\\n' \"$@\" > \"$(dirname \"$0\")/arguments\"
";

#[test]
fn lldb_is_started_at_the_place_with_what_makes_locals_readable() {
    use std::os::unix::fs::PermissionsExt;
    let place = untouched();
    for (name, version) in [("lldb-22", "22.1.0"), ("lldb", "14.0.6"), ("other", "23.1.0")] {
        place.write(&format!("bin/{name}"), &LLDB.replace("VERSION", version));
        fs::set_permissions(place.path(&format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = |path: String, words: &str| {
        let mut command = place.command(&format!("debug @state --at v1/delivery-0 {words}"));
        let output = command.env("PATH", path).output().unwrap();
        let text = |it: Vec<u8>| String::from_utf8(it).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    let (code, out, err) = run(path.clone(), "--lldb -- --batch");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("lldb version 22.1.0") && out.contains("delivery-0 to v1: done"), "{out}{err}");
    let arguments = fs::read_to_string(place.path("bin/arguments")).unwrap();
    for part in
        ["lldb_lookup.py", "target.language c++", "process connect --plugin wasm connect://127.0.0.1:", "--batch\n"]
    {
        assert!(arguments.contains(part), "{part}: {arguments}");
    }
    let other = place.path("bin/other").display().to_string();
    assert!(run(path, &format!("--lldb={other}")).2.contains("lldb version 23.1.0"));
    fs::remove_file(place.path("bin/lldb-22")).unwrap();
    let (code, _, err) = run(place.path("bin").display().to_string() + ":/bin:/usr/bin", "--lldb");
    if !err.contains("before crank") {
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("(`lldb` is lldb version 14.0.6)") && err.contains("`lldb-22`"), "{err}");
    }
}
