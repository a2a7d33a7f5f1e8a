//! The state of a host: its tables of rows, the open block over them, transcripts, and snapshots of heaps.
//!
//! ```text
//!   Tables (rows, in memory) ── Block (journal of the open block) ──commit──▶ store (SQLite)
//!   Transcript (what each delivery saw)      Snapshot (a heap, so that less is replayed)
//! ```

pub mod block;
pub mod device;
pub mod retention;
pub mod snapshot;
pub mod table;
pub mod transcript;
