//! A recording as a trace that Perfetto and `chrome://tracing` open: a track for each vat, a slice for each delivery and syscall,
//! an arrow from each message and settled promise to the delivery that it led to.
//!
//! Written as it is read: in memory is what is under way, and the promises that some vat still knows.

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
use crate::slog::{Reader, Record};

/// The only process, and the track of what no vat does.
const PROCESS: u64 = 1;
const KERNEL: u64 = 0;

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
        if matches!(record.kind(), "host-start" | "import-kernel-start") {
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
    /// What its c-list events do to the number of those that know a promise.
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
        match record.kind() {
            "host-start" | "import-kernel-start" => {
                self.close_all()?;
                self.crank = None;
                self.instant(KERNEL, "host starts", "p", json!({ "height": record.value["height"] }))?;
            }
            "create-vat" => {
                let (id, name) = (record.text("vatID").unwrap_or_default(), record.text("name").unwrap_or_default());
                self.name_track(track, &format!("{id} {name}"))?;
            }
            "begin-block" => self.begin_slice(SliceKind::Block, KERNEL, format!("block {}", record.value["blockHeight"]), Value::Null),
            "end-block-finish" => {
                self.end_slice(SliceKind::Block, json!({ "cranks": record.value["cranks"], "stateHash": record.value["stateHash"] }))?;
                self.begin_slice(SliceKind::Commit, KERNEL, "commit".to_owned(), Value::Null);
            }
            "commit-finish" => self.end_slice(SliceKind::Commit, Value::Null)?,
            "start-replay" => self.begin_slice(SliceKind::Replay, track, "replay".to_owned(), json!({ "deliveries": record.value["deliveries"] })),
            "finish-replay" => self.end_slice(SliceKind::Replay, Value::Null)?,
            "crank-start" => self.crank = Some(OpenCrank { taken: Link::of_item(&record.value["message"]), ..OpenCrank::default() }),
            "crank-finish" => self.end_crank(),
            _ if record.is_replay() => (),
            _ if !self.range.holds(record) => (),
            "deliver" => self.deliver(record)?,
            "deliver-result" => {
                let dr = &record.value["dr"];
                let args = if dr[0] == "ok" { json!({ "fuel": dr[2]["compute"] }) } else { json!({ "error": dr[1] }) };
                self.end_slice(SliceKind::Delivery, args)?;
            }
            "syscall" => {
                let args = json!({ "crank": record.value["crankNum"], "number": record.value["syscallNum"], "ksc": record.value["ksc"].to_string() });
                self.begin_slice(SliceKind::Syscall, track, record.value["vsc"][0].as_str().unwrap_or("syscall").to_owned(), args);
            }
            "syscall-result" => self.end_slice(SliceKind::Syscall, json!({ "result": record.value["ksr"].to_string() }))?,
            "directive" => self.instant(track, "directive", "t", json!({ "line": record.value["line"], "status": record.value["status"], "crank": record.value["crankNum"] }))?,
            "terminate" => self.instant(track, "terminate", "t", json!({ "info": record.value["info"].to_string() }))?,
            "kernel-panic" => self.instant(KERNEL, "kernel panic", "g", json!({ "invariant": record.value["invariant"], "detail": record.value["detail"] }))?,
            _ => (),
        }
        self.look_on(record);
        Ok(())
    }

    /// Notes what may lead to a delivery, whether it is shown or not.
    fn look_on(&mut self, record: &Record) {
        let Some(crank) = &mut self.crank else { return };
        crank.undone |= undoes(record);
        match record.kind() {
            "syscall" if !record.is_replay() && self.range.holds(record) => {
                let links = Link::of_syscall(&record.value["ksc"]);
                crank.sent.extend(links.into_iter().map(|it| (it, (track(record), self.now))));
            }
            "clist" => {
                let by = if record.text("mode") == Some("drop") { -1 } else { 1 };
                crank.known.extend(record.text("kobj").filter(|it| it.starts_with("kp")).map(|it| (it.to_owned(), by)));
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
                // Nobody can be told any more.
                self.known.remove(&promise);
                self.sent.remove(&Link::Settled(promise));
            }
        }
    }

    fn deliver(&mut self, record: &Record) -> io::Result<()> {
        let track = track(record);
        let kd = &record.value["kd"];
        let what = match kd[0].as_str() {
            Some("message") => super::export::method(&kd[2]["methargs"]["body"]),
            Some(kind) => kind.to_owned(),
            None => "delivery".to_owned(),
        };
        let (crank, delivery) = (&record.value["crankNum"], &record.value["deliveryNum"]);
        self.begin_slice(
            SliceKind::Delivery,
            track,
            what,
            json!({ "crank": crank, "delivery": delivery, "kd": kd.to_string() }),
        );
        let link = self.crank.as_ref().and_then(|it| it.taken.clone());
        let from = link.as_ref().and_then(|it| self.sent.get(it)).copied();
        if let (Some(link @ (Link::Result(_) | Link::Message(_))), Some(_)) = (&link, from) {
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

    /// Closes everything that is under way, because its host has ended.
    fn close_all(&mut self) -> io::Result<()> {
        for kind in self.open.keys().copied().collect::<Vec<_>>() {
            self.end_slice(kind, json!({ "unfinished": true }))?;
        }
        Ok(())
    }

    /// `scope`: of a thread, of the process, or global.
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
    record.text("vatID").and_then(|it| it.strip_prefix('v')?.parse().ok()).unwrap_or(KERNEL)
}
