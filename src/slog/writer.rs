//! Writes a recording: stamps each event, and hands pages of them on to the scribe.
//!
//! Invariant: what goes wrong with the file never reaches the kernel. The first error ends the recording, so that it has no
//! hole, and is told by the next flush.

use std::{io, path::Path, time::Duration};

use crate::{
    fault::HostFault,
    slog::{
        Event, Recorder,
        clock::Clock,
        kept::{Kept, Stamped},
        scribe::Scribe,
        sink::Sink,
    },
};

/// A page is handed on once it holds this much.
const PAGE_BYTES: usize = 256 << 10;

/// Writes JSON lines to a file.
#[derive(Debug)]
pub struct Writer {
    clock: Clock,
    spans: [Option<Duration>; Span::COUNT],
    page: Vec<Stamped>,
    /// Bytes of it, about.
    bytes: usize,
    /// `None` once it has failed.
    scribe: Option<Scribe>,
    /// Why, until that is told.
    failure: Option<io::Error>,
}

impl Writer {
    /// Writes to the end of this file, which is made if it is not there. A name that ends in `.zst` compresses.
    ///
    /// # Errors
    ///
    /// The file cannot be written, is being written by another process, or is no recording of the kind that its name says.
    pub fn append(path: &Path) -> Result<Writer, HostFault> {
        let scribe = Sink::open(path).and_then(Scribe::start);
        let scribe = scribe.map_err(|err| HostFault::new(format_args!("write the slog `{}`", path.display()), err))?;
        let spans = Default::default();
        Ok(Writer { clock: Clock::start(), spans, page: Vec::new(), bytes: 0, scribe: Some(scribe), failure: None })
    }

    /// How long what ends with this event took. One thing of a kind is under way at a time.
    fn measure(&mut self, event: &Event<'_>, now: Duration) -> Option<Duration> {
        let begun = Span::ended_by(event).and_then(|it| self.spans[it as usize].take());
        if let Some(span) = Span::begun_by(event) {
            self.spans[span as usize] = Some(now);
        }
        begun.map(|it| now.saturating_sub(it))
    }

    /// Hands the page on, does what `then` wants of the scribe, and remembers the first thing that goes wrong.
    fn write(&mut self, then: impl FnOnce(&Scribe) -> io::Result<()>) {
        let Some(scribe) = &self.scribe else { return };
        scribe.write(&mut self.page);
        self.bytes = 0;
        if let Err(err) = then(scribe) {
            self.fail(err);
        }
    }

    fn fail(&mut self, err: io::Error) {
        self.failure = Some(err);
        self.scribe = None;
        self.page = Vec::new();
    }
}

impl Recorder for Writer {
    fn record(&mut self, event: &Event<'_>) {
        if self.scribe.is_none() {
            return;
        }
        let now = self.clock.now();
        let seconds = self.measure(event, now.monotonic);
        let kept = match Kept::of(event) {
            Ok(kept) => kept,
            Err(err) => return self.fail(err.into()),
        };
        self.bytes += kept.bytes();
        self.page.push(Stamped { kept, now, seconds });
        match event {
            Event::CommitFinish { .. } => {
                self.clock.set();
                self.write(Scribe::sync);
            }
            _ if self.bytes >= PAGE_BYTES => self.write(|_| Ok(())),
            _ => (),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write(Scribe::finish);
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// Whatever ends the process, unless it is sudden.
impl Drop for Writer {
    fn drop(&mut self) {
        self.write(Scribe::finish);
    }
}

/// What the writer measures.
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
