//! View of the kernel's promises: state, decider, subscribers, and what each was settled with.

use std::ops::ControlFlow;

use serde::Serialize;

use super::{PIECE, Piece, Row, brief, in_pieces, label, or_dash, said};
use crate::{
    model::id::PromiseId,
    state::{
        block::Block,
        table::{Policy, Promise, PromiseState, QueueId, Tables},
    },
    store::Cut,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PromiseRow {
    promise: String,
    state: &'static str,
    decider: Option<String>,
    subscribers: Vec<String>,
    refs: u32,
    queued: usize,
    /// The policy of the host if the promise is rejected.
    policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<Vec<String>>,
    #[serde(skip)]
    label: Option<String>,
}

/// Hands over all promises, piece by piece, until it is told to stop.
pub(crate) fn pieces<E>(
    block: &mut Block,
    each: impl FnMut(Vec<PromiseRow>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let rows = |tables: &Tables, from: Cut<PromiseId>| -> Piece<PromiseRow, PromiseId> {
        let promises = tables.promises.along((from, Cut::End)).take(PIECE);
        promises.map(|(id, promise)| (row(tables, *id, promise), *id)).collect()
    };
    in_pieces(block, Cut::Start, rows, each)
}

pub(crate) fn list(tables: &Tables) -> impl Iterator<Item = PromiseRow> {
    tables.promises.along((Cut::Start, Cut::End)).map(|(id, promise)| row(tables, *id, promise))
}

pub(crate) fn row(tables: &Tables, id: PromiseId, promise: &Promise) -> PromiseRow {
    let state = match &promise.state {
        PromiseState::Unresolved { .. } => "unresolved",
        PromiseState::Fulfilled { .. } => "fulfilled",
        PromiseState::Rejected { .. } => "rejected",
    };
    let data = tables.settled(id);
    PromiseRow {
        promise: id.to_string(),
        state,
        decider: promise.decider().map(|it| it.to_string()),
        subscribers: tables.subscribers.of(id).map(|it| it.to_string()).collect(),
        refs: promise.refs,
        queued: tables.queue.of(QueueId::Promise(id)).count(),
        policy: match promise.policy {
            Policy::Ignore => "ignore",
            Policy::Log => "log",
            Policy::Panic => "panic",
        },
        body: data.map(|it| String::from_utf8_lossy(&it.body).into_owned()),
        slots: data.map(|it| it.slots.iter().map(ToString::to_string).collect()),
        label: promise.decider().map(|vat| label(tables, vat)),
    }
}

impl Row for PromiseRow {
    const HEADER: &'static [&'static str] =
        &["promise", "state", "decider", "subscribers", "refs", "queued", "settled with"];
    const LEFT: &'static [usize] = &[0, 1, 2, 3, 6];

    fn cells(&self) -> Vec<String> {
        let slots = self.slots.as_deref().unwrap_or_default();
        let settled = self.body.as_deref().map_or(String::new(), |it| brief(said::data(it, slots).as_bytes()));
        let subscribers = (!self.subscribers.is_empty()).then(|| self.subscribers.join(" "));
        vec![
            self.promise.clone(),
            self.state.to_owned(),
            or_dash(self.label.as_ref()),
            or_dash(subscribers),
            self.refs.to_string(),
            self.queued.to_string(),
            settled,
        ]
    }
}
