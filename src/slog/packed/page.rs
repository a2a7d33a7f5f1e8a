//! The text of a binary recording: its pages, each a Zstandard frame, unpacked into lines of JSON.

use std::io::{self, BufRead, Read};

use zstd::stream::read::Decoder;

use crate::slog::{
    packed::Unpacker,
    text::{Counted, Spot, Text},
};

/// The first bytes of a binary recording: a Zstandard frame that decoders skip, with the name and version of the format.
pub(crate) const HEAD: [u8; 24] = *b"\x5a\x2a\x4d\x18\x10\0\0\0vathost slog  1\n";

/// Bytes of a page, at most: it ends with the event with which it is full, and an event has a bound.
const PAGE_BYTES_MAX: u64 = 1 << 30;

/// Reads the pages of a binary recording.
pub(crate) struct Pages<R: Read> {
    /// `None` at the end of the file.
    input: Option<Counted<R>>,
    page: Vec<u8>,
    unpacker: Unpacker,
    /// Where the page is in the file.
    frame: u64,
    /// The bytes of its text that were taken.
    taken: u64,
    /// The lines that are still to be taken, from `begin` on.
    lines: Vec<u8>,
    begin: usize,
}

/// Lines are unpacked up to this many bytes at once.
const LINES_BYTES: usize = 16 << 10;

impl<R: Read> Pages<R> {
    pub(crate) fn new(input: Counted<R>) -> Pages<R> {
        let (page, lines) = (Vec::new(), Vec::new());
        Pages { input: Some(input), page, unpacker: Unpacker::default(), frame: 0, taken: 0, lines, begin: 0 }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.lines.clear();
        self.begin = 0;
        while self.lines.is_empty() {
            while self.lines.len() < LINES_BYTES {
                let more = self.unpacker.line(&self.page, &mut self.lines);
                if !more
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a page of the recording is damaged"))?
                {
                    break;
                }
            }
            if self.lines.is_empty() && !self.turn()? {
                break;
            }
        }
        Ok(())
    }

    /// Goes on to the next page; whether there is one.
    fn turn(&mut self) -> io::Result<bool> {
        let Some(mut input) = self.input.take() else { return Ok(false) };
        self.page.clear();
        self.unpacker = Unpacker::default();
        if input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        (self.frame, self.taken) = (input.at, 0);
        let mut decoder = Decoder::with_buffer(input)?.single_frame();
        if let Err(err) = decoder.by_ref().take(PAGE_BYTES_MAX).read_to_end(&mut self.page) {
            // Of a page that breaks off nothing is known to be whole.
            self.page.clear();
            return Err(err);
        }
        self.input = Some(decoder.finish());
        Ok(true)
    }
}

impl<R: Read> Read for Pages<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Pages<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.begin == self.lines.len() {
            self.refill()?;
        }
        Ok(&self.lines[self.begin..])
    }

    fn consume(&mut self, count: usize) {
        self.begin = self.lines.len().min(self.begin + count);
        self.taken += count as u64;
    }
}

impl<R: Read> Text for Pages<R> {
    fn spot(&self) -> Option<Spot> {
        Some(Spot { frame: self.frame, skip: self.taken })
    }
}
