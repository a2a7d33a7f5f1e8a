//! The log that a host left behind when it was stopped over itself: whether all that was told of in it is still there.
//!
//! SQLite reads its log up to the first frame that has not its checksum, and takes what follows for the rest of a
//! commit that power was lost over. A frame that turned bad on the disk looks the same, and SQLite would go back to an
//! earlier block without a word. What stands behind tells the two apart: a commit is begun only when the one before it
//! is on disk. So a bad frame with the frames of a later commit behind it was good once. (One of the last commit of
//! all cannot be told from a loss of power.)
//!
//! ```text
//!   header: magic, version, page size, number, salt × 2, checksum × 2      all of four bytes, the greatest first
//!   frame:  page, pages of the file if it ends a commit or else 0, salt × 2, checksum × 2; the page's bytes      … and so on
//! ```

use std::collections::BTreeMap;

use crate::model::blame::HostFault;

/// Bytes of the header.
const HEADER: usize = 32;
/// Bytes before a frame's page.
const FRAME: usize = 24;
/// The magic number; its last bit says in which order the bytes of a word are summed up.
const MAGIC: u32 = 0x377F_0682;

/// Returns what is wrong with a log of these bytes; `None` if it is whole, or ends early as after a loss of power.
pub(super) fn damage(bytes: &[u8]) -> Option<String> {
    let (header, frames) = bytes.split_at_checked(HEADER)?;
    if frames.is_empty() {
        return None;
    }
    let magic = word(header, 0)?;
    let sums = Sums { greatest_first: magic & 1 == 1 };
    let is_header = magic & !1 == MAGIC && sums.over((0, 0), header.get(..24)?) == pair(header, 24)?;
    if !is_header {
        // It was synced before any frame was written.
        return Some("its header has not its checksum".to_owned());
    }
    let size = FRAME + usize::try_from(word(header, 8)?).ok()?;
    let frames: Vec<&[u8]> = frames.chunks_exact(size).collect();
    let salts = pair(header, 16)?;
    let follows = |frame: &[u8], before: (u32, u32)| -> Option<bool> {
        let sum = sums.over(sums.over(before, frame.get(..8)?), frame.get(FRAME..)?);
        Some(pair(frame, 8)? == salts && sum == pair(frame, 16)?)
    };
    let sum_before = |at: usize| match at.checked_sub(1) {
        None => pair(header, 24),
        Some(before) => pair(frames.get(before)?, 16),
    };
    let is_good =
        |at: usize| frames.get(at).is_some_and(|it| sum_before(at).is_some_and(|sum| follows(it, sum) == Some(true)));
    let ends_commit = |at: usize| frames.get(at).and_then(|it| word(it, 4)).is_some_and(|it| it > 0);
    let page = |at: usize| frames.get(at).and_then(|it| word(it, 0));
    let bad = (0..frames.len()).find(|at| !is_good(*at))?;
    // Where it is the checksum itself that turned bad, the next frame goes on from what it was: that of the bytes.
    let is_behind_bad = || {
        let (frame, before) = (frames.get(bad)?, sum_before(bad)?);
        let sum = sums.over(sums.over(before, frame.get(..8)?), frame.get(FRAME..)?);
        follows(frames.get(bad + 1)?, sum)
    };
    let is_good = |at: usize| is_good(at) || (at == bad + 1 && is_behind_bad() == Some(true));
    // Where a sector is larger than a page the last frame of a commit is repeated: that is no commit of its own.
    let begins_another = |at: usize| is_good(at) && !(ends_commit(at) && page(at) == page(at - 1));
    let later = (bad + 1..frames.len())
        .any(|at| begins_another(at) && ends_commit(at - 1) && (at - 1 == bad || is_good(at - 1)));
    later.then(|| format!("frame {bad} has not its checksum, and commits stand behind it"))
}

/// Fills a piece of memory with the bytes of a file from a place on, and says whether the file has them all.
pub(super) type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> Result<bool, HostFault> + 'a;

/// The committed frames of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LogFrames {
    /// Pages of the file as of the last commit in the log.
    pub(super) pages: u64,
    salts: (u32, u32),
    /// Where the last frame of each page begins. Pages count from 0 here, and from 1 in the log.
    places: BTreeMap<u64, u64>,
}

/// Finds the committed frames of a log, as SQLite does when it recovers one; `None` if there are none.
pub(super) fn committed(read: &mut ReadAt<'_>) -> Result<Option<LogFrames>, HostFault> {
    let mut header = [0; HEADER];
    if !read(0, &mut header)? {
        return Ok(None);
    }
    Ok(committed_behind(&header, read)?.filter(|it| !it.places.is_empty()))
}

fn committed_behind(header: &[u8], read: &mut ReadAt<'_>) -> Result<Option<LogFrames>, HostFault> {
    let known = || {
        let (magic, size) = (word(header, 0)?, usize::try_from(word(header, 8)?).ok()?);
        let sums = Sums { greatest_first: magic & 1 == 1 };
        let sum = pair(header, 24)?;
        let is_header = magic & !1 == MAGIC && sums.over((0, 0), header.get(..24)?) == sum;
        Some((sums, FRAME + size, pair(header, 16)?, sum)).filter(|_| is_header)
    };
    let Some((sums, size, salts, mut sum)) = known() else { return Ok(None) };
    let (mut frame, mut at) = (vec![0; size], HEADER as u64);
    let mut frames = LogFrames { pages: 0, salts, places: BTreeMap::new() };
    // Those behind the last commit so far.
    let mut pending = Vec::new();
    while read(at, &mut frame)? {
        let (head, page) = frame.split_at(FRAME);
        sum = sums.over(sums.over(sum, &head[..8]), page);
        let is_good = pair(head, 8) == Some(salts) && pair(head, 16) == Some(sum);
        let (Some(number), Some(ends), true) = (word(head, 0), word(head, 4), is_good) else { break };
        pending.push((u64::from(number.saturating_sub(1)), at));
        if ends > 0 {
            frames.pages = u64::from(ends);
            frames.places.extend(pending.drain(..));
        }
        at += size as u64;
    }
    Ok(Some(frames))
}

impl LogFrames {
    /// Iterates over the pages that are in the log.
    pub(super) fn pages_in_log(&self) -> impl Iterator<Item = u64> {
        self.places.keys().copied()
    }

    /// Reads a page from the log; returns `false` if it is not there. A log that was begun anew meanwhile has nothing that is not in the
    /// file as well: whoever begins it writes the salts of a frame before its page.
    pub(super) fn read(&self, page: u64, into: &mut [u8], read: &mut ReadAt<'_>) -> Result<bool, HostFault> {
        let Some(&at) = self.places.get(&page) else { return Ok(false) };
        let mut head = [0; FRAME];
        Ok(read(at + FRAME as u64, into)? && read(at, &mut head)? && pair(&head, 8) == Some(self.salts))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|it| u32::from_be_bytes(*it))
}

fn pair(bytes: &[u8], at: usize) -> Option<(u32, u32)> {
    Some((word(bytes, at)?, word(bytes, at + 4)?))
}

/// The running checksum of SQLite's log.
#[derive(Clone, Copy)]
struct Sums {
    greatest_first: bool,
}

impl Sums {
    /// The sums after these bytes, where they were so before.
    fn over(self, (mut a, mut b): (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let read = |it: [u8; 4]| if self.greatest_first { u32::from_be_bytes(it) } else { u32::from_le_bytes(it) };
        for [x0, x1, x2, x3, y0, y1, y2, y3] in bytes.as_chunks().0 {
            a = a.wrapping_add(read([*x0, *x1, *x2, *x3])).wrapping_add(b);
            b = b.wrapping_add(read([*y0, *y1, *y2, *y3])).wrapping_add(a);
        }
        (a, b)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// The log of three commits: of several pages each.
    fn log() -> Vec<u8> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("it");
        let connection = Connection::open(&path).expect("opens");
        connection.pragma_update(None, "journal_mode", "WAL").expect("a log");
        connection.execute_batch("CREATE TABLE it (a BLOB)").expect("a table");
        for _ in 0..2 {
            connection.execute_batch("INSERT INTO it VALUES (randomblob(20000))").expect("a commit");
        }
        std::fs::read(dir.path().join("it-wal")).expect("its log")
    }

    #[test]
    fn a_frame_that_turned_bad_is_found_where_a_later_commit_stands_behind_it() {
        let good = log();
        assert_eq!(damage(&good), None);
        let size = FRAME + 4096;
        let frames = (good.len() - HEADER) / size;
        let ends: Vec<usize> = (0..frames).filter(|it| word(&good[HEADER + it * size..], 4) != Some(0)).collect();
        assert!(ends.len() == 3 && frames > 10, "{ends:?} of {frames}");
        for frame in 0..frames {
            for byte in [0, 9, 17, FRAME, FRAME + 2_000] {
                let mut bad = good.clone();
                bad[HEADER + frame * size + byte] ^= 4;
                // Behind the last commit stands nothing that tells.
                let is_told = frame <= ends[1];
                assert_eq!(damage(&bad).is_some(), is_told, "frame {frame}, byte {byte}");
            }
        }
        for byte in 0..HEADER {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            assert!(damage(&bad).is_some(), "header, byte {byte}");
        }
    }

    #[test]
    fn a_log_that_ends_early_is_none_that_is_damaged() {
        let good = log();
        let size = FRAME + 4096;
        for length in (0..good.len()).step_by(997).chain([HEADER, HEADER + size]) {
            assert_eq!(damage(&good[..length]), None, "{length}");
        }
        // What was written of the last commit, and not synced: any of its frames may be lost.
        let frames = (good.len() - HEADER) / size;
        for lost in frames - 3..frames {
            let mut torn = good.clone();
            torn[HEADER + lost * size..HEADER + (lost + 1) * size].fill(0);
            assert_eq!(damage(&torn), None, "{lost}");
        }
    }
}
