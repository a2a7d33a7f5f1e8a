//! A CapTP client in a test: a WebSocket, and frames as they are.

use std::{collections::VecDeque, net::TcpStream, time::Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Error, Message, WebSocket, client::IntoClientRequest};

use super::server::{PATIENCE, Served};

/// A connected client.
pub(super) struct CaptpClient {
    pub(super) socket: WebSocket<TcpStream>,
    /// Frames that came while others were waited for.
    early: VecDeque<Value>,
    /// Frames of the session's that came: not those of the host's own.
    pub(super) received: u64,
    next_question: u64,
}

/// What came from the host.
#[derive(Debug, PartialEq)]
pub(super) enum Came {
    Frame(Value),
    Closed(u16, String),
    /// The connection is gone without a word, by this error.
    Lost(String),
}

impl CaptpClient {
    pub(super) fn connect(host: &Served, query: &str) -> CaptpClient {
        CaptpClient::try_connect(host, query, &[]).unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// Connects with these headers too; the status and the problem where that is refused.
    pub(super) fn try_connect(
        host: &Served,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<CaptpClient, (u16, Value)> {
        let mut request = format!("ws://{}/captp{query}", host.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tungstenite::client::client(request, host.connect()) {
            Ok((socket, _)) => Ok(CaptpClient { socket, early: VecDeque::new(), received: 0, next_question: 1 }),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
            }
            Err(other) => panic!("{other}"),
        }
    }

    pub(super) fn send(&mut self, frame: &Value) {
        self.say(&frame.to_string());
    }

    /// Sends a text as it is.
    pub(super) fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// What comes next.
    pub(super) fn next(&mut self) -> Came {
        if let Some(early) = self.early.pop_front() {
            return Came::Frame(early);
        }
        // Pings come whatever else does not.
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"].as_str().unwrap().starts_with("CTP_") {
                        self.received += 1;
                    }
                    return Came::Frame(frame);
                }
                Ok(Message::Close(why)) => {
                    let why = why.unwrap();
                    // The answer to it.
                    let _ = self.socket.flush();
                    return Came::Closed(why.code.into(), why.reason.to_string());
                }
                Ok(_) => (),
                Err(Error::Io(err)) if err.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came in {PATIENCE:?}")
                }
                // A wait with a time-out ends so when the process was stopped and goes on.
                Err(Error::Io(err)) if err.kind() == std::io::ErrorKind::Interrupted => (),
                Err(err) => return Came::Lost(err.to_string()),
            }
        }
        panic!("nothing came in {PATIENCE:?} but pings")
    }

    #[track_caller]
    pub(super) fn frame(&mut self) -> Value {
        match self.next() {
            Came::Frame(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    /// The first frame that is this, whatever comes before: that is kept.
    #[track_caller]
    pub(super) fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.early.iter().position(&is_it) {
            return self.early.remove(at).unwrap();
        }
        let early = std::mem::take(&mut self.early);
        let mut others: VecDeque<Value> = early;
        loop {
            let frame = self.frame();
            if is_it(&frame) {
                self.early = others;
                return frame;
            }
            others.push_back(frame);
        }
    }

    /// Reads to the end of the connection: why it ended.
    pub(super) fn end(&mut self) -> (u16, String) {
        loop {
            match self.next() {
                Came::Frame(_) => (),
                Came::Closed(code, reason) => return (code, reason),
                Came::Lost(_) => return (1006, String::new()),
            }
        }
    }

    /// Asks for the bootstrap object: the slot of each root, as the client writes it.
    #[track_caller]
    pub(super) fn bootstrap(&mut self) -> Vec<(String, String)> {
        let question = self.question();
        self.send(&json!({ "type": "CTP_BOOTSTRAP", "epoch": 0, "questionID": question }));
        let answer = self.answer(&question);
        let body: Value = serde_json::from_str(answer["result"]["body"].as_str().unwrap()).unwrap();
        let slots = answer["result"]["slots"].as_array().unwrap();
        let slot =
            |it: &Value| turned(slots[usize::try_from(it["index"].as_u64().unwrap()).unwrap()].as_str().unwrap());
        body.as_object().unwrap().iter().map(|(name, it)| (name.clone(), slot(it))).collect()
    }

    /// The slot of this root.
    #[track_caller]
    pub(super) fn root(&mut self, name: &str) -> String {
        self.bootstrap().into_iter().find(|(it, _)| it == name).unwrap().1
    }

    pub(super) fn question(&mut self) -> String {
        self.next_question += 1;
        format!("q-{}", self.next_question - 1)
    }

    /// Sends a call, and returns its question.
    pub(super) fn call(&mut self, target: &str, method: &str, args: Value, slots: &[&str]) -> String {
        let question = self.question();
        let method = json!({ "body": json!([method, args]).to_string(), "slots": slots });
        self.send(&json!({
            "type": "CTP_CALL", "epoch": 0, "questionID": question, "target": target, "method": method,
        }));
        question
    }

    #[track_caller]
    pub(super) fn answer(&mut self, question: &str) -> Value {
        self.until(|it| it["type"] == "CTP_RETURN" && it["answerID"] == question)
    }

    /// Calls, and waits for the answer.
    #[track_caller]
    pub(super) fn ask(&mut self, target: &str, method: &str, args: Value) -> Value {
        let question = self.call(target, method, args, &[]);
        self.answer(&question)
    }

    /// Calls, and returns the only object of the answer, as the client writes it.
    #[track_caller]
    pub(super) fn object(&mut self, target: &str, method: &str, args: Value) -> String {
        let answer = self.ask(target, method, args);
        turned(answer["result"]["slots"][0].as_str().unwrap_or_else(|| panic!("{answer}")))
    }

    /// Calls, and returns the number of the answer.
    #[track_caller]
    pub(super) fn number(&mut self, target: &str, method: &str) -> u64 {
        number_of(&self.ask(target, method, json!([])))
    }
}

/// A slot as the other side writes it.
pub(super) fn turned(slot: &str) -> String {
    if slot.contains('+') { slot.replace('+', "-") } else { slot.replace('-', "+") }
}

/// The number of an answer.
#[track_caller]
pub(super) fn number_of(answer: &Value) -> u64 {
    let body: Value =
        serde_json::from_str(answer["result"]["body"].as_str().unwrap_or_else(|| panic!("{answer}"))).unwrap();
    body["digits"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

/// A slot in a body.
pub(super) fn slot(index: usize) -> Value {
    json!({ "@qclass": "slot", "index": index })
}
