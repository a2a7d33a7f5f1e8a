//! The SQLite file of a state: one writer, one durable transaction a block.
//!
//! Layout: `meta` (one row of facts about the state), one table of `(key, value)` for each table of the kernel, `bundle` (wasm
//! by hash), `transcript` (one chunk per vat and block) and `block` (where the chain stood at the end of each of the last
//! [`BLOCKS_KEPT`] blocks), `snapshot` and `page` (see `page`). WAL with `synchronous=FULL`: what a commit returned is on disk.
//!
//! Tables of large values have a rowid: in one without, SQLite reads the whole row to compare its key, and a commit would read
//! the chunks of many blocks before.
//!
//! What no digest of the rows covers (facts, transcripts) bears a checksum, which is checked at every reading.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, config::DbConfig, ffi, params};
use serde::{Deserialize, Serialize};

use crate::{
    fault::HostFault,
    id::{BlockHeight, BundleId, CrankNum, DeliveryNum, VatId},
    store::{
        codec,
        disk::Disk,
        hash::{Digest, StateHash},
        pace::Pace,
        page, sqlite, vfs,
    },
};

/// The layout of the file and of its records: what they hold, beside how they are written (`codec::FORMAT`, which is hashed). A state
/// of another one is refused.
pub(super) const SCHEMA: u32 = 4;
/// How many blocks back two states can be compared: a few weeks of them, in less than a megabyte.
pub const BLOCKS_KEPT: u64 = 10_000;
/// How much is kept of the chained hash after each crank: enough to tell where two states parted.
pub const CRANK_HASH_BYTES: usize = 8;
pub(super) const FILE: &str = "state.sqlite";
const LOCK: &str = "lock";
/// Statements that are kept prepared: more than a block uses, or each would be prepared anew for every block.
const STATEMENTS: usize = 64;
/// How long a reader waits for a host that is at its files.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(5);

/// The facts about a state that stand outside its tables.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Meta {
    /// The engine (wasmtime, its configuration, cost table, load pass) that ran the vats.
    pub engine: String,
    /// The digest of the scenario that the state was made from.
    pub scenario: String,
    /// The chained hash at the last committed block.
    pub state_hash: StateHash,
    /// The digest of the rows at the last committed block.
    pub digest: Digest,
    /// Whether it was made for experiments: no state of a real machine is.
    pub experimental: bool,
    /// Whether the last block is still open: it was interrupted, and more of its cranks are to follow.
    pub open: bool,
    /// Cranks of the open block.
    pub cranks: u64,
    /// Fuel of the open block.
    pub fuel: u64,
    /// How its blocks are cut, once one was.
    pub pace: Option<Pace>,
}

/// Where the chain stood at the end of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockMark {
    /// Which block.
    pub height: BlockHeight,
    /// The first crank after it.
    pub next_crank: CrankNum,
    /// The chained hash.
    pub state_hash: StateHash,
}

/// Where a database is, and how its log is doing: nothing of one that no commit goes to but in memory, or that is only read.
#[derive(Debug, Default)]
struct Home {
    dir: PathBuf,
    copying: Option<sqlite::Copying>,
}

/// An open state.
#[derive(Debug)]
pub struct Database {
    pub(super) connection: Connection,
    /// What it uses where its disk may fail; dropped after it.
    _vfs: Option<vfs::Registered>,
    home: Home,
    /// Held for as long as the database is open; the system frees it however the process ends.
    _lock: Option<Lock>,
}

pub(super) fn fault(what: &str) -> impl Fn(rusqlite::Error) -> HostFault + '_ {
    move |err| HostFault::new(what, err)
}

/// What failed, and what the system said of it, where it is a matter of files. Nothing is tried again: neither the sync nor, when the
/// connection is closed, anything else.
fn failure(connection: &Connection, what: &str, err: &rusqlite::Error) -> HostFault {
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    let is_io = matches!(err.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen));
    let errno = sqlite::system_errno(connection).filter(|_| is_io).map(io::Error::from_raw_os_error);
    let operation = err.sqlite_error().and_then(|it| operation(it.extended_code));
    let why = [Some(err.to_string()), operation.map(str::to_owned), errno.map(|it| it.to_string())];
    HostFault::new(what, why.into_iter().flatten().collect::<Vec<_>>().join(": "))
}

/// From now on what a commit returned is on disk.
pub(super) fn make_durable(connection: &Connection, what: &str) -> Result<(), HostFault> {
    let failed = |err| failure(connection, what, &err);
    // To its end: the error of a sync comes behind the row, where `execute_batch` does not look.
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut mode = String::new();
    while let Some(row) = rows.next().map_err(failed)? {
        mode = row.get(0).map_err(failed)?;
    }
    if mode != "wal" {
        return Err(HostFault::new(what, format_args!("its journal stays in mode `{mode}`")));
    }
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -16000;").map_err(failed)
}

/// The checksum of one row: of each part, behind its length.
fn checksum(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes()
}

fn transcript_checksum(vat: VatId, first: DeliveryNum, entries: &[u8]) -> [u8; 32] {
    checksum(&[&vat.0.to_le_bytes(), &first.0.to_le_bytes(), entries])
}

const DAMAGED: &str = "its bytes do not have its checksum: the state is damaged";

/// The lock on a folder. Given back expressly: a process that is just being started shares the file until it has begun.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Keeps hosts from starting on this folder, if none runs there; `None` where one does.
    pub(super) fn share(dir: &Path) -> Result<Option<Lock>, HostFault> {
        let what = format!("look into `{}`", dir.display());
        // A state that no host ever opened has no lock. Its folder, which none can do without, does as well.
        let file = File::open(dir.join(LOCK)).or_else(|_| File::open(dir)).map_err(|err| HostFault::new(&what, err))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(err)) => Err(HostFault::new(&what, err)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where that fails, closing the file gives it back.
        let _ = self.0.unlock();
    }
}

impl Database {
    /// A database in memory: gone when dropped.
    pub fn memory(tables: &[&'static str]) -> Result<Database, HostFault> {
        let connection = Connection::open_in_memory().map_err(fault("open a database in memory"))?;
        let database = Database { connection, _vfs: None, home: Home::default(), _lock: None };
        database.create(tables)?;
        Ok(database)
    }

    /// A new database in this file, to be filled and then put in its place. A crash meanwhile may leave anything in it.
    pub fn draft(path: &Path, tables: &[&'static str]) -> Result<Database, HostFault> {
        let what = format!("write `{}`", path.display());
        let connection = Connection::open(path).map_err(fault(&what))?;
        connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").map_err(fault(&what))?;
        let database = Database { connection, _vfs: None, home: Home::default(), _lock: None };
        database.create(tables)?;
        Ok(database)
    }

    /// Opens the state in this folder, or makes one. Refused while another process has it open.
    pub fn open(dir: &Path, tables: &[&'static str]) -> Result<Database, HostFault> {
        Database::open_on(dir, tables, None)
    }

    /// The same, on a disk that may fail: for experiments.
    pub fn open_on(dir: &Path, tables: &[&'static str], disk: Option<&Disk>) -> Result<Database, HostFault> {
        let what = format!("open the state `{}`", dir.display());
        make_folder(dir).map_err(|err| HostFault::new(&what, err))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK))
            .map_err(|err| HostFault::new(&what, err))?;
        lock.try_lock().map_err(|err| match err {
            TryLockError::WouldBlock => HostFault::new(&what, "another process has it open"),
            TryLockError::Error(err) => HostFault::new(&what, err),
        })?;
        let lock = Lock(lock);
        force_log(dir, disk).map_err(|err| HostFault::new(&what, err))?;
        let vfs = disk.map(vfs::Registered::new).transpose()?;
        let path = dir.join(FILE);
        let connection = match &vfs {
            None => Connection::open(path),
            Some(vfs) => Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs.name()),
        };
        let connection = connection.map_err(fault(&what))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let home = Home { dir: dir.to_owned(), copying: None };
        let mut database = Database { connection, _vfs: vfs, home, _lock: Some(lock) };
        make_durable(&database.connection, &what)?;
        database.home.copying = Some(sqlite::Copying::on(&database.connection));
        database.create(tables)?;
        Ok(database)
    }

    /// Opens the state in this folder to look at it: also while another process runs it.
    pub fn open_read_only(dir: &Path) -> Result<Database, HostFault> {
        let what = format!("open the state `{}`", dir.display());
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(HostFault::new(&what, "there is no state there"));
        }
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .map_err(fault(&what))?;
        connection.busy_timeout(BUSY_MAX).map_err(fault(&what))?;
        let database = Database { connection, _vfs: None, home: Home::default(), _lock: None };
        database.check_schema()?;
        // One snapshot for all that is read, whatever a running host commits meanwhile.
        database.connection.execute_batch("BEGIN").map_err(fault(&what))?;
        Ok(database)
    }

    /// Bytes of the log that a reader keeps from being copied into the file.
    pub fn held_bytes(&self) -> u64 {
        self.home.copying.as_ref().map_or(0, sqlite::Copying::held_pages) * sqlite::PAGE_BYTES
    }

    /// Whether there is a state in this folder.
    pub fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    fn create(&self, tables: &[&'static str]) -> Result<(), HostFault> {
        if self.schema()? != 0 {
            return self.check_schema();
        }
        let mut sql = String::from(
            "BEGIN;
             CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 0), value BLOB NOT NULL, checksum BLOB NOT NULL);
             CREATE TABLE bundle (hash BLOB PRIMARY KEY, wasm BLOB NOT NULL);
             CREATE TABLE transcript (vat INTEGER, first INTEGER, entries BLOB NOT NULL, checksum BLOB NOT NULL,
                                      PRIMARY KEY (vat, first));
             CREATE TABLE block (height INTEGER PRIMARY KEY, next_crank INTEGER NOT NULL, state_hash BLOB NOT NULL);
             CREATE TABLE crank_hash (first INTEGER PRIMARY KEY, hashes BLOB NOT NULL);",
        );
        sql += page::LAYOUT;
        for table in tables {
            sql += &format!("CREATE TABLE \"{table}\" (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;");
        }
        sql += &format!("PRAGMA user_version = {SCHEMA}; COMMIT;");
        self.connection.execute_batch(&sql).map_err(|err| self.failed("lay out a new state", &err))
    }

    fn failed(&self, what: &str, err: &rusqlite::Error) -> HostFault {
        failure(&self.connection, &placed(what, &self.home.dir), err)
    }

    fn schema(&self) -> Result<u32, HostFault> {
        self.connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|err| self.failed("read the schema version", &err))
    }

    fn check_schema(&self) -> Result<(), HostFault> {
        match self.schema()? {
            SCHEMA => Ok(()),
            0 => Err(HostFault::new(
                "open the state",
                "nothing is in it yet: a host began to lay it out, and was stopped; `vathost run SCENARIO --state DIR` begins anew",
            )),
            other => Err(HostFault::new(
                "open the state",
                format!(
                    "it has schema version {other}, this binary knows {SCHEMA}: use the version of vathost that wrote it"
                ),
            )),
        }
    }

    /// The facts; `None` in a state that has no committed block yet.
    pub fn meta(&self) -> Result<Option<Meta>, HostFault> {
        let what = "read the state's facts";
        let row: Option<(Vec<u8>, Vec<u8>)> = self
            .connection
            .query_row("SELECT value, checksum FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(fault(what))?;
        let Some((value, sum)) = row else { return Ok(None) };
        if sum != checksum(&[&value]) {
            return Err(HostFault::new(what, DAMAGED));
        }
        codec::decode(&value).map(Some)
    }

    /// Hands every row of a table to `take`.
    pub fn load(
        &self,
        table: &str,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        let what = format!("read table `{table}`");
        let mut statement =
            self.connection.prepare(&format!("SELECT key, value FROM \"{table}\"")).map_err(fault(&what))?;
        let mut rows = statement.query([]).map_err(fault(&what))?;
        while let Some(row) = rows.next().map_err(fault(&what))? {
            let blob = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
            take(blob(0).map_err(fault(&what))?, blob(1).map_err(fault(&what))?)?;
        }
        Ok(())
    }

    /// The wasm of a bundle, checked against its hash.
    pub fn bundle(&self, id: BundleId) -> Result<Vec<u8>, HostFault> {
        let what = format!("read bundle {id}");
        let wasm: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT wasm FROM bundle WHERE hash = ?", [id.0], |row| row.get(0))
            .optional()
            .map_err(fault(&what))?;
        let wasm = wasm.ok_or_else(|| HostFault::new(&what, "the state does not hold it"))?;
        if BundleId::of(&wasm) != id {
            return Err(HostFault::new(&what, "its bytes do not have this hash: the state is damaged"));
        }
        Ok(wasm)
    }

    /// The hash under which each stored bundle stands.
    pub fn bundles(&self) -> Result<Vec<BundleId>, HostFault> {
        let what = "read the bundles";
        let mut statement = self.connection.prepare("SELECT hash FROM bundle ORDER BY hash").map_err(fault(what))?;
        let rows = statement.query_map([], |row| row.get(0).map(BundleId)).map_err(fault(what))?;
        rows.collect::<Result<_, _>>().map_err(fault(what))
    }

    /// The last blocks, oldest first.
    pub fn blocks(&self) -> Result<Vec<BlockMark>, HostFault> {
        let what = "read the last blocks";
        let sql = "SELECT height, next_crank, state_hash FROM block ORDER BY height";
        let mut statement = self.connection.prepare(sql).map_err(fault(what))?;
        let rows = statement.query_map([], |row| {
            Ok(BlockMark {
                height: BlockHeight(row.get::<_, i64>(0)?.cast_unsigned()),
                next_crank: CrankNum(row.get::<_, i64>(1)?.cast_unsigned()),
                state_hash: StateHash(row.get(2)?),
            })
        });
        rows.map_err(fault(what))?.collect::<Result<_, _>>().map_err(fault(what))
    }

    /// The beginning of the chained hash after each crank of the last blocks.
    pub fn crank_hashes(&self) -> Result<BTreeMap<CrankNum, [u8; CRANK_HASH_BYTES]>, HostFault> {
        let what = "read the hashes of the last cranks";
        let sql = "SELECT first, hashes FROM crank_hash ORDER BY first";
        let mut statement = self.connection.prepare(sql).map_err(fault(what))?;
        let mut rows = statement.query([]).map_err(fault(what))?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next().map_err(fault(what))? {
            let read = || Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, Vec<u8>>(1)?));
            let (first, hashes) = read().map_err(fault(what))?;
            found.extend((first..).map(CrankNum).zip(hashes.as_chunks().0.iter().copied()));
        }
        Ok(found)
    }

    /// The vats that have a transcript.
    pub fn transcribed(&self) -> Result<Vec<VatId>, HostFault> {
        let what = "read the transcripts";
        let mut statement =
            self.connection.prepare("SELECT DISTINCT vat FROM transcript ORDER BY vat").map_err(fault(what))?;
        let rows = statement.query_map([], |row| Ok(VatId(row.get::<_, i64>(0)?.cast_unsigned())));
        rows.map_err(fault(what))?.collect::<Result<_, _>>().map_err(fault(what))
    }

    /// The transcript chunks of a vat that hold deliveries from `from` on, each with the number of its first delivery.
    pub fn transcript(&self, vat: VatId, from: DeliveryNum) -> Result<Vec<(DeliveryNum, Vec<u8>)>, HostFault> {
        let what = format!("read the transcript of {vat}");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT first, entries, checksum FROM transcript WHERE vat = ?1 AND first >=
                 coalesce((SELECT max(first) FROM transcript WHERE vat = ?1 AND first <= ?2), 0) ORDER BY first",
            )
            .map_err(fault(&what))?;
        let mut rows = statement.query(params![vat.0.cast_signed(), from.0.cast_signed()]).map_err(fault(&what))?;
        let mut chunks = Vec::new();
        while let Some(row) = rows.next().map_err(fault(&what))? {
            let read = || Ok((DeliveryNum(row.get::<_, i64>(0)?.cast_unsigned()), row.get(1)?, row.get(2)?));
            let (first, entries, sum): (_, Vec<u8>, Vec<u8>) = read().map_err(fault(&what))?;
            if sum != transcript_checksum(vat, first, &entries) {
                return Err(HostFault::new(format_args!("{what} from {first}"), DAMAGED));
            }
            chunks.push((first, entries));
        }
        Ok(chunks)
    }

    /// Begins the one transaction of a block. Dropping it undoes it.
    pub fn transaction(&mut self) -> Result<Transaction<'_>, HostFault> {
        let Database { connection, home, .. } = self;
        connection.transaction().map(|it| Transaction(it, home)).map_err(fault("begin a transaction"))
    }
}

/// What is done, and to the state in which folder.
fn placed(what: &str, dir: &Path) -> String {
    match dir.as_os_str().is_empty() {
        true => what.to_owned(),
        false => format!("{what} (the state `{}`)", dir.display()),
    }
}

/// Makes a folder, so that it is there after a loss of power: SQLite sees to the names in it, but not to its own.
fn make_folder(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    match std::path::absolute(dir)?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes the log that a host left behind when it was stopped over itself, and syncs it. Where its last sync had failed the system
/// shows what was written, holds it for synced, and would lose it with the power, together with every block after it.
fn force_log(dir: &Path, disk: Option<&Disk>) -> io::Result<()> {
    let path = std::fs::canonicalize(dir)?.join(format!("{FILE}-wal"));
    let bytes = match std::fs::read(&path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut log = OpenOptions::new().write(true).open(&path)?;
    log.write_all(&bytes)?;
    log.sync_all()?;
    if let Some(disk) = disk {
        disk.forced(&path, &bytes);
    }
    Ok(())
}

/// The operation on a file that an error of SQLite's is about, where it says.
fn operation(extended_code: i32) -> Option<&'static str> {
    match extended_code {
        ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ => Some("read"),
        ffi::SQLITE_IOERR_WRITE => Some("write"),
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => Some("sync"),
        ffi::SQLITE_IOERR_TRUNCATE => Some("truncate"),
        ffi::SQLITE_IOERR_DELETE => Some("delete"),
        _ => None,
    }
}

/// The rows of one table that a block changed.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the key of each ends, and where its value, if there still is one.
    ends: Vec<(usize, Option<usize>)>,
}

impl Batch {
    /// Adds a row: `value` is what it is now, `None` where it is gone.
    pub(super) fn add(&mut self, key: &impl codec::Key, value: Option<&[u8]>) {
        key.write(&mut self.bytes);
        let key = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.ends.push((key, value.map(|_| self.bytes.len())));
    }

    /// Whether none changed.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The rows, each as its key and its value; `None` where it is gone.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut begin = 0;
        self.ends.iter().map(move |&(key, value)| {
            let row = (&self.bytes[begin..key], value.map(|end| &self.bytes[key..end]));
            begin = value.unwrap_or(key);
            row
        })
    }
}

/// What takes a block's changed rows.
pub trait Rows {
    /// Of this table.
    fn write(&mut self, table: &'static str, batch: &Batch) -> Result<(), HostFault>;
}

/// The open transaction of a block.
#[derive(Debug)]
pub struct Transaction<'a>(pub(super) rusqlite::Transaction<'a>, &'a Home);

impl<'a> Transaction<'a> {
    /// How many rows it changed.
    pub(super) fn execute(&self, what: &str, sql: &str, params: impl rusqlite::Params) -> Result<usize, HostFault> {
        let run = || self.0.prepare_cached(sql)?.execute(params);
        run().map_err(|err| self.failed(what, &err))
    }

    /// Replaces the facts.
    pub fn put_meta(&self, meta: &Meta) -> Result<(), HostFault> {
        let mut bytes = Vec::new();
        codec::encode(meta, &mut bytes)?;
        let sum = checksum(&[&bytes]);
        self.execute("write the state's facts", "INSERT OR REPLACE INTO meta VALUES (0, ?, ?)", params![bytes, sum])
            .map(drop)
    }

    /// Notes where the chain stands at the end of a block, and forgets a block of long ago.
    pub fn put_block(&self, mark: &BlockMark) -> Result<(), HostFault> {
        let (height, crank) = (mark.height.0.cast_signed(), mark.next_crank.0.cast_signed());
        let sql = "INSERT OR REPLACE INTO block VALUES (?, ?, ?)";
        self.execute("write a block's hash", sql, params![height, crank, mark.state_hash.0])?;
        let last = height.saturating_sub_unsigned(BLOCKS_KEPT);
        self.execute("forget a block's hash", "DELETE FROM block WHERE height <= ?", [last]).map(drop)
    }

    /// Notes the hashes of the cranks before this one, and forgets those of blocks that are forgotten.
    pub fn put_crank_hashes(&self, next: CrankNum, hashes: &[u8]) -> Result<(), HostFault> {
        if hashes.is_empty() {
            return Ok(());
        }
        let first = next.0.cast_signed().saturating_sub_unsigned((hashes.len() / CRANK_HASH_BYTES) as u64);
        self.execute(
            "write the hashes of cranks",
            "INSERT OR REPLACE INTO crank_hash VALUES (?, ?)",
            params![first, hashes],
        )?;
        let sql = "DELETE FROM crank_hash WHERE first < (SELECT next_crank FROM block ORDER BY height LIMIT 1)";
        self.execute("forget the hashes of cranks", sql, []).map(drop)
    }

    /// Stores a bundle, once.
    pub fn put_bundle(&self, id: BundleId, wasm: &[u8]) -> Result<(), HostFault> {
        self.execute("write a bundle", "INSERT OR IGNORE INTO bundle VALUES (?, ?)", params![id.0, wasm]).map(drop)
    }

    /// Appends chunks to the vats' transcripts: all that `each` hands over.
    pub fn put_transcripts(
        &self,
        each: impl FnOnce(&mut dyn FnMut(VatId, DeliveryNum, &[u8]) -> Result<(), HostFault>) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        let failed = |err| self.failed("write a transcript", &err);
        let mut insert = self.0.prepare_cached("INSERT INTO transcript VALUES (?, ?, ?, ?)").map_err(failed)?;
        each(&mut |vat, first, entries| {
            let sum = transcript_checksum(vat, first, entries);
            let row = params![vat.0.cast_signed(), first.0.cast_signed(), entries, sum];
            insert.execute(row).map(drop).map_err(failed)
        })
    }

    /// Removes a vat's transcript.
    pub fn delete_transcript(&self, vat: VatId) -> Result<(), HostFault> {
        self.execute("remove a transcript", "DELETE FROM transcript WHERE vat = ?", [vat.0.cast_signed()]).map(drop)
    }

    /// Makes it durable. An error says nothing of whether it is: the next who opens the state finds it as it was, or as it is to be.
    pub fn commit(self) -> Result<(), HostFault> {
        // Not `rusqlite`'s own commit, which takes the connection away before it can be asked what the system said.
        self.0.execute_batch("COMMIT").map_err(|err| self.failed("commit a block", &err))?;
        match self.1.copying.as_ref().and_then(sqlite::Copying::error) {
            None => Ok(()),
            Some(err) => Err(self.failed("copy the log", &err)),
        }
    }

    fn failed(&self, what: &str, err: &rusqlite::Error) -> HostFault {
        failure(&self.0, &placed(what, &self.1.dir), err)
    }
}

impl Rows for Transaction<'_> {
    fn write(&mut self, table: &'static str, batch: &Batch) -> Result<(), HostFault> {
        let run = || {
            let mut put = self.0.prepare_cached(&format!("INSERT OR REPLACE INTO \"{table}\" VALUES (?, ?)"))?;
            let mut delete = self.0.prepare_cached(&format!("DELETE FROM \"{table}\" WHERE key = ?"))?;
            batch.rows().try_for_each(|(key, value)| match value {
                Some(value) => put.execute(params![key, value]).map(drop),
                None => delete.execute([key]).map(drop),
            })
        };
        run().map_err(|err| self.failed(table, &err))
    }
}
