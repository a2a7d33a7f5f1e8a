//! The disk space that a state takes, by table and by vat.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rusqlite::params;

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, DeliveryNum, VatId},
    },
    store::{database::Database, history::Heads},
};

/// The size of a table, with its indexes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSize {
    /// The name of the table.
    pub name: String,
    /// The number of its rows.
    pub rows: u64,
    /// Bytes of the pages of the file that it takes.
    pub bytes: u64,
}

/// The size of a vat's transcript, as it is stored; what is in the tail counts unpacked, as a chunk for each block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TranscriptSize {
    /// The number of deliveries.
    pub deliveries: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
    /// Bytes of the chunks of the last blocks.
    pub recent: u64,
    /// Bytes of the chunks that the vat does not need to come back.
    pub unneeded: u64,
}

impl Database {
    /// Returns the sizes of all tables. Reads the whole file.
    pub fn table_sizes(&self) -> Result<Vec<TableSize>, HostFault> {
        let what = "measure the tables";
        let read = || -> rusqlite::Result<Vec<(String, u64)>> {
            let sql = "SELECT of.tbl_name, sum(size.pgsize) FROM dbstat AS size JOIN sqlite_schema AS of ON of.name = size.name
                       WHERE size.aggregate = TRUE GROUP BY 1 ORDER BY 1";
            let connection = self.connection.lock();
            let mut statement = connection.prepare(sql)?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?.collect()
        };
        let mut bytes: BTreeMap<String, u64> = read().map_err(|err| self.failed(what, &err))?.into_iter().collect();
        let size = |table: super::Layout| {
            let rows = self.count(&table)?;
            Ok(TableSize { rows, bytes: bytes.remove(&table.name).unwrap_or(0), name: table.name })
        };
        self.layouts()?.into_iter().map(size).collect()
    }

    /// Bytes of the file that nothing uses.
    pub fn unused_bytes(&self) -> Result<u64, HostFault> {
        let pragma = |name: &str| -> Result<u64, HostFault> {
            let sql = format!("PRAGMA {name}");
            let number = self.connection.lock().query_row(&sql, [], |row| row.get::<_, i64>(0));
            number.map(i64::cast_unsigned).map_err(|err| self.failed("measure what is unused", &err))
        };
        Ok(pragma("freelist_count")?.saturating_mul(pragma("page_size")?))
    }

    /// Measures a vat's transcript: what is of blocks after `since` is recent, what comes before `needed` and is not its last chunk is not
    /// needed.
    pub fn transcript_size(
        &self,
        heads: &Heads,
        vat: VatId,
        since: BlockHeight,
        needed: DeliveryNum,
    ) -> Result<TranscriptSize, HostFault> {
        let sql = "SELECT coalesce(sum(next - first), 0), coalesce(sum(length(entries)), 0),
                          coalesce(sum(length(entries)) FILTER (WHERE height > ?2), 0),
                          coalesce(sum(length(entries)) FILTER (WHERE next <= ?3
                              AND first < coalesce(?4, (SELECT max(first) FROM transcript WHERE vat = ?1))), 0)
                   FROM transcript WHERE vat = ?1";
        let numbers = [vat.0, since.0, needed.0].map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        // Where the tail has the last deliveries, no chunk is the last.
        let end = heads.tail.next(vat).map(|it| it.0.cast_signed());
        let read = || {
            let connection = self.connection.lock();
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row(params![numbers[0], numbers[1], numbers[2], end], |row| {
                let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
                Ok(TranscriptSize {
                    deliveries: number(0)?,
                    bytes: number(1)?,
                    recent: number(2)?,
                    unneeded: number(3)?,
                })
            })
        };
        let mut size = read().map_err(|err| self.failed(&format!("measure the transcript of {vat}"), &err))?;
        heads.tail.add_size(vat, since, needed, &mut size);
        Ok(size)
    }

    /// Returns the bytes of the files of the state in this folder, by name: its own, and all others there.
    pub fn files(dir: &Path) -> Result<Vec<(String, u64)>, HostFault> {
        let read = || -> std::io::Result<Vec<(String, u64)>> {
            let mut files = BTreeSet::new();
            for entry in std::fs::read_dir(dir)? {
                let (entry, metadata) = entry.and_then(|it| it.metadata().map(|metadata| (it, metadata)))?;
                if metadata.is_file() {
                    files.insert((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
                }
            }
            Ok(files.into_iter().collect())
        };
        read().map_err(|err| HostFault::new(format_args!("look into `{}`", dir.display()), err))
    }
}
