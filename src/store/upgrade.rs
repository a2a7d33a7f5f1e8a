//! A state of a layout before this one is brought to this one when it is opened to be run.
//!
//! ```text
//!   schema 9 ─▶ a copy beside the file ─▶ one transaction: the vatstores and shared settlements are counted, the c-lists get an index ─▶ schema 11 ─▶ all is proved ─▶ the copy goes
//!   schema 10 ─▶ one transaction: a table more, which is empty ─▶ schema 11
//! ```
//!
//! Invariants: the state is of one layout or the other, whatever ends the process. Where rows change the copy is whole before the first
//! change, and is there until every row of the new layout was proved. No hash changes.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::Deserialize;

use crate::{
    model::{
        blame::HostFault,
        id::{ObjectId, PromiseId, VatId},
        limits,
        value::{Bytes, StoreKey},
    },
    store::{
        codec::{self, Key},
        database::{Database, FILE, Meta, ROW_COLUMNS, SCHEMA, value_index},
        fold::Fold,
        hash::Digest,
        private,
        proof::DAMAGED,
        sum::{self, StoreSum, SumChange},
        table::{Journaled, Table, TableKind},
        tail,
    },
};

/// The tables of the kernel that are new, and empty in a state of the layout before this one.
const NEW_TABLES: [&str; 4] = ["engine", "state_option", "answer", "sharers"];

/// The tag of the table of sharers; the digest of the table is the one before that.
const SHARERS: u8 = 27;

/// A promise as the layout before this one has it: unresolved, and decided by a vat; fulfilled like the promise of this id, and perhaps
/// with an object; or rejected likewise.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the records have these fields")]
enum StateBefore {
    Unresolved(Option<VatId>),
    Fulfilled(PromiseId, Option<ObjectId>),
    Rejected(PromiseId),
}

/// A step of bringing a state to this layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpgradeStep {
    /// Tables are added, and no row changes.
    LayingOut,
    /// The file is copied as it was, byte by byte.
    Copying,
    /// The rows of the vatstores and the promises are counted.
    Counting,
    /// All rows that were not read yet are proved.
    Proving,
}

/// The progress of the upgrade of a state's layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpgradeProgress {
    /// The layout that the state had.
    pub from: u32,
    /// The step that is being made.
    pub step: UpgradeStep,
    /// Bytes that were copied, or rows that were counted or proved.
    pub done: u64,
    /// How many there are, where that is known.
    pub of: Option<u64>,
    /// The copy of the state as it was, which stays until all rows are proved; `None` where no row changes.
    pub copy: Option<PathBuf>,
}

/// A watch over the upgrade of a state's layout. Clones are the same.
#[derive(Clone)]
pub struct UpgradeWatch(Arc<dyn Fn(&UpgradeProgress) + Send + Sync>);

impl UpgradeWatch {
    /// Makes a watch that calls this: as each step begins, and often while it is being made.
    pub fn new(see: impl Fn(&UpgradeProgress) + Send + Sync + 'static) -> UpgradeWatch {
        UpgradeWatch(Arc::new(see))
    }
}

impl fmt::Debug for UpgradeWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpgradeWatch")
    }
}

/// Rows from one call of a watch to the next.
const ROWS_AT_ONCE: u64 = 4_096;

/// Steps of SQLite's machine from one call of a watch to the next.
const COPY_STEPS: std::ffi::c_int = 100_000;

/// Tells the watch over a database, if there is one, how far its upgrade is.
fn tell(database: &Database, step: UpgradeStep, done: u64, of: Option<u64>) {
    if let Some(watch) = &database.home.upgrade_watch {
        watch.0(&UpgradeProgress { from: COUNTED, step, done, of, copy: Some(copy_of(database)) });
    }
}

/// Tells that this many rows are done, now and then.
pub(crate) fn tell_rows(database: &Database, step: UpgradeStep, done: u64) {
    if done.is_multiple_of(ROWS_AT_ONCE) {
        tell(database, step, done, None);
    }
}

/// Makes the table that counts the promises that share a settlement (see `state::table::Tables::sharers`).
pub(crate) fn sharers() -> Table<PromiseId, u64> {
    Table::new(SHARERS, "sharers").of_kind(TableKind::Derived)
}

/// The layout whose rows are changed to bring it to this one.
const COUNTED: u32 = 9;

/// The layouts that can be brought to this one.
pub(super) const BEFORE: [u32; 2] = [COUNTED, 10];

/// Brings a state of a layout before this one to this one.
pub(super) fn upgrade(database: &mut Database) -> Result<(), HostFault> {
    let before = database.schema()?;
    if !BEFORE.contains(&before) {
        return Ok(());
    }
    let what = format!("bring the state from schema {before} to {SCHEMA}");
    if before != COUNTED {
        if let Some(watch) = &database.home.upgrade_watch {
            watch.0(&UpgradeProgress { from: before, step: UpgradeStep::LayingOut, done: 0, of: None, copy: None });
        }
        let lay_out = format!("BEGIN IMMEDIATE; {} PRAGMA user_version = {SCHEMA}; COMMIT;", tail::LAYOUT);
        return database.connection.lock().execute_batch(&lay_out).map_err(|err| database.failed(&what, &err));
    }
    copy_aside(database, &copy_of(database)).map_err(|err| err.within(&what))?;
    let tables: String =
        NEW_TABLES.iter().map(|it| format!("CREATE TABLE \"{it}\" {ROW_COLUMNS} WITHOUT ROWID;")).collect();
    let names = value_index("clist");
    let lay_out = format!("{} {} {tables} {names} PRAGMA user_version = {SCHEMA};", sum::LAYOUT, tail::LAYOUT);
    count_stores(database, &lay_out).map_err(|err| err.within(&what))
}

/// The copy of a state as it was before an upgrade.
fn copy_of(database: &Database) -> PathBuf {
    database.home.dir.join(format!("{FILE}.schema-{COUNTED}"))
}

/// Brings rows of this layout to the present one; they were written into an empty database.
pub fn upgrade_rows(database: &mut Database, schema: u32) -> Result<(), HostFault> {
    if schema == COUNTED { count_stores(database, "") } else { Ok(()) }
}

fn copy_aside(database: &Database, copy: &Path) -> Result<(), HostFault> {
    let draft = copy.with_extension("draft");
    let failed = |err: &dyn fmt::Display| HostFault::new(format_args!("copy it to `{}`", copy.display()), err);
    if draft.exists() {
        fs::remove_file(&draft).map_err(|err| failed(&err))?;
    }
    private::make_file(&draft).map_err(|err| failed(&err))?;
    write_copy(database, &draft).map_err(|err| failed(&err))?;
    fs::File::open(&draft).and_then(|it| it.sync_all()).map_err(|err| failed(&err))?;
    fs::rename(&draft, copy).map_err(|err| failed(&err))?;
    fs::File::open(&database.home.dir).and_then(|it| it.sync_all()).map_err(|err| failed(&err))
}

/// Writes the copy, on a connection of its own, which tells the watch meanwhile.
fn write_copy(database: &Database, draft: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open_with_flags(database.home.dir.join(FILE), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned);
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    let bytes = pages * number("PRAGMA page_size")?;
    let of = Some(bytes);
    tell(database, UpgradeStep::Copying, 0, of);
    if let Some(watch) = database.home.upgrade_watch.clone() {
        let (draft, copy) = (draft.to_owned(), Some(copy_of(database)));
        let see = move || {
            let done = fs::metadata(&draft).map_or(0, |it| it.len());
            watch.0(&UpgradeProgress { from: COUNTED, step: UpgradeStep::Copying, done, of, copy: copy.clone() });
            false
        };
        connection.progress_handler(COPY_STEPS, Some(see))?;
    }
    connection.execute("VACUUM INTO ?", [draft.to_string_lossy()])?;
    tell(database, UpgradeStep::Copying, bytes, of);
    Ok(())
}

/// Counts the keys and bytes of each vatstore, and the promises of each shared settlement, and writes them with the facts that attest them, in one transaction that begins
/// with this.
fn count_stores(database: &mut Database, lay_out: &str) -> Result<(), HostFault> {
    let mut sums: BTreeMap<VatId, StoreSum> = BTreeMap::new();
    let mut read = 0;
    tell_rows(database, UpgradeStep::Counting, read);
    database.load("vatstore", |row| {
        read += 1;
        tell_rows(database, UpgradeStep::Counting, read);
        let mut rest = row.key;
        let key = <(VatId, StoreKey)>::read(&mut rest);
        let damaged = || database.damaged("count a vatstore", DAMAGED, "vatstore");
        let ((vat, key), value) = (key.ok_or_else(damaged)?, codec::decode::<Bytes>(row.value)?);
        let sum = sums.entry(vat).or_default();
        sum.keys += 1;
        sum.bytes += limits::STORE_KEY_OVERHEAD + (key.len() + value.len()) as u64;
        Ok(())
    })?;
    let mut sharers = sharers();
    database.load("promise", |row| {
        read += 1;
        tell_rows(database, UpgradeStep::Counting, read);
        let key = PromiseId::read(&mut &row.key[..])
            .ok_or_else(|| database.damaged("count a promise", DAMAGED, "promise"))?;
        let (StateBefore::Fulfilled(with, _) | StateBefore::Rejected(with)) =
            codec::decode::<(StateBefore, u32, u8)>(row.value)?.0
        else {
            return Ok(());
        };
        if with != key {
            let count = sharers.get(&with).copied().unwrap_or(0);
            sharers.insert(with, count + 1);
        }
        Ok(())
    })?;
    let changes: Vec<SumChange> =
        sums.into_iter().map(|(vat, sum)| SumChange { vat, old: None, new: Some(sum) }).collect();
    let record = database
        .connection
        .lock()
        .query_row("SELECT value FROM meta", [], |row| row.get::<_, Vec<u8>>(0))
        .optional()
        .map_err(|err| database.failed("read the state's facts", &err))?;
    let mut transaction = database.transaction()?;
    transaction.0.execute_batch(lay_out).map_err(|err| transaction.failed("lay out the new table", &err))?;
    if let Some(mut record) = record {
        let mut digest = Digest::default();
        transaction.put_sums(&changes, &mut digest)?;
        // The facts end with what is new.
        codec::append(&digest, &mut record)?;
        let mut meta: Meta = codec::decode(&record)?;
        let digests = &mut meta.proof.tables;
        digests.resize(digests.len().max(SHARERS.into()), Digest::default());
        if let Some(digest) = digests.get_mut(usize::from(SHARERS) - 1) {
            sharers.seal(&mut Fold::of_step("upgrade"), None, None)?;
            sharers.flush(&mut transaction, digest)?;
        }
        transaction.put_meta(&meta)?;
    }
    transaction.commit()
}

/// Removes the copy of the state as it was before an upgrade, now that every row was proved.
pub(crate) fn drop_copy(copy: &Path) -> Result<(), HostFault> {
    fs::remove_file(copy).map_err(|err| HostFault::new(format_args!("remove the copy `{}`", copy.display()), err))
}

/// Returns the copy of the state as it was before an upgrade, while not every row was proved since: by whichever process upgraded it.
pub(crate) fn unproved_copy(database: &Database) -> Option<PathBuf> {
    let is_run = database.home.copying.is_some();
    Some(copy_of(database)).filter(|it| is_run && it.exists())
}
