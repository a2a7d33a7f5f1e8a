//! One crank of a recording: all that happened in it, what caused it, and what it caused.
//!
//! Of a recording with an index, only the pieces are read that may have one of these. In memory is the one crank, with its cause and its
//! effects.

use std::{collections::BTreeMap, path::Path};

use crate::inspect::recording::{
    crank::{Cranks, RecordedCrank},
    history::History,
    link::{Link, is_undone, undoes},
    map::Map,
};
use crate::slog::{Indexing, ReadError, Reader, Record, RecordedEvent, index::Word};
use serde::Serialize;

/// The crank to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The crank with this number.
    Crank(u64),
    /// The crank of a vat's delivery.
    Delivery {
        /// The vat's id.
        vat: String,
        /// The number of the delivery.
        delivery: u64,
    },
}

/// A place in a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "they are what their names say")]
pub struct Place {
    #[serde(rename = "crankNum")]
    pub crank: u64,
    #[serde(rename = "vatID")]
    pub vat: Option<String>,
    #[serde(rename = "deliveryNum")]
    pub delivery: Option<u64>,
}

/// The cause of a crank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "by")]
pub enum Cause {
    /// A syscall caused the crank.
    Syscall {
        /// The delivery that made the syscall.
        #[serde(flatten)]
        place: Place,
        /// The syscall's number in that delivery.
        #[serde(rename = "syscallNum")]
        number: u64,
        /// The kind of the syscall.
        syscall: String,
    },
    /// The kernel acted of its own accord: garbage, a vat's beginning or end.
    Kernel,
    /// The cause is not in this recording: the item came from outside, or the recording began later.
    Unrecorded,
}

/// A crank that was found in a recording, with its cause and its events.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The crank, and its delivery, if it made one.
    #[serde(flatten)]
    pub place: Place,
    /// The vat's name, unless it was created before the recording.
    pub name: Option<String>,
    /// The height of the crank's block, unless that began before the recording.
    pub block_height: Option<u64>,
    /// The number of times that the crank was recorded: a host that was killed runs its last cranks again. This is
    /// the last time.
    pub recorded: u64,
    /// Whether the crank ends within the recording.
    pub ended: bool,
    /// Whether everything that the crank did was undone.
    pub undone: bool,
    /// The cause of the crank; `None` if that was not looked for.
    pub cause: Option<Cause>,
    /// The cranks that each of the syscalls, by number, led to.
    pub effects: BTreeMap<u64, Vec<Place>>,
    /// All its events.
    #[serde(serialize_with = "values")]
    pub events: Vec<Record>,
}

fn values<S: serde::Serializer>(events: &[Record], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(events.iter().map(|it| &it.value))
}

/// The extent of a recording: what it holds, for a user who looked for something else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// The first crank and the last.
    pub cranks: Option<(u64, u64)>,
    /// The first delivery and the last of the vat in question.
    pub deliveries: Option<(u64, u64)>,
}

/// Finds a crank, with its cause and its effects; returns the extent of the recording if it is not there.
///
/// # Errors
///
/// The recording cannot be read, or is a pipe.
pub fn show(path: &Path, which: &Which, rules: Indexing) -> Result<Result<Shown, Extent>, ReadError> {
    let map = Map::of_file(path, rules)?;
    let mut search = Search { which, found: None, deliveries: None };
    let key = match which {
        Which::Crank(number) => Word::Crank(*number).key(),
        Which::Delivery { vat, delivery } => Word::Delivery(vat, *delivery).key(),
    };
    let every = History::default();
    for piece in map.having(key, 0) {
        let piece = piece?;
        for crank in Cranks::of_piece(&map, piece, &every)? {
            search.add(piece, crank?);
        }
    }
    let Some((piece, mut shown)) = search.found else {
        return Ok(Err(extent(&map, which)?));
    };
    shown.name = shown.place.vat.as_ref().map(|it| map.name(it)).transpose()?.flatten();
    trace(&map, piece, &mut shown)?;
    Ok(Ok(shown))
}

/// Finds what there is. Of a vat's deliveries, everything is read.
fn extent(map: &Map, which: &Which) -> Result<Extent, ReadError> {
    let mut search = Search { which, found: None, deliveries: None };
    if let Which::Delivery { .. } = which {
        let every = History::default();
        for piece in 0..=map.last() {
            for crank in Cranks::of_piece(map, piece, &every)? {
                search.add(piece, crank?);
            }
        }
    }
    Ok(Extent { cranks: map.history()?.cranks, deliveries: search.deliveries })
}

/// Shows each crank as it ends; for a recording that is being written, [`Reader::follow`] waits for more. In memory are one crank and
/// the vats' names.
pub fn follow(reader: Reader) -> impl Iterator<Item = Result<Shown, ReadError>> {
    let mut names = BTreeMap::new();
    Cranks::all(reader).map(move |crank| {
        let crank = crank?;
        names.extend(crank.created());
        let mut shown = Shown::of(crank);
        shown.name = shown.place.vat.as_ref().and_then(|it| names.get(it)).cloned();
        Ok(shown)
    })
}

impl Shown {
    /// Returns the link of the item that the crank took, if one ties it to a cause.
    fn link(&self) -> Option<Link> {
        match self.events.first()?.event() {
            RecordedEvent::CrankStart { item, .. } => Link::of_item(item),
            _ => None,
        }
    }

    /// Makes the report of a crank, as far as its own events tell.
    fn of(crank: RecordedCrank) -> Shown {
        let deliver = crank.deliver();
        let vat = deliver.and_then(Record::vat).map(str::to_owned);
        Shown {
            place: Place { crank: crank.number, vat, delivery: deliver.and_then(Record::delivery) },
            name: None,
            block_height: crank.block.map(|it| it.0),
            recorded: 1,
            ended: crank.ended,
            undone: is_undone(&crank.events),
            cause: None,
            effects: BTreeMap::new(),
            events: crank.events,
        }
    }
}

/// The first pass: the crank's own events.
struct Search<'a> {
    which: &'a Which,
    /// The crank, and the piece that it is in.
    found: Option<(u64, Shown)>,
    /// The first delivery and the last of the vat in question.
    deliveries: Option<(u64, u64)>,
}

impl Search<'_> {
    /// Takes a crank. If the one that is looked for was recorded more than once, the last record counts.
    fn add(&mut self, piece: u64, crank: RecordedCrank) {
        let shown = Shown::of(crank);
        let place = &shown.place;
        let matches = match self.which {
            Which::Crank(number) => place.crank == *number,
            Which::Delivery { vat, delivery } => {
                let of_vat = place.vat.as_ref() == Some(vat);
                if of_vat {
                    widen(&mut self.deliveries, place.delivery);
                }
                of_vat && place.delivery == Some(*delivery)
            }
        };
        if matches {
            let recorded = self.found.as_ref().map_or(0, |(_, it)| it.recorded) + 1;
            self.found = Some((piece, Shown { recorded, ..shown }));
        }
    }
}

fn widen(range: &mut Option<(u64, u64)>, number: Option<u64>) {
    if let Some(number) = number {
        *range = Some(range.map_or((number, number), |(first, last)| (first.min(number), last.max(number))));
    }
}

/// Makes the second pass: finds the cause before the crank, and the effects after it.
fn trace(map: &Map, piece: u64, shown: &mut Shown) -> Result<(), ReadError> {
    let first = shown.events.first().map_or(0, |it| it.line);
    let last = shown.events.last().map_or(0, |it| it.line);
    let link = shown.link();
    let mut found = None;
    let mut at = piece + 1;
    while let Some(key) = link.as_ref().map(Link::key).filter(|_| found.is_none())
        && let Some(before) = map.previous(key, at)?
    {
        let mut cause = CauseSearch { wanted: link.clone(), ..CauseSearch::default() };
        for record in map.read(before)?.1 {
            let record = record?;
            if record.line >= first {
                break;
            }
            cause.add(&record);
        }
        (at, found) = (before, cause.found);
    }
    let unknown = if link.is_none() { Cause::Kernel } else { Cause::Unrecorded };
    shown.cause = Some(found.unwrap_or(unknown));
    let mut effects = EffectSearch::new(shown);
    let mut at = piece;
    while let Some(after) = effects.next_piece(map, at)? {
        for record in map.read(after)?.1 {
            let record = record?;
            if record.line > last {
                effects.add(&record);
            }
        }
        at = after + 1;
    }
    shown.effects = effects.found;
    Ok(())
}

#[derive(Default)]
struct CauseSearch {
    wanted: Option<Link>,
    /// The cause found in the crank under way, which may yet be undone.
    seen: Option<Cause>,
    undone: bool,
    found: Option<Cause>,
}

impl CauseSearch {
    fn add(&mut self, record: &Record) {
        match record.event() {
            RecordedEvent::CrankStart { .. } => (self.seen, self.undone) = (None, false),
            RecordedEvent::CrankFinish if !self.undone => self.found = self.seen.take().or(self.found.take()),
            RecordedEvent::Syscall { number, kernel, .. } => {
                let links = Link::of_syscall(kernel);
                if self.wanted.as_ref().is_some_and(|it| links.contains(it)) {
                    self.seen = Some(Cause::Syscall {
                        place: place_of(record),
                        number: number.unwrap_or(0),
                        syscall: kernel.kind().unwrap_or_default().to_owned(),
                    });
                }
            }
            _ => self.undone |= undoes(record),
        }
    }
}

#[derive(Default)]
struct EffectSearch {
    wanted: BTreeMap<Link, u64>,
    /// The syscall that led to the crank under way.
    under_way: Option<u64>,
    found: BTreeMap<u64, Vec<Place>>,
}

impl EffectSearch {
    fn new(shown: &Shown) -> EffectSearch {
        let links = shown.events.iter().filter(|_| !shown.undone).filter_map(|it| match it.event() {
            RecordedEvent::Syscall { number: Some(number), kernel, .. } => Some((number, Link::of_syscall(kernel))),
            _ => None,
        });
        let wanted = links.flat_map(|(number, links)| links.into_iter().map(move |it| (it, number))).collect();
        EffectSearch { wanted, ..EffectSearch::default() }
    }

    /// Returns the first piece from this one on that may have an effect.
    fn next_piece(&self, map: &Map, from: u64) -> Result<Option<u64>, ReadError> {
        let mut first: Option<u64> = None;
        for link in self.wanted.keys() {
            let found = map.next(link.key(), from)?;
            first = [first, found].into_iter().flatten().min();
        }
        Ok(first)
    }

    fn add(&mut self, record: &Record) {
        match record.event() {
            RecordedEvent::CrankStart { item, .. } => {
                let link = Link::of_item(item);
                self.under_way = link.as_ref().and_then(|it| self.wanted.get(it)).copied();
                if let Some(number) = self.under_way {
                    self.found.entry(number).or_default().push(place_of(record));
                }
                // A message is delivered once; a promise has many subscribers.
                if let Some(link @ (Link::Result(_) | Link::Message(..))) = link {
                    self.wanted.remove(&link);
                }
            }
            RecordedEvent::Deliver { .. } => {
                let place = self.under_way.take().and_then(|it| self.found.get_mut(&it)?.last_mut());
                if let Some(place) = place {
                    *place = place_of(record);
                }
            }
            _ => (),
        }
    }
}

pub(super) fn place_of(record: &Record) -> Place {
    Place { crank: record.crank().unwrap_or(0), vat: record.vat().map(str::to_owned), delivery: record.delivery() }
}
