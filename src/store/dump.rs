//! All rows of a database, whatever its tables: for archives, copies, and checks of the file itself.
//!
//! A row is bytes: for each column a tag and the value. Tables that are new ride along without a change here.

use std::path::{Path, PathBuf};

use rusqlite::{
    Connection, OpenFlags,
    types::{ToSqlOutput, Value, ValueRef},
};

use crate::{
    model::blame::HostFault,
    store::{
        connection::{Begun, ReaderTraces},
        database::{Database, FILE, Lock, SCHEMA, fault, prove_log, read_log},
        private,
        undo::BESIDE,
        upgrade,
    },
};

/// A table of the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The name of the table.
    pub name: String,
    /// The names of the columns.
    pub columns: Vec<String>,
}

impl Database {
    /// The version of the layout that this binary writes.
    pub const SCHEMA: u32 = SCHEMA;
    /// The versions of layouts whose rows this binary can bring to that one.
    pub const SCHEMAS_BEFORE: [u32; 2] = upgrade::BEFORE;

    /// Lists all tables, by name, but for those that a staged host keeps of its last blocks: they are not of the state.
    pub fn layouts(&self) -> Result<Vec<Layout>, HostFault> {
        let what = "list the tables";
        let list = |sql: &str, of: &[&str]| -> Result<Vec<String>, rusqlite::Error> {
            let connection = self.connection.lock();
            let mut statement = connection.prepare(sql)?;
            statement.query_map(rusqlite::params_from_iter(of), |row| row.get(0))?.collect()
        };
        let names =
            list("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", &[]).map_err(fault(what))?;
        let layout = |name: String| {
            let columns = list("SELECT name FROM pragma_table_info(?) ORDER BY cid", &[&name]).map_err(fault(what))?;
            Ok(Layout { name, columns })
        };
        names.into_iter().filter(|it| !BESIDE.contains(&it.as_str())).map(layout).collect()
    }

    /// Counts the rows of a table.
    pub fn count(&self, table: &Layout) -> Result<u64, HostFault> {
        let what = format!("count table `{}`", table.name);
        let sql = format!("SELECT count(*) FROM {}", quoted(&table.name));
        self.connection
            .lock()
            .query_row(&sql, [], |row| row.get::<_, i64>(0))
            .map(i64::cast_unsigned)
            .map_err(fault(&what))
    }

    /// Hands over every row of a table, in order of its first columns.
    pub fn dump(&self, table: &Layout, take: &mut dyn FnMut(&[u8]) -> Result<(), HostFault>) -> Result<(), HostFault> {
        let what = format!("read table `{}`", table.name);
        let columns: Vec<_> = table.columns.iter().map(|it| quoted(it)).collect();
        let order = columns.get(..2).unwrap_or(&columns).join(", ");
        let sql = format!("SELECT {} FROM {} ORDER BY {order}", columns.join(", "), quoted(&table.name));
        let connection = self.connection.lock();
        let mut statement = connection.prepare(&sql).map_err(fault(&what))?;
        let mut rows = statement.query([]).map_err(fault(&what))?;
        let mut bytes = Vec::new();
        while let Some(row) = rows.next().map_err(fault(&what))? {
            bytes.clear();
            for at in 0..columns.len() {
                let value = row.get_ref(at).map_err(fault(&what))?;
                write_value(value, &mut bytes).ok_or_else(|| HostFault::new(&what, "a row holds a float"))?;
            }
            take(&bytes)?;
        }
        Ok(())
    }

    /// Returns the defects that SQLite itself finds in its file.
    pub fn integrity(&self) -> Result<Vec<String>, HostFault> {
        let what = "check the file";
        let connection = self.connection.lock();
        let mut statement = connection.prepare("PRAGMA integrity_check").map_err(fault(what))?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(fault(what))?;
        let mut lines: Vec<String> = rows.collect::<Result<_, _>>().map_err(fault(what))?;
        lines.retain(|it| it != "ok");
        Ok(lines)
    }

    /// Writes a copy of the state in `dir` to a new file, as of its last commit, also while a host runs it.
    pub fn copy(dir: &Path, to: &Path) -> Result<(), HostFault> {
        let what = format!("copy the state `{}`", dir.display());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Dropped behind the connection.
        let _traces = ReaderTraces::of(dir);
        let connection = Connection::open_with_flags(dir.join(FILE), flags).map_err(fault(&what))?;
        connection.busy_timeout(super::database::BUSY_MAX).map_err(fault(&what))?;
        private::make_file(to).map_err(|err| HostFault::new(&what, err))?;
        let to = to.to_str().ok_or_else(|| HostFault::new(&what, "the name of the target is not UTF-8"))?;
        connection.execute("VACUUM INTO ?", [to]).map(|_| ()).map_err(fault(&what))
    }

    /// Copies a state without leaving a trace beside it: SQLite writes an index beside a file that it only reads.
    /// Where no host runs the state the files are copied as they are, while the folder is held; a running host has
    /// that index anyway.
    pub fn copy_without_a_trace(dir: &Path, to: &Path) -> Result<(), HostFault> {
        let what = format!("copy the state `{}`", dir.display());
        let Some(_held) = Lock::share(dir)? else { return Database::copy(dir, to) };
        let beside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push("-wal");
            PathBuf::from(name)
        };
        let copy = || -> std::io::Result<()> {
            private::copy_file(&dir.join(FILE), to)?;
            let log = beside(&dir.join(FILE));
            if log.exists() { private::copy_file(&log, &beside(to)) } else { Ok(()) }
        };
        copy().map_err(|err| HostFault::new(&what, err))?;
        if let Some(bytes) = read_log(&beside(to)).map_err(|err| HostFault::new(&what, err))? {
            prove_log(dir, &bytes).map_err(|err| err.within(&what))?;
        }
        // What a host that was killed had committed is still in its log: it goes into the copy here.
        let connection = Connection::open(to).map_err(fault(&what))?;
        connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(fault(&what))
    }

    /// Begins to fill an empty database with rows of another.
    pub fn restore(&mut self) -> Result<Restore<'_>, HostFault> {
        self.connection.begin().map(Restore).map_err(fault("begin a transaction"))
    }
}

/// Rows on their way into an empty database.
#[derive(Debug)]
pub struct Restore<'a>(Begun<'a>);

impl Restore<'_> {
    /// Takes a row off the front of the bytes, and writes it.
    pub fn row(&self, table: &Layout, bytes: &mut &[u8]) -> Result<(), HostFault> {
        let what = format!("write table `{}`", table.name);
        let values: Option<Vec<_>> = table.columns.iter().map(|_| read_value(bytes)).collect();
        let values = values.ok_or_else(|| HostFault::new(&what, "a row ends early"))?;
        let marks = vec!["?"; values.len()].join(", ");
        let sql = format!("INSERT INTO {} VALUES ({marks})", quoted(&table.name));
        let write = || self.0.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(values));
        write().map(|_| ()).map_err(fault(&what))
    }

    /// Commits the rows, once all are written.
    pub fn finish(self) -> Result<(), HostFault> {
        self.0.execute_batch("COMMIT").map_err(fault("commit the rows"))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// No table has floats.
fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut sized = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        ValueRef::Null => sized(0, &[]),
        ValueRef::Integer(it) => sized(1, &it.to_le_bytes()),
        ValueRef::Text(it) => sized(2, it),
        ValueRef::Blob(it) => sized(3, it),
        ValueRef::Real(_) => return None,
    }
    Some(())
}

fn read_value<'a>(bytes: &mut &'a [u8]) -> Option<ToSqlOutput<'a>> {
    let (&tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(match tag {
        0 => ToSqlOutput::Owned(Value::Null),
        1 => ToSqlOutput::Owned(Value::Integer(i64::from_le_bytes(value.try_into().ok()?))),
        2 => ToSqlOutput::Borrowed(ValueRef::Text(value)),
        3 => ToSqlOutput::Borrowed(ValueRef::Blob(value)),
        _ => return None,
    })
}
