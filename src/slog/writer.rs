//! Writes a recording: stamps each event, and hands pages of them on to the scribe.
//!
//! Invariants: an error of the file never reaches the kernel. After an error nothing is recorded up to the beginning
//! of a block at which the file can be written again, so that a hole begins and ends at a visible place: a
//! `slog-resumed` ends it. The error is reported once, and so is its end.

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
        clock::Clock,
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

/// The time for which a file that could not be written is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Writes events to a file, as JSON lines or in binary.
#[derive(Debug)]
pub struct Writer {
    clock: Clock,
    spans: [Option<Duration>; Span::COUNT],
    page: Packer,
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
        Ok(Writer { clock, spans, page, format, path, stage, retry_after: RETRY_AFTER, news: None, turning: None })
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

    /// Goes on in a new file, if this one has as many bytes as it may have.
    fn turn(&mut self, bytes: u64, block_height: BlockHeight, state_hash: StateHash) {
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
        self.keep(&Event::SlogContinued { after, part: number, version, engine, block_height, state_hash });
        for (vat, created) in &turning.vats {
            let CreatedVat { name, dynamic, bundle, manager_type } = created;
            let (vat, dynamic, bundle) = (*vat, *dynamic, *bundle);
            self.keep(&Event::CreateVatEarlier { vat, name, dynamic, bundle, manager_type, earlier: true });
        }
        // A file is more than its head, however many vats there are.
        let head = (turning.vats.len() as u64).saturating_mul(2 * HEAD_BYTES);
        turning.due = turning.rotation.max_bytes.max(head);
        self.turning = Some(turning);
        self.write(Scribe::sync);
    }

    fn fail(&mut self, err: io::Error) {
        self.page = Packer::default();
        let now = self.clock.now().monotonic;
        if let Stage::Writing(_) = std::mem::replace(&mut self.stage, Stage::Broken(now)) {
            self.news = Some(News::Broken(err));
        }
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
        let seconds = self.measure(event, now.monotonic);
        if let Err(err) = self.page.add(event, now, seconds) {
            self.fail(err.into());
        }
    }
}

impl Recorder for Writer {
    fn record(&mut self, event: &Event<'_>) {
        if let Some(turning) = &mut self.turning {
            turning.learn(event);
        }
        if let (Stage::Broken(_), Event::BeginBlock { .. }) = (&self.stage, event) {
            self.try_again();
        }
        if let Stage::Broken(_) = self.stage {
            return;
        }
        self.keep(event);
        match event {
            Event::CommitFinish { block_height, state_hash, .. } => {
                self.clock.set();
                let bytes = self.write(Scribe::sync);
                self.pass();
                if let Some(bytes) = bytes {
                    self.turn(bytes, *block_height, *state_hash);
                }
            }
            _ if self.page.len() >= PAGE_BYTES => drop(self.write(|_| Ok(()))),
            _ => (),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
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

impl Turning {
    /// Remembers what the head of the next file says.
    fn learn(&mut self, event: &Event<'_>) {
        match *event {
            Event::HostStart { engine, .. } => self.engine = Some(engine.to_owned()),
            Event::CreateVat { vat, name, dynamic, bundle, manager_type, .. } => {
                self.vats.insert(vat, CreatedVat { name: name.to_owned(), dynamic, bundle, manager_type });
            }
            Event::Terminate { vat, .. } => drop(self.vats.remove(&vat)),
            _ => (),
        }
    }
}

/// Whatever ends the process, unless it is sudden.
impl Drop for Writer {
    fn drop(&mut self) {
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
    use crate::{model::id::BlockHeight, store::StateHash};

    fn block(writer: &mut Writer, height: u64) {
        let block_height = BlockHeight(height);
        writer.record(&Event::BeginBlock { block_height, block_time: 0 });
        writer.record(&Event::CommitFinish { block_height, block_time: 0, state_hash: StateHash::default() });
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
