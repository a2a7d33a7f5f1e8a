//! What a call of a served host costs, beside a bare echo of the same bodies: `cargo bench --bench serve [seconds [option of
//! serve…]]`, as in `cargo bench --bench serve -- 3 --block-wait 5`.
//!
//! ```text
//!   64 connections ─▶ vathost serve vats/bank   (message, answer, a commit that they share)
//!   64 connections ─▶ an axum echo              (in a process of its own)         in turns, in one run
//!    1 connection  ─▶ the same host             beside a bare SQLite commit of one row
//! ```
//!
//! The load comes from this process, on the same cores. The shares and ratios are medians over the rounds.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark prints, and reads the clock"
)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use axum::{Router, body::Bytes as Body, routing::post};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1, header, server};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rusqlite::Connection;
use tokio::net::{TcpListener, TcpStream};

/// Connections that call at once.
const CONNECTIONS: usize = 64;

/// Turns of host and echo.
const ROUNDS: usize = 5;

/// The call that is measured, and what both servers answer.
const CALL: &str = r#"{"method":"balance"}"#;
const ANSWER: &str = "{\"status\":\"fulfilled\",\"value\":100}\n";

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match args.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo()),
        Some(seconds) => {
            let seconds = seconds.parse().context("a number of seconds")?;
            measure(&runtime, Duration::from_secs(seconds), args.get(1..).unwrap_or_default())
        }
        None => measure(&runtime, Duration::from_secs(3), &[]),
    }
}

/// Answers every POST with the same body as the host.
async fn echo() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("http://{}", listener.local_addr()?);
    let answer = post(|_call: Body| async { ([(header::CONTENT_TYPE, "application/json")], ANSWER) });
    let routes = TowerToHyperService::new(Router::new().route("/cap/{token}", answer));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), routes.clone()));
    }
}

/// A server in a process of its own; it ends with this value.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a server that writes its address to its standard error.
    fn start(command: &mut Command) -> anyhow::Result<Server> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no output")?).lines();
        let first = loop {
            let Some(line) = lines.next() else { bail!("{command:?} ended") };
            let line = line?;
            if line.contains("http://") {
                break line;
            }
        };
        let at = first.split("http://").nth(1).context("no address")?;
        let at = at.split([';', ' ']).next().unwrap_or(at);
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Server { child, address: at.parse()? })
    }
}

/// One connection that is kept open.
struct Caller {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Caller {
    async fn connect(address: SocketAddr) -> anyhow::Result<Caller> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Caller { sender, host: address.to_string() })
    }

    async fn call(&mut self, path: &str, body: &'static str) -> anyhow::Result<Bytes> {
        let request = Request::post(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from_static(body.as_bytes())))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

/// Latencies of calls, in the order of their length.
struct Latencies(Vec<Duration>);

impl Latencies {
    /// Returns the latency that so many of a hundred calls do not exceed.
    fn percentile(&self, hundredths: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * hundredths / 100).copied().unwrap_or_default()
    }
}

/// Calls from many connections for a time; each waits for its answer, and for its turn if there is a pace.
async fn load(
    address: SocketAddr,
    path: &str,
    connections: usize,
    time: Duration,
    pace: Option<Duration>,
) -> anyhow::Result<Latencies> {
    let mut callers = Vec::new();
    for _ in 0..connections {
        callers.push(Caller::connect(address).await?);
    }
    let begun = Instant::now();
    let tasks = callers.into_iter().enumerate().map(|(number, mut caller)| {
        let path = path.to_owned();
        // Spread over the pace, so that they do not come all at once.
        let mut due = begun + pace.unwrap_or_default().mul_f64(number as f64 / connections as f64);
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while begun.elapsed() < time {
                let from = match pace {
                    Some(pace) => {
                        tokio::time::sleep_until(due.into()).await;
                        // From when it was due, not from when it could be sent: waiting counts.
                        let from = due;
                        due += pace;
                        from
                    }
                    None => Instant::now(),
                };
                let answer = caller.call(&path, CALL).await?;
                ensure!(answer == ANSWER.as_bytes(), "{}", String::from_utf8_lossy(&answer));
                taken.push(from.elapsed());
            }
            Ok(taken)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    all.sort_unstable();
    Ok(Latencies(all))
}

/// Returns how long bare commits of one row take, each durable, as the host's are.
fn bare_commits(folder: &Path, commits: usize) -> anyhow::Result<Latencies> {
    let database = Connection::open(folder.join("bare"))?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.pragma_update(None, "synchronous", "full")?;
    database.execute_batch("create table if not exists row (id integer primary key, value blob)")?;
    let mut taken = Vec::new();
    for _ in 0..commits {
        let begun = Instant::now();
        database.execute("insert into row (value) values (zeroblob(200))", [])?;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    Ok(Latencies(taken))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn measure(runtime: &tokio::runtime::Runtime, time: Duration, options: &[String]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let vats = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/bank");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_vathost"));
    serve
        .arg("serve")
        .arg(vats)
        .args(["--listen", "127.0.0.1:0", "--state"])
        .arg(folder.path().join("state"))
        .args(options);
    let host = Server::start(&mut serve)?;
    let echo = Server::start(Command::new(std::env::current_exe()?).arg("echo"))?;
    let path = runtime.block_on(purse(host.address))?;

    let (mut shares, mut most, mut singles, mut above) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let echoed = runtime.block_on(load(echo.address, &path, CONNECTIONS, time, None))?;
        let called = runtime.block_on(load(host.address, &path, CONNECTIONS, time, None))?;
        let [echoed, called] = [echoed, called].map(|it| it.0.len() as f64 / time.as_secs_f64());
        println!("64 connections: {called:.0} durable calls a second, the echo {echoed:.0}: {:.2}", called / echoed);
        shares.push(called / echoed);
        most.push(called);
        let commit = bare_commits(folder.path(), 500)?.percentile(50);
        let single = runtime.block_on(load(host.address, &path, 1, time, None))?.percentile(50);
        println!("1 connection: p50 {:.0} µs, a bare commit {:.0} µs", micros(single), micros(commit));
        singles.push(micros(single));
        above.push(micros(single) / (1.3 * micros(commit) + 100.0));
    }
    let half = Duration::from_secs_f64(2.0 * CONNECTIONS as f64 / median(most.clone()));
    let tails = (0..ROUNDS).map(|_| {
        let paced = runtime.block_on(load(host.address, &path, CONNECTIONS, time, Some(half)))?;
        println!(
            "half of the load: {:.0} calls a second, p50 {:.1} ms, p99 {:.1} ms",
            paced.0.len() as f64 / time.as_secs_f64(),
            micros(paced.percentile(50)) / 1e3,
            micros(paced.percentile(99)) / 1e3
        );
        anyhow::Ok(micros(paced.percentile(99)) / 1e3)
    });
    let tails = tails.collect::<anyhow::Result<Vec<f64>>>()?;
    println!();
    println!(
        "durable calls a second, 64 connections   {:>8.0}   {:.2} × the echo    (to reach: 0.4)",
        median(most),
        median(shares)
    );
    println!(
        "one connection, p50                      {:>5.0} µs   {:.2} × (1.3 commits + 100 µs)   (to reach: 1)",
        median(singles),
        median(above)
    );
    println!("p99 at half of the highest load          {:>5.1} ms   (to reach: 10 ms)", median(tails));
    Ok(())
}

/// Makes a purse of 100, and returns its path.
async fn purse(address: SocketAddr) -> anyhow::Result<String> {
    let mut caller = Caller::connect(address).await?;
    let answer = caller.call("/cap/north", r#"{"method":"makePurse","args":[100]}"#).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let path = answer.pointer("/value/@cap").and_then(|it| it.as_str());
    Ok(path.with_context(|| format!("no purse: {answer}"))?.to_owned())
}
