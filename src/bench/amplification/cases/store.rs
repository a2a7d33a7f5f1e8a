//! Cases of `input_read` and `result_read`, and of the vatstore.

use super::Case;
use crate::bench::guest::*;
use crate::model::limits::{KEY_BYTES_MAX, SCAN_BYTES_MAX, VALUE_BYTES_MAX};

/// The address of a key, whose first four bytes vary.
const KEY: &str = "(i32.const 0x3000)";

fn plain(group: &'static str, name: &'static str, about: &'static str, setup: &str, go: &str) -> Case {
    let guest = Guest { setup: setup.to_owned(), go: times(go), ..Guest::default() };
    Case::new(group, name, about, guest)
}

/// Returns code that writes a value of the largest size under the key `kkkk`.
fn large_value() -> String {
    format!(
        "(memory.fill {BODY} (i32.const 97) (i32.const {VALUE_BYTES_MAX}))
         (i32.store {KEY} (i32.const 0x6b6b6b6b))
         (call $vatstore_set {KEY} (i32.const 4) {BODY} (i32.const {VALUE_BYTES_MAX}))"
    )
}

/// Returns code that writes a byte under another key each time.
fn next_key_of(len: u32) -> String {
    format!(
        "(i32.store {KEY} (call $fresh)) {}",
        call_with_key("vatstore_set", len, "(i32.const 0x3000) (i32.const 1)")
    )
}

fn call_with_key(import: &str, len: u32, more: &str) -> String {
    format!("(call ${import} {KEY} (i32.const {len}) {more})")
}

pub(super) fn input_read() -> Vec<Case> {
    const GROUP: &str = "input_read";
    let mut guest = Guest::default();
    guest.setup = guest.long_text();
    guest.go = send_body(ROOT, 0, NONE);
    guest.other = times(&format!("(call $input_read (i32.const 0x200000) {ZERO} {LEN})"));
    vec![
        plain(GROUP, "nothing", "no bytes at all", "", &format!("(call $input_read {ZERO} {ZERO} {ZERO})")),
        Case::new(GROUP, "1-mib", "the whole of a delivery of 1 MiB", guest).in_a_delivery(100),
    ]
}

pub(super) fn result_read() -> Vec<Case> {
    const GROUP: &str = "result_read";
    let get = format!("{} (drop {})", large_value(), call_with_key("vatstore_get", 4, ""));
    let go = format!("(call $result_read {BODY} {ZERO} (i32.const {VALUE_BYTES_MAX}))");
    let mut large = plain(GROUP, "1-mib", "the whole of an answer of 1 MiB", "", &go);
    large.guest.go = format!("{get} {}", large.guest.go);
    large.in_a_delivery = 100;
    vec![plain(GROUP, "nothing", "no bytes at all", "", &format!("(call $result_read {ZERO} {ZERO} {ZERO})")), large]
}

pub(super) fn get() -> Vec<Case> {
    const GROUP: &str = "vatstore_get";
    let get = |len: u32| format!("(drop {})", call_with_key("vatstore_get", len, ""));
    vec![
        plain(GROUP, "no-key", "an empty key", "", &get(0)),
        plain(GROUP, "missing", "a key of 1 KiB that is not there", "", &get(KEY_BYTES_MAX)),
        plain(GROUP, "1-mib", "a value of 1 MiB, which is not looked at", &large_value(), &get(4)).at_most(4_096),
    ]
}

pub(super) fn next_key() -> Vec<Case> {
    const GROUP: &str = "vatstore_next_key";
    let go = |len: u32| format!("(drop {})", call_with_key("vatstore_next_key", len, ""));
    let long = format!("(memory.fill {KEY} (i32.const 107) (i32.const {KEY_BYTES_MAX}))");
    let setup = format!("{long} (i32.store8 (i32.const 0x33ff) (i32.const 108)) {}", {
        format!("{} {long}", call_with_key("vatstore_set", KEY_BYTES_MAX, &format!("{BODY} (i32.const 1)")))
    });
    vec![
        plain(GROUP, "no-key", "what comes first, of nothing", "", &go(0)),
        plain(GROUP, "1-kib", "after a key of 1 KiB another", &setup, &go(KEY_BYTES_MAX)),
        plain(GROUP, "1-kib-after-none", "after the empty key one of 1 KiB", &setup, &go(0)),
    ]
}

pub(super) fn set() -> Vec<Case> {
    const GROUP: &str = "vatstore_set";
    let same = |key: u32, value: u32| call_with_key("vatstore_set", key, &format!("{BODY} (i32.const {value})"));
    vec![
        plain(GROUP, "nothing", "an empty value under an empty key", "", &same(0, 0)),
        plain(GROUP, "same-1-mib", "1 MiB, always under the same key", &large_value(), &same(4, VALUE_BYTES_MAX))
            .in_a_delivery(50),
        plain(GROUP, "new-keys", "a byte under a new key", "", &next_key_of(4)),
        plain(GROUP, "new-long-keys", "a byte under a new key of 1 KiB", "", &next_key_of(KEY_BYTES_MAX)),
        plain(
            GROUP,
            "large-and-small",
            "1 MiB and nothing in turn, under one key",
            &large_value(),
            &format!("{} {}", same(4, 1), same(4, VALUE_BYTES_MAX)),
        )
        .in_a_delivery(50),
    ]
}

pub(super) fn delete() -> Vec<Case> {
    const GROUP: &str = "vatstore_delete";
    let delete = |len: u32| call_with_key("vatstore_delete", len, "");
    vec![
        plain(GROUP, "missing", "what is not there", "", &delete(4)),
        plain(GROUP, "missing-1-kib", "a key of 1 KiB that is not there", "", &delete(KEY_BYTES_MAX)),
        plain(
            GROUP,
            "set-and-delete",
            "what was just written",
            "",
            &format!("{} {}", next_key_of(KEY_BYTES_MAX), delete(KEY_BYTES_MAX)),
        ),
    ]
}

pub(super) fn scan() -> Vec<Case> {
    const GROUP: &str = "vatstore_scan";
    let scan = |prefix: u32, max: u32| {
        format!("(drop (call $vatstore_scan {KEY} (i32.const {prefix}) {KEY} {ZERO} (i32.const {max})))")
    };
    let many = repeat(4_096, &next_key_of(4));
    vec![
        plain(GROUP, "nothing", "of nothing, for no bytes", "", &scan(0, 0)),
        plain(GROUP, "missing", "a prefix of 1 KiB that nothing has", "", &scan(KEY_BYTES_MAX, SCAN_BYTES_MAX)),
        plain(GROUP, "does-not-fit", "a value of 1 MiB, for a byte less", &large_value(), &scan(0, VALUE_BYTES_MAX)),
        plain(GROUP, "1-mib", "a value of 1 MiB", &large_value(), &scan(0, SCAN_BYTES_MAX)),
        plain(GROUP, "many", "4,096 small ones", &many, &scan(0, SCAN_BYTES_MAX)),
    ]
}
