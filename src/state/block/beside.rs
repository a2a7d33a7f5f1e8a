//! Rows beside the state: a server's, written with a block, and in no hash.

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
