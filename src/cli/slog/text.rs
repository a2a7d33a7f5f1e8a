//! Pieces of a recording as text for people.

use serde_json::Value;

use crate::{cli::output::harmless, inspect::view::said};

/// Writes seconds with a unit that fits.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        0.0 => "0".to_owned(),
        _ if seconds < 1e-3 => format!("{:.1} µs", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// Writes a vat, with its name if that is known.
pub(super) fn vat(id: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{id} ({})", harmless(name)),
        None => id.to_owned(),
    }
}

/// Returns where a crank of this type came from, if that is not recorded.
pub(super) fn origin(message_type: &str) -> &'static str {
    match message_type {
        "startVat" => "the kernel: the vat was created",
        "cleanup-terminated-vat" => "the kernel: the vat is terminated",
        "bringOutYourDead" => "the kernel: the vat is due to collect its garbage",
        "notify" => "the kernel: it settled the promise itself, or that was before the recording",
        "upgrade-vat" | "changeVatOptions" => "the kernel: whoever holds the vat's admin facet asked for it",
        "gc-action" => "the kernel: garbage collection",
        _ => "outside, or from before the recording",
    }
}

/// Writes a delivery or a syscall: its kind, then its contents, with both names of each reference, as in `ko22=o-50`.
pub(super) fn act(kernel: &Value, vat: &Value) -> String {
    let parts = vat.as_array().map(Vec::as_slice).unwrap_or_default();
    let parts = parts.iter().enumerate().map(|(at, it)| both(kernel.get(at), it));
    parts.filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ")
}

fn both(kernel: Option<&Value>, vat: &Value) -> String {
    match vat {
        Value::String(text) => match kernel.and_then(Value::as_str) {
            Some(kernel) if kernel != text => format!("{}={}", harmless(kernel), harmless(text)),
            _ => harmless(text),
        },
        Value::Array(items) if matches!(&items[..], [_, Value::Bool(_), _]) => resolution(kernel, items),
        Value::Array(items) => {
            let items = items.iter().enumerate().map(|(at, it)| both(kernel.and_then(|kernel| kernel.get(at)), it));
            format!("[{}]", items.collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => object(kernel, fields),
        other => other.to_string(),
    }
}

/// Writes a resolution: the promise, its outcome, and the data.
fn resolution(kernel: Option<&Value>, items: &[Value]) -> String {
    let part = |at: usize| both(kernel.and_then(|it| it.get(at)), items.get(at).unwrap_or(&Value::Null));
    let state = if items.get(1) == Some(&Value::Bool(true)) { "rejected" } else { "fulfilled" };
    format!("{} {state} {}", part(0), part(2))
}

/// Writes messages as calls, and capdata decoded; other objects as they are.
fn object(kernel: Option<&Value>, fields: &serde_json::Map<String, Value>) -> String {
    let part = |name: &str| fields.get(name).map(|it| both(kernel.and_then(|it| it.get(name)), it));
    if let Some(methargs) = fields.get("methargs").and_then(Value::as_object) {
        let call = capdata(kernel.and_then(|it| it.get("methargs")), methargs, said::call).or_else(|| part("methargs"));
        let call = call.unwrap_or_default();
        return match fields.get("result") {
            Some(Value::String(_)) => format!("{call} result {}", part("result").unwrap_or_default()),
            _ => call,
        };
    }
    let whole = || harmless(&Value::Object(fields.clone()).to_string());
    capdata(kernel, fields, said::data).unwrap_or_else(whole)
}

/// Writes a body, with its slots in their places under both names.
fn capdata(
    kernel: Option<&Value>,
    fields: &serde_json::Map<String, Value>,
    show: fn(&str, &[String]) -> String,
) -> Option<String> {
    let (body, slots) = (fields.get("body")?.as_str()?, fields.get("slots")?.as_array()?);
    let kernel = kernel.and_then(|it| it.get("slots"));
    let slots: Vec<_> = slots.iter().enumerate().map(|(at, it)| both(kernel.and_then(|it| it.get(at)), it)).collect();
    Some(harmless(&show(body, &slots)))
}

/// Writes the result of a syscall, `["ok", …]` or `["error", …]`.
pub(super) fn answer(result: &Value) -> String {
    match (result[0].as_str(), &result[1]) {
        (Some("ok"), Value::Null) => "ok".to_owned(),
        (Some("ok"), value) => format!("ok {}", both(None, value)),
        (Some(other), value) => format!("{other}: {}", both(None, value)),
        (None, _) => harmless(&result.to_string()),
    }
}
