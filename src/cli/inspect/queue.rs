//! What waits, in the order in which the kernel takes it; then what waits for promises.

use serde::Serialize;

use super::show::{Row, brief, label, or_dash};
use crate::{
    body,
    id::{KRef, PromiseId, VatId},
    kernel,
    table::{GcAction, GcKind, Item, QueueId, Tables},
};

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueRow {
    /// `cleanup`, `gc`, `reap`, `run`, or `promise`.
    queue: &'static str,
    /// The promise whose queue it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    kind: &'static str,
    target: Option<String>,
    /// The vat that it would go to now.
    destination: Option<String>,
    method: Option<String>,
    body: Option<String>,
    slots: Vec<String>,
    result: Option<String>,
    #[serde(skip)]
    label: Option<String>,
}

pub(super) fn list(tables: &Tables) -> Vec<QueueRow> {
    let queue = |name, id| tables.queue.of(id).map(move |(_, item)| row(tables, name, item));
    let mut rows: Vec<QueueRow> = queue("cleanup", QueueId::Cleanup).collect();
    rows.extend(tables.gc.iter().map(|(action, ())| gc(tables, *action)));
    rows.extend(queue("reap", QueueId::Reap));
    rows.extend(queue("run", QueueId::Run));
    let first = (QueueId::Promise(PromiseId(0)), i64::MIN);
    rows.extend(tables.queue.range(first..).filter_map(|((id, _), item)| match id {
        QueueId::Promise(promise) => {
            Some(QueueRow { waits_for: Some(promise.to_string()), ..row(tables, "promise", item) })
        }
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

fn row(tables: &Tables, queue: &'static str, item: &Item) -> QueueRow {
    let base = |kind| base(tables, queue, kind, kernel::destination(tables, item));
    let texts = |slots: &[KRef]| slots.iter().map(ToString::to_string).collect();
    match item {
        Item::Send { target, message } => QueueRow {
            target: Some(target.to_string()),
            method: Some(body::method_of(&message.methargs.body)),
            body: Some(String::from_utf8_lossy(&message.methargs.body).into_owned()),
            slots: texts(&message.methargs.slots),
            result: message.result.map(|it| it.to_string()),
            ..base("send")
        },
        Item::Notify { promise, .. } => QueueRow { target: Some(promise.to_string()), ..base("notify") },
        Item::StartVat { parameters, .. } => QueueRow {
            body: Some(String::from_utf8_lossy(&parameters.body).into_owned()),
            slots: texts(&parameters.slots),
            ..base("startVat")
        },
        Item::Reap(_) => base("bringOutYourDead"),
        Item::Cleanup(_) => base("cleanup"),
    }
}

impl Row for QueueRow {
    const HEADER: &'static [&'static str] = &["queue", "kind", "target", "goes to", "method", "result"];
    const LEFT: &'static [usize] = &[0, 1, 2, 3, 4, 5];

    fn cells(&self) -> Vec<String> {
        let queue = self.waits_for.as_deref().unwrap_or(self.queue);
        vec![
            queue.to_owned(),
            self.kind.to_owned(),
            or_dash(self.target.as_ref()),
            or_dash(self.label.as_ref()),
            or_dash(self.method.as_ref().map(|it| brief(it.as_bytes()))),
            or_dash(self.result.as_ref()),
        ]
    }
}
