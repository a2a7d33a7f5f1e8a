//! An index beside the file of a recording: where in it a crank, a delivery, a promise or an object occurs.
//!
//! ```text
//!   bank.slog ── build: cut into pieces of whole cranks ──▶ bank.slog.index ── next(key), previous(key) ──▶ pieces to read
//! ```
//!
//! It is made when a large file is first looked into, and continued when the file has grown. It belongs to the file while the
//! file's identity, its first bytes and the last ones that the index covers are what they were; and if the file has not grown, its
//! modification time. Otherwise it is made anew. Where it cannot be written, it is kept in a temporary file.

mod build;
mod key;
mod quick;
mod segment;
mod state;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

pub(crate) use key::{Key, Word};
pub(crate) use segment::{Piece, Reach};
pub(crate) use state::{Context, CrankRange};

use crate::slog::{ReadError, index::segment::Segment, reader::RecordingFile, rotation::index_of};

/// The sizes by which recordings are indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexing {
    /// Bytes of a file, or of what is new in it, that are read without an index.
    pub without_bytes: u64,
    /// Bytes of text in a piece, at least: a piece is what is read at once.
    pub piece_bytes: u64,
    /// Keys and pieces that are collected in memory.
    pub postings: usize,
}

impl Default for Indexing {
    fn default() -> Indexing {
        Indexing { without_bytes: 1 << 20, piece_bytes: 48 << 10, postings: 200_000 }
    }
}

impl Indexing {
    /// Without any index, everything is read.
    pub const NONE: Indexing = Indexing { without_bytes: u64::MAX, piece_bytes: u64::MAX, postings: 0 };
}

/// Bytes of a file's beginning, and of what is before a place, that are compared.
const COMPARED_BYTES: u64 = 4096;
/// The numbers at the beginning of an index: the identity of the file, the number of its compared bytes and their hash.
const HEAD_WORDS: usize = 6;
const HEAD_BYTES: u64 = HEAD_WORDS as u64 * 8;
/// The version of the format.
const VERSION: u64 = 1;

/// The index of a file.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    end: u64,
    segments: Vec<Segment>,
    reach: Reach,
}

impl Index {
    /// Opens the index of a file, made or continued if that is due; `None` if the file is to be read as a whole. `is_last` says
    /// whether the file may still grow.
    ///
    /// # Errors
    ///
    /// The recording cannot be read.
    pub(crate) fn of(of: &RecordingFile, is_last: bool, rules: Indexing) -> Result<Option<Index>, ReadError> {
        if of.length <= rules.without_bytes {
            return Ok(None);
        }
        let unreadable = |why| ReadError::Open { path: of.path.clone(), why };
        let head = head_of(of).map_err(unreadable)?;
        let path = index_of(&of.path);
        if let Some(index) = Index::open(&path, of, &head).ok().flatten()
            && !index.is_behind(of, is_last, rules)
        {
            return Ok(Some(index));
        }
        let beside = Index::beside(&path, of, &head);
        let mut index = beside.or_else(|_| Index::empty(tempfile::tempfile()?, &head)).map_err(unreadable)?;
        Ok(build::continued(&mut index, of, is_last, rules)?.then_some(index))
    }

    /// Returns whether more of the file is without an index than may be.
    fn is_behind(&self, of: &RecordingFile, is_last: bool, rules: Indexing) -> bool {
        let rest = of.length.saturating_sub(self.reach.open.from.spot.frame);
        !self.reach.is_all && (rest > rules.without_bytes || !is_last)
    }

    /// Opens the index, to continue it; an empty one if there is none that belongs to the file. Nobody else writes it meanwhile.
    fn beside(path: &Path, of: &RecordingFile, head: &[u8]) -> io::Result<Index> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(io::Error::other)?;
        match Index::read(file.try_clone()?, of, head)? {
            Some(index) => {
                file.set_len(index.end)?;
                Ok(index)
            }
            None => {
                // Who reads the old one goes on with it.
                let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let new = tempfile::NamedTempFile::new_in(folder)?;
                // Whoever may read the recording may read it.
                new.as_file().set_permissions(of.file.metadata()?.permissions())?;
                let index = Index::empty(new.as_file().try_clone()?, head)?;
                new.as_file().lock()?;
                new.persist(path).map_err(|err| err.error)?;
                Ok(index)
            }
        }
    }

    fn empty(file: File, head: &[u8]) -> io::Result<Index> {
        file.write_all_at(head, 0)?;
        Ok(Index { file, end: HEAD_BYTES, segments: Vec::new(), reach: Reach::default() })
    }

    fn open(path: &Path, of: &RecordingFile, head: &[u8]) -> io::Result<Option<Index>> {
        Index::read(File::open(path)?, of, head)
    }

    /// Reads the index in a file, if it belongs to the recording.
    fn read(file: File, of: &RecordingFile, head: &[u8]) -> io::Result<Option<Index>> {
        let length = file.metadata()?.len();
        let mut found = [0; HEAD_WORDS * 8];
        if length < HEAD_BYTES || file.read_exact_at(&mut found, 0).is_err() || found != *head {
            return Ok(None);
        }
        let mut index = Index { file, end: HEAD_BYTES, segments: Vec::new(), reach: Reach::default() };
        while let Some((segment, reach, end)) = Segment::read(&index.file, index.end, length)? {
            index.segments.push(segment);
            (index.reach, index.end) = (reach, end);
        }
        let reach = &index.reach;
        let covered = if reach.is_all { reach.length } else { reach.open.from.spot.frame };
        let belongs = if reach.length == of.length {
            reach.modified == modified(of)?
        } else {
            reach.length < of.length && !reach.is_all
        };
        let belongs = !index.segments.is_empty() && belongs && reach.tail == tail_of(of, covered)?;
        Ok(belongs.then_some(index))
    }

    /// Appends a segment.
    fn append(&mut self, stretch: &mut segment::Stretch, reach: Reach) -> io::Result<()> {
        let first = self.reach.pieces;
        let (segment, end) = Segment::write(&self.file, self.end, first, stretch, &reach)?;
        self.segments.push(segment);
        (self.reach, self.end) = (reach, end);
        Ok(())
    }

    /// Returns how far the index reaches, and what is known there.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Returns the lines at which the crank numbers turn back within the file, and to which crank.
    pub(crate) fn turns(&self) -> impl Iterator<Item = (u64, u64)> {
        self.segments.iter().flat_map(|it| it.turns.iter().copied())
    }

    /// Returns a piece by its number; the open one behind the last.
    pub(crate) fn piece(&self, number: u64) -> io::Result<Piece> {
        let at = self.segments.partition_point(|it| it.first + it.pieces <= number);
        match self.segments.get(at) {
            Some(segment) => segment.piece(&self.file, number - segment.first),
            None => Ok(self.reach.open),
        }
    }

    /// Returns the first piece from this one on that has the key.
    pub(crate) fn next(&self, key: Key, from: u64) -> io::Result<Option<u64>> {
        let at = self.segments.partition_point(|it| it.first + it.pieces <= from);
        for segment in &self.segments[at..] {
            let from = u32::try_from(from.saturating_sub(segment.first)).unwrap_or(u32::MAX);
            if let Some(found) = segment.next(&self.file, key, from)? {
                return Ok(Some(segment.first + u64::from(found)));
            }
        }
        Ok(None)
    }

    /// Returns the last piece before this one that has the key.
    pub(crate) fn previous(&self, key: Key, before: u64) -> io::Result<Option<u64>> {
        let at = self.segments.partition_point(|it| it.first < before);
        for segment in self.segments[..at].iter().rev() {
            let before = u32::try_from(before - segment.first).unwrap_or(u32::MAX);
            if let Some(found) = segment.previous(&self.file, key, before)? {
                return Ok(Some(segment.first + u64::from(found)));
            }
        }
        Ok(None)
    }
}

/// Returns the beginning of an index: what tells the file that it belongs to.
fn head_of(of: &RecordingFile) -> io::Result<Vec<u8>> {
    let metadata = of.file.metadata()?;
    let compared = COMPARED_BYTES.min(of.length);
    let [one, other] = hash_of(of, 0, compared)?;
    let words: [u64; HEAD_WORDS] = [VERSION, metadata.dev(), metadata.ino(), compared, one, other];
    Ok(words.iter().flat_map(|it| it.to_le_bytes()).collect())
}

fn tail_of(of: &RecordingFile, end: u64) -> io::Result<[u64; 2]> {
    hash_of(of, end.saturating_sub(COMPARED_BYTES), end)
}

fn hash_of(of: &RecordingFile, from: u64, to: u64) -> io::Result<[u64; 2]> {
    let mut bytes = vec![0; usize::try_from(to.min(of.length).saturating_sub(from)).unwrap_or(0)];
    of.file.read_exact_at(&mut bytes, from)?;
    Ok(segment::hash(&bytes))
}

/// Returns when the file was changed last.
fn modified(of: &RecordingFile) -> io::Result<u64> {
    let metadata = of.file.metadata()?;
    let seconds = metadata.mtime().cast_unsigned().wrapping_mul(1_000_000_000);
    Ok(seconds.wrapping_add(metadata.mtime_nsec().cast_unsigned()))
}
