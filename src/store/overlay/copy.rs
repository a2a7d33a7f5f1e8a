//! A file of its own from a state that is looked at, as of the commit.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{FORMAT_AT, Overlay, Pinned, WITHOUT_LOG};
use crate::{
    model::blame::HostFault,
    store::{database::FILE, private},
};

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

impl Overlay {
    /// Returns how large the state's file is, as of the commit.
    pub fn state_bytes(&self) -> u64 {
        self.pinned.pages * self.pinned.page_bytes as u64
    }

    /// Makes a file of the state as of the commit that shares its blocks with the state's own, so that nothing is written but what the
    /// state's log has. Returns the bytes that were written; `None`, and an empty file, if the file system has no such files.
    pub fn share(&self, to: &Path) -> Result<Option<u64>, HostFault> {
        let pinned = &*self.pinned;
        let shared = || -> io::Result<Option<u64>> {
            let to = create(to)?;
            let from = match pinned.again.get() {
                Some(file) => file,
                None => {
                    let file = File::open(pinned.folder().join(FILE))?;
                    pinned.again.get_or_init(|| file)
                }
            };
            match rustix::fs::ioctl_ficlone(&to, from) {
                Ok(()) => self.bring_up_to_date(&to).map(Some),
                Err(_) => Ok(None),
            }
        };
        shared().map_err(|err| HostFault::new(self.copying(), err))
    }

    /// Makes a file that has what the state's own file has one of the state as of the commit: with what is in the state's log, too. Returns
    /// the bytes that were written.
    fn bring_up_to_date(&self, to: &File) -> io::Result<u64> {
        let pinned = &*self.pinned;
        to.set_len(self.state_bytes())?;
        let mut written = 0;
        let mut page = vec![0; pinned.page_bytes];
        let in_log = pinned.log.iter().flat_map(|it| it.pages_in_log()).filter(|it| *it < pinned.pages && *it > 0);
        for number in [0].into_iter().chain(in_log) {
            pinned.copied(number, &mut page).map_err(io::Error::other)?;
            to.write_all_at(&page, number * pinned.page_bytes as u64)?;
            written += page.len() as u64;
        }
        Ok(written)
    }

    /// Writes the state as of the commit to a file. `each` hears how many bytes of how many are written.
    pub fn write_to(&self, to: &Path, each: &mut dyn FnMut(u64, u64)) -> Result<(), HostFault> {
        let pinned = &*self.pinned;
        let mut write = || -> io::Result<()> {
            let mut to = create(to)?;
            let mut piece = vec![0; (PIECE / pinned.page_bytes).max(1) * pinned.page_bytes];
            let mut next = 0;
            while next < pinned.pages {
                let mut filled = 0;
                for (page, number) in piece.chunks_exact_mut(pinned.page_bytes).zip(next..pinned.pages) {
                    pinned.copied(number, page).map_err(io::Error::other)?;
                    filled += page.len();
                    next = number + 1;
                }
                to.write_all(&piece[..filled])?;
                each(next * pinned.page_bytes as u64, self.state_bytes());
            }
            Ok(())
        };
        write().map_err(|err| HostFault::new(self.copying(), err))
    }

    fn copying(&self) -> String {
        format!("copy the state `{}`", self.pinned.dir.display())
    }
}

impl Pinned {
    /// Reads a page as a file without a log has it.
    fn copied(&self, number: u64, into: &mut [u8]) -> Result<(), HostFault> {
        self.page(number, into)?;
        if number == 0 {
            into[FORMAT_AT].fill(WITHOUT_LOG);
        }
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    private::make_file(path)?;
    OpenOptions::new().write(true).truncate(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::{Database, database::TableLayout};

    /// A clone by the file system is not tried here, since most have none: a plain copy of the state's file stands for it. What is tried is
    /// what is made of the clone, and that a file system without clones is found out and leaves the file empty.
    #[test]
    fn a_file_that_shares_the_states_pages_is_what_a_written_copy_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let layout = [TableLayout { name: "test", has_long_values: true, has_value_index: false }];
        let host = Database::open(dir.path(), &layout).expect("a state");
        let sql = |sql: &str| host.connection.lock().execute_batch(sql).expect("runs");
        let rows = |from: u32| {
            format!(
                "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {from} + 99)
                 INSERT INTO test SELECT CAST(i AS BLOB), zeroblob(3000 + i), 0 FROM n"
            )
        };
        // Of the pages some are in the file, others in the log, of which some are of both.
        sql(&rows(100));
        sql("PRAGMA wal_checkpoint(TRUNCATE)");
        sql("UPDATE test SET value = zeroblob(9) WHERE key < CAST(130 AS BLOB)");
        sql(&rows(300));
        let overlay = Overlay::over(dir.path()).expect("an overlay");
        let [written, shared, none] = ["written", "shared", "none"].map(|it| dir.path().join(it));
        overlay.write_to(&written, &mut |_, _| ()).expect("written");
        fs::copy(dir.path().join(FILE), &shared).expect("copied");
        let file = OpenOptions::new().write(true).open(&shared).expect("opens");
        let bytes = overlay.bring_up_to_date(&file).expect("brought up to date");
        assert!(bytes > 0 && bytes < overlay.state_bytes(), "{bytes}");
        assert!(fs::read(&written).expect("reads") == fs::read(&shared).expect("reads"));
        // One that has shrunk in the log is cut.
        sql("DELETE FROM test; PRAGMA incremental_vacuum; VACUUM");
        let smaller = Overlay::over(dir.path()).expect("an overlay");
        assert!(smaller.state_bytes() < overlay.state_bytes());
        smaller.write_to(&written, &mut |_, _| ()).expect("written");
        smaller.bring_up_to_date(&file).expect("brought up to date");
        assert!(fs::read(&written).expect("reads") == fs::read(&shared).expect("reads"));
        match overlay.share(&none).expect("shares or not") {
            Some(bytes) => assert!(bytes < overlay.state_bytes()),
            None => assert_eq!(fs::metadata(&none).expect("is there").len(), 0),
        }
    }
}
