use std::{sync::Arc, time::Duration};

use arc_malachitebft_app_channel::NetworkRequest;
use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vathost::{
    host::staged::BlockInput,
    state::table::{Outgoing, Status},
};

use super::{CALL_TIME, Problem, Site, Surface, json_response, object_of};
use crate::{
    desk::NodeDriver,
    driver::{Application, SubmissionState},
    genesis::Submitters,
    keys::{Digest, PublicKey, Signature},
    store::Store,
    submit::{Refusal, Submission, WINDOW},
};

/// A submission as JSON: what `vathost-node submit` sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SubmissionBody {
    /// A number that tells apart what is otherwise the same.
    pub(crate) nonce: u64,
    /// The last height of a block that may hold it.
    pub(crate) last_height: u64,
    /// The input's JSON, as a text: what is signed are its bytes.
    pub(crate) input: String,
    /// The public key of who submits it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) key: Option<PublicKey>,
    /// The signature over its id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) signature: Option<Signature>,
}

impl From<SubmissionBody> for Submission {
    fn from(body: SubmissionBody) -> Submission {
        let SubmissionBody { nonce, last_height, input, key, signature } = body;
        Submission { nonce, last_height, input: input.into_bytes(), signed: key.zip(signature) }
    }
}

impl From<&Submission> for SubmissionBody {
    fn from(submission: &Submission) -> SubmissionBody {
        let Submission { nonce, last_height, input, signed } = submission;
        let (key, signature) = signed.unzip();
        let input = String::from_utf8_lossy(input).into_owned();
        SubmissionBody { nonce: *nonce, last_height: *last_height, input, key, signature }
    }
}

/// The time that a request waits for an answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Waiting {
    /// In seconds.
    wait: Option<u64>,
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|err| Problem::new("malformed", format!("the body: {err}")))
}

/// Takes a submission in.
pub(super) async fn submit(
    State(surface): Site,
    Query(Waiting { wait }): Query<Waiting>,
    body: Bytes,
) -> Result<Response, Problem> {
    let submission: Submission = parse::<SubmissionBody>(&body)?.into();
    let id = surface.submit(submission).await??;
    let state = match wait {
        Some(seconds) => surface.follow(id, Duration::from_secs(seconds)).await?,
        None => SubmissionState::Waiting,
    };
    let status = if is_settled(&state) { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(json_response(status, &object_of(&id, &state)))
}

fn is_settled(state: &SubmissionState) -> bool {
    matches!(state, SubmissionState::InBlock(answer) if answer.status != "pending")
}

/// Tells what became of a submission.
pub(super) async fn result(
    State(surface): Site,
    Path(id): Path<String>,
    Query(Waiting { wait }): Query<Waiting>,
) -> Result<Response, Problem> {
    let id: Digest = id.parse().map_err(|err| Problem::new("malformed", format!("{err}")))?;
    let state = surface.follow(id, Duration::from_secs(wait.unwrap_or(0))).await?;
    let status = if state == SubmissionState::Unknown { StatusCode::NOT_FOUND } else { StatusCode::OK };
    Ok(json_response(status, &object_of(&id, &state)))
}

/// The body of a call, as `vathost serve` takes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallBody {
    method: String,
    #[serde(default)]
    args: Vec<Value>,
}

/// Sends a message to an exported vat, and waits for its answer.
pub(super) async fn call(
    State(surface): Site,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    if surface.genesis.submitters != Submitters::Everybody {
        let detail =
            "who submits to this chain signs it: `vathost-node submit --key FILE` does, and `POST /submit` takes it";
        return Err(Problem::new("no-capability", detail));
    }
    if !surface.genesis.exports.contains_key(&name) {
        return Err(Problem::new("no-capability", format!("no vat is open by the name `{}`", name.escape_debug())));
    }
    let CallBody { method, args } = parse(&body)?;
    let input = BlockInput::Send { to: name, method, args };
    let input = serde_json::to_vec(&input).map_err(|err| Problem::new("malformed", err.to_string()))?;
    let key = headers.get("idempotency-key").map(|it| it.as_bytes());
    let nonce = nonce_of(key)?;
    let height = *surface.desk.height().borrow();
    // With a key the same call comes to the same id for some time, and not only at this height.
    let last_height = if key.is_some() { (height / WINDOW + 1) * WINDOW } else { height + WINDOW };
    let submission = Submission { nonce, last_height, input, signed: None };
    let id = match surface.submit(submission).await? {
        Ok(id) | Err(Refusal::Duplicate(id)) => id,
        Err(other) => return Err(other.into()),
    };
    let is_async = headers.get("prefer").is_some_and(|it| it.as_bytes() == b"respond-async");
    let state = surface.follow(id, if is_async { Duration::ZERO } else { CALL_TIME }).await?;
    let object = object_of(&id, &state);
    if is_settled(&state) {
        return Ok(json_response(StatusCode::OK, &object));
    }
    let mut response = json_response(StatusCode::ACCEPTED, &object);
    if let Ok(location) = format!("/result/{id}").parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Returns the nonce of a call: its key's, so that the same call with the same key has the same id, or a new one.
fn nonce_of(key: Option<&[u8]>) -> Result<u64, Problem> {
    let mut bytes = [0; 8];
    match key {
        Some(key) => bytes.copy_from_slice(&Digest::of("vathost-node idempotency key", &key).0[..8]),
        None => getrandom::fill(&mut bytes).map_err(|err| Problem::new("unexpected", err.to_string()))?,
    }
    Ok(u64::from_be_bytes(bytes))
}

/// Tells a decided block.
pub(super) async fn block(State(surface): Site, Path(height): Path<String>) -> Result<Response, Problem> {
    let height: u64 = height.parse().map_err(|_| Problem::new("malformed", "a height is a number"))?;
    let (chain, genesis) = (surface.chain, surface.genesis.clone());
    let found = surface.desk.ask(move |driver| {
        let decided = driver.store().decided(height)?;
        let result = driver.store().executed(height)?;
        Ok::<_, vathost::HostFault>(decided.map(|it| (it, result)))
    });
    let found = found.await?.map_err(|fault| Problem::new("unexpected", fault.to_string()))?;
    let (decided, result) =
        found.ok_or_else(|| Problem::new("no-capability", format!("this node has no block {height}")))?;
    let block = &decided.block;
    let submissions: Vec<Value> = block
        .submissions
        .iter()
        .map(|it| {
            let mut object = json!(SubmissionBody::from(it));
            object["id"] = it.id(&chain).to_string().into();
            object
        })
        .collect();
    let signers = decided.certificate.signatures.iter().filter_map(|(it, _)| genesis.validator(it));
    let object = json!({
        "height": block.height, "time": block.time, "id": block.id(), "parent": block.parent, "submissions": submissions,
        "certificate": decided.certificate, "signers": signers.map(|it| it.name.as_str()).collect::<Vec<_>>(), "result": result,
    });
    Ok(json_response(StatusCode::OK, &object))
}

/// The first message of the mailbox that somebody asks for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MailRange {
    from: Option<u64>,
}

/// The most messages of the mailbox in one answer.
const MAIL_MAX: usize = 100;

/// Tells the mailbox's messages to the outside which nobody has acknowledged, and the last one that came in.
pub(super) async fn mailbox(
    State(surface): Site,
    Query(MailRange { from }): Query<MailRange>,
) -> Result<Response, Problem> {
    let object = surface.desk.ask(move |driver| mail_of(driver, from.unwrap_or(0))).await?;
    Ok(json_response(StatusCode::OK, &object))
}

fn mail_of(driver: &NodeDriver, from: u64) -> Value {
    let host = driver.application().host();
    let messages = host.outbox_from(from).take(MAIL_MAX).map(|(number, outgoing)| match outgoing {
        // What a vat sends is JSON, or else it is told as a text.
        Outgoing::Message(text) => {
            let message = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
            json!({ "number": number, "message": message })
        }
        Outgoing::Refused { number: refused, why } => json!({ "number": number, "refused": refused, "why": why }),
    });
    json!({ "received": host.mailbox().map_or(0, |it| it.received), "messages": messages.collect::<Vec<_>>() })
}

/// Gives the genesis of the chain.
pub(super) async fn genesis(State(surface): Site) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], surface.genesis.text()).into_response()
}

/// Answers as long as the kernel's thread takes questions.
pub(super) async fn health(State(surface): Site) -> Result<Response, Problem> {
    if let Some(report) = surface.desk.halt() {
        return Err(Problem::new("halted", report.text));
    }
    let asked = tokio::time::timeout(Duration::from_secs(5), surface.desk.ask(|_| ())).await;
    asked.map_err(|_| Problem::new("not-yet", "the kernel is in the middle of a long block"))??;
    Ok(json_response(StatusCode::OK, &json!({ "status": "ok" })))
}

/// Gives the numbers in Prometheus' text.
pub(super) async fn metrics(State(surface): Site) -> Result<Response, Problem> {
    let counted = surface.metrics.clone();
    surface.desk.ask(move |driver| counted.count(driver.application().host(), driver.waiting())).await?;
    surface.metrics.connected(surface.peers().await.len());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], surface.metrics.text()).into_response())
}

/// Tells where the node stands.
pub(super) async fn status(State(surface): Site) -> Result<Response, Problem> {
    Ok(json_response(StatusCode::OK, &surface.status().await?))
}

impl Surface {
    /// Returns where the node stands.
    pub(super) async fn status(self: &Arc<Surface>) -> Result<Value, Problem> {
        let mut status = self.desk.ask(status_of).await?;
        status["name"] = self.name.as_str().into();
        status["chain"] = self.genesis.chain.as_str().into();
        status["chainId"] = self.chain.to_string().into();
        status["validators"] = self.genesis.validators.iter().map(|it| it.name.as_str()).collect();
        status["exports"] = self.genesis.exports.keys().map(String::as_str).collect();
        status["peers"] = self.peers().await.into();
        status["halt"] = self.desk.halt().map(|it| it.json).unwrap_or_default();
        Ok(status)
    }

    /// Returns the names of the nodes that are connected.
    pub(super) async fn peers(&self) -> Vec<String> {
        let dump = NetworkRequest::dump_state(&self.network);
        // An engine that has ended has no peers.
        let dump = tokio::time::timeout(Duration::from_secs(2), dump).await;
        let Ok(Ok(Some(dump))) = dump else { return Vec::new() };
        let mut names: Vec<String> = dump.peers.values().map(|it| it.moniker.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn status_of(driver: &mut NodeDriver) -> Value {
    let standing = driver.standing();
    let host = driver.application().host();
    let position = host.standing();
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"), "kernelVersion": position.kernel_version,
        "height": standing.height, "time": standing.time, "stateHash": standing.outcome.state_hash,
        "lastBlock": standing.outcome.block, "lastFired": standing.outcome.fired, "waiting": driver.waiting(),
        "directives": driver.application().directives(), "directivesDigest": position.directives_digest,
    });
    // A host that has halted has no rows to tell of.
    let Ok(block) = host.block() else { return status };
    let globals = block.tables().globals();
    let (mut vats, mut not_running) = (0, Vec::new());
    for (id, vat) in block.tables().vats.iter() {
        vats += 1;
        let (word, reason) = match &vat.status {
            Status::Running => continue,
            Status::Paused { reason } => ("paused", reason),
            Status::Terminated { reason, .. } => ("terminated", reason),
        };
        not_running.push(json!({ "id": id.to_string(), "name": vat.name, "status": word, "reason": reason }));
    }
    let last = block.tables().applied.iter().map(|(_, it)| it).max_by_key(|it| it.crank);
    status["engineVersion"] = block.tables().engine_version().into();
    status["cranks"] = globals.next_crank.0.into();
    status["deliveries"] = globals.deliveries.into();
    status["vats"] = vats.into();
    status["notRunning"] = not_running.into();
    status["lastDirective"] = last.map(|it| json!({ "line": it.text, "crank": it.crank.0 })).unwrap_or_default();
    status
}
