//! A state that is looked at: its file is only read, as of one commit, and what is written to it stays in memory over it.
//!
//! ```text
//!   Database (reads and writes as ever) ─▶ SQLite ─▶ vfs ─┬─ a page that was written ──▶ memory
//!                                                         └─ any other ──▶ the state's log, or its file, as of the commit
//! ```
//!
//! Invariants:
//! * Nothing is written to the state's files, and nothing is copied. (SQLite makes an index of the log beside them, as for every reader, which
//!   goes with the reader.) Only if SQLite cannot read a state where it is, since its folder is read-only, a private copy is looked at.
//! * A read transaction is open for as long as the overlay lives. So no page that it can meet is overwritten, whatever a host commits: a
//!   log is copied into the file only up to the oldest reader's commit, and begun anew only if all that it holds is in the file.
//! * The commit is the last one in the log at the time when the log was read, which is the reader's, or a later one.

mod copy;
mod vfs;

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::{
    model::blame::HostFault,
    store::{
        database::{self, Database, FILE, INDEX, fault},
        log::{self, LogFrames},
        mark::last_height,
        sqlite::{self, StateFile},
    },
};

/// A state that is looked at, with what was written over it. A clone shares both.
#[derive(Clone, Debug)]
pub struct Overlay {
    pinned: Arc<Pinned>,
    written: Arc<Mutex<Written>>,
}

/// The pages over a state's file.
#[derive(Default)]
struct Written {
    pages: BTreeMap<u64, Box<[u8]>>,
    /// Pages that the file has now.
    count: u64,
    /// Pages of the state's own file that still show through: it may have been cut.
    showing: u64,
    /// Whether a connection uses them: there is one at a time.
    is_open: bool,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("pages", &self.pages.len()).field("count", &self.count).finish_non_exhaustive()
    }
}

/// A state's file as of one commit, kept so by a read transaction.
#[derive(Debug)]
struct Pinned {
    dir: PathBuf,
    /// The reader; `None` only while it is made.
    reader: Option<Mutex<Database>>,
    log: Option<LogFrames>,
    page_bytes: usize,
    pages: u64,
    /// The state's file, opened a second time. Closed behind the reader: the locks that the reader has on it end with that.
    again: OnceLock<File>,
    /// Where the copy is, if SQLite could not read the state where it is.
    copy: Option<TempDir>,
}

impl Overlay {
    /// Looks at the state in this folder as of its last commit, also while a host runs it.
    pub fn over(dir: &Path) -> Result<Overlay, HostFault> {
        let mut tries = 0;
        loop {
            let (pinned, height) = Pinned::open(dir)?;
            let overlay = Overlay::of(pinned);
            // What it sees may be a later commit than the reader's, but no earlier one.
            if last_height(&overlay.open()?)? >= height {
                return Ok(overlay);
            }
            // A host may have begun its log anew while it was read.
            tries += 1;
            if tries == TRIES_MAX {
                let what = format!("read the log of the state `{}`", dir.display());
                return Err(HostFault::damage(what, "a frame of it has not its checksum"));
            }
        }
    }

    fn of(pinned: impl Into<Arc<Pinned>>) -> Overlay {
        let pinned = pinned.into();
        let written = Written { count: pinned.pages, showing: pinned.pages, ..Written::default() };
        Overlay { pinned, written: Arc::new(Mutex::new(written)) }
    }

    /// Returns an overlay over the same commit, in which nothing is written yet.
    pub fn blank(&self) -> Overlay {
        Overlay::of(self.pinned.clone())
    }

    /// Opens the state, with what was written over it. One connection at a time can.
    pub fn open(&self) -> Result<Database, HostFault> {
        let opening = format!("look at the state `{}`", self.pinned.dir.display());
        let vfs = vfs::register(self.clone())?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs(FILE, flags, vfs.name()).map_err(fault(&opening))?;
        connection
            .execute_batch(
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; \
                 PRAGMA cache_size = -8000;",
            )
            .map_err(fault(&opening))?;
        database::over(connection, vfs, opening)
    }

    /// Returns how many bytes of memory the pages take that were written.
    pub fn written_bytes(&self) -> u64 {
        (self.written().pages.len() * self.pinned.page_bytes) as u64
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the file, as SQLite reads and writes it

    fn file_bytes(&self) -> u64 {
        self.written().count * self.pinned.page_bytes as u64
    }

    /// Fills `into` from this place on; what lies behind the end of the file is zero. Returns whether the file has all of it.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<bool, HostFault> {
        let size = self.pinned.page_bytes;
        let (mut at, mut is_whole) = (at, true);
        let mut rest = into;
        let mut room = Vec::new();
        while !rest.is_empty() {
            let (number, skipped) = (at / size as u64, usize::try_from(at % size as u64).unwrap_or(0));
            let (piece, behind) = rest.split_at_mut((size - skipped).min(rest.len()));
            if piece.len() == size {
                is_whole &= self.page(number, piece)?;
            } else {
                room.resize(size, 0);
                is_whole &= self.page(number, &mut room)?;
                piece.copy_from_slice(&room[skipped..skipped + piece.len()]);
            }
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(is_whole)
    }

    /// Reads one page. Returns whether the file has it.
    fn page(&self, number: u64, into: &mut [u8]) -> Result<bool, HostFault> {
        let written = self.written();
        if let Some(page) = written.pages.get(&number) {
            into.copy_from_slice(page);
        } else if number < written.showing {
            drop(written);
            self.pinned.page(number, into)?;
        } else {
            into.fill(0);
            return Ok(number < written.count);
        }
        if number == 0 {
            // To SQLite it is a file without a log: what is written goes into its pages.
            into[FORMAT_AT].fill(WITHOUT_LOG);
        }
        Ok(true)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), HostFault> {
        let size = self.pinned.page_bytes;
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let (number, skipped) = (at / size as u64, usize::try_from(at % size as u64).unwrap_or(0));
            let (piece, behind) = rest.split_at((size - skipped).min(rest.len()));
            let mut page = vec![0; size].into_boxed_slice();
            if piece.len() < size {
                self.page(number, &mut page)?;
            }
            page[skipped..skipped + piece.len()].copy_from_slice(piece);
            let mut written = self.written();
            written.pages.insert(number, page);
            written.count = written.count.max(number + 1);
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn cut(&self, bytes: u64) {
        let mut written = self.written();
        written.count = bytes.div_ceil(self.pinned.page_bytes as u64);
        written.showing = written.showing.min(written.count);
        let count = written.count;
        written.pages.split_off(&count);
    }
}

/// Times that a log is read which does not lead to the reader's commit.
const TRIES_MAX: u32 = 5;

/// The place in the file's first page that says whether it has a log, and what says that it has none.
const FORMAT_AT: std::ops::Range<usize> = 18..20;
const WITHOUT_LOG: u8 = 1;

impl Pinned {
    fn open(dir: &Path) -> Result<(Pinned, Option<i64>), HostFault> {
        match Database::open_read_only(dir) {
            Ok(reader) => Pinned::by(reader, dir, None),
            // SQLite could not make the index of the log that a reader needs.
            Err(fault) if Database::exists(dir) && !dir.join(INDEX).exists() => {
                let copy = tempfile::tempdir().map_err(|err| HostFault::new("make a folder for a copy", err))?;
                Database::copy_without_a_trace(dir, &copy.path().join(FILE)).map_err(|_| fault)?;
                Pinned::by(Database::open_read_only(copy.path())?, dir, Some(copy))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Returns the file as of the last commit, and the height of the reader's commit.
    fn by(reader: Database, dir: &Path, copy: Option<TempDir>) -> Result<(Pinned, Option<i64>), HostFault> {
        let (dir, again) = (dir.to_owned(), OnceLock::new());
        let mut pinned = Pinned { dir, reader: None, log: None, page_bytes: 0, pages: 0, again, copy };
        // The transaction begins with what it reads first.
        let height = last_height(&reader)?;
        let number =
            |sql| reader.connection.lock().query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(fault("pin a state"));
        pinned.page_bytes = usize::try_from(number("PRAGMA page_size")?).unwrap_or_default();
        pinned.pages = number("PRAGMA page_count")?.cast_unsigned();
        let mut read =
            |at: u64, into: &mut [u8]| sqlite::read_file(&reader.connection.lock(), StateFile::Log, at, into);
        pinned.log = log::committed(&mut read)?;
        if let Some(log) = &pinned.log {
            pinned.pages = log.pages;
        }
        pinned.reader = Some(Mutex::new(reader));
        Ok((pinned, height))
    }

    /// Returns the folder of the file that is read.
    fn folder(&self) -> &Path {
        self.copy.as_ref().map_or(&self.dir, |it| it.path())
    }

    /// Reads one page as of the commit.
    fn page(&self, number: u64, into: &mut [u8]) -> Result<(), HostFault> {
        let reader = self.reader.as_ref().ok_or_else(|| HostFault::new("read a page", "its file is closed"))?;
        let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = &self.log
            && log.read(number, into, &mut |at, into| {
                sqlite::read_file(&reader.connection.lock(), StateFile::Log, at, into)
            })?
        {
            return Ok(());
        }
        match sqlite::read_file(&reader.connection.lock(), StateFile::Main, number * self.page_bytes as u64, into)? {
            true => Ok(()),
            false => Err(HostFault::damage(
                format_args!("read page {number} of `{}`", self.dir.display()),
                "the file ends before it",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;
    use crate::store::database::TableLayout;

    #[derive(Clone, Debug)]
    enum FileMove {
        Write(u64, usize, u8),
        Cut(u64),
        Read(u64, usize),
    }

    fn step() -> impl Strategy<Value = FileMove> {
        let at = || 0..60_000_u64;
        prop_oneof![
            3 => (at(), 1..9_000_usize, any::<u8>()).prop_map(|(at, len, byte)| FileMove::Write(at, len, byte)),
            // Whole pages are cut off, and never the first.
            1 => (1..15_u64).prop_map(|pages| FileMove::Cut(pages * 4_096)),
            3 => (at(), 1..9_000_usize).prop_map(|(at, len)| FileMove::Read(at, len)),
        ]
    }

    fn state() -> (TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().expect("a folder");
        drop(
            Database::open(dir.path(), &[TableLayout { name: "test", has_long_values: true, has_value_index: false }])
                .expect("a state"),
        );
        let sql = "INSERT INTO block VALUES (0, 0, zeroblob(32), 0); CREATE TABLE more (it BLOB); INSERT INTO more VALUES (zeroblob(9000))";
        Connection::open(dir.path().join(FILE)).and_then(|it| it.execute_batch(sql)).expect("rows");
        let mut bytes = std::fs::read(dir.path().join(FILE)).expect("its bytes");
        bytes[FORMAT_AT].fill(WITHOUT_LOG);
        (dir, bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn an_overlay_equals_a_plain_file(steps in prop::collection::vec(step(), 0..40)) {
            let (dir, mut plain) = state();
            let before = std::fs::read(dir.path().join(FILE)).expect("its bytes");
            let overlay = Overlay::over(dir.path()).expect("looks");
            for step in steps {
                match step {
                    // A page that is written is written whole: what lies behind the end is zero.
                    FileMove::Write(at, len, byte) => {
                        let from = usize::try_from(at).expect("small");
                        let end = (from + len).next_multiple_of(4_096).max(plain.len());
                        plain.resize(end, 0);
                        plain[from..from + len].fill(byte);
                        overlay.write(at, &vec![byte; len]).expect("writes");
                        plain[FORMAT_AT].fill(WITHOUT_LOG);
                    }
                    FileMove::Cut(to) => {
                        plain.truncate(usize::try_from(to).expect("small"));
                        overlay.cut(overlay.file_bytes().min(to));
                    }
                    FileMove::Read(at, len) => {
                        let from = usize::try_from(at).expect("small");
                        let mut found = vec![1; len];
                        let is_whole = overlay.read(at, &mut found).expect("reads");
                        let expected: Vec<u8> = (from..from + len).map(|it| plain.get(it).copied().unwrap_or(0)).collect();
                        prop_assert_eq!((is_whole, found), (from + len <= plain.len(), expected));
                    }
                }
                prop_assert_eq!(overlay.file_bytes(), plain.len() as u64);
            }
            drop(overlay);
            prop_assert_eq!(std::fs::read(dir.path().join(FILE)).expect("its bytes"), before);
        }
    }
}
