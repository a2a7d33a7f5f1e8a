//! Overview of a state: its position and hashes, and the numbers of rows in the main tables.

use std::num::NonZeroU64;

use serde::Serialize;

use super::Facts;
use crate::{
    host::report::Report,
    inspect::view::text::grouped,
    model::id::DeviceId,
    state::{
        block::Block,
        table::{DeviceRow, QueueId, Status, Tables},
    },
    store::Pace,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    height: u64,
    time: u64,
    open: bool,
    quiescent: bool,
    state_hash: String,
    state_digest: String,
    scenario: String,
    kernel_version: u32,
    engine_version: u32,
    engine: String,
    blocks: Option<Pace>,
    answer_blocks: Option<NonZeroU64>,
    cranks: u64,
    deliveries: u64,
    devices: Vec<String>,
    counts: Counts,
}

/// The numbers of rows in the main tables, some of them by kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    vats: usize,
    vats_paused: usize,
    vats_terminated: usize,
    clist: usize,
    objects: usize,
    promises: usize,
    promises_unresolved: usize,
    queue_cleanup: usize,
    queue_reap: usize,
    queue_run: usize,
    queue_promises: usize,
    queue_paused: usize,
    gc_actions: usize,
    vatstore: u64,
    outside: usize,
    meters: usize,
    directives_applied: usize,
    wakeups: usize,
    outbox: usize,
}

pub(crate) fn of(block: &Block) -> Overview {
    let (report, globals, meta) = (Report::of(block), block.tables().globals(), block.meta());
    Overview {
        height: report.height,
        time: globals.time,
        open: meta.open,
        quiescent: report.quiescent && !meta.open,
        state_hash: report.state_hash,
        state_digest: report.state_digest,
        scenario: meta.scenario.clone(),
        kernel_version: report.kernel_version,
        engine_version: report.engine_version,
        engine: report.engine,
        blocks: meta.pace,
        answer_blocks: block.tables().answer_blocks(),
        cranks: report.cranks,
        deliveries: report.deliveries,
        devices: devices(block.tables()),
        counts: counts(block.tables()),
    }
}

fn devices(tables: &Tables) -> Vec<String> {
    let describe = |(id, device): (&DeviceId, &DeviceRow)| match device {
        DeviceRow::Timer => {
            let first =
                tables.wakeups.iter().next().map_or("none".to_owned(), |((time, _), _)| format!("the next at {time}"));
            format!("{id} timer, {} wakeups, {first}", tables.wakeups.len())
        }
        DeviceRow::Mailbox(it) => format!(
            "{id} mailbox, {} in, {} of them acknowledged; {} out, {} of them acknowledged",
            it.received, it.acknowledged, it.sent, it.taken
        ),
        DeviceRow::Console => format!("{id} console"),
        DeviceRow::Own(it) => {
            let (rows, bytes) = tables.device_rows.sums(*id);
            format!("{id} {}, {rows} rows of {bytes} bytes, {} messages out", device.name(), it.sent)
        }
    };
    tables.devices.iter().map(describe).collect()
}

fn counts(tables: &Tables) -> Counts {
    let queue = |wanted: fn(QueueId) -> bool| tables.queue.iter().filter(|((id, _), _)| wanted(*id)).count();
    let vats = |wanted: fn(&Status) -> bool| tables.vats.iter().filter(|(_, it)| wanted(&it.status)).count();
    Counts {
        vats: tables.vats.len(),
        vats_paused: vats(|it| matches!(it, Status::Paused { .. })),
        vats_terminated: vats(|it| matches!(it, Status::Terminated { .. })),
        clist: tables.clist.len(),
        objects: tables.objects.len(),
        promises: tables.promises.len(),
        promises_unresolved: tables.unresolved(),
        queue_cleanup: queue(|id| id == QueueId::Cleanup),
        queue_reap: queue(|id| id == QueueId::Reap),
        queue_run: queue(|id| matches!(id, QueueId::Run(_))),
        queue_promises: queue(|id| matches!(id, QueueId::Promise(_))),
        queue_paused: queue(|id| matches!(id, QueueId::Pause(_))),
        gc_actions: tables.gc.len(),
        vatstore: tables.vatstore.all_keys(),
        outside: tables.outside.len(),
        meters: tables.meters.len(),
        directives_applied: tables.applied.len(),
        wakeups: tables.wakeups.len(),
        outbox: tables.outbox.len(),
    }
}

impl Facts for Overview {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let counts = &self.counts;
        let queues = [
            (counts.queue_cleanup, "cleanup"),
            (counts.gc_actions, "gc"),
            (counts.queue_reap, "reap"),
            (counts.queue_run, "run"),
            (counts.queue_promises, "waiting for promises"),
            (counts.queue_paused, "for paused vats"),
        ];
        let queued = queues.map(|(count, name)| format!("{count} {name}")).join(", ");
        let left = match (self.quiescent, self.open) {
            (true, _) => "nothing left to do",
            (false, true) => "more to do; the block is still open",
            (false, false) => "more to do",
        };
        vec![
            ("height", format!("{} (time {}), {left}", self.height, self.time)),
            ("state hash", self.state_hash.clone()),
            ("state digest", self.state_digest.clone()),
            ("scenario", self.scenario.clone()),
            ("versions", format!("kernel {}, engine {}", self.kernel_version, self.engine_version)),
            ("runtime", self.engine.clone()),
            ("blocks", self.blocks.map_or("none was cut yet".to_owned(), |it| format!("{it}, since {}", it.since))),
            ("cranks", format!("{}, {} of them deliveries", grouped(self.cranks), grouped(self.deliveries))),
            (
                "vats",
                format!(
                    "{}, {} of them paused, {} terminated",
                    counts.vats, counts.vats_paused, counts.vats_terminated
                ),
            ),
            ("queued", queued),
            ("objects", counts.objects.to_string()),
            ("promises", format!("{}, {} of them unresolved", counts.promises, counts.promises_unresolved)),
            ("c-list entries", counts.clist.to_string()),
            ("vatstore keys", counts.vatstore.to_string()),
            ("messages from outside", counts.outside.to_string()),
            (
                "answers to them",
                self.answer_blocks
                    .map_or("kept until they are forgotten".to_owned(), |it| format!("kept for {it} blocks")),
            ),
            ("meters", counts.meters.to_string()),
            ("directives applied", counts.directives_applied.to_string()),
            ("devices", if self.devices.is_empty() { "none".to_owned() } else { self.devices.join("; ") }),
        ]
    }
}
