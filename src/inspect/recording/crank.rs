//! A recording crank by crank, without those that were lost with their host, and what ties them together.

use std::path::Path;

use crate::inspect::recording::{
    history::History,
    link::{Link, is_undone},
};
use crate::slog::{ReadError, Reader, Record};

/// A crank of a recording. In memory for its own events alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Crank {
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

impl Crank {
    /// Returns the event of the crank's delivery, if it made one.
    pub(super) fn deliver(&self) -> Option<&Record> {
        self.events.iter().find(|it| it.kind() == "deliver" && !it.is_replay())
    }

    /// Returns the item that the crank took from its queue, in SwingSet's shape.
    pub(super) fn item(&self) -> &serde_json::Value {
        &self.events[0].value["message"]
    }

    /// Returns the vats that were created in the crank or just before, and their names.
    pub(super) fn created(&self) -> impl Iterator<Item = (String, String)> {
        let events = self.before.iter().chain(&self.events).filter(|it| it.kind() == "create-vat");
        events.filter_map(|it| Some((it.text("vatID")?.to_owned(), it.text("name")?.to_owned())))
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
            match event.kind() {
                "syscall" if !event.is_replay() && !undone => {
                    let number = event.number("syscallNum");
                    made.extend(Link::of_syscall(&event.value["ksc"]).into_iter().map(|it| (it, number)));
                }
                "create-vat" => made.extend(event.text("vatID").map(|it| (Link::Created(it.to_owned()), None))),
                "terminate" => made.extend(event.text("vatID").map(|it| (Link::Ended(it.to_owned()), None))),
                _ => (),
            }
        }
        made
    }

    /// Returns the vats that ended in the crank.
    pub(super) fn ended_vats(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter(|it| it.kind() == "terminate").filter_map(|it| it.text("vatID"))
    }
}

/// Reads the cranks of a file, in order.
#[derive(Debug)]
pub(super) struct Cranks {
    reader: Reader,
    history: History,
    block: Option<(u64, Option<u64>)>,
    /// The one under way.
    open: Option<Crank>,
    before: Vec<Record>,
}

impl Cranks {
    /// Returns all cranks of a recording. A host that runs a lost block again records the same crank more than once.
    pub(super) fn all(reader: Reader) -> Cranks {
        Cranks { reader, history: History::default(), block: None, open: None, before: Vec::new() }
    }

    /// Returns the cranks of a recording that count: those of lost blocks are left out.
    pub(super) fn that_count(path: &Path, history: &History) -> Result<Cranks, ReadError> {
        Ok(Cranks { history: history.clone(), ..Cranks::all(Reader::open(path)?) })
    }

    /// Takes an event; the crank that is over by it, if one is.
    fn add(&mut self, record: Record) -> Option<Crank> {
        match record.kind() {
            "host-start" | "import-kernel-start" => {
                self.block = None;
                self.open.take()
            }
            "begin-block" => {
                self.block = record.number("blockHeight").map(|it| (it, record.number("blockTime")));
                None
            }
            "crank-start" => {
                let over = self.open.take();
                let (number, block) = (record.number("crankNum").unwrap_or(0), self.block);
                let before = std::mem::take(&mut self.before);
                if !self.history.is_lost(record.line, number) {
                    self.open = Some(Crank { number, block, before, events: vec![record], ended: false });
                }
                over
            }
            kind => {
                let ends = kind == "crank-finish";
                match &mut self.open {
                    Some(open) => open.events.push(record),
                    None => self.before.push(record),
                }
                self.open.take_if(|_| ends).map(|it| Crank { ended: true, ..it })
            }
        }
    }
}

impl Iterator for Cranks {
    type Item = Result<Crank, ReadError>;

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
