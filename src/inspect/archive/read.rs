//! Reads an archive, and trusts nothing in it.

use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read},
    path::Path,
};

use serde::de::DeserializeOwned;

use crate::{
    inspect::{
        archive::{
            ArchiveError, End, FORMAT, FRAME, FRAME_BYTES_MAX, HASH_LEN, Head, MARK, PIECE_BYTES_MAX, Piece, Summary,
        },
        verify,
    },
    model::{blame::HostFault, engine_version, files, id::hex, kernel_version},
    store::{Database, Layout, upgrade_rows},
};

type Result<T> = std::result::Result<T, ArchiveError>;

/// Reads an archive into an empty database, and audits the state. `progress` is called with the bytes that were read so far, and with
/// their total.
pub fn read(path: &Path, database: &mut Database, progress: &mut dyn FnMut(u64, u64)) -> Result<Summary> {
    let mut reader = PieceReader::open(path)?;
    let head = reader.head()?;
    usable(path, &head)?;
    let layouts = database.layouts()?;
    let restore = database.restore()?;
    let (mut pieces, mut rows, mut raw) = (0, 0, 0);
    loop {
        let begin = reader.at;
        let before = reader.hasher.finalize();
        let contents = reader.frame()?;
        if let Ok(end) = serde_json::from_slice::<End>(&contents) {
            let whole = End { pieces, rows, checksum: hex(before.as_bytes()) };
            if end != whole {
                return Err(ArchiveError::damaged(path, "its end", format!("recorded {end:?}, found {whole:?}")));
            }
            break;
        }
        let piece: Piece = reader.parsed(&contents, begin)?;
        let unpacked = reader.rows(&piece)?;
        let mut rest = &unpacked[..];
        let at = || format!("a piece of table `{}`, byte {begin}", piece.table);
        let layout = Layout { name: piece.table.clone(), columns: piece.columns.clone() };
        if !layouts.contains(&layout) {
            let why =
                format!("it has a table `{}` {:?}, which this version does not know", layout.name, layout.columns);
            return Err(ArchiveError::foreign(path, why));
        }
        for _ in 0..piece.rows {
            restore.row(&layout, &mut rest).map_err(|err| ArchiveError::damaged(path, at(), err))?;
        }
        if !rest.is_empty() {
            return Err(ArchiveError::damaged(path, at(), "bytes are left over"));
        }
        (pieces, rows, raw) = (pieces + 1, rows + piece.rows, raw + piece.raw);
        progress(reader.at, reader.len);
    }
    if reader.at != reader.len {
        let (at, more) = (format!("byte {}", reader.at), reader.len - reader.at);
        return Err(ArchiveError::damaged(path, at, format!("{more} bytes stand behind its end")));
    }
    restore.finish()?;
    upgrade_rows(database, head.schema)?;
    confirm(path, &head, database)?;
    Ok(Summary { head, rows, raw, bytes: reader.len })
}

/// Checks that this binary could continue with the state.
fn usable(path: &Path, head: &Head) -> Result<()> {
    let by = &head.written_by;
    if head.schema != Database::SCHEMA && !Database::SCHEMAS_BEFORE.contains(&head.schema) {
        let why = format!("schema version {}, this binary has {}: use vathost {by}", head.schema, Database::SCHEMA);
        return Err(ArchiveError::foreign(path, why));
    }
    if !engine_version::is_known(head.engine_version) || !kernel_version::is_known(head.kernel_version) {
        let Head { engine_version: engine, kernel_version: kernel, .. } = head;
        let why = format!(
            "its vats run on engine version {engine}, kernel {kernel}; this binary can run engine {}, kernel {}: use vathost {by}",
            engine_version::known(),
            kernel_version::known()
        );
        return Err(ArchiveError::foreign(path, why));
    }
    Ok(())
}

/// Checks that the rows pass the audit, and that they are the state that the head names.
fn confirm(path: &Path, head: &Head, database: &Database) -> Result<()> {
    let report = verify::verify(database)?;
    if let Some((check, finding)) = report.first_finding() {
        return Err(ArchiveError::damaged(path, format!("what it holds ({check})"), finding));
    }
    let found = Head::of_state(database)?;
    if (Head { written_by: head.written_by.clone(), schema: head.schema, ..found.clone() }) != *head {
        return Err(ArchiveError::damaged(path, "its head", format!("it says {head:?}, the rows are {found:?}")));
    }
    Ok(())
}

struct PieceReader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    at: u64,
    len: u64,
}

impl PieceReader<'_> {
    fn open(path: &Path) -> Result<PieceReader<'_>> {
        let fault = |err| HostFault::new(format_args!("read `{}`", path.display()), err);
        let file = files::open(path).map_err(|err| match err.kind() {
            ErrorKind::InvalidInput | ErrorKind::IsADirectory => ArchiveError::foreign(path, err),
            _ => fault(err).into(),
        })?;
        let about = file.metadata().map_err(fault)?;
        if !about.is_file() {
            return Err(ArchiveError::foreign(path, "it is no file: an archive is one"));
        }
        Ok(PieceReader { path, file: BufReader::new(file), hasher: blake3::Hasher::new(), at: 0, len: about.len() })
    }

    fn head(&mut self) -> Result<Head> {
        let foreign = |why: &str| ArchiveError::foreign(self.path, why);
        if self.len < 8 {
            return Err(foreign("it is no archive of a vathost state: it is too short"));
        }
        let magic = self.file.by_ref().bytes().take(4).collect::<std::io::Result<Vec<u8>>>();
        let magic = magic.map_err(|err| HostFault::new(format_args!("read `{}`", self.path.display()), err))?;
        if magic != FRAME.to_le_bytes() {
            return Err(foreign("it is no archive of a vathost state: `vathost export` makes one"));
        }
        self.hasher.update(&magic);
        self.at = 4;
        let contents = self.contents(0)?;
        let head: serde_json::Value = self.parsed(&contents, 0)?;
        if head["vathost"] != MARK {
            return Err(foreign("it is no archive of a vathost state: `vathost export` makes one"));
        }
        if head["format"] != FORMAT {
            let why = format!("its format is {}, this version reads {FORMAT}", head["format"]);
            return Err(ArchiveError::foreign(self.path, why));
        }
        self.parsed(&contents, 0)
    }

    fn parsed<T: DeserializeOwned>(&self, contents: &[u8], begin: u64) -> Result<T> {
        serde_json::from_slice(contents).map_err(|err| self.damaged(begin, err))
    }

    fn damaged(&self, begin: u64, why: impl ToString) -> ArchiveError {
        ArchiveError::damaged(self.path, format!("bytes {begin} to {}", self.at), why)
    }

    fn take(&mut self, length: u64, what: &str) -> Result<Vec<u8>> {
        let begin = self.at;
        let left = self.len - self.at;
        if length > left {
            self.at = self.len;
            return Err(self.damaged(begin, format!("it ends there: {what} of {length} bytes, {left} are left")));
        }
        let mut bytes = Vec::new();
        let read = self.file.by_ref().take(length).read_to_end(&mut bytes);
        read.map_err(|err| HostFault::new(format_args!("read `{}`", self.path.display()), err))?;
        self.at += bytes.len() as u64;
        if bytes.len() as u64 != length {
            return Err(self.damaged(begin, "it became shorter meanwhile"));
        }
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    /// Reads the contents of the frame that begins here.
    fn frame(&mut self) -> Result<Vec<u8>> {
        let begin = self.at;
        if self.take(4, "a frame's mark")? != FRAME.to_le_bytes() {
            return Err(self.damaged(begin, "no frame begins there"));
        }
        self.contents(begin)
    }

    fn contents(&mut self, begin: u64) -> Result<Vec<u8>> {
        let length = self.take(4, "a frame's length")?;
        let length = length.try_into().map_or(0, u32::from_le_bytes);
        if !(HASH_LEN..FRAME_BYTES_MAX).contains(&length) {
            return Err(self.damaged(begin, format!("a frame cannot have {length} bytes")));
        }
        let mut contents = self.take(length.into(), "a frame")?;
        let json = contents.split_off(HASH_LEN as usize);
        if *blake3::hash(&json).as_bytes() != contents[..] {
            return Err(self.damaged(begin, "the frame does not have its hash"));
        }
        Ok(json)
    }

    /// The rows of a piece, unpacked.
    fn rows(&mut self, piece: &Piece) -> Result<Vec<u8>> {
        let begin = self.at;
        let table = &piece.table;
        let packed = self.take(piece.bytes, &format!("a piece of table `{table}`"))?;
        if hex(blake3::hash(&packed).as_bytes()) != piece.hash {
            return Err(self.damaged(begin, format!("a piece of table `{table}` does not have its hash")));
        }
        if piece.raw > PIECE_BYTES_MAX {
            return Err(self.damaged(begin, format!("a piece cannot have {} bytes", piece.raw)));
        }
        let mut rows = Vec::new();
        let unpack = zstd::stream::read::Decoder::with_buffer(&packed[..])
            .and_then(|it| it.take(piece.raw + 1).read_to_end(&mut rows));
        match unpack {
            Ok(_) if rows.len() as u64 == piece.raw => Ok(rows),
            Ok(_) => Err(self.damaged(begin, format!("a piece of table `{table}` has another length than it says"))),
            Err(err) => Err(self.damaged(begin, format!("a piece of table `{table}`: {err}"))),
        }
    }
}
