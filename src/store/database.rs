//! The SQLite file of a state: one writer, one durable transaction a block.
//!
//! Layout: `meta` (one row of facts about the state), one table of `(key, value)` for each table of the kernel,
//! `bundle` (wasm by hash), `transcript` (see `history`), `tail` (see `tail`), `block` and `crank_mark` (see `mark`), `snapshot` and `page`
//! (see `page`), `pruned` (see `prune`), `vatstore_sum` (see `sum`), `beside` (see `beside`). WAL with `synchronous=FULL`: what a commit returned is on
//! disk.
//!
//! Tables of large values have a rowid (see [`TableLayout`]): in one without, SQLite reads the whole row to compare its
//! key, and a commit would read the chunks of many blocks before.
//!
//! Every row bears a checksum, or stands under its hash; what the facts attest of all of them is in `proof`.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, config::DbConfig, ffi, params};
use serde::{Deserialize, Serialize};

use crate::{
    model::{blame::HostFault, id::BundleId},
    store::{
        beside, codec,
        connection::{Begun, ReaderTraces, SharedConnection},
        files::{RegisteredVfs, StateFiles},
        fold::CrankMark,
        hash::{Chain, Digest, RowHash, StateHash},
        history, log, mark,
        pace::Pace,
        page, private,
        proof::{DAMAGED, Proof, StoredRow},
        prune,
        row_file::{BEGINNING, RowFile},
        span::SpanFolder,
        sqlite, sum, tail,
        upgrade::{self, UpgradeWatch},
    },
};

/// The version of the layout of the file, and of the records in its rows: a state of another one is refused, and not taken
/// for a damaged one. So it is raised with every field that a record gains or loses, and with the canonical encoding
/// (see `canon`), of which the checksums are. How records are stored is [`codec::FORMAT`], and in no hash.
pub(super) const SCHEMA: u32 = 11;
pub(super) const FILE: &str = "state.sqlite";
/// The name that SQLite gives its log.
pub(super) const LOG: &str = "state.sqlite-wal";
/// The name that SQLite gives the index of its log.
pub(super) const INDEX: &str = "state.sqlite-shm";
const LOCK: &str = "lock";
/// Statements that are kept prepared: more than a block uses, or each would be prepared anew for every block.
const STATEMENTS: usize = 64;
/// Has SQLite look at the cells of a page before it uses it: a damaged one is an error then, rather than other rows.
const WARY: &str = "PRAGMA cell_size_check = ON;";
/// The longest time that a reader waits for a host that is using the files.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(5);

/// The facts about a state that stand outside its tables.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Meta {
    /// The runtime that last ran the vats, in no hash; empty in a state in which nothing was committed yet.
    pub runtime: String,
    /// The digest of the scenario that the state was made from.
    pub scenario: String,
    /// The state hash at the last commit.
    pub state_hash: StateHash,
    /// What the state hash is made of, besides the rows.
    pub chain: Chain,
    /// The mark of the last crank.
    pub mark: CrankMark,
    /// The mark of what was done since, outside of a crank.
    pub since: CrankMark,
    /// The digest of the rows at the last committed block.
    pub digest: Digest,
    /// Set if it was made for experiments: no state of a real machine is.
    pub experimental: bool,
    /// Set if the last block is still open: it was interrupted, and more of its cranks are to follow.
    pub open: bool,
    /// Cranks of the open block.
    pub cranks: u64,
    /// Fuel of the open block.
    pub fuel: u64,
    /// The pace at which its blocks are cut, once one was.
    pub pace: Option<Pace>,
    /// The proof of every table.
    pub proof: Proof,
}

impl Meta {
    /// The state has this hash now: at the end of the block, or of what was run of it.
    pub(crate) fn end(&mut self, hash: StateHash, is_closed: bool) {
        (self.state_hash, self.open) = (hash, !is_closed);
        if is_closed {
            (self.cranks, self.fuel) = (0, 0);
            self.chain.close(hash);
        }
    }
}

/// The place of a database, and how its log is doing: nothing of one that no commit goes to but in memory, or that is only
/// read.
#[derive(Clone, Debug, Default)]
pub(super) struct Home {
    pub(super) dir: PathBuf,
    pub(super) copying: Option<sqlite::Copying>,
    /// Whether each transaction leaves the record by which it can be undone.
    undoes: bool,
    /// The archive from which the deliveries are read that have left.
    pub(super) archive: Option<SpanFolder>,
    /// Who watches while the state is brought to this layout.
    pub(super) upgrade_watch: Option<UpgradeWatch>,
}

impl Home {
    fn damaged(&self, what: impl fmt::Display, why: impl fmt::Display, table: &str) -> HostFault {
        match self.dir.as_os_str().is_empty() {
            true => HostFault::damage(what, format_args!("{why} (table `{table}`)")),
            false => {
                HostFault::damage(what, format_args!("{why} (table `{table}` of `{}`)", self.dir.join(FILE).display()))
            }
        }
    }
}

/// The database of an open state.
#[derive(Debug)]
pub struct Database {
    pub(super) connection: SharedConnection,
    /// The same connection, for tables that are not in memory as a whole.
    pub(crate) file: RowFile,
    pub(super) home: Home,
    /// What was done to have it, for a caller that cannot continue with it.
    opening: String,
    /// Held for as long as the database is open, or a commit of it is being written; the system frees it however the process ends.
    pub(super) lock: Option<Arc<Lock>>,
}

pub(super) fn fault(what: &str) -> impl Fn(rusqlite::Error) -> HostFault + '_ {
    move |err| blamed(what, &err, &err)
}

/// What failed, and what can be done where SQLite finds its own file to be damaged.
fn blamed(what: &str, err: &rusqlite::Error, why: impl fmt::Display) -> HostFault {
    match err.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => HostFault::damage(what, why),
        _ => HostFault::new(what, why),
    }
}

/// Makes the fault of what failed, with what the system said of it, where it is a matter of files. Nothing is tried again: neither the
/// sync nor, when the connection is closed, anything else.
pub(super) fn failure(connection: &Connection, what: &str, err: &rusqlite::Error) -> HostFault {
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    let is_io = matches!(err.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen));
    let errno = sqlite::system_errno(connection).filter(|_| is_io).map(io::Error::from_raw_os_error);
    let operation = err.sqlite_error().and_then(|it| operation(it.extended_code));
    let why = [Some(err.to_string()), operation.map(str::to_owned), errno.map(|it| it.to_string())];
    blamed(what, err, why.into_iter().flatten().collect::<Vec<_>>().join(": "))
}

/// Makes commits durable from now on: once a commit has returned, it is on disk.
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
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -16000;").map_err(failed)?;
    connection.execute_batch(WARY).map_err(failed)
}

/// Bytes that the facts take, at most, but for long names: they are written with each block.
const META_BYTES: usize = 4 << 10;

/// The checksum of the facts.
fn meta_checksum(value: &[u8]) -> i64 {
    RowHash::of_parts("meta", &[value]).checksum()
}

/// One table of the kernel, as it is laid out in the file.
///
/// Without a rowid SQLite keeps a row in its key's page, and what is longer than a quarter of a page in pages of its own. That is
/// the smallest for rows of up to some 200 bytes. A row of 1 KiB takes 4,689 bytes so, and 1,405 in a table with a rowid beside an
/// index, which a quarter of the time writes and reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableLayout {
    /// The name of the table.
    pub name: &'static str,
    /// Whether its values may be long, as those of a vatstore: then it has a rowid.
    pub has_long_values: bool,
    /// Whether its rows are also found by their values, but for the last byte of each.
    pub has_value_index: bool,
}

/// Returns the schema of the file: a statement for each of its tables.
fn layout(tables: &[TableLayout]) -> String {
    let mut sql = String::from(
        "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 0), value BLOB NOT NULL, checksum INTEGER NOT NULL);
         CREATE TABLE bundle (hash BLOB PRIMARY KEY, wasm BLOB NOT NULL);",
    );
    sql += beside::LAYOUT;
    sql += history::LAYOUT;
    sql += mark::LAYOUT;
    sql += page::LAYOUT;
    sql += prune::LAYOUT;
    sql += sum::LAYOUT;
    sql += tail::LAYOUT;
    for TableLayout { name, has_long_values, has_value_index } in tables {
        // Without a rowid the value stands right behind the key: it is read with it, and compared.
        let kind = if *has_long_values { "" } else { " WITHOUT ROWID" };
        sql += &format!("CREATE TABLE \"{name}\" {ROW_COLUMNS}{kind};");
        if *has_value_index {
            sql += &value_index(name);
        }
    }
    sql
}

/// Returns the statement that makes the index of a table on its values.
pub(super) fn value_index(table: &str) -> String {
    format!("CREATE INDEX {table}_value ON {table} ({BEGINNING});")
}

/// The columns of a table of the kernel's.
pub(super) const ROW_COLUMNS: &str = "(key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL)";

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

fn database_on(connection: SharedConnection, home: Home, opening: String, lock: Option<Lock>) -> Database {
    let file = RowFile::new(connection.clone(), home.dir.clone());
    Database { connection, file, home, opening, lock: lock.map(Arc::new) }
}

impl Database {
    /// Makes a database in memory, which is gone when dropped.
    pub fn memory(tables: &[TableLayout]) -> Result<Database, HostFault> {
        let connection = Connection::open_in_memory().map_err(fault("open a database in memory"))?;
        let opening = "read the state in memory".to_owned();
        let database = database_on(SharedConnection::new(connection, None), Home::default(), opening, None);
        database.create(tables)?;
        Ok(database)
    }

    /// Makes a new database in this file, to be filled and then put in its place. A crash meanwhile may leave anything
    /// in it.
    pub fn draft(path: &Path, tables: &[TableLayout]) -> Result<Database, HostFault> {
        let what = format!("write `{}`", path.display());
        private::make_file(path).map_err(|err| HostFault::new(&what, err))?;
        let connection = Connection::open(path).map_err(fault(&what))?;
        connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").map_err(fault(&what))?;
        let database = database_on(SharedConnection::new(connection, None), Home::default(), what, None);
        database.create(tables)?;
        Ok(database)
    }

    /// Opens the state in this folder, or makes one. Refused while another process has it open.
    pub fn open(dir: &Path, tables: &[TableLayout]) -> Result<Database, HostFault> {
        Database::open_on(dir, tables, None, None)
    }

    /// Opens a state whose files SQLite reaches in another way than its own, if one is given. A state of the layout before this one is
    /// brought to this one, and the watch sees it.
    pub fn open_on(
        dir: &Path,
        tables: &[TableLayout],
        files: Option<&dyn StateFiles>,
        upgrade_watch: Option<UpgradeWatch>,
    ) -> Result<Database, HostFault> {
        let what = format!("open the state `{}`", dir.display());
        private::make_folder(dir).map_err(|err| HostFault::new(&what, err))?;
        let lock = private::open_file(&dir.join(LOCK)).map_err(|err| HostFault::new(&what, err))?;
        lock.try_lock().map_err(|err| match err {
            TryLockError::WouldBlock => HostFault::new(&what, "another process has it open"),
            TryLockError::Error(err) => HostFault::new(&what, err),
        })?;
        let lock = Lock(lock);
        if let Some(bytes) = force_log(dir, files).map_err(|err| HostFault::new(&what, err))? {
            prove_log(dir, &bytes).map_err(|err| err.within(&what))?;
        }
        let vfs = files.map(|it| it.register()).transpose()?;
        let path = dir.join(FILE);
        close_files(dir).map_err(|err| HostFault::new(&what, err))?;
        let connection = match &vfs {
            None => Connection::open(path),
            Some(vfs) => Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs.name()),
        };
        let connection = connection.map_err(fault(&what))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let home = Home { dir: dir.to_owned(), upgrade_watch, ..Home::default() };
        let mut database = database_on(SharedConnection::new(connection, vfs), home, what, Some(lock));
        make_durable(&database.connection.lock(), &database.opening)?;
        database.home.copying = Some(sqlite::Copying::on(&database.connection.lock()));
        upgrade::upgrade(&mut database)?;
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
        let read = || read_log(&dir.join(LOG)).map_err(|err| HostFault::new(&what, err));
        // The log of a host that runs changes while it is read: only of one that none appends to anything can be said.
        if read()?.is_some_and(|it| prove_log(dir, &it).is_err())
            && let Some(_held) = Lock::share(dir)?
            && let Some(bytes) = read()?
        {
            prove_log(dir, &bytes).map_err(|err| err.within(&what))?;
        }
        let traces = ReaderTraces::of(dir);
        let database = Database::open_file(&path, OpenFlags::SQLITE_OPEN_READ_ONLY, what)?;
        database.connection.leave_no_traces(traces);
        // One snapshot for all that is read, whatever a running host commits meanwhile.
        database.connection.lock().execute_batch("BEGIN").map_err(fault(&database.opening))?;
        Ok(database)
    }

    /// Opens the state in this file as it is; `opening` is what is done with it, for people.
    pub(super) fn open_file(path: &Path, flags: OpenFlags, opening: String) -> Result<Database, HostFault> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(fault(&opening))?;
        connection.busy_timeout(BUSY_MAX).map_err(fault(&opening))?;
        connection.execute_batch(WARY).map_err(fault(&opening))?;
        let database = database_on(SharedConnection::new(connection, None), Home::default(), opening, None);
        database.check_schema()?;
        Ok(database)
    }

    /// Returns what was done to open the state, with its folder, for error messages.
    pub fn opening(&self) -> &str {
        &self.opening
    }

    /// Bytes of the log that a reader keeps from being copied into the file.
    pub fn held_bytes(&self) -> u64 {
        self.home.copying.as_ref().map_or(0, sqlite::Copying::held_pages) * sqlite::PAGE_BYTES
    }

    /// Returns whether it is in a file, and not in memory.
    pub fn is_in_a_file(&self) -> bool {
        self.connection.lock().path().is_some_and(|it| !it.is_empty())
    }

    /// Returns whether there is a state in this folder.
    pub fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    fn create(&self, tables: &[TableLayout]) -> Result<(), HostFault> {
        if self.schema()? != 0 {
            return self.check_schema();
        }
        let sql = format!("BEGIN; {} PRAGMA user_version = {SCHEMA}; COMMIT;", layout(tables));
        self.connection.lock().execute_batch(&sql).map_err(|err| self.failed("lay out a new state", &err))
    }

    /// Lists the tables, and what SQLite keeps with them, that are not as this version lays them out; one that it does
    /// not know is left alone.
    pub fn altered(&self, tables: &[TableLayout]) -> Result<Vec<String>, HostFault> {
        let made_by = |connection: &Connection| -> rusqlite::Result<BTreeMap<String, String>> {
            let mut statement = connection.prepare("SELECT name, coalesce(sql, tbl_name) FROM sqlite_schema")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let what = "read the layout of the file";
        let model = Connection::open_in_memory().map_err(fault(what))?;
        model.execute_batch(&layout(tables)).map_err(fault(what))?;
        let expected = made_by(&model).map_err(fault(what))?;
        let found = made_by(&self.connection.lock()).map_err(|err| self.failed(what, &err))?;
        Ok(expected.into_iter().filter(|(name, it)| found.get(name) != Some(it)).map(|(name, _)| name).collect())
    }

    pub(super) fn failed(&self, what: &str, err: &rusqlite::Error) -> HostFault {
        failure(&self.connection.lock(), &placed(what, &self.home.dir), err)
    }

    /// Makes the fault of a table whose rows are not what was written.
    pub(super) fn damaged(&self, what: impl fmt::Display, why: impl fmt::Display, table: &str) -> HostFault {
        self.home.damaged(what, why, table)
    }

    pub(super) fn schema(&self) -> Result<u32, HostFault> {
        self.connection
            .lock()
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
            before if upgrade::BEFORE.contains(&before) => Err(HostFault::new(
                "open the state",
                format!(
                    "it has schema version {before}, this binary reads {SCHEMA}: a host brings it there when it is started, and `vathost \
                     prune DIR` does too",
                ),
            )),
            other => Err(HostFault::new(
                "open the state",
                format!(
                    "it has schema version {other}, this binary reads and writes {SCHEMA}: run, inspect or export it with the version \
                     of vathost that made it"
                ),
            )),
        }
    }

    /// Reads the facts; `None` in a state that has no committed block yet.
    pub fn meta(&self) -> Result<Option<Meta>, HostFault> {
        let what = "read the state's facts";
        let row: Option<(Vec<u8>, i64)> = self
            .connection
            .lock()
            .query_row("SELECT value, checksum FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|err| self.failed(what, &err))?;
        let Some((value, sum)) = row else { return Ok(None) };
        if sum != meta_checksum(&value) {
            return Err(self.damaged(what, DAMAGED, "meta"));
        }
        codec::decode(&value).map(Some).map_err(|err| err.within(what))
    }

    /// Hands every row of a table to `take`.
    pub fn load(
        &self,
        table: &str,
        mut take: impl FnMut(&StoredRow<'_>) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        let what = format!("read table `{table}`");
        let failed = |err| self.failed(&what, &err);
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare(&format!("SELECT key, value, checksum FROM \"{table}\"")).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let blob = |at| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
            let (key, value) = (blob(0).map_err(failed)?, blob(1).map_err(failed)?);
            take(&StoredRow { key, value, checksum: row.get(2).map_err(failed)? })?;
        }
        Ok(())
    }

    /// Reads the wasm of a bundle, checked against its hash.
    pub fn bundle(&self, id: BundleId) -> Result<Vec<u8>, HostFault> {
        let what = format!("read bundle {id}");
        let wasm: Option<Vec<u8>> = self
            .connection
            .lock()
            .query_row("SELECT wasm FROM bundle WHERE hash = ?", [id.0], |row| row.get(0))
            .optional()
            .map_err(fault(&what))?;
        let Some(wasm) = wasm else {
            let archived = self.home.archive.as_ref().map_or(Ok(None), |it| it.bundle(id))?;
            let why = "the state does not hold it: it leaves when nothing runs it any more";
            return archived.ok_or_else(|| HostFault::new(&what, why));
        };
        if BundleId::of(&wasm) != id {
            return Err(self.damaged(&what, "its bytes do not have this hash", "bundle"));
        }
        Ok(wasm)
    }

    /// Lists the hashes of the stored bundles.
    pub fn bundles(&self) -> Result<Vec<BundleId>, HostFault> {
        let what = "read the bundles";
        let connection = self.connection.lock();
        let mut statement = connection.prepare("SELECT hash FROM bundle ORDER BY hash").map_err(fault(what))?;
        let rows = statement.query_map([], |row| row.get(0).map(BundleId)).map_err(fault(what))?;
        rows.collect::<Result<_, _>>().map_err(fault(what))
    }

    /// Begins the one transaction of a block. Dropping it undoes it.
    pub fn transaction(&mut self) -> Result<Transaction<'_>, HostFault> {
        begun(self.connection.begin(), &self.home)
    }

    pub(super) fn undoes(&self) -> bool {
        self.home.undoes
    }

    pub(super) fn set_undoes(&mut self, undoes: bool) {
        self.home.undoes = undoes;
    }
}

/// Makes the transaction of a block of one that was begun.
pub(super) fn begun<'a>(begun: rusqlite::Result<Begun<'a>>, home: &'a Home) -> Result<Transaction<'a>, HostFault> {
    let transaction = Transaction(begun.map_err(fault("begin a transaction"))?, home);
    if home.undoes {
        transaction.begin_undo()?;
    }
    Ok(transaction)
}

/// Opens the state that this connection reaches in a way of its own.
pub(super) fn over(
    connection: Connection,
    vfs: Box<dyn RegisteredVfs>,
    opening: String,
) -> Result<Database, HostFault> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(WARY).map_err(fault(&opening))?;
    let database = database_on(SharedConnection::new(connection, Some(vfs)), Home::default(), opening, None);
    database.check_schema()?;
    Ok(database)
}

/// Says what is done, and to the state in which folder.
pub(super) fn placed(what: &str, dir: &Path) -> String {
    match dir.as_os_str().is_empty() {
        true => what.to_owned(),
        false => format!("{what} (the state `{}`)", dir.display()),
    }
}

/// Closes a state's files to others, and makes the one that SQLite gives all others its mode from.
fn close_files(dir: &Path) -> io::Result<()> {
    private::make_file(&dir.join(FILE))?;
    private::close_to_others(&dir.join(LOG))?;
    private::close_to_others(&dir.join(INDEX))
}

/// Writes the log that a host left behind when it was stopped over itself, and syncs it. Where its last sync had
/// failed the system shows what was written, holds it for synced, and would lose it with the power, together with
/// every block after it.
fn force_log(dir: &Path, files: Option<&dyn StateFiles>) -> io::Result<Option<Vec<u8>>> {
    let path = std::fs::canonicalize(dir)?.join(LOG);
    let Some(bytes) = read_log(&path)? else { return Ok(None) };
    let mut log = OpenOptions::new().write(true).open(&path)?;
    log.write_all(&bytes)?;
    log.sync_all()?;
    if let Some(files) = files {
        files.forced(&path, &bytes);
    }
    Ok(Some(bytes))
}

/// Reads the bytes of a log, if there is one.
pub(super) fn read_log(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Checks that nothing is lost that a host left in its log.
pub(super) fn prove_log(dir: &Path, bytes: &[u8]) -> Result<(), HostFault> {
    match log::damage(bytes) {
        None => Ok(()),
        Some(why) => Err(HostFault::damage(format_args!("read the log `{}`", dir.join(LOG).display()), why)),
    }
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
    /// Where the key of each ends, and where its value, if there still is one, with the checksum of both.
    ends: Vec<(usize, Option<(usize, i64)>)>,
}

impl Batch {
    /// Adds a row: `value` is what it is now, with the row's checksum; `None` where it is gone.
    pub(super) fn add(&mut self, key: &impl codec::Key, value: Option<(&[u8], i64)>) {
        key.write(&mut self.bytes);
        let key = self.bytes.len();
        self.bytes.extend_from_slice(value.map(|(it, _)| it).unwrap_or_default());
        self.ends.push((key, value.map(|(_, checksum)| (self.bytes.len(), checksum))));
    }

    /// Returns whether no row changed.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Iterates over the rows, each as its key, and its value with the row's checksum; `None` if the row is gone.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], Option<(&[u8], i64)>)> {
        let mut begin = 0;
        self.ends.iter().map(move |&(key, value)| {
            let row = (&self.bytes[begin..key], value.map(|(end, checksum)| (&self.bytes[key..end], checksum)));
            begin = value.map_or(key, |(end, _)| end);
            row
        })
    }
}

/// A receiver of a block's changed rows.
pub trait Rows {
    /// Writes changed rows of one table.
    fn write(&mut self, table: &'static str, batch: Batch) -> Result<(), HostFault>;
}

/// Holds the rows of each table until they are written.
impl Rows for Vec<(&'static str, Batch)> {
    fn write(&mut self, table: &'static str, batch: Batch) -> Result<(), HostFault> {
        self.push((table, batch));
        Ok(())
    }
}

/// The open transaction of a block.
#[derive(Debug)]
pub struct Transaction<'a>(pub(super) Begun<'a>, &'a Home);

impl<'a> Transaction<'a> {
    /// Executes a statement, and returns how many rows it changed.
    pub(super) fn execute(&self, what: &str, sql: &str, params: impl rusqlite::Params) -> Result<usize, HostFault> {
        let run = || self.0.prepare_cached(sql)?.execute(params);
        run().map_err(|err| self.failed(what, &err))
    }

    /// Replaces the facts about the state.
    pub fn put_meta(&self, meta: &Meta) -> Result<(), HostFault> {
        let mut bytes = Vec::with_capacity(META_BYTES);
        codec::encode(meta, &mut bytes)?;
        let row = params![bytes, meta_checksum(&bytes)];
        self.execute("write the state's facts", "INSERT OR REPLACE INTO meta VALUES (0, ?, ?)", row).map(drop)
    }

    /// Stores a bundle, once.
    pub fn put_bundle(&self, id: BundleId, wasm: &[u8]) -> Result<(), HostFault> {
        self.execute("write a bundle", "INSERT OR IGNORE INTO bundle VALUES (?, ?)", params![id.0, wasm]).map(drop)
    }

    /// Removes a bundle, if it is there.
    pub fn delete_bundle(&self, id: BundleId) -> Result<(), HostFault> {
        self.execute("remove a bundle", "DELETE FROM bundle WHERE hash = ?", [id.0]).map(drop)
    }

    /// Commits the transaction durably. An error does not tell whether it is durable: the next process that opens the
    /// state finds it as it was, or as it is to be.
    pub fn commit(self) -> Result<(), HostFault> {
        if self.1.undoes {
            self.end_undo()?;
        }
        self.execute("commit a block", "COMMIT", [])?;
        match self.1.copying.as_ref().and_then(sqlite::Copying::error) {
            None => Ok(()),
            Some(err) => Err(self.failed("copy the log", &err)),
        }
    }

    /// Makes durable what was written so far, and begins another transaction: what no host does.
    #[cfg(feature = "tools")]
    pub(crate) fn split(&self) -> Result<(), HostFault> {
        self.0.execute_batch("COMMIT; BEGIN").map_err(|err| self.failed("commit half a block", &err))
    }

    pub(super) fn failed(&self, what: &str, err: &rusqlite::Error) -> HostFault {
        failure(&self.0, &placed(what, &self.1.dir), err)
    }

    /// Makes the fault of a table whose rows are not what was written.
    pub(super) fn damaged(&self, what: impl fmt::Display, why: impl fmt::Display, table: &str) -> HostFault {
        self.1.damaged(what, why, table)
    }
}

/// Returns the statement, prepared where it is first used.
fn statement<'a, 'c>(
    connection: &'c Connection,
    prepared: &'a mut Option<CachedStatement<'c>>,
    sql: impl Fn() -> String,
) -> rusqlite::Result<&'a mut CachedStatement<'c>> {
    match prepared {
        Some(it) => Ok(it),
        none => Ok(none.insert(connection.prepare_cached(&sql())?)),
    }
}

impl Rows for Transaction<'_> {
    fn write(&mut self, table: &'static str, batch: Batch) -> Result<(), HostFault> {
        // Not `OR REPLACE`, which in a table with a rowid removes the row, and puts another at the end.
        let put_sql = || {
            format!(
                "INSERT INTO \"{table}\" VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET value = ?2, checksum = ?3"
            )
        };
        let delete_sql = || format!("DELETE FROM \"{table}\" WHERE key = ?");
        let run = || {
            let (mut put, mut delete) = (None, None);
            batch.rows().try_for_each(|(key, value)| match value {
                Some((value, checksum)) => {
                    statement(&self.0, &mut put, put_sql)?.execute(params![key, value, checksum]).map(drop)
                }
                None => statement(&self.0, &mut delete, delete_sql)?.execute([key]).map(drop),
            })
        };
        run().map_err(|err| self.failed(table, &err))
    }
}
