//! Capabilities: a message to one, and its end.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Shared, Site};
use crate::serve::{
    ask::{Address, Call, DeskRequest, KnownAnswer},
    inbox::current_client,
    problem::Problem,
    token::CapToken,
};

/// Bytes of a key. A UUID has 36.
const KEY_BYTES_MAX: usize = 255;

/// Sends a message to what is named, and answers with what the vat says; or with the promise of that.
pub(super) async fn call(
    State(shared): Site,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let to = Address::parse(&name);
    if matches!(to, Address::Name(_)) && !shared.gate.names_are_open {
        let why =
            "names are not open at an address of a network: ask for a token, or start the host with --open-exports";
        return Err(Problem::new("no-capability", why));
    }
    call_to(&shared, to, &format!("/cap/{name}"), &headers, body).await
}

/// Sends the message in this body.
pub(super) async fn call_to(
    shared: &Arc<Shared>,
    to: Address,
    place: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let begun = begin();
    let key = key(headers)?;
    let waits = !prefers_async(headers);
    let (bytes, value) = shared.json(body).await?;
    let (method, args) = message(value)?;
    let (id, request) = match key {
        Some(key) => (CapToken::of_key(shared.secret, place, &key), Some(*blake3::hash(&bytes).as_bytes())),
        None => (CapToken::random().map_err(|err| Problem::new("unexpected", err.to_string()))?, None),
    };
    let client = current_client();
    let ask = |reply| DeskRequest::Call(Box::new(Call { client, to, method, args, id, request, waits, reply }));
    let told = shared.ask(ask, shared.bounds.call_time).await?;
    let is_told = request.is_some() || !waits;
    let (kind, response) = match told {
        Some(told @ KnownAnswer::Settled { is_rejected, .. }) => {
            let kind = if is_rejected { "rejected" } else { "fulfilled" };
            (kind, settled(&told, is_told.then_some(id)))
        }
        Some(KnownAnswer::Pending) | None => ("pending", pending(id)),
    };
    shared.metrics.answered(kind, begun.elapsed());
    Ok(response)
}

/// Drops what a token names.
pub(super) async fn drop_token(State(shared): Site, Path(name): Path<String>) -> Result<Response, Problem> {
    let Address::CapToken(token) = Address::parse(&name) else {
        return Err(Problem::new("no-capability", "only what a token names can be dropped"));
    };
    let dropped = shared.ask(|reply| DeskRequest::Drop { token, reply }, shared.bounds.call_time).await?;
    dropped.ok_or_else(|| Problem::new("not-yet", "it will be dropped; the host is in the middle of a block"))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Reads the message of a request.
pub(super) fn message(value: Value) -> Result<(String, Vec<Value>), Problem> {
    let wrong =
        |why: &str| Problem::new("malformed", format!("{why}: a message is {{\"method\": \"…\", \"args\": […]}}"));
    let Value::Object(mut members) = value else { return Err(wrong("the body is no object")) };
    let Some(Value::String(method)) = members.remove("method") else { return Err(wrong("`method` is no text")) };
    let args = match members.remove("args") {
        None => Vec::new(),
        Some(Value::Array(args)) => args,
        Some(_) => return Err(wrong("`args` is no array")),
    };
    match members.keys().next() {
        None => Ok((method, args)),
        Some(other) => Err(wrong(&format!("`{other}` means nothing"))),
    }
}

fn key(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let key = key.as_bytes();
    if keys.next().is_some() || key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Problem::new(
            "malformed",
            format!("a request has one Idempotency-Key, of 1 to {KEY_BYTES_MAX} bytes"),
        ));
    }
    Ok(Some(key.to_vec()))
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let prefer = headers.get_all("prefer").iter().filter_map(|it| it.to_str().ok());
    prefer.flat_map(|it| it.split(',')).any(|it| it.trim().eq_ignore_ascii_case("respond-async"))
}

/// The answer of a vat: 200, whether it fulfilled or rejected, so that a client tells a vat's words from ours by the status.
pub(super) fn settled(told: &KnownAnswer, id: Option<CapToken>) -> Response {
    let mut object = match told {
        KnownAnswer::Settled { is_rejected: false, value } => json!({ "status": "fulfilled", "value": value }),
        KnownAnswer::Settled { is_rejected: true, value } => json!({ "status": "rejected", "reason": value }),
        KnownAnswer::Pending => json!({ "status": "pending" }),
    };
    if let Some(id) = id {
        object["promise"] = format!("/promise/{}", id.text()).into();
    }
    super::json(StatusCode::OK, &object)
}

/// The promise of an answer: 202.
pub(super) fn pending(id: CapToken) -> Response {
    let url = format!("/promise/{}", id.text());
    let mut response = super::json(StatusCode::ACCEPTED, &json!({ "status": "pending", "promise": url }));
    if let Ok(url) = HeaderValue::from_str(&url) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    response
}

#[expect(clippy::disallowed_methods, reason = "how long a call takes is measured, and is in no state")]
fn begin() -> Instant {
    Instant::now()
}
