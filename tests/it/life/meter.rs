//! Meters: fuel that vats share.

use expect_test::expect;
use vathost::model::{
    id::{KRef, ObjectId},
    value::CapData,
};

use super::{TERMINATE, Town, UPGRADE, rig::Rig};

const GET: &str = "[\"get\",[]]";
const NOTIFY: &str = "[\"notify\",[]]";

impl Town {
    fn meter(&mut self, remaining: u64, threshold: u64) -> ObjectId {
        self.made(&format!("[\"createMeter\",[{remaining},\"+{threshold}\"]]"))
    }

    fn made(&mut self, message: &str) -> ObjectId {
        let answer = self.post(self.admin, message, &[]);
        self.run();
        match *self.slots(answer) {
            [KRef::Object(meter)] => meter,
            ref other => panic!("{other:?}"),
        }
    }

    fn metered(&mut self, name: &str, meter: ObjectId) -> ObjectId {
        self.create(name, ",\"meter\":\"$0\"", &[meter.into()])
    }

    /// Burns fuel in a delivery; whether the vat lives.
    fn burn(&mut self, name: &str, fuel: u64) -> bool {
        self.on(&format!("{name}.burn"), &format!("burn {fuel}"));
        self.call(&format!("{name}.burn"));
        self.run();
        self.tables().is_alive(self.vat(name))
    }

    /// What is left of a meter.
    fn left(&mut self, meter: ObjectId) -> String {
        let told = self.ask(meter, GET);
        told.split('"').nth(3).unwrap().to_owned()
    }
}

#[test]
fn a_meter_pays_for_the_deliveries_of_its_vats() {
    let mut t = Town::new("a");
    let meter = t.meter(1_000, 10);
    assert_eq!(t.ask(meter, GET), "=#{\"remaining\":\"+1000\",\"threshold\":\"+10\"}");
    t.metered("x", meter);
    t.metered("y", meter);
    let other = t.meter(500, 0);
    t.metered("z", other);
    assert!(t.burn("x", 100) && t.burn("y", 30) && t.burn("a", 7_000) && t.burn("z", 1));
    assert_eq!((&*t.left(meter), &*t.left(other)), ("+870", "+499"));
}

#[test]
fn a_vat_that_needs_more_than_is_left_ends_and_nothing_is_left() {
    let mut t = Town::new("a");
    let meter = t.meter(1_000, 0);
    t.metered("x", meter);
    t.metered("y", meter);
    assert!(t.burn("x", 1_000), "to the last drop");
    assert_eq!(t.left(meter), "+0");
    t.ask(meter, "[\"addRemaining\",[50]]");
    assert!(!t.burn("x", 51));
    assert_eq!(t.left(meter), "+0");
    // The other has nothing to run on.
    assert!(t.burn("y", 0) && !t.burn("y", 1));
}

#[test]
fn an_empty_meter_ends_a_vat_whatever_its_options_say_of_faults() {
    for on_fault in ["pause", "reject"] {
        let mut t = Town::new("a");
        let meter = t.meter(1_000, 0);
        t.create("x", &format!(",\"meter\":\"$0\",\"onFault\":\"{on_fault}\""), &[meter.into()]);
        assert!(!t.burn("x", 1_001), "{on_fault}");
        // Its own limit is a fault like any other.
        let meter = t.meter(1_000, 0);
        let options = format!(",\"meter\":\"$0\",\"onFault\":\"{on_fault}\",\"fuelPerDelivery\":100");
        t.create("y", &options, &[meter.into()]);
        assert!(t.burn("y", 101), "{on_fault}");
        // It pays for all that it might have used.
        assert_eq!(t.left(meter), "+900");
    }
}

#[test]
fn falling_below_the_threshold_is_told_once_until_the_meter_is_refilled() {
    let mut t = Town::new("a");
    let meter = t.meter(1_000, 500);
    t.metered("x", meter);
    let first = t.post(meter, NOTIFY, &[]);
    t.burn("x", 500);
    assert_eq!(t.outcome(first), "pending", "it stands at its threshold, not below");
    t.burn("x", 1);
    assert_eq!(t.outcome(first), "=#undefined");
    let second = t.post(meter, NOTIFY, &[]);
    t.burn("x", 1);
    assert_eq!(t.outcome(second), "pending");
    // Not enough, then enough.
    t.ask(meter, "[\"addRemaining\",[1]]");
    t.burn("x", 1);
    assert_eq!(t.outcome(second), "pending");
    t.ask(meter, "[\"addRemaining\",[\"+2\"]]");
    t.burn("x", 1);
    assert_eq!(t.outcome(second), "=#undefined");
}

#[test]
fn a_lower_threshold_re_arms_a_meter() {
    let mut t = Town::new("a");
    let meter = t.meter(1_000, 900);
    t.metered("x", meter);
    t.burn("x", 101);
    t.ask(meter, "[\"setThreshold\",[500]]");
    let told = t.post(meter, NOTIFY, &[]);
    t.burn("x", 399);
    assert_eq!(t.outcome(told), "pending");
    t.burn("x", 1);
    assert_eq!(t.outcome(told), "=#undefined");
}

#[test]
fn an_unlimited_meter_never_deducts() {
    let mut t = Town::new("a");
    let meter = t.made("[\"createUnlimitedMeter\",[]]");
    t.metered("x", meter);
    assert!(t.burn("x", 999_999_999));
    t.ask(meter, "[\"addRemaining\",[5]]");
    assert_eq!(t.ask(meter, GET), "=#{\"remaining\":\"unlimited\",\"threshold\":\"+0\"}");
    assert!(!t.burn("x", 1_000_000_001), "its options bind it still");
}

#[test]
fn what_is_added_stops_at_the_largest_number() {
    let mut t = Town::new("a");
    let meter = t.meter(1_000, 0);
    t.ask(meter, &format!("[\"addRemaining\",[\"+{}\"]]", u64::MAX));
    assert_eq!(t.left(meter), format!("+{}", u64::MAX));
}

#[test]
fn an_upgrade_is_paid_for_too() {
    let mut t = Town::new("a");
    let meter = t.meter(1_000, 0);
    let x = t.metered("x", meter);
    t.on("x.bringOutYourDead", "burn 100");
    t.on("x.startVat", "burn 200");
    assert_eq!(t.ask(x, UPGRADE), "=#{\"incarnationNumber\":1}");
    assert_eq!(t.left(meter), "+700");
    // The second of its deliveries has what the first leaves.
    t.on("x.bringOutYourDead", "burn 400");
    t.on("x.startVat", "burn 301");
    assert_eq!(t.ask(x, UPGRADE), "!Error(vat-upgrade failure: out of fuel)");
    assert_eq!((&*t.left(meter), t.incarnation("x")), ("+0", 1));
}

#[test]
fn wrong_requests_of_a_meter_are_rejected() {
    let mut t = Town::new("a");
    let meter = t.meter(1_000, 0);
    for (message, why) in [
        ("[\"addRemaining\",[-1]]", "argument 0 must be a whole number"),
        ("[\"addRemaining\",[]]", "argument 0 must be a whole number"),
        ("[\"setThreshold\",[\"5\"]]", "argument 0 must be a whole number"),
        ("[\"drain\",[]]", "target meter has no method drain"),
    ] {
        assert_eq!(t.ask(meter, message), format!("!Error({why})"), "{message}");
    }
    assert_eq!(t.left(meter), "+1000");
    t.check(expect![""]);
}

#[test]
fn a_meter_is_gone_when_nobody_holds_it_and_no_live_vat_uses_it() {
    let mut t = Town::new("a");
    let admin = t.admin;
    t.on("a.go", "send o-50 #[\"createMeter\",[1000,0]]->p+1; subscribe p+1");
    t.on("a.notify", "drop o-51; retire-imports o-51");
    t.call(&format!("a.go({admin})"));
    t.run();
    assert_eq!(t.tables().meters.len(), 0);

    let kept = t.meter(1_000, 0);
    let x = t.metered("x", kept);
    let facet = t.metered("y", kept);
    assert_eq!(t.tables().meters.iter().next().unwrap().1.users, 2);
    t.ask(x, TERMINATE);
    assert_eq!(t.tables().meters.iter().next().unwrap().1.users, 1);
    let other = t.meter(5_000, 0);
    let y = t.tables().vats.iter().find(|(_, it)| it.name == "y").map(|(vat, _)| *vat).unwrap();
    assert_eq!(t.tables().vats.get(&y).unwrap().options.meter, Some(0));
    let change =
        CapData { body: "#[\"changeOptions\",[{\"meter\":\"$0\",\"name\":\"z\"}]]".into(), slots: vec![other.into()] };
    t.outside(|crank| crank.send_from_outside(facet.into(), change, Some(("", ""))));
    t.run();
    let users: Vec<_> = t.tables().meters.iter().map(|(id, it)| (*id, it.users)).collect();
    assert_eq!(users, [(0, 0), (1, 1)]);
    assert_eq!(t.tables().vats.get(&y).unwrap().name, "z");
}

#[test]
fn a_meter_pays_for_real_guests_and_ends_one_that_needs_more() {
    let mut rig = Rig::new();
    let answer = rig.post(rig.admin().into(), "[\"createMeter\",[4000000,2000000]]");
    rig.run();
    let meter = rig.slots(answer)[0];
    let told = rig.post(meter, NOTIFY);
    let (root, facet) = rig.create_with("mortal", "{}", "{\"meter\":\"$0\"}", &[meter]);
    let left = |rig: &mut Rig| -> u64 {
        let told = rig.ask(meter, GET);
        told.split('"').nth(3).unwrap().parse().unwrap()
    };
    let full = left(&mut rig);
    let used = |rig: &Rig| rig.block().tables().tallies.get(&rig.vat(root)).unwrap().fuel;
    assert_eq!(full, 4_000_000 - used(&rig), "it pays for what was used, startVat included");
    assert_eq!(rig.ask(root, "[\"increment\",[]]"), "#1");
    assert_eq!(left(&mut rig), 4_000_000 - used(&rig));
    assert_eq!(rig.outcome(told), "pending");
    while left(&mut rig) >= 2_000_000 {
        rig.ask(root, "[\"fill\",[20]]");
    }
    assert_eq!(rig.outcome(told), "#\"#undefined\"");
    rig.restart();
    let done = rig.post(facet, "[\"done\",[]]");
    let vat = rig.vat(root);
    while rig.block().tables().is_alive(vat) {
        rig.ask(root, "[\"fill\",[20]]");
    }
    assert!(rig.outcome(done).contains("out of fuel"), "{}", rig.outcome(done));
    assert_eq!(left(&mut rig), 0);
}
