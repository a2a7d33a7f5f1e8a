//! Cases of `send`: messages of a vat to itself, to promises in every state, to the objects that the kernel answers for.

use super::Case;
use crate::bench::guest::*;

const GROUP: &str = "send";

/// The vat admin, as a guest knows it that has no peer and no device.
const ADMIN: &str = "(i64.const 50)";

fn simple(name: &'static str, about: &'static str, guest: Guest) -> Case {
    Case::new(GROUP, name, about, guest)
}

pub(super) fn messages() -> Vec<Case> {
    [to_itself(), to_promises(), to_the_admin(), to_meters_and_facets()].concat()
}

fn to_itself() -> Vec<Case> {
    let with = |setup: String, go: String| Guest { setup, go: times(&go), ..Guest::default() };
    let mut large = Guest::default();
    large.setup = large.long_text();
    large.go = times(&send_body(ROOT, 0, NONE));
    let all = ALL_SLOTS;
    let fresh = |what: &str| format!("(call ${what} (i32.const {all})) {}", send(ROOT, ZERO, ZERO, all, NONE));
    vec![
        simple("empty", "nothing, to itself", with(String::new(), send_empty(ROOT, NONE))),
        simple(
            "empty-with-result",
            "nothing, to itself, for a promise that nobody settles",
            with(String::new(), send_empty(ROOT, FRESH_PROMISE)),
        ),
        simple("1-mib", "1 MiB, to itself", large).in_a_delivery(100),
        simple(
            "4096-same",
            "4,096 objects, always the same",
            with(format!("(call $objects (i32.const {all}))"), send(ROOT, ZERO, ZERO, all, NONE)),
        )
        .in_a_delivery(100),
        simple("4096-new-objects", "4,096 new objects", with(String::new(), fresh("objects"))).in_a_delivery(100),
        simple("4096-new-promises", "4,096 new promises", with(String::new(), fresh("promises"))).in_a_delivery(100),
    ]
}

/// Makes a case of messages to a promise that is settled like this. `body` writes the data that it is settled with.
fn to_settled(
    name: &'static str,
    about: &'static str,
    rejected: bool,
    nslots: u32,
    result: &str,
    body: impl FnOnce(&mut Guest) -> String,
) -> Case {
    let mut guest = Guest::default();
    let body = body(&mut guest);
    guest.setup = hold_settled(rejected, &body, nslots);
    guest.go = times(&send_empty(HELD, result));
    simple(name, about, guest)
}

fn to_promises() -> Vec<Case> {
    let promise = "(call $p (i32.const 1))";
    let waiting = Guest { go: times(&send_empty(promise, NONE)), ..Guest::default() };
    let mut released = Guest::default();
    released.setup = released.long_text();
    released.go = format!(
        "(local.set $x {FRESH_PROMISE}) {} (call $settle (local.get $x) (i32.const 1) {BODY} {LEN} {ZERO})",
        times(&send_empty("(local.get $x)", FRESH_PROMISE))
    );
    let slots = format!("(call $objects (i32.const {ALL_SLOTS}))");
    let with_slots = |guest: &mut Guest| format!("{slots} {}", guest.body("#\"\""));
    let mut method = Guest::default();
    let settled = method.body("#\"data\"");
    let held = hold_settled(false, &settled, 0);
    method.setup = format!("{held} {}", method.fill("#[\"", "aaaaaaaa", "\"]"));
    method.go = times(&send_body(HELD, 0, FRESH_PROMISE));
    let mut lists = Guest::default();
    let settled = lists.body("#\"data\"");
    let held = hold_settled(false, &settled, 0);
    lists.setup = format!("{held} {}", lists.lists());
    lists.go = times(&send_body(HELD, 0, NONE));
    vec![
        simple("to-unresolved", "to a promise that nobody settles", waiting),
        simple("to-unresolved-then-rejected", "to a promise that is then rejected with 1 MiB", released),
        to_settled("to-presence", "to a promise of an object", false, 1, NONE, |it| {
            format!("(call $slot {ZERO} (call $o (i32.const 2))) {}", it.body("#\"$0\""))
        }),
        to_settled("to-lists-1-mib", "to a promise of 1 MiB of lists", false, 0, NONE, Guest::lists),
        to_settled(
            "to-lists-1-mib-with-result",
            "to a promise of 1 MiB of lists, for a result",
            false,
            0,
            FRESH_PROMISE,
            Guest::lists,
        ),
        to_settled("to-4096-slots", "to a promise of data that names 4,096", false, ALL_SLOTS, NONE, with_slots),
        to_settled("to-rejected-1-mib", "to a promise rejected with 1 MiB", true, 0, NONE, Guest::long_text),
        to_settled(
            "to-rejected-1-mib-with-result",
            "to a promise rejected with 1 MiB, for a result",
            true,
            0,
            FRESH_PROMISE,
            Guest::long_text,
        ),
        to_settled(
            "to-rejected-4096-slots-with-result",
            "to a promise rejected with what names 4,096, for a result",
            true,
            ALL_SLOTS,
            FRESH_PROMISE,
            with_slots,
        ),
        simple("method-1-mib-to-data", "a method of 1 MiB, to a promise of data, for a result", method),
        simple("lists-1-mib-to-data", "1 MiB of lists, to a promise of data", lists),
    ]
}

/// Makes a case of this request to the vat admin; there is a bundle `child`.
fn to_admin(name: &'static str, about: &'static str, request: &str, nslots: u32, result: &str) -> Case {
    let mut guest = Guest::default();
    guest.go = times(&guest.say(ADMIN, request, nslots, result));
    simple(name, about, guest).child(Guest::default())
}

fn to_the_admin() -> Vec<Case> {
    let mut lists = Guest::default();
    lists.setup = lists.lists();
    lists.go = times(&send_body(ADMIN, 0, NONE));
    let mut deep = Guest::default();
    deep.setup = deep.fill("#[\"createVat\",[\"child\",[", "{\"a\":[]},", "0]]]");
    deep.go = times(&send_body(ADMIN, 0, NONE));
    let mut unknown = Guest::default();
    unknown.setup = unknown.fill("#[\"createVat\",[\"", "aaaaaaaa", "\"]]");
    unknown.go = times(&send_body(ADMIN, 0, FRESH_PROMISE));
    let mut name = Guest::default();
    name.setup = name.fill("#[\"createVat\",[\"child\",{},{\"name\":\"", "aaaaaaaa", "\"}]]");
    name.go = times(&send_body(ADMIN, 0, NONE));
    let all: String = (0..ALL_SLOTS).map(|it| format!("\"${it}\",")).collect();
    let slots = format!("(call $objects (i32.const {ALL_SLOTS}))");
    let mut once = Guest { free: 0x20_0000, ..Guest::default() };
    once.setup = format!("{slots} {}", once.body(&format!("#[\"createVat\",[\"child\",[{all}\"\"]]]")));
    once.go = times(&send_body(ADMIN, ALL_SLOTS, NONE));
    let mut often = Guest { free: 0x20_0000, ..Guest::default() };
    let begin = format!("#[\"createVat\",[\"child\",[{all}");
    often.setup = format!("{slots} {}", often.fill(&begin, "\"$4095\",", "\"\"]]]"));
    often.go = times(&send_body(ADMIN, ALL_SLOTS, NONE));
    let large = |name, about, guest: Guest| simple(name, about, guest).child(Guest::default()).in_a_delivery(100);
    vec![
        large("admin-lists-1-mib", "1 MiB of lists, to the vat admin", lists),
        large("createVat-records-1-mib", "createVat with 1 MiB of records", deep),
        large("createVat-unknown-1-mib", "createVat of a bundle whose name has 1 MiB", unknown),
        large("createVat-name-1-mib", "createVat with a name of 1 MiB", name),
        large("createVat-4096-slots", "createVat with 4,096 slots", once),
        large("createVat-120000-mentions", "createVat that mentions the last of 4,096 slots 120,000 times", often),
        to_admin("createVat", "createVat of the smallest", "#[\"createVat\",[\"child\"]]", 0, NONE),
        to_admin("createMeter", "createMeter", "#[\"createMeter\",[\"+1000\",\"+10\"]]", 0, FRESH_PROMISE),
        to_admin("no-method", "what the vat admin has no method for", "#[\"m\",[]]", 0, FRESH_PROMISE),
        to_admin("no-smallcaps", "what is no message", "", 0, FRESH_PROMISE),
    ]
}

/// Makes a case whose setup asks the vat admin for an object, and whose work sends this to it.
fn to_given(name: &'static str, about: &'static str, asked: &str, target: &str, said: &str, nslots: u32) -> Case {
    let mut guest = Guest::default();
    let ask = guest.say(ADMIN, asked, 0, "(call $p (i32.const 1))");
    guest.setup = format!("{ask} (call $subscribe (call $p (i32.const 1)))");
    guest.go = times(&guest.say(target, said, nslots, FRESH_PROMISE));
    simple(name, about, guest).child(Guest::default())
}

fn to_meters_and_facets() -> Vec<Case> {
    const METER: &str = "#[\"createMeter\",[\"+1000000\",\"+10\"]]";
    const VAT: &str = "#[\"createVat\",[\"child\"]]";
    let meter = |name, about, said| to_given(name, about, METER, HELD, said, 0);
    let facet = |name, about, said| to_given(name, about, VAT, FACET, said, 0);
    let mut options = facet("admin-changeOptions-1-mib", "changeOptions with a name of 1 MiB", "#[\"x\",[]]");
    let fill = options.guest.fill("#[\"changeOptions\",[{\"name\":\"", "aaaaaaaa", "\"}]]");
    options.guest.setup.push_str(&fill);
    options.guest.go = times(&send_body(FACET, 0, NONE));
    vec![
        meter("meter-get", "get, of a meter", "#[\"get\",[]]"),
        meter("meter-notify", "notify, of a meter that is never used up", "#[\"notify\",[]]").at_most(16_384),
        meter("meter-addRemaining", "addRemaining, of a meter", "#[\"addRemaining\",[\"+1\"]]"),
        facet("admin-done", "done, of a vat that lives on", "#[\"done\",[]]").at_most(16_384),
        facet("admin-pause", "pause, of a vat that is paused already", "#[\"pause\",[\"why not\"]]"),
        facet("admin-resume", "resume, of a vat that runs", "#[\"resume\",[]]"),
        facet("admin-changeOptions", "changeOptions", "#[\"changeOptions\",[{\"reapInterval\":7}]]"),
        facet("admin-upgrade", "upgrade of a vat to what it runs already", "#[\"upgrade\",[\"child\"]]").at_most(4_096),
        options.in_a_delivery(100).at_most(4_096),
        upgrades(
            "admin-upgrade-that-fails",
            "upgrade, which fails, of a vat that decides 40,000 promises",
            "(unreachable)",
        ),
        upgrades("admin-upgrade-that-ends", "upgrade, which fails, of a vat of 40,000 promises that ends itself", EXIT),
        last_words(),
    ]
}

const EXIT: &str = "(call $exit (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";

/// Upgrades of a vat with little fuel and many promises, whose next incarnation fails like this.
fn upgrades(name: &'static str, about: &'static str, fails: &str) -> Case {
    const CHILD: &str = "#[\"createVat\",[\"child\",{},{\"fuelPerDelivery\":300000}]]";
    let mut case = to_given(name, about, CHILD, FACET, "#[\"upgrade\",[\"child\"]]", 0);
    case.guest.told = when("(i32.eq (i32.load (i32.const 28)) (i32.const 2))", &repeat(400, &send_empty(HELD, NONE)));
    // What was kept of its beginning is there in the next incarnation.
    let key = "(i32.const 0x3000) (i32.const 4)";
    let again = format!("(i32.ge_s (call $vatstore_get {key}) {ZERO})");
    let begun = format!("(call $vatstore_set {key} {BODY} (i32.const 1))");
    let decide = format!("(call $promises (i32.const 100)) {}", send(ROOT, ZERO, ZERO, 100, NONE));
    let child = Guest {
        start: format!("{} {begun}", when(&again, fails)),
        other: when("(i32.eqz (i32.load (i32.const 28)))", &decide),
        awake: true,
        ..Guest::default()
    };
    case.child(child).at_most(4_096)
}

/// Many wait for the end of a vat, which is terminated with 1 MiB.
fn last_words() -> Case {
    let mut guest = Guest::default();
    guest.setup = guest.fill("#[\"terminate\",[\"", "aaaaaaaa", "\"]]");
    guest.go = format!(
        "(local.set $x {FRESH_PROMISE}) {} (call $subscribe (local.get $x))",
        guest.say(ADMIN, "#[\"createVat\",[\"child\"]]", 0, "(local.get $x)")
    );
    let asked = times(&guest.say(FACET, "#[\"done\",[]]", 0, FRESH_PROMISE));
    guest.told =
        when("(i32.eq (i32.load (i32.const 28)) (i32.const 2))", &format!("{asked} {}", send_body(FACET, 0, NONE)));
    simple("admin-terminate-1-mib", "terminate, with 1 MiB, of a vat whose end others await", guest)
        .child(Guest::default())
        .at_most(4_096)
}
