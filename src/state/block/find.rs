//! Questions about the whole of a block: where its directives stand, which bundle is meant, what a sweep of its rows gives.

use crate::{
    directive::{Class, Committed, Directive, DirectiveSet, HexPrefix},
    model::{
        blame::HostFault,
        id::{BlockHeight, BundleId, DeliveryNum},
    },
    state::block::{Block, stored},
    store::Digest,
};

/// Classifies each directive of a set against the state.
pub fn classes(block: &Block, set: &DirectiveSet) -> Vec<(Directive, Class)> {
    let (tables, globals) = (block.tables(), block.tables().globals());
    let applied: Vec<_> = tables.applied.iter().map(|(_, it)| it.clone()).collect();
    let committed = Committed {
        next_crank: globals.next_crank,
        // The place before the first crank of a block that has begun, and run none, is still to come.
        height: BlockHeight(globals.height.0.saturating_sub(u64::from(block.meta().open && block.cranks() == 0))),
        kernel_version: globals.kernel_version,
        engine_version: tables.engine_version(),
        next_delivery: &|vat| DeliveryNum(tables.tallies.get(&vat).map_or(0, |it| it.deliveries)),
        applied: &applied,
    };
    set.iter().map(|it| (it.clone(), it.class(&committed))).collect()
}

/// Returns the bundle whose hash begins with this prefix, if the state holds one. What it holds may differ from
/// replica to replica: the one that a vat comes to run is in the vat's row, and so in the hash.
pub fn find_bundle(block: &Block, prefix: &HexPrefix) -> Result<Option<BundleId>, HostFault> {
    let named = block.0.tables.bundles.iter().map(|(_, id)| *id);
    let mut found: Vec<_> = block.0.database.bundles()?.into_iter().chain(named).collect();
    found.extend(block.0.bundles.keys());
    found.retain(|it| prefix.matches(&it.0));
    found.sort();
    found.dedup();
    match found[..] {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        [..] => Err(HostFault::new(format_args!("find bundle {prefix}"), "two bundles begin so: name more of it")),
    }
}

/// Sweeps all rows and returns their digest, which must equal that of the last commit when no block is open.
pub fn sweep_digest(block: &mut Block) -> Result<Digest, HostFault> {
    stored::fetch_all(block)?;
    let mut digest = Digest::default();
    for table in block.0.tables.each().into_iter().filter(|it| !it.is_derived()) {
        table.sweep(&mut digest)?;
    }
    Ok(digest)
}
