//! Reads a recording, event by event, in constant memory.
//!
//! It may be plain, Zstandard, gzip or binary, told apart by content; it may break off anywhere, since its writer may have been killed or
//! may still be at work; it may be SwingSet's own. Events and fields that are not known are no error. A recording that was rotated is
//! read from its oldest part to the file that is being written (`rotation`); a part that is named is read alone.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    fs::File,
    io::{self, BufRead, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use serde_json::Value;

use crate::{
    model::files,
    slog::{
        SlogFormat, packed,
        rotation::{self, FileId, Part},
        text::{self, Following, Growing, SharedWait, Spot, Text, Wait},
    },
};

/// Bytes of a line. No event comes near: what is longer is no recording, and would fill the memory.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Number of bytes that tell the format of a file.
pub(super) const MAGIC_BYTES: u64 = packed::HEAD.len() as u64;

/// The packing of a recording: plain text, or compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Zstd,
    Gzip,
    Binary,
}

impl Format {
    /// Tells the format by the first bytes of a file.
    pub(super) fn of(magic: &[u8]) -> Format {
        match magic {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
            [0x1f, 0x8b, ..] => Format::Gzip,
            _ if magic.starts_with(&packed::HEAD[..4]) => Format::Binary,
            _ => Format::Plain,
        }
    }
}

impl SlogFormat {
    /// Tells the format of a recording that exists; `None` if there is none, or nothing is in it.
    pub fn of_file(path: &Path) -> Option<SlogFormat> {
        let mut magic = Vec::new();
        let file = path.metadata().is_ok_and(|it| it.is_file()).then(|| files::open(path).ok()).flatten()?;
        file.take(MAGIC_BYTES).read_to_end(&mut magic).ok()?;
        (!magic.is_empty()).then(|| match Format::of(&magic) {
            Format::Binary => SlogFormat::Binary,
            Format::Plain | Format::Zstd | Format::Gzip => SlogFormat::Json,
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Plain => "plain",
            Format::Zstd => "Zstandard",
            Format::Gzip => "gzip",
            Format::Binary => "binary",
        })
    }
}

/// The reason why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is not there, or may not be read.
    #[error("{}: {why}", path.display())]
    Open {
        /// The file that cannot be opened.
        path: PathBuf,
        /// The error of the system.
        why: io::Error,
    },
    /// The line is no event.
    #[error("{}:{line}: {why}", path.display())]
    Line {
        /// The file with the error.
        path: PathBuf,
        /// The line, from 1, of the text in it.
        line: u64,
        /// The mistake in the line.
        why: String,
    },
}

/// One event of a recording, as it was read.
#[derive(Debug, Clone)]
pub struct Record {
    /// The event's line, from 1. In the second file of a recording that is rotated they begin at 2⁴⁰ + 1, and so on: a line keeps its
    /// number when its file gets another name.
    pub line: u64,
    /// The event as JSON.
    pub value: Value,
}

impl Record {
    /// Returns the event's type. SwingSet's names for what happens to blocks start with the name of the chain; that
    /// prefix is left out.
    pub fn kind(&self) -> &str {
        let kind = self.text("type").unwrap_or_default();
        kind.strip_prefix("cosmic-swingset-").unwrap_or(kind)
    }

    /// Returns a field that is text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.value.get(field)?.as_str()
    }

    /// Returns a field that is a number, or text that spells one.
    pub fn number(&self, field: &str) -> Option<u64> {
        let value = self.value.get(field)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }

    /// Returns a field that is a number of seconds.
    pub fn seconds(&self, field: &str) -> Option<f64> {
        self.value.get(field)?.as_f64()
    }

    /// Returns whether the event belongs to the replay of a vat that is brought back, and not to something new.
    pub fn is_replay(&self) -> bool {
        self.value.get("replay").and_then(Value::as_bool).unwrap_or(false)
    }
}

/// Reads the events of a file, in order.
pub struct Reader {
    /// The recording, as it was named.
    path: PathBuf,
    /// The file of it that is being read.
    file: PathBuf,
    input: Box<dyn Text>,
    /// Where the event that was read last is.
    at: Option<Position>,
    /// The files that come after that one, as far as they are known.
    rest: VecDeque<Source>,
    /// The line in the file.
    line: u64,
    /// Added to a line of the file.
    first: u64,
    torn: u64,
    done: bool,
    /// What is asked whether more may come; and the file that is followed.
    following: Option<(SharedWait, FileId)>,
}

/// The files that are to be read; and what is asked whether more may come, with the file that is followed.
type Sources = (VecDeque<Source>, Option<(SharedWait, FileId)>);

/// A file that is still to be read.
enum Source {
    Part(Part),
    /// The file that is being written, and the number that it will have as a part.
    Last(u64, File),
    /// A file that is open, from a place on.
    Opened(RecordingFile, Position),
}

/// A file of a recording, as long as it was when it was opened.
#[derive(Debug, Clone)]
pub(crate) struct RecordingFile {
    /// The number that it has, or will have, as a part.
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(super) file: Arc<File>,
    /// Its bytes.
    pub(super) length: u64,
}

/// The place of a line in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(super) spot: Spot,
    /// The number of lines before it in the file.
    pub(crate) lines: u64,
}

/// Added to the lines of a part, for each part before it.
const LINES_OF_PART: u64 = 1 << 40;

/// Returns what is added to the lines of the file with this number.
pub(crate) fn first_line(number: u64) -> u64 {
    number.saturating_sub(1).saturating_mul(LINES_OF_PART)
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

/// A line that may lack its end.
pub(super) struct RawLine {
    number: u64,
    pub(super) bytes: Vec<u8>,
    whole: bool,
    pub(super) at: Option<Position>,
}

impl RecordingFile {
    /// Opens the files of a recording, the oldest first; `None` if it is a pipe.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`].
    pub(crate) fn all_of(path: &Path) -> Result<Option<Vec<RecordingFile>>, ReadError> {
        let failed = |path: &Path, why| ReadError::Open { path: path.to_owned(), why };
        let (rest, _) = Reader::sources(path, None)?;
        let mut files = Vec::new();
        for source in rest {
            let (number, at, file) = match source {
                Source::Last(number, file) => (number, path.to_owned(), file),
                Source::Part(part) => match files::open(&part.path) {
                    Ok(file) => (part.number, part.path, file),
                    Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                    Err(why) => return Err(failed(&part.path, why)),
                },
                Source::Opened(..) => continue,
            };
            let metadata = file.metadata().map_err(|why| failed(&at, why))?;
            if !metadata.is_file() {
                return Ok(None);
            }
            files.push(RecordingFile { number, path: at, file: Arc::new(file), length: metadata.len() });
        }
        Ok(Some(files))
    }
}

impl Reader {
    /// Opens a recording, to read what it holds now: its writer may be faster than the reader.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`].
    pub fn open(path: &Path) -> Result<Reader, ReadError> {
        Reader::with(path, None)
    }

    /// Opens a recording that is being written. Where it ends, `wait` is asked whether more may come: it should take its time, and
    /// what is there once it says no is the end. Compressed, more comes block by block, as the writer commits them.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`].
    pub fn follow(path: &Path, wait: impl FnMut() -> bool + 'static) -> Result<Reader, ReadError> {
        Reader::with(path, Some(Box::new(wait)))
    }

    /// Reads these files, the first from a place on.
    pub(crate) fn of_files(
        path: &Path,
        files: impl IntoIterator<Item = RecordingFile>,
        from: Position,
    ) -> Result<Reader, ReadError> {
        let mut from = Some(from);
        let rest = files.into_iter().map(|it| Source::Opened(it, from.take().unwrap_or_default())).collect();
        Reader::reading(path, rest, None)
    }

    fn reading(
        path: &Path,
        rest: VecDeque<Source>,
        following: Option<(SharedWait, FileId)>,
    ) -> Result<Reader, ReadError> {
        let (path, input) = (path.to_owned(), text::nothing());
        let mut reader = Reader {
            file: path.clone(),
            path,
            input,
            at: None,
            rest,
            line: 0,
            first: 0,
            torn: 0,
            done: false,
            following,
        };
        reader.next_file()?;
        Ok(reader)
    }

    fn with(path: &Path, wait: Option<Wait>) -> Result<Reader, ReadError> {
        let (rest, following) = Reader::sources(path, wait)?;
        Reader::reading(path, rest, following)
    }

    fn sources(path: &Path, wait: Option<Wait>) -> Result<Sources, ReadError> {
        let failed = |why| ReadError::Open { path: path.to_owned(), why };
        // First the file, then its parts: so none is missed, whenever it is rotated.
        let last = files::open(path);
        let parts = rotation::parts(path);
        let number = parts.last().map_or(1, |it| it.number + 1);
        let mut rest: VecDeque<Source> = parts.into_iter().map(Source::Part).collect();
        let mut following = None;
        match last {
            Ok(file) => {
                let metadata = file.metadata().map_err(failed)?;
                let id = (metadata.dev(), metadata.ino());
                // A pipe (which this process was started with) says by itself when it ends.
                following = wait.filter(|_| metadata.is_file()).map(|it| (Rc::new(RefCell::new(Some(it))), id));
                let is_part = |it: &Source| matches!(it, Source::Part(part) if rotation::id_of(&part.path) == Some(id));
                if !rest.iter().any(is_part) {
                    rest.push_back(Source::Last(number, file));
                }
            }
            // It is between two names, or was taken away.
            Err(err) if err.kind() == io::ErrorKind::NotFound && !rest.is_empty() => (),
            Err(err) => return Err(failed(err)),
        }
        Ok((rest, following))
    }

    /// Goes on to the next file of the recording; whether there is one.
    fn next_file(&mut self) -> Result<bool, ReadError> {
        if self.rest.is_empty() {
            self.find_successors();
        }
        while let Some(source) = self.rest.pop_front() {
            let (number, path, file, wait) = match source {
                Source::Opened(of, from) => {
                    self.input = text::open_at(&of.file, from.spot, of.length)
                        .map_err(|why| ReadError::Open { path: of.path.clone(), why })?;
                    self.done = false;
                    (self.file, self.line, self.first) = (of.path, from.lines, first_line(of.number));
                    return Ok(true);
                }
                Source::Last(number, file) => {
                    let wait = self.following.as_ref().map(|(wait, id)| Following {
                        wait: wait.clone(),
                        path: self.path.clone(),
                        id: *id,
                    });
                    (number, self.path.clone(), file, wait)
                }
                Source::Part(part) => match files::open(&part.path) {
                    Ok(file) => (part.number, part.path, file, None),
                    // The oldest part goes while others are read.
                    Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                    Err(why) => return Err(ReadError::Open { path: part.path, why }),
                },
            };
            self.input = Growing::new(Arc::new(file), wait)
                .and_then(text::open)
                .map_err(|why| ReadError::Open { path: path.clone(), why })?;
            self.done = false;
            (self.file, self.line, self.first) = (path, 0, first_line(number));
            return Ok(true);
        }
        Ok(false)
    }

    /// Finds the files that came after the one that was followed, once that is rotated.
    fn find_successors(&mut self) {
        let Some((_, followed)) = &mut self.following else { return };
        let Ok(file) = files::open(&self.path) else { return };
        let Ok(id) = file.metadata().map(|it| (it.dev(), it.ino())) else { return };
        if id == *followed {
            return;
        }
        let parts = rotation::parts(&self.path);
        let number = parts.last().map_or(1, |it| it.number + 1);
        // Where it is gone already, all parts that are left came after it.
        let at = parts.iter().position(|it| rotation::id_of(&it.path) == Some(*followed)).map_or(0, |at| at + 1);
        self.rest
            .extend(parts.into_iter().skip(at).filter(|it| rotation::id_of(&it.path) != Some(id)).map(Source::Part));
        self.rest.push_back(Source::Last(number, file));
        *followed = id;
    }

    /// Returns how many times so far the recording broke off in the middle of an event.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Returns the next line as it is, which may lack its end where the recording breaks off.
    ///
    /// # Errors
    ///
    /// [`ReadError::Line`], if a file cannot be unpacked; [`ReadError::Open`].
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if self.done {
            return Ok(None);
        }
        Ok(self.take_line()?.map(|it| it.bytes))
    }

    /// Returns the place of the event that was read last; `None` where a file is read from its beginning only.
    pub(super) fn position(&self) -> Option<Position> {
        self.at
    }

    /// Returns the place of what is read next.
    pub(super) fn end(&self) -> Option<Position> {
        self.input.spot().map(|spot| Position { spot, lines: self.line })
    }

    /// The next line that is not blank.
    pub(super) fn take_line(&mut self) -> Result<Option<RawLine>, ReadError> {
        loop {
            let at = self.input.spot().map(|spot| Position { spot, lines: self.line });
            let mut bytes = Vec::new();
            let read = self.input.as_mut().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
            self.line += 1;
            match read {
                Ok(_) => (),
                // A compressed file that breaks off.
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                    self.done = true;
                    self.torn += u64::from(bytes.is_empty());
                }
                Err(err) => return Err(self.error(self.line, err)),
            }
            if bytes.is_empty() {
                if self.next_file()? {
                    continue;
                }
                return Ok(None);
            }
            let whole = bytes.ends_with(b"\n");
            if !whole && bytes.len() as u64 == LINE_BYTES_MAX {
                return Err(self.error(self.line, format_args!("a line of more than {LINE_BYTES_MAX} bytes")));
            }
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some(RawLine { number: self.first + self.line, bytes, whole, at }));
            }
        }
    }

    fn read(&mut self) -> Result<Option<Record>, ReadError> {
        let Some(line) = self.take_line()? else { return Ok(None) };
        self.record_of(line)
    }

    /// Returns the event of the line that was read last; of the one after it, if this one is torn.
    pub(super) fn record_of(&mut self, line: RawLine) -> Result<Option<Record>, ReadError> {
        let why = match line.parse() {
            Ok(record) => {
                self.at = line.at;
                return Ok(Some(record));
            }
            Err(why) => why,
        };
        if !line.whole {
            self.torn += 1;
            // Only of the last file is it the end.
            return if self.next_file()? { self.read() } else { Ok(None) };
        }
        // The writer was killed; the next writer of the recording noted that first of all.
        let next = self.take_line()?.and_then(|it| {
            self.at = it.at;
            it.parse().ok()
        });
        let next = next.filter(|it| it.kind() == "host-start");
        if next.is_none() {
            return Err(self.error(line.number - self.first, why));
        }
        self.torn += 1;
        Ok(next)
    }

    fn error(&self, line: u64, why: impl fmt::Display) -> ReadError {
        ReadError::Line { path: self.file.clone(), line, why: why.to_string() }
    }
}

impl Iterator for Reader {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read().transpose();
        self.done |= !matches!(next, Some(Ok(_)));
        next
    }
}

impl RawLine {
    fn parse(&self) -> Result<Record, String> {
        let text = str::from_utf8(&self.bytes).map_err(|err| err.to_string())?.trim();
        // The error's line is that of this text, 1.
        let value: Value = serde_json::from_str(text)
            .map_err(|err| format!("not JSON: {}", err.to_string().replace("line 1 ", "")))?;
        if !value.get("type").is_some_and(Value::is_string) {
            return Err("no event: it has no `type`".to_owned());
        }
        Ok(Record { line: self.number, value })
    }
}

/// Refuses a path that is a pipe, because the recording is read twice.
pub(crate) fn must_be_a_file(path: &Path) -> Result<(), ReadError> {
    if path.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir()) {
        let why = io::Error::other("it is read twice, so it must be a file, not a pipe");
        return Err(ReadError::Open { path: path.to_owned(), why });
    }
    Ok(())
}
