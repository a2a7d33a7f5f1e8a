//! Writes a recording: stamps each event, and hands pages of them on to the scribe.
//!
//! Invariants: an error of the file never reaches the kernel. After an error nothing is recorded up to the beginning
//! of a block at which the file can be written again, so that a hole begins and ends at a visible place: a
//! `slog-resumed` ends it. The error is reported once, and so is its end.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    model::blame::HostFault,
    slog::{
        Event, News, Recorder,
        clock::Clock,
        kept::{Kept, Stamped},
        scribe::Scribe,
        sink::Sink,
    },
};

/// A page is handed on once it holds this much.
const PAGE_BYTES: usize = 256 << 10;

/// The time for which a file that could not be written is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Writes JSON lines to a file.
#[derive(Debug)]
pub struct Writer {
    clock: Clock,
    spans: [Option<Duration>; Span::COUNT],
    page: Vec<Stamped>,
    /// Bytes of it, about.
    bytes: usize,
    /// The path of the file, if it can be opened again.
    path: Option<PathBuf>,
    stage: Stage,
    retry_after: Duration,
    /// The news that is still to be reported.
    news: Option<News>,
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
        let stage = Sink::open(path).and_then(Scribe::start).map(Stage::Writing);
        let stage = stage.map_err(|err| HostFault::new(format_args!("write the slog `{}`", path.display()), err))?;
        // Who opens a pipe anew may wait for ever.
        let path = path.is_file().then(|| path.to_owned());
        let spans = Default::default();
        let (clock, page) = (Clock::start(), Vec::new());
        Ok(Writer { clock, spans, page, bytes: 0, path, stage, retry_after: RETRY_AFTER, news: None })
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
    fn write(&mut self, then: impl FnOnce(&Scribe) -> io::Result<()>) {
        let (Stage::Writing(scribe) | Stage::OnTrial(scribe)) = &self.stage else { return };
        scribe.write(&mut self.page);
        self.bytes = 0;
        if let Err(err) = then(scribe) {
            self.fail(err);
        }
    }

    fn fail(&mut self, err: io::Error) {
        self.page = Vec::new();
        let now = self.clock.now().monotonic;
        if let Stage::Writing(_) = std::mem::replace(&mut self.stage, Stage::Broken(now)) {
            self.news = Some(News::Broken(err));
        }
    }

    /// Tries to resume the recording when a block begins. The hole is noted in the recording.
    fn try_again(&mut self) {
        let (Stage::Broken(since), Some(path)) = (&self.stage, &self.path) else { return };
        let now = self.clock.now().monotonic;
        if now.saturating_sub(*since) < self.retry_after || !path.is_file() {
            return;
        }
        match Sink::open(path).and_then(Scribe::start) {
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
        match Kept::of(event) {
            Ok(kept) => {
                self.bytes += kept.bytes();
                self.page.push(Stamped { kept, now, seconds });
            }
            Err(err) => self.fail(err.into()),
        }
    }
}

impl Recorder for Writer {
    fn record(&mut self, event: &Event<'_>) {
        if let (Stage::Broken(_), Event::BeginBlock { .. }) = (&self.stage, event) {
            self.try_again();
        }
        if let Stage::Broken(_) = self.stage {
            return;
        }
        self.keep(event);
        match event {
            Event::CommitFinish { .. } => {
                self.clock.set();
                self.write(Scribe::sync);
                self.pass();
            }
            _ if self.bytes >= PAGE_BYTES => self.write(|_| Ok(())),
            _ => (),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write(Scribe::finish);
        match self.news.take() {
            Some(News::Broken(err)) => Err(err),
            Some(News::GoesOn) | None => Ok(()),
        }
    }

    fn news(&mut self) -> Option<News> {
        self.news.take()
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
