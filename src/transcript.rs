//! The transcript of a vat: an entry for each attempt to deliver, in order. A vat's heap is a function of its bundle and these.
//!
//! An entry is written while the delivery runs, piece by piece: the delivery, each syscall with its answer, how it ended.
//! In the store the entries of one vat and block form one chunk: a format version, then the entries.

use serde::{Deserialize, Serialize};

use crate::{
    fault::{HostFault, VatFault},
    id::{DeliveryNum, VRef},
    store::codec,
    value::{Answer, Delivery, Syscall},
};

/// How an attempt to deliver ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// The vat did it.
    Done {
        /// Fuel used.
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
    /// Its number.
    pub number: DeliveryNum,
    /// What was delivered; nothing that the vat knows of where it did not end well.
    pub delivery: Option<Delivery<VRef>>,
    /// What the vat asked meanwhile, and was answered. Empty where it faulted.
    pub syscalls: Vec<(Syscall<VRef>, Answer)>,
    /// How it ended.
    pub end: End,
}

#[derive(Serialize, Deserialize)]
enum Tag {
    Syscall,
    End,
}

/// Room for a common entry, so that its buffer need not grow step by step.
const ENTRY_BYTES: usize = 512;

/// Writes the entry of the open crank.
#[derive(Debug, Default)]
pub(crate) struct EntryWriter(Vec<u8>);

impl EntryWriter {
    pub(crate) fn begin(&mut self, delivery: &Delivery<VRef>) -> Result<(), HostFault> {
        self.0.clear();
        self.0.reserve(ENTRY_BYTES);
        codec::append(&Some(delivery), &mut self.0)
    }

    /// The whole entry of an attempt that came to nothing.
    pub(crate) fn nothing(&mut self, end: &End) -> Result<(), HostFault> {
        self.0.clear();
        codec::append(&None::<Delivery<VRef>>, &mut self.0)?;
        self.end(end)
    }

    pub(crate) fn syscall(&mut self, syscall: &Syscall<VRef>) -> Result<(), HostFault> {
        codec::append(&Tag::Syscall, &mut self.0)?;
        codec::append(syscall, &mut self.0)
    }

    pub(crate) fn answer(&mut self, answer: &Answer) -> Result<(), HostFault> {
        codec::append(answer, &mut self.0)
    }

    pub(crate) fn end(&mut self, end: &End) -> Result<(), HostFault> {
        codec::append(&Tag::End, &mut self.0)?;
        codec::append(end, &mut self.0)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// The entries of one vat in one block.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) first: DeliveryNum,
    pub(crate) bytes: Vec<u8>,
}

impl Chunk {
    pub(crate) fn new(first: DeliveryNum) -> Chunk {
        Chunk { first, bytes: vec![codec::FORMAT] }
    }
}

/// The entries of a chunk whose first has this number.
pub(crate) fn entries(first: DeliveryNum, chunk: &[u8]) -> Result<Vec<Entry>, HostFault> {
    let mut rest = codec::begin(chunk)?;
    let mut entries = Vec::new();
    let mut number = first;
    while !rest.is_empty() {
        let delivery = codec::take(&mut rest)?;
        let mut syscalls = Vec::new();
        let end = loop {
            match codec::take(&mut rest)? {
                Tag::Syscall => syscalls.push((codec::take(&mut rest)?, codec::take(&mut rest)?)),
                Tag::End => break codec::take(&mut rest)?,
            }
        };
        entries.push(Entry { number, delivery, syscalls, end });
        number = number.next();
    }
    Ok(entries)
}

/// What an entry's vat was told; where it came to nothing, how that was.
pub(crate) fn told(entry: &[u8]) -> Result<(Option<Delivery<VRef>>, Option<End>), HostFault> {
    let mut rest = entry;
    let delivery: Option<Delivery<VRef>> = codec::take(&mut rest)?;
    if delivery.is_some() {
        return Ok((delivery, None));
    }
    match codec::take(&mut rest)? {
        Tag::Syscall => Ok((None, None)),
        Tag::End => Ok((None, Some(codec::take(&mut rest)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::CapData;

    #[test]
    fn entries_read_back_as_they_were_written() {
        let subscribe = Syscall::Subscribe(VRef::imported_promise(60));
        let get = Syscall::VatstoreGet("k".into());
        let mut chunk = Chunk::new(DeliveryNum(7));
        let mut writer = EntryWriter::default();
        let start = Delivery::StartVat(CapData::plain("#{}"));
        writer.begin(&start).expect("writes");
        for (syscall, answer) in [(&subscribe, Answer::Done), (&get, Answer::Value(Some("v".into())))] {
            writer.syscall(syscall).expect("writes");
            writer.answer(&answer).expect("writes");
        }
        writer.end(&End::Done { fuel: 9 }).expect("writes");
        chunk.bytes.extend_from_slice(&writer.take());
        writer.nothing(&End::Faulted(VatFault::OutOfFuel)).expect("writes");
        chunk.bytes.extend_from_slice(&writer.take());

        let syscalls = vec![(subscribe, Answer::Done), (get, Answer::Value(Some("v".into())))];
        assert_eq!(
            entries(chunk.first, &chunk.bytes).expect("reads"),
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
        assert!(entries(chunk.first, &chunk.bytes[..chunk.bytes.len() - 1]).is_err());
    }
}
