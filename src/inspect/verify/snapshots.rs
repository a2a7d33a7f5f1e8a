//! Checks of a state's heap snapshots: each decodes and is of a delivery that its vat had; every page is whole, and is named by as many
//! snapshots as its count says.

use std::collections::BTreeMap;

use super::Check;
use crate::{
    inspect::view::text::counted,
    state::{block::proof, snapshot::Manifest, table::Tables},
    store::{Database, Meta, PAGE_BYTES, PageHash, Proof},
};

pub(super) fn check(database: &Database, tables: &Tables, meta: Option<&Meta>, check: &mut Check) {
    let nothing = Proof::default();
    let attested = meta.map_or(&nothing, |it| &it.proof);
    let listed = check.result(database.snapshots()).unwrap_or_default();
    let mut named: BTreeMap<PageHash, u64> = BTreeMap::new();
    for (vat, position) in listed.iter().map(|it| (&it.vat, &it.position)) {
        let manifest = database.snapshot(*vat).and_then(|it| it.map(|it| Manifest::decode(&it)).transpose());
        let Some(manifest) = check.result(manifest).flatten() else { continue };
        check.expect((manifest.vat, manifest.position) == (*vat, *position), || {
            format!("the snapshot of {vat} at {position} is one of {} at {}", manifest.vat, manifest.position)
        });
        let deliveries = tables.tallies.get(vat).map_or(0, |it| it.deliveries);
        check.expect(tables.vats.contains(vat) && position.0 <= deliveries, || {
            format!("the snapshot of {vat} is at {position}, which had {deliveries} deliveries")
        });
        for hash in manifest.heap.hashes() {
            *named.entry(hash).or_default() += 1;
        }
    }
    let mut page = vec![0; PAGE_BYTES];
    let stored = check.list(|damaged| database.pages(damaged));
    let stored: BTreeMap<_, _> = stored.unwrap_or_default().into_iter().collect();
    for (hash, refs) in &stored {
        check.result(database.page(*hash, &mut page));
        let count = named.remove(hash).unwrap_or(0);
        check.expect(count == *refs, || format!("page {hash} is named by {count} snapshots, {refs} are recorded"));
    }
    for hash in named.keys() {
        check.find(format!("page {hash} is needed by a snapshot, and missing"));
    }
    check.list(|damaged| proof::snapshots(database, attested, damaged));
    check.of = format!(
        "{}, {}",
        counted(listed.len() as u64, "snapshot", "snapshots"),
        counted(stored.len() as u64, "page", "pages")
    );
}
