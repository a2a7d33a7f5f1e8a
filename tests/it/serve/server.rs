//! A served host in a test: started, spoken to, killed, started again.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    sync::{
        Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::cli::Place;

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `vathost serve`.
pub(super) struct Served {
    child: Child,
    pub(super) address: SocketAddr,
    lines: Mutex<Receiver<String>>,
    /// What it said before it served.
    said: Mutex<Vec<String>>,
}

/// The texts in the lines of a log: what people would have been told.
pub(super) fn texts(said: &[String]) -> String {
    let text = |line: &String| Some(serde_json::from_str::<Value>(line).ok()?["text"].as_str()?.to_owned());
    said.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a vat that answered.
    #[track_caller]
    pub(super) fn value(&self) -> Value {
        assert_eq!((self.status, &self.body["status"]), (200, &json!("fulfilled")), "{self:?}");
        self.body["value"].clone()
    }

    /// The kind of a problem of the host's.
    #[track_caller]
    pub(super) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], self.status);
        let kind = self.body["type"].as_str().unwrap().rsplit(':').next().unwrap();
        (self.status, kind.to_owned())
    }
}

impl Served {
    /// Starts it, on the scenario or the state that the words name, and waits until it serves.
    pub(super) fn start(place: &Place, words: &str) -> Served {
        Served::start_at(place, words, "127.0.0.1:0")
    }

    /// The same, with these settings of the environment.
    pub(super) fn start_with(place: &Place, words: &str, settings: &[(&str, &str)]) -> Served {
        Served::spawn(place, words, "127.0.0.1:0", settings)
    }

    /// The same, at this address.
    pub(super) fn start_at(place: &Place, words: &str, address: &str) -> Served {
        Served::spawn(place, words, address, &[])
    }

    fn spawn(place: &Place, words: &str, address: &str, settings: &[(&str, &str)]) -> Served {
        let mut command = place.command(&format!("serve {words} --listen {address} --log json"));
        command.envs(settings.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|it| sender.send(it)));
        let mut said = Vec::new();
        while let Ok(line) = lines.recv_timeout(PATIENCE) {
            if let Ok(event) = serde_json::from_str::<Value>(&line)
                && event["event"] == "serving"
            {
                let address: SocketAddr = event["listen"].as_str().unwrap().parse().unwrap();
                let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
                said.push(line);
                return Served { child, address, lines: Mutex::new(lines), said: Mutex::new(said) };
            }
            said.push(line);
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("it does not serve: {said:?}");
    }

    /// What it said before it served; taken once.
    pub(super) fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().unwrap())
    }

    /// Sends a request with these headers, and returns the answer.
    pub(super) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_request(method, path, headers, body).unwrap()
    }

    pub(super) fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent: ureq::Agent = config.build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned()).map_err(|err| err.to_string())?;
        let mut response = agent.run(request).map_err(|err| err.to_string())?;
        let text = |it: &ureq::http::HeaderValue| String::from_utf8_lossy(it.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, it)| (name.to_string(), text(it))).collect();
        let body = response.body_mut().read_to_string().map_err(|err| err.to_string())?;
        let status = response.status().as_u16();
        Ok(Answer { status, headers, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) })
    }

    /// Sends a message to what is at this path.
    pub(super) fn call(&self, path: &str, method: &str, args: Value) -> Answer {
        self.request("POST", path, &[], &json!({ "method": method, "args": args }).to_string())
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    pub(super) fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], "")
    }

    /// Sends bytes as they are, and returns what comes back until the end.
    pub(super) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // It may have been refused before all of it was sent.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Kills it as `kill -9` does, while others speak to it.
    pub(super) fn kill_now(&self) {
        let number = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-KILL", &number]).status().unwrap().success());
    }

    /// Kills it as `kill -9` does.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end by a signal; returns its exit code, and what it said.
    pub(super) fn end_by(self, signal: &str) -> (Option<i32>, Vec<String>) {
        let number = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &number]).status().unwrap().success());
        self.ended()
    }

    /// Waits for its end; returns its exit code, and what it said.
    pub(super) fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let code = self.child.wait().unwrap().code();
        (code, self.lines.lock().unwrap().iter().collect())
    }
}

impl Drop for Served {
    #[expect(clippy::print_stderr, reason = "the output of a test that failed")]
    fn drop(&mut self) {
        // How it ended by itself, if it did, and what it said: for whoever reads of a test that failed.
        let ended = self.child.try_wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the host of this test: {ended:?}");
            self.lines.lock().iter().flat_map(|it| it.iter()).for_each(|it| eprintln!("{it}"));
        }
    }
}
