//! The twelve attackers of a siege, each with a flood of its own, and the warden, which creates them and replaces those that end.

use crate::{
    bench::guest::{BODY, Guest, HELD, LEN, NONE, ROOT, SLOTS, ZERO, hold_settled, repeat, send, send_empty, when},
    host::scenario::StaticVat,
    state::table::Options,
};

/// The vat admin, as the warden knows it: it comes after the roots of the four honest vats.
const WARDENS_ADMIN: &str = "(i64.const 54)";
/// The vat admin, as the attackers know it: the only object that they are given.
const ADMIN: &str = "(i64.const 50)";
/// The timer, as the warden and the attackers know it.
const TIMER: &str = "(i64.const 0x8000000000000046)";

/// The bounds of each attacker: so low that a siege of a minute reaches them, and shows that they hold.
const BOUNDS: &str = "\"storeMax\":\"+16777216\",\"refsMax\":\"+20000\",\"vatsMax\":\"+200\",\"queuedMax\":\"+2000\"";

/// A vat that besieges the host.
pub(super) struct Attacker {
    pub(super) name: &'static str,
    /// The vat's options, as `createVat` takes them, besides [`BOUNDS`].
    options: &'static str,
    guest: Guest,
}

impl Attacker {
    /// Returns the attacker's module as WAT text.
    pub(super) fn wat(&self) -> String {
        self.guest.wat()
    }
}

/// Makes an attacker that sends itself a message at its start and whenever it gets one.
fn ever(name: &'static str, each: impl FnOnce(&mut Guest) -> String) -> Attacker {
    let mut guest = Guest { awake: true, ..Guest::default() };
    let each = each(&mut guest);
    guest.start.push_str(&send_empty(ROOT, NONE));
    guest.other = format!("{each} {}", send_empty(ROOT, NONE));
    Attacker { name, options: "", guest }
}

/// Returns all twelve attackers. `burst` is the number of messages that the attacker `bursts` sends at once.
pub(super) fn attackers(burst: u32) -> Vec<Attacker> {
    vec![
        ever("self-flood", |_| send_empty(ROOT, NONE)),
        bursts(burst),
        notifies(),
        ever("store", |guest| {
            let body = guest.fill_to(16 << 10, "", "0123456789abcdef", "");
            let key = "(i32.store (i32.const 0x3000) (call $fresh))";
            let set = format!("{key} (call $vatstore_set (i32.const 0x3000) (i32.const 4) {BODY} {LEN})");
            format!("{body} {}", repeat(10, &set))
        }),
        creators(),
        ever("console", |guest| {
            guest.start = format!("(memory.fill {BODY} {ZERO} (i32.const 8192))");
            repeat(20, &format!("(call $console {ZERO} {BODY} (i32.const 8192))"))
        }),
        traps(),
        timers(),
        meters(),
        rejections(),
        ever("promises", |_| {
            let each = format!("(call $subscribe (i64.load (i32.add {SLOTS} (i32.shl (local.get $j) (i32.const 3)))))");
            format!("(call $promises (i32.const 100)) {} {}", send(ROOT, ZERO, ZERO, 100, NONE), repeat(100, &each))
        }),
        bombs(),
    ]
}

/// Makes an attacker that sends itself a burst of messages, and the next burst when all have come.
fn bursts(burst: u32) -> Attacker {
    let go = format!("(global.set $left (i32.const {burst})) {}", repeat(burst, &send_empty(ROOT, NONE)));
    let other = format!(
        "(global.set $left (i32.sub (global.get $left) (i32.const 1))) {}",
        when("(i32.eqz (global.get $left))", &go)
    );
    let guest = Guest { awake: true, start: go, other, ..Guest::default() };
    Attacker { name: "bursts", options: "", guest }
}

/// Makes an attacker that sends itself a promise rejected with 256 KiB, and subscribes to it, again and again.
fn notifies() -> Attacker {
    let mut guest = Guest { awake: true, ..Guest::default() };
    let body = guest.fill_to(256 << 10, "#\"", "aaaaaaaa", "\"");
    guest.start = hold_settled(true, &body, 0);
    guest.other = format!("(call $slot {ZERO} {HELD}) (call $subscribe {HELD}) {}", send(ROOT, ZERO, ZERO, 1, NONE));
    Attacker { name: "notifies", options: "", guest }
}

/// Makes an attacker that creates vats that do nothing.
fn creators() -> Attacker {
    ever("creator", |guest| repeat(4, &guest.say(ADMIN, "#[\"createVat\",[\"idle\"]]", 0, NONE)))
}

/// Makes an attacker that writes to 10 MiB of its memory and traps, over and over.
fn traps() -> Attacker {
    let mut guest = Guest { awake: true, pages: 200, ..Guest::default() };
    let trap = guest.say(ROOT, "#[\"trap\",[]]", 0, NONE);
    let dirty = "(local.set $i (i32.const 0x200000))
         (loop $l
           (i32.store (local.get $i) (local.get $i))
           (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 12582912))))
         unreachable";
    guest.start = send_empty(ROOT, NONE);
    guest.other =
        format!("{} {} {}", when("(i32.load (i32.const 24))", dirty), repeat(20, &trap), send_empty(ROOT, NONE));
    Attacker { name: "traps", options: ",\"onFault\":\"reject\",\"fuelPerDelivery\":\"+20000000\"", guest }
}

/// Makes an attacker that asks for two wakeups whenever it is woken.
fn timers() -> Attacker {
    let mut guest = Guest { awake: true, ..Guest::default() };
    let (at, len) = guest.text("#[\"setWakeup\",[\"+1\",\"$0\"]]");
    let wake = format!(
        "(call $slot {ZERO} {ROOT}) (drop (call $call_now {TIMER} (i32.const {at}) (i32.const {len}) {SLOTS} (i32.const 1)))"
    );
    guest.start.clone_from(&wake);
    guest.other = format!("{wake} {wake}");
    Attacker { name: "timers", options: "", guest }
}

/// Makes an attacker that creates meters, and lets them go.
fn meters() -> Attacker {
    let mut attacker = ever("meters", |guest| {
        let ask = guest.say(ADMIN, "#[\"createMeter\",[\"+9\",\"+1\"]]", 0, "(local.get $x)");
        repeat(10, &format!("(local.set $x (call $p (call $fresh))) {ask} (call $subscribe (local.get $x))"))
    });
    attacker.guest.told = when(
        "(i32.load (i32.const 28))",
        "(call $drop_imports (i32.const 32) (i32.const 1)) (call $retire_imports (i32.const 32) (i32.const 1))",
    );
    attacker
}

/// Makes an attacker that sends to a promise rejected with 256 KiB, for results that are rejected with the same.
fn rejections() -> Attacker {
    let mut guest = Guest { awake: true, ..Guest::default() };
    let body = guest.fill_to(256 << 10, "#\"", "aaaaaaaa", "\"");
    guest.start = hold_settled(true, &body, 0);
    guest.other = format!("{} {}", repeat(4, &send_empty(HELD, "(call $p (call $fresh))")), send_empty(ROOT, NONE));
    Attacker { name: "rejections", options: "", guest }
}

/// Makes an attacker that grows its memory to the limit, and writes to all of it.
fn bombs() -> Attacker {
    ever("bomb", |_| {
        "(drop (memory.grow (i32.const 64)))
         (loop $l
           (i32.store (local.get $i) (i32.add (i32.load (local.get $i)) (i32.const 1)))
           (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.shl (memory.size) (i32.const 16)))))"
            .to_owned()
    })
}

/// Makes the warden: the vat that creates the attackers, and another in the place of each that ends. The last four bits of its promises
/// number the attacker.
pub(super) fn warden(attackers: &[Attacker]) -> anyhow::Result<StaticVat> {
    let mut guest = Guest { awake: true, ..Guest::default() };
    let mut choice = String::new();
    for (at, it) in attackers.iter().enumerate() {
        let request = format!("#[\"createVat\",[\"{}\",[\"$0\",\"$1\"],{{{BOUNDS}{}}}]]", it.name, it.options);
        let create = guest.say(WARDENS_ADMIN, &request, 2, "(local.get $x)");
        choice.push_str(&when(&format!("(i32.eq (local.get $k) (i32.const {at}))"), &create));
    }
    let done = guest.say("(global.get $facet)", "#[\"done\",[]]", 0, "(local.get $x)");
    // A promise for the attacker `$k`.
    let fresh = "(local.set $x (call $p (i32.or (i32.shl (call $fresh) (i32.const 4)) (local.get $k))))";
    guest.fields = format!(
        "(func $create (param $k i32) (local $x i64) {fresh}
           (call $slot (i32.const 0) {WARDENS_ADMIN}) (call $slot (i32.const 1) {TIMER})
           {choice} (call $subscribe (local.get $x)))"
    );
    let count = u32::try_from(attackers.len())?;
    guest.other = repeat(count, "(call $create (local.get $j))");
    let created = format!(
        "{fresh} {done} (call $subscribe (local.get $x))
         (call $drop_imports (i32.const 32) (i32.const 2)) (call $retire_imports (i32.const 32) (i32.const 2))"
    );
    guest.told = format!(
        "(local.set $k (i32.and (i32.wrap_i64 (i64.load (i32.const 8))) (i32.const 15)))
         (if (i32.eq (i32.load (i32.const 28)) (i32.const 2)) (then {created}) (else (call $create (local.get $k))))"
    );
    let name = super::WARDEN.to_owned();
    Ok(StaticVat {
        name,
        wasm: wat::parse_str(guest.wat())?,
        options: Options::default(),
        parameters: "#{}".to_owned(),
    })
}
