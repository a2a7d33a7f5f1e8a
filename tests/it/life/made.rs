//! How many vats and meters a vat may make: `vatsMax`.

use vathost::model::{
    id::{KRef, VRef},
    limits,
};

use super::Town;

const METER: &str = "#[\"createMeter\",[\"+9\",\"+1\"]]";

fn child(options: &str) -> String {
    format!("#[\"createVat\",[\"script\",{{}},{{{options}}}]]")
}

impl Town {
    /// A vat asks the vat admin; what it is answered, and the references in that.
    fn asks(&mut self, vat: &str, message: &str, promise: u32) -> String {
        self.on(&format!("{vat}.go"), &format!("send o-50 {message}->p+{promise}; subscribe p+{promise}"));
        let admin = self.admin;
        self.call(&format!("{vat}.go({admin})"));
        let log = self.run();
        log.lines().last().unwrap().to_owned()
    }

    fn count(&self, vat: &str) -> u64 {
        self.tables().vats.get(&self.vat(vat)).unwrap().made
    }

    /// The last vat that was created is known by this name from now on.
    fn call_the_last(&mut self, name: &str) {
        let vat = self.tables().vats.iter().next_back().map(|(id, _)| *id).unwrap();
        let KRef::Object(root) = self.tables().clist.get(&(vat, VRef::ROOT)).unwrap().kref else { panic!("a root") };
        self.w.vats.insert(name.to_owned(), (vat, root));
    }
}

#[test]
fn a_vat_makes_as_many_vats_and_meters_as_it_may_and_more_when_one_is_gone() {
    let mut t = Town::new("");
    t.create("a", ",\"vatsMax\":2", &[]);
    assert!(t.asks("a", &child("\"name\":\"x\""), 1).starts_with("a: notify p+1="));
    t.call_the_last("x");
    assert!(t.asks("a", METER, 2).starts_with("a: notify p+2="));
    let a = t.vat("a");
    for (at, message) in (3..).zip([child(""), METER.to_owned(), "#[\"createUnlimitedMeter\",[]]".to_owned()]) {
        let told = t.asks("a", &message, at);
        assert!(told.ends_with(&format!("!Error(limit of vatsMax crossed by {a}: 3, at most 2)")), "{told}");
    }
    assert_eq!(t.count("a"), 2);
    t.w.terminate("x");
    t.run();
    assert_eq!(t.count("a"), 1);
    // Nobody holds the meter any more: the object is let go where the vat drops it.
    t.on("a.hush", "drop o-53; retire-imports o-53");
    t.call("a.hush");
    t.run();
    assert_eq!(t.count("a"), 0);
    assert!(t.asks("a", &child(""), 9).starts_with("a: notify p+9="));
}

#[test]
fn what_a_creature_makes_counts_at_all_of_its_creators_also_dead_ones() {
    let mut t = Town::new("keeper");
    t.create("a", ",\"vatsMax\":3", &[]);
    t.asks("a", &child("\"name\":\"b\""), 1);
    t.call_the_last("b");
    t.asks("b", &child("\"name\":\"c\""), 1);
    t.call_the_last("c");
    // Somebody holds it when its creator does no more.
    t.call("keeper.hold(c)");
    t.run();
    assert_eq!(["a", "b", "c"].map(|it| t.count(it)), [2, 1, 0]);
    // A child has no more than its creator, and may be given less.
    let told = t.asks("c", &child("\"vatsMax\":4"), 1);
    assert!(told.contains("option vatsMax may be 3 at the most"), "{told}");
    t.w.terminate("b");
    t.run();
    assert_eq!(["a", "b", "c"].map(|it| t.count(it)), [1, 1, 0]);
    assert!(t.asks("c", METER, 2).contains("="));
    assert!(t.asks("c", &child("\"name\":\"d\",\"vatsMax\":0"), 3).contains("="));
    t.call_the_last("d");
    let (b, d) = (t.vat("b"), t.vat("d"));
    let told = t.asks("c", &child(""), 4);
    assert!(told.contains(&format!("crossed by {b}: 4, at most 3")), "{told}");
    let told = t.asks("d", METER, 1);
    assert!(told.contains(&format!("crossed by {d}: 1, at most 0")), "{told}");
    assert_eq!(["a", "b", "c"].map(|it| t.count(it)), [3, 3, 2]);
}

#[test]
fn creation_goes_so_deep_and_no_deeper() {
    let mut t = Town::new("v0");
    for depth in 1..limits::CREATORS_MAX {
        let told = t.asks(&format!("v{}", depth - 1), &child(&format!("\"name\":\"v{depth}\"")), 1);
        assert!(told.contains("notify p+1=["), "{told}");
        t.call_the_last(&format!("v{depth}"));
    }
    let told = t.asks(&format!("v{}", limits::CREATORS_MAX - 1), &child(""), 1);
    assert!(told.contains("!Error(a vat that 16 others stand behind can make none)"), "{told}");
    assert_eq!(t.count("v0"), 15);
}

#[test]
fn references_of_its_own_are_bounded_as_its_options_say() {
    let mut t = Town::new("b");
    t.create("a", ",\"refsMax\":3", &[]);
    t.on("a.go", "send o-50 hi(o+1,o+2); send o-50 hi(o+1,o+2)");
    t.call("a.go(b)");
    assert!(!t.run().contains("faulted"));
    t.on("a.go", "send o-50 hi(o+3)");
    t.call("a.go(b)");
    let log = t.run();
    assert!(log.contains("a faulted: limit of refsMax crossed: 4, at most 3"), "{log}");
}
