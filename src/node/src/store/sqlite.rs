use std::{fmt::Display, path::Path};

use borsh::{BorshDeserialize, BorshSerialize};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use vathost::{host::staged::BlockResult, model::blame::HostFault};

use super::{DecidedBlock, ExecutedBlock, Store, SubmissionAnswer, answer_of};
use crate::{block::Proposal, keys::Digest};

/// The number of the layout, SQLite's `user_version`.
const LAYOUT: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE undecided (height INTEGER, round INTEGER, block BLOB, proposal BLOB NOT NULL,
        PRIMARY KEY (height, round, block)) WITHOUT ROWID;
    CREATE TABLE decided (height INTEGER PRIMARY KEY, decided BLOB NOT NULL);
    CREATE TABLE executed (height INTEGER PRIMARY KEY, result TEXT NOT NULL);
    CREATE TABLE answers (id BLOB PRIMARY KEY, height INTEGER NOT NULL, position INTEGER NOT NULL, promise TEXT,
        refused TEXT, status TEXT NOT NULL, settled INTEGER, body TEXT, slots TEXT) WITHOUT ROWID;
    CREATE INDEX answers_by_promise ON answers (promise) WHERE promise IS NOT NULL;
    CREATE INDEX answers_by_height ON answers (height);
    CREATE INDEX answers_by_settled ON answers (settled) WHERE settled IS NOT NULL;
    PRAGMA user_version = 1;";

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    /// The path of the file, for errors.
    path: String,
}

impl SqliteStore {
    /// Opens the store in this file, or makes a new one.
    pub fn open(path: &Path) -> Result<SqliteStore, HostFault> {
        let name = path.display().to_string();
        let bad = |err: rusqlite::Error| HostFault::new(format_args!("open {name}"), err);
        let connection = Connection::open(path).map_err(bad)?;
        connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(bad)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(bad)?;
        connection.pragma_update(None, "synchronous", "full").map_err(bad)?;
        let layout: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(bad)?;
        match layout {
            LAYOUT => (),
            0 => connection.execute_batch(&format!("BEGIN; {SCHEMA} COMMIT;")).map_err(bad)?,
            other => {
                let why = format!("its layout has the number {other}, this program knows {LAYOUT}");
                return Err(HostFault::new(format_args!("open {name}"), why));
            }
        }
        // A process that was killed can have written what it did not force to the disk any more. Nothing is to rest on that before it is
        // there: a checkpoint forces the log, and then copies it.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(bad)?;
        Ok(SqliteStore { connection, path: name })
    }

    fn fault(&self, what: &str, why: impl Display) -> HostFault {
        HostFault::new(format_args!("{what} {}", self.path), why)
    }

    fn write(&self, sql: &str, params: impl Params) -> Result<(), HostFault> {
        let written = self.connection.prepare_cached(sql).and_then(|mut it| it.execute(params));
        written.map(drop).map_err(|err| self.fault("write", err))
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, HostFault> {
        let rows = self.connection.prepare_cached(sql).and_then(|mut it| it.query_map(params, read)?.collect());
        rows.map_err(|err| self.fault("read", err))
    }

    fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, HostFault> {
        let row = self.connection.prepare_cached(sql).and_then(|mut it| it.query_row(params, read).optional());
        row.map_err(|err| self.fault("read", err))
    }

    fn decode<T: BorshDeserialize>(&self, bytes: &[u8]) -> Result<T, HostFault> {
        borsh::from_slice(bytes).map_err(|err| self.fault("read", format_args!("a record is damaged: {err}")))
    }

    fn put_answers(&self, executed: &ExecutedBlock) -> Result<(), HostFault> {
        let ExecutedBlock { result, ids } = executed;
        for (position, id) in ids.iter().enumerate() {
            let SubmissionAnswer { height, position, status, promise, refused, .. } = answer_of(result, position);
            self.write(
                "INSERT OR REPLACE INTO answers (id, height, position, promise, refused, status)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![id.0, height.cast_signed(), position.cast_signed(), promise, refused, status],
            )?;
        }
        for settled in &result.settled {
            let slots = serde_json::to_string(&settled.slots).map_err(|err| self.fault("write", err))?;
            self.write(
                "UPDATE answers SET status = ?, settled = ?, body = ?, slots = ? WHERE promise = ?",
                params![
                    settled.status,
                    result.header.height.cast_signed(),
                    settled.body,
                    slots,
                    settled.result.to_string()
                ],
            )?;
        }
        Ok(())
    }

    fn in_transaction(&self, work: impl FnOnce() -> Result<(), HostFault>) -> Result<(), HostFault> {
        let command = |sql: &str| self.connection.execute_batch(sql).map_err(|err| self.fault("write", err));
        command("BEGIN IMMEDIATE")?;
        match work() {
            Ok(()) => command("COMMIT"),
            Err(fault) => {
                command("ROLLBACK")?;
                Err(fault)
            }
        }
    }

    /// Does a work whose loss does no harm: the disk is not waited for.
    fn unsynced(&self, work: impl FnOnce() -> Result<(), HostFault>) -> Result<(), HostFault> {
        let pragma = |value: &str| {
            let set = self.connection.pragma_update(None, "synchronous", value);
            set.map_err(|err| self.fault("write", err))
        };
        pragma("normal")?;
        let done = self.in_transaction(work);
        pragma("full")?;
        done
    }
}

fn encode(value: &impl BorshSerialize) -> Vec<u8> {
    // A vector takes everything that is written to it.
    borsh::to_vec(value).unwrap_or_default()
}

impl Store for SqliteStore {
    fn put_undecided(&mut self, proposal: &Proposal) -> Result<(), HostFault> {
        let (height, id) = (proposal.block.height.cast_signed(), proposal.block.id());
        self.write(
            "INSERT OR REPLACE INTO undecided (height, round, block, proposal) VALUES (?, ?, ?, ?)",
            params![height, proposal.round, id.0, encode(proposal)],
        )
    }

    fn undecided(&self, height: u64) -> Result<Vec<Proposal>, HostFault> {
        let sql = "SELECT proposal FROM undecided WHERE height = ? ORDER BY round, block";
        let found: Vec<Vec<u8>> = self.rows(sql, [height.cast_signed()], |row| row.get(0))?;
        found.iter().map(|it| self.decode(it)).collect()
    }

    fn put_decided(&mut self, decided: &DecidedBlock) -> Result<(), HostFault> {
        self.write(
            "INSERT OR IGNORE INTO decided (height, decided) VALUES (?, ?)",
            params![decided.block.height.cast_signed(), encode(decided)],
        )
    }

    fn decided(&self, height: u64) -> Result<Option<DecidedBlock>, HostFault> {
        let sql = "SELECT decided FROM decided WHERE height = ?";
        let found: Option<Vec<u8>> = self.row(sql, [height.cast_signed()], |row| row.get(0))?;
        found.map(|it| self.decode(&it)).transpose()
    }

    fn decided_heights(&self) -> Result<Option<(u64, u64)>, HostFault> {
        let sql = "SELECT min(height), max(height) FROM decided";
        let found = self.row(sql, [], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
        Ok(found.and_then(|(low, high)| Some((low?.cast_unsigned(), high?.cast_unsigned()))))
    }

    fn put_executed(&mut self, executed: &ExecutedBlock) -> Result<(), HostFault> {
        let height = executed.result.header.height.cast_signed();
        let result = serde_json::to_string(&executed.result).map_err(|err| self.fault("write", err))?;
        self.unsynced(|| {
            self.write("DELETE FROM undecided WHERE height <= ?", [height])?;
            let sql = "INSERT OR REPLACE INTO executed (height, result) VALUES (?, ?)";
            self.write(sql, params![height, result])?;
            self.put_answers(executed)
        })
    }

    fn executed(&self, height: u64) -> Result<Option<BlockResult>, HostFault> {
        let sql = "SELECT result FROM executed WHERE height = ?";
        let found: Option<String> = self.row(sql, [height.cast_signed()], |row| row.get(0))?;
        let read = |it: String| serde_json::from_str(&it).map_err(|err| self.fault("read", err));
        found.map(read).transpose()
    }

    fn last_executed(&self) -> Result<Option<u64>, HostFault> {
        let found: Option<Option<i64>> = self.row("SELECT max(height) FROM executed", [], |row| row.get(0))?;
        Ok(found.flatten().map(i64::cast_unsigned))
    }

    fn forget_executed_above(&mut self, height: u64) -> Result<(), HostFault> {
        let height = height.cast_signed();
        self.in_transaction(|| {
            self.write("DELETE FROM executed WHERE height > ?", [height])?;
            self.write("DELETE FROM answers WHERE height > ?", [height])?;
            self.write(
                "UPDATE answers SET status = 'pending', settled = NULL, body = NULL, slots = NULL WHERE settled > ?",
                [height],
            )
        })
    }

    fn answer(&self, id: &Digest) -> Result<Option<SubmissionAnswer>, HostFault> {
        let sql = "SELECT height, position, promise, refused, status, settled, body, slots FROM answers WHERE id = ?";
        self.row(sql, [id.0], |row| {
            let slots: Option<String> = row.get(7)?;
            Ok(SubmissionAnswer {
                height: row.get::<_, i64>(0)?.cast_unsigned(),
                position: row.get::<_, i64>(1)?.cast_unsigned(),
                promise: row.get(2)?,
                refused: row.get(3)?,
                status: row.get(4)?,
                settled: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
                body: row.get(6)?,
                slots: slots.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default(),
            })
        })
    }

    fn ids_since(&self, height: u64) -> Result<Vec<(u64, Digest)>, HostFault> {
        let sql = "SELECT height, id FROM answers WHERE height >= ?";
        self.rows(sql, [height.cast_signed()], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), Digest(row.get(1)?))))
    }
}
