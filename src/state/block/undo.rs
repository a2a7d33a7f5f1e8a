//! A block that is given up, the last one that is taken back, and what of a block is kept beside the state.

use super::{Block, Inner, proof, stored};
use crate::model::{blame::HostFault, id::BlockHeight};

/// Gives up the open block: the state as of its last commit, read anew.
pub fn reopen(block: Block) -> Result<Block, HostFault> {
    let Inner {
        database,
        slog,
        directives,
        audit_every,
        probe,
        snapshot_interval,
        devices,
        bundles,
        retention,
        stored_max,
        holds_references,
        ..
    } = *block.0;
    let mut block = Block::load(database, slog)?;
    let inner = &mut *block.0;
    (inner.directives, inner.probe, inner.bundles) = (directives, probe, bundles);
    (inner.audit_every, inner.snapshot_interval) = (audit_every, snapshot_interval);
    (inner.devices, inner.retention) = (devices, retention);
    inner.stored_max = stored_max;
    if holds_references {
        stored::hold_references(&mut block)?;
    }
    stored::trim(&mut block, true);
    Ok(block)
}

/// Has each commit from now on leave the record by which it can be undone, or ends that.
pub fn keep_undo(block: &mut Block, keeps: bool) -> Result<(), HostFault> {
    if keeps { block.0.database.keep_undo() } else { block.0.database.keep_no_undo() }
}

/// Refuses where the last commit cannot be undone.
pub fn check_undo(block: &Block) -> Result<(), HostFault> {
    block.0.database.check_undo()
}

/// Undoes the last commit, durably, and gives up the open block.
pub fn take_back(mut block: Block) -> Result<Block, HostFault> {
    block.0.database.undo_last(|database| proof::read(database).map(drop))?;
    reopen(block)
}

/// Makes room for the results of blocks.
pub fn keep_results(block: &mut Block) -> Result<(), HostFault> {
    block.0.database.keep_results()
}

/// Keeps the result of the open block, with its commit; [`keep_results`] comes first.
pub fn put_result(block: &mut Block, result: Vec<u8>) {
    block.0.result = Some(result);
}

/// Returns the result of a committed block, if it is kept.
pub fn result_of(block: &Block, height: BlockHeight) -> Result<Option<Vec<u8>>, HostFault> {
    block.0.database.block_result(height.0)
}
