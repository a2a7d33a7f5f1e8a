//! A test network: homes in a folder that is removed, a process a node, and what they say.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest that a test waits for something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_vathost-node");

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the program, and waits for its end.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs the program, which must succeed. Returns what it printed.
#[track_caller]
pub(crate) fn run_well(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the nodes said so far.
#[derive(Default)]
struct Heard {
    events: Mutex<Vec<(usize, Value)>>,
    more: Condvar,
}

/// A network of nodes.
pub(crate) struct Network {
    pub(crate) dir: TempDir,
    pub(crate) count: usize,
    children: Vec<Option<Child>>,
    heard: Arc<Heard>,
    /// The place in the events before which a test has looked already, for each node.
    seen: Vec<usize>,
}

/// A scenario of an honest counter and a vat that settles what it does not decide.
pub(crate) fn forger_scenario(dir: &Path) -> PathBuf {
    let vats = checkout().join("vats").canonicalize().unwrap();
    let text = format!(
        "kernel = 1\n[vats.honest]\nbundle = \"{0}/counter.wasm\"\n[vats.forger]\nbundle = \"{0}/forger.wasm\"\n\
         [exports]\nhonest = \"honest\"\nforger = \"forger\"\n",
        vats.display()
    );
    let path = dir.join("vat.toml");
    fs::write(&path, text).unwrap();
    path
}

pub(crate) const BUG: &str = "resolve-non-decider@crank-0";

impl Network {
    /// Makes the homes of a network for `vats/bank`.
    pub(crate) fn of_bank(count: usize) -> Network {
        Network::new(count, |_| Network::bank(), &["--idle-ms", "200"])
    }

    pub(crate) fn bank() -> PathBuf {
        checkout().join("vats/bank")
    }

    /// Makes the homes of a network whose kernels have the planted bug.
    pub(crate) fn of_forger(count: usize) -> Network {
        Network::new(count, forger_scenario, &["--idle-ms", "200", "--experimental", "--plant", BUG])
    }

    pub(crate) fn new(count: usize, scenario: impl FnOnce(&Path) -> PathBuf, more: &[&str]) -> Network {
        let dir = TempDir::new().unwrap();
        let scenario = scenario(dir.path());
        let (text, number) = (dir.path().to_str().unwrap().to_owned(), count.to_string());
        let mut args = vec!["testnet", "--init-only", "--dir", &text, "--validators", &number];
        args.extend(["--scenario", scenario.to_str().unwrap()]);
        args.extend(more);
        run_well(&args);
        let mut children = Vec::new();
        children.resize_with(count, || None);
        Network { dir, count, children, heard: Arc::default(), seen: vec![0; count] }
    }

    pub(crate) fn home(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    pub(crate) fn home_text(&self, node: usize) -> String {
        self.home(node).to_str().unwrap().to_owned()
    }

    pub(crate) fn start(&mut self, node: usize) {
        self.start_with(node, &[]);
    }

    /// Starts a node with more arguments.
    pub(crate) fn start_with(&mut self, node: usize, more: &[&str]) {
        let mut command = Command::new(PROGRAM);
        command.args(["start", "--log", "json", "--home"]).arg(self.home(node)).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (stderr, heard) = (child.stderr.take().unwrap(), self.heard.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "event": "other", "text": line }));
                heard.events.lock().unwrap().push((node, event));
                heard.more.notify_all();
            }
        });
        self.children[node] = Some(child);
    }

    pub(crate) fn start_all(&mut self) {
        (0..self.count).for_each(|it| self.start(it));
    }

    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.children[node].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks a node to end, and waits for it. Returns its exit code.
    pub(crate) fn stop(&mut self, node: usize) -> i32 {
        let child = self.children[node].as_ref().unwrap();
        let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.ends(node)
    }

    pub(crate) fn stop_all(&mut self) {
        for node in 0..self.count {
            if self.children[node].is_some() {
                self.stop(node);
            }
        }
    }

    /// Waits for a node to end by itself. Returns its exit code, and -1 for a signal.
    #[track_caller]
    pub(crate) fn ends(&mut self, node: usize) -> i32 {
        let until = Instant::now() + PATIENCE;
        let child = self.children[node].as_mut().unwrap();
        while Instant::now() < until {
            if let Some(status) = child.try_wait().unwrap() {
                self.children[node] = None;
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("node-{node} does not end\n{}", self.last_words());
    }

    /// Waits for a node to end by itself, for so many seconds. Returns whether it did.
    pub(crate) fn ends_within(&mut self, node: usize, seconds: u64) -> bool {
        let until = Instant::now() + Duration::from_secs(seconds);
        let child = self.children[node].as_mut().unwrap();
        while Instant::now() < until {
            if child.try_wait().unwrap().is_some() {
                self.children[node] = None;
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Asks a node for the height of its last block.
    pub(crate) fn height(&self, node: usize) -> u64 {
        self.get(node, "/status").1["height"].as_u64().unwrap()
    }

    /// Waits until a node says something that `wanted` takes, and returns it. What was looked at once is not looked at again.
    #[track_caller]
    pub(crate) fn hears(&mut self, node: usize, what: &str, wanted: impl FnMut(&Value) -> bool) -> Value {
        self.hears_in(PATIENCE, node, what, wanted)
    }

    /// Waits until a node has committed a block of this height, for so many seconds more than usual.
    #[track_caller]
    pub(crate) fn reaches_in(&mut self, node: usize, height: u64, seconds: u64) {
        let far = |it: &Value| it["event"] == "block" && it["height"].as_u64() >= Some(height);
        self.hears_in(PATIENCE + Duration::from_secs(seconds), node, &format!("block {height}"), far);
    }

    #[track_caller]
    fn hears_in(
        &mut self,
        patience: Duration,
        node: usize,
        what: &str,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Value {
        let until = Instant::now() + patience;
        let mut events = self.heard.events.lock().unwrap();
        loop {
            while let Some((of, event)) = events.get(self.seen[node]) {
                self.seen[node] += 1;
                if *of == node && wanted(event) {
                    return event.clone();
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(events);
                panic!("node-{node} does not say: {what}\n{}", self.last_words());
            }
            events = self.heard.more.wait_timeout(events, left).unwrap().0;
        }
    }

    /// Waits until a node has committed the block of this height. Returns its state hash.
    #[track_caller]
    pub(crate) fn reaches(&mut self, node: usize, height: u64) -> String {
        let block = self.hears(node, &format!("block {height}"), |it| it["event"] == "block" && it["height"] == height);
        block["stateHash"].as_str().unwrap().to_owned()
    }

    /// Waits until these nodes have committed the block of this height, with one state hash, which it returns.
    #[track_caller]
    pub(crate) fn all_reach(&mut self, nodes: &[usize], height: u64) -> String {
        let hashes: Vec<String> = nodes.iter().map(|it| self.reaches(*it, height)).collect();
        assert!(hashes.iter().all(|it| *it == hashes[0]), "block {height}: {hashes:?}");
        hashes[0].clone()
    }

    /// Waits until a node tells that it halted.
    #[track_caller]
    pub(crate) fn halts(&mut self, node: usize) -> Value {
        self.hears(node, "a halt", |it| it["event"] == "halted")
    }

    /// Waits until these nodes have halted and ended with this exit code. Returns what they said.
    #[track_caller]
    pub(crate) fn all_halt(&mut self, nodes: &[usize], code: i32) -> Vec<Value> {
        let reports: Vec<Value> = nodes.iter().map(|it| self.halts(*it)).collect();
        for (node, report) in nodes.iter().zip(&reports) {
            assert_eq!(self.ends(*node), code, "node-{node}: {report}");
        }
        reports
    }

    /// What was said last, for a test that fails.
    fn last_words(&self) -> String {
        let events = self.heard.events.lock().unwrap();
        let last = events.iter().skip(events.len().saturating_sub(60));
        last.map(|(node, event)| format!("node-{node}: {event:.400}\n", event = event.to_string())).collect()
    }

    pub(crate) fn url(&self, node: usize) -> String {
        let settings = fs::read_to_string(self.home(node).join("node.toml")).unwrap();
        let line = settings.lines().find(|it| it.starts_with("http = ")).unwrap();
        format!("http://{}", line.split('"').nth(1).unwrap())
    }

    /// Asks a node over HTTP. Returns the status and the body.
    pub(crate) fn get(&self, node: usize, path: &str) -> (u16, Value) {
        read(|| agent().get(format!("{}{path}", self.url(node))).call())
    }

    pub(crate) fn post(&self, node: usize, path: &str, body: &Value) -> (u16, Value) {
        read(|| agent().post(format!("{}{path}", self.url(node))).send(body.to_string()))
    }

    /// Sends a message to an exported vat. Returns the answer, as soon as there is one.
    #[track_caller]
    pub(crate) fn call(&self, node: usize, to: &str, method: &str, args: Value) -> Value {
        let (status, answer) = self.post(node, &format!("/cap/{to}"), &json!({ "method": method, "args": args }));
        assert!(status == 200, "{status}: {answer}");
        answer
    }

    /// Submits a message, and does not wait for an answer. Returns its id.
    #[track_caller]
    pub(crate) fn submit(&self, node: usize, nonce: u64, to: &str, method: &str, args: Value) -> String {
        let (status, answer) = self.post(node, "/submit", &self.message(node, nonce, to, method, args));
        assert!(status == 202, "{status}: {answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn message(&self, node: usize, nonce: u64, to: &str, method: &str, args: Value) -> Value {
        let height = self.get(node, "/status").1["height"].as_u64().unwrap();
        let input = json!({ "kind": "send", "to": to, "method": method, "args": args }).to_string();
        json!({ "nonce": nonce, "lastHeight": height + 500, "input": input })
    }

    pub(crate) fn result(&self, node: usize, id: &str, wait: u64) -> Value {
        self.get(node, &format!("/result/{id}?wait={wait}")).1
    }

    /// Puts a line into the directives of a node.
    pub(crate) fn direct(&self, node: usize, line: &str) {
        fs::write(self.home(node).join("directives"), format!("{line}\n")).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        (0..self.count).for_each(|it| self.kill(it));
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build().into()
}

/// Asks until somebody listens: a node that was just started does not yet.
fn read(ask: impl Fn() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let until = Instant::now() + PATIENCE;
    let mut answer = loop {
        match ask() {
            Err(ureq::Error::Io(_)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            answer => break answer.unwrap(),
        }
    };
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
