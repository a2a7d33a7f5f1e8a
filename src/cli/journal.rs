//! What a server says on stderr: sentences for people, or one JSON object a line for programs.

use serde_json::{Value, json};

use crate::{
    cli::{Output, exit::code_of_halt},
    host::controller::{BlockEnd, Host},
    kernel::Halt,
    model::blame::Fault,
    serve::{Journal, ServeEvent},
};

/// The weight of an event for an operator. One of level debug is said with `-v` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The events of a server, on their way to stderr.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerLog {
    pub(super) output: Output,
}

impl ServerLog {
    /// Says an event: its text to people, its fields to programs.
    pub(super) fn say(&self, level: Level, event: &str, text: &str, fields: Value) {
        if level == Level::Debug && !self.output.is_verbose() {
            return;
        }
        let name = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        if self.output.is_log() {
            self.output.event(name, event, fields);
        } else if level == Level::Warn {
            self.output.warn(text);
        } else if level != Level::Error {
            self.output.note(text);
        }
    }

    /// Says that the state is open.
    pub(super) fn starting(&self, host: &Host, state: &str) {
        let standing = host.standing();
        let fields = json!({
            "version": env!("CARGO_PKG_VERSION"), "state": state, "height": standing.height, "stateHash": standing.state_hash,
            "kernelVersion": standing.kernel_version, "directivesDigest": standing.directives_digest,
        });
        let text = format!("the state in `{state}` stands at height {}", standing.height);
        // People are told where it serves, next.
        let level = if self.output.is_log() { Level::Info } else { Level::Debug };
        self.say(level, "opened", &text, fields);
    }

    /// Says that a block was committed.
    pub(super) fn committed(&self, end: &BlockEnd) {
        let (height, cranks) = (end.height.0, end.cranks);
        let fields = json!({
            "height": height, "stateHash": end.state_hash.to_string(), "cranks": cranks, "fuel": end.fuel, "closed": end.closed,
        });
        self.say(Level::Debug, "block", &format!("block {height}: {cranks} cranks"), fields);
    }

    /// Says that the host halted, before the report of it.
    pub(super) fn halted(&self, halt: &Halt, host: &Host) {
        let kind = match &halt.fault {
            Fault::Kernel(_) => "kernel-panic",
            Fault::Halted(_) => "directive",
            Fault::Anachronism(_) => "divergence",
            Fault::Interrupted(_) => "interrupted",
            Fault::Host(_) | Fault::Vat(_) => "host-fault",
        };
        let standing = host.standing();
        let fields = json!({
            "kind": kind, "why": halt.to_string(), "crank": halt.position.crank.map(|it| it.0), "height": standing.height,
            "stateHash": standing.state_hash, "exitCode": code_of_halt(halt) as u8, "epitaph": host.epitaph(),
        });
        self.say(Level::Error, "halted", "", fields);
    }
}

impl Journal for ServerLog {
    fn tell(&self, event: &ServeEvent) {
        let by = |client: &Option<std::net::IpAddr>| {
            client.map_or_else(|| "the control socket".to_owned(), |it| it.to_string())
        };
        match event {
            ServeEvent::Refused { status, problem, route, client } => {
                let fields = json!({ "status": status, "problem": problem, "route": route, "client": client });
                let text = format!("refused {route} of {}: {status} {problem}", by(client));
                // People see it who want to: a web page with a wrong address asks often.
                let level = if self.output.is_log() { Level::Info } else { Level::Debug };
                self.say(level, "refused", &text, fields);
            }
            ServeEvent::Limited { what, client } => {
                let text = format!("{} asks for more than it may: {what}", by(client));
                self.say(Level::Warn, "limited", &text, json!({ "what": what, "client": client }));
            }
            ServeEvent::LeftOut { count } => {
                let text = format!("… and {count} more requests were refused in a second");
                self.say(Level::Warn, "left-out", &text, json!({ "count": count }));
            }
        }
    }
}
