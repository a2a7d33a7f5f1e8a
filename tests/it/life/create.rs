//! `createVat`.

use expect_test::expect;
use vathost::{
    model::id::{BundleId, KRef},
    state::table::OnFault,
};

use super::{RESUME, TERMINATE, Town};

#[test]
fn a_creator_gets_the_root_and_the_admin_facet() {
    let mut t = Town::new("a");
    t.create("x", "", &[]);
    t.on("a.go", "send o-50 hi()->p+1; subscribe p+1");
    t.on("x.hi", "resolve p-60=fine");
    t.call("a.go(x)");
    t.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        x: o+0.hi()->p-60
        a: notify p+1=fine"#]]);
}

#[test]
fn a_vat_can_create_a_vat_by_itself() {
    let mut t = Town::new("a");
    let admin = t.admin;
    t.on("a.go", "send o-50 #[\"createVat\",[\"script\",{},{\"name\":\"x\"}]]->p+1; subscribe p+1");
    t.on("a.notify", "send o-51 hi(); send o-52 #[\"terminate\",[]]");
    t.call(&format!("a.go({admin})"));
    t.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        a: notify p+1=[o-51,o-52]
        x: o+0.hi()"#]]);
}

#[test]
fn a_bundle_is_named_by_its_name_or_its_hash() {
    let mut t = Town::new("a");
    for bundle in ["script".to_owned(), BundleId::of(b"script").to_string()] {
        let answer = t.ask(t.admin, &format!("[\"createVat\",[\"{bundle}\"]]"));
        assert!(answer.starts_with("=[ko"), "{answer}");
    }
    assert_eq!(t.tables().vats.len(), 3);
}

#[test]
fn a_vat_without_a_name_of_its_own_has_that_of_its_bundle() {
    let mut t = Town::new("a");
    t.ask(t.admin, "[\"createVat\",[\"script\"]]");
    assert_eq!(t.tables().vats.iter().next_back().unwrap().1.name, "script");
}

#[test]
fn options_are_those_that_were_asked_for() {
    let mut t = Town::new("a");
    t.create("x", ",\"onFault\":\"reject\",\"fuelPerDelivery\":\"+77\",\"memoryMax\":65536,\"pipelining\":true", &[]);
    let options = &t.tables().vats.get(&t.vat("x")).unwrap().options;
    assert_eq!((options.on_fault, options.fuel_per_delivery), (OnFault::Reject, 77));
    assert_eq!((options.memory_max, options.pipelining), (65536, true));
    assert_eq!((options.reap_interval, options.critical), (None, false));
}

#[test]
fn a_wrong_request_is_a_rejection_and_no_vat() {
    let mut t = Town::new("a");
    let root = KRef::from(t.root("a"));
    for (message, why) in [
        ("[\"createVat\",[\"nope\"]]", "there is no bundle `nope`"),
        ("[\"createVat\",[]]", "argument 0 must be a text"),
        ("[\"createVat\",[5]]", "argument 0 must be a text"),
        ("[\"createVat\",[\"script\",\"$1\"]]", "there is no such slot"),
        ("[\"createVat\",[\"script\",[\"&x\"]]]", "there is no such slot"),
        ("[\"createVat\",[\"script\",{},5]]", "options must be a record"),
        ("[\"createVat\",[\"script\",{},{\"speed\":1}]]", "there is no option `speed`"),
        ("[\"createVat\",[\"script\",{},{\"critical\":true}]]", "there is no option `critical`"),
        ("[\"createVat\",[\"script\",{},{\"name\":5}]]", "option name must be a text"),
        ("[\"createVat\",[\"script\",{},{\"memoryMax\":-1}]]", "option memoryMax must be a whole number"),
        ("[\"createVat\",[\"script\",{},{\"reapInterval\":\"-1\"}]]", "option reapInterval must be a whole number"),
        ("[\"createVat\",[\"script\",{},{\"reapGcKrefs\":1.5}]]", "option reapGcKrefs must be a whole number"),
        ("[\"createVat\",[\"script\",{},{\"pipelining\":1}]]", "option pipelining must be true or false"),
        ("[\"createVat\",[\"script\",{},{\"onFault\":\"die\"}]]", "option onFault must be terminate, pause or reject"),
        ("[\"createVat\",[\"script\",{},{\"meter\":5}]]", "option meter must be a meter"),
        ("[\"createVat\",[\"script\",{},{\"meter\":\"$0\"}]]", "option meter must be a meter"),
        ("[\"explode\",[]]", "target vatAdmin has no method explode"),
        ("[\"createMeter\",[1]]", "argument 1 must be a whole number"),
    ] {
        let answer = t.post(t.admin, message, &[root]);
        assert_eq!(t.run(), "");
        assert_eq!(t.outcome(answer), format!("!Error({why})"), "{message}");
    }
    for message in ["", "[]", "[1,[]]", "[\"createVat\",\"script\"]", "{}"] {
        let answer = t.ask(t.admin, message);
        assert!(answer.starts_with("!Error("), "{message}: {answer}");
    }
    assert_eq!(t.tables().vats.len(), 1);
}

#[test]
fn parameters_bring_only_the_slots_that_they_mention() {
    let mut t = Town::new("a b c");
    let slots = ["a", "b", "c"].map(|it| t.root(it).into());
    let message = "[\"createVat\",[\"script\",{\"friend\":\"$2.Alleged: c\",\"again\":\"$2\"},{\"name\":\"x\"}]]";
    let answer = t.post(t.admin, message, &slots);
    t.run();
    let KRef::Object(root) = t.slots(answer)[0] else { panic!("a root") };
    let vat = t.tables().vats.iter().next_back().map(|(id, _)| *id).unwrap();
    t.w.vats.insert("x".to_owned(), (vat, root));
    assert_eq!(t.clist("x"), format!("o-50:{}", slots[2]));
}

#[test]
fn a_vat_whose_start_fails_rejects_its_creation_with_the_reason() {
    for (script, why) in [
        ("trap stillborn", "Error(stillborn)"),
        ("send o-99 hi()", "Error(syscall translation error: prepare to die)"),
        ("set k v; exit-failure bad", "bad"),
        ("exit bye", "bye"),
    ] {
        for on_fault in ["terminate", "reject"] {
            let mut t = Town::new("a");
            t.on("x.startVat", script);
            let message = format!("[\"createVat\",[\"script\",{{}},{{\"name\":\"x\",\"onFault\":\"{on_fault}\"}}]]");
            assert_eq!(t.ask(t.admin, &message), format!("!{why}"));
            let (vat, row) = t.tables().vats.iter().next_back().unwrap();
            assert_eq!(row.name, "x");
            assert!(!t.tables().is_alive(*vat));
            assert_eq!(t.tables().clist.of(*vat).count(), 0);
        }
    }
}

#[test]
fn a_vat_that_is_paused_by_its_own_start_waits_and_can_be_ended_from_outside() {
    let mut t = Town::new("a");
    t.on("x.startVat", "trap not yet");
    let message = "[\"createVat\",[\"script\",{},{\"name\":\"x\",\"onFault\":\"pause\"}]]";
    assert_eq!(t.ask(t.admin, message), "pending");
    let vat = t.tables().vats.iter().next_back().map(|(id, _)| *id).unwrap();
    assert!(t.tables().is_paused(vat));
    t.outside(|crank| crank.terminate_with_reason(vat, "enough"));
    t.run();
    let last = t.last();
    assert!(last.starts_with("!Error("), "{last}");
}

#[test]
fn who_holds_no_facet_can_do_none_of_it() {
    let mut t = Town::new("a b");
    let x = t.create("x", "", &[]);
    let y = t.create("y", "", &[]);
    // To a root these are messages like any other.
    for method in ["terminate", "pause", "upgrade", "changeOptions", "createVat"] {
        t.on("a.go", &format!("send o-50 {method}()"));
        t.call("a.go(x)");
        let told = t.run();
        assert!(told.ends_with(&format!("x: o+0.{method}()")), "{told}");
    }
    // A reference cannot be guessed.
    t.on("b.go", &format!("send o-{} #[\"terminate\",[]]", x.0));
    t.call("b.go(x)");
    t.run();
    assert!(!t.tables().is_alive(t.vat("b")) && t.tables().is_alive(t.vat("x")));
    // A facet rules its own vat.
    t.ask(y, TERMINATE);
    assert!(t.tables().is_alive(t.vat("x")) && !t.tables().is_alive(t.vat("y")));
    assert_eq!(t.ask(x, "[\"createVat\",[\"script\"]]"), "!Error(target adminFacet has no method createVat)");
    assert_eq!(t.ask(t.admin, RESUME), "!Error(target vatAdmin has no method resume)");
}
