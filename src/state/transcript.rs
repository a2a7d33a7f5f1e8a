//! The transcript of a vat: an entry for each attempt to deliver, in order. A vat's heap is a function of its bundle
//! and these.
//!
//! An entry is written while the delivery runs, piece by piece: the delivery, each syscall with its answer, how it
//! ended. It is written in canonical encoding, once: these bytes are hashed, stored, and read back. How the store cuts them
//! into chunks and packs them is no matter of consensus.

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        blame::{HostFault, VatFault},
        id::{DeliveryNum, VRef, VatId},
        value::{Answer, Delivery, Syscall},
    },
    store::{Append, Chunk, PLAIN, canon, unpack},
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

    /// Hands each entry that is stored to `take`, vat by vat and in order, and begins anew.
    pub(crate) fn flush(&mut self, take: &mut Append<'_>) -> Result<(), HostFault> {
        self.kept.retain(|it| it.stored);
        self.kept.sort_by_key(|it| it.vat);
        self.kept.iter().try_for_each(|it| take(it.vat, it.number, &self.bytes[it.begin..it.end]))?;
        self.clear();
        // One that was larger than usual is no reason to keep its room.
        self.bytes.shrink_to(ROOM_KEPT);
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

/// Bytes of room that a block leaves to the next.
const ROOM_KEPT: usize = 16 << 20;

/// Iterates over the entries of a chunk; the first fault is the last of them. One is that they are more or fewer than
/// the chunk says.
pub(crate) fn entries(chunk: &Chunk) -> impl Iterator<Item = Result<Entry, HostFault>> + use<> {
    ChunkEntries::of(chunk)
}

/// The entries of a chunk that are still to be read. Iterators that are made of others would move each of them several times.
struct ChunkEntries {
    bytes: Vec<u8>,
    at: usize,
    first: DeliveryNum,
    number: DeliveryNum,
    next: DeliveryNum,
    fault: Option<HostFault>,
    is_over: bool,
}

impl ChunkEntries {
    fn of(chunk: &Chunk) -> ChunkEntries {
        let &Chunk { first, next, ref entries } = chunk;
        let (bytes, fault) = match unpack(entries) {
            Ok(entries) => (entries.into_owned(), None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        ChunkEntries { bytes, at: 0, first, number: first, next, is_over: fault.is_some(), fault }
    }
}

impl Iterator for ChunkEntries {
    type Item = Result<Entry, HostFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return self.fault.take().map(Err);
        }
        let (number, next) = (self.number, self.next);
        let Some(mut rest) = self.bytes.get(self.at..).filter(|it| !it.is_empty()) else {
            self.is_over = true;
            let why = || format!("it ends before {number}, and should before {next}");
            return (number != next).then(|| Err(HostFault::damage("read a chunk", why())));
        };
        let entry = entry(number, &mut rest);
        (self.at, self.is_over) = (self.bytes.len() - rest.len(), entry.is_err());
        self.number = number.next();
        Some(entry)
    }
}

/// The entries of a vat's transcript from a delivery on, of chunks of which the first may begin before it.
pub(crate) struct EntriesFrom<C> {
    vat: VatId,
    from: DeliveryNum,
    chunks: C,
    chunk: Option<ChunkEntries>,
}

impl<C> EntriesFrom<C> {
    pub(crate) fn new(vat: VatId, from: DeliveryNum, chunks: C) -> EntriesFrom<C> {
        EntriesFrom { vat, from, chunks, chunk: None }
    }
}

impl<C: Iterator<Item = Result<Chunk, HostFault>>> Iterator for EntriesFrom<C> {
    type Item = Result<Entry, HostFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(chunk) = &mut self.chunk {
                let entry = chunk.next();
                match &entry {
                    Some(Ok(it)) if it.number < self.from => (),
                    Some(Ok(_)) => return entry,
                    Some(Err(fault)) => {
                        let what = format_args!("read the transcript of {} from {}", self.vat, chunk.first);
                        return Some(Err(fault.clone().within(what)));
                    }
                    None => self.chunk = None,
                }
            }
            match self.chunks.next()? {
                Ok(chunk) => self.chunk = Some(ChunkEntries::of(&chunk)),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
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
        let (mut flushed, mut bytes) = (Vec::new(), PLAIN.to_vec());
        open.flush(&mut |vat, number, entry| {
            flushed.push((vat, number.0));
            if vat == mine {
                bytes.extend_from_slice(entry);
            }
            Ok(())
        })
        .expect("flushes");
        assert_eq!(flushed, [(other, 0), (mine, 7), (mine, 8)]);
        assert_eq!((chunk.first, chunk.next, &chunk.entries), (DeliveryNum(7), DeliveryNum(9), &bytes));
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
        for bad in [with(&[PLAIN[0], 9], 9), with(&PLAIN, 9)] {
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
