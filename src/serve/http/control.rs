//! An administrator's acts, over the control socket only: each is an input of the next block, recorded and replayed like any other.

use axum::{
    Router,
    body::Body,
    extract::State,
    http::StatusCode,
    response::Response,
    routing::post,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Shared, Site};
use crate::{
    host::controller::{Arg, Outcome, Sent, To, VatAct},
    model::id::{KRef, VatId},
    serve::{ask::Reply, desk::Desk, problem::Problem},
};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control/send", post(send))
        .route("/control/call", post(call))
        .route("/control/vat", post(act))
}

/// A message, as `vathost send` takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    to: String,
    method: String,
    #[serde(default)]
    args: Vec<Value>,
}

/// What is to be done to a vat.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "act")]
enum Act {
    Pause { vat: String, reason: String },
    Resume { vat: String },
    Terminate { vat: String, reason: String },
}

async fn read<T: DeserializeOwned>(shared: &Shared, body: Body) -> Result<T, Problem> {
    let (_, value) = shared.json(body).await?;
    serde_json::from_value(value).map_err(|err| Problem::new("malformed", err.to_string()))
}

/// Sends a message, which is durable when this is answered.
async fn send(State(shared): Site, body: Body) -> Result<Response, Problem> {
    let message: Message = read(&shared, body).await?;
    let patience = shared.bounds.call_time;
    let sent = shared.errand(patience, move |desk, reply| match send_as_told(desk, &message) {
        Ok(sent) => desk.when_durable(reply, sent),
        Err(why) => drop(reply.send(Err(why))),
    });
    let sent = sent.await?;
    let answer = shared.errand(patience, move |desk, reply| answer_now(desk, sent, reply)).await?;
    Ok(super::json(StatusCode::OK, &answer))
}

/// Sends a message, and waits for its answer.
async fn call(State(shared): Site, body: Body) -> Result<Response, Problem> {
    let message: Message = read(&shared, body).await?;
    let patience = shared.bounds.call_time;
    let answer = shared.errand(patience, move |desk, reply| match send_as_told(desk, &message) {
        Ok(sent) => desk.when_rested(Box::new(move |desk| answer_now(desk, sent, reply))),
        Err(why) => drop(reply.send(Err(why))),
    });
    Ok(super::json(StatusCode::OK, &answer.await?))
}

fn send_as_told(desk: &mut Desk<'_>, message: &Message) -> Result<Sent, Problem> {
    let to = match message.to.parse::<KRef>() {
        Ok(kref) => To::Held(kref),
        Err(_) => To::Vat(find(desk, &message.to)?),
    };
    let given = message.args.iter().cloned().map(Arg::Told);
    let sent = desk.host.send(to, &message.method, given);
    sent.inspect(|it| desk.note_call(it.promise())).map_err(|fault| Problem::new("refused", fault.why))
}

/// Finds a vat by its number or its name.
fn find(desk: &Desk<'_>, name: &str) -> Result<VatId, Problem> {
    let none = || Problem::new("refused", format!("there is no vat `{name}`"));
    let block = desk.host.block().map_err(|_| none())?;
    let tables = block.tables();
    if let Some(vat) = name.parse().ok().filter(|it| tables.vats.contains(it)) {
        return Ok(vat);
    }
    let mut named = tables.vats.iter().filter(|(_, row)| row.name == name).map(|(vat, _)| *vat);
    match (named.next(), named.next()) {
        (Some(vat), None) => Ok(vat),
        (Some(one), Some(other)) => {
            Err(Problem::new("refused", format!("`{name}` is {one} and {other}, at least: name one by its number")))
        }
        (None, _) => Err(none()),
    }
}

fn answer_now(desk: &mut Desk<'_>, sent: Sent, reply: Reply<Value>) {
    let standing = desk.host.standing();
    let mut answer = json!({
        "promise": sent.promise().to_string(), "status": "pending", "height": standing.height, "stateHash": standing.state_hash,
    });
    let (status, data) = match desk.host.outcome(sent) {
        Ok(Outcome::Fulfilled(data)) => ("fulfilled", Some(data)),
        Ok(Outcome::Rejected(data)) => ("rejected", Some(data)),
        Ok(Outcome::Pending) | Err(_) => ("pending", None),
    };
    answer["status"] = status.into();
    if let Some(data) = data {
        answer["body"] = String::from_utf8_lossy(&data.body).into();
        answer["slots"] = data.slots.iter().map(ToString::to_string).collect();
    }
    let _ = reply.send(Ok(answer));
}

/// Pauses, resumes or terminates a vat.
async fn act(State(shared): Site, body: Body) -> Result<Response, Problem> {
    let act: Act = read(&shared, body).await?;
    let (name, act) = match act {
        Act::Pause { vat, reason } => (vat, VatAct::Pause(reason)),
        Act::Resume { vat } => (vat, VatAct::Resume),
        Act::Terminate { vat, reason } => (vat, VatAct::Terminate(reason)),
    };
    let done = shared.errand(shared.bounds.call_time, move |desk, reply| {
        let ordered = find(desk, &name).and_then(|vat| {
            desk.host.administrate(vat, act).map(|()| vat).map_err(|fault| Problem::new("refused", fault.why))
        });
        match ordered {
            Ok(vat) => desk.when_durable(reply, vat),
            Err(why) => drop(reply.send(Err(why))),
        }
    });
    let vat = done.await?;
    Ok(super::json(StatusCode::OK, &json!({ "vat": vat.to_string() })))
}
