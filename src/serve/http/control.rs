//! An administrator's acts, over the control socket only: each is an input of the next block, recorded and replayed like any other.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::State, http::StatusCode, response::Response, routing::post};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Shared, Site};
use crate::{
    host::{
        controller::{Arg, Outcome, Sent, To, VatAct, expired},
        scenario::Scenario,
    },
    kernel::Halt,
    model::{
        body,
        id::{KRef, VatId},
    },
    serve::{ask::Reply, desk::Desk, problem::Problem},
    state::{block::history, retention::Keep},
    store::Database,
};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control/send", post(send))
        .route("/control/call", post(call))
        .route("/control/vat", post(act))
        .route("/control/install", post(install))
        .route("/control/upgrade", post(upgrade))
        .route("/control/prune", post(prune))
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

/// A scenario on this machine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedScenario {
    scenario: PathBuf,
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
    sent.inspect(|it| desk.note_call(it.promise())).map_err(|fault| Problem::new("refused", fault.why.clone()))
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
        Ok(Outcome::Expired(_)) => ("expired", None),
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
            desk.host.administrate(vat, act).map(|()| vat).map_err(|fault| Problem::new("refused", fault.why.clone()))
        });
        match ordered {
            Ok(vat) => desk.when_durable(reply, vat),
            Err(why) => drop(reply.send(Err(why))),
        }
    });
    let vat = done.await?;
    Ok(super::json(StatusCode::OK, &json!({ "vat": vat.to_string() })))
}

/// Adds those vats of a scenario that the state does not have.
async fn install(State(shared): Site, body: Body) -> Result<Response, Problem> {
    let scenario = read_scenario(&shared, body).await?;
    let added = shared.errand(shared.bounds.call_time, move |desk, reply| {
        desk.when_rested(Box::new(move |desk| {
            let policy = desk.policy;
            let _ = reply.send(desk.host.add(&scenario, &policy).map_err(refused));
        }));
    });
    let added = added.await?;
    Ok(super::json(StatusCode::OK, &json!({ "added": added })))
}

/// Upgrades the vats whose code is another in a scenario, and tells how each went.
async fn upgrade(State(shared): Site, body: Body) -> Result<Response, Problem> {
    let scenario = read_scenario(&shared, body).await?;
    let upgraded = shared.errand(shared.bounds.call_time, move |desk, reply| {
        desk.when_rested(Box::new(move |desk| {
            let policy = desk.policy;
            match desk.host.upgrade(&scenario, &policy) {
                Ok(queued) => desk.when_rested(Box::new(move |desk| drop(reply.send(Ok(outcomes(desk, &queued)))))),
                Err(halt) => drop(reply.send(Err(refused(halt)))),
            }
        }));
    });
    let upgraded = upgraded.await?;
    Ok(super::json(StatusCode::OK, &json!({ "upgraded": upgraded })))
}

/// What is to leave the state for good.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToPrune {
    /// How much of the transcripts to keep, if not what the host keeps.
    #[serde(default)]
    keep: Option<String>,
    /// The folder of the archive into which it goes, if not that of the host.
    #[serde(default)]
    archive: Option<PathBuf>,
}

/// Lets leave what is not to be kept, and gives back the disk space that the state does not use, between two blocks: no input, since it
/// changes no row of the kernel's.
async fn prune(State(shared): Site, body: Body) -> Result<Response, Problem> {
    let ToPrune { keep, archive } = read(&shared, body).await?;
    let keep = keep.map(|it| it.parse::<Keep>()).transpose().map_err(|why| Problem::new("malformed", why))?;
    let folder = shared.folder.clone();
    let pruned = shared.errand(PRUNE_TIME, move |desk, reply| {
        let done = (|| {
            let left = history::prune(desk.host.block_mut()?, keep, archive.as_deref(), &mut |_| true)?;
            let compacted = Database::compact(&folder)?;
            Ok(json!({
                "bytesBefore": compacted.bytes_before, "bytesAfter": compacted.bytes_after, "isHeld": compacted.is_held,
                "deliveriesLeft": left.deliveries,
            }))
        })();
        drop(reply.send(done.map_err(|halt: Box<Halt>| Problem::new("unexpected", halt.to_string()))));
    });
    Ok(super::json(StatusCode::OK, &pruned.await?))
}

/// How long whoever gives space back waits for that: the file is written anew.
const PRUNE_TIME: Duration = Duration::from_secs(3_600);

async fn read_scenario(shared: &Shared, body: Body) -> Result<Scenario, Problem> {
    let NamedScenario { scenario } = read(shared, body).await?;
    let read = tokio::task::spawn_blocking(move || Scenario::read(&scenario)).await;
    let read = read.map_err(|err| Problem::new("unexpected", err.to_string()))?;
    read.map_err(|err| Problem::new("refused", err.to_string()))
}

fn refused(halt: Box<Halt>) -> Problem {
    Problem::new("refused", halt.to_string())
}

fn outcomes(desk: &Desk<'_>, queued: &[(VatId, Sent)]) -> Vec<Value> {
    let told = |(vat, sent): &(VatId, Sent)| {
        let (status, reason) = match desk.host.outcome(*sent) {
            Ok(Outcome::Fulfilled(_)) => ("upgraded", None),
            Ok(Outcome::Rejected(data)) => ("as before", Some(body::text_of(&data.body))),
            Ok(Outcome::Expired(blocks)) => ("expired", Some(expired(blocks))),
            Ok(Outcome::Pending) | Err(_) => ("pending", None),
        };
        json!({ "vat": vat.to_string(), "status": status, "reason": reason })
    };
    queued.iter().map(told).collect()
}
