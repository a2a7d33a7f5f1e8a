//! The surface of a node over HTTP: that of `vathost serve`, with consensus behind it.
//!
//! | request | what it does |
//! | --- | --- |
//! | `POST /cap/NAME` | sends `{"method": "…", "args": […]}` to an exported vat, on a chain that is open to everybody; answers with what the vat says |
//! | `POST /submit` | takes a submission, signed or not: 202 with its id |
//! | `GET /result/ID` | what became of a submission; `?wait=S`: as soon as there is an answer, after S seconds at the most |
//! | `GET /block/H` | the decided block of a height, with its certificate and its result |
//! | `GET /mailbox` | the mailbox's messages to the outside that nobody has acknowledged; `?from=N` |
//! | `GET /status`, `/healthz`, `/metrics`, `/genesis`, `/` | where the node stands, for programs and for people |
//!
//! Invariants: nothing is said of a block before it is committed; what a request may take of memory, and how many there are at a time, is
//! bounded; a page of another site cannot submit anything.

mod metrics;
mod page;
mod routes;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_malachitebft_app_channel::NetworkRequest;
use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
pub use metrics::NodeMetrics;
pub(crate) use routes::SubmissionBody;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::Instant,
};
use vathost::model::blame::HostFault;

use crate::{
    desk::{Gone, KernelDesk},
    driver::{Halted, SubmissionState},
    engine::Gossip,
    genesis::Genesis,
    home::Settings,
    keys::Digest,
    submit::{INPUT_BYTES_MAX, Refusal, Submission},
};

/// The most bytes of a request's body: the input of a submission, as JSON in JSON.
const BODY_BYTES_MAX: usize = 3 * INPUT_BYTES_MAX;

/// The most requests under way. One more is told to come again.
const REQUESTS_MAX: usize = 1_024;

/// The most submissions of one address in a second.
const SUBMISSIONS_PER_SECOND: u32 = 2_000;

/// The addresses whose submissions are counted: with more of them all counts begin anew.
const ADDRESSES_MAX: usize = 10_000;

/// The time for which an answer is waited for, where nobody says how long.
const CALL_TIME: Duration = Duration::from_secs(30);

/// The longest time for which somebody may wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The things that all requests share.
pub struct Surface {
    name: String,
    genesis: Arc<Genesis>,
    chain: Digest,
    desk: KernelDesk,
    gossip: Gossip,
    network: mpsc::Sender<NetworkRequest>,
    metrics: Arc<NodeMetrics>,
    requests: Semaphore,
    rates: Mutex<BTreeMap<std::net::IpAddr, (Instant, u32)>>,
}

type Site = State<Arc<Surface>>;

/// A refusal, as `vathost serve` words one.
struct Problem(vathost::serve::Problem);

impl Problem {
    fn new(kind: &'static str, detail: impl Into<String>) -> Problem {
        Problem(vathost::serve::Problem::new(kind, detail))
    }

    fn busy(detail: impl Into<String>) -> Problem {
        Problem(vathost::serve::Problem::busy(detail))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.0.object().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Gone> for Problem {
    fn from(gone: Gone) -> Problem {
        Problem::new("stopping", gone.to_string())
    }
}

impl From<Halted> for Problem {
    fn from(halted: Halted) -> Problem {
        let kind = if halted.exit_code() == 70 { "kernel-panic" } else { "halted" };
        Problem::new(kind, halted.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let text = refusal.to_string();
        match refusal {
            Refusal::Malformed(_) | Refusal::Expired { .. } => Problem::new("malformed", text),
            Refusal::Unauthorized(_) => {
                Problem(vathost::serve::Problem { status: 401, ..Problem::new("refused", text).0 })
            }
            Refusal::Duplicate(id) => Problem(
                vathost::serve::Problem { status: 409, ..Problem::new("refused", text).0 }.with("id", id.to_string()),
            ),
            Refusal::Busy(_) => Problem::busy(text),
        }
    }
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (status, headers, value.to_string() + "\n").into_response()
}

impl Surface {
    /// Makes what the requests of a node share.
    pub fn new(
        settings: &Settings,
        genesis: Arc<Genesis>,
        desk: KernelDesk,
        gossip: Gossip,
        network: mpsc::Sender<NetworkRequest>,
        metrics: Arc<NodeMetrics>,
    ) -> Arc<Surface> {
        Arc::new(Surface {
            name: settings.name.clone(),
            chain: genesis.id(),
            genesis,
            desk,
            gossip,
            network,
            metrics,
            requests: Semaphore::new(REQUESTS_MAX),
            rates: Mutex::default(),
        })
    }

    /// Takes a submission in, and passes it on to the other nodes, once.
    async fn submit(&self, submission: Submission) -> Result<Result<Digest, Refusal>, Problem> {
        if let Some(report) = self.desk.halt() {
            return Err(Problem::new(if report.exit_code == 70 { "kernel-panic" } else { "halted" }, report.text));
        }
        let taken = submission.clone();
        let id = self.desk.ask(move |driver| driver.submit(taken)).await?;
        if id.is_ok() {
            self.metrics.submitted();
            // Without the engine's loop the node is ending.
            let _ = self.gossip.send(submission).await;
        }
        Ok(id)
    }

    /// Returns what becomes of a submission, as soon as it is settled, at the latest after this time.
    async fn follow(&self, id: Digest, time: Duration) -> Result<SubmissionState, Problem> {
        let until = Instant::now() + time.min(WAIT_MAX);
        let mut height = self.desk.height();
        loop {
            height.mark_unchanged();
            let state = self.desk.ask(move |driver| driver.submission(&id)).await??;
            let is_settled = matches!(&state, SubmissionState::InBlock(answer) if answer.status != "pending");
            if is_settled || matches!(state, SubmissionState::Unknown) && time.is_zero() {
                return Ok(state);
            }
            if self.desk.halt().is_some() {
                return Ok(state);
            }
            tokio::select! {
                changed = height.changed() => if changed.is_err() { return Err(Gone.into()) },
                () = tokio::time::sleep_until(until) => return Ok(state),
            }
        }
    }

    /// Counts a submission of an address, and refuses one too many in a second.
    fn count(&self, address: std::net::IpAddr) -> Result<(), Problem> {
        let Ok(mut rates) = self.rates.lock() else { return Ok(()) };
        if rates.len() > ADDRESSES_MAX {
            rates.clear();
        }
        let now = Instant::now();
        let (since, count) = rates.entry(address).or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count > SUBMISSIONS_PER_SECOND {
            return Err(Problem::busy(format!(
                "{SUBMISSIONS_PER_SECOND} submissions a second are taken of one address"
            )));
        }
        Ok(())
    }
}

/// Begins to answer requests at this address, until the answer is aborted.
pub async fn begin(address: &str, surface: Arc<Surface>) -> Result<JoinHandle<()>, HostFault> {
    let bad = |err: std::io::Error| HostFault::new(format_args!("listen at {address} (`http` in node.toml)"), err);
    let listener = TcpListener::bind(address).await.map_err(bad)?;
    let router = Router::new()
        .route("/", get(page::page))
        .route("/cap/{name}", post(routes::call))
        .route("/submit", post(routes::submit))
        .route("/result/{id}", get(routes::result))
        .route("/block/{height}", get(routes::block))
        .route("/mailbox", get(routes::mailbox))
        .route("/genesis", get(routes::genesis))
        .route("/status", get(routes::status))
        .route("/healthz", get(routes::health))
        .route("/metrics", get(routes::metrics))
        .fallback(|| async { Problem::new("no-capability", "there is nothing at this path: see docs/validators.md") })
        .method_not_allowed_fallback(|| async { Problem::new("method-not-allowed", "see docs/validators.md") })
        .layer(middleware::from_fn_with_state(surface.clone(), admit))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(surface);
    let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    Ok(tokio::spawn(async move {
        // It ends when it is aborted.
        let _ = axum::serve(listener, service).await;
    }))
}

/// Lets a request in, if there are not too many, and if no web page of another site sent it.
async fn admit(State(surface): Site, request: Request, next: Next) -> Response {
    let Ok(_permit) = surface.requests.try_acquire() else {
        return Problem::busy(format!("{REQUESTS_MAX} requests are under way")).into_response();
    };
    if let Err(problem) = check_origin(request.headers()) {
        return problem.into_response();
    }
    if request.method() == axum::http::Method::POST {
        let address = request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().map(|it| it.0.ip());
        if let Some(Err(problem)) = address.map(|it| surface.count(it)) {
            return problem.into_response();
        }
    }
    next.run(request).await
}

/// Refuses what a page of another site sends.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let origin = origin.to_str().unwrap_or_default();
    if origin.split_once("://").is_some_and(|(_, host)| host == own) {
        return Ok(());
    }
    Err(Problem::new("foreign-origin", format!("`{}` is not this node's own page", origin.escape_debug())))
}

/// Returns what became of a submission, as an object.
fn object_of(id: &Digest, state: &SubmissionState) -> Value {
    let mut object = match state {
        SubmissionState::Waiting => json!({ "status": "waiting" }),
        SubmissionState::Unknown => json!({ "status": "unknown" }),
        SubmissionState::InBlock(answer) => {
            let mut object = serde_json::to_value(answer).unwrap_or_default();
            if let Some(value) = value_of(answer) {
                object[if answer.status == "rejected" { "reason" } else { "value" }] = value;
            }
            object
        }
    };
    object["id"] = id.to_string().into();
    object
}

/// Returns an answer's body as plain JSON; what it names is `@ko31`.
fn value_of(answer: &crate::store::SubmissionAnswer) -> Option<Value> {
    let body = answer.body.as_ref()?.strip_prefix('#')?;
    let body = serde_json::from_str(body).ok()?;
    Some(vathost::model::smallcaps::to_program(&body, &|at| answer.slots.get(at).cloned()))
}
