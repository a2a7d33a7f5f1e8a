//! `changeOptions`.

use expect_test::expect;
use vathost::state::table::{OnFault, Status};

use super::{TERMINATE, Town};

#[test]
fn changed_options_take_effect_and_the_vat_is_told() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    assert_eq!(t.ask(x, "[\"changeOptions\",[{\"onFault\":\"reject\",\"fuelPerDelivery\":10}]]"), "=#undefined");
    t.on("x.hi", "burn 11");
    t.call("x.hi");
    t.check(expect![[r#"
        x: changeOptions
        x: o+0.hi()->p-60"#]]);
    assert_eq!((t.last(), t.status("x")), ("!Error(out of fuel)".to_owned(), &Status::Running));
    // What is not named stays.
    let options = &t.tables().vats.get(&t.vat("x")).unwrap().options;
    assert_eq!((options.on_fault, options.reap_interval), (OnFault::Reject, None));
}

#[test]
fn a_reap_interval_counts_from_when_it_is_set() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    t.ask(x, "[\"changeOptions\",[{\"reapInterval\":2}]]");
    t.call("x.hi");
    t.check(expect![[r#"
        x: changeOptions
        x: o+0.hi()->p-60
        x: bringOutYourDead"#]]);
}

#[test]
fn options_are_hashed() {
    let run = |options: &str| {
        let mut t = Town::new("a");
        let x = t.create("x", "", &[]);
        t.ask(x, &format!("[\"changeOptions\",[{options}]]"));
        t.block().state_hash().expect("hashes")
    };
    assert_eq!(run("{\"fuelPerDelivery\":10}"), run("{\"fuelPerDelivery\":10}"));
    assert_ne!(run("{\"fuelPerDelivery\":10}"), run("{\"fuelPerDelivery\":11}"));
}

#[test]
fn a_meter_can_be_given_later() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    let meter = t.post(t.admin, "[\"createMeter\",[100,0]]", &[]);
    t.run();
    let meter = t.slots(meter);
    t.post(x, "[\"changeOptions\",[{\"meter\":\"$0\"}]]", &meter);
    t.on("x.hi", "burn 101");
    t.call("x.hi");
    t.check(expect![[r#"
        x: o+0.hi()->p-60
        x faulted: out of fuel"#]]);
}

#[test]
fn a_wrong_request_changes_nothing_and_tells_nobody() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    let before = t.tables().vats.get(&t.vat("x")).unwrap().options.clone();
    for (options, why) in [
        ("{\"memoryMax\":65536}", "memoryMax cannot change while the vat runs"),
        ("{\"fuelPerDelivery\":1,\"memoryMax\":65536}", "memoryMax cannot change while the vat runs"),
        ("{\"fuelPerDelivery\":1,\"speed\":1}", "there is no option `speed`"),
        ("{\"critical\":true}", "there is no option `critical`"),
        ("5", "options must be a record"),
    ] {
        assert_eq!(t.ask(x, &format!("[\"changeOptions\",[{options}]]")), format!("!Error({why})"), "{options}");
    }
    assert_eq!(t.tables().vats.get(&t.vat("x")).unwrap().options, before);
    assert_eq!(t.run(), "");
}

#[test]
fn a_vat_that_ends_meanwhile_is_not_told() {
    let mut t = Town::new("a");
    let x = t.create("x", "", &[]);
    let root = t.root("a").into();
    let changed = t.post(x, "[\"changeOptions\",[{\"name\":\"y\"}]]", &[root]);
    t.post(x, TERMINATE, &[]);
    assert_eq!(t.run(), "");
    assert_eq!(t.outcome(changed), "=#undefined");
}
