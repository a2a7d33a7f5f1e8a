//! The page for people: where the node stands, in plain HTML.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, html};
use serde_json::Value;

use super::{Problem, Site};

/// Seconds after which the page asks anew.
const REFRESH: u64 = 2;

/// Shows where the node stands.
pub(super) async fn page(State(surface): Site) -> Result<Response, Problem> {
    let status = surface.status().await?;
    let text = |name: &str| match &status[name] {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => plain(other),
    };
    let rows = [
        ("chain", text("chain")),
        ("height", text("height")),
        ("state hash", text("stateHash")),
        ("last block", text("lastBlock")),
        ("time of the block", text("time")),
        ("validators", text("validators")),
        ("connected", text("peers")),
        ("submissions that wait", text("waiting")),
        ("directives in force", text("directives")),
        ("directives obeyed in the last block", text("lastFired")),
        ("vats that do not run", text("notRunning")),
    ];
    let title = format!("{} at block {}", surface.name, status["height"]);
    let halt = surface.desk.halt();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content=(REFRESH);
                title { (title) }
                style { "body{font:16px/1.5 system-ui;margin:2em auto;max-width:60em;padding:0 1em}td{padding:.1em 1em .1em 0;vertical-align:top;overflow-wrap:anywhere}pre{overflow:auto;padding:1em;border:1px solid}" }
            }
            body {
                h1 { (title) }
                @if let Some(report) = &halt {
                    h2 { "It has halted" }
                    pre { (report.text) }
                }
                table {
                    @for (name, value) in &rows { tr { td { (name) } td { (value) } } }
                }
                p { "For programs: " a href="/status" { "/status" } ", " a href="/metrics" { "/metrics" } ", " a href="/genesis" { "/genesis" } }
            }
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    Ok((headers, page.into_string()).into_response())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
