//! A whole state in one file: `vathost export` and `import`.
//!
//! ```text
//!   frame: head (JSON)   ─┐ engine, height, hashes: readable without unpacking
//!   frame: piece (JSON)   │ table, columns, rows, and the hash of what follows
//!   zstd:  rows           ┘ … up to 4 MiB of them; then the next piece
//!   frame: end (JSON)       the number of pieces, and the checksum of all bytes before
//! ```
//!
//! A frame is one of zstd's skippable frames (magic, length, contents), and its contents begin with the hash of the rest. So the
//! file is a well-formed `.zst`, and damage is found and named piece by piece. The state that was read is then audited, so that a
//! file that is whole but false is refused too.

mod read;
mod write;

pub use read::read;
pub use write::write;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    model::{blame::HostFault, engine_version},
    state::table::Tables,
    store::{Database, Meta, Reading},
};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// One of zstd's magic numbers for frames that it skips.
const FRAME: u32 = 0x184D_2A56;
/// Bytes of a hash in a frame.
const HASH_LEN: u32 = 32;
/// Bytes of a frame's contents, at most, so that damage cannot make the reader allocate more.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Bytes of rows in a piece, unless one row alone is larger.
const PIECE_BYTES: usize = 4 << 20;
/// Bytes of rows in a piece, at most: the largest row of SQLite, and a little more.
const PIECE_BYTES_MAX: u64 = (1 << 30) + (1 << 24);

/// The head of an archive: the facts of the state that come before its rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The kind of the file: `state archive`.
    pub vathost: String,
    /// The version of the format.
    pub format: u32,
    /// The version of vathost that wrote it.
    pub written_by: String,
    /// The layout of the database.
    pub schema: u32,
    /// The runtime that last ran the vats.
    pub engine: String,
    /// The version of the engine; 1 in an archive that was written before there was a second.
    #[serde(default = "first_engine")]
    pub engine_version: u32,
    /// The version of the kernel.
    pub kernel_version: u32,
    /// The last committed block.
    pub height: u64,
    /// The chained hash at that block.
    pub state_hash: String,
    /// The digest of all rows at that block.
    pub state_digest: String,
    /// The digest of the scenario.
    pub scenario: String,
}

fn first_engine() -> u32 {
    engine_version::FIRST
}

const MARK: &str = "state archive";

impl Head {
    fn of(meta: &Meta, tables: &Tables) -> Head {
        let globals = tables.globals();
        Head {
            vathost: MARK.to_owned(),
            format: FORMAT,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            schema: Database::SCHEMA,
            engine: meta.runtime.clone(),
            engine_version: tables.engine_version(),
            kernel_version: globals.kernel_version,
            height: globals.height.0,
            state_hash: meta.state_hash.to_string(),
            state_digest: meta.digest.to_string(),
            scenario: meta.scenario.clone(),
        }
    }

    /// Makes the head of an archive of this state.
    fn of_state(database: &Database) -> Result<Head, HostFault> {
        let nothing = || HostFault::new("export the state", "it has no committed block yet");
        let meta = database.meta()?.ok_or_else(nothing)?;
        let mut tables = Tables::default();
        for table in tables.each().into_iter().filter(|it| ["globals", "engine"].contains(&it.name())) {
            database.load(table.name(), |row| table.load(row, &mut Reading::default()))?;
        }
        Ok(Head::of(&meta, &tables))
    }
}

/// The header of a piece, in the frame before the piece.
#[derive(Debug, Serialize, Deserialize)]
struct Piece {
    table: String,
    columns: Vec<String>,
    rows: u64,
    /// Bytes of the rows.
    raw: u64,
    /// Bytes of the zstd frame.
    bytes: u64,
    /// The BLAKE3 hash of that frame.
    hash: String,
}

/// The end of an archive, its last part.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    pieces: u64,
    rows: u64,
    /// The BLAKE3 of all bytes before.
    checksum: String,
}

/// The summary of an archive that was written or read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The head of the archive.
    pub head: Head,
    /// Rows, of all tables.
    pub rows: u64,
    /// Bytes of the rows.
    pub raw: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// An archive that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file is something else, or of another version.
    #[error("{}: {why}", path.display())]
    Foreign {
        /// The file that was read.
        path: PathBuf,
        /// The reason: what the file is not.
        why: String,
    },
    /// The file differs from what was written, or holds a state that does not pass the audit.
    #[error("{}: damaged at {at}: {why}", path.display())]
    Damaged {
        /// The file that was read.
        path: PathBuf,
        /// The part of the file, and its bytes.
        at: String,
        /// The damage, in words.
        why: String,
    },
    /// An error of this machine.
    #[error(transparent)]
    Host(#[from] HostFault),
}

impl ArchiveError {
    fn foreign(path: &Path, why: impl ToString) -> ArchiveError {
        ArchiveError::Foreign { path: path.to_owned(), why: why.to_string() }
    }

    fn damaged(path: &Path, at: impl ToString, why: impl ToString) -> ArchiveError {
        ArchiveError::Damaged { path: path.to_owned(), at: at.to_string(), why: why.to_string() }
    }
}
