//! Behind the commit: a vat's own history, replayed.

use expect_test::expect;

use super::{BANK, answers, debug, hash, untouched};
use crate::cli::Place;

pub(super) fn done() -> Place {
    let place = Place::new();
    place.vathost(&format!("{BANK} --state @state --slog @slog")).ok();
    place
}

#[test]
fn a_committed_delivery_is_stepped_through_in_the_vats_own_references() {
    let place = done();
    let script =
        "where\ndelivery\nkv\nstep\nnext\nkv\nback\nnext\nback 2\nuntil v2/delivery-5\nmem 0x100000 16\ncontinue";
    debug(&place, "--at v2/delivery-2", script).ok().prints_but_for_fuel(expect![[r#"
        before delivery-2 of v2 north, message makePurse
          behind the commit: the vat alone is replayed; it has delivery-0 to delivery-10 of this code
          the tables of then are gone: no queue, c-list, promises, or crank numbers
        (v2/delivery-2) where
        before delivery-2 of v2 north, message makePurse
          behind the commit: the vat alone is replayed; it has delivery-0 to delivery-10 of this code
          the tables of then are gone: no queue, c-list, promises, or crank numbers
        (v2/delivery-2) delivery
        delivery-2 message o+0 makePurse(100) result p-61
          vatstoreGet purses -> #"+1"
          vatstoreSet purses = #"+2"
          vatstoreSet balance.2 = #"+100"
          vatstoreGet made -> #"+5"
          vatstoreSet made = #"+105"
          resolve p-61 fulfilled <Purse o+2>
          done, fuel <fuel>
        (v2/delivery-2) kv
        key              bytes  value
        balance.1            5  #"+5"
        made                 5  #"+5"
        open                 5  #"+0"
        purses               5  #"+1"
        vat.incarnation      1  1
        (v2/delivery-2) step
        delivery-2 to v2, syscall 0: vatstoreGet
          vat     vatstoreGet purses -> #"+1"
        (v2/delivery-2 syscall 0) next
        delivery-2: done, 6 syscalls, fuel <fuel> as recorded
        before delivery-3 of v2 north, message pay
        (v2/delivery-3) kv
        key              bytes  value
        balance.1            5  #"+5"
        balance.2            7  #"+100"
        made                 7  #"+105"
        open                 5  #"+0"
        purses               5  #"+2"
        vat.incarnation      1  1
        (v2/delivery-3) back
        before delivery-2 of v2 north, message makePurse
        (v2/delivery-2) next
        delivery-2: done, 6 syscalls, fuel <fuel> as recorded
        before delivery-3 of v2 north, message pay
        (v2/delivery-3) back 2
        before delivery-1 of v2 north, message makePurse
        (v2/delivery-1) until v2/delivery-5
        delivery-1: done, 6 syscalls, fuel <fuel> as recorded
        delivery-2: done, 6 syscalls, fuel <fuel> as recorded
        delivery-3: done, 6 syscalls, fuel <fuel> as recorded
        delivery-4: done, 4 syscalls, fuel <fuel> as recorded
        before delivery-5 of v2 north, message pay
        (v2/delivery-5) mem 0x100000 16
        <fuel>  25 20 59 cd 62 9e bd 7d 55 d7 56 aa 86 d4 64 f3  % Y.b..}U.V...d.
        (v2/delivery-5) continue
        delivery-6: done, 6 syscalls, fuel <fuel> as recorded
        delivery-7: done, 5 syscalls, fuel <fuel> as recorded
        delivery-8: done, 6 syscalls, fuel <fuel> as recorded
        delivery-9: done, 5 syscalls, fuel <fuel> as recorded
        delivery-10: done, 2 syscalls, fuel <fuel> as recorded
        after the last recorded delivery of v2 north: `--at v2/delivery-11` goes on in the open work
    "#]]);
}

#[test]
fn what_a_vat_alone_cannot_show_is_refused_with_the_reason() {
    let place = done();
    for command in
        ["queue", "clist", "promise", "object ko20", "skip", "why kp41", "upgrade x", "write-directive x", "break v1"]
    {
        debug(&place, "--at v2/delivery-2", command).code(2).says("lies behind the last commit");
    }
    for (command, why) in [
        ("back 3", "begins with delivery-0"),
        ("until v2/delivery-1", "lies behind"),
        ("until v2/delivery-1000", "ends before"),
        ("until crank-3", "only this vat's own deliveries"),
        ("continue\nnext", "the recorded history ends here"),
        ("continue\nstep", "the recorded history ends here"),
        ("mem v1 0 1", "only v2 is replayed"),
    ] {
        debug(&place, "--at v2/delivery-2", command).code(2).says(why);
    }
    debug(&place, "--at v2/delivery-2", "continue\nback\nhelp").ok();
}

#[test]
fn a_committed_crank_is_found_through_a_recording_only() {
    let place = done();
    debug(&place, "--at crank-7", "").code(2).says("crank-7 is committed").says("--slog FILE");
    debug(&place, "--at block-1", "").code(2).says("block-1 is committed");
    let at = answers(&place, "--at crank-7 --slog @slog", "");
    let shown = place.vathost("slog show @slog --crank 7 --json").ok().json();
    assert_eq!(at[0]["reply"]["vatID"], shown["vatID"]);
    assert_eq!(at[0]["reply"]["delivery"], shown["deliveryNum"]);
    debug(&place, "--at crank-1 --slog @state/lock", "").code(2);
}

#[test]
fn from_a_snapshot_and_from_the_beginning_the_heap_is_the_same() {
    let run = "run vats/pingpong --state @state";
    let (with, without) = (Place::new(), Place::new());
    with.vathost(&format!("{run} --snapshot-interval 20")).ok();
    without.vathost(&format!("{run} --snapshot-interval 0")).ok();
    let heap = |place: &Place, number: u64| {
        let at = answers(place, &format!("--at v2/delivery-{number}"), "mem 0 0x120000\nback\nnext\nmem 0 0x120000");
        assert_eq!(at[1]["reply"], at[4]["reply"]);
        at[1]["reply"].clone()
    };
    let last = with.vathost("inspect --state @state vat v2 --json").ok().json()["deliveries"].as_u64().unwrap() - 1;
    for number in [1, 19, 20, 21, last] {
        assert_eq!(heap(&with, number), heap(&without, number), "{number}");
    }
    assert_ne!(heap(&with, 1), heap(&with, last));
}

#[test]
fn the_history_of_other_code_is_refused() {
    let place = Place::new();
    let bundle = vathost::model::id::BundleId::of(&std::fs::read("vats/pong.wasm").unwrap()).to_string();
    place.write("d", &format!("v2/delivery-10: upgrade v2 bundle {bundle}"));
    place.vathost("run vats/pingpong --state @state --directives @d").ok();
    debug(&place, "--at v2/delivery-9", "").code(2).says("earlier incarnation");
    debug(&place, "--at v2/delivery-11", "next\nback").ok();
}

#[test]
fn a_dead_vat_has_no_history() {
    let place = done();
    // West ends in the scenario.
    let ran = debug(&place, "--at v4/delivery-0", "");
    assert!(ran.code == 2 || ran.stdout.contains("was not reached"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn from_an_older_state_on_what_is_committed_is_come_to_with_all_its_tables() {
    let place = Place::new();
    place.vathost(&format!("{BANK} --state @state --blocks 2")).ok();
    place.vathost("fork @state @older").ok();
    place.vathost("export @state @older.vathost").ok();
    place.vathost("run @state").ok();
    let straight = answers(&untouched(), "--at crank-12", "next\nback 3");
    for base in ["--base @older", "--base @older.vathost"] {
        let at = answers(&place, &format!("--at crank-12 {base}"), "next\nback\nback\nskip\nforget");
        assert_eq!([hash(&at[0]), hash(&at[1])], [hash(&straight[0]), hash(&straight[1])], "{base}");
        assert_eq!(hash(&at[5]), hash(&at[3]));
        debug(&place, &format!("--at v2/delivery-4 {base}"), "queue\nclist v2").ok().shows("delivery-4 to v2");
        debug(&place, base, "back").code(2).says("is committed up to crank-10").says("--base OLDER");
    }
    debug(&place, "--at crank-7 --base @older", "").code(2).says("crank-7 is committed");
    // What came from outside since is in no older state.
    place.vathost("fork @state @newer").ok();
    place.vathost("call @newer north makePurse 5").ok();
    debug(&place, "--base @newer", "").code(2).says("is no older state");
    place.vathost("debug @newer --base @older").code(2).says("is another history").says("messages from outside");
    debug(&place, "--base @nowhere", "").code(2).says("there is no state in");
}
