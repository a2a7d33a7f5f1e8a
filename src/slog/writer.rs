//! Writes a recording: stamps each event, formats it into one buffer, and hands the buffer on to the file.
//!
//! Invariant: what goes wrong with the file never reaches the kernel. The first error ends the recording, so that it has no
//! hole, and is told by the next flush.

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use crate::{
    fault::HostFault,
    slog::{
        Event, Recorder,
        clock::{Clock, Now},
        sink::Sink,
    },
};

/// The buffer is written once it holds this much.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes JSON lines to a file.
#[derive(Debug)]
pub struct Writer {
    clock: Clock,
    spans: [Option<Duration>; Span::COUNT],
    buffer: Vec<u8>,
    /// `None` once it has failed.
    sink: Option<Sink>,
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
        let sink =
            Sink::open(path).map_err(|err| HostFault::new(format_args!("write the slog `{}`", path.display()), err))?;
        let spans = Default::default();
        Ok(Writer { clock: Clock::start(), spans, buffer: Vec::new(), sink: Some(sink), failure: None })
    }

    /// How long what ends with this event took. One thing of a kind is under way at a time.
    fn measure(&mut self, event: &Event<'_>, now: Duration) -> Option<Duration> {
        let begun = Span::ended_by(event).and_then(|it| self.spans[it as usize].take());
        if let Some(span) = Span::begun_by(event) {
            self.spans[span as usize] = Some(now);
        }
        begun.map(|it| now.saturating_sub(it))
    }

    fn format(&mut self, event: &Event<'_>, now: Now, seconds: Option<Duration>) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, event)?;
        // The event is an object, and not an empty one: it goes on in place of its last brace.
        self.buffer.pop();
        if let Some(seconds) = seconds {
            write!(self.buffer, ",\"seconds\":{}.{:09}", seconds.as_secs(), seconds.subsec_nanos())?;
        }
        let Now { wall, monotonic } = now;
        write!(self.buffer, ",\"time\":{}.{:06}", wall.as_secs(), wall.subsec_micros())?;
        writeln!(self.buffer, ",\"monotime\":{}.{:09}}}", monotonic.as_secs(), monotonic.subsec_nanos())
    }

    /// Hands the buffer on, does what `then` wants of the sink, and remembers the first thing that goes wrong.
    fn write(&mut self, then: impl FnOnce(&mut Sink) -> io::Result<()>) {
        let Some(sink) = &mut self.sink else { return };
        let result = sink.write(&self.buffer).and_then(|()| then(sink));
        self.buffer.clear();
        if let Err(err) = result {
            self.fail(err);
        }
    }

    fn fail(&mut self, err: io::Error) {
        self.failure = Some(err);
        if let Some(sink) = self.sink.take() {
            sink.abandon();
        }
        self.buffer = Vec::new();
    }
}

impl Recorder for Writer {
    fn record(&mut self, event: &Event<'_>) {
        if self.sink.is_none() {
            return;
        }
        let now = self.clock.now();
        let seconds = self.measure(event, now.monotonic);
        if let Err(err) = self.format(event, now, seconds) {
            return self.fail(err);
        }
        match event {
            Event::CommitFinish { .. } => self.write(Sink::sync),
            _ if self.buffer.len() >= BUFFER_BYTES => self.write(|_| Ok(())),
            _ => (),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write(Sink::finish);
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// Whatever ends the process, unless it is sudden.
impl Drop for Writer {
    fn drop(&mut self) {
        self.write(Sink::finish);
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
