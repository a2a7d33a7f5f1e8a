//! The transcript of a vat: an entry for each attempt to deliver, in order. A vat's heap is a function of its bundle
//! and these.
//!
//! An entry is written while the delivery runs, piece by piece: the delivery, each syscall with its answer, how it
//! ended. It is written in canonical encoding, once: these bytes are hashed, stored, and read back. In the store the entries
//! of one vat and block form one chunk, or some where they are many: a format version, how they are packed, then the
//! entries. How they are cut into chunks and packed is no matter of consensus.

use std::{borrow::Cow, fmt, io::Cursor};

use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, decompress};

use crate::{
    model::{
        blame::{HostFault, VatFault},
        id::{DeliveryNum, VRef, VatId},
        value::{Answer, Delivery, Syscall},
    },
    store::{Chunk, Put, canon},
};

/// The end of an attempt to deliver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// The vat did it.
    Done {
        /// Units of fuel used.
        fuel: u64,
    },
    /// The vat faulted; replay passes over it.
    Faulted(VatFault),
    /// A directive took it away; replay passes over it.
    Skipped,
}

/// One attempt to deliver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The number of the delivery.
    pub number: DeliveryNum,
    /// The delivery; `None` if the attempt failed, since the vat knows nothing of it.
    pub delivery: Option<Delivery<VRef>>,
    /// The syscalls that the vat made meanwhile, each with its answer. Empty where it faulted.
    pub syscalls: Vec<(Syscall<VRef>, Answer)>,
    /// The end of the attempt.
    pub end: End,
}

#[derive(Serialize, Deserialize)]
enum Tag {
    Syscall,
    End,
}

/// The entries of the open block, one behind the other in the order in which they were made; behind them the one that
/// is being written. Its room is used again by the next block.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    bytes: Vec<u8>,
    kept: Vec<Kept>,
    /// Number of entries that are part of the block, whatever becomes of the crank.
    sealed: usize,
    packer: Packer,
}

/// The place of an entry in the bytes.
#[derive(Clone, Copy, Debug)]
struct Kept {
    vat: VatId,
    number: DeliveryNum,
    begin: usize,
    end: usize,
    /// Whether it stands in the vat's transcript, rather than only in what is hashed.
    stored: bool,
}

/// An entry that is not yet part of the block.
pub(crate) struct Unsealed<'a> {
    /// The vat of the entry.
    pub(crate) vat: VatId,
    /// The number of the attempt.
    pub(crate) number: DeliveryNum,
    /// The entry.
    pub(crate) entry: &'a [u8],
}

impl Entries {
    /// Writes a part of the entry.
    fn write<T: Serialize>(&mut self, part: &T) -> Result<(), HostFault> {
        canon::write(part, &mut self.bytes)
    }

    pub(crate) fn begin(&mut self, delivery: &Delivery<VRef>) -> Result<(), HostFault> {
        self.cut();
        self.write(&Some(delivery))
    }

    /// Writes the whole entry of a failed attempt.
    pub(crate) fn nothing(&mut self, end: &End) -> Result<(), HostFault> {
        self.cut();
        self.write(&None::<Delivery<VRef>>)?;
        self.end(end)
    }

    pub(crate) fn syscall(&mut self, syscall: &Syscall<VRef>) -> Result<(), HostFault> {
        self.write(&Tag::Syscall)?;
        self.write(syscall)
    }

    pub(crate) fn answer(&mut self, answer: &Answer) -> Result<(), HostFault> {
        self.write(answer)
    }

    pub(crate) fn end(&mut self, end: &End) -> Result<(), HostFault> {
        self.write(&Tag::End)?;
        self.write(end)
    }

    /// Makes the entry just written part of what is hashed and, if it is to be stored, of the vat's transcript, unless the
    /// crank is undone.
    pub(crate) fn keep(&mut self, vat: VatId, number: DeliveryNum, stored: bool) {
        let begin = self.whole();
        self.kept.push(Kept { vat, number, begin, end: self.bytes.len(), stored });
    }

    /// Iterates over the entries that were kept since the last seal.
    pub(crate) fn unsealed(&self) -> impl Iterator<Item = Unsealed<'_>> {
        let entry = |it: &Kept| &self.bytes[it.begin..it.end];
        self.kept[self.sealed..].iter().map(move |it| Unsealed { vat: it.vat, number: it.number, entry: entry(it) })
    }

    /// Makes the entries kept so far part of the block.
    pub(crate) fn seal(&mut self) {
        self.sealed = self.kept.len();
    }

    /// Undoes what was written since the last seal.
    pub(crate) fn rewind(&mut self) {
        self.kept.truncate(self.sealed);
        self.cut();
    }

    /// Forgets all entries of the block.
    pub(crate) fn clear(&mut self) {
        self.sealed = 0;
        self.kept.clear();
        self.bytes.clear();
    }

    /// Returns the chunk of one vat, if it has any entry in this block.
    pub(crate) fn of(&self, vat: VatId) -> Option<Chunk> {
        let mut mine = self.kept.iter().filter(|it| it.vat == vat && it.stored).peekable();
        let first = mine.peek()?.number;
        let (mut next, mut entries) = (first, PLAIN.to_vec());
        for it in mine {
            entries.extend_from_slice(&self.bytes[it.begin..it.end]);
            next = it.number.next();
        }
        Some(Chunk { first, next, entries })
    }

    /// Hands the chunks of every vat to `take`, and begins anew.
    pub(crate) fn flush(&mut self, take: &mut Put<'_>) -> Result<(), HostFault> {
        self.kept.retain(|it| it.stored);
        self.kept.sort_by_key(|it| it.vat);
        let mut rest = &self.kept[..];
        while let Some(first) = rest.first() {
            let mut length = 0;
            let fits = |it: &&Kept| {
                length += it.end - it.begin;
                it.vat == first.vat && (length <= CHUNK_BYTES || it.number == first.number)
            };
            let (chunk, others) = rest.split_at(rest.iter().take_while(fits).count());
            let entries = chunk.iter().map(|it| &self.bytes[it.begin..it.end]);
            let next = chunk.last().map_or(first.number, |it| it.number.next());
            take(first.vat, first.number, next, self.packer.pack(entries)?)?;
            rest = others;
        }
        self.clear();
        // One that was larger than usual is no reason to keep its room.
        for room in [&mut self.bytes, &mut self.packer.plain, self.packer.packed.get_mut()] {
            room.clear();
            room.shrink_to(ROOM_KEPT);
        }
        Ok(())
    }

    /// Bytes of the entry that is being written.
    pub(crate) fn open_bytes(&self) -> u64 {
        (self.bytes.len() - self.whole()) as u64
    }

    /// Where the entries end that are whole.
    fn whole(&self) -> usize {
        self.kept.last().map_or(0, |it| it.end)
    }

    fn cut(&mut self) {
        self.bytes.truncate(self.whole());
    }
}

/// Bytes of entries in one chunk, except if one entry is larger.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of room that a block leaves to the next.
const ROOM_KEPT: usize = 16 << 20;
/// The version of a chunk's format, its first byte: 4 holds canonical encodings.
const FORMAT: u8 = 4;
/// The head of a chunk whose entries stand as they are.
const PLAIN: [u8; 2] = [FORMAT, 0];
/// The head of one whose entries are a Zstandard frame; their length follows, in eight bytes.
const PACKED: [u8; 2] = [FORMAT, 1];
/// Bytes of the entries of a chunk, unpacked: damage must not make the reader ask for more memory than there is.
const UNPACKED_MAX: usize = 1 << 30;
/// Entries of fewer bytes are not worth it.
const PACKED_MIN: usize = 512;
/// The level: most of what vats are told and ask looks like what they were told and asked before, and the quickest
/// finds that.
const PACKED_LEVEL: i32 = 1;

/// Puts entries together, and packs them.
#[derive(Default)]
struct Packer {
    plain: Vec<u8>,
    packed: Cursor<Vec<u8>>,
    compressor: Option<Compressor<'static>>,
}

impl Packer {
    fn pack<'a>(&mut self, entries: impl Iterator<Item = &'a [u8]>) -> Result<&[u8], HostFault> {
        self.plain.clear();
        self.plain.extend_from_slice(&PLAIN);
        entries.for_each(|it| self.plain.extend_from_slice(it));
        let bytes = &self.plain[PLAIN.len()..];
        if bytes.len() < PACKED_MIN {
            return Ok(&self.plain);
        }
        let failed = |err| HostFault::new("pack a transcript", err);
        let compressor = match &mut self.compressor {
            Some(it) => it,
            none => none.insert(Compressor::new(PACKED_LEVEL).map_err(failed)?),
        };
        let packed = self.packed.get_mut();
        packed.clear();
        packed.extend_from_slice(&PACKED);
        packed.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        let head = packed.len();
        packed.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        self.packed.set_position(head as u64);
        compressor.compress_to_buffer(bytes, &mut self.packed).map_err(failed)?;
        Ok(self.packed.get_ref())
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

/// The entries of a chunk, one behind the other.
fn unpack(chunk: &[u8]) -> Result<Cow<'_, [u8]>, HostFault> {
    let fault = |why: &dyn fmt::Display| HostFault::new("unpack a transcript", why);
    match chunk.split_at_checked(2) {
        Some((&[FORMAT, 0], entries)) => Ok(Cow::Borrowed(entries)),
        Some((&[FORMAT, 1], rest)) => {
            let (length, packed) = rest.split_first_chunk().ok_or_else(|| fault(&"it is cut short"))?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|it| *it <= UNPACKED_MAX);
            let length = length.ok_or_else(|| fault(&"it says that it is larger than any can be"))?;
            decompress(packed, length).map(Cow::Owned).map_err(|err| fault(&err))
        }
        _ => Err(fault(&"unknown format, or unknown packing")),
    }
}

/// Iterates over the entries of a chunk; the first fault is the last of them. One is that they are more or fewer than
/// the chunk says.
pub(crate) fn entries(chunk: &Chunk) -> impl Iterator<Item = Result<Entry, HostFault>> + use<> {
    let (bytes, mut fault) = match unpack(&chunk.entries) {
        Ok(entries) => (entries.into_owned(), None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    let (mut at, mut number, next) = (0, chunk.first, chunk.next);
    let mut is_over = fault.is_some();
    std::iter::from_fn(move || {
        if is_over {
            return fault.take().map(Err);
        }
        let Some(mut rest) = bytes.get(at..).filter(|it| !it.is_empty()) else {
            is_over = true;
            let why = || format!("it ends before {number}, and should before {next}");
            return (number != next).then(|| Err(HostFault::damage("read a chunk", why())));
        };
        let entry = entry(number, &mut rest);
        (at, is_over) = (bytes.len() - rest.len(), entry.is_err());
        number = number.next();
        Some(entry)
    })
}

fn entry(number: DeliveryNum, rest: &mut &[u8]) -> Result<Entry, HostFault> {
    let delivery = canon::take(rest)?;
    let mut syscalls = Vec::new();
    let end = loop {
        match canon::take(rest)? {
            Tag::Syscall => syscalls.push((canon::take(rest)?, canon::take(rest)?)),
            Tag::End => break canon::take(rest)?,
        }
    };
    Ok(Entry { number, delivery, syscalls, end })
}

/// Reads the delivery that an entry's vat received; if it failed, also how it ended.
#[cfg(feature = "tools")]
pub(crate) fn told(entry: &[u8]) -> Result<(Option<Delivery<VRef>>, Option<End>), HostFault> {
    let mut rest = entry;
    let delivery: Option<Delivery<VRef>> = canon::take(&mut rest)?;
    if delivery.is_some() {
        return Ok((delivery, None));
    }
    match canon::take(&mut rest)? {
        Tag::Syscall => Ok((None, None)),
        Tag::End => Ok((None, Some(canon::take(&mut rest)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::CapData;

    #[test]
    fn entries_read_back_as_they_were_written() {
        let subscribe = Syscall::Subscribe(VRef::imported_promise(60));
        let get = Syscall::VatstoreGet("k".into());
        let mut open = Entries::default();
        let start = Delivery::StartVat(CapData::plain("#{}"));
        let (mine, other) = (VatId(3), VatId(1));
        open.begin(&start).expect("writes");
        for (syscall, answer) in [(&subscribe, Answer::Done), (&get, Answer::Value(Some("v".into())))] {
            open.syscall(syscall).expect("writes");
            open.answer(&answer).expect("writes");
        }
        open.end(&End::Done { fuel: 9 }).expect("writes");
        open.keep(mine, DeliveryNum(7), true);
        open.nothing(&End::Skipped).expect("writes");
        open.keep(other, DeliveryNum(0), true);
        open.seal();
        // Undone: half of one, and one that is whole.
        open.nothing(&End::Skipped).expect("writes");
        open.keep(mine, DeliveryNum(8), true);
        open.begin(&start).expect("writes");
        open.rewind();
        open.nothing(&End::Faulted(VatFault::OutOfFuel)).expect("writes");
        open.keep(mine, DeliveryNum(8), true);
        let chunk = open.of(mine).expect("has entries");
        let mut flushed = Vec::new();
        open.flush(&mut |vat, first, next, bytes| {
            flushed.push((vat, Chunk { first, next, entries: bytes.to_vec() }));
            Ok(())
        })
        .expect("flushes");
        assert_eq!(flushed.len(), 2);
        assert_eq!((chunk.first, chunk.next), (DeliveryNum(7), DeliveryNum(9)));
        assert_eq!(flushed[1], (mine, chunk.clone()));
        assert!(open.of(mine).is_none());

        let syscalls = vec![(subscribe, Answer::Done), (get, Answer::Value(Some("v".into())))];
        assert_eq!(
            entries(&chunk).collect::<Result<Vec<_>, _>>().expect("reads"),
            [
                Entry { number: DeliveryNum(7), delivery: Some(start), syscalls, end: End::Done { fuel: 9 } },
                Entry {
                    number: DeliveryNum(8),
                    delivery: None,
                    syscalls: vec![],
                    end: End::Faulted(VatFault::OutOfFuel),
                },
            ]
        );
        let with = |entries: &[u8], next| Chunk { entries: entries.to_vec(), next: DeliveryNum(next), ..chunk };
        let cut: Vec<_> = entries(&with(&chunk.entries[..chunk.entries.len() - 1], 9)).collect();
        assert!(cut.len() == 2 && cut[0].is_ok() && cut[1].is_err(), "{cut:?}");
        for bad in [with(&[FORMAT, 9], 9), with(&[FORMAT, 0], 9)] {
            let all: Vec<_> = entries(&bad).collect();
            assert!(all.len() == 1 && all[0].is_err(), "{all:?}");
        }
        // More, or fewer, than it says.
        for next in [8, 10] {
            let all: Vec<_> = entries(&with(&chunk.entries, next)).collect();
            assert!(all.len() == 3 && all[2].is_err(), "{all:?}");
        }
    }
}
