//! The undo record of the last commit, and the results of blocks: tables beside the state's own, made where a host asks for them.
//!
//! ```text
//!   keep_undo ─▶ a trigger on each table ──▶ a transaction: each change of a row leaves the statement that takes it back
//!   undo_last ─▶ the statements, the last first ─▶ what `check` says ─▶ the database as before that transaction
//! ```
//!
//! Invariants: the record stands in the transaction that it undoes, and names the facts that it wrote: after a commit without a record
//! it is of no use, and refused. It is used once. None of it is in a hash.

use std::fmt::Write;

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    model::blame::HostFault,
    store::{
        database::{Database, Transaction},
        hash::RowHash,
        proof::DAMAGED,
    },
};

/// The tables that a staged host keeps beside those of the state: none of this is about them, and they are in no archive.
pub(super) const BESIDE: [&str; 2] = ["undo", "block_result"];

const LAYOUT: &str = "CREATE TABLE IF NOT EXISTS undo (step INTEGER PRIMARY KEY, sql TEXT NOT NULL)";

const RESULTS: &str = "CREATE TABLE IF NOT EXISTS block_result (height INTEGER PRIMARY KEY, result BLOB NOT NULL, checksum INTEGER NOT NULL)";

/// The results of so many blocks are kept.
const RESULTS_KEPT: u64 = 100;

/// What stands in a column of a row, as SQL that makes its literal.
fn literals(of: &str, columns: &[String]) -> String {
    let quoted: Vec<String> = columns.iter().map(|it| format!("quote({of}.\"{it}\")")).collect();
    quoted.join(" || ',' || ")
}

/// The SQL that makes the condition for a row by its key.
fn condition(of: &str, key: &[String]) -> String {
    let equal: Vec<String> = key.iter().map(|it| format!("'\"{it}\"=' || quote({of}.\"{it}\")")).collect();
    equal.join(" || ' AND ' || ")
}

/// Returns the triggers of a table: each notes the statement that takes a change back.
fn triggers(table: &str, columns: &[String], key: &[String]) -> String {
    let names: Vec<String> = columns.iter().map(|it| format!("\"{it}\"")).collect();
    let names = names.join(",");
    let inverse = [
        ("INSERT", format!("'DELETE FROM \"{table}\" WHERE ' || {}", condition("NEW", key))),
        (
            "UPDATE",
            format!(
                "'UPDATE \"{table}\" SET ({names})=(' || {} || ') WHERE ' || {}",
                literals("OLD", columns),
                condition("NEW", key)
            ),
        ),
        ("DELETE", format!("'INSERT INTO \"{table}\"({names}) VALUES(' || {} || ')'", literals("OLD", columns))),
    ];
    let mut sql = String::new();
    for (on, inverse) in inverse {
        // Writing to a text cannot fail.
        let _ = write!(
            sql,
            "CREATE TEMP TRIGGER IF NOT EXISTS \"undo {on} {table}\" AFTER {on} ON main.\"{table}\" \
             BEGIN INSERT INTO undo (sql) VALUES ({inverse}); END;"
        );
    }
    sql
}

impl Database {
    /// Has each transaction from now on leave the record by which it can be undone, in the place of the record before.
    pub fn keep_undo(&mut self) -> Result<(), HostFault> {
        let what = "keep what undoes a block";
        let mut sql = format!("{LAYOUT}; PRAGMA recursive_triggers = ON;");
        for table in
            self.names("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", [])?
        {
            if BESIDE[0] == table {
                continue;
            }
            let columns = self.names("SELECT name FROM pragma_table_info(?) ORDER BY cid", [&table])?;
            let key = self.names("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", [&table])?;
            sql += &triggers(&table, &columns, &key);
        }
        self.connection.lock().execute_batch(&sql).map_err(|err| self.failed(what, &err))?;
        self.set_undoes(true);
        Ok(())
    }

    /// Ends that: the record of the last transaction is of no use after the next.
    pub fn keep_no_undo(&mut self) -> Result<(), HostFault> {
        let names =
            self.names("SELECT name FROM temp.sqlite_schema WHERE type = 'trigger' AND name LIKE 'undo %'", [])?;
        let sql: String = names.iter().map(|it| format!("DROP TRIGGER temp.\"{it}\";")).collect();
        self.connection.lock().execute_batch(&sql).map_err(|err| self.failed("keep no undo record", &err))?;
        self.set_undoes(false);
        Ok(())
    }

    fn names(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<String>, HostFault> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let connection = self.connection.lock();
            let mut statement = connection.prepare(sql)?;
            statement.query_map(params, |row| row.get(0))?.collect()
        };
        read().map_err(|err| self.failed("read the layout of the state", &err))
    }

    /// Returns whether the last transaction can be undone, and refuses with the reason where it cannot.
    pub fn check_undo(&self) -> Result<(), HostFault> {
        let refused = |why: &str| HostFault::new("undo the last block", why);
        if !self.has_table(BESIDE[0])? {
            return Err(refused(
                "it was committed without its undo record: the host that commits it must be asked for one",
            ));
        }
        let sql = "SELECT sql FROM undo WHERE step = 0";
        let record: Option<String> = self
            .connection
            .lock()
            .query_row(sql, [], |row| row.get(0))
            .optional()
            .map_err(|err| self.failed("read the undo record", &err))?;
        let made_by = record
            .ok_or_else(|| refused("one block can be undone, and it was: there is no record of the one before"))?;
        match made_by == self.facts()? {
            true => Ok(()),
            false => Err(refused("something was committed after the block whose undo record there is")),
        }
    }

    /// Undoes the last transaction. `check` looks at the database as it is then, before that is durable.
    pub fn undo_last(&mut self, check: impl FnOnce(&Database) -> Result<(), HostFault>) -> Result<(), HostFault> {
        self.check_undo()?;
        let keeps = self.undoes();
        self.keep_no_undo()?;
        let failed = |err: &rusqlite::Error| self.failed("undo the last block", err);
        self.connection.lock().execute_batch("BEGIN IMMEDIATE").map_err(|err| failed(&err))?;
        let undone = take_back(&self.connection.lock()).map_err(|err| failed(&err)).and_then(|()| check(self));
        let end = if undone.is_ok() { "COMMIT" } else { "ROLLBACK" };
        self.connection.lock().execute_batch(end).map_err(|err| failed(&err))?;
        undone?;
        if keeps { self.keep_undo() } else { Ok(()) }
    }

    /// Records, in a transaction of its own, the runtime that runs the vats from now on. The last block can be undone afterwards
    /// as well as before; then the runtime that ran it is the one on record again.
    pub fn set_runtime(&mut self, runtime: &str) -> Result<(), HostFault> {
        let Some(mut meta) = self.meta()? else { return Ok(()) };
        let (keeps, facts) = (self.undoes(), self.facts()?);
        let has_record = self.has_table(BESIDE[0])?;
        self.keep_no_undo()?;
        meta.runtime = runtime.to_owned();
        let transaction = self.transaction()?;
        transaction.put_meta(&meta)?;
        if has_record {
            let sql =
                "UPDATE undo SET sql = (SELECT checksum || '/' || hex(value) FROM meta) WHERE step = 0 AND sql = ?";
            transaction.execute("keep the undo record", sql, [facts])?;
        }
        transaction.commit()?;
        if keeps { self.keep_undo() } else { Ok(()) }
    }

    /// A text that tells the facts of the last commit from those of any other.
    fn facts(&self) -> Result<String, HostFault> {
        let sql = "SELECT checksum || '/' || hex(value) FROM meta";
        let facts: Option<String> = self
            .connection
            .lock()
            .query_row(sql, [], |row| row.get(0))
            .optional()
            .map_err(|err| self.failed("read the facts", &err))?;
        Ok(facts.unwrap_or_default())
    }

    /// Makes room for the results of blocks.
    pub fn keep_results(&mut self) -> Result<(), HostFault> {
        self.connection.lock().execute_batch(RESULTS).map_err(|err| self.failed("keep the results of blocks", &err))
    }

    /// Returns the result of a block, if it is kept.
    pub fn block_result(&self, height: u64) -> Result<Option<Vec<u8>>, HostFault> {
        if !self.has_table(BESIDE[1])? {
            return Ok(None);
        }
        let sql = "SELECT result, checksum FROM block_result WHERE height = ?";
        let row = self
            .connection
            .lock()
            .query_row(sql, [height.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional();
        let row: Option<(Vec<u8>, i64)> = row.map_err(|err| self.failed("read the result of a block", &err))?;
        match row {
            Some((result, checksum)) if checksum != result_checksum(height, &result) => {
                Err(self.damaged(format_args!("the result of block {height}"), DAMAGED, BESIDE[1]))
            }
            row => Ok(row.map(|(result, _)| result)),
        }
    }

    fn has_table(&self, name: &str) -> Result<bool, HostFault> {
        let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name = ?";
        Ok(!self.names(sql, [name])?.is_empty())
    }
}

/// Carries out the statements of the record, the last first.
fn take_back(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT sql FROM undo WHERE step > 0 ORDER BY step DESC")?;
    let steps: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    steps.iter().try_for_each(|it| connection.execute_batch(it))?;
    connection.execute_batch("DELETE FROM undo")
}

fn result_checksum(height: u64, result: &[u8]) -> i64 {
    RowHash::of_parts(BESIDE[1], &[&height.to_le_bytes(), result]).checksum()
}

impl Transaction<'_> {
    /// Begins the undo record of this transaction.
    pub(super) fn begin_undo(&self) -> Result<(), HostFault> {
        self.execute("begin the undo record", "DELETE FROM undo", []).map(drop)
    }

    /// Ends the undo record: it belongs to the facts as they are now.
    pub(super) fn end_undo(&self) -> Result<(), HostFault> {
        let sql = "INSERT INTO undo SELECT 0, checksum || '/' || hex(value) FROM meta";
        self.execute("end the undo record", sql, []).map(drop)
    }

    /// Stores the result of a block; those of long ago go.
    pub fn put_result(&self, height: u64, result: &[u8]) -> Result<(), HostFault> {
        let what = "write the result of a block";
        let row = params![height.cast_signed(), result, result_checksum(height, result)];
        self.execute(what, "INSERT OR REPLACE INTO block_result VALUES (?, ?, ?)", row)?;
        let oldest = height.saturating_sub(RESULTS_KEPT).cast_signed();
        self.execute(what, "DELETE FROM block_result WHERE height <= ? AND height != 0", [oldest]).map(drop)
    }
}
