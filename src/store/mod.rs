//! Tables in memory over one SQLite file: the only user of the database.
//!
//! A crank changes rows in memory and can undo them all; a block's rows are written in one durable transaction. Nothing else
//! of a state is on disk, so it is at a committed block at every instant.

mod aside;
pub(crate) mod codec;
mod database;
mod disk;
mod dump;
mod floor;
mod hash;
mod pace;
mod page;
mod sqlite;
mod table;
mod vfs;

pub use aside::Aside;
pub(crate) use codec::encode;
pub use database::{BLOCKS_KEPT, BlockMark, CRANK_HASH_BYTES, Database, Meta, Rows, Transaction};
pub use disk::{Asked, Disk, Errno, FileOp, Loss, Policy, Verdict};
pub use dump::{Layout, Restore};
pub use floor::CommitFloor;
pub use hash::{Digest, StateHash};
pub use pace::Pace;
pub use page::{PAGE_BYTES, PageHash};
pub use table::{Change, Index, Journaled, Table, Value};
