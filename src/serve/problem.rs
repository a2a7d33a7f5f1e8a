//! Refusals, as `application/problem+json` (RFC 9457): what a server says where no vat answered.

use serde_json::{Map, Value, json};

/// A refusal: nothing was done, unless it says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The name of the problem: the last part of its `type`.
    pub kind: &'static str,
    /// The problem and the way out.
    pub detail: String,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
    /// More members of the object.
    pub members: Map<String, Value>,
}

/// The kinds of problems, each with its status and its title. They are a contract.
const KINDS: [(&str, u16, &str); 17] = [
    ("malformed", 400, "The request is malformed"),
    ("foreign-host", 403, "The Host header names another host"),
    ("foreign-origin", 403, "The request comes from a web page that was not named"),
    ("no-capability", 404, "There is nothing of this name"),
    ("method-not-allowed", 405, "This cannot be done here"),
    ("slow-body", 408, "The body came too slowly"),
    ("dropped", 410, "This was dropped"),
    ("ended", 410, "The vat has ended"),
    ("too-large", 413, "The request is too large"),
    ("other-request", 422, "The key was used for another request"),
    ("refused", 422, "The host refuses this message"),
    ("busy", 429, "There is more to do than the host takes"),
    ("unexpected", 500, "The host did not do what it should"),
    ("halted", 503, "The host has halted"),
    ("kernel-panic", 503, "The host has halted: an invariant of its kernel is broken"),
    ("stopping", 503, "The host is stopping"),
    ("not-yet", 504, "The host did not come to it in time"),
];

impl Problem {
    /// Makes a problem of this kind.
    pub fn new(kind: &'static str, detail: impl Into<String>) -> Problem {
        let status = KINDS.iter().find(|(name, ..)| *name == kind).map_or(500, |(_, status, _)| *status);
        Problem { status, kind, detail: detail.into(), retry_after: None, members: Map::new() }
    }

    /// Makes the problem of a host that has too much to do.
    pub fn busy(detail: impl Into<String>) -> Problem {
        Problem { retry_after: Some(1), ..Problem::new("busy", detail) }
    }

    /// Adds a member to the object.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the object that a client receives.
    pub fn object(&self) -> Value {
        let title = KINDS.iter().find(|(name, ..)| *name == self.kind).map_or("", |(.., title)| *title);
        let mut object = json!({
            "type": format!("urn:vathost:problem:{}", self.kind), "title": title, "status": self.status, "detail": self.detail,
        });
        for (name, value) in &self.members {
            object[name] = value.clone();
        }
        object
    }
}
