//! The story of one promise or object: the events of a recording that name it, in order.

use std::{fmt, path::Path};

use crate::inspect::recording::link::is_undone;
use crate::slog::{CListMode, Operation, ReadError, Reader, Record, RecordedEvent};

/// The story of a promise or object: the events of a recording that name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    /// The mentions, in order.
    pub mentions: Vec<Mention>,
}

/// An event that names the promise or object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The crank; `None` for an event outside of all cranks.
    pub crank: Option<u64>,
    /// The vat and the number of the delivery, within one.
    pub delivery: Option<(String, u64)>,
    /// The event, in words.
    pub what: String,
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.crank {
            Some(crank) => write!(f, "crank-{crank}")?,
            None => f.write_str("from outside")?,
        }
        if let Some((vat, number)) = &self.delivery {
            write!(f, ", delivery-{number} to {vat}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Collects the story of a promise or object. If a crank was recorded more than once, only the last record counts;
/// cranks that were undone are left out.
///
/// # Errors
///
/// The recording cannot be read to its end.
pub fn story(path: &Path, kref: &str) -> Result<Story, ReadError> {
    let mut story = Story::default();
    let mut crank: Vec<Record> = Vec::new();
    for record in Reader::open(path)? {
        let record = record?;
        match record.event() {
            RecordedEvent::CrankStart { crank: number, .. } => {
                story.close(&mut crank, kref);
                story.mentions.retain(|it| it.crank.is_none() || it.crank < number);
                crank.push(record);
            }
            RecordedEvent::CrankFinish => story.close(&mut crank, kref),
            _ if crank.is_empty() => story.add(&record, kref),
            _ => crank.push(record),
        }
    }
    story.close(&mut crank, kref);
    Ok(story)
}

impl Story {
    fn close(&mut self, crank: &mut Vec<Record>, kref: &str) {
        let crank = std::mem::take(crank);
        if !is_undone(&crank) {
            crank.iter().for_each(|it| self.add(it, kref));
        }
    }

    fn add(&mut self, record: &Record, kref: &str) {
        let what = match record.event() {
            RecordedEvent::CrankStart { item, .. } if item.mentions(kref) => {
                format!("it waited in the queue: {}", item.kind)
            }
            RecordedEvent::Deliver { kernel: kd, .. } if kd.mentions(kref) => {
                format!("delivered: {}", kd.kind().unwrap_or("?"))
            }
            RecordedEvent::Syscall { number, kernel: ksc, .. } if ksc.mentions(kref) => {
                format!("syscall {}, {}{}", number.unwrap_or(0), ksc.kind().unwrap_or("?"), role(ksc, kref))
            }
            RecordedEvent::CList { mode, vat, kobj, vobj } if kobj == kref => match mode {
                CListMode::Export => format!("{vat} introduces it, as {vobj}"),
                CListMode::Import => format!("{vat} gets to know it, as {vobj}"),
                CListMode::Drop => format!("{vat} forgets it"),
            },
            RecordedEvent::PromiseRejected { kpid } if kpid == kref => "rejected, and the host was told".to_owned(),
            _ => return,
        };
        let delivery = record.vat().zip(record.delivery()).map(|(vat, number)| (vat.to_owned(), number));
        self.mentions.push(Mention { crank: record.crank(), delivery, what });
    }
}

/// Returns the role of the promise or object in a syscall.
fn role(ksc: Operation<'_>, kref: &str) -> &'static str {
    match ksc.message() {
        Some(message) if message.result == Some(kref) => ": the result of this message",
        Some(message) if message.target == Some(kref) => ": the target",
        Some(_) => ": an argument",
        None => "",
    }
}
