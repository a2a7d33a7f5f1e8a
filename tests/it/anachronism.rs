//! History does not repeat: a replay that differs from the record stops the host before confusion spreads.

use std::{
    path::Path,
    process::{Command, Output},
};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vathost::{
    id::VRef,
    transcript::End,
    value::{Answer, Delivery, Syscall},
};

#[derive(Serialize, Deserialize)]
enum Tag {
    Syscall,
    End,
}

type Exchange = (Syscall<VRef>, Answer);

/// One entry of a transcript, as it stands in the database.
struct Entry {
    delivery: Option<Delivery<VRef>>,
    syscalls: Vec<Exchange>,
    end: End,
}

fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> T {
    let (value, used) = bincode::serde::decode_from_slice(bytes, bincode::config::standard()).unwrap();
    *bytes = &bytes[used..];
    value
}

fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, bincode::config::standard()).unwrap();
}

/// What follows a version and how it is packed: not at all, or as a Zstandard frame behind its length.
fn unpack(chunk: &[u8]) -> Vec<u8> {
    if chunk[1] == 0 { chunk[2..].to_vec() } else { zstd::decode_all(&chunk[10..]).unwrap() }
}

fn decode(mut bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let mut entry = Entry { delivery: take(&mut bytes), syscalls: vec![], end: End::Skipped };
        while let Tag::Syscall = take(&mut bytes) {
            entry.syscalls.push((take(&mut bytes), take(&mut bytes)));
        }
        entry.end = take(&mut bytes);
        entries.push(entry);
    }
    entries
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = vec![3, 0];
    for entry in entries {
        append(&entry.delivery, &mut out);
        for (syscall, answer) in &entry.syscalls {
            append(&Tag::Syscall, &mut out);
            append(syscall, &mut out);
            append(answer, &mut out);
        }
        append(&Tag::End, &mut out);
        append(&entry.end, &mut out);
    }
    out
}

/// As the store has it: damage by accident is found there, so this test damages with care.
fn checksum(first: u64, entries: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [&1_u64.to_le_bytes()[..], &first.to_le_bytes(), entries] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes()
}

fn vathost(state: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vathost"));
    command.arg("run").args(args).arg("--state").arg(state);
    command.args(["--cranks-per-block", "20", "--snapshot-interval", "0", "--max-live", "1"]);
    command.env("XDG_CACHE_HOME", state.parent().unwrap());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// Runs pingpong for a while, changes the first entry of `v1` (ping) with a second syscall, and goes on: what the host says,
/// and the number of that delivery.
fn tamper(change: impl Fn(&mut Entry)) -> (Output, u64) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let begun = vathost(&state, &["vats/pingpong", "--blocks", "3"]);
    assert!(begun.status.success(), "{begun:?}");
    let database = Connection::open(state.join("state.sqlite")).unwrap();
    let find = "SELECT first, entries FROM transcript WHERE vat = 1 ORDER BY first LIMIT 1";
    let (first, bytes): (u64, Vec<u8>) =
        database.query_row(find, [], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?))).unwrap();
    let unpacked = unpack(&bytes);
    let mut entries = decode(&unpacked);
    assert!(encode(&entries)[2..] == unpacked, "this test reads transcripts as they are");
    let at = entries.iter().position(|it| it.syscalls.len() > 1).unwrap();
    change(&mut entries[at]);
    let bytes = encode(&entries);
    let sql = "UPDATE transcript SET entries = ?, checksum = ? WHERE vat = 1 AND first = ?";
    database.execute(sql, params![bytes, checksum(first, &bytes), first as i64]).unwrap();
    drop(database);
    (vathost(&state, &[]), first + at as u64)
}

/// It stops with the code for a divergence, and says where and what.
fn check(change: impl Fn(&mut Entry), says: &[&str]) {
    let (output, delivery) = tamper(change);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{told}");
    let place = format!("anachronism in v1 delivery {delivery}: ");
    for it in says.iter().chain([&place.as_str()]) {
        assert!(told.contains(it), "{it:?} is not in: {told}");
    }
}

fn invented() -> Exchange {
    (Syscall::VatstoreGet("invented".into()), Answer::Value(None))
}

#[test]
fn an_untouched_transcript_replays() {
    let (output, _) = tamper(|_| ());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_wrong_syscall_is_found() {
    check(|it| it.syscalls[1].0 = invented().0, &["syscall 1: recorded VatstoreGet(\"invented\"), now Vatstore"]);
}

#[test]
fn an_extra_syscall_is_found() {
    check(
        |it| {
            let last = it.syscalls.len() - 1;
            it.syscalls.truncate(last);
        },
        &[": recorded none: the delivery ended, now "],
    );
}

#[test]
fn a_missing_syscall_is_found() {
    check(|it| it.syscalls.push(invented()), &[": recorded VatstoreGet(\"invented\"), now none: the delivery ended"]);
}

#[test]
fn another_fuel_is_found() {
    check(|it| it.end = End::Done { fuel: 1 }, &["fuel: recorded 1, now "]);
}

#[test]
fn a_delivery_that_was_another_is_found() {
    check(|it| it.delivery = Some(Delivery::BringOutYourDead), &["recorded "]);
}
