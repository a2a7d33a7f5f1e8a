//! The HTTP surface: what is routed where, and what holds for every request.

mod cap;
mod control;
mod promise;
mod socket;
mod watch;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    model::smallcaps,
    serve::{
        ServeOptions,
        ask::{DeskRequest, Reply},
        bounds::Bounds,
        desk::Desk,
        inbox::{CLIENT, Client, Inbox, current_client},
        journal::{Paced, ServeEvent},
        listen::Peer,
        metrics::Metrics,
        problem::Problem,
    },
};

/// The rules of who may speak to a server, and from where.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    /// Names that the Host header may have, in addition to the address that is listened at.
    pub hosts: Vec<String>,
    /// Web pages' origins that may read answers. None, unless named.
    pub origins: Vec<String>,
    /// Whether exported names are open: not to whoever reaches an address of a network, unless that is wanted.
    pub names_are_open: bool,
}

/// The state that all requests share.
pub(super) struct Shared {
    inbox: Arc<Inbox>,
    journal: Arc<Paced>,
    pub(super) bounds: Bounds,
    pub(super) metrics: Arc<Metrics>,
    gate: Gate,
    listening: Option<SocketAddr>,
    /// The folder of the state.
    pub(super) folder: PathBuf,
    /// The secret that the tokens of calls with keys are made from.
    pub(super) secret: crate::serve::CapToken,
    /// Readers of server-sent events.
    readers: AtomicUsize,
    /// Requests that became sockets.
    sockets: AtomicU64,
}

type Site = State<Arc<Shared>>;

impl Shared {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        journal: Arc<Paced>,
        metrics: Arc<Metrics>,
        listening: Option<SocketAddr>,
        options: &ServeOptions,
    ) -> Arc<Shared> {
        let ServeOptions { bounds, gate, folder, secret, .. } = options.clone();
        let (readers, sockets) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Shared { inbox, journal, bounds, metrics, gate, listening, folder, secret, readers, sockets })
    }

    /// Asks the kernel's thread, and waits for its answer for so long; `None` if there is none in time.
    async fn ask<T>(
        &self,
        ask: impl FnOnce(Reply<T>) -> DeskRequest,
        patience: Duration,
    ) -> Result<Option<T>, Problem> {
        let (reply, mut answer) = oneshot::channel();
        self.put(ask(reply))?;
        let gone = |_| Problem::new("halted", "the host ended while it was asked: try again when it is up");
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(answer) => answer.map_err(gone)?.map(Some),
            Err(_) => {
                // What was told at the last moment is taken; after this nothing can be.
                answer.close();
                answer.try_recv().ok().transpose()
            }
        }
    }

    fn put(&self, ask: DeskRequest) -> Result<(), Problem> {
        self.inbox.put(current_client(), ask)
    }

    /// Returns the client that a request is of: its address, and what it speaks to. Each socket is a client of its own.
    fn client_of(&self, request: &Request) -> Client {
        let Some(Peer(address)) = request.extensions().get::<Peer>().copied() else { return Client::OWNER };
        let path = request.uri().path();
        let last = path.split('/').nth(2).unwrap_or_default();
        if request.headers().contains_key(header::UPGRADE) {
            return Client { address: Some(address), way: self.sockets.fetch_add(1, Ordering::Relaxed) };
        }
        Client::at(address, last)
    }

    /// Tells the operator of a request that was refused: without what it names, which may be a token.
    fn tell_refusal(&self, client: Client, route: String, response: &Response) {
        let status = response.status().as_u16();
        let problem = response.extensions().get::<ProblemKind>().map_or("", |it| it.0);
        let client = client.address;
        self.metrics.refused("refused");
        self.journal.tell(&match problem {
            "busy" => ServeEvent::Limited { what: "requests", client },
            _ => ServeEvent::Refused { status, problem, route, client },
        });
    }

    /// Does something on the kernel's thread.
    async fn errand<T: Send + 'static>(
        &self,
        patience: Duration,
        errand: impl FnOnce(&mut Desk<'_>, Reply<T>) + Send + 'static,
    ) -> Result<T, Problem> {
        let done = self.ask(|reply| DeskRequest::Errand(Box::new(|desk| errand(desk, reply))), patience).await?;
        done.ok_or_else(|| Problem::new("not-yet", "the host is in the middle of a block: try again"))
    }

    /// Reads a request's body as JSON, within its bounds.
    async fn json(&self, body: Body) -> Result<(Vec<u8>, Value), Problem> {
        let max = self.bounds.body_bytes;
        let too_large = || Problem::new("too-large", format!("a body has {max} bytes at the most"));
        // One that says so itself is not waited for.
        if body.size_hint().lower() > max as u64 {
            return Err(too_large());
        }
        let read = tokio::time::timeout(self.bounds.body_time, to_bytes(body, max)).await;
        let Ok(read) = read else {
            let seconds = self.bounds.body_time.as_secs();
            return Err(Problem::new("slow-body", format!("it was not there after {seconds} seconds")));
        };
        let bytes = read.map_err(|err| {
            let source = std::error::Error::source(&err);
            match source.is_some_and(|it| it.is::<http_body_util::LengthLimitError>()) {
                true => too_large(),
                false => Problem::new("malformed", format!("the body did not come: {err}")),
            }
        })?;
        let value =
            smallcaps::read_json(&bytes).map_err(|why| Problem::new("malformed", format!("the body: {why}")))?;
        Ok((bytes.into(), value))
    }

    /// Refuses a request that a web page sent to a name of its own which leads here (DNS rebinding).
    fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(listening) = self.listening else { return Ok(()) };
        let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let is_own = bare.parse().is_ok_and(|ip: std::net::IpAddr| ip == listening.ip() || ip.is_loopback());
        let is_local = bare.eq_ignore_ascii_case("localhost") && listening.ip().is_loopback();
        let is_named = self.gate.hosts.iter().any(|it| it.eq_ignore_ascii_case(host) || it.eq_ignore_ascii_case(bare));
        if is_own || is_local || is_named {
            return Ok(());
        }
        Err(Problem::new("foreign-host", format!("`{host}` is not this host: give it --host `{bare}` if it is")))
    }

    /// Refuses what a web page sends whose origin was not named: a browser lets every page send to every address.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match headers.get(header::ORIGIN) {
            Some(_) if self.allowed_origin(headers).is_none() => Err(Problem::new(
                "foreign-origin",
                "start the host with --allow-origin to let pages of this origin speak to it",
            )),
            _ => Ok(()),
        }
    }

    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        self.gate.origins.iter().any(|it| it == text).then(|| origin.clone())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, kind, format!("{}\n", self.object())).into_response();
        response.extensions_mut().insert(ProblemKind(self.kind));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The kind of the problem that a response tells.
#[derive(Debug, Clone, Copy)]
struct ProblemKind(&'static str);

/// Makes a response of JSON, one line.
fn json(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

/// The routes for everybody who reaches the address.
pub(super) fn public(shared: Arc<Shared>) -> Router {
    routes().layer(middleware::from_fn_with_state(shared.clone(), guard)).with_state(shared)
}

/// The routes for whoever may open the control socket: everybody's, and an administrator's.
pub(super) fn control(shared: Arc<Shared>) -> Router {
    routes().merge(control::routes()).with_state(shared)
}

fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/cap/{name}", post(cap::call).delete(cap::drop_token))
        .route("/promise/{id}", get(promise::look).delete(cap::drop_token))
        .route("/promise/{id}/events", get(promise::events))
        .route("/captp", get(socket::captp))
        .route("/healthz", get(watch::health))
        .route("/status", get(watch::status))
        .route("/metrics", get(watch::metrics))
        .fallback(|| async { Problem::new("no-capability", "there is nothing at this path: see docs/serve.md") })
        .method_not_allowed_fallback(|| async {
            Problem::new("method-not-allowed", "POST sends to /cap/…, GET looks at /promise/…, DELETE drops either")
        })
}

/// Checks what holds for every request, and marks every response.
async fn guard(State(shared): Site, request: Request, next: Next) -> Response {
    let origin = shared.allowed_origin(request.headers());
    let checked = shared.check_host(request.headers()).and_then(|()| shared.check_origin(request.headers()));
    let client = shared.client_of(&request);
    let route = route_of(&request);
    let mut response = match checked {
        Err(why) => why.into_response(),
        Ok(()) if request.method() == Method::OPTIONS && origin.is_some() => preflight(),
        Ok(()) => CLIENT.scope(client, next.run(request)).await,
    };
    if response.status().as_u16() >= 400 {
        shared.tell_refusal(client, route, &response);
    }
    let headers = response.headers_mut();
    // An answer holds capabilities: nobody keeps it, and nothing tells where it came from.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// Returns the method and the first part of a path: what stands behind it may be a token.
fn route_of(request: &Request) -> String {
    let known = ["cap", "promise", "captp", "healthz", "status", "metrics"];
    let first = request.uri().path().split('/').nth(1).filter(|it| known.contains(it)).unwrap_or("…");
    let method = if request.method().as_str().len() <= 7 { request.method().as_str() } else { "…" };
    format!("{method} /{first}")
}

/// Tells a browser what a page of an origin that is allowed may send.
fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, idempotency-key, prefer"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Holds a place among the readers of server-sent events.
struct EventReader(Arc<Shared>);

impl EventReader {
    fn take(shared: &Arc<Shared>) -> Result<EventReader, Problem> {
        let before = shared.readers.fetch_add(1, Ordering::Relaxed);
        let reader = EventReader(shared.clone());
        if before >= shared.bounds.readers {
            return Err(Problem::busy(
                "as many read events as the host lets: ask with GET /promise/ID?wait=30 instead",
            ));
        }
        Ok(reader)
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}
