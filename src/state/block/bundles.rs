//! Bundles that nothing runs any more: they leave with the block in which the last vat stopped running them.
//!
//! Invariants: what a live vat, a queue, a name or a directive in force needs stays, and so does what an operator gave and nothing ran
//! yet. What a state holds of bundles is in no hash.

use super::{Block, Inner};
use crate::{
    directive::Action,
    model::{id::BundleId, item::Item},
    state::table::Status,
};

/// Notes that a bundle lost a vat that ran it, or a name: if nothing else needs it, it leaves with this block.
pub(crate) fn retire(block: &mut Block, bundle: BundleId) {
    block.0.retired.insert(bundle);
}

/// Takes the bundles that are to leave with this block.
pub(super) fn leaving(inner: &mut Inner) -> Vec<BundleId> {
    let retired = std::mem::take(&mut inner.retired);
    retired.into_iter().filter(|it| *it != BundleId::NONE && !is_needed(inner, *it)).collect()
}

fn is_needed(inner: &Inner, bundle: BundleId) -> bool {
    let Inner { tables, directives, .. } = inner;
    // A vat that ends needs none: nobody brings it back.
    let runs =
        || tables.vats.iter().any(|(_, it)| it.bundle == bundle && !matches!(it.status, Status::Terminated { .. }));
    let is_to_run = || {
        let upgrades = |item: &Item| matches!(item, Item::UpgradeVat { bundle: to, .. } if *to == bundle);
        tables.queue.iter().any(|(_, it)| upgrades(&it.item))
    };
    let is_ordered = |action: &Action| matches!(action, Action::Upgrade { bundle: to, .. } if to.matches(&bundle.0));
    tables.bundles.iter().any(|(_, named)| *named == bundle)
        || directives.iter().any(|it| is_ordered(&it.action))
        || runs()
        || is_to_run()
}
