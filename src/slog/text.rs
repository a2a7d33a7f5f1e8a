//! The text of a recording's file, whatever it is packed in, and the places in it from which on it can be read.
//!
//! Invariant: what is read from a place on is what is read there from the beginning on.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use zstd::stream::read::Decoder;

use crate::slog::{
    packed::{self, Pages},
    reader::{Format, MAGIC_BYTES},
    rotation::{self, FileId},
};

/// Bytes of text that are unpacked at once.
const BUFFER_BYTES: usize = 1 << 16;

/// A place in the text of a file: so many bytes behind the beginning of a frame.
///
/// In a plain file each byte begins a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spot {
    /// The offset in the file of the frame.
    pub(super) frame: u64,
    /// The bytes of text behind it.
    pub(super) skip: u64,
}

/// Text that tells where it is.
pub(super) trait Text: BufRead {
    /// Returns the place of what is read next; `None` in a format that can be read from its beginning only.
    fn spot(&self) -> Option<Spot>;
}

/// Takes its time, and says whether more may come.
pub(super) type Wait = Box<dyn FnMut() -> bool>;

/// The way to wait, shared by the files of a recording that is followed; `None` once nothing more will come than is there.
pub(super) type SharedWait = Rc<RefCell<Option<Wait>>>;

/// The way in which a file is waited for.
pub(super) struct Following {
    pub(super) wait: SharedWait,
    pub(super) path: PathBuf,
    pub(super) id: FileId,
}

/// A file that may grow.
pub(super) struct Growing {
    file: Arc<File>,
    is_pipe: bool,
    at: u64,
    /// What lies behind is not read.
    end: u64,
    /// `None` once nothing more will come than is there.
    following: Option<Following>,
}

impl Growing {
    /// Reads a file as long as it is now, or follows it.
    pub(super) fn new(file: Arc<File>, following: Option<Following>) -> io::Result<Growing> {
        let metadata = file.metadata()?;
        let is_pipe = !metadata.is_file();
        let end = if is_pipe || following.is_some() { u64::MAX } else { metadata.len() };
        Ok(Growing { file, is_pipe, at: 0, end, following })
    }

    /// Reads this part of a file.
    pub(super) fn between(file: Arc<File>, at: u64, end: u64) -> Growing {
        Growing { file, is_pipe: false, at, end, following: None }
    }

    fn read_now(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        let into = &mut into[..count];
        let count = if self.is_pipe { (&*self.file).read(into)? } else { self.file.read_at(into, self.at)? };
        self.at += count as u64;
        Ok(count)
    }
}

impl Read for Growing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.read_now(into)?;
            let Some(following) = self.following.as_ref().filter(|_| count == 0 && !into.is_empty()) else {
                return Ok(count);
            };
            let mut wait = following.wait.borrow_mut();
            let may_come = wait.as_mut().is_some_and(|wait| wait());
            if !may_come {
                *wait = None;
            }
            drop(wait);
            // What was written while it waited is still to be read; once it has another name nothing comes any more.
            let is_rotated = rotation::id_of(&following.path).is_some_and(|it| it != following.id);
            if !may_come || is_rotated {
                self.following = None;
            }
        }
    }
}

/// Returns a text that has ended.
pub(super) fn nothing() -> Box<dyn Text> {
    Box::new(Packed(io::empty()))
}

/// Opens the text of a file that is read from its beginning.
pub(super) fn open(mut file: Growing) -> io::Result<Box<dyn Text>> {
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC_BYTES).read_to_end(&mut magic)?;
    let format = Format::of(&magic);
    check_version(format, &magic)?;
    // Not a seek: it may be a pipe.
    let file = io::Cursor::new(magic).chain(file);
    Ok(match format {
        Format::Binary => Box::new(Pages::new(Counted::new(file, 0))),
        Format::Plain => Box::new(Counted::new(file, 0)),
        Format::Zstd => Box::new(Frames::new(Counted::new(file, 0))?),
        Format::Gzip => {
            Box::new(Packed(BufReader::with_capacity(BUFFER_BYTES, flate2::read::MultiGzDecoder::new(file))))
        }
    })
}

/// Opens the text of a file from a place on, up to this byte of the file.
pub(super) fn open_at(file: &Arc<File>, spot: Spot, end: u64) -> io::Result<Box<dyn Text>> {
    let mut magic = [0; packed::HEAD.len()];
    let read = file.read_at(&mut magic, 0)?;
    let part = Counted::new(Growing::between(file.clone(), spot.frame, end), spot.frame);
    let format = Format::of(&magic[..read]);
    check_version(format, &magic[..read])?;
    let mut text: Box<dyn Text> = match format {
        Format::Binary => Box::new(Pages::new(part)),
        Format::Plain => Box::new(part),
        Format::Zstd => Box::new(Frames::new(part)?),
        Format::Gzip => return Err(io::Error::other("a gzip file is read from its beginning only")),
    };
    io::copy(&mut text.by_ref().take(spot.skip), &mut io::sink())?;
    Ok(text)
}

fn check_version(format: Format, magic: &[u8]) -> io::Result<()> {
    // One that breaks off before it has said so is empty.
    if format == Format::Binary && !packed::HEAD.starts_with(magic) {
        return Err(io::Error::other("it is a binary file, but no recording of a version that is known here"));
    }
    Ok(())
}

/// Bytes that are counted as they are taken.
pub(super) struct Counted<R> {
    input: BufReader<R>,
    pub(super) at: u64,
}

impl<R: Read> Counted<R> {
    fn new(input: R, at: u64) -> Counted<R> {
        Counted { input: BufReader::with_capacity(BUFFER_BYTES, input), at }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.at += count as u64;
        self.input.consume(count);
    }
}

impl<R: Read> Text for Counted<R> {
    fn spot(&self) -> Option<Spot> {
        Some(Spot { frame: self.at, skip: 0 })
    }
}

/// Text without places.
struct Packed<R>(R);

impl<R: BufRead> Read for Packed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl<R: BufRead> BufRead for Packed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

impl<R: BufRead> Text for Packed<R> {
    fn spot(&self) -> Option<Spot> {
        None
    }
}

/// Zstandard frames, unpacked one by one.
struct Frames<R: Read> {
    /// `None` at the end of the file.
    decoder: Option<Decoder<'static, Counted<R>>>,
    buffer: Vec<u8>,
    /// The part of the buffer that is still to be taken.
    begin: usize,
    end: usize,
    frame: u64,
    /// The bytes of the frame's text that were taken.
    taken: u64,
}

impl<R: Read> Frames<R> {
    fn new(input: Counted<R>) -> io::Result<Frames<R>> {
        let frame = input.at;
        let decoder = Some(Decoder::with_buffer(input)?.single_frame());
        Ok(Frames { decoder, buffer: vec![0; BUFFER_BYTES], begin: 0, end: 0, frame, taken: 0 })
    }

    fn refill(&mut self) -> io::Result<()> {
        (self.begin, self.end) = (0, 0);
        while let Some(decoder) = &mut self.decoder {
            self.end = decoder.read(&mut self.buffer)?;
            if self.end > 0 {
                break;
            }
            let Some(mut input) = self.decoder.take().map(Decoder::finish) else { break };
            if input.fill_buf()?.is_empty() {
                break;
            }
            (self.frame, self.taken) = (input.at, 0);
            self.decoder = Some(Decoder::with_buffer(input)?.single_frame());
        }
        Ok(())
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Frames<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.begin == self.end {
            self.refill()?;
        }
        Ok(&self.buffer[self.begin..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.begin = self.end.min(self.begin + count);
        self.taken += count as u64;
    }
}

impl<R: Read> Text for Frames<R> {
    fn spot(&self) -> Option<Spot> {
        Some(Spot { frame: self.frame, skip: self.taken })
    }
}
