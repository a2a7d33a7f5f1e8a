//! The sink of a recording: the end of a file, compressed or not.
//!
//! Invariant: what the file held is still there, and still readable, after more was appended, even where its last writer was
//! killed in the middle of a line or of a compressed block.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

use zstd::stream::write::Encoder;

use crate::slog::{
    SlogFormat,
    packed::HEAD,
    reader::{Format, MAGIC_BYTES},
    zstd_tail::{self, Tail},
};

/// The fastest of the usual ones: the vats wait for it.
const ZSTD_LEVEL: i32 = 1;

/// Bytes of text in a frame, about: an index leads to frames, which are then read from their beginning.
const FRAME_BYTES: usize = 1 << 20;

/// The tries to lock the file while another process holds it: half a second in all.
const LOCK_TRIES: u32 = 50;
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// The end of a file.
#[derive(Debug)]
pub(super) enum Sink {
    Plain(File),
    Zstd(Frames),
    /// Takes pages, not lines.
    Binary(File),
}

impl Sink {
    /// Opens the file, or makes it, and gets it ready to be appended to.
    pub(super) fn open(path: &Path, format: SlogFormat) -> io::Result<Sink> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        let format = match format {
            SlogFormat::Binary => Format::Binary,
            SlogFormat::Json if path.extension().is_some_and(|it| it == "zst") => Format::Zstd,
            SlogFormat::Json => Format::Plain,
        };
        // A pipe or a terminal has no past.
        if file.metadata()?.is_file() {
            lock(&file)?;
            mend(path, &mut file, format)?;
        }
        Ok(match format {
            Format::Binary => Sink::Binary(file),
            Format::Zstd => Sink::Zstd(Frames { file, open: None, text: 0 }),
            _ => Sink::Plain(file),
        })
    }

    /// Returns whether it takes pages, instead of lines.
    pub(super) fn takes_pages(&self) -> bool {
        matches!(self, Sink::Binary(_))
    }

    /// Takes more of the recording: whole lines, or a page.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            // At once: so it is whole, or lacks its end.
            Sink::Binary(file) if !bytes.is_empty() => file.write_all(&zstd::bulk::compress(bytes, ZSTD_LEVEL)?),
            Sink::Binary(_) => Ok(()),
            Sink::Plain(file) => file.write_all(bytes),
            Sink::Zstd(frames) if !bytes.is_empty() => frames.write(bytes),
            Sink::Zstd(_) => Ok(()),
        }
    }

    /// Makes all of it readable; more is expected. Returns the file's bytes.
    pub(super) fn sync(&mut self) -> io::Result<u64> {
        if let Sink::Zstd(Frames { open: Some(open), .. }) = self {
            open.flush()?;
        }
        self.bytes()
    }

    /// Makes all of it readable, and whole: any tool can read it now. Returns the file's bytes.
    pub(super) fn finish(&mut self) -> io::Result<u64> {
        if let Sink::Zstd(frames) = self {
            frames.finish()?;
        }
        self.bytes()
    }

    fn bytes(&self) -> io::Result<u64> {
        let (Sink::Plain(file) | Sink::Binary(file) | Sink::Zstd(Frames { file, .. })) = self;
        Ok(file.metadata()?.len())
    }

    /// Drops the sink without writing any more.
    pub(super) fn abandon(self) {
        drop(self);
    }
}

/// Zstandard frames at the end of a file. Nobody but a decoder sees that there is more than one.
pub(super) struct Frames {
    file: File,
    open: Option<Encoder<'static, File>>,
    /// Bytes of text in the frame.
    text: usize,
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.text >= FRAME_BYTES {
            self.finish()?;
        }
        self.text += bytes.len();
        self.encoder()?.write_all(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.text = 0;
        self.open.take().map_or(Ok(()), |open| open.finish().map(drop))
    }

    fn encoder(&mut self) -> io::Result<&mut Encoder<'static, File>> {
        let encoder = match self.open.take() {
            Some(open) => open,
            None => Encoder::new(self.file.try_clone()?, ZSTD_LEVEL)?,
        };
        Ok(self.open.insert(encoder))
    }
}

/// Two hosts that record to one file would leave a file that nobody can read. One that is about to be gone is waited for.
#[allow(clippy::disallowed_methods, reason = "before the host runs anything")]
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_INTERVAL),
            // Where locks are not supported, there is nothing to go by.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
    }
    Err(io::Error::other("another process is recording to it"))
}

/// Makes the end of a recording fit to be appended to: the line or block that its last writer did not finish must not swallow
/// what follows.
fn mend(path: &Path, file: &mut File, format: Format) -> io::Result<()> {
    let mut old = File::open(path)?;
    let mut magic = Vec::new();
    (&old).take(MAGIC_BYTES).read_to_end(&mut magic)?;
    if magic.is_empty() {
        return if format == Format::Binary { file.write_all(&HEAD) } else { Ok(()) };
    }
    if format == Format::Binary && HEAD.starts_with(&magic) && magic.len() < HEAD.len() {
        return file.write_all(&HEAD[magic.len()..]);
    }
    let found = Format::of(&magic);
    if found != format {
        return Err(io::Error::other(format!("it exists, and is {found}, not {format}: choose another name")));
    }
    if format == Format::Binary && magic != HEAD {
        return Err(io::Error::other("it is of another version: choose another name"));
    }
    if format == Format::Plain {
        old.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        old.read_exact(&mut last)?;
        return if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") };
    }
    match zstd_tail::find(&mut old)? {
        Tail::Whole => Ok(()),
        Tail::Header { frame } => file.set_len(frame),
        // A page is a frame, and whole or nothing.
        Tail::Blocks { frame, .. } if format == Format::Binary => file.set_len(frame),
        Tail::Blocks { end, .. } => {
            file.set_len(end)?;
            file.write_all(&zstd_tail::LAST_BLOCK)?;
            // The block that was lost may have held the end of a line.
            file.write_all(&zstd::encode_all(&b"\n"[..], ZSTD_LEVEL)?)
        }
    }
}
