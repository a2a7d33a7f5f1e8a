//! A block that is not committed, but taken back to a place and on from there: for experiments.
//!
//! ```text
//!   mark ─▶ cranks ─▶ mark ─▶ cranks        revert: back to the last mark      travel: by the rows that changed from mark to mark
//! ```

use crate::{
    model::{blame::HostFault, id::VatId},
    state::{
        block::{Block, Inner, stored},
        snapshot::Snapshots,
        table::Tables,
    },
    store::{Change, Digest, Journaled, Meta},
};

/// A place that an experiment comes back to: all of the state that is not in the rows.
#[derive(Clone, Debug)]
pub struct Mark {
    meta: Meta,
    doomed: Vec<VatId>,
    snapshots: Snapshots,
}

/// Returns the digest of the rows that experiments compare; a probe is told how each step changes it.
pub fn compared_rows(block: &mut Block) -> Result<Digest, HostFault> {
    stored::fetch_all(block)?;
    let mut digest = Digest::default();
    block.0.tables.all().iter().try_for_each(|table| table.count_compared(&mut digest))?;
    Ok(digest)
}

/// Marks the point to which the block is undone from now on.
pub fn mark(block: &mut Block) -> Result<Mark, HostFault> {
    stored::fetch_all(block)?;
    settle(block, |table, digest| table.mark(digest))?;
    let inner = &mut *block.0;
    inner.entries.clear();
    inner.forgotten.clear();
    Ok(Mark { meta: inner.meta.clone(), doomed: inner.pending.doomed.clone(), snapshots: inner.snapshots.clone() })
}

/// Moves the digest of each table along.
pub(super) fn settle(
    block: &mut Block,
    by: impl Fn(&mut dyn Journaled, &mut Digest) -> Result<(), HostFault>,
) -> Result<(), HostFault> {
    let Inner { meta, tables, .. } = &mut *block.0;
    let digests = &mut meta.proof.tables;
    digests.resize(Tables::COUNT, Digest::default());
    tables.each().into_iter().zip(digests).try_for_each(|(table, digest)| by(table, digest))
}

/// Returns the rows that changed since the mark, table by table.
pub fn changes(block: &mut Block) -> Result<Vec<Vec<Change>>, HostFault> {
    block.0.tables.each().into_iter().map(|it| it.changes()).collect()
}

/// Undoes everything since the mark, which must be the last one.
pub fn revert(block: &mut Block, mark: &Mark) {
    block.0.tables.each().into_iter().for_each(Journaled::revert);
    restore(block, mark);
}

/// Goes from one mark to another, whose changes these are: `forward`, or back.
pub fn travel(block: &mut Block, changes: &[Vec<Change>], forward: bool) -> Result<(), HostFault> {
    for (table, changes) in block.0.tables.each().into_iter().zip(changes) {
        for it in changes {
            table.place(&it.key, if forward { it.new.as_deref() } else { it.old.as_deref() })?;
        }
    }
    Ok(())
}

/// Restores everything outside the tables to what it was at a mark.
pub fn restore(block: &mut Block, mark: &Mark) {
    let inner = &mut *block.0;
    inner.meta.clone_from(&mark.meta);
    inner.pending.doomed.clone_from(&mark.doomed);
    inner.snapshots = mark.snapshots.clone();
    inner.entries.clear();
    inner.forgotten.clear();
}

/// Marks the block as open, like one that was interrupted.
pub fn open_up(block: &mut Block) {
    block.0.meta.open = true;
}
