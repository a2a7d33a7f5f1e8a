//! Instructions of variable size: what they cost is paid before they run, by their operand, whatever comes of them; the same under both engine
//! versions on the runtime that we have.

use vathost::{state::table::Options, vat::Warehouse};

use super::{
    corners::{Life, live_on, vat},
    parse,
};

const VERSIONS: [u32; 2] = [1, 2];
const PLENTY: u64 = 20_000_000;

/// An instruction of variable size, and the price of a unit.
struct Sized {
    name: &'static str,
    price: u64,
    /// A size that is within bounds, and one that is not. (A vat has one page of memory, and may have 16.)
    sizes: [u32; 2],
    /// The end of the vat at the second.
    refused: Option<&'static str>,
    /// The instruction with its operand.
    wat: fn(&str) -> String,
}

const OUT_OF_BOUNDS: Option<&str> = Some("trap: wasm trap: out of bounds memory access; in go");

const ALL: [Sized; 4] = [
    Sized {
        name: "memory.grow",
        price: 255,
        sizes: [3, 1_000],
        refused: None,
        wat: |size| format!("(drop (memory.grow {size}))"),
    },
    Sized {
        name: "memory.fill",
        price: 1,
        sizes: [50_000, 100_000],
        refused: OUT_OF_BOUNDS,
        wat: |size| format!("(memory.fill (i32.const 0) (i32.const 7) {size})"),
    },
    Sized {
        name: "memory.copy",
        price: 1,
        sizes: [50_000, 100_000],
        refused: OUT_OF_BOUNDS,
        wat: |size| format!("(memory.copy (i32.const 8) (i32.const 0) {size})"),
    },
    Sized {
        name: "memory.init",
        price: 1,
        sizes: [2_000, 100_000],
        refused: OUT_OF_BOUNDS,
        wat: |size| format!("(memory.init $data (i32.const 0) (i32.const 0) {size})"),
    },
];

/// The life of a vat that runs the instruction at this size, known to the compiler or not, with so much fuel for a delivery.
fn live(workers: &mut Warehouse, sized: &Sized, version: u32, (size, is_known): (u32, bool), fuel: u64) -> Life {
    let operand = if is_known { format!("(i32.const {size})") } else { "(global.get $size)".to_owned() };
    let data = "x".repeat(3_000);
    let fields = format!("(data $data \"{data}\") (global $size (mut i32) (i32.const {size}))");
    let go = format!("(func $go {})", (sized.wat)(&operand));
    let wasm = parse(&vat(&format!("{fields} (memory (export \"memory\") 1) {go}"), "(call $go)"));
    let options = Options { fuel_per_delivery: fuel, memory_max: 1 << 20, ..Options::default() };
    live_on(version, workers, &wasm, &options).unwrap()
}

/// The fuel of the delivery that runs the instruction: the third, after those that start the vat and its neighbour.
fn fuel_of(life: &Life) -> u64 {
    *life.1.last().unwrap()
}

#[test]
fn a_unit_costs_the_same_granted_or_refused_known_or_computed_under_either_version() {
    let mut workers = Warehouse::new(None).unwrap();
    for sized in &ALL {
        for is_known in [true, false] {
            let mut costs = |size| {
                VERSIONS.map(|version| {
                    let life = live(&mut workers, sized, version, (size, is_known), PLENTY);
                    (life.0.clone(), fuel_of(&life))
                })
            };
            let (nothing, granted, refused) = (costs(0), costs(sized.sizes[0]), costs(sized.sizes[1]));
            for them in [&nothing, &granted, &refused] {
                assert_eq!(them[0], them[1], "{} known {is_known}", sized.name);
            }
            assert_eq!((&nothing[0].0, &granted[0].0), (&None, &None), "{}", sized.name);
            assert_eq!(refused[0].0.as_deref(), sized.refused, "{}", sized.name);
            // A page that is granted costs what it takes of the host, too.
            let host = if sized.name == "memory.grow" { 30_000 } else { 0 };
            let units = u64::from(sized.sizes[0]) * (sized.price + host);
            assert_eq!(granted[0].1, nothing[0].1 + units, "{} known {is_known}", sized.name);
            if sized.refused.is_none() {
                assert_eq!(refused[0].1, nothing[0].1 + u64::from(sized.sizes[1]) * sized.price, "{}", sized.name);
            }
        }
    }
}

#[test]
fn what_cannot_be_paid_does_not_run_and_what_was_paid_may_still_be_refused() {
    let mut workers = Warehouse::new(None).unwrap();
    for sized in &ALL {
        let price = u64::from(sized.sizes[1]) * sized.price;
        for is_known in [true, false] {
            let mut end = |version, fuel| live(&mut workers, sized, version, (sized.sizes[1], is_known), fuel).0;
            for version in VERSIONS {
                let what = format!("{} known {is_known}, version {version}", sized.name);
                assert_eq!(end(version, price - 100).as_deref(), Some("out of fuel"), "{what}");
                assert_eq!(end(version, price + 5_000).as_deref(), sized.refused, "{what}");
            }
        }
    }
}

#[test]
fn operands_and_all_the_rest_share_one_budget() {
    let mut workers = Warehouse::new(None).unwrap();
    // Half of the budget goes into a loop, and more than half into operands.
    let body = "(loop $l (local.set $i (i32.add (local.get $i) (i32.const 1)))
                  (br_if $l (i32.lt_u (local.get $i) (i32.const 10000))))
                (memory.fill (i32.const 0) (i32.const 7) (i32.const 60000))";
    let wasm = parse(&vat("", body));
    let mut end = |fuel| {
        let options = Options { fuel_per_delivery: fuel, ..Options::default() };
        VERSIONS.map(|version| live_on(version, &mut workers, &wasm, &options).unwrap().0)
    };
    assert_eq!(end(200_000), [None, None]);
    let out = || Some("out of fuel".to_owned());
    assert_eq!(end(100_000), [out(), out()]);
}

#[test]
fn a_delivery_that_ends_at_the_end_of_its_budget_is_made_again_to_the_same_fuel() {
    let mut workers = Warehouse::new(None).unwrap();
    // What stands behind the last loop is not looked at by any check of the fuel.
    let wasm = parse(&vat("", &"(local.set $i (i32.add (local.get $i) (i32.const 1)))".repeat(20)));
    let mut life = |version, fuel| {
        let options = Options { fuel_per_delivery: fuel, ..Options::default() };
        live_on(version, &mut workers, &wasm, &options)
    };
    let fuel: Vec<u64> = life(2, PLENTY).unwrap().1;
    let (mut clipped, mut ended) = (0, 0);
    for budget in 1..200 {
        let [first, second] = VERSIONS.map(|version| life(version, budget).unwrap());
        // Under the first version it may end well at its budget, and is recorded with that: a replay uses more.
        clipped += u32::from(first.0.is_none() && first.1 != fuel);
        ended += u32::from(second.0.as_deref() == Some("out of fuel"));
        assert!(second.0.is_some() || second.1 == fuel, "{budget}: {second:?}");
    }
    assert!(clipped > 50 && ended > clipped, "{clipped}, {ended}");
}
