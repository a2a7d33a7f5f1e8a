//! The document that an invariant is asked about.
//!
//! ```json
//! {
//!   "vats":    {"north": {"id": "v2", "status": "running", "incarnation": 0, "deliveries": 12, "kv": {"balance": 70}}},
//!   "kernel":  {"height": 3, "cranks": 41, "stateHash": "9f3c…", "results": [{"to": "market", "method": "report",
//!               "status": "fulfilled", "value": {"north": 70}}]},
//!   "slog":    [{"type": "deliver", "vatID": "v2", …}],
//!   "golden":  {"vats": …, "kernel": …, "slog": …}
//! }
//! ```
//!
//! * `vats` are named as in their scenario; of vats of one name the first has it, and the others are `name/v7`.
//! * `kv` is the vatstore, except what the SDK keeps for itself (`vat.…`). A value is what it says: JSON or smallcaps is decoded
//!   (bigints are numbers where 64 bits hold them, and texts of digits where not), other text is a text, bytes that are no text are
//!   `0x…`. So is the value of a result.
//! * `deliveries`, `height`, `cranks` and `stateHash` are there only where the expression mentions them, or a command asks: all else
//!   depends on the state alone, so that experiments which come to the same state need not be asked twice. `cranks` counts from
//!   the beginning of the state, not of the experiment.
//! * `slog` is what happened since the base, deliveries and their results included, as `vathost slog` has it, without times. It is
//!   empty unless the expression mentions `slog`, or the command asks for it.
//! * `golden` is the same at the end of the run that nothing disturbs. In jaq, `$golden` is that too.

use serde_json::{Map, Value, json};

use crate::{
    lab::experiment::View,
    model::{
        id::hex,
        value::{Bytes, StoreKey},
    },
    state::{
        block::Block,
        table::{Status, Tables},
    },
};

/// What a state does not decide.
const NUMBERS: [&str; 4] = ["deliveries", "height", "cranks", "stateHash"];

/// The parts of a document that an invariant looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Those of `NUMBERS`.
    numbers: Vec<&'static str>,
    /// Whether `slog` is one of the parts.
    pub(super) slog: bool,
    /// Whether `golden` is one of the parts.
    pub(super) golden: bool,
}

impl Parts {
    /// Returns all parts; the slog only if it is asked for.
    pub(super) fn all(slog: bool) -> Parts {
        Parts { numbers: NUMBERS.to_vec(), slog, golden: true }
    }

    /// Returns the parts that an expression mentions.
    pub(super) fn of(text: &str) -> Parts {
        let numbers = NUMBERS.into_iter().filter(|it| text.contains(it)).collect();
        Parts { numbers, slog: text.contains("slog"), golden: text.contains("golden") }
    }

    /// Returns whether these parts depend on the state alone.
    pub(super) fn are_of_the_state(&self) -> bool {
        self.numbers.is_empty() && !self.slog
    }

    /// Takes the others out of a document.
    pub(super) fn keep(&self, document: &mut Value) {
        let rest = NUMBERS.into_iter().filter(|it| !self.numbers.contains(it));
        let vats = document.get("vats").and_then(Value::as_object).map(|it| it.keys().cloned().collect::<Vec<_>>());
        for name in rest {
            let _ = document["kernel"].as_object_mut().and_then(|it| it.remove(name));
            for vat in vats.iter().flatten() {
                let _ = document["vats"][vat].as_object_mut().and_then(|it| it.remove(name));
            }
        }
    }
}

/// Makes the document of a point of a run, without the golden run.
pub(super) fn of(view: &View<'_>, parts: &Parts) -> Value {
    let events = if parts.slog { view.events } else { &[] };
    let mut document = json!({ "vats": vats(view.block.tables()), "kernel": kernel(view.block), "slog": events });
    parts.keep(&mut document);
    document
}

fn vats(tables: &Tables) -> Value {
    let mut vats = Map::new();
    for (vat, row) in tables.vats.iter() {
        let status = match row.status {
            Status::Running => "running",
            Status::Paused { .. } => "paused",
            Status::Terminated { .. } => "terminated",
        };
        let deliveries = tables.tallies.get(vat).map_or(0, |it| it.deliveries);
        let mut kv = Map::new();
        for ((_, key), value) in
            tables.vatstore.range((*vat, StoreKey::default())..).take_while(|((it, _), _)| it == vat)
        {
            if !key.starts_with(b"vat.") {
                kv.insert(text(key), decoded(value));
            }
        }
        let name = if vats.contains_key(&row.name) { format!("{}/{vat}", row.name) } else { row.name.clone() };
        vats.insert(
            name,
            json!({
                "id": vat.to_string(),
                "status": status,
                "incarnation": row.incarnation,
                "deliveries": deliveries,
                "kv": kv,
            }),
        );
    }
    Value::Object(vats)
}

fn kernel(block: &Block) -> Value {
    let tables = block.tables();
    let globals = tables.globals();
    let result = |promise: &crate::model::id::PromiseId, row: &crate::state::table::Outside| {
        let (status, data) = tables.settling(*promise);
        let value = data.map_or(Value::Null, |it| decoded(&it.body));
        json!({ "to": row.to, "method": row.method, "status": status, "value": value })
    };
    json!({
        "height": globals.height.0,
        "cranks": globals.next_crank.0,
        "stateHash": block.state_hash().map_or_else(|it| it.to_string(), |it| it.to_string()),
        "results": tables.outside.iter().map(|(promise, row)| result(promise, row)).collect::<Vec<_>>(),
    })
}

fn text(bytes: &Bytes) -> String {
    bytes.as_text().map_or_else(|| format!("0x{}", hex(bytes)), str::to_owned)
}

/// What bytes say: see the module.
fn decoded(bytes: &Bytes) -> Value {
    let Some(text) = bytes.as_text() else { return Value::String(format!("0x{}", hex(bytes))) };
    let smallcaps = text.strip_prefix('#').map(|it| it.lines().next().unwrap_or_default());
    match smallcaps {
        Some(body) => serde_json::from_str(body).map_or_else(|_| Value::String(text.to_owned()), plain),
        None => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    }
}

/// Smallcaps as plain JSON.
fn plain(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        Value::Object(members) if members.contains_key("#error") => {
            members.into_iter().find(|(key, _)| key == "#error").map_or(Value::Null, |(_, it)| plain(it))
        }
        Value::Object(members) => {
            let name = |key: String| key.strip_prefix('!').map(str::to_owned).unwrap_or(key);
            Value::Object(members.into_iter().map(|(key, value)| (name(key), plain(value))).collect())
        }
        Value::String(text) => word(text),
        other => other,
    }
}

fn word(text: String) -> Value {
    let number = || match text.strip_prefix('+') {
        Some(digits) => digits.parse::<u64>().map(Value::from).ok(),
        None => text.parse::<i64>().map(Value::from).ok(),
    };
    match text.chars().next() {
        Some('!') => Value::String(text[1..].to_owned()),
        Some('+' | '-') => number().unwrap_or(Value::String(text)),
        Some('#') if text == "#undefined" => Value::Null,
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_vat_stores_is_read_as_what_it_means() {
        for (stored, read) in [
            ("#70", json!(70)),
            ("#\"+70\"", json!(70)),
            ("#\"-3\"", json!(-3)),
            ("#\"+99999999999999999999\"", json!("+99999999999999999999")),
            ("#[\"!-x\",\"$0.Alleged: purse\",\"#undefined\"]\n12", json!(["-x", "$0.Alleged: purse", null])),
            ("#{\"!#a\":1,\"b\":{\"#error\":\"no\",\"name\":\"Error\"}}", json!({"#a": 1, "b": "no"})),
            ("{\"a\":1}", json!({"a": 1})),
            ("#not json", json!("#not json")),
            ("plain", json!("plain")),
        ] {
            assert_eq!(decoded(&Bytes::from(stored)), read, "{stored}");
        }
        assert_eq!(decoded(&Bytes::from(vec![0xff, 0])), json!("0xff00"));
    }
}
