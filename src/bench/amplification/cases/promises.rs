//! Cases of `subscribe` and `resolve`: waiting for promises, and settling them.

use super::Case;
use crate::bench::guest::*;
use crate::model::limits::REFS_MAX;

/// Makes a case of a promise that is settled like this: the vat sends it to itself and subscribes to it again and again, since each notify
/// retires it from the vat's c-list.
fn settled(
    name: &'static str,
    about: &'static str,
    rejected: bool,
    nslots: u32,
    body: impl FnOnce(&mut Guest) -> String,
) -> Case {
    let mut guest = Guest::default();
    let body = body(&mut guest);
    guest.setup = hold_settled(rejected, &body, nslots);
    // The message comes behind the notify, with a new name for the promise.
    let again = format!("(call $slot {ZERO} {HELD}) (call $subscribe {HELD}) {}", send(ROOT, ZERO, ZERO, 1, NONE));
    guest.go = format!("(global.set $left (global.get $times)) {again}");
    guest.other = when(
        "(global.get $left)",
        &format!(
            "(global.set $left (i32.sub (global.get $left) (i32.const 1))) {}",
            when("(global.get $left)", &again)
        ),
    );
    Case::new("subscribe", name, about, guest).in_a_delivery(u64::MAX)
}

pub(super) fn subscribe() -> Vec<Case> {
    const GROUP: &str = "subscribe";
    let with = |go: String| Guest { go: times(&go), ..Guest::default() };
    let slots = format!("(call $objects (i32.const {ALL_SLOTS}))");
    vec![
        Case::new(
            GROUP,
            "same",
            "always to the same promise",
            with("(call $subscribe (call $p (i32.const 1)))".into()),
        ),
        Case::new(GROUP, "new", "to a new promise", with(format!("(call $subscribe {FRESH_PROMISE})"))),
        settled("fulfilled", "to a promise of nothing", false, 0, |it| it.body("#0")),
        settled("rejected-1-mib", "to a promise rejected with 1 MiB", true, 0, Guest::long_text).at_most(4_096),
        settled("fulfilled-1-mib", "to a promise of 1 MiB of lists", false, 0, Guest::lists).at_most(4_096),
        settled("fulfilled-4096-slots", "to a promise of data that names 4,096", false, ALL_SLOTS, |it| {
            format!("{slots} {}", it.body("#\"\""))
        }),
        closure("closure-1-mib", "to a promise that leads to 100 others, each of 1 MiB", 100, Guest::long_text)
            .at_most(256),
        closure("closure-4096", "to a promise that leads to 4,096 others", ALL_SLOTS, |it| it.body("#\"\"")),
    ]
}

/// Makes a case of a promise whose data names so many other promises, which are settled, too.
fn closure(name: &'static str, about: &'static str, others: u32, body: impl FnOnce(&mut Guest) -> String) -> Case {
    let mut case = settled(name, about, false, others, |_| String::new());
    let guest = &mut case.guest;
    let body = body(guest);
    let (first, other) = ("(call $p (i32.const 1))", "(call $p (i32.add (local.get $j) (i32.const 10)))");
    let named = repeat(others, &format!("(call $slot (local.get $j) {other})"));
    let (at, len) = guest.text("#\"\"");
    let each = repeat(others, &format!("(call $settle {other} (i32.const 0) {BODY} {LEN} {ZERO})"));
    guest.setup = format!(
        "(global.set $next (i32.const 10000)) (call $slot {ZERO} {first}) {} {named}
         (call $settle {first} {ZERO} (i32.const {at}) (i32.const {len}) (i32.const {others})) {body} {each}",
        send(ROOT, ZERO, ZERO, 1, NONE)
    );
    case
}

pub(super) fn resolve() -> Vec<Case> {
    const GROUP: &str = "resolve";
    let with = |setup: String, go: String| Guest { setup, go: times(&go), ..Guest::default() };
    let settle = |rejected: u32, nslots: u32| {
        format!("(call $settle {FRESH_PROMISE} (i32.const {rejected}) {BODY} {LEN} (i32.const {nslots}))")
    };
    let filled = |rejected: u32, nslots: u32, body: fn(&mut Guest) -> String| {
        let mut guest = Guest::default();
        let body = body(&mut guest);
        guest.setup = format!("(call $objects (i32.const {})) {body}", nslots.max(1));
        guest.go = times(&settle(rejected, nslots));
        guest
    };
    let case = |name, about, guest| Case::new(GROUP, name, about, guest);
    let records = |rejected: u32| {
        let one = format!(
            "(call $record (i32.add (i32.const 0x200000) (i32.shl (local.get $j) (i32.const 5)))
               {FRESH_PROMISE} (i32.const {rejected}) {BODY} (i32.const 3) {ZERO})"
        );
        let mut guest = Guest { pages: 128, ..Guest::default() };
        guest.setup = guest.body("#\"\"");
        guest.go =
            times(&format!("{} (call $resolve (i32.const 0x200000) (i32.const {REFS_MAX}))", repeat(REFS_MAX, &one)));
        guest
    };
    let mut awaited = Guest::default();
    awaited.setup = awaited.long_text();
    awaited.go = times(&format!(
        "(local.set $x {FRESH_PROMISE}) (call $slot {ZERO} (local.get $x)) {}
         (call $settle (local.get $x) (i32.const 1) {BODY} {LEN} {ZERO})",
        send(ROOT, ZERO, ZERO, 1, NONE)
    ));
    awaited.other = format!("(call $subscribe {HELD})");
    vec![
        case("nothing", "no promises at all", with(String::new(), format!("(call $resolve {ZERO} {ZERO})"))),
        case("empty", "a new promise, with nothing", filled(1, 0, |it| it.body("#\"\""))),
        case("rejected-1-mib", "a new promise, rejected with 1 MiB", filled(1, 0, Guest::long_text)).in_a_delivery(100),
        case("fulfilled-1-mib", "a new promise, of 1 MiB of lists", filled(0, 0, Guest::lists)).in_a_delivery(100),
        case("older-1-mib", "a new promise, of 1 MiB of records in the older encoding", {
            filled(0, 1, |it| it.fill("[", "{\"@qclass\":\"slot\",\"index\":0},", "0]"))
        })
        .in_a_delivery(100),
        case("fulfilled-4096-slots", "a new promise, of what names 4,096", filled(0, ALL_SLOTS, |it| it.body("#\"\"")))
            .in_a_delivery(100),
        case("65536-records", "65,536 new promises at once", records(1)).in_a_delivery(1).at_most(16),
        case("awaited-1-mib", "a promise that the vat was sent, and awaits, with 1 MiB", awaited).in_a_delivery(100),
    ]
}
