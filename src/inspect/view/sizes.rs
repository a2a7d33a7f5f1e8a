//! View of the disk space that a state takes: by file, by table, by vat; how it grew, and what could leave.

use std::path::Path;

use serde::Serialize;

use super::{Facts, Row, brief};
use crate::{
    inspect::view::text::{counted, grouped, size},
    model::{blame::HostFault, id::BlockHeight},
    state::block::{Block, history},
    store::{Database, TableSize},
};

/// The growth is told of so many blocks.
const RECENT_BLOCKS: u64 = 1_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sizes {
    /// Bytes of each file in the state's folder.
    files: Vec<FileSize>,
    /// Bytes of the state's file that nothing uses.
    unused_bytes: u64,
    transcript_bytes: u64,
    /// Bytes of transcripts of the last blocks.
    transcript_bytes_recent: u64,
    recent_blocks: u64,
    /// Bytes of transcripts that no vat needs to come back.
    transcript_bytes_unneeded: u64,
    pub(crate) tables: Vec<TableRow>,
    pub(crate) vats: Vec<VatSize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileSize {
    name: String,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TableRow {
    table: String,
    rows: u64,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VatSize {
    id: String,
    name: String,
    deliveries: u64,
    transcript_bytes: u64,
    transcript_bytes_recent: u64,
    transcript_bytes_unneeded: u64,
    vatstore_bytes: u64,
    /// Bytes of the heap in the vat's snapshot, pages of zeros included; pages may be shared.
    snapshot_bytes: u64,
    clist: usize,
}

/// Measures the state in a folder, all of it as of one commit.
pub(crate) fn of(dir: &Path, block: &Block) -> Result<Sizes, HostFault> {
    let database = history::file(block);
    let (tables, height) = (block.tables(), block.tables().globals().height.0);
    let recent_blocks = height.min(RECENT_BLOCKS);
    let since = BlockHeight(height - recent_blocks);
    let mut vats = Vec::new();
    for (vat, row) in tables.vats.iter() {
        let transcript = history::transcript_size(block, *vat, since)?;
        let snapshot_bytes = history::snapshot_bytes(block, *vat)?;
        vats.push(VatSize {
            id: vat.to_string(),
            name: row.name.clone(),
            deliveries: transcript.deliveries,
            transcript_bytes: transcript.bytes,
            transcript_bytes_recent: transcript.recent,
            transcript_bytes_unneeded: transcript.unneeded,
            vatstore_bytes: tables.vatstore.bytes(*vat),
            snapshot_bytes,
            clist: tables.clist.held(*vat),
        });
    }
    let sum = |of: fn(&VatSize) -> u64| vats.iter().map(of).sum();
    let file = |(name, bytes)| FileSize { name, bytes };
    let table = |TableSize { name, rows, bytes }| TableRow { table: name, rows, bytes };
    let mut measured: Vec<TableRow> = database.table_sizes()?.into_iter().map(table).collect();
    measured.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.table.cmp(&b.table)));
    Ok(Sizes {
        files: Database::files(dir)?.into_iter().map(file).collect(),
        unused_bytes: database.unused_bytes()?,
        transcript_bytes: sum(|it| it.transcript_bytes),
        transcript_bytes_recent: sum(|it| it.transcript_bytes_recent),
        recent_blocks,
        transcript_bytes_unneeded: sum(|it| it.transcript_bytes_unneeded),
        tables: measured,
        vats,
    })
}

impl Facts for Sizes {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let files: Vec<String> = self.files.iter().map(|it| format!("{} {}", it.name, size(it.bytes))).collect();
        let blocks = counted(self.recent_blocks, "block", "blocks");
        vec![
            ("files", files.join(", ")),
            ("unused", format!("{}: `vathost prune` gives them back", size(self.unused_bytes))),
            (
                "transcripts",
                format!(
                    "{}, {} of them of the last {blocks}",
                    size(self.transcript_bytes),
                    size(self.transcript_bytes_recent)
                ),
            ),
            ("not needed", format!("{}: they leave with `--keep needed`", size(self.transcript_bytes_unneeded))),
        ]
    }
}

impl Row for TableRow {
    const HEADER: &'static [&'static str] = &["table", "rows", "bytes"];
    const LEFT: &'static [usize] = &[0];

    fn cells(&self) -> Vec<String> {
        vec![self.table.clone(), grouped(self.rows), grouped(self.bytes)]
    }
}

impl Row for VatSize {
    const HEADER: &'static [&'static str] =
        &["vat", "name", "deliveries", "transcript", "last blocks", "not needed", "vatstore", "snapshot", "c-list"];
    const LEFT: &'static [usize] = &[0, 1];

    fn cells(&self) -> Vec<String> {
        let numbers = [
            self.deliveries,
            self.transcript_bytes,
            self.transcript_bytes_recent,
            self.transcript_bytes_unneeded,
            self.vatstore_bytes,
            self.snapshot_bytes,
            self.clist as u64,
        ];
        [self.id.clone(), brief(self.name.as_bytes())].into_iter().chain(numbers.map(grouped)).collect()
    }
}
