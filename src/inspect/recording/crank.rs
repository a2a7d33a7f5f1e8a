//! A recording crank by crank, with or without those that were lost with their host, and the links between them.

use std::path::Path;

use crate::inspect::recording::{
    history::History,
    link::{Link, is_undone},
    map::{Map, PieceReader},
};
use crate::slog::{QueuedItem, ReadError, Reader, Record, RecordedEvent};

/// A crank of a recording, with its events.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordedCrank {
    pub(super) number: u64,
    /// Height and time of its block, unless that began before the recording.
    pub(super) block: Option<(u64, Option<u64>)>,
    /// The events between the crank before and this one.
    pub(super) before: Vec<Record>,
    /// From `crank-start` on.
    pub(super) events: Vec<Record>,
    /// Whether the crank's end is recorded.
    pub(super) ended: bool,
}

impl RecordedCrank {
    /// Returns the event of the crank's delivery, if it made one.
    pub(super) fn deliver(&self) -> Option<&Record> {
        self.events.iter().find(|it| matches!(it.event(), RecordedEvent::Deliver { .. }))
    }

    /// Returns the item that the crank took from its queue.
    pub(super) fn item(&self) -> QueuedItem<'_> {
        match self.events.first().map(Record::event) {
            Some(RecordedEvent::CrankStart { item, .. }) => item,
            _ => QueuedItem { value: &serde_json::Value::Null, kind: "" },
        }
    }

    /// Returns the vats that were created in the crank or just before, and their names.
    pub(super) fn created(&self) -> impl Iterator<Item = (String, String)> {
        self.before.iter().chain(&self.events).filter_map(|it| match it.event() {
            RecordedEvent::CreateVat { vat, name } => Some((vat.to_owned(), name.to_owned())),
            _ => None,
        })
    }

    /// Returns the link that ties the crank to the one that caused it.
    pub(super) fn taken(&self) -> Option<Link> {
        Link::of_item(self.item()).or_else(|| Link::of_life(self.item()))
    }

    /// Returns the links to cranks that this one may cause, each with the number of its syscall; without a number,
    /// the kernel itself did it.
    pub(super) fn made(&self) -> Vec<(Link, Option<u64>)> {
        let undone = is_undone(&self.events);
        let mut made = Vec::new();
        for event in &self.events {
            match event.event() {
                RecordedEvent::Syscall { number, kernel, .. } if !undone => {
                    made.extend(Link::of_syscall(kernel).into_iter().map(|it| (it, number)));
                }
                RecordedEvent::CreateVat { vat, .. } => made.push((Link::Created(vat.to_owned()), None)),
                RecordedEvent::Terminate { vat: Some(vat), .. } => made.push((Link::Ended(vat.to_owned()), None)),
                _ => (),
            }
        }
        made
    }

    /// Returns the vats that ended in the crank.
    pub(super) fn ended_vats(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(|it| match it.event() {
            RecordedEvent::Terminate { vat, .. } => vat,
            _ => None,
        })
    }
}

/// Reads the cranks of a file, in order.
#[derive(Debug)]
pub(super) struct Cranks<R = Reader> {
    reader: R,
    history: History,
    block: Option<(u64, Option<u64>)>,
    /// The one under way.
    open: Option<RecordedCrank>,
    before: Vec<Record>,
}

impl Cranks {
    /// Reads the cranks of a recording that count: those of lost blocks are left out.
    pub(super) fn that_count(path: &Path, history: &History) -> Result<Cranks, ReadError> {
        Ok(Cranks { history: history.clone(), ..Cranks::all(Reader::open(path)?) })
    }
}

impl Cranks<PieceReader> {
    /// Reads the cranks of a piece that count, by the history of the recording; all of them by an empty one.
    pub(super) fn of_piece(map: &Map, piece: u64, history: &History) -> Result<Cranks<PieceReader>, ReadError> {
        let (context, reader) = map.read(piece)?;
        Ok(Cranks { history: history.clone(), block: context.block.flatten(), ..Cranks::all(reader) })
    }
}

impl<R> Cranks<R> {
    /// Reads all cranks of a text. A host that runs a lost block again records the same crank more than once.
    pub(super) fn all(reader: R) -> Cranks<R> {
        Cranks { reader, history: History::default(), block: None, open: None, before: Vec::new() }
    }

    /// Takes an event, and returns the crank that it ends, if it ends one.
    fn add(&mut self, record: Record) -> Option<RecordedCrank> {
        match record.event() {
            RecordedEvent::Start { .. } => {
                self.block = None;
                self.open.take()
            }
            RecordedEvent::BeginBlock { height, time } => {
                self.block = height.map(|it| (it, time));
                None
            }
            RecordedEvent::CrankStart { crank, .. } => {
                let over = self.open.take();
                let (number, block) = (crank.unwrap_or(0), self.block);
                let before = std::mem::take(&mut self.before);
                if !self.history.is_lost(record.line, number) {
                    self.open = Some(RecordedCrank { number, block, before, events: vec![record], ended: false });
                }
                over
            }
            event => {
                let ends = matches!(event, RecordedEvent::CrankFinish);
                match &mut self.open {
                    Some(open) => open.events.push(record),
                    None => self.before.push(record),
                }
                self.open.take_if(|_| ends).map(|it| RecordedCrank { ended: true, ..it })
            }
        }
    }
}

impl<R: Iterator<Item = Result<Record, ReadError>>> Iterator for Cranks<R> {
    type Item = Result<RecordedCrank, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.reader.next() {
                Some(Ok(record)) => {
                    if let Some(over) = self.add(record) {
                        return Some(Ok(over));
                    }
                }
                Some(Err(err)) => return Some(Err(err)),
                None => return self.open.take().map(Ok),
            }
        }
    }
}
