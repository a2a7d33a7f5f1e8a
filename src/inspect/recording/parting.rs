//! Two recordings compared: the first crank at which they part, and how.
//!
//! The hashes of a crank tell whether it did the same; if they are not recorded, its events do. Times do not count, nor does
//! what each host does for itself: starting, bringing a vat back, taking snapshots, running a lost block again. It takes two passes
//! over each file; in memory is one crank of each.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::inspect::recording::{
    crank::{Cranks, RecordedCrank},
    history::History,
};
use crate::slog::{Detail, ReadError, Record};

/// The comparison of two recordings.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parting {
    /// The first crank that both hold, and so the first that was compared.
    pub from: Option<u64>,
    /// The number of cranks that are the same.
    pub same: u64,
    /// The end of the comparison, after those.
    pub end: Ending,
}

/// The way in which a comparison ends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Ending {
    /// Both recordings end there.
    Equal,
    /// No crank is in both.
    NothingInCommon,
    /// One of them ends there: it is the beginning of the other.
    Prefix {
        /// Whether the first recording ends there.
        first: bool,
    },
    /// The recordings differ in a crank.
    Parted(Box<Parted>),
}

/// The first difference between two recordings.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parted {
    /// The crank that differs.
    #[serde(rename = "crankNum")]
    pub crank: u64,
    /// The evidence that showed the difference.
    pub by: Evidence,
    /// The evidence in each recording, if it is a hash, a number, or a block.
    pub values: [Option<Value>; 2],
    /// The first event of the crank that differs, in each; `None` if all recorded events are the same.
    pub events: [Option<Side>; 2],
    /// The first later crank of which an event differs, if no event of this crank does.
    pub later: Option<Box<Parted>>,
}

/// The evidence that two cranks are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Their numbers: one recording has a gap.
    CrankNum,
    /// The height or the time of their blocks.
    Block,
    /// The hashes of what they did.
    Crankhash,
    /// The hashes of all that was done, though not those of the cranks: the difference lies before this crank.
    Activityhash,
    /// The events of the cranks.
    Events,
}

/// An event of one recording.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The line of the event.
    pub line: u64,
    /// The event, without its times.
    pub event: Value,
}

/// Compares two recordings, crank by crank.
///
/// # Errors
///
/// One of them cannot be read to its end, or, being a pipe, not twice.
pub fn parting(a: &Path, b: &Path) -> Result<Parting, ReadError> {
    let histories = [History::of(a)?, History::of(b)?];
    let detail = histories[0].detail.min(histories[1].detail);
    let mut a = Cranks::that_count(a, &histories[0])?;
    let mut b = Cranks::that_count(b, &histories[1])?;
    let (mut left, mut right) = (a.next().transpose()?, b.next().transpose()?);
    // One may begin later than the other.
    while let (Some(x), Some(y)) = (&left, &right)
        && x.number != y.number
    {
        if x.number < y.number {
            left = a.next().transpose()?;
        } else {
            right = b.next().transpose()?;
        }
    }
    let from = left.as_ref().zip(right.as_ref()).map(|(it, _)| it.number);
    if from.is_none() && histories.iter().any(|it| it.cranks.is_some()) {
        return Ok(Parting { from, same: 0, end: Ending::NothingInCommon });
    }
    let mut same = 0;
    let mut parted: Option<Parted> = None;
    loop {
        let end = match (&left, &right) {
            (None, None) => Some(Ending::Equal),
            (None, Some(_)) => Some(Ending::Prefix { first: true }),
            (Some(_), None) => Some(Ending::Prefix { first: false }),
            (Some(a), Some(b)) => compare(a, b, detail),
        };
        match (end, &mut parted) {
            (None, None) => same += 1,
            (None, Some(_)) => (),
            // An event may show the difference only later.
            (Some(Ending::Parted(now)), None) if !now.is_shown() => parted = Some(*now),
            (Some(Ending::Parted(now)), Some(_)) if !now.is_shown() => (),
            (Some(end), None) => return Ok(Parting { from, same, end }),
            (Some(end), Some(first)) => {
                if let Ending::Parted(now) = end {
                    first.later = Some(now);
                }
                return Ok(Parting { from, same, end: Ending::Parted(Box::new(first.clone())) });
            }
        }
        (left, right) = (a.next().transpose()?, b.next().transpose()?);
    }
}

impl Parted {
    /// Returns whether the difference shows already: in the number of the crank, or in an event.
    fn is_shown(&self) -> bool {
        self.by == Evidence::CrankNum || self.events != [None, None]
    }
}

/// Returns the difference between two cranks, if there is one.
fn compare(a: &RecordedCrank, b: &RecordedCrank, detail: Detail) -> Option<Ending> {
    let parted = |by, values, events| {
        Some(Ending::Parted(Box::new(Parted { crank: a.number, by, values, events, later: None })))
    };
    if a.number != b.number {
        return parted(Evidence::CrankNum, [a, b].map(|it| Some(it.number.into())), [None, None]);
    }
    let hashes = [(Evidence::Crankhash, "crankhash"), (Evidence::Activityhash, "activityhash")];
    let hashes = hashes.map(|(by, field)| (by, [a, b].map(|it| hash(it, field))));
    let differs = hashes.iter().find(|(_, it)| it[0].is_some() && it[1].is_some() && it[0] != it[1]);
    if differs.is_none() && hashes.iter().any(|(_, it)| it[0].is_some() && it[1].is_some()) {
        return None;
    }
    let (events, cut) = first_difference(a, b, detail);
    let blocks = [a, b].map(|it| it.block);
    match differs {
        // The block is in the hashes, and in nothing that a crank does.
        _ if events == [None, None] && blocks[0].is_some() && blocks[1].is_some() && blocks[0] != blocks[1] => {
            let value = |(height, time): (u64, Option<u64>)| serde_json::json!([height, time]);
            parted(Evidence::Block, blocks.map(|it| it.map(value)), events)
        }
        Some((by, values)) => parted(*by, values.map(|it| it.map(Value::from)), events),
        None if events != [None, None] => parted(Evidence::Events, [None, None], events),
        None => cut.map(|first| Ending::Prefix { first }),
    }
}

fn hash<'a>(crank: &'a RecordedCrank, field: &str) -> Option<&'a str> {
    crank.events.last().filter(|_| crank.ended)?.text(field)
}

/// Finds the first event that differs, or else whether one of the two breaks off before that: `true` for the first.
fn first_difference(a: &RecordedCrank, b: &RecordedCrank, detail: Detail) -> ([Option<Side>; 2], Option<bool>) {
    let (mut left, mut right) = (events(a, detail), events(b, detail));
    loop {
        match (left.next(), right.next()) {
            // Its end is an event, too.
            (None, None) => return ([None, None], (a.ended != b.ended).then_some(b.ended)),
            (Some(x), Some(y)) if x.event == y.event => (),
            (None, Some(_)) if !a.ended => return ([None, None], Some(true)),
            (Some(_), None) if !b.ended => return ([None, None], Some(false)),
            (x, y) => return ([x, y], None),
        }
    }
}

/// Returns the events of vats and kernel, as far as both recordings hold them.
fn events(crank: &RecordedCrank, detail: Detail) -> impl Iterator<Item = Side> {
    let of_interest =
        move |it: &&Record| !it.is_replay() && Detail::of(it.kind()) <= detail && !is_the_hosts_own(it.kind());
    crank.events.iter().filter(of_interest).map(|it| Side { line: it.line, event: timeless(&it.value) })
}

/// Returns whether events of this kind are not compared: those of the host's own work, which leaves no trace in the
/// state, and the end of a crank, whose hashes are compared apart.
fn is_the_hosts_own(kind: &str) -> bool {
    matches!(kind, "start-replay" | "finish-replay" | "heap-snapshot-save" | "heap-snapshot-load" | "crank-finish")
}

/// Returns the event without its times, and without the backtrace of a panic.
fn timeless(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(fields) = event.as_object_mut() {
        fields.retain(|name, _| !["time", "monotime", "seconds", "backtrace"].contains(&name.as_str()));
    }
    event
}
