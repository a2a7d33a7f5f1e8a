//! The log of a node: sentences for people, or one JSON object a line for programs.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::output::Output;
use crate::report::{NodeEvent, NodeLog};

/// The form of a log.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LogForm {
    #[default]
    Text,
    Json,
}

/// The log of a node, on stderr.
#[derive(Debug)]
pub(super) struct TerminalLog {
    pub(super) output: Output,
    pub(super) form: LogForm,
}

impl NodeLog for TerminalLog {
    fn say(&self, event: &NodeEvent) {
        match self.form {
            LogForm::Text => self.output.note(text(event)),
            LogForm::Json => {
                let (level, name, mut fields) = fields(event);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                fields["time"] = (now.as_millis() as f64 / 1e3).into();
                fields["level"] = level.into();
                fields["event"] = name.into();
                self.output.event(&fields);
            }
        }
    }
}

/// Returns the beginning of a hash.
pub(super) fn short(hash: &str) -> String {
    format!("{hash:.8}…")
}

fn text(event: &NodeEvent) -> String {
    match event {
        NodeEvent::Opened { height, state_hash } => format!("at block {height}, state hash {}", short(state_hash)),
        NodeEvent::Listening { http } => format!("http://{http}"),
        NodeEvent::Block { result, took } => {
            let (height, hash) = (result.header.height, short(&result.state_hash));
            let (inputs, cranks) = (result.receipts.len(), result.cranks);
            let fired: String = result.fired.iter().map(|it| format!("; obeyed {it}")).collect();
            format!(
                "block {height}: {inputs} inputs, {cranks} cranks, state hash {hash}, {} ms{fired}",
                took.as_millis()
            )
        }
        NodeEvent::Objection { height, round, proposer, why } => {
            format!("block {height}, round {round}: no vote for the proposal of {proposer}: {why}")
        }
        NodeEvent::Halted(report) => report.text.clone(),
    }
}

fn fields(event: &NodeEvent) -> (&'static str, &'static str, Value) {
    match event {
        NodeEvent::Opened { height, state_hash } => {
            let version = env!("CARGO_PKG_VERSION");
            ("info", "opened", json!({ "version": version, "height": height, "stateHash": state_hash }))
        }
        NodeEvent::Listening { http } => ("info", "serving", json!({ "listen": http })),
        NodeEvent::Block { result, took } => {
            let fields = json!({
                "height": result.header.height, "blockTime": result.header.time, "stateHash": result.state_hash,
                "cranks": result.cranks, "fuel": result.fuel, "inputs": result.receipts.len(), "fired": result.fired,
                "micros": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            });
            ("info", "block", fields)
        }
        NodeEvent::Objection { height, round, proposer, why } => {
            let fields = json!({ "height": height, "round": round, "proposer": proposer, "why": why });
            ("warn", "objection", fields)
        }
        NodeEvent::Halted(report) => {
            let mut fields = report.json.clone();
            fields["text"] = report.text.as_str().into();
            ("error", "halted", fields)
        }
    }
}
