//! A recording as a trace that Perfetto and `chrome://tracing` open: a track for each vat, a slice for each delivery and syscall,
//! an arrow from each message and settled promise to the delivery that it led to.
//!
//! The trace is written while the recording is read: in memory are the slices under way, and the promises that some vat still knows.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Value, json};

use crate::inspect::recording::{
    ExportError,
    export::Range,
    link::{Link, undoes},
};
use crate::slog::{CListMode, Operation, Reader, Record, RecordedEvent};

/// The only process, and the track for what the kernel does.
const PROCESS: u64 = 1;
const KERNEL: u64 = 0;

/// The track of the commits that were written while the next block ran, behind the tracks of all vats.
const COMMITS: u64 = u32::MAX as u64;

/// Microseconds by which the sum of a time and a duration may be off.
const ROUNDED: f64 = 0.01;

/// Writes a recording as a trace for Chrome.
pub(super) fn write(reader: Reader, range: Range, out: &mut dyn Write) -> Result<(), ExportError> {
    let mut trace = Tracer {
        out,
        range,
        first: true,
        clock: TraceClock::default(),
        arrows: 0,
        crank: None,
        open: BTreeMap::new(),
        sent: BTreeMap::new(),
        known: BTreeMap::new(),
        now: 0.0,
        committed: None,
        has_commits: false,
    };
    trace.begin()?;
    for record in reader {
        trace.add(&record?)?;
    }
    trace.end()?;
    Ok(())
}

/// A clock in microseconds since the recording began. The monotonic time begins anew with each host, so the wall
/// clock joins them.
#[derive(Default)]
struct TraceClock {
    begun: Option<f64>,
    /// The offset to add to this host's monotonic time.
    offset: Option<f64>,
}

impl TraceClock {
    fn micros(&mut self, record: &Record) -> f64 {
        if matches!(record.event(), RecordedEvent::Start { .. }) {
            self.offset = None;
        }
        let wall = record.seconds("time").unwrap_or(0.0);
        let monotonic = record.seconds("monotime").unwrap_or(wall);
        let begun = *self.begun.get_or_insert(wall);
        let offset = *self.offset.get_or_insert(wall - begun - monotonic);
        // Nanoseconds are recorded; more digits are noise.
        ((offset + monotonic) * 1e9).round().max(0.0) / 1e3
    }
}

/// Something that takes time, and has begun.
struct Slice {
    track: u64,
    from: f64,
    name: String,
    args: Value,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SliceKind {
    Block,
    Commit,
    Replay,
    Delivery,
    Syscall,
}

/// The crank under way.
#[derive(Default)]
struct OpenCrank {
    taken: Option<Link>,
    sent: Vec<(Link, (u64, f64))>,
    /// The changes of its c-list events to the number of vats that know a promise.
    known: Vec<(String, i64)>,
    undone: bool,
}

struct Tracer<'a> {
    out: &'a mut dyn Write,
    range: Range,
    first: bool,
    clock: TraceClock,
    arrows: u64,
    crank: Option<OpenCrank>,
    open: BTreeMap<SliceKind, Slice>,
    /// The places of syscalls that may cause a delivery.
    sent: BTreeMap<Link, (u64, f64)>,
    known: BTreeMap<String, i64>,
    now: f64,
    /// The end of the commit whose slice is open still.
    committed: Option<f64>,
    /// Whether commits have a track of their own.
    has_commits: bool,
}

impl Tracer<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        self.event(
            json!({ "ph": "M", "name": "process_name", "tid": KERNEL, "ts": 0, "args": { "name": "vathost" } }),
        )?;
        self.name_track(KERNEL, "kernel")
    }

    fn name_track(&mut self, track: u64, name: &str) -> io::Result<()> {
        self.event(json!({ "ph": "M", "name": "thread_name", "tid": track, "ts": 0, "args": { "name": name } }))?;
        self.event(
            json!({ "ph": "M", "name": "thread_sort_index", "tid": track, "ts": 0, "args": { "sort_index": track } }),
        )
    }

    fn event(&mut self, mut event: Value) -> io::Result<()> {
        event["pid"] = PROCESS.into();
        self.out.write_all(if std::mem::take(&mut self.first) { b"\n" } else { b",\n" })?;
        Ok(serde_json::to_writer(&mut *self.out, &event)?)
    }

    fn add(&mut self, record: &Record) -> io::Result<()> {
        self.now = self.clock.micros(record);
        let track = track(record);
        match record.event() {
            RecordedEvent::Start { height } => {
                self.close_all()?;
                self.crank = None;
                self.instant(KERNEL, "host starts", "p", json!({ "height": height }))?;
            }
            RecordedEvent::CreateVat { vat, name } => self.name_track(track, &format!("{vat} {name}"))?,
            RecordedEvent::BeginBlock { height, .. } => {
                self.end_commit(Some(self.now))?;
                let name = height.map_or_else(|| "block".to_owned(), |it| format!("block {it}"));
                self.begin_slice(SliceKind::Block, KERNEL, name, Value::Null);
            }
            RecordedEvent::EndBlockFinish { cranks, state_hash } => {
                self.end_slice(SliceKind::Block, json!({ "cranks": cranks, "stateHash": state_hash }))?;
                self.begin_slice(SliceKind::Commit, KERNEL, "commit".to_owned(), Value::Null);
            }
            RecordedEvent::CommitFinish { .. } => {
                // As `slog::writer` says: one that took longer than to the next block has an earlier time.
                let took = record.seconds("seconds").map(|it| it * 1e6);
                let end = self.open.get(&SliceKind::Commit).zip(took).map(|(slice, took)| slice.from + took);
                self.committed = Some(end.unwrap_or(self.now).max(self.now));
                if let Some(next) = self.open.get(&SliceKind::Block).map(|it| it.from) {
                    self.end_commit(Some(next))?;
                }
            }
            RecordedEvent::StartReplay { deliveries } => {
                self.begin_slice(SliceKind::Replay, track, "replay".to_owned(), json!({ "deliveries": deliveries }));
            }
            RecordedEvent::FinishReplay { .. } => self.end_slice(SliceKind::Replay, Value::Null)?,
            RecordedEvent::CrankStart { item, .. } => {
                self.crank = Some(OpenCrank { taken: Link::of_item(item), ..OpenCrank::default() });
            }
            RecordedEvent::CrankFinish => self.end_crank(),
            _ if !self.range.holds(record) => (),
            RecordedEvent::Deliver { kernel: kd, .. } => self.deliver(record, kd)?,
            RecordedEvent::Delivered { fuel } => self.end_slice(SliceKind::Delivery, json!({ "fuel": fuel }))?,
            RecordedEvent::DeliveryFailed { why, .. } => {
                self.end_slice(SliceKind::Delivery, json!({ "error": why }))?
            }
            RecordedEvent::Syscall { number, kernel, vat } => {
                let args = json!({ "crank": record.crank(), "number": number, "ksc": kernel.0.to_string() });
                self.begin_slice(SliceKind::Syscall, track, vat.kind().unwrap_or("syscall").to_owned(), args);
            }
            RecordedEvent::SyscallResult { kernel, .. } => {
                self.end_slice(SliceKind::Syscall, json!({ "result": kernel.to_string() }))?;
            }
            RecordedEvent::Directive { line, status, .. } => {
                let args = json!({ "line": line, "status": status, "crank": record.crank() });
                self.instant(track, "directive", "t", args)?;
            }
            RecordedEvent::Terminate { info, .. } => {
                self.instant(track, "terminate", "t", json!({ "info": info.to_string() }))?
            }
            RecordedEvent::KernelPanic { invariant, detail } => {
                self.instant(KERNEL, "kernel panic", "g", json!({ "invariant": invariant, "detail": detail }))?;
            }
            _ => (),
        }
        self.look_on(record);
        Ok(())
    }

    /// Notes what may lead to a delivery, whether it is shown or not.
    fn look_on(&mut self, record: &Record) {
        let Some(crank) = &mut self.crank else { return };
        crank.undone |= undoes(record);
        match record.event() {
            RecordedEvent::Syscall { kernel, .. } if self.range.holds(record) => {
                let links = Link::of_syscall(kernel);
                crank.sent.extend(links.into_iter().map(|it| (it, (track(record), self.now))));
            }
            RecordedEvent::CList { mode, kobj, .. } if kobj.starts_with("kp") => {
                crank.known.push((kobj.to_owned(), if matches!(mode, CListMode::Drop) { -1 } else { 1 }));
            }
            _ => (),
        }
    }

    fn end_crank(&mut self) {
        let Some(crank) = self.crank.take() else { return };
        if crank.undone {
            return;
        }
        self.sent.extend(crank.sent);
        for (promise, by) in crank.known {
            let known = self.known.entry(promise.clone()).or_default();
            *known += by;
            if *known <= 0 {
                // No vat is left that could be notified.
                self.known.remove(&promise);
                self.sent.remove(&Link::Settled(promise));
            }
        }
    }

    fn deliver(&mut self, record: &Record, kd: Operation<'_>) -> io::Result<()> {
        let track = track(record);
        let what = match kd.message() {
            Some(message) => super::export::method(&message),
            None => kd.kind().unwrap_or("delivery").to_owned(),
        };
        let (crank, delivery) = (record.crank(), record.delivery());
        self.begin_slice(
            SliceKind::Delivery,
            track,
            what,
            json!({ "crank": crank, "delivery": delivery, "kd": kd.0.to_string() }),
        );
        let link = self.crank.as_ref().and_then(|it| it.taken.clone());
        let from = link.as_ref().and_then(|it| self.sent.get(it)).copied();
        if let (Some(link @ (Link::Result(_) | Link::Message(..))), Some(_)) = (&link, from) {
            self.sent.remove(link);
        }
        let (Some(link), Some((sender, sent))) = (link, from) else { return Ok(()) };
        let name = if matches!(link, Link::Settled(_)) { "notify" } else { "send" };
        self.arrows += 1;
        let (id, now) = (self.arrows, self.now);
        self.event(json!({ "ph": "s", "name": name, "cat": "flow", "id": id, "tid": sender, "ts": sent }))?;
        self.event(json!({ "ph": "f", "bp": "e", "name": name, "cat": "flow", "id": id, "tid": track, "ts": now }))
    }

    fn begin_slice(&mut self, kind: SliceKind, track: u64, name: String, args: Value) {
        self.open.insert(kind, Slice { track, from: self.now, name, args });
    }

    fn end_slice(&mut self, kind: SliceKind, more: Value) -> io::Result<()> {
        let Some(Slice { track, from, name, mut args }) = self.open.remove(&kind) else { return Ok(()) };
        for (field, value) in more.as_object().into_iter().flatten() {
            args[field] = value.clone();
        }
        let args = if args.is_null() { json!({}) } else { args };
        let duration = ((self.now - from) * 1e3).round() / 1e3;
        self.event(json!({ "ph": "X", "name": name, "tid": track, "ts": from, "dur": duration, "args": args }))
    }

    /// Ends the slice of a finished commit, now that it is known when the next block began: if that was before, the two would lie across
    /// each other on one track.
    fn end_commit(&mut self, next: Option<f64>) -> io::Result<()> {
        let Some(end) = self.committed.take() else { return Ok(()) };
        if next.is_some_and(|it| it + ROUNDED < end) {
            if !std::mem::replace(&mut self.has_commits, true) {
                self.name_track(COMMITS, "commits")?;
            }
            self.open.entry(SliceKind::Commit).and_modify(|it| it.track = COMMITS);
        }
        let now = std::mem::replace(&mut self.now, end);
        self.end_slice(SliceKind::Commit, Value::Null)?;
        self.now = now;
        Ok(())
    }

    /// Closes everything that is under way, because its host has ended.
    fn close_all(&mut self) -> io::Result<()> {
        self.end_commit(None)?;
        for kind in self.open.keys().copied().collect::<Vec<_>>() {
            self.end_slice(kind, json!({ "unfinished": true }))?;
        }
        Ok(())
    }

    /// Writes an instant event. `scope` is `t` for the thread, `p` for the process, or `g` for all.
    fn instant(&mut self, track: u64, name: &str, scope: &str, args: Value) -> io::Result<()> {
        let now = self.now;
        self.event(json!({ "ph": "i", "s": scope, "name": name, "tid": track, "ts": now, "args": args }))
    }

    fn end(&mut self) -> io::Result<()> {
        self.close_all()?;
        self.out.write_all(b"\n]}\n")
    }
}

/// The vat's number; they begin at 1.
fn track(record: &Record) -> u64 {
    record.vat().and_then(|it| it.strip_prefix('v')?.parse().ok()).unwrap_or(KERNEL)
}
