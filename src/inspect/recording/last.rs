//! The end of a recording and what was under way there: the answer to "which delivery did it?".

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
};

use serde::Serialize;
use serde_json::Value;

use crate::inspect::recording::map::Map;
use crate::slog::{
    Indexing, QueuedItem, ReadError, Reader, Record, RecordedEvent,
    index::{Context, Word},
};

/// Console lines of each vat that are kept.
const CONSOLE_LINES: usize = 5;

/// Characters of each of them.
const CONSOLE_CHARS: usize = 1_000;

/// The state in which a recording ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The recording holds no event.
    #[default]
    Empty,
    /// Everything that began has ended, and is committed.
    Clean,
    /// A block is open, and no crank of it is under way.
    BetweenCranks,
    /// A crank is under way.
    InFlight,
    /// The kernel panicked.
    Panic,
}

/// The end of a recording.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Last {
    /// The state in which the recording ends.
    pub status: Status,
    /// Whether the recording breaks off in the middle of an event.
    pub torn: bool,
    /// The time of the last event, in seconds since the Unix epoch.
    pub time: Option<f64>,
    /// The block that is open.
    pub block: Option<u64>,
    /// The block that was committed last.
    pub committed: Option<u64>,
    /// The crank under way, or else the last that ended.
    pub crank: Option<u64>,
    /// The item that the crank took from its queue, in SwingSet's shape.
    pub message: Option<Value>,
    /// The vat of the delivery.
    #[serde(rename = "vatID")]
    pub vat: Option<String>,
    /// The vat's name, unless it was created before the recording.
    pub name: Option<String>,
    /// Whether the vat is being brought back by replay.
    pub replay: bool,
    /// The number of the delivery under way.
    pub delivery: Option<u64>,
    /// The kind of the delivery.
    pub dispatch: Option<String>,
    /// The delivery, in the kernel's references.
    pub kd: Option<Value>,
    /// The outcome of the delivery, in SwingSet's shape, if only its crank is still under way.
    pub outcome: Option<Value>,
    /// Syscalls of the delivery that were answered.
    pub syscalls: u64,
    /// The syscall under way, with its number, in the vat's references.
    pub syscall: Option<(u64, Value)>,
    /// The event of the kernel panic, if there was one.
    pub epitaph: Option<Value>,
    /// The last lines that the vat wrote.
    pub console: Vec<Console>,
}

/// A line that a vat wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "they are what their names say")]
pub struct Console {
    #[serde(rename = "crankNum")]
    pub crank: Option<u64>,
    pub level: String,
    pub text: String,
}

impl Console {
    /// Reads a line from a `console` event.
    pub fn of(record: &Record) -> Console {
        let args = record.value.get("args").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let words = args.iter().map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned));
        let level = record.text("level").unwrap_or("log").to_owned();
        Console { crank: record.crank(), level, text: words.collect::<Vec<_>>().join(" ") }
    }
}

/// Returns what was under way at the end of a recording. Of a pipe all is read; in memory are then the names and last lines of its vats.
///
/// # Errors
///
/// The recording cannot be read.
pub fn last(path: &Path, rules: Indexing) -> Result<Last, ReadError> {
    let mut end = LastEnd::default();
    let Some(map) = Map::of(path, rules)? else {
        let mut reader = Reader::open(path)?;
        let mut torn_before = 0;
        while let Some(record) = reader.next() {
            end.add(&record?);
            torn_before = reader.torn();
        }
        return Ok(end.into_last(reader.torn() > torn_before));
    };
    let first = begin(&map)?;
    let mut torn = false;
    for piece in first..=map.last() {
        let (context, mut reader) = map.read(piece)?;
        if piece == first && piece > 0 {
            end.begin(context);
        }
        // If a host continued after another was killed, only the end of the last one matters.
        let mut torn_before = 0;
        while let Some(record) = reader.next() {
            end.add(&record?);
            torn_before = reader.torn();
        }
        torn = reader.torn() > torn_before;
    }
    if first > 0 {
        end.look_back(&map, first)?;
    }
    Ok(end.into_last(torn))
}

/// Returns the piece from which on the end of a recording is told: the last one, or the one with the panic that ended it.
fn begin(map: &Map) -> Result<u64, ReadError> {
    let last = map.last();
    let start = map.previous(Word::Start.key(), last)?;
    let panic = map.previous(Word::Panic.key(), last)?;
    Ok(panic.filter(|it| start.is_none_or(|start| start <= *it)).unwrap_or(last))
}

#[derive(Default)]
struct LastEnd {
    last: Last,
    in_crank: bool,
    names: BTreeMap<String, String>,
    consoles: BTreeMap<String, VecDeque<Console>>,
    /// The vats of which nothing was left at some time.
    cleaned: BTreeSet<String>,
}

impl LastEnd {
    /// Begins with what was told before.
    fn begin(&mut self, context: Context) {
        self.last.status = Status::Clean;
        self.last.block = context.open.flatten();
        self.last.committed = context.committed.flatten();
        self.last.crank = context.crank.flatten();
    }

    /// Finds the name of the vat, and its last lines, as far as they are before this piece.
    fn look_back(&mut self, map: &Map, first: u64) -> Result<(), ReadError> {
        let Some(vat) = self.vat().filter(|it| !self.cleaned.contains(it)) else { return Ok(()) };
        let before = |word: Word<'_>, piece: u64| -> Result<Option<u64>, ReadError> {
            Ok(map.previous(word.key(), piece)?.max(map.previous(Word::Cleaned(&vat).key(), piece)?))
        };
        let mut at = first;
        while !self.names.contains_key(&vat)
            && let Some(piece) = before(Word::Created(&vat), at)?
        {
            let mut past = LastEnd::of_piece(map, piece)?;
            if let Some(name) = past.names.remove(&vat) {
                self.names.insert(vat.clone(), name);
            }
            at = if past.cleaned.contains(&vat) { 0 } else { piece };
        }
        let mut lines = self.consoles.remove(&vat).unwrap_or_default();
        let mut at = first;
        while lines.len() < CONSOLE_LINES
            && let Some(piece) = before(Word::Spoke(&vat), at)?
        {
            let mut past = LastEnd::of_piece(map, piece)?;
            for line in past.consoles.remove(&vat).unwrap_or_default().into_iter().rev() {
                lines.push_front(line);
            }
            at = if past.cleaned.contains(&vat) { 0 } else { piece };
        }
        lines.drain(..lines.len().saturating_sub(CONSOLE_LINES));
        self.consoles.insert(vat, lines);
        Ok(())
    }

    fn of_piece(map: &Map, piece: u64) -> Result<LastEnd, ReadError> {
        let mut end = LastEnd::default();
        for record in map.read(piece)?.1 {
            end.add(&record?);
        }
        Ok(end)
    }

    /// Returns the vat that was under way, or with which the kernel panicked.
    fn vat(&self) -> Option<String> {
        let panicked = || Some(self.last.epitaph.as_ref()?.get("vatID")?.as_str()?.to_owned());
        self.last.vat.clone().or_else(panicked)
    }

    fn add(&mut self, record: &Record) {
        self.last.time = record.seconds("time").or(self.last.time);
        match record.event() {
            RecordedEvent::Start { height } => self.session(height),
            RecordedEvent::BeginBlock { height, .. } => self.last.block = height,
            RecordedEvent::CommitFinish { height } => {
                // That of another block may stand behind the beginning of the one under way.
                self.last.block = self.last.block.filter(|it| height.is_some_and(|height| height != *it));
                self.last.committed = height;
            }
            RecordedEvent::CreateVat { vat, name } => drop(self.names.insert(vat.to_owned(), name.to_owned())),
            RecordedEvent::CrankStart { crank, item } => self.crank(crank, item),
            RecordedEvent::CrankFinish => self.end_of_crank(),
            RecordedEvent::StartReplay { .. } => (self.last.vat, self.last.replay) = (vat_of(record), true),
            RecordedEvent::FinishReplay { .. } => self.last.replay = false,
            RecordedEvent::Deliver { kernel: kd, .. } => {
                self.last.vat = vat_of(record);
                self.last.delivery = record.delivery();
                self.last.dispatch = kd.kind().map(str::to_owned);
                self.last.kd = Some(kd.0.clone());
            }
            RecordedEvent::Delivered { .. } | RecordedEvent::DeliveryFailed { .. } => {
                self.last.outcome = record.value.get("dr").cloned()
            }
            RecordedEvent::Syscall { number, vat, .. } => {
                self.last.syscall = Some((number.unwrap_or(self.last.syscalls), vat.0.clone()));
            }
            RecordedEvent::SyscallResult { .. } => {
                self.last.syscalls += 1;
                self.last.syscall = None;
            }
            RecordedEvent::Console => self.console(record),
            RecordedEvent::VatCleanupComplete => {
                let vat = record.vat().unwrap_or_default();
                self.consoles.remove(vat);
                self.names.remove(vat);
                self.cleaned.insert(vat.to_owned());
            }
            RecordedEvent::KernelPanic { .. } => self.last.epitaph = Some(epitaph(&record.value)),
            _ => (),
        }
        if self.last.status == Status::Empty {
            self.last.status = Status::Clean;
        }
    }

    /// Begins a host's session: whatever was under way is lost, and will run again.
    fn session(&mut self, height: Option<u64>) {
        self.end_of_crank();
        self.last = Last {
            status: Status::Clean,
            time: self.last.time,
            committed: height.or(self.last.committed),
            ..Last::default()
        };
    }

    fn crank(&mut self, number: Option<u64>, item: QueuedItem<'_>) {
        self.end_of_crank();
        self.in_crank = true;
        self.last.crank = number;
        self.last.message = Some(item.value).filter(|it| !it.is_null()).cloned();
    }

    fn end_of_crank(&mut self) {
        self.in_crank = false;
        let Last { block, committed, time, crank, status, torn, epitaph, .. } = std::mem::take(&mut self.last);
        self.last = Last { block, committed, time, crank, status, torn, epitaph, ..Last::default() };
    }

    fn console(&mut self, record: &Record) {
        let Some(vat) = record.vat() else { return };
        let lines = self.consoles.entry(vat.to_owned()).or_default();
        if lines.len() == CONSOLE_LINES {
            lines.pop_front();
        }
        let mut line = Console::of(record);
        if let Some((end, _)) = line.text.char_indices().nth(CONSOLE_CHARS) {
            line.text.truncate(end);
            line.text.push('…');
        }
        lines.push_back(line);
    }

    fn into_last(mut self, torn: bool) -> Last {
        let vat = self.vat();
        let mut last = self.last;
        if last.epitaph.is_some() {
            last.status = Status::Panic;
            last.vat = vat;
        } else if self.in_crank {
            last.status = Status::InFlight;
        } else if last.block.is_some() {
            last.status = Status::BetweenCranks;
        }
        if let Some(vat) = &last.vat {
            last.name = self.names.remove(vat);
            last.console = self.consoles.remove(vat).unwrap_or_default().into();
        }
        last.torn = torn;
        last
    }
}

fn vat_of(record: &Record) -> Option<String> {
    record.vat().map(str::to_owned)
}

/// Returns the event without the fields that every event has.
fn epitaph(event: &Value) -> Value {
    let mut epitaph = event.clone();
    if let Some(fields) = epitaph.as_object_mut() {
        fields.retain(|name, _| !["type", "time", "monotime"].contains(&name.as_str()));
    }
    epitaph
}
