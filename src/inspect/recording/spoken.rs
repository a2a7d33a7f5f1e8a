//! What vats wrote to their consoles, and what ended their deliveries; and the vats of a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Serialize;

use crate::inspect::recording::{Console, Range, map::Map};
use crate::slog::{
    Indexing, ReadError, Reader, Record, RecordedEvent,
    index::{Key, Word},
};

/// Cranks whose pieces are looked up one by one. What is in more of them is found by the lines.
const CRANKS_MAX: u64 = 10_000;

/// A line that a vat wrote, or that says why its delivery ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpokenLine {
    /// The crank of the line.
    pub crank_num: Option<u64>,
    /// The vat.
    #[serde(rename = "vatID")]
    pub vat_id: String,
    /// The vat's name, unless it was created before the recording.
    pub name: Option<String>,
    /// The number of the delivery.
    pub delivery_num: Option<u64>,
    /// The level of the line; `fault` if it says why a delivery ended.
    pub level: String,
    /// The line itself.
    pub text: String,
}

/// The lines to look for.
#[derive(Debug, Clone, Default)]
pub struct Spoken {
    /// Of this vat; of all vats, if there is none.
    pub vat: Option<String>,
    /// Of these cranks; also outside of cranks, if there is none.
    pub cranks: Option<Range>,
}

impl Spoken {
    /// Gives `each` the lines of a recording, in order, until it returns false.
    ///
    /// # Errors
    ///
    /// The recording cannot be read.
    pub fn find(
        &self,
        path: &Path,
        rules: Indexing,
        each: &mut dyn FnMut(SpokenLine) -> bool,
    ) -> Result<(), ReadError> {
        let Some(map) = Map::of(path, rules)? else {
            let mut names = BTreeMap::new();
            for record in Reader::open(path)? {
                let record = record?;
                if let RecordedEvent::CreateVat { vat, name } = record.event() {
                    names.insert(vat.to_owned(), name.to_owned());
                }
                if let Some(mut line) = self.line_of(&record) {
                    line.name = names.get(&line.vat_id).cloned();
                    if !each(line) {
                        break;
                    }
                }
            }
            return Ok(());
        };
        let keys = self.keys();
        let mut from = 0;
        loop {
            let mut first: Option<u64> = None;
            for key in &keys {
                first = [first, map.next(*key, from)?].into_iter().flatten().min();
            }
            let Some(piece) = first else { return Ok(()) };
            for record in map.read(piece)?.1 {
                if let Some(mut line) = self.line_of(&record?) {
                    line.name = map.name(&line.vat_id)?;
                    if !each(line) {
                        return Ok(());
                    }
                }
            }
            from = piece + 1;
        }
    }

    /// Returns keys that pieces with such lines have, one of them at least.
    fn keys(&self) -> BTreeSet<Key> {
        match (self.cranks, &self.vat) {
            (Some(range), _) if range.last - range.first < CRANKS_MAX => {
                (range.first..=range.last).map(|it| Word::Crank(it).key()).collect()
            }
            (_, Some(vat)) => BTreeSet::from([Word::Spoke(vat).key()]),
            _ => BTreeSet::from([Word::SpokeAny.key()]),
        }
    }

    fn line_of(&self, record: &Record) -> Option<SpokenLine> {
        let (level, text) = match record.event() {
            RecordedEvent::Console => {
                let Console { level, text, .. } = Console::of(record);
                (level, text)
            }
            RecordedEvent::DeliveryFailed { why, .. } => ("fault".to_owned(), why.as_str()?.to_owned()),
            _ => return None,
        };
        let vat_id = record.vat()?.to_owned();
        let (crank_num, delivery_num) = (record.crank(), record.delivery());
        let is_there = self.cranks.is_none_or(|range| crank_num.is_some_and(|it| range.has(it)));
        let is_its = self.vat.as_ref().is_none_or(|it| *it == vat_id);
        (is_there && is_its).then_some(SpokenLine { crank_num, vat_id, name: None, delivery_num, level, text })
    }
}

/// The vats of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedVats {
    /// The ids of the vats that have the name.
    pub found: Vec<String>,
    /// If there are none: the vats that the recording tells of, and their names.
    pub known: BTreeMap<String, String>,
}

/// Finds the vats of a name. A vat that was named more than once has its last name.
///
/// # Errors
///
/// The recording cannot be read, or is a pipe.
pub fn vats_named(path: &Path, name: &str, rules: Indexing) -> Result<NamedVats, ReadError> {
    let map = Map::of_file(path, rules)?;
    let mut ids = BTreeSet::new();
    each_created(&map, Word::Named(name), &mut |vat, given| {
        if given == name {
            ids.insert(vat.to_owned());
        }
    })?;
    let mut found = Vec::new();
    for id in ids {
        if map.name(&id)?.as_deref() == Some(name) {
            found.push(id);
        }
    }
    let mut known = BTreeMap::new();
    if found.is_empty() {
        each_created(&map, Word::CreatedAny, &mut |vat, given| drop(known.insert(vat.to_owned(), given.to_owned())))?;
    }
    Ok(NamedVats { found, known })
}

fn each_created(map: &Map, word: Word<'_>, each: &mut dyn FnMut(&str, &str)) -> Result<(), ReadError> {
    for piece in map.having(word.key(), 0) {
        for record in map.read(piece?)?.1 {
            if let RecordedEvent::CreateVat { vat, name } = record?.event() {
                each(vat, name);
            }
        }
    }
    Ok(())
}
