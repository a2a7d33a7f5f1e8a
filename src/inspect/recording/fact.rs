//! Facts about one promise or object in the cranks of a recording.

use serde::Serialize;
use serde_json::Value;

use crate::inspect::recording::{Place, crank::Crank, link::is_undone, show::place_of};
use crate::slog::Record;

/// Something that happened to a promise or an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// The place of the event, and its vat.
    #[serde(flatten)]
    pub place: Place,
    /// The vat's name, unless it was created before the recording.
    pub name: Option<String>,
    /// The number of the syscall, if it was one.
    #[serde(rename = "syscallNum")]
    pub syscall: Option<u64>,
    /// The kind of event that happened to the promise or object.
    pub what: What,
}

/// The kinds of events in the life of a promise or object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The vat introduced it to the kernel.
    Exported,
    /// The kernel introduced it to the vat.
    Imported,
    /// The vat does not know it any more.
    Dropped,
    /// The vat sent a message whose result it is.
    Made,
    /// The vat sent a message to it.
    Sent,
    /// The message whose result it is was delivered to the vat, which decides it now.
    Delivered,
    /// A message to it was delivered.
    Called,
    /// The vat fulfilled it.
    Fulfilled,
    /// The vat rejected it.
    Rejected,
    /// The vat was notified of its resolution.
    Told,
    /// The host was notified that it is rejected.
    HostTold,
}

/// Returns all facts about a promise or object in a crank.
pub(super) fn facts(crank: &Crank, name: &str) -> Vec<Fact> {
    let undone = is_undone(&crank.events);
    let mut found = Vec::new();
    for event in crank.events.iter().filter(|it| !it.is_replay()) {
        let mut add = |what| {
            let place = Place { crank: crank.number, ..place_of(event) };
            found.push(Fact { place, name: None, syscall: event.number("syscallNum"), what });
        };
        match event.kind() {
            "clist" if event.text("kobj") == Some(name) && !(undone && event.text("mode") == Some("export")) => {
                match event.text("mode") {
                    Some("export") => add(What::Exported),
                    Some("import") => add(What::Imported),
                    _ => add(What::Dropped),
                }
            }
            "syscall" if !undone => {
                let ksc = &event.value["ksc"];
                match ksc[0].as_str() {
                    Some("send") if ksc[2]["result"] == name => add(What::Made),
                    Some("send") if ksc[1] == name => add(What::Sent),
                    Some("resolve") => settled(&ksc[1], name, add),
                    _ => (),
                }
            }
            "deliver" => {
                let kd = &event.value["kd"];
                match kd[0].as_str() {
                    Some("message") if kd[2]["result"] == name => add(What::Delivered),
                    Some("message") if kd[1] == name => add(What::Called),
                    Some("notify") if resolution(&kd[1], name).is_some() => add(What::Told),
                    _ => (),
                }
            }
            "promise-rejected" if event.text("kpid") == Some(name) => add(What::HostTold),
            _ => (),
        }
    }
    found
}

fn settled(resolutions: &Value, name: &str, add: impl FnOnce(What)) {
    if let Some(resolution) = resolution(resolutions, name) {
        add(if resolution[1] == true { What::Rejected } else { What::Fulfilled });
    }
}

fn resolution<'a>(resolutions: &'a Value, name: &str) -> Option<&'a Value> {
    resolutions.as_array()?.iter().find(|it| it[0] == name)
}

/// Returns whether a promise or object occurs in a crank at all: something happens to it, or it comes with the item
/// that the crank took.
pub(super) fn occurs(crank: &Crank, name: &str) -> bool {
    mentions(crank.item(), name) || crank.events.iter().any(|it| !it.is_replay() && is_about(it, name))
}

fn is_about(event: &Record, name: &str) -> bool {
    match event.kind() {
        "clist" => event.text("kobj") == Some(name),
        "syscall" => mentions(&event.value["ksc"], name),
        "deliver" => mentions(&event.value["kd"], name),
        _ => false,
    }
}

/// Returns whether a reference is in a value, as a text of its own. Bodies of messages are not searched.
pub(super) fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|it| mentions(it, name)),
        Value::Object(fields) => fields.iter().any(|(field, it)| field != "body" && mentions(it, name)),
        _ => false,
    }
}
