//! Views of the vats: a row for each, or all about one.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Facts, Row, brief, camel};
use crate::{
    host::report::{Report, VatReport},
    inspect::view::text::{counted, grouped, harmless, shortened, size},
    model::{
        blame::HostFault,
        id::{DeliveryNum, KRef, VRef, VatId},
    },
    state::{
        block::{Block, history},
        table::{Awaited, Status, Tables, Tally},
    },
};

/// A row of `vats`, and of `vat` too.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VatRow {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    name: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    incarnation: u32,
    bundle: String,
    deliveries: u64,
    syscalls: u64,
    fuel: u64,
    memory_bytes: u64,
    queued: usize,
    clist: usize,
    keys: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OneVat {
    #[serde(flatten)]
    row: VatRow,
    /// Whether a dead vat's last row is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    cleaned: Option<bool>,
    /// The first delivery of this incarnation.
    first_delivery: u64,
    /// The promises that are settled when the vat ends.
    done: Vec<String>,
    bundle_bytes: Option<usize>,
    options: Value,
    next_import: String,
    next_promise_import: String,
    dirt_deliveries: u64,
    dirt_gc_krefs: u64,
    reap_queued: bool,
    exports: usize,
    imports: usize,
    promises: usize,
    decides: usize,
    transcript: usize,
    /// The first delivery of the transcript, where those before it have left the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript_from: Option<u64>,
    /// The events that the outside has not acknowledged, if the vat is a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox: Option<u64>,
}

pub(crate) fn list(block: &Block) -> Vec<VatRow> {
    let tables = block.tables();
    reports(block).into_iter().filter_map(|(id, report)| row(tables, id.parse().ok()?, report)).collect()
}

/// Returns the reports that `run` prints, but in order of the vats' numbers.
fn reports(block: &Block) -> Vec<(String, VatReport)> {
    let mut reports: Vec<_> = Report::of(block).vats.into_values().map(|it| (it.id.clone(), it)).collect();
    reports.sort_by_key(|(id, _)| id.parse::<VatId>().ok());
    reports
}

fn row(tables: &Tables, id: VatId, report: VatReport) -> Option<VatRow> {
    let vat = tables.vats.get(&id)?;
    Some(VatRow {
        id: report.id,
        kind: report.kind,
        name: vat.name.clone(),
        status: report.status,
        reason: report.reason,
        incarnation: report.incarnation,
        bundle: if tables.is_session(id) { String::new() } else { vat.bundle.to_string() },
        deliveries: report.deliveries,
        syscalls: report.syscalls,
        fuel: report.fuel,
        memory_bytes: report.memory_bytes,
        queued: report.queued,
        clist: tables.clist.held(id),
        keys: tables.vatstore.keys(id),
    })
}

pub(crate) fn one(block: &Block, id: VatId) -> Result<OneVat, HostFault> {
    let tables = block.tables();
    let unknown = || HostFault::new("look at a vat", format_args!("{id} has no row"));
    let report: BTreeMap<_, _> = reports(block).into_iter().collect();
    let report = report.get(&id.to_string()).cloned().ok_or_else(unknown)?;
    let vat = tables.vats.get(&id).ok_or_else(unknown)?;
    let tally = tables.tallies.get(&id).copied().unwrap_or(Tally::default());
    let entries = |wanted: fn(VRef) -> bool| tables.clist.of(id).filter(|(vref, _)| wanted(*vref)).count();
    let is_decided =
        |it: KRef| it.promise().and_then(|it| tables.promises.get(&it)).is_some_and(|it| it.decider() == Some(id));
    let (mut transcript, pruned) = (0, history::pruned(block, id)?);
    for entry in block.transcript(id, pruned.map_or_else(Default::default, |it| it.next))? {
        entry?;
        transcript += 1;
    }
    Ok(OneVat {
        row: row(tables, id, report).ok_or_else(unknown)?,
        cleaned: match vat.status {
            Status::Terminated { cleaned, .. } => Some(cleaned),
            _ => None,
        },
        first_delivery: vat.first_delivery.0,
        done: tables.waiting.of(Awaited::End(id)).map(|it| it.to_string()).collect(),
        bundle_bytes: match block.bundle(vat.bundle) {
            _ if tables.is_session(id) => Some(0),
            // That of a vat that ended may have left.
            Err(_) if !tables.is_alive(id) => None,
            wasm => Some(wasm?.len()),
        },
        outbox: tables.is_session(id).then(|| tables.session_outbox.sums(id).0),
        options: camel(serde_json::to_value(&vat.options).map_err(|err| HostFault::new("show options", err))?),
        next_import: VRef::imported_object(tally.next_import).to_string(),
        next_promise_import: VRef::imported_promise(tally.next_promise_import).to_string(),
        dirt_deliveries: tally.dirt_deliveries,
        dirt_gc_krefs: tally.dirt_gc_krefs,
        reap_queued: tally.reap_queued,
        exports: entries(VRef::is_exported_object),
        imports: entries(VRef::is_imported_object),
        promises: entries(VRef::is_promise),
        decides: tables.clist.promises(id).filter(|(_, entry)| is_decided(entry.kref)).count(),
        transcript,
        transcript_from: pruned.map(|it| it.next.0),
    })
}

/// Returns a status and its reason, for people, with at most this many characters of the reason: last words are long.
fn status(row: &VatRow, chars: usize) -> String {
    let kind = row.kind.map(|it| format!("{it}, ")).unwrap_or_default();
    match &row.reason {
        Some(reason) => format!("{kind}{}: {}", row.status, harmless(&shortened(reason, chars))),
        None => format!("{kind}{}", row.status),
    }
}

impl Row for VatRow {
    const HEADER: &'static [&'static str] =
        &["vat", "name", "deliveries", "syscalls", "fuel", "memory", "c-list", "keys", "queued", "status"];
    const LEFT: &'static [usize] = &[0, 1, 9];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.id.clone(), brief(self.name.as_bytes())];
        cells.extend([self.deliveries, self.syscalls, self.fuel].map(grouped));
        cells.push(size(self.memory_bytes));
        cells.extend([self.clist.to_string(), self.keys.to_string(), self.queued.to_string()]);
        cells.push(status(self, 80));
        cells
    }
}

impl Facts for OneVat {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let row = &self.row;
        let mut status = status(row, usize::MAX);
        if self.cleaned == Some(false) {
            status += " (rows are still to be removed)";
        }
        let reap = if self.reap_queued { ", queued" } else { "" };
        let kinds = format!("exports {}, imports {}, promises {}", self.exports, self.imports, self.promises);
        let mut facts = vec![
            ("vat", row.id.clone()),
            ("name", brief(row.name.as_bytes())),
            ("status", status),
            ("incarnation", format!("{}, since {}", row.incarnation, DeliveryNum(self.first_delivery))),
            match self.outbox {
                Some(events) => ("outbox", counted(events, "event", "events")),
                None => {
                    let bytes = self.bundle_bytes.map_or("it left the state".to_owned(), |it| size(it as u64));
                    ("bundle", format!("{} ({bytes})", row.bundle))
                }
            },
            (
                "deliveries",
                match self.transcript_from {
                    None => format!("{}, {} of them in the transcript", grouped(row.deliveries), self.transcript),
                    Some(from) => format!(
                        "{}, {} of them in the transcript, from d{from} on: those before it have left (--keep)",
                        grouped(row.deliveries),
                        self.transcript
                    ),
                },
            ),
            ("syscalls", grouped(row.syscalls)),
            ("fuel", grouped(row.fuel)),
            ("memory", size(row.memory_bytes)),
            ("c-list", format!("{} ({kinds})", row.clist)),
            ("promises it decides", self.decides.to_string()),
            ("next ids", format!("{}, {}", self.next_import, self.next_promise_import)),
            ("vatstore keys", row.keys.to_string()),
            (
                "since the last reap",
                format!("deliveries {}, GC references {}{reap}", self.dirt_deliveries, self.dirt_gc_krefs),
            ),
            ("awaited by", if self.done.is_empty() { "nobody".to_owned() } else { self.done.join(", ") }),
            ("queued", row.queued.to_string()),
        ];
        let options = self.options.as_object().into_iter().flatten();
        // As vat.toml takes them: 0 turns a threshold off. A meter is given by another vat.
        let known = options.filter(|(name, value)| *name != "meter" || !value.is_null());
        facts.extend(known.map(|(name, value)| {
            let value = if value.is_null() { "0".to_owned() } else { value.to_string() };
            ("option", format!("{} = {value}", snake(name)))
        }));
        facts
    }
}

/// `reapInterval` as `reap_interval`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for it in name.chars() {
        if it.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(it.to_ascii_lowercase());
    }
    snake
}
