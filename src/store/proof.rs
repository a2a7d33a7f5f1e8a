//! The proof of the rows that are read: a checksum with each row, and a digest of each table that the last commit
//! attests.
//!
//! ```text
//!   a row of the kernel's, a block's mark ──hash──▶ checksum, beside it ──sum──▶ digest of the table, in the facts
//!   a chunk of a transcript: its checksum binds the chunk before it too; that of a vat's last one ──sum──▶ digest
//!   a row of the tail: its checksum binds the row before it too; that of the last one ──sum──▶ the same digest
//!   the manifest of a snapshot ──hash──▶ checksum, beside it ──sum──▶ digest
//!   a page, a bundle: under the hash of its bytes
//! ```
//!
//! Invariants:
//! * A checksum is that of a table, a key and a value together: a row at another's place is not taken for it.
//! * What is large is not read when a state is opened; its checksum is, and binds it: whatever is read later is what was
//!   written, or a fault that names it.
//! * Nothing is left that the facts do not bind, so that a log, a file or a row of another state is found.

use serde::{Deserialize, Serialize};

use crate::store::hash::Digest;

/// The error text for a row that is not what was written.
pub(crate) const DAMAGED: &str = "its bytes do not have its checksum";

/// A row of one of the kernel's tables, as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct StoredRow<'a> {
    /// The key of the row.
    pub key: &'a [u8],
    /// The value of the row.
    pub value: &'a [u8],
    /// The checksum that stands beside them.
    pub checksum: i64,
}

/// The rows of one table, as far as they were read.
#[derive(Debug, Default)]
pub struct Reading {
    /// The digest of the rows.
    pub digest: Digest,
    /// Room for one of them.
    pub(super) bytes: Vec<u8>,
}

/// The digests that a commit attests, one for each table, over its rows or over the checksums of its large ones.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Proof {
    /// The kernel's tables, in their order.
    pub tables: Vec<Digest>,
    /// The marks of the last blocks.
    pub blocks: Digest,
    /// The last chunk of each vat's transcript, and the last row of the tail.
    pub transcripts: Digest,
    /// The digest of the snapshots.
    pub snapshots: Digest,
    /// The sizes of the vatstores. Of all facts the last: those of a state of schema 9 end before it (see `upgrade`).
    pub sums: Digest,
}
