//! History does not repeat: a replay that differs from the record stops the host before confusion spreads.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vathost::{
    model::{
        id::{DeliveryNum, VRef, VatId},
        value::{Answer, Delivery, Syscall},
    },
    state::{table::Tables, transcript::End},
    store::{Append, AppendedBlock, Database, canon},
};

#[derive(Serialize, Deserialize)]
enum Tag {
    Syscall,
    End,
}

const VAT: VatId = VatId(1);

type Exchange = (Syscall<VRef>, Answer);

/// One entry of a transcript, as it stands in the database.
struct Entry {
    delivery: Option<Delivery<VRef>>,
    syscalls: Vec<Exchange>,
    end: End,
}

fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> T {
    canon::take(bytes).unwrap()
}

fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    canon::write(value, out).unwrap();
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
    let mut out = vec![4, 0];
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
    let mut database = Database::open(&state, &Tables::layout()).unwrap();
    let (mut meta, mut heads) = (database.meta().unwrap().unwrap(), database.heads().unwrap());
    let mark = *database.blocks().unwrap().last().unwrap();
    let chunks = database.transcript(&heads, VAT, DeliveryNum(0)).unwrap();
    let unpacked: Vec<u8> = chunks.iter().flat_map(|it| unpack(&it.entries)).collect();
    let mut entries = decode(&unpacked);
    assert!(encode(&entries)[2..] == unpacked, "this test reads transcripts as they are");
    let at = entries.iter().position(|it| it.syscalls.len() > 1).unwrap();
    change(&mut entries[at]);
    // Damage by accident is found by the store, so this is done with care.
    let transaction = database.transaction().unwrap();
    transaction.delete_transcript(VAT, &mut heads, &mut meta.proof.transcripts).unwrap();
    let append_all = |append: &mut Append<'_>| {
        let mut numbered = (0..).map(DeliveryNum).zip(&entries);
        numbered.try_for_each(|(number, it)| append(VAT, number, &encode(std::slice::from_ref(it))[2..]))
    };
    let block = AppendedBlock { mark, time: 0, cranks: &[], has_mark: true, gathers: true };
    transaction.put_block(&block, &mut heads, &mut meta.proof, append_all).unwrap();
    transaction.put_meta(&meta).unwrap();
    transaction.commit().unwrap();
    drop(database);
    (vathost(&state, &[]), at as u64)
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
