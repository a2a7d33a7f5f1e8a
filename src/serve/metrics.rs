//! What is measured of a server, in the text that Prometheus reads.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{
    host::{controller::Host, scrub},
    state::block::held_bytes,
    state::table::Status,
};

/// One word about a number.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// The numbers of a server. They are read at any time, from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    height: Gauge,
    time: Gauge,
    cranks: Gauge,
    deliveries: Gauge,
    blocks: Counter,
    fuel: Counter,
    commits: Histogram,
    calls: Histogram,
    answers: Family<KindLabel, Counter>,
    vats: Family<KindLabel, Gauge>,
    queued: Gauge,
    wakeups: Gauge,
    unproved: Gauge,
    under_way: Gauge,
    kept: Family<KindLabel, Gauge>,
    bytes: Family<KindLabel, Gauge>,
    connections: Gauge<i64, AtomicI64>,
    refused_connections: Counter<u64, AtomicU64>,
    sessions: Family<KindLabel, Gauge>,
    frames: Family<KindLabel, Counter>,
    directive_crank: Gauge,
    /// Cranks of this process; and whether the kernel's thread waits for something to do.
    pulse: AtomicU64,
    is_idle: AtomicBool,
}

fn histogram() -> Histogram {
    // 0.1 ms to some 13 s.
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("vathost"),
            height: Gauge::default(),
            time: Gauge::default(),
            cranks: Gauge::default(),
            deliveries: Gauge::default(),
            blocks: Counter::default(),
            fuel: Counter::default(),
            commits: histogram(),
            calls: histogram(),
            answers: Family::default(),
            vats: Family::default(),
            queued: Gauge::default(),
            wakeups: Gauge::default(),
            unproved: Gauge::default(),
            under_way: Gauge::default(),
            kept: Family::default(),
            bytes: Family::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            sessions: Family::default(),
            frames: Family::default(),
            directive_crank: Gauge::default(),
            pulse: AtomicU64::new(0),
            is_idle: AtomicBool::new(true),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let Metrics { registry, .. } = self;
        let mut gauge = |name: &str, help: &str, it: &Gauge| registry.register(name, help, it.clone());
        gauge("height", "The last committed block", &self.height);
        gauge("block_time_seconds", "The time of the last block, in seconds since 1970", &self.time);
        gauge("cranks", "Cranks of the state so far", &self.cranks);
        gauge("deliveries", "Deliveries of the state so far", &self.deliveries);
        gauge("queued", "Entries in the run-queue and the pause queues after the last block", &self.queued);
        gauge("wakeups", "Wakeups that the timer owes", &self.wakeups);
        gauge(
            "unproved_rows",
            "Rows of vatstores that were not proved yet since the server was started",
            &self.unproved,
        );
        gauge("calls_under_way", "Calls and readers that are waited for", &self.under_way);
        gauge("connections", "Connections that are open", &self.connections);
        gauge(
            "last_directive_crank",
            "The crank of the directive that was obeyed last; -1 if none was",
            &self.directive_crank,
        );
        registry.register("blocks", "Blocks that this process committed", self.blocks.clone());
        registry.register("fuel", "Fuel that the blocks of this process used", self.fuel.clone());
        registry.register(
            "block_seconds",
            "Time from the beginning of a block to its durable end",
            self.commits.clone(),
        );
        registry.register("call_seconds", "Time from a request to its answer", self.calls.clone());
        registry.register("answers", "Requests by how they were answered", self.answers.clone());
        registry.register("vats", "Vats by what they are: live ones have an instance", self.vats.clone());
        registry.register("kept", "Answers and tokens that are kept for clients", self.kept.clone());
        registry.register("bytes", "Bytes by what they are of", self.bytes.clone());
        registry.register("sessions", "Sessions of CapTP clients: connected, or waited for", self.sessions.clone());
        registry.register("frames", "CapTP frames by their direction", self.frames.clone());
        let refused = self.refused_connections.clone();
        registry.register("refused_connections", "Connections that were one too many", refused);
    }

    /// Returns all numbers as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Counts one crank that ran.
    pub(super) fn beat(&self) {
        self.pulse.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes whether the kernel's thread waits for something to do.
    pub(super) fn set_idle(&self, is_idle: bool) {
        self.is_idle.store(is_idle, Ordering::Relaxed);
    }

    /// Returns whether the kernel's thread waits, and otherwise the number of cranks so far: of a thread that hangs it stays.
    pub(super) fn pulse(&self) -> Option<u64> {
        let is_idle = self.is_idle.load(Ordering::Relaxed);
        (!is_idle).then(|| self.pulse.load(Ordering::Relaxed))
    }

    /// Counts a block that was committed after this time, with the fuel that it used.
    pub fn block(&self, took: Duration, fuel: u64) {
        self.commits.observe(took.as_secs_f64());
        self.blocks.inc();
        self.fuel.inc_by(fuel);
    }

    /// Takes over what is cheap to know of a state after each block.
    pub fn stand(&self, host: &Host) {
        let Ok(block) = host.block() else { return };
        let tables = block.tables();
        let globals = tables.globals();
        for (gauge, number) in [
            (&self.height, globals.height.0),
            (&self.time, globals.time),
            (&self.cranks, globals.next_crank.0),
            (&self.deliveries, globals.deliveries),
            (&self.wakeups, tables.wakeups.len() as u64),
        ] {
            gauge.set(number.cast_signed());
        }
        let live = self.vats.get_or_create(&KindLabel { kind: "live" });
        live.set(host.live() as i64);
    }

    /// Takes over what has to be counted: only when somebody asks.
    pub fn count(&self, host: &Host, kept: [usize; 3]) {
        self.stand(host);
        let Ok(block) = host.block() else { return };
        let tables = block.tables();
        let mut by_status = [0, 0, 0];
        let mut queued = 0;
        for (_, vat) in tables.vats.iter() {
            by_status[match &vat.status {
                Status::Running => 0,
                Status::Paused { .. } => 1,
                Status::Terminated { .. } => 2,
            }] += 1;
        }
        queued += tables.queue.run().count() as i64;
        for (kind, count) in ["running", "paused", "terminated"].into_iter().zip(by_status) {
            self.vats.get_or_create(&KindLabel { kind }).set(count);
        }
        self.queued.set(queued);
        for (kind, count) in ["answers", "tokens"].into_iter().zip(kept) {
            self.kept.get_or_create(&KindLabel { kind }).set(count as i64);
        }
        self.under_way.set(kept[2] as i64);
        let heaps: u64 = tables.tallies.iter().map(|(_, it)| it.memory).sum();
        self.bytes.get_or_create(&KindLabel { kind: "heaps" }).set(heaps.cast_signed());
        let rows = tables.vatstore.index().in_memory();
        self.bytes.get_or_create(&KindLabel { kind: "rows-in-memory" }).set(rows.cast_signed());
        let unproved = scrub::progress(host).map_or(0, |it| it.of.saturating_sub(it.rows));
        self.unproved.set(unproved.cast_signed());
        self.bytes.get_or_create(&KindLabel { kind: "log-held-by-readers" }).set(held_bytes(block).cast_signed());
        let last = tables.applied.iter().map(|(_, it)| it.crank.0.cast_signed()).max();
        self.directive_crank.set(last.unwrap_or(-1));
    }

    /// Takes over the sizes of files.
    pub(super) fn files(&self, sizes: &[(&'static str, u64)]) {
        for (kind, bytes) in sizes {
            self.bytes.get_or_create(&KindLabel { kind }).set(bytes.cast_signed());
        }
    }

    /// Takes over the numbers of sessions whose clients are connected, and away.
    pub(super) fn count_sessions(&self, (connected, away): (usize, usize)) {
        self.sessions.get_or_create(&KindLabel { kind: "connected" }).set(connected as i64);
        self.sessions.get_or_create(&KindLabel { kind: "away" }).set(away as i64);
    }

    pub(super) fn frame_received(&self) {
        self.frames.get_or_create(&KindLabel { kind: "received" }).inc();
    }

    pub(super) fn frames_sent(&self, count: usize) {
        self.frames.get_or_create(&KindLabel { kind: "sent" }).inc_by(count as u64);
    }

    /// Counts a request that was answered after this time.
    pub fn answered(&self, kind: &'static str, took: Duration) {
        self.answers.get_or_create(&KindLabel { kind }).inc();
        self.calls.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, kind: &'static str) {
        self.answers.get_or_create(&KindLabel { kind }).inc();
    }

    pub(super) fn connected(&self) -> Connected<'_> {
        self.connections.inc();
        Connected(self)
    }

    pub(super) fn refused_connection(&self) {
        self.refused_connections.inc();
    }
}

/// A connection that is counted for as long as it lives.
pub(super) struct Connected<'m>(&'m Metrics);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
