//! Cases of `exit`, and of work that belongs to no single import: faults, snapshots, starts, and rows that are journalled again and again.

use super::Case;
use crate::bench::guest::*;
use crate::state::table::{OnFault, Options};

const GROUP: &str = "host";

/// The vat admin, as a guest knows it that has no peer and no device.
const ADMIN: &str = "(i64.const 50)";

/// Makes a case of a parent that creates children which do this at their start.
fn children(
    group: &'static str,
    name: &'static str,
    about: &'static str,
    start: impl FnOnce(&mut Guest) -> String,
) -> Case {
    let mut parent = Guest::default();
    parent.go = times(&parent.say(ADMIN, "#[\"createVat\",[\"child\"]]", 0, FRESH_PROMISE));
    let mut child = Guest::default();
    child.start = start(&mut child);
    Case::new(group, name, about, parent).child(child).at_most(4_096)
}

pub(super) fn exit() -> Vec<Case> {
    const GROUP: &str = "exit";
    let exit = |failure: u32| format!("(call $exit (i32.const {failure}) {BODY} {LEN} {SLOTS} {ZERO})");
    vec![
        children(GROUP, "well", "vats that end at their start", |_| exit(0)),
        children(GROUP, "failed", "vats that end at their start, undone", |_| exit(1)),
        children(GROUP, "well-1-mib", "vats that end at their start, with 1 MiB", |it| {
            format!("{} {}", it.long_text(), exit(0))
        }),
        children(GROUP, "failed-1-mib", "vats that end at their start, undone, with 1 MiB", |it| {
            format!("{} {}", it.lists(), exit(1))
        }),
        children(GROUP, "again-and-again", "vats that say so a hundred times, with 1 MiB", |it| {
            format!("{} {}", it.long_text(), repeat(100, &exit(0)))
        })
        .at_most(256),
        children(GROUP, "4096-slots", "vats that end with what names 4,096", |it| {
            format!(
                "{} (call $objects (i32.const {ALL_SLOTS})) (call $exit {ZERO} {BODY} {LEN} {SLOTS} (i32.const {ALL_SLOTS}))",
                it.body("#\"\"")
            )
        })
        .at_most(1_024),
    ]
}

pub(super) fn host() -> Vec<Case> {
    vec![
        journal(),
        journal_of_one(),
        traps(),
        large_traps(SMALL_BUDGET),
        large_traps(TINY_BUDGET),
        growing_traps(),
        snapshots(),
        idle_start(),
        grown_start(),
        initialized(""),
        initialized("(unreachable)"),
    ]
}

/// Two settled promises that name 4,096 each: every message that names both counts in both.
fn journal() -> Case {
    let (first, second) = ("(call $p (i32.const 1))", "(call $p (i32.const 2))");
    let mut guest = Guest::default();
    let body = guest.body("#\"\"");
    let settle = |it: &str| format!("(call $settle {it} {ZERO} {BODY} {LEN} (i32.const {ALL_SLOTS}))");
    guest.setup = format!(
        "(call $slot {ZERO} {first}) (call $slot (i32.const 1) {second}) {}
         {body} (call $objects (i32.const {ALL_SLOTS})) {} {}",
        send(ROOT, ZERO, ZERO, 2, NONE),
        settle(first),
        settle(second)
    );
    guest.go = format!(
        "(call $slot {ZERO} {HELD}) (call $slot (i32.const 1) {SECOND}) {}",
        times(&send(ROOT, ZERO, ZERO, 2, NONE))
    );
    Case::new(GROUP, "journal", "two rows of 4,096 references each that change in turn", guest).in_a_delivery(10_000)
}

/// One large settled promise, whose row changes whenever a message names it.
fn journal_of_one() -> Case {
    let mut guest = Guest::default();
    let body = guest.long_text();
    guest.setup = format!("{body} (call $objects (i32.const {ALL_SLOTS}))");
    let name = format!("(call $slot {ZERO} {HELD})");
    guest.setup.push_str(&hold_settled(true, "", 0));
    guest.go = format!("{name} {}", times(&send(ROOT, ZERO, ZERO, 1, NONE)));
    Case::new(GROUP, "journal-1-mib", "a promise rejected with 1 MiB that is named again and again", guest)
        .in_a_delivery(10_000)
}

/// A budget that a heavy delivery nearly uses up.
const SMALL_BUDGET: u64 = 20_000_000;

/// Makes the case of heavy deliveries, followed by ones that trap at once and are rejected.
fn traps() -> Case {
    let guest = Guest {
        setup:
            "(loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1500000))))"
                .to_owned(),
        go: times(&send_empty(ROOT, NONE)),
        other: "unreachable".to_owned(),
        ..Guest::default()
    };
    let options = Options { on_fault: OnFault::Reject, fuel_per_delivery: SMALL_BUDGET, ..Options::default() };
    Case::new(GROUP, "traps", "deliveries that trap at once, after 150 heavy ones", guest)
        .options(options)
        .setups(150)
        .at_most(4_096)
}

/// A budget that is hardly more than the fuel for a write to each page of a large memory.
const TINY_BUDGET: u64 = 300_000;

/// Deliveries that trap over and over, in a vat whose one large heap is all its past.
fn large_traps(budget: u64) -> Case {
    let guest = Guest {
        setup: DIRTY.to_owned(),
        go: times(&send_empty(ROOT, NONE)),
        other: format!("{DIRTY} unreachable"),
        pages: 1_000,
        ..Guest::default()
    };
    let options = Options { on_fault: OnFault::Reject, fuel_per_delivery: budget, ..Options::default() };
    let (name, about) = match budget {
        TINY_BUDGET => ("traps-62-mib-at-once", "deliveries that write 62 MiB, and trap, with no fuel left"),
        _ => ("traps-62-mib", "deliveries that write 62 MiB, and trap"),
    };
    // Messages are paid for by whoever has the fuel: one at a time here.
    Case::new(GROUP, name, about, guest).options(options).in_a_delivery(20).at_most(1_024)
}

/// Deliveries that trap after the memory has grown, so that the instance must be made anew.
fn growing_traps() -> Case {
    let grow = "(if (i32.lt_s (memory.grow (i32.const 40)) (i32.const 0)) (then (return)))";
    let write = "(memory.fill (i32.const 0x400000) (i32.const 7) (i32.const 200000))";
    let guest =
        Guest { go: times(&send_empty(ROOT, NONE)), other: format!("{grow} {write} unreachable"), ..Guest::default() };
    let options = Options { on_fault: OnFault::Reject, fuel_per_delivery: 1_000_000, ..Options::default() };
    Case::new(GROUP, "traps-grown", "deliveries that trap after their memory has grown", guest)
        .options(options)
        .in_a_delivery(50)
        .at_most(4_096)
}

/// Makes the case of vats that grow their memory to 62 MiB at their start.
fn grown_start() -> Case {
    let mut case = children(GROUP, "grown-children", "vats that grow to 62 MiB at their start, and write it", |it| {
        it.pages = 1;
        it.texts.clear();
        format!("(if (i32.lt_s (memory.grow (i32.const 1000)) (i32.const 0)) (then unreachable)) {DIRTY}")
    });
    case.at_most = 1_024;
    case.patience = 5.0;
    case
}

/// Makes a case of vats that use all the fuel that `_initialize` may have, and then do this.
fn initialized(then: &str) -> Case {
    let (name, about) = match then {
        "" => ("initialized", "vats that work as long as may be before their start"),
        _ => ("initialized-and-trap", "vats that work as long as may be before their start, and trap"),
    };
    let mut case = children(GROUP, name, about, |it| {
        it.fields = format!(
            "(func (export \"_initialize\") (local $i i32)
               (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000000))))
               {then})"
        );
        String::new()
    });
    let mut guest = Guest::default();
    guest.go = times(&guest.say(ADMIN, "#[\"createVat\",[\"child\",{},{\"fuelPerDelivery\":1000}]]", 0, FRESH_PROMISE));
    case.guest = guest;
    case.at_most = 256;
    case
}

/// A snapshot after each delivery, and each writes to all of its memory.
fn snapshots() -> Case {
    let guest = Guest { go: times(&send_empty(ROOT, NONE)), other: DIRTY.to_owned(), pages: 1_000, ..Guest::default() };
    let options = Options { snapshot_interval: Some(1), ..Options::default() };
    Case::new(GROUP, "snapshots", "a snapshot after each delivery, of 62 MiB that it wrote", guest)
        .options(options)
        .at_most(4_096)
        .patience(20.0)
        .known("what it writes is scattered, and waits for memory")
}

/// Vats of which each writes to all of its memory at its start.
fn idle_start() -> Case {
    let mut case = children(GROUP, "large-children", "vats that write 62 MiB at their start", |it| {
        it.pages = 1_000;
        DIRTY.to_owned()
    });
    case.at_most = 1_024;
    case.patience = 5.0;
    case
}
