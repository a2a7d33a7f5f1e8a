//! Rows beside the state: a server's, written with a block, and in no hash.

use super::Block;
use crate::{
    model::blame::HostFault,
    store::{BesideRow, KeptRow},
};

impl Block {
    /// Reads the rows that a server keeps beside the state.
    pub fn beside(&self) -> Result<Vec<KeptRow>, HostFault> {
        self.0.database.beside()
    }

    /// Writes rows beside the state now, durably.
    pub fn keep_beside(&mut self, rows: &[BesideRow]) -> Result<(), HostFault> {
        self.0.database.keep_beside(rows)
    }

    /// Holds rows beside the state, to be written with this block.
    pub fn put_beside(&mut self, rows: Vec<BesideRow>) {
        self.0.beside.extend(rows);
    }
}
