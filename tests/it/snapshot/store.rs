//! Snapshots in the database: shared, counted, checked, and gone when nobody needs them.

use std::collections::BTreeMap;

use vathost::{
    kernel,
    model::{
        blame::Fault,
        id::{BundleId, VatId},
    },
    slog::Slog,
    state::{block::Block, snapshot::Manifest},
    store::PageHash,
    vat::Warehouse,
};

use super::{
    DEFAULT, NEVER,
    lab::{How, Lab, patiently},
    zoo,
};

const EVERY: How = How { interval: Some(1), ..DEFAULT };

fn manifests(lab: &Lab) -> Vec<Manifest> {
    let database = lab.database();
    let mut statement = database.prepare("SELECT manifest FROM snapshot ORDER BY vat").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.map(|it| Manifest::decode(&it.unwrap()).unwrap()).collect()
}

/// Every page is there that a manifest names, and no other, and its count is that of the manifests.
fn check_counts(lab: &Lab) -> BTreeMap<PageHash, i64> {
    let mut expected: BTreeMap<PageHash, i64> = BTreeMap::new();
    for manifest in manifests(lab) {
        let mut pages: Vec<_> = manifest.heap.pages.into_iter().flatten().collect();
        pages.sort();
        pages.dedup();
        pages.into_iter().for_each(|it| *expected.entry(it).or_default() += 1);
    }
    let database = lab.database();
    let mut statement = database.prepare("SELECT hash, refs FROM page").unwrap();
    let rows = statement.query_map([], |row| Ok((PageHash(row.get(0)?), row.get(1)?))).unwrap();
    let found: BTreeMap<_, _> = rows.map(Result::unwrap).collect();
    assert_eq!(found, expected);
    found
}

#[test]
fn a_page_of_several_vats_is_stored_once() {
    let lab = Lab::new();
    lab.begin("bank", EVERY, 9);
    let counts = check_counts(&lab);
    assert!(counts.values().any(|it| *it >= 3), "three banks run the same bundle: {counts:?}");
    assert_eq!(lab.count("SELECT count(*) FROM snapshot"), 4);
}

#[test]
fn only_the_newest_snapshot_of_a_vat_is_kept_and_only_its_pages() {
    for name in ["pingpong", "zoo"] {
        let lab = Lab::new();
        // In the zoo each delivery makes a page of its own.
        zoo(&lab, "ab", "abaabababbabaabb", "");
        let (expected, _) = lab.run(name, NEVER);
        lab.begin(name, EVERY, 2);
        check_counts(&lab);
        assert_eq!(lab.go_on(EVERY).0.unwrap().last(), expected.last());
        check_counts(&lab);
        let positions: Vec<_> = manifests(&lab).iter().map(|it| (it.vat.0, it.position.0)).collect();
        match name {
            "zoo" => assert_eq!(positions, [(1, 9), (2, 9)]),
            _ => assert_eq!(positions.len(), 2),
        }
    }
}

#[test]
fn no_page_is_left_of_vats_that_are_gone() {
    let lab = Lab::new();
    zoo(&lab, "abc", "abcabc", "");
    lab.begin("zoo", EVERY, 2);
    lab.go_on(EVERY).0.unwrap();
    assert!(!check_counts(&lab).is_empty());

    let mut block = patiently(|| Block::open(&lab.state(), Slog::default()));
    let mut workers = Warehouse::new(None).unwrap();
    for vat in [1, 2, 3] {
        let input = |ledger: &mut kernel::Ledger| ledger.terminate_with_reason(VatId(vat), "enough");
        block = kernel::outside(block, input).unwrap().0;
        loop {
            let (next, ran) = kernel::crank(block, &mut workers).unwrap();
            block = next;
            if ran.is_none() {
                break;
            }
        }
        block = block.commit(false).unwrap();
        check_counts(&lab);
        assert_eq!(lab.count("SELECT count(*) FROM snapshot"), 3 - vat.cast_signed());
    }
    drop(block);
    assert_eq!(lab.count("SELECT count(*) FROM page"), 0);
    assert_eq!(lab.count("SELECT count(*) FROM snapshot"), 0);
}

#[test]
fn a_snapshot_of_another_bundle_or_of_the_future_is_not_used() {
    let others: [fn(&mut Manifest); 3] =
        [|it| it.bundle = BundleId::of(b"another"), |it| it.position.0 += 1_000, |it| it.position.0 = 0];
    let lab = Lab::new();
    let (expected, _) = lab.run("pingpong", NEVER);
    for change in others {
        let lab = Lab::new();
        lab.begin("pingpong", EVERY, 3);
        for mut manifest in manifests(&lab) {
            change(&mut manifest);
            // Whoever loads it after all gets a vat that remembers nothing.
            manifest.heap.pages.iter_mut().for_each(|it| *it = None);
            lab.put(&manifest);
        }
        let (outcome, log) = lab.go_on(NEVER);
        assert_eq!(outcome.unwrap().last(), expected.last());
        assert_eq!(log.of("heap-snapshot-load"), []);
        assert_eq!(log.of("start-replay").len(), 2);
    }
}

#[test]
fn the_next_snapshot_takes_the_place_of_one_that_is_not_used() {
    let lab = Lab::new();
    let (expected, _) = lab.run("pingpong", NEVER);
    lab.begin("pingpong", EVERY, 3);
    for manifest in manifests(&lab) {
        lab.put(&Manifest { bundle: BundleId::of(b"another"), ..manifest });
    }
    let (outcome, log) = lab.go_on(EVERY);
    assert_eq!(outcome.unwrap().last(), expected.last());
    assert_eq!(log.of("heap-snapshot-load"), []);
    check_counts(&lab);
    assert!(manifests(&lab).iter().all(|it| it.bundle != BundleId::of(b"another")));
}

#[test]
fn damage_is_found_by_hash() {
    let damages = [
        ("UPDATE page SET bytes = CAST('x' || substr(bytes, 2) AS BLOB)", "read page "),
        ("UPDATE page SET bytes = substr(bytes, 2)", "read page "),
        ("DELETE FROM page", "read page "),
        ("UPDATE snapshot SET manifest = CAST(manifest || 'x' AS BLOB)", "read the snapshot of v"),
    ];
    for (damage, what) in damages {
        let lab = Lab::new();
        lab.begin("pingpong", EVERY, 3);
        lab.database().execute_batch(damage).unwrap();
        let halt = lab.go_on(NEVER).0.unwrap_err();
        let Fault::Host(fault) = &halt.fault else { panic!("{halt:?}") };
        assert!(fault.what.starts_with(what), "{damage}: {halt}");
        if what == "read page " {
            let hash = fault.what.strip_prefix(what).unwrap();
            assert!(manifests(&lab).iter().flat_map(|it| &it.heap.pages).flatten().any(|it| it.to_string() == hash));
        }
        assert!(halt.position.delivery.is_some());
        let told = halt.to_string();
        assert!(told.starts_with("crank-") && told.contains(" to v") && told.contains("--without-snapshots"), "{told}");
    }
}

#[test]
fn snapshots_that_are_not_those_of_the_last_commit_are_refused_at_the_start() {
    let damages = [
        "UPDATE snapshot SET vat = 3 - vat + 10; UPDATE snapshot SET vat = vat - 10",
        "UPDATE snapshot SET position = position - 1 WHERE vat = 2",
        "DELETE FROM snapshot WHERE vat = 1",
    ];
    for damage in damages {
        let lab = Lab::new();
        lab.begin("pingpong", EVERY, 3);
        lab.database().execute_batch(damage).unwrap();
        let told = Block::open_read_only(&lab.state()).unwrap_err().to_string();
        assert!(told.contains("table `snapshot`: its rows are not those that were committed"), "{damage}: {told}");
    }
}

#[test]
fn a_page_whose_count_is_damaged_is_not_taken_for_one_that_nobody_needs() {
    let lab = Lab::new();
    lab.begin("pingpong", EVERY, 3);
    lab.database().execute_batch("UPDATE page SET refs = refs + 1").unwrap();
    let halt = lab.go_on(EVERY).0.unwrap_err();
    let Fault::Host(fault) = &halt.fault else { panic!("{halt:?}") };
    assert!(fault.what.starts_with("read how often page "), "{halt}");
}
