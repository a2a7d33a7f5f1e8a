//! Writes an archive.

use std::io::Write;

use serde::Serialize;

use crate::{
    inspect::archive::{End, FRAME, Head, PIECE_BYTES, Piece, Summary},
    model::{blame::HostFault, id::hex},
    store::{Database, Layout},
};

/// zstd's level: beyond it, rows that are mostly hashes and small numbers shrink no further.
const LEVEL: i32 = 6;

fn fault(err: impl std::fmt::Display) -> HostFault {
    HostFault::new("write the archive", err)
}

/// Writes a whole state. `progress` is called with the rows that were written so far, and with their total.
pub fn write(
    database: &Database,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary, HostFault> {
    let head = Head::of_state(database)?;
    let layouts = database.layouts()?;
    let mut total = 0;
    for layout in &layouts {
        total += database.count(layout)?;
    }
    let mut writer = Writer { out, hasher: blake3::Hasher::new(), pieces: 0, rows: 0, raw: 0, bytes: 0 };
    writer.frame(&head)?;
    for layout in &layouts {
        writer.table(database, layout, &mut |rows| progress(rows, total))?;
    }
    let checksum = hex(writer.hasher.finalize().as_bytes());
    writer.frame(&End { pieces: writer.pieces, rows: writer.rows, checksum })?;
    writer.out.flush().map_err(fault)?;
    Ok(Summary { head, rows: writer.rows, raw: writer.raw, bytes: writer.bytes })
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
    pieces: u64,
    rows: u64,
    raw: u64,
    bytes: u64,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), HostFault> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(fault)
    }

    fn frame(&mut self, contents: &impl Serialize) -> Result<(), HostFault> {
        let json = serde_json::to_vec(contents).map_err(fault)?;
        let hash = blake3::hash(&json);
        let length = u32::try_from(json.len() + hash.as_bytes().len()).map_err(fault)?;
        self.bytes(&FRAME.to_le_bytes())?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(hash.as_bytes())?;
        self.bytes(&json)
    }

    fn table(&mut self, database: &Database, layout: &Layout, progress: &mut dyn FnMut(u64)) -> Result<(), HostFault> {
        let mut open: (Vec<u8>, u64) = Default::default();
        database.dump(layout, &mut |row| {
            if !open.0.is_empty() && open.0.len() + row.len() > PIECE_BYTES {
                self.piece(layout, std::mem::take(&mut open))?;
                progress(self.rows);
            }
            open.0.extend_from_slice(row);
            open.1 += 1;
            Ok(())
        })?;
        self.piece(layout, open)
    }

    fn piece(&mut self, layout: &Layout, (rows, count): (Vec<u8>, u64)) -> Result<(), HostFault> {
        let packed = zstd::bulk::compress(&rows, LEVEL).map_err(fault)?;
        self.frame(&Piece {
            table: layout.name.clone(),
            columns: layout.columns.clone(),
            rows: count,
            raw: rows.len() as u64,
            bytes: packed.len() as u64,
            hash: hex(blake3::hash(&packed).as_bytes()),
        })?;
        self.pieces += 1;
        self.rows += count;
        self.raw += rows.len() as u64;
        self.bytes(&packed)
    }
}
