//! Writes a recording: stamps each event, and hands pages of them on to the scribe.
//!
//! Invariants: an error of the file never reaches the kernel. After an error nothing is recorded up to the beginning
//! of a block at which the file can be written again, so that a hole begins and ends at a visible place: a
//! `slog-resumed` ends it. The error is reported once, and so is its end. The `commit-finish` of a block stands before the block behind it,
//! at the time at which that began, though another thread may still write the commit then: what is recorded meanwhile is held back, and the
//! `seconds` of `commit-finish` tell how long the commit took. (Only where more than [`HELD_BYTES_MAX`] would be held back, or a flush
//! cannot wait, it stands where it was recorded.) So the times of a recording never go back.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, BundleId, VatId},
    },
    slog::{
        Event, News, Recorder, SlogFormat,
        clock::{Clock, Now},
        packed::Packer,
        rotation::{self, Rotation},
        scribe::Scribe,
        sink::Sink,
    },
    store::StateHash,
};

/// A page is handed on once it holds this much: some hundred deliveries.
const PAGE_BYTES: usize = 32 << 10;

/// Bytes of a line that names a vat, about.
const HEAD_BYTES: u64 = 200;

/// Bytes that are held back at most for the sake of the order.
const HELD_BYTES_MAX: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// The time for which a file that could not be written is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Writes events to a file, as JSON lines or in binary.
#[derive(Debug)]
pub struct Writer {
    clock: Clock,
    spans: [Option<Duration>; Span::COUNT],
    page: Packer,
    /// Whether a block has ended whose commit is not finished.
    is_committing: bool,
    /// What a block recorded while the commit of the one before it was being written.
    held: Option<Held>,
    format: SlogFormat,
    /// The path of the file, if it can be opened again.
    path: Option<PathBuf>,
    stage: Stage,
    retry_after: Duration,
    /// The news that is still to be reported.
    news: Option<News>,
    /// What is needed to go on in a new file; `None` where it is never rotated.
    turning: Option<Turning>,
}

/// What is remembered for the head of the next file.
#[derive(Debug)]
struct Turning {
    rotation: Rotation,
    /// Bytes of the file at which it is rotated: later than the rules say where that failed, or where the head is large.
    due: u64,
    engine: Option<String>,
    /// The vats that were created while this recorded, and live.
    vats: BTreeMap<VatId, CreatedVat>,
}

/// Pages that are held back, and what is to be remembered of their events.
#[derive(Debug)]
struct Held {
    /// The time from which on events are held back.
    since: Now,
    pages: Vec<Vec<u8>>,
    bytes: usize,
    learned: Vec<Learned>,
}

/// What an event says that the head of the next file has to say, too.
#[derive(Debug)]
enum Learned {
    Engine(String),
    Created(VatId, CreatedVat),
    Ended(VatId),
}

/// A vat, as the head of a file names it.
#[derive(Debug)]
struct CreatedVat {
    name: String,
    dynamic: bool,
    bundle: BundleId,
    manager_type: &'static str,
}

/// The stage of the recording: written, or broken.
///
/// ```text
///   Writing ──error──▶ Broken ──a block begins──▶ OnTrial ──its commit is written──▶ Writing
///                        ▲───────────error───────────┘
/// ```
#[derive(Debug)]
enum Stage {
    Writing(Scribe),
    /// Broken since then; this has been reported, or is going to be.
    Broken(Duration),
    /// The file could be opened again: whether it can be written is still to be seen.
    OnTrial(Scribe),
}

impl Writer {
    /// Writes to the end of this file, which is made if it is not there. A name that ends in `.zst` compresses.
    ///
    /// # Errors
    ///
    /// The file cannot be written, is being written by another process, or is no recording of the kind that its name says.
    pub fn append(path: &Path) -> Result<Writer, HostFault> {
        Writer::append_as(path, SlogFormat::Json)
    }

    /// Writes to the end of this file in one of the formats, as [`append`](Writer::append) does. (Binary is compressed, whatever its name.)
    ///
    /// # Errors
    ///
    /// Those of [`append`](Writer::append).
    pub fn append_as(path: &Path, format: SlogFormat) -> Result<Writer, HostFault> {
        let stage = Sink::open(path, format).and_then(Scribe::start).map(Stage::Writing);
        let stage = stage.map_err(|err| HostFault::new(format_args!("write the slog `{}`", path.display()), err))?;
        // Who opens a pipe anew may wait for ever.
        let path = path.is_file().then(|| path.to_owned());
        let spans = Default::default();
        let (clock, page) = (Clock::start(), Packer::default());
        Ok(Writer {
            clock,
            spans,
            page,
            is_committing: false,
            held: None,
            format,
            path,
            stage,
            retry_after: RETRY_AFTER,
            news: None,
            turning: None,
        })
    }

    /// Goes on in a new file whenever the file is as large as these rules say, between two blocks. The earlier files get numbers
    /// before the end of their names: `bank.000001.slog`, `bank.000002.slog` and so on, the oldest first.
    ///
    /// # Errors
    ///
    /// The recording is no file, as where it goes through a pipe.
    pub fn rotated(mut self, rotation: Rotation) -> Result<Writer, HostFault> {
        if self.path.is_none() {
            return Err(HostFault::new("rotate the slog", "it is no file: record to one, or do not rotate it"));
        }
        self.turning = Some(Turning { rotation, due: rotation.max_bytes, engine: None, vats: BTreeMap::new() });
        Ok(self)
    }

    /// Measures the duration of what this event ends. One thing of a kind is under way at a time.
    fn measure(&mut self, event: &Event<'_>, now: Duration) -> Option<Duration> {
        let begun = Span::ended_by(event).and_then(|it| self.spans[it as usize].take());
        if let Some(span) = Span::begun_by(event) {
            self.spans[span as usize] = Some(now);
        }
        begun.map(|it| now.saturating_sub(it))
    }

    /// Hands the page on, does what `then` wants of the scribe, and remembers what goes wrong.
    /// Returns what `then` does, if nothing went wrong.
    fn write<T>(&mut self, then: impl FnOnce(&Scribe) -> io::Result<T>) -> Option<T> {
        let (Stage::Writing(scribe) | Stage::OnTrial(scribe)) = &self.stage else { return None };
        if self.page.len() > 0 {
            scribe.write(self.page.take(scribe.empty()));
        }
        match then(scribe) {
            Ok(done) => Some(done),
            Err(err) => {
                self.fail(err);
                None
            }
        }
    }

    /// Goes on in a new file, if this one has as many bytes as it may have. Its head is of this time.
    fn turn(&mut self, bytes: u64, time: Now, block_height: BlockHeight, state_hash: StateHash) {
        let is_due = self.turning.as_ref().is_some_and(|turning| bytes >= turning.due);
        if !is_due || self.write(Scribe::finish).is_none() {
            return;
        }
        let (Some(turning), Some(path)) = (&mut self.turning, &self.path) else { return };
        let part = match rotation::rotate(path, turning.rotation) {
            Ok(part) => part,
            Err(err) => {
                // Not again at every block.
                turning.due = bytes.saturating_add(turning.rotation.max_bytes);
                self.news = Some(News::NotRotated(err));
                return;
            }
        };
        match Sink::open(path, self.format).and_then(Scribe::start) {
            Ok(scribe) => self.stage = Stage::Writing(scribe),
            Err(err) => return self.fail(err),
        }
        let Some(mut turning) = self.turning.take() else { return };
        let after = part.path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let (version, engine) = (env!("CARGO_PKG_VERSION"), turning.engine.as_deref());
        let number = part.number + 1;
        self.keep_at(
            &Event::SlogContinued { after, part: number, version, engine, block_height, state_hash },
            time,
            time,
        );
        for (vat, created) in &turning.vats {
            let CreatedVat { name, dynamic, bundle, manager_type } = created;
            let (vat, dynamic, bundle) = (*vat, *dynamic, *bundle);
            let created = Event::CreateVatEarlier { vat, name, dynamic, bundle, manager_type, earlier: true };
            self.keep_at(&created, time, time);
        }
        // A file is more than its head, however many vats there are.
        let head = (turning.vats.len() as u64).saturating_mul(2 * HEAD_BYTES);
        turning.due = turning.rotation.max_bytes.max(head);
        self.turning = Some(turning);
        self.write(Scribe::sync);
    }

    /// Holds back what is recorded from here on, until the commit is finished.
    fn hold_back(&mut self) {
        self.write(|_| Ok(()));
        self.held = Some(Held { since: self.clock.now(), pages: Vec::new(), bytes: 0, learned: Vec::new() });
    }

    /// Hands the page on, or holds it back.
    fn turn_page(&mut self) {
        let Some(held) = &mut self.held else {
            self.write(|_| Ok(()));
            return;
        };
        held.bytes += self.page.len();
        let empty = match &self.stage {
            Stage::Writing(scribe) | Stage::OnTrial(scribe) => scribe.empty(),
            Stage::Broken(_) => Vec::new(),
        };
        held.pages.push(self.page.take(empty));
        if held.bytes > HELD_BYTES_MAX {
            self.let_go();
        }
    }

    /// Hands on what was held back: it stands where the file ends now.
    fn let_go(&mut self) {
        let Some(Held { pages, learned, .. }) = self.held.take() else { return };
        if let Stage::Writing(scribe) | Stage::OnTrial(scribe) = &self.stage {
            pages.into_iter().for_each(|it| scribe.write(it));
        }
        if let Some(turning) = &mut self.turning {
            learned.into_iter().for_each(|it| turning.learn(it));
        }
    }

    /// Records that a block is durable, before all that was recorded behind it.
    fn finish_commit(&mut self, event: &Event<'_>, block_height: BlockHeight, state_hash: StateHash) {
        if self.held.is_some() {
            self.turn_page();
        }
        // Nothing of it is on the page now.
        let held = self.held.take();
        let now = self.clock.now();
        let time = held.as_ref().map_or(now, |it| it.since);
        self.keep_at(event, now, time);
        self.clock.set();
        let bytes = self.write(Scribe::sync);
        self.pass();
        if let Some(bytes) = bytes {
            self.turn(bytes, time, block_height, state_hash);
        }
        self.held = held;
        self.let_go();
    }

    fn fail(&mut self, err: io::Error) {
        self.page = Packer::default();
        let now = self.clock.now().monotonic;
        if let Stage::Writing(_) = std::mem::replace(&mut self.stage, Stage::Broken(now)) {
            self.news = Some(News::Broken(err));
        }
        self.let_go();
    }

    /// Tries to resume the recording when a block begins. The hole is noted in the recording.
    fn try_again(&mut self) {
        let (Stage::Broken(since), Some(path)) = (&self.stage, &self.path) else { return };
        let now = self.clock.now().monotonic;
        // What is rotated may be between two names.
        let is_there = path.is_file() || self.turning.is_some();
        if now.saturating_sub(*since) < self.retry_after || !is_there {
            return;
        }
        match Sink::open(path, self.format).and_then(Scribe::start) {
            Ok(scribe) => {
                self.stage = Stage::OnTrial(scribe);
                self.keep(&Event::SlogResumed);
            }
            Err(_) => self.stage = Stage::Broken(now),
        }
    }

    /// Ends the trial of the file: a commit was written.
    fn pass(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Broken(Duration::ZERO)) {
            Stage::OnTrial(scribe) => {
                self.news = Some(News::GoesOn);
                Stage::Writing(scribe)
            }
            other => other,
        };
    }

    /// Puts an event on the page.
    fn keep(&mut self, event: &Event<'_>) {
        let now = self.clock.now();
        self.keep_at(event, now, now);
    }

    /// Puts an event of now on the page, as one of another time.
    fn keep_at(&mut self, event: &Event<'_>, now: Now, time: Now) {
        let seconds = self.measure(event, now.monotonic);
        if let Err(err) = self.page.add(event, time, seconds) {
            self.fail(err.into());
        }
    }
}

impl Recorder for Writer {
    fn record(&mut self, event: &Event<'_>) {
        let mut waits = false;
        match event {
            Event::EndBlockFinish { .. } => self.is_committing = true,
            Event::CommitFinish { .. } => self.is_committing = false,
            Event::BeginBlock { .. } => {
                waits = std::mem::take(&mut self.is_committing);
                self.try_again();
            }
            _ => (),
        }
        let is_broken = matches!(self.stage, Stage::Broken(_));
        if waits && !is_broken {
            self.hold_back();
        }
        if let Some(turning) = &mut self.turning
            && let Some(learned) = Learned::of(event)
        {
            match &mut self.held {
                Some(held) => held.learned.push(learned),
                None => turning.learn(learned),
            }
        }
        match event {
            _ if is_broken => (),
            Event::CommitFinish { block_height, state_hash, .. } => {
                self.finish_commit(event, *block_height, *state_hash);
            }
            _ => {
                self.keep(event);
                if self.page.len() >= PAGE_BYTES {
                    self.turn_page();
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.let_go();
        self.write(Scribe::finish);
        match self.news.take() {
            Some(News::Broken(err)) => Err(err),
            Some(News::GoesOn | News::NotRotated(_)) | None => Ok(()),
        }
    }

    fn news(&mut self) -> Option<News> {
        self.news.take()
    }
}

impl Learned {
    fn of(event: &Event<'_>) -> Option<Learned> {
        Some(match *event {
            Event::HostStart { engine, .. } => Learned::Engine(engine.to_owned()),
            Event::CreateVat { vat, name, dynamic, bundle, manager_type, .. } => {
                Learned::Created(vat, CreatedVat { name: name.to_owned(), dynamic, bundle, manager_type })
            }
            Event::Terminate { vat, .. } => Learned::Ended(vat),
            _ => return None,
        })
    }
}

impl Turning {
    /// Remembers what the head of the next file says.
    fn learn(&mut self, learned: Learned) {
        match learned {
            Learned::Engine(engine) => self.engine = Some(engine),
            Learned::Created(vat, created) => drop(self.vats.insert(vat, created)),
            Learned::Ended(vat) => drop(self.vats.remove(&vat)),
        }
    }
}

/// Whatever ends the process, unless it is sudden.
impl Drop for Writer {
    fn drop(&mut self) {
        self.let_go();
        self.write(Scribe::finish);
    }
}

/// The kinds of durations that the writer measures.
#[derive(Debug, Clone, Copy)]
enum Span {
    /// The cranks of a block: `begin-block` to `end-block-finish`.
    Block,
    /// `end-block-finish` to `commit-finish`.
    Commit,
    Startup,
    Crank,
    Delivery,
    Syscall,
    Replay,
}

impl Span {
    const COUNT: usize = Span::Replay as usize + 1;

    fn begun_by(event: &Event<'_>) -> Option<Span> {
        Some(match event {
            Event::BeginBlock { .. } => Span::Block,
            Event::EndBlockFinish { .. } => Span::Commit,
            Event::VatStartupStart { .. } => Span::Startup,
            Event::CrankStart { .. } => Span::Crank,
            Event::Deliver { .. } => Span::Delivery,
            Event::Syscall { .. } => Span::Syscall,
            Event::StartReplay { .. } => Span::Replay,
            _ => return None,
        })
    }

    fn ended_by(event: &Event<'_>) -> Option<Span> {
        Some(match event {
            Event::EndBlockFinish { .. } => Span::Block,
            Event::CommitFinish { .. } => Span::Commit,
            Event::VatStartupFinish { .. } => Span::Startup,
            Event::CrankFinish { .. } => Span::Crank,
            Event::DeliverResult { .. } => Span::Delivery,
            Event::SyscallResult { .. } => Span::Syscall,
            Event::FinishReplay { .. } => Span::Replay,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::body, slog::Data};

    fn block(writer: &mut Writer, height: u64) {
        let block_height = BlockHeight(height);
        writer.record(&Event::BeginBlock { block_height, block_time: 0 });
        writer.record(&Event::CommitFinish { block_height, block_time: 0, state_hash: StateHash::default() });
    }

    /// Writes these events of blocks, and returns those in the file with their heights: `b` begins a block, `e` ends it, `c` commits it.
    fn written(events: &[(char, u64)], more: impl Fn(&mut Writer, usize)) -> Vec<(char, u64)> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.slog");
        let mut writer = Writer::append(&path).expect("a new file");
        let (block_time, state_hash) = (0, StateHash::default());
        for (index, (kind, height)) in events.iter().enumerate() {
            let block_height = BlockHeight(*height);
            writer.record(&match kind {
                'b' => Event::BeginBlock { block_height, block_time },
                'e' => Event::EndBlockFinish { block_height, block_time, state_hash, cranks: 1 },
                _ => Event::CommitFinish { block_height, block_time, state_hash },
            });
            more(&mut writer, index);
        }
        drop(writer);
        let text = std::fs::read_to_string(&path).expect("a recording");
        let told = text.lines().filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line");
            let kind = match line["type"].as_str()? {
                "begin-block" => 'b',
                "end-block-finish" => 'e',
                "commit-finish" => 'c',
                _ => return None,
            };
            Some((kind, line["blockHeight"].as_u64()?))
        });
        told.collect()
    }

    const OVERLAPPING: [(char, u64); 9] =
        [('b', 1), ('e', 1), ('b', 2), ('c', 1), ('e', 2), ('b', 3), ('c', 2), ('e', 3), ('c', 3)];

    #[test]
    fn a_commit_stands_before_the_block_that_ran_while_it_was_written() {
        let in_order = [('b', 1), ('e', 1), ('c', 1), ('b', 2), ('e', 2), ('c', 2), ('b', 3), ('e', 3), ('c', 3)];
        assert_eq!(written(&OVERLAPPING, |_, _| ()), in_order);
        assert_eq!(written(&in_order, |_, _| ()), in_order);
        // A commit that failed has no end, and the block behind it is there all the same.
        let failed = [('b', 1), ('e', 1), ('b', 2)];
        assert_eq!(written(&failed, |_, _| ()), failed);
    }

    #[test]
    fn what_is_held_back_is_let_go_where_it_is_too_much_or_must_be_readable() {
        let flushed = written(&OVERLAPPING, |writer, index| {
            if index == 2 {
                writer.flush().expect("writes");
            }
        });
        let late = [('b', 1), ('e', 1), ('b', 2), ('c', 1), ('e', 2), ('c', 2), ('b', 3), ('e', 3), ('c', 3)];
        assert_eq!(flushed, late);
        let filled = written(&OVERLAPPING, |writer, index| {
            for _ in 0..if index == 2 { 4_000 } else { 0 } {
                writer.record(&Event::VatStartupFinish { vat: VatId(1) });
            }
        });
        assert_eq!(filled, late);
    }

    #[test]
    fn the_head_of_a_next_file_says_nothing_of_what_is_held_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.slog");
        let writer = Writer::append(&path).expect("a new file");
        let mut writer = writer.rotated(Rotation { max_bytes: 1, keep: None }).expect("a file");
        let (block_time, state_hash) = (0, StateHash::default());
        let begin = |height| Event::BeginBlock { block_height: BlockHeight(height), block_time };
        let end =
            |height| Event::EndBlockFinish { block_height: BlockHeight(height), block_time, state_hash, cranks: 1 };
        let commit = |height| Event::CommitFinish { block_height: BlockHeight(height), block_time, state_hash };
        let parameters = body::error("none");
        let create = |vat| Event::CreateVat {
            vat: VatId(vat),
            name: "x",
            dynamic: true,
            bundle: BundleId::of(b""),
            manager_type: "wasm",
            vat_parameters: Data(&parameters),
        };
        for event in [begin(1), create(1), end(1), begin(2), create(2), commit(1), end(2), commit(2)] {
            writer.record(&event);
        }
        drop(writer);
        let mut before = 0.0;
        let mut kinds = |name: &str| {
            let text = std::fs::read_to_string(dir.path().join(name)).expect("a recording");
            let kind = |line: &str| {
                let line: serde_json::Value = serde_json::from_str(line).expect("a line");
                let time = line["monotime"].as_f64().expect("a time");
                assert!(time >= before, "{line}");
                before = time;
                line["type"].as_str().expect("a type").to_owned()
            };
            text.lines().map(kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds("a.000001.slog"), ["begin-block", "create-vat", "end-block-finish", "commit-finish"]);
        let second = ["slog-continued", "create-vat", "begin-block", "create-vat", "end-block-finish", "commit-finish"];
        assert_eq!(kinds("a.000002.slog"), second);
        assert_eq!(kinds("a.slog"), ["slog-continued", "create-vat", "create-vat"]);
    }

    #[test]
    fn a_recording_that_broke_goes_on_at_a_block_and_shows_the_hole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.slog");
        let mut writer = Writer::append(&path).expect("a new file");
        writer.retry_after = Duration::ZERO;
        block(&mut writer, 1);
        writer.fail(io::Error::from(io::ErrorKind::StorageFull));
        writer.record(&Event::CommitFinish {
            block_height: BlockHeight(2),
            block_time: 0,
            state_hash: StateHash::default(),
        });
        assert!(matches!(writer.news(), Some(News::Broken(_))));
        // As long as there is nothing to write to it is not told again.
        std::fs::rename(&path, dir.path().join("b")).expect("renamed");
        block(&mut writer, 3);
        assert!(writer.news().is_none());
        std::fs::rename(dir.path().join("b"), &path).expect("renamed");
        block(&mut writer, 4);
        assert!(matches!(writer.news(), Some(News::GoesOn)));
        assert!(writer.news().is_none());
        drop(writer);
        let text = std::fs::read_to_string(&path).expect("a recording");
        let kinds = text.lines().filter_map(|it| it.split('"').nth(3)).collect::<Vec<_>>();
        assert_eq!(kinds, ["begin-block", "commit-finish", "slog-resumed", "begin-block", "commit-finish"], "{text}");
        assert!(text.contains("\"blockHeight\":4") && !text.contains("\"blockHeight\":2"), "{text}");
    }
}
