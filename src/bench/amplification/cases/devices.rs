//! Cases of `call_now`, device by device and method by method, and of the import `console`, which is no device.

use super::Case;
use crate::bench::guest::*;
use crate::{
    model::limits::{CONSOLE_BYTES_MAX, SLOTS_MAX},
    state::table::{DeviceRow, Mailbox},
};

/// The one device of a scenario.
const DEVICE: &str = "(i64.const 0x8000000000000046)";

const CONSOLE: DeviceRow = DeviceRow::Console;
const TIMER: DeviceRow = DeviceRow::Timer;

fn mailbox() -> DeviceRow {
    DeviceRow::Mailbox(Mailbox::default())
}

fn call(body: &str, len: &str, nslots: u32) -> String {
    format!("(drop (call $call_now {DEVICE} {body} {len} {SLOTS} (i32.const {nslots})))")
}

fn case(name: &'static str, about: &'static str, device: DeviceRow, guest: Guest) -> Case {
    Case::new("call_now", name, about, guest).device(device)
}

/// Makes a case of a short request.
fn short(name: &'static str, about: &'static str, device: DeviceRow, request: &str, nslots: u32) -> Case {
    let mut guest = Guest { setup: "(call $objects (i32.const 1))".to_owned(), ..Guest::default() };
    let (at, len) = guest.text(request);
    guest.go = times(&call(&format!("(i32.const {at})"), &format!("(i32.const {len})"), nslots));
    case(name, about, device, guest)
}

/// Makes a case of a request of the greatest length: `pre`, `each` as often as it fits, `post`.
fn long(name: &'static str, about: &'static str, device: DeviceRow, [pre, each, post]: [&str; 3]) -> Case {
    let mut guest = Guest::default();
    guest.setup = guest.fill(pre, each, post);
    guest.go = times(&call(BODY, LEN, 0));
    case(name, about, device, guest).in_a_delivery(100).at_most(16_384)
}

pub(super) fn call_now() -> Vec<Case> {
    let text = "aaaaaaaa";
    let mut slots = short("4096-slots", "4,096 objects, to the timer", TIMER, "#[\"getLastPolled\",[]]", SLOTS_MAX);
    slots.guest.setup = format!("(call $objects (i32.const {SLOTS_MAX}))");
    slots.in_a_delivery = 100;
    let mut handlers = short(
        "mailbox-registerInboundHandler",
        "another handler each time",
        mailbox(),
        "#[\"registerInboundHandler\",[\"$0\"]]",
        1,
    );
    handlers.guest.go =
        handlers.guest.go.replace("(drop (call $call_now", "(call $objects (i32.const 1)) (drop (call $call_now");
    let mut woken = short("timer-setWakeup", "to be woken at once", TIMER, "#[\"setWakeup\",[\"+1\",\"$0\"]]", 1);
    woken.guest.setup = format!("(call $slot {ZERO} {ROOT})");
    let mut slept = short(
        "timer-setWakeup-late",
        "to be woken at the end of time",
        TIMER,
        "#[\"setWakeup\",[\"+99999999\",\"$0\"]]",
        1,
    );
    slept.guest.setup.clone_from(&woken.guest.setup);
    let mut removed = short("timer-removeWakeup", "what was just asked for", TIMER, "#[\"removeWakeup\",[\"$0\"]]", 1);
    let (at, len) = removed.guest.text("#[\"setWakeup\",[\"+99999999\",\"$0\"]]");
    let wake = call(&format!("(i32.const {at})"), &format!("(i32.const {len})"), 1);
    removed.guest.go = removed.guest.go.replacen("(drop", &format!("{wake} (drop"), 1);
    vec![
        short("empty", "what is no message", TIMER, "", 0),
        slots,
        long("method-1-mib", "a method of 1 MiB that there is not", TIMER, ["#[\"", text, "\",[]]"]),
        long("lists-1-mib", "1 MiB of lists, to the timer", TIMER, ["#[\"getLastPolled\",[", "[],", "[]]]"]),
        long("records-1-mib", "1 MiB of records, to the timer", TIMER, ["#[\"getLastPolled\",[", "{\"a\":[]},", "0]]"]),
        short("timer-getLastPolled", "getLastPolled", TIMER, "#[\"getLastPolled\",[]]", 0),
        woken.at_most(65_536),
        // They stay: the run would wait for them.
        removed,
        slept.at_most(16_384),
        handlers,
        short("mailbox-add", "a short message", mailbox(), "#[\"add\",[0]]", 0),
        long("mailbox-add-1-mib", "a message of 1 MiB", mailbox(), ["#[\"add\",[\"", text, "\"]]"]),
        long("mailbox-add-lists", "a message of 1 MiB of lists", mailbox(), ["#[\"add\",[[", "[],", "[]]]]"]),
        long("mailbox-add-nul", "a message of NULs", mailbox(), ["#[\"add\",[\"", "\\u0000", "\"]]"]),
        short("mailbox-ackInbound", "of what has not come in", mailbox(), "#[\"ackInbound\",[\"+9\"]]", 0),
        short("console-log", "nothing, to the console", CONSOLE, "#[\"log\",[]]", 0),
        long("console-1-mib", "1 MiB, to the console", CONSOLE, ["#[\"log\",[\"", text, "\"]]"]),
        long("console-nul", "NULs, to the console", CONSOLE, ["#[\"log\",[\"", "\\u0000", "\"]]"]),
        long("console-lists", "1 MiB of lists, to the console", CONSOLE, ["#[\"log\",[", "[],", "[]]]"]),
    ]
}

pub(super) fn console() -> Vec<Case> {
    const GROUP: &str = "console";
    let line = |name, about, byte: u32, len: u32| {
        let setup = format!("(memory.fill {BODY} (i32.const {byte}) (i32.const {len}))");
        let go = times(&format!("(call $console {ZERO} {BODY} (i32.const {len}))"));
        Case::new(GROUP, name, about, Guest { setup, go, ..Guest::default() }).at_most(65_536)
    };
    vec![
        line("empty", "an empty line", 0, 0),
        line("nul", "8 KiB of NULs", 0, CONSOLE_BYTES_MAX),
        line("quotes", "8 KiB of quotation marks", 34, CONSOLE_BYTES_MAX),
        line("invalid", "8 KiB that are no UTF-8", 255, CONSOLE_BYTES_MAX),
        line("one-nul", "a line of one NUL", 0, 1),
        line("past-the-limit", "1 MiB, of which 8 KiB count", 97, 1 << 20).in_a_delivery(100),
    ]
}
