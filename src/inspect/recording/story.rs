//! The story of one promise or object: all that a recording says of it, in order, beginning with its creation.

use std::{fmt, path::Path};

use serde_json::Value;

use crate::inspect::recording::link::is_undone;
use crate::slog::{ReadError, Reader, Record};

/// The story of a promise or object: the events of a recording that name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    /// The mentions, in order.
    pub mentions: Vec<Mention>,
}

/// An event that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The crank; `None` of what comes from outside of any.
    pub crank: Option<u64>,
    /// The vat and the number of the delivery, within one.
    pub delivery: Option<(String, u64)>,
    /// The event, in words.
    pub what: String,
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.crank {
            Some(crank) => write!(f, "crank-{crank}")?,
            None => f.write_str("from outside")?,
        }
        if let Some((vat, number)) = &self.delivery {
            write!(f, ", delivery-{number} to {vat}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Collects the story of a promise or object. If a crank was recorded more than once, only the last time counts; a
/// crank that was undone has no part in it.
///
/// # Errors
///
/// The recording cannot be read to its end.
pub fn story(path: &Path, kref: &str) -> Result<Story, ReadError> {
    let mut story = Story::default();
    let mut crank: Vec<Record> = Vec::new();
    for record in Reader::open(path)? {
        let record = record?;
        match record.kind() {
            "crank-start" => {
                story.close(&mut crank, kref);
                let number = record.number("crankNum");
                story.mentions.retain(|it| it.crank.is_none() || it.crank < number);
                crank.push(record);
            }
            "crank-finish" => story.close(&mut crank, kref),
            _ if crank.is_empty() => story.add(&record, kref),
            _ => crank.push(record),
        }
    }
    story.close(&mut crank, kref);
    Ok(story)
}

impl Story {
    fn close(&mut self, crank: &mut Vec<Record>, kref: &str) {
        let crank = std::mem::take(crank);
        if !is_undone(&crank) {
            crank.iter().for_each(|it| self.add(it, kref));
        }
    }

    fn add(&mut self, record: &Record, kref: &str) {
        let value = &record.value;
        let what = match record.kind() {
            "crank-start" if names(&value["message"], kref) => match value["messageType"].as_str() {
                Some(kind) => format!("it waited in the queue: {kind}"),
                None => return,
            },
            "deliver" if names(&value["kd"], kref) => format!("delivered: {}", value["kd"][0].as_str().unwrap_or("?")),
            "syscall" if names(&value["ksc"], kref) => {
                let number = record.number("syscallNum").unwrap_or(0);
                format!("syscall {number}, {}{}", value["ksc"][0].as_str().unwrap_or("?"), role(&value["ksc"], kref))
            }
            "clist" if value["kobj"] == kref => {
                let vref = value["vobj"].as_str().unwrap_or("?");
                match value["mode"].as_str() {
                    Some("export") => format!("{} introduces it, as {vref}", value["vatID"].as_str().unwrap_or("?")),
                    Some("import") => format!("{} gets to know it, as {vref}", value["vatID"].as_str().unwrap_or("?")),
                    _ => format!("{} forgets it", value["vatID"].as_str().unwrap_or("?")),
                }
            }
            "promise-rejected" if value["kpid"] == kref => "rejected, and the host was told".to_owned(),
            _ => return,
        };
        let delivery =
            record.text("vatID").zip(record.number("deliveryNum")).map(|(vat, number)| (vat.to_owned(), number));
        self.mentions.push(Mention { crank: record.number("crankNum"), delivery, what });
    }
}

/// Returns the role of the promise or object in a syscall.
fn role(ksc: &Value, kref: &str) -> &'static str {
    match ksc[0].as_str() {
        Some("send") if ksc[2]["result"] == kref => ": the result of this message",
        Some("send") if ksc[1] == kref => ": the target",
        Some("send") => ": an argument",
        _ => "",
    }
}

/// Returns whether the reference is anywhere in the value, as a name: a body is a text that is not looked into.
fn names(value: &Value, kref: &str) -> bool {
    match value {
        Value::String(text) => text == kref,
        Value::Array(items) => items.iter().any(|it| names(it, kref)),
        Value::Object(members) => members.iter().any(|(name, it)| name != "body" && names(it, kref)),
        _ => false,
    }
}
