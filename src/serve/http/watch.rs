//! What is seen of a server from outside: whether it lives, where it stands, and its numbers.

use std::{path::Path, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::Site;
use crate::{
    serve::{desk::Desk, problem::Problem},
    state::table::Status,
};

/// How long a look may wait for the kernel's thread.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long numbers may wait for it; then those of the last block are given.
const PATIENCE_OF_NUMBERS: Duration = Duration::from_secs(1);

/// Answers whether the kernel's thread takes requests.
pub(super) async fn health(State(shared): Site) -> Result<Response, Problem> {
    shared.errand(PATIENCE, |_, reply| drop(reply.send(Ok(())))).await?;
    Ok(super::json(StatusCode::OK, &json!({ "status": "ok" })))
}

/// Tells where the state stands.
pub(super) async fn status(State(shared): Site) -> Result<Response, Problem> {
    let status = shared.errand(PATIENCE, |desk, reply| drop(reply.send(status_of(desk)))).await?;
    Ok(super::json(StatusCode::OK, &status))
}

fn status_of(desk: &mut Desk<'_>) -> Result<Value, Problem> {
    let halted = |err| Problem::new("halted", format!("{err}"));
    let standing = desk.host.standing().clone();
    let names = desk.exports();
    let sessions = desk.captp.count();
    let block = desk.host.block().map_err(halted)?;
    let globals = block.tables().globals();
    let (mut vats, mut not_running) = (0, Vec::new());
    for (id, vat) in block.tables().vats.iter() {
        vats += 1;
        let (status, reason) = match &vat.status {
            Status::Running => continue,
            Status::Paused { reason } => ("paused", reason),
            Status::Terminated { reason, .. } => ("terminated", reason),
        };
        not_running.push(json!({ "id": id.to_string(), "name": vat.name, "status": status, "reason": reason }));
    }
    let last = block.tables().applied.iter().map(|(_, it)| it).max_by_key(|it| it.crank);
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"), "kernelVersion": standing.kernel_version, "engineVersion": block.tables().engine_version(),
        "engine": block.meta().runtime,
        "height": standing.height, "stateHash": standing.state_hash, "time": globals.time,
        "cranks": globals.next_crank.0, "deliveries": globals.deliveries, "exports": names,
        "vats": vats, "notRunning": not_running,
        "directives": standing.directives, "directivesDigest": standing.directives_digest,
        "lastDirective": last.map(|it| json!({ "line": it.text, "crank": it.crank.0 })),
        "sessions": { "connected": sessions.0, "away": sessions.1 },
        "callsUnderWay": desk.waiters, "answersKept": desk.book.answers(), "tokensKept": desk.book.tokens(),
    }))
}

/// Gives the numbers in Prometheus' text.
pub(super) async fn metrics(State(shared): Site) -> Response {
    let counted = |desk: &mut Desk<'_>| {
        let kept = [desk.book.answers(), desk.book.tokens(), desk.waiters];
        desk.metrics.count(desk.host, kept);
        desk.metrics.count_sessions(desk.captp.count());
    };
    let done = shared.errand(PATIENCE_OF_NUMBERS, move |desk, reply| {
        counted(desk);
        drop(reply.send(Ok(())));
    });
    // Numbers of a host that is busy, or has halted, are still worth reading.
    let _ = done.await;
    shared.metrics.files(&sizes(&shared.folder));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.text()).into_response()
}

/// The bytes of a state's files, by what they are.
fn sizes(folder: &Path) -> Vec<(&'static str, u64)> {
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |it| it.len());
    vec![("state-file", size("state.sqlite")), ("log-file", size("state.sqlite-wal"))]
}
