//! What stands beside the state, in no hash: a server's rows, written with a block, and the runtime of the vats.

use super::Block;
use crate::{
    model::blame::HostFault,
    store::{BesideRow, KeptRow},
};

/// Reads the rows that a server keeps beside the state.
pub fn read(block: &Block) -> Result<Vec<KeptRow>, HostFault> {
    block.0.database.beside()
}

/// Writes rows beside the state now, durably.
pub fn keep(block: &mut Block, rows: &[BesideRow]) -> Result<(), HostFault> {
    block.0.database.keep_beside(rows)
}

/// Holds rows beside the state, to be written with this block.
pub fn put(block: &mut Block, rows: Vec<BesideRow>) {
    block.0.beside.extend(rows);
}

/// Records, durably, the runtime that runs the vats from now on.
pub fn record_runtime(block: &mut Block, runtime: &str) -> Result<(), HostFault> {
    block.0.meta.runtime = runtime.to_owned();
    block.0.database.set_runtime(runtime)
}
