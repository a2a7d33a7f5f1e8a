//! `debug --gdb`: a debugger of the guest's own code, on the way that the command line opens.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::*;
use crate::gdb::client::Client;

/// Connects to a server that was started with these flags, lets the guest go on, and gives what the command then printed.
fn attached(place: &Place, flags: &[&str]) -> Value {
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
    client.ask("vCont;c");
    drop(client);
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
    let committed = refusal(&past::done(), "v1/delivery-0");
    assert!(committed.contains("is committed: gdb debugs what is still to be delivered"), "{committed}");
}
