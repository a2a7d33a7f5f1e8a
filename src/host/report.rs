//! The summary of a state: `run` prints it as a table, or as a JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    directive::{Class, Directive, Effect},
    kernel,
    state::{
        block::{Block, classes},
        table::{QueueId, Status},
    },
};

/// A summary of a state. The names of the fields are a contract.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The last committed block.
    pub height: u64,
    /// The chained hash there.
    pub state_hash: String,
    /// The digest of all rows there.
    pub state_digest: String,
    /// The version of the kernel.
    pub kernel_version: u32,
    /// The version of the engine.
    pub engine_version: u32,
    /// The runtime that last ran the vats.
    pub engine: String,
    /// The number of cranks so far.
    pub cranks: u64,
    /// The number of deliveries so far.
    pub deliveries: u64,
    /// Whether no work is left to do.
    pub quiescent: bool,
    /// The directives in force, and those that were obeyed.
    pub directives: Vec<DirectiveReport>,
    /// The vats, by name.
    pub vats: BTreeMap<String, VatReport>,
    /// The results of the messages from outside, in order.
    pub results: Vec<ResultReport>,
}

/// The report's entry for one directive.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct DirectiveReport {
    pub line: String,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crank: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed: Option<String>,
}

/// The report's entry for one vat.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct VatReport {
    pub id: String,
    /// The word `session`, for a vat without code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub incarnation: u32,
    pub deliveries: u64,
    pub syscalls: u64,
    pub fuel: u64,
    pub memory_bytes: u64,
    pub queued: usize,
}

/// The report's entry for one message from outside.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct ResultReport {
    pub to: String,
    pub method: String,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<String>,
}

impl Report {
    /// Sums up a state with no open changes.
    pub fn of(block: &Block) -> Report {
        let tables = block.tables();
        let globals = tables.globals();
        let mut queued: BTreeMap<_, usize> = BTreeMap::new();
        for (_, _, waiting) in tables.queue.run() {
            *queued.entry(kernel::destination(tables, &waiting.item)).or_default() += 1;
        }
        let mut vats = BTreeMap::new();
        for (id, vat) in tables.vats.iter() {
            let tally = tables.tallies.get(id).copied().unwrap_or_default();
            let (status, reason) = match &vat.status {
                Status::Running => ("running", None),
                Status::Paused { reason } => ("paused", Some(reason.clone())),
                Status::Terminated { reason, .. } => ("terminated", Some(reason.clone())),
            };
            let report = VatReport {
                id: id.to_string(),
                kind: tables.is_session(*id).then_some("session"),
                status,
                reason,
                incarnation: vat.incarnation,
                deliveries: tally.deliveries,
                syscalls: tally.syscalls,
                fuel: tally.fuel,
                memory_bytes: tally.memory,
                queued: queued.get(&Some(*id)).copied().unwrap_or(0) + tables.queue.of(QueueId::Pause(*id)).count(),
            };
            // Two vats of one name are told apart by their numbers.
            let name = if vats.contains_key(&vat.name) { format!("{}#{id}", vat.name) } else { vat.name.clone() };
            vats.insert(name, report);
        }
        Report {
            height: globals.height.0,
            state_hash: block.meta().state_hash.to_string(),
            state_digest: block.meta().digest.to_string(),
            kernel_version: globals.kernel_version,
            engine_version: block.tables().engine_version(),
            engine: block.meta().runtime.clone(),
            cranks: globals.next_crank.0,
            deliveries: globals.deliveries,
            quiescent: kernel::is_finished(block),
            directives: directives(block),
            vats,
            results: results(block),
        }
    }
}

fn directives(block: &Block) -> Vec<DirectiveReport> {
    let classes = classes(block, block.directives());
    let mut reports: Vec<DirectiveReport> = classes
        .into_iter()
        .map(|(directive, class)| {
            let effect = effect_of(block, &directive);
            let (status, crank) = match class {
                Class::Pending => ("pending", None),
                Class::Applied(crank) => (effect.status(), Some(crank.0)),
                Class::Expired => ("expired", None),
                Class::Missed => ("missed", None),
            };
            let consumed = effect.consumed().map(str::to_owned);
            DirectiveReport { line: directive.to_string(), status, crank, consumed }
        })
        .collect();
    for (_, it) in block.tables().applied.iter() {
        if !reports.iter().any(|report| report.line == it.text) {
            let (line, crank) = (it.text.clone(), Some(it.crank.0));
            let consumed = it.effect.consumed().map(str::to_owned);
            reports.push(DirectiveReport { line, status: it.effect.status(), crank, consumed });
        }
    }
    reports
}

/// Returns the effect of a directive that was obeyed.
fn effect_of(block: &Block, directive: &Directive) -> Effect {
    let text = directive.to_string();
    let record = block.tables().applied.iter().find(|(_, it)| it.text == text);
    record.map(|(_, it)| it.effect.clone()).unwrap_or_default()
}

fn results(block: &Block) -> Vec<ResultReport> {
    let rows = block.tables().outside.iter();
    rows.map(|(promise, row)| {
        let (status, data) = block.tables().settling(*promise);
        ResultReport {
            to: row.to.clone(),
            method: row.method.clone(),
            status,
            body: data.map(|it| String::from_utf8_lossy(&it.body).into_owned()),
            slots: data.map(|it| it.slots.iter().map(ToString::to_string).collect()).unwrap_or_default(),
        }
    })
    .collect()
}
