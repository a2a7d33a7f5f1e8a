//! Tables in memory over one SQLite file: the only user of the database.
//!
//! A crank changes rows in memory and can undo them all; a block's rows are written in one durable transaction.
//! Nothing else of a state is on disk, so it is at a committed block at every instant.

mod aside;
mod beside;
mod came;
pub mod canon;
pub(crate) mod codec;
mod compact;
mod connection;
mod cursor;
mod database;
mod dump;
mod elsewhere;
mod files;
mod floor;
mod fold;
mod handover;
mod hash;
mod history;
mod log;
mod mark;
mod overlay;
mod pace;
mod packed;
mod page;
mod private;
mod proof;
mod prune;
mod registered;
mod row_file;
mod rows;
mod size;
mod span;
mod sqlite;
mod sum;
mod table;
mod tail;
mod touched;
mod undo;
mod upgrade;

pub use aside::Aside;
pub use beside::{BesideRow, KeptRow};
pub(crate) use codec::{beginning, encode};
pub use compact::Compacted;
pub use cursor::StoredRows;
pub(crate) use database::Batch;
pub use database::{Database, Meta, Rows, TableLayout, Transaction};
pub use dump::{Layout, Restore};
pub use elsewhere::{Cut, RowReader, Side};
pub(crate) use elsewhere::{each_row, look, stored_beginning_with};
pub use files::{RegisteredVfs, StateFiles};
pub use floor::CommitFloor;
pub use fold::{CrankMark, Fold};
pub(crate) use handover::{CommitOutcome, Handover};
pub(crate) use hash::RowHash;
pub use hash::{Chain, Digest, StateHash};
pub use history::{Append, Chunk, Head, Heads};
pub use mark::{BLOCKS_KEPT, BlockMark, Marks};
pub use overlay::Overlay;
pub use pace::Pace;
pub(crate) use packed::{PLAIN, unpack};
pub use page::{Listed, PAGE_BYTES, PageHash};
pub use private::write_private;
pub use proof::{Proof, Reading, StoredRow};
pub use prune::{Leaving, Left, MayLeave, Pruned};
#[cfg(feature = "tools")]
pub(crate) use registered::{Registered, no_methods};
pub use row_file::RowFile;
pub use rows::{Arrangement, Dense, InRuns, Leaves, Numbered, RowMap, Single, Sorted};
/// SQLite's C interface, for a VFS of experiments.
#[cfg(feature = "tools")]
pub(crate) use rusqlite::ffi as sqlite_ffi;
pub use size::{TableSize, TranscriptSize};
pub use span::{Reach, SpanChunks, SpanFolder};
pub use sum::{StoreSum, SumChange, digest_of_sums};
pub use table::{Change, Index, Journaled, Table, TableKind, Value};
pub(crate) use table::{append_row, run_ends, run_from};
pub use tail::AppendedBlock;
pub use upgrade::{UpgradeProgress, UpgradeStep, UpgradeWatch, upgrade_rows};
pub(crate) use upgrade::{drop_copy, sharers, tell_rows, unproved_copy};
