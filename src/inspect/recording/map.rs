//! A recording cut into pieces, of which each query reads only those that can have what it looks for.
//!
//! ```text
//!   word (a crank, a delivery, a promise …) ──Map::next, previous──▶ number of a piece ──Map::read──▶ Reader of its events
//! ```
//!
//! A piece begins where a crank begins or a host starts, so that no crank lies in two. Files that have no index are one piece each, which
//! has every word: so the same queries read a recording whole. Where one file ends and the next one begins is no end of a piece.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
};

use crate::inspect::recording::history::History;
use crate::slog::{
    Indexing, ReadError, Reader, Record, RecordedEvent,
    index::{Context, CrankRange, Index, Key, Piece, Word},
    reader::{RecordingFile, first_line, must_be_a_file},
};

/// A recording, and where what is in it.
#[derive(Debug, Default)]
pub(super) struct Map {
    files: Vec<MappedFile>,
    /// What is known of vats' names: `None` for those that have none.
    names: RefCell<BTreeMap<String, Option<String>>>,
    has_all_names: Cell<bool>,
}

#[derive(Debug)]
struct MappedFile {
    of: RecordingFile,
    index: Option<Index>,
    /// The piece of the recording that the first one of the file belongs to.
    base: u64,
    /// The number of pieces in the file.
    pieces: u64,
    /// What the files before tell.
    before: Context,
    next_before: u64,
}

impl MappedFile {
    /// Returns whether the last piece is not in the index.
    fn is_open(&self) -> bool {
        self.index.as_ref().is_none_or(|it| !it.reach().is_all)
    }

    fn unreadable(&self) -> impl Fn(std::io::Error) -> ReadError {
        |why| ReadError::Open { path: self.of.path.clone(), why }
    }

    /// Returns the beginning of a piece, by its number in the file.
    fn piece(&self, number: u64) -> Result<Piece, ReadError> {
        let piece = match &self.index {
            Some(index) => index.piece(number).map_err(self.unreadable())?,
            None => Piece::default(),
        };
        Ok(Piece { context: self.before.then(piece.context), ..piece })
    }

    fn last(&self) -> u64 {
        self.base + self.pieces - 1
    }

    fn next(&self, key: Key, from: u64) -> Result<Option<u64>, ReadError> {
        let found = match &self.index {
            Some(index) => index.next(key, from.saturating_sub(self.base)).map_err(self.unreadable())?,
            None => None,
        };
        let open = Some(self.last()).filter(|it| self.is_open() && *it >= from);
        Ok(found.map(|it| self.base + it).or(open))
    }

    fn previous(&self, key: Key, before: u64) -> Result<Option<u64>, ReadError> {
        if self.is_open() && self.last() < before {
            return Ok(Some(self.last()));
        }
        let found = match &self.index {
            Some(index) => index.previous(key, before.saturating_sub(self.base)).map_err(self.unreadable())?,
            None => None,
        };
        Ok(found.map(|it| self.base + it))
    }
}

impl Map {
    /// Opens a recording; `None` if it is a pipe.
    ///
    /// # Errors
    ///
    /// The recording cannot be read.
    pub(super) fn of(path: &Path, rules: Indexing) -> Result<Option<Map>, ReadError> {
        let Some(found) = RecordingFile::all_of(path)? else { return Ok(None) };
        let count = found.len();
        let mut files = Vec::new();
        let (mut base, mut before, mut next_before) = (0, Context::default(), 0);
        for (at, of) in found.into_iter().enumerate() {
            let is_last = at + 1 == count;
            let index = Index::of(&of, is_last, rules)?;
            let pieces = index.as_ref().map_or(1, |it| it.reach().pieces + u64::from(!it.reach().is_all));
            let file = MappedFile { of, index, base, pieces, before, next_before };
            if !is_last {
                let (context, cranks) = file.end()?;
                before = before.then(context);
                next_before = cranks.first.map_or(next_before, |_| cranks.next);
            }
            base += pieces - 1;
            files.push(file);
        }
        Ok(Some(Map { files, names: RefCell::default(), has_all_names: Cell::default() }))
    }

    /// Opens a recording that is no pipe.
    ///
    /// # Errors
    ///
    /// As [`Map::of`]; or it is a pipe.
    pub(super) fn of_file(path: &Path, rules: Indexing) -> Result<Map, ReadError> {
        must_be_a_file(path)?;
        Ok(Map::of(path, rules)?.unwrap_or_default())
    }

    /// Returns the number of the last piece.
    pub(super) fn last(&self) -> u64 {
        self.files.last().map_or(0, MappedFile::last)
    }

    /// Returns the first piece from this one on that may have the key.
    pub(super) fn next(&self, key: Key, from: u64) -> Result<Option<u64>, ReadError> {
        let at = self.files.partition_point(|it| it.last() < from);
        for file in &self.files[at..] {
            if let Some(found) = file.next(key, from)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the last piece before this one that may have the key.
    pub(super) fn previous(&self, key: Key, before: u64) -> Result<Option<u64>, ReadError> {
        let at = self.files.partition_point(|it| it.base < before);
        for file in self.files[..at].iter().rev() {
            if let Some(found) = file.previous(key, before)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the pieces from this one on that may have the key, in order.
    pub(super) fn having(&self, key: Key, from: u64) -> impl Iterator<Item = Result<u64, ReadError>> {
        let mut from = from;
        std::iter::from_fn(move || {
            let found = self.next(key, from).transpose()?;
            from = found.as_ref().map_or(u64::MAX, |it| it + 1);
            Some(found)
        })
    }

    /// Opens a piece: what was told before it, and its events.
    pub(super) fn read(&self, number: u64) -> Result<(Context, PieceReader), ReadError> {
        let at = self.files.partition_point(|it| it.last() < number);
        let Some(file) = self.files.get(at) else {
            let reader = Reader::of_files(Path::new(""), [], Default::default())?;
            return Ok((Context::default(), PieceReader { reader, end: u64::MAX }));
        };
        let piece = file.piece(number - file.base)?;
        let end = self.first_line_of(number + 1)?;
        let files = self.files[at..].iter().map(|it| it.of.clone());
        let reader = Reader::of_files(&file.of.path, files, piece.from)?;
        Ok((piece.context, PieceReader { reader, end }))
    }

    /// Returns the line of the recording with which a piece begins; beyond all lines if there is no such piece.
    fn first_line_of(&self, number: u64) -> Result<u64, ReadError> {
        let Some(file) = self.files.iter().find(|it| it.last() >= number) else { return Ok(u64::MAX) };
        let piece = file.piece(number - file.base)?;
        Ok(first_line(file.of.number) + piece.from.lines + 1)
    }

    /// Returns which cranks count, and what else is told of the recording as a whole.
    pub(super) fn history(&self) -> Result<History, ReadError> {
        let mut history = History::default();
        let is_whole = self.is_whole();
        for file in &self.files {
            let offset = first_line(file.of.number);
            let cranks = file.index.as_ref().map(|it| it.reach().cranks).unwrap_or_default();
            if let Some((line, crank)) = cranks.first {
                history.turn_if(file.next_before, offset + line, crank);
            }
            let turns = file.index.iter().flat_map(Index::turns);
            turns.for_each(|(line, crank)| history.turn(offset + line, crank));
            history.widen(cranks.extent, cranks.detail);
            if file.is_open() {
                let mut next = cranks.first.map_or(file.next_before, |_| cranks.next);
                let start = file.piece(file.pieces - 1)?.from;
                let rest = Reader::of_files(&file.of.path, [file.of.clone()], start)?;
                for record in rest {
                    let record = record?;
                    history.add(&record, &mut next);
                    if let (RecordedEvent::CreateVat { vat, name }, true) = (record.event(), is_whole) {
                        self.names.borrow_mut().insert(vat.to_owned(), Some(name.to_owned()));
                    }
                }
            }
        }
        self.has_all_names.set(is_whole);
        Ok(history)
    }

    /// Returns whether no file has an index.
    fn is_whole(&self) -> bool {
        self.files.iter().all(|it| it.index.is_none())
    }

    /// Returns a vat's name: the one that it was given last.
    pub(super) fn name(&self, vat: &str) -> Result<Option<String>, ReadError> {
        if let Some(known) = self.names.borrow().get(vat) {
            return Ok(known.clone());
        }
        if self.is_whole() {
            self.learn_all_names()?;
            return Ok(self.names.borrow().get(vat).cloned().flatten());
        }
        let mut before = self.last() + 1;
        let mut name = None;
        while let Some(piece) = self.previous(Word::Created(vat).key(), before)?.filter(|_| name.is_none()) {
            for record in self.read(piece)?.1 {
                if let RecordedEvent::CreateVat { vat: created, name: given } = record?.event()
                    && created == vat
                {
                    name = Some(given.to_owned());
                }
            }
            before = piece;
        }
        self.names.borrow_mut().insert(vat.to_owned(), name.clone());
        Ok(name)
    }

    /// Learns the names of all vats, unless they are known.
    fn learn_all_names(&self) -> Result<(), ReadError> {
        if !self.has_all_names.replace(true) {
            for record in self.read(0)?.1 {
                if let RecordedEvent::CreateVat { vat, name } = record?.event() {
                    self.names.borrow_mut().insert(vat.to_owned(), Some(name.to_owned()));
                }
            }
        }
        Ok(())
    }
}

impl MappedFile {
    /// Returns what the file has told at its end.
    fn end(&self) -> Result<(Context, CrankRange), ReadError> {
        let (mut context, mut cranks) = match &self.index {
            Some(index) => (index.reach().open.context, index.reach().cranks),
            None => Default::default(),
        };
        if self.is_open() {
            let start = self.piece(self.pieces - 1)?.from;
            for record in Reader::of_files(&self.of.path, [self.of.clone()], start)? {
                let record = record?;
                context.add(&record);
                if let RecordedEvent::CrankStart { crank: Some(crank), .. } = record.event() {
                    cranks.begin(record.line, crank);
                }
            }
        }
        Ok((context, cranks))
    }
}

/// Reads the events of a piece.
#[derive(Debug)]
pub(super) struct PieceReader {
    reader: Reader,
    /// The line at which the next piece begins.
    end: u64,
}

impl PieceReader {
    /// Returns how many times so far the recording broke off in the middle of an event.
    pub(super) fn torn(&self) -> u64 {
        self.reader.torn()
    }
}

impl Iterator for PieceReader {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.reader.next().filter(|it| it.as_ref().map_or(true, |it| it.line < self.end))
    }
}
