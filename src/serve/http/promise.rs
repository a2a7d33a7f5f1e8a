//! Promises: asked once, waited for, or followed.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Path, Query, State},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde::Deserialize;
use serde_json::json;

use super::{EventReader, Shared, Site, cap};
use crate::serve::{
    ask::{DeskRequest, KnownAnswer},
    problem::Problem,
    token::CapToken,
};

/// Between two signs of life of a stream: proxies end one that is silent for a minute.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// The query of a request that waits: for how many seconds.
#[derive(Deserialize)]
pub(super) struct WaitQuery {
    #[serde(default)]
    wait: u64,
}

fn token(id: &str) -> Result<CapToken, Problem> {
    CapToken::parse(id).ok_or_else(|| Problem::new("no-capability", "this is no token"))
}

/// Tells what a promise is, after so many seconds at the most.
pub(super) async fn look(
    State(shared): Site,
    Path(id): Path<String>,
    waiting: Result<Query<WaitQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(WaitQuery { wait }) =
        waiting.map_err(|_| Problem::new("malformed", "`wait` is a number of seconds, as in ?wait=30"))?;
    let id = token(&id)?;
    let patience = Duration::from_secs(wait).min(shared.bounds.call_time);
    // Without waiting there is still the way to the kernel's thread and back.
    let told = match wait {
        0 => shared.ask(|reply| DeskRequest::Look { id, waits: false, reply }, shared.bounds.call_time).await?,
        _ => shared.ask(|reply| DeskRequest::Look { id, waits: true, reply }, patience).await?,
    };
    Ok(match told {
        Some(told @ KnownAnswer::Settled { .. }) => cap::settled(&told, Some(id)),
        Some(KnownAnswer::Pending) | None => cap::pending(id),
    })
}

/// Follows a promise: one event when it is settled, and the end.
pub(super) async fn events(State(shared): Site, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = token(&id)?;
    let reader = EventReader::take(&shared)?;
    // A promise that is not there is told by a status, and not by an event.
    shared.ask(|reply| DeskRequest::Look { id, waits: false, reply }, shared.bounds.call_time).await?;
    let stream = futures_util::stream::once(async move {
        let event = follow(&shared, id).await;
        drop(reader);
        Ok::<_, Infallible>(event)
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)).into_response())
}

async fn follow(shared: &Shared, id: CapToken) -> Event {
    loop {
        match shared.ask(|reply| DeskRequest::Look { id, waits: true, reply }, shared.bounds.call_time).await {
            Ok(Some(KnownAnswer::Settled { is_rejected: false, value })) => {
                return Event::default().event("fulfilled").data(json!({ "value": value }).to_string());
            }
            Ok(Some(KnownAnswer::Settled { is_rejected: true, value })) => {
                return Event::default().event("rejected").data(json!({ "reason": value }).to_string());
            }
            Ok(Some(KnownAnswer::Pending) | None) => (),
            Err(problem) => return Event::default().event("problem").data(problem.object().to_string()),
        }
    }
}
