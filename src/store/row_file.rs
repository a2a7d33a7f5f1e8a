//! Single rows and ranges of rows of a file, for tables that are not in memory as a whole.
//!
//! Invariant: a failure that somebody could not be told of is kept, and nothing is committed after it: `Block::seal` and a crank's end ask
//! for it.

use std::{
    ops::Bound,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use rusqlite::{OptionalExtension, params};

use crate::{
    model::blame::HostFault,
    store::{
        connection::SharedConnection,
        database::{failure, placed},
        elsewhere::AtOnce,
        proof::StoredRow,
    },
};

/// The rows of a file.
#[derive(Clone, Debug)]
pub struct RowFile(Arc<File>);

#[derive(Debug)]
struct File {
    connection: SharedConnection,
    dir: PathBuf,
    fault: OnceLock<HostFault>,
}

/// The ends of a range of stored keys.
pub(super) type StoredRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A receiver of rows.
type Take<'a> = dyn FnMut(&StoredRow<'_>) -> Result<(), HostFault> + 'a;

/// Returns a condition on the keys of a range, as ?1 and ?2, with what they are.
fn within((first, last): StoredRange) -> (String, Vec<u8>, Option<Vec<u8>>) {
    let from = match first {
        Bound::Excluded(_) => ">",
        Bound::Included(_) | Bound::Unbounded => ">=",
    };
    let (to, last) = match last {
        Bound::Included(key) => ("key <= ?2", Some(key)),
        Bound::Excluded(key) => ("key < ?2", Some(key)),
        Bound::Unbounded => ("?2 IS NULL", None),
    };
    let first = match first {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => Vec::new(),
    };
    (format!("key {from} ?1 AND {to}"), first, last)
}

/// Returns the statement that finds rows by the beginnings of their values, ?3, on a condition.
fn beginning_with(table: &str, within: &str) -> String {
    format!("SELECT key, value, checksum FROM \"{table}\" WHERE {BEGINNING} = ?3 AND {within} ORDER BY key")
}

impl RowFile {
    pub(super) fn new(connection: SharedConnection, dir: PathBuf) -> RowFile {
        RowFile(Arc::new(File { connection, dir, fault: OnceLock::new() }))
    }

    fn failed(&self, table: &str, err: &rusqlite::Error) -> HostFault {
        failure(&self.0.connection.lock(), &placed(&format!("read table `{table}`"), &self.0.dir), err)
    }

    /// Keeps a failure that its cause could not be told of.
    pub(super) fn or_none<T>(&self, read: Result<T, HostFault>) -> Option<T> {
        match read {
            Ok(it) => Some(it),
            Err(fault) => {
                // The first is the one that counts.
                let _ = self.0.fault.set(fault);
                None
            }
        }
    }

    /// Returns the failure that was kept, if there was one.
    pub(crate) fn check(&self) -> Result<(), HostFault> {
        self.0.fault.get().map_or(Ok(()), |it| Err(it.clone()))
    }

    /// Waits for the commit that another thread is writing, if one is: what it wrote is in the file then.
    pub(crate) fn settle(&self) {
        self.0.connection.settle();
    }

    /// Reads one row of a table: its value and its checksum.
    pub(super) fn row(&self, table: &str, key: &[u8]) -> Result<Option<(Vec<u8>, i64)>, HostFault> {
        let sql = format!("SELECT value, checksum FROM \"{table}\" WHERE key = ?");
        let read = || {
            let connection = self.0.connection.lock();
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        };
        read().map_err(|err| self.failed(table, &err))
    }

    /// Hands over the first rows of a range of a table, in the order of their keys, and returns whether that is all of the range.
    pub(super) fn rows_within(
        &self,
        table: &str,
        range: StoredRange,
        max: AtOnce,
        take: &mut Take<'_>,
    ) -> Result<bool, HostFault> {
        let (within, first, last) = within(range);
        let sql = format!("SELECT key, value, checksum FROM \"{table}\" WHERE {within} ORDER BY key");
        self.hand_over(table, &sql, params![first, last], max, take)
    }

    /// Hands over the rows of a range of a table whose values begin with these bytes, and have one byte more.
    pub(super) fn rows_beginning_with(
        &self,
        table: &str,
        begin: &[u8],
        range: StoredRange,
        take: &mut Take<'_>,
    ) -> Result<(), HostFault> {
        let (within, first, last) = within(range);
        let sql = beginning_with(table, &within);
        let all = AtOnce { bytes: usize::MAX, rows: usize::MAX };
        self.hand_over(table, &sql, params![first, last, begin], all, take).map(drop)
    }

    fn hand_over(
        &self,
        table: &str,
        sql: &str,
        params: impl rusqlite::Params,
        max: AtOnce,
        take: &mut Take<'_>,
    ) -> Result<bool, HostFault> {
        let failed = |err| self.failed(table, &err);
        let connection = self.0.connection.lock();
        let mut statement = connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(params).map_err(failed)?;
        let (mut count, mut bytes) = (0, 0_usize);
        while let Some(row) = rows.next().map_err(failed)? {
            let blob = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
            let (key, value) = (blob(0).map_err(failed)?, blob(1).map_err(failed)?);
            take(&StoredRow { key, value, checksum: row.get(2).map_err(failed)? })?;
            (count, bytes) = (count + 1, bytes + key.len() + value.len());
            if count >= max.rows || bytes >= max.bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether a table has more rows than this, or their values more bytes.
    pub(crate) fn is_larger_than(&self, table: &str, rows: u64, bytes: u64) -> Result<bool, HostFault> {
        let has_more = format!("SELECT EXISTS (SELECT 1 FROM \"{table}\" LIMIT 1 OFFSET ?)");
        // Of a value the length is at its beginning.
        let size = format!("SELECT total(length(value)) > ? FROM \"{table}\"");
        let connection = self.0.connection.lock();
        let found =
            connection.query_row(&has_more, [rows.cast_signed()], |row| row.get(0)).and_then(|found| match found {
                true => Ok(true),
                false => connection.query_row(&size, [bytes.cast_signed()], |row| row.get(0)),
            });
        drop(connection);
        found.map_err(|err| self.failed(table, &err))
    }

    /// Returns whether a table has no row; a failure is kept.
    pub(crate) fn is_empty(&self, table: &str) -> bool {
        let sql = format!("SELECT NOT EXISTS (SELECT 1 FROM \"{table}\")");
        let found = self.0.connection.lock().query_row(&sql, [], |row| row.get(0));
        self.or_none(found.map_err(|err| self.failed(table, &err))).unwrap_or(false)
    }

    /// Counts the rows of a table whose values begin with these bytes.
    pub(super) fn count_beginning_with(&self, table: &str, begin: &[u8]) -> Result<usize, HostFault> {
        let sql = format!("SELECT count(*) FROM \"{table}\" WHERE substr(value, 1, length(?1)) = ?1");
        self.count(table, &sql, params![begin])
    }

    /// Counts the rows of a range of a table.
    pub(super) fn count_within(&self, table: &str, range: StoredRange) -> Result<usize, HostFault> {
        let (within, first, last) = within(range);
        let sql = format!("SELECT count(*) FROM \"{table}\" WHERE {within}");
        self.count(table, &sql, params![first, last])
    }

    fn count(&self, table: &str, sql: &str, params: impl rusqlite::Params) -> Result<usize, HostFault> {
        let count = || {
            let connection = self.0.connection.lock();
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row(params, |row| row.get::<_, i64>(0))
        };
        count().map(|it| usize::try_from(it).unwrap_or(usize::MAX)).map_err(|err| self.failed(table, &err))
    }
}

/// All of a value but its last byte, as an expression of SQL.
pub(super) const BEGINNING: &str = "substr(value, 1, length(value) - 1)";

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::{Database, TableLayout};

    #[test]
    fn a_statement_is_compiled_once_whatever_is_asked_for() {
        let layout = TableLayout { name: "names", has_long_values: false, has_value_index: true };
        let database = Database::memory(&[layout]).expect("a database");
        let rows = "INSERT INTO names VALUES (x'01', x'0A0B01', 0), (x'02', x'0A0C01', 0), (x'03', x'0A0B00', 0)";
        database.connection.lock().execute_batch(rows).expect("rows");
        let find = |begin: &[u8]| {
            let mut keys = Vec::new();
            let all = (Bound::Unbounded, Bound::Unbounded);
            let found = database.file.rows_beginning_with("names", begin, all, &mut |row| {
                keys.push(row.key.to_vec());
                Ok(())
            });
            found.expect("read");
            keys
        };
        assert_eq!(find(&[10, 11]), [vec![1], vec![3]]);
        assert_eq!((find(&[10, 12]), find(&[10])), (vec![vec![2]], vec![]));
        let connection = database.connection.lock();
        let (within, ..) = within((Bound::Unbounded, Bound::Unbounded));
        let statement = connection.prepare_cached(&beginning_with("names", &within)).expect("known");
        assert_eq!(statement.get_status(StatementStatus::Run), 3);
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
