//! View of the queues: the waiting items in the order in which the kernel takes them; then those that wait for promises
//! and for paused vats.

use serde::Serialize;

use super::{Row, brief, label, or_dash};
use crate::{
    kernel,
    model::{
        body,
        id::{KRef, PromiseId, VatId},
        value::CapData,
    },
    state::table::{GcAction, GcKind, Item, QueueId, Tables, Waiting},
};

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueRow {
    /// `cleanup`, `gc`, `reap`, `run`, `promise`, or `pause`.
    queue: &'static str,
    /// The promise, or the paused vat, whose queue it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    kind: &'static str,
    /// The vat that made the item, in whose turn it is taken; `None` for the kernel or the outside.
    by: Option<String>,
    target: Option<String>,
    /// The vat that the item would be delivered to now.
    destination: Option<String>,
    method: Option<String>,
    body: Option<String>,
    slots: Vec<String>,
    result: Option<String>,
    /// The new code, in an upgrade.
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
    #[serde(skip)]
    label: Option<String>,
    #[serde(skip)]
    maker: Option<String>,
}

pub(crate) fn list(tables: &Tables) -> Vec<QueueRow> {
    let queue = |name, id| {
        let rows = tables.queue.range((id, i64::MIN)..=(id, i64::MAX));
        rows.map(move |(_, waiting)| row(tables, name, waiting))
    };
    let mut rows: Vec<QueueRow> = queue("cleanup", QueueId::Cleanup).collect();
    let run = kernel::run_order(tables).into_iter().filter_map(|key| tables.queue.get(&key));
    let mut run = run.map(|waiting| row(tables, "run", waiting));
    // GC actions wait for so many items of the run-queue.
    rows.extend(run.by_ref().take(tables.globals().turn.garbage.until as usize));
    rows.extend(tables.gc.iter().map(|(action, ())| gc(tables, *action)));
    rows.extend(queue("reap", QueueId::Reap));
    rows.extend(run);
    let first = (QueueId::Promise(PromiseId(0)), i64::MIN);
    rows.extend(tables.queue.range(first..).filter_map(|((id, _), waiting)| match id {
        QueueId::Promise(promise) => {
            Some(QueueRow { waits_for: Some(promise.to_string()), ..row(tables, "promise", waiting) })
        }
        QueueId::Pause(vat) => Some(QueueRow { waits_for: Some(vat.to_string()), ..row(tables, "pause", waiting) }),
        _ => None,
    }));
    rows
}

fn base(tables: &Tables, queue: &'static str, kind: &'static str, destination: Option<VatId>) -> QueueRow {
    let label = destination.map(|vat| label(tables, vat));
    QueueRow { queue, kind, destination: destination.map(|it| it.to_string()), label, ..QueueRow::default() }
}

fn gc(tables: &Tables, action: GcAction) -> QueueRow {
    let kind = match action.kind {
        GcKind::DropExport => "dropExport",
        GcKind::RetireExport => "retireExport",
        GcKind::RetireImport => "retireImport",
    };
    QueueRow { target: Some(action.object().to_string()), ..base(tables, "gc", kind, Some(action.vat())) }
}

fn row(tables: &Tables, queue: &'static str, waiting: &Waiting) -> QueueRow {
    let base = |kind| QueueRow {
        by: waiting.by.map(|it| it.to_string()),
        maker: waiting.by.map(|vat| label(tables, vat)),
        ..base(tables, queue, kind, kernel::destination(tables, &waiting.item))
    };
    match &waiting.item {
        Item::Send { target, message } => QueueRow {
            target: Some(target.to_string()),
            method: Some(body::method_of(&message.methargs.body)),
            ..with_data(&message.methargs, message.result, base("send"))
        },
        Item::Notify { promise, .. } => QueueRow { target: Some(promise.to_string()), ..base("notify") },
        Item::StartVat { parameters, result, .. } => with_data(parameters, *result, base("startVat")),
        Item::UpgradeVat { bundle, parameters, result, .. } => {
            QueueRow { bundle: Some(bundle.to_string()), ..with_data(parameters, *result, base("upgradeVat")) }
        }
        Item::ChangeOptions { options, .. } => with_data(options, None::<PromiseId>, base("changeOptions")),
        Item::Reap(_) => base("bringOutYourDead"),
        Item::Cleanup(_) => base("cleanup"),
    }
}

fn with_data(data: &CapData<KRef>, result: Option<impl ToString>, row: QueueRow) -> QueueRow {
    QueueRow {
        body: Some(String::from_utf8_lossy(&data.body).into_owned()),
        slots: data.slots.iter().map(ToString::to_string).collect(),
        result: result.map(|it| it.to_string()),
        ..row
    }
}

impl Row for QueueRow {
    const HEADER: &'static [&'static str] = &["queue", "kind", "made by", "target", "goes to", "method", "result"];
    const LEFT: &'static [usize] = &[0, 1, 2, 3, 4, 5, 6];

    fn cells(&self) -> Vec<String> {
        let queue = self.waits_for.as_deref().unwrap_or(self.queue);
        vec![
            queue.to_owned(),
            self.kind.to_owned(),
            or_dash(self.maker.as_ref()),
            or_dash(self.target.as_ref()),
            or_dash(self.label.as_ref()),
            or_dash(self.method.as_ref().map(|it| brief(it.as_bytes()))),
            or_dash(self.result.as_ref()),
        ]
    }
}
