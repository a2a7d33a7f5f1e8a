//! History of a recording: finds the cranks that count, and those that were lost with their host.
//!
//! A host that was killed runs the cranks of its lost block again, so the crank numbers turn back in the recording. Of
//! the cranks before such a turn, those from the number to which it turns back were never committed. It takes one pass;
//! in memory are the turns.

use std::path::Path;

use crate::slog::{Detail, ReadError, Reader, Record, RecordedEvent, reader::must_be_a_file};

/// The facts of a whole recording that are needed before its cranks are read.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Lines at which the numbers turn back, and to which crank. In order of the lines.
    turns: Vec<(u64, u64)>,
    /// The detail of the recording.
    pub(super) detail: Detail,
    /// The first crank and the last.
    pub(super) cranks: Option<(u64, u64)>,
}

impl History {
    /// Reads a recording for its history.
    ///
    /// # Errors
    ///
    /// The recording cannot be read to its end, or, being a pipe, not twice.
    pub(super) fn of(path: &Path) -> Result<History, ReadError> {
        must_be_a_file(path)?;
        let mut history = History::default();
        let mut next = 0;
        for record in Reader::open(path)? {
            history.add(&record?, &mut next);
        }
        Ok(history)
    }

    /// Takes the next event; `next` is the crank after the last one.
    pub(super) fn add(&mut self, record: &Record, next: &mut u64) {
        if !record.is_replay() {
            self.detail = self.detail.max(Detail::of(record.kind()));
        }
        let Some(crank) = record.crank().filter(|_| matches!(record.event(), RecordedEvent::CrankStart { .. })) else {
            return;
        };
        self.turn_if(*next, record.line, crank);
        *next = crank.saturating_add(1);
        self.widen(Some((crank, crank)), Detail::None);
    }

    /// Notes that the numbers turn back at this line, to this crank.
    pub(super) fn turn(&mut self, line: u64, crank: u64) {
        self.turns.push((line, crank));
    }

    /// Notes that they turn back, if they do: `next` is the crank after the last one.
    pub(super) fn turn_if(&mut self, next: u64, line: u64, crank: u64) {
        if crank < next {
            self.turn(line, crank);
        }
    }

    /// Takes in the extent of the cranks of a part, and its detail.
    pub(super) fn widen(&mut self, extent: Option<(u64, u64)>, detail: Detail) {
        self.detail = self.detail.max(detail);
        if let Some((first, last)) = extent {
            self.cranks = Some(self.cranks.map_or((first, last), |(low, high)| (low.min(first), high.max(last))));
        }
    }

    /// Returns whether the crank that begins at this line was lost with its host.
    pub(super) fn is_lost(&self, line: u64, crank: u64) -> bool {
        let later = self.turns.partition_point(|(turn, _)| *turn <= line);
        self.turns[later..].iter().any(|(_, to)| *to <= crank)
    }
}
