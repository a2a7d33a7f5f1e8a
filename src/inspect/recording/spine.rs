//! Spine of a recording: a file with only the links between cranks, which can be read from its end. Causes lie in the
//! past, and a recording itself can only be read forwards.
//!
//! The file is temporary, has no name, and takes a few dozen bytes a crank. In memory is one crank at a time.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
};

use crate::inspect::recording::{crank::RecordedCrank, link::Link};

/// Bytes that are read at once, at least.
const CHUNK_BYTES: u64 = 64 << 10;

/// A link, as a number: 128 bits of its hash.
pub(super) type Knot = u128;

/// A crank, as far as it is tied to others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Vertebra {
    pub(super) crank: u64,
    /// The vat that it delivered to.
    pub(super) vat: Option<String>,
    /// The link to the cause: the item that the crank took.
    pub(super) taken: Option<Knot>,
    /// The link of the settled promise for that item's result: the kernel settles it if no vat does.
    pub(super) settles: Option<Knot>,
    /// The links to what the crank may cause.
    pub(super) made: Vec<Knot>,
    /// The vats that ended in it.
    pub(super) ended: Vec<String>,
}

impl Vertebra {
    pub(super) fn of(crank: &RecordedCrank) -> Vertebra {
        let taken = crank.taken();
        let made = crank.made();
        // A message that hits data never becomes a crank: its result is rejected where it was sent.
        let splats = made.iter().filter_map(|(it, _)| it.settled_result());
        Vertebra {
            crank: crank.number,
            vat: crank.deliver().and_then(|it| it.vat()).map(str::to_owned),
            settles: taken.as_ref().and_then(Link::settled_result).map(|it| it.knot()),
            taken: taken.as_ref().map(Link::knot),
            made: made.iter().map(|(it, _)| it.knot()).chain(splats.map(|it| it.knot())).collect(),
            ended: crank.ended_vats().map(str::to_owned).collect(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, it: &str| {
            out.extend_from_slice(&(it.len() as u64).to_le_bytes());
            out.extend_from_slice(it.as_bytes());
        };
        out.extend_from_slice(&self.crank.to_le_bytes());
        text(out, self.vat.as_deref().unwrap_or_default());
        for knot in [self.taken, self.settles] {
            out.extend_from_slice(&knot.unwrap_or(0).to_le_bytes());
        }
        out.extend_from_slice(&(self.made.len() as u64).to_le_bytes());
        self.made.iter().for_each(|it| out.extend_from_slice(&it.to_le_bytes()));
        out.extend_from_slice(&(self.ended.len() as u64).to_le_bytes());
        self.ended.iter().for_each(|it| text(out, it));
    }

    fn read(mut bytes: &[u8]) -> Option<Vertebra> {
        fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
            bytes.split_off(..count)
        }
        fn number(bytes: &mut &[u8]) -> Option<u64> {
            Some(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
        }
        fn knot(bytes: &mut &[u8]) -> Option<Knot> {
            Some(Knot::from_le_bytes(take(bytes, 16)?.try_into().ok()?))
        }
        fn text(bytes: &mut &[u8]) -> Option<String> {
            let length = usize::try_from(number(bytes)?).ok()?;
            String::from_utf8(take(bytes, length)?.to_owned()).ok()
        }
        let from = &mut bytes;
        Some(Vertebra {
            crank: number(from)?,
            vat: text(from).map(|it| Some(it).filter(|it| !it.is_empty()))?,
            taken: Some(knot(from)?).filter(|it| *it != 0),
            settles: Some(knot(from)?).filter(|it| *it != 0),
            made: (0..number(from)?).map(|_| knot(from)).collect::<Option<_>>()?,
            ended: (0..number(from)?).map(|_| text(from)).collect::<Option<_>>()?,
        })
    }
}

/// The file, while it is written.
#[derive(Debug)]
pub(super) struct SpineWriter {
    file: BufWriter<File>,
    scratch: Vec<u8>,
}

impl SpineWriter {
    pub(super) fn new() -> io::Result<SpineWriter> {
        Ok(SpineWriter { file: BufWriter::new(tempfile::tempfile()?), scratch: Vec::new() })
    }

    pub(super) fn push(&mut self, vertebra: &Vertebra) -> io::Result<()> {
        self.scratch.clear();
        vertebra.write(&mut self.scratch);
        // The length comes last, since the file is read from its end.
        let length = self.scratch.len() as u64;
        self.scratch.extend_from_slice(&length.to_le_bytes());
        self.file.write_all(&self.scratch)
    }

    pub(super) fn finish(self) -> io::Result<Spine> {
        Ok(Spine { file: self.file.into_inner()? })
    }
}

/// The file, once it is written.
#[derive(Debug)]
pub(super) struct Spine {
    file: File,
}

impl Spine {
    /// Hands out all that was pushed, the last first.
    pub(super) fn backwards(&mut self, mut each: impl FnMut(Vertebra)) -> io::Result<()> {
        let mut at = self.file.seek(SeekFrom::End(0))?;
        // The bytes of the file from `at` on that were not handed out yet.
        let mut rest = Vec::new();
        while at > 0 || !rest.is_empty() {
            self.reach(&mut at, &mut rest, 8)?;
            let length = rest.split_off(rest.len() - 8);
            let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
            self.reach(&mut at, &mut rest, length)?;
            let from = rest.len() - usize::try_from(length).unwrap_or(usize::MAX);
            let vertebra = Vertebra::read(&rest[from..]);
            rest.truncate(from);
            each(vertebra.ok_or(io::ErrorKind::InvalidData)?);
        }
        Ok(())
    }

    /// Reads towards the beginning until there are this many bytes.
    fn reach(&mut self, at: &mut u64, rest: &mut Vec<u8>, bytes: u64) -> io::Result<()> {
        let have = rest.len() as u64;
        if have >= bytes {
            return Ok(());
        }
        let count = (bytes - have).max(CHUNK_BYTES).min(*at);
        if count < bytes - have {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *at -= count;
        self.file.seek(SeekFrom::Start(*at))?;
        let mut chunk = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        self.file.read_exact(&mut chunk)?;
        chunk.append(rest);
        *rest = chunk;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_from_its_end() {
        let made = |count| (1..=count).map(|it| it << 64 | 7).collect();
        let all: Vec<Vertebra> = (0..3_000)
            .map(|it| Vertebra {
                crank: it,
                vat: (it % 3 > 0).then(|| format!("v{it}")),
                taken: (it % 2 > 0).then_some(u128::from(it)),
                settles: None,
                // One of them is longer than what is read at once.
                made: made(if it == 1_500 { 10_000 } else { u128::from(it % 7) }),
                ended: vec!["v1".to_owned(); usize::from(it % 5 == 0)],
            })
            .collect();
        let mut writer = SpineWriter::new().expect("a temporary file");
        all.iter().for_each(|it| writer.push(it).expect("writes"));
        let mut spine = writer.finish().expect("writes");
        for _ in 0..2 {
            let mut read = Vec::new();
            spine.backwards(|it| read.push(it)).expect("reads");
            read.reverse();
            assert_eq!(read, all);
        }
    }
}
