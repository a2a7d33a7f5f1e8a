//! Summary of a recording: sums per vat, and over all.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inspect::recording::Histogram;
use crate::slog::{Operation, ReadError, Reader, Record, RecordedEvent};

/// The sums over a recording. Times are in seconds.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Events of all kinds.
    pub events: u64,
    /// The number of times that a host opened the state and recorded here.
    pub sessions: u64,
    /// The number of times that the recording broke off in the middle of an event.
    pub torn: u64,
    /// Time from the first event to the last, by the wall clock.
    pub seconds: f64,
    /// Blocks that were committed.
    pub blocks: u64,
    /// The height of the last committed block.
    pub height: Option<u64>,
    /// Cranks that ended.
    pub cranks: u64,
    /// Cranks that are recorded a second time: their block was lost with its host, and ran again.
    pub cranks_again: u64,
    /// Deliveries that ended, failed ones included.
    pub deliveries: u64,
    /// Deliveries that failed.
    pub failed: u64,
    /// Fuel that deliveries used.
    pub fuel: u64,
    /// Time that deliveries took.
    pub delivery_seconds: f64,
    /// Syscalls by kind.
    pub syscalls: BTreeMap<String, u64>,
    /// Replays that brought a vat back.
    pub replays: u64,
    /// Deliveries that were replayed.
    pub replayed: u64,
    /// Vats that ended.
    pub terminated: u64,
    /// Times that the kernel panicked.
    pub panics: u64,
    /// The vats, in the order of their numbers.
    pub vats: Vec<VatSummary>,
}

/// The sums over one vat.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the whole")]
pub struct VatSummary {
    #[serde(rename = "vatID")]
    pub vat: String,
    /// The vat's name, unless it was created before the recording.
    pub name: Option<String>,
    pub deliveries: u64,
    pub failed: u64,
    pub fuel: u64,
    pub seconds: f64,
    pub syscalls: BTreeMap<String, u64>,
    /// The latency of the vat's deliveries, in seconds.
    pub latency: Latency,
    pub terminated: bool,
    #[serde(skip)]
    histogram: Histogram,
}

/// The durations of deliveries, in percentiles, which are up to a sixteenth too large.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[expect(missing_docs, reason = "they are what their names say")]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Sums up a recording. In memory are only the sums, one set for each vat.
///
/// # Errors
///
/// The recording cannot be read to its end.
pub fn summary(mut reader: Reader) -> Result<Summary, ReadError> {
    let mut sums = Sums::default();
    for record in &mut reader {
        sums.add(&record?);
    }
    Ok(sums.end(reader.torn()))
}

#[derive(Default)]
struct Sums {
    total: Summary,
    /// By number, so that v2 is before v10.
    vats: BTreeMap<(u64, String), VatSummary>,
    first: Option<f64>,
    last: Option<f64>,
    /// The time at which the delivery under way began.
    begun: Option<f64>,
    /// The crank after the last one.
    next_crank: u64,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        self.total.events += 1;
        if let Some(time) = record.seconds("time") {
            self.first.get_or_insert(time);
            self.last = Some(time);
        }
        match record.event() {
            RecordedEvent::Start { .. } => self.total.sessions += 1,
            RecordedEvent::CommitFinish { height } => self.commit(height),
            RecordedEvent::CrankFinish => self.crank(record),
            RecordedEvent::CreateVat { name, .. } => self.vat(record, |it| it.name = Some(name.to_owned())),
            RecordedEvent::Terminate { .. } => {
                self.total.terminated += 1;
                self.vat(record, |it| it.terminated = true);
            }
            RecordedEvent::Deliver { .. } => self.begun = record.seconds("monotime"),
            RecordedEvent::Delivered { fuel } => self.delivery(record, false, fuel),
            RecordedEvent::DeliveryFailed { fuel, .. } => self.delivery(record, true, fuel),
            RecordedEvent::Syscall { vat, .. } => self.syscall(record, vat),
            RecordedEvent::FinishReplay { deliveries } => {
                self.total.replays += 1;
                self.total.replayed += deliveries.unwrap_or(0);
            }
            RecordedEvent::KernelPanic { .. } => self.total.panics += 1,
            _ => (),
        }
    }

    /// A block that was interrupted commits more than once.
    fn commit(&mut self, height: Option<u64>) {
        if height.is_none() || height != self.total.height {
            self.total.blocks += 1;
            self.total.height = height;
        }
    }

    fn crank(&mut self, record: &Record) {
        self.total.cranks += 1;
        if let Some(number) = record.crank() {
            self.total.cranks_again += u64::from(number < self.next_crank);
            self.next_crank = self.next_crank.max(number + 1);
        }
    }

    fn delivery(&mut self, record: &Record, failed: bool, fuel: Option<u64>) {
        let (failed, fuel) = (u64::from(failed), fuel.unwrap_or(0));
        // SwingSet does not record the duration: the reader measures it.
        let measured = || Some(record.seconds("monotime")? - self.begun?);
        let seconds = record.seconds("seconds").or_else(measured).unwrap_or(0.0).max(0.0);
        self.total.deliveries += 1;
        self.total.failed += failed;
        self.total.fuel += fuel;
        self.total.delivery_seconds += seconds;
        self.vat(record, |it| {
            it.deliveries += 1;
            it.failed += failed;
            it.fuel += fuel;
            it.seconds += seconds;
            it.histogram.add(nanoseconds(seconds));
        });
    }

    fn syscall(&mut self, record: &Record, syscall: Operation<'_>) {
        let kind = syscall.kind().unwrap_or("unknown").to_owned();
        *self.total.syscalls.entry(kind.clone()).or_default() += 1;
        self.vat(record, |it| *it.syscalls.entry(kind).or_default() += 1);
    }

    fn vat(&mut self, record: &Record, change: impl FnOnce(&mut VatSummary)) {
        let Some(vat) = record.vat() else { return };
        let number = vat.strip_prefix('v').and_then(|it| it.parse().ok()).unwrap_or(u64::MAX);
        change(self.vats.entry((number, vat.to_owned())).or_default());
    }

    fn end(self, torn: u64) -> Summary {
        let vats = self.vats.into_iter().map(|((_, vat), sum)| {
            let seconds = |ns: u64| ns as f64 / 1e9;
            let (p50, p99) = (sum.histogram.per_mille_ns(500), sum.histogram.per_mille_ns(990));
            let latency = Latency { p50: seconds(p50), p99: seconds(p99), max: seconds(sum.histogram.max_ns()) };
            VatSummary { vat, latency, ..sum }
        });
        let seconds = self.last.zip(self.first).map_or(0.0, |(last, first)| last - first);
        Summary { torn, seconds, vats: vats.collect(), ..self.total }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a delivery of five centuries is none")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
