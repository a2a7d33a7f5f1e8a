//! A message that the kernel itself answers, decoded: smallcaps, with the slots beside it.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use crate::model::{
    blame::{Fault, KernelPanic},
    id::{KRef, ObjectId},
    value::CapData,
};

/// A wrong request: the result is rejected with this text.
pub(super) struct Refused(pub(super) String);

impl<T: ToString> From<T> for Refused {
    fn from(text: T) -> Refused {
        Refused(text.to_string())
    }
}

/// The reason why a request is not answered with data.
pub(super) enum Unanswered {
    /// The request is wrong.
    Refused(Refused),
    /// The kernel or the machine is broken.
    Broken(Fault),
}

impl From<Refused> for Unanswered {
    fn from(refused: Refused) -> Unanswered {
        Unanswered::Refused(refused)
    }
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Unanswered {
        Unanswered::Broken(fault)
    }
}

impl From<KernelPanic> for Unanswered {
    fn from(panic: KernelPanic) -> Unanswered {
        Unanswered::Broken(panic.into())
    }
}

/// Refuses a request with this text.
pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T, Unanswered> {
    Err(Refused(why.into()).into())
}

/// A decoded message: smallcaps, with the slots beside it.
pub(super) struct Request {
    pub(super) method: String,
    args: Vec<Value>,
    slots: Vec<KRef>,
}

/// The slots that a body mentions, in the order in which they are first mentioned, each reference once.
struct Renumbered<'a> {
    from: &'a [KRef],
    to: Vec<KRef>,
    /// Where each of `from` stands in `to`, once it was mentioned: a body may mention a slot a hundred thousand times.
    places: Vec<Option<usize>>,
    known: BTreeMap<KRef, usize>,
}

impl Renumbered<'_> {
    fn of(from: &[KRef]) -> Renumbered<'_> {
        Renumbered { from, to: Vec::new(), places: vec![None; from.len()], known: BTreeMap::new() }
    }

    /// Returns the present index of the slot, or `None` if there is no such slot.
    fn place(&mut self, slot: usize) -> Option<usize> {
        if let Some(place) = self.places.get(slot)? {
            return Some(*place);
        }
        let kref = *self.from.get(slot)?;
        let place = *self.known.entry(kref).or_insert_with(|| {
            self.to.push(kref);
            self.to.len() - 1
        });
        self.places[slot] = Some(place);
        Some(place)
    }
}

pub(super) fn undefined() -> CapData<KRef> {
    CapData::plain("#\"#undefined\"")
}

impl Request {
    pub(super) fn decode(methargs: &CapData<KRef>) -> Result<Request, Refused> {
        let text = methargs.body.as_text().and_then(|it| it.strip_prefix('#')).ok_or("the message is not smallcaps")?;
        let (method, args): (String, Vec<Value>) = serde_json::from_str(text)?;
        Ok(Request { method, args, slots: methargs.slots.clone() })
    }

    pub(super) fn arg(&self, at: usize) -> &Value {
        self.args.get(at).filter(|it| *it != "#undefined").unwrap_or(&Value::Null)
    }

    pub(super) fn args(&self) -> &[Value] {
        &self.args
    }

    /// Reads a whole number: a JSON number or a bigint.
    pub(super) fn number(&self, at: usize) -> Result<u64, Refused> {
        number(self.arg(at)).ok_or_else(|| Refused(format!("argument {at} must be a whole number")))
    }

    pub(super) fn text(&self, at: usize) -> Result<&str, Refused> {
        match self.arg(at) {
            Value::String(text) => Ok(text.strip_prefix('!').unwrap_or(text)),
            _ => Err(Refused(format!("argument {at} must be a text"))),
        }
    }

    /// Reads a reason: a text, an error, or nothing.
    pub(super) fn reason(&self, at: usize) -> String {
        match self.arg(at) {
            Value::String(text) => text.strip_prefix('!').unwrap_or(text).to_owned(),
            Value::Object(members) => {
                members.get("#error").and_then(Value::as_str).unwrap_or("no reason given").to_owned()
            }
            _ => "no reason given".to_owned(),
        }
    }

    /// Copies one argument into CapData of its own, with only the slots that it mentions.
    pub(super) fn capdata(&self, at: usize) -> Result<CapData<KRef>, Refused> {
        let (mut slots, mut body) = (Renumbered::of(&self.slots), "#".to_owned());
        match self.arg(at) {
            Value::Null => body.push_str("{}"),
            value => write_renumbered(value, &mut slots, &mut body)?,
        }
        Ok(CapData { body: body.into(), slots: slots.to })
    }

    /// Reads an argument that is one object.
    pub(super) fn held_object(&self, at: usize) -> Result<ObjectId, Refused> {
        self.object(self.arg(at)).ok_or_else(|| Refused(format!("argument {at} must be an object")))
    }

    pub(super) fn object(&self, value: &Value) -> Option<ObjectId> {
        let digits = value.as_str()?.strip_prefix('$')?.split('.').next()?;
        match self.slots.get(digits.parse::<usize>().ok()?)? {
            KRef::Object(id) => Some(*id),
            _ => None,
        }
    }
}

/// Writes a value as JSON in which every mention of a slot names where that slot stands now. A copy of the value is
/// not made: it may be a hundred times as large as its text.
fn write_renumbered(value: &Value, slots: &mut Renumbered<'_>, out: &mut String) -> Result<(), Refused> {
    match value {
        Value::String(text) if text.starts_with(['$', '&']) => write_text(&renumbered(text, slots)?, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_renumbered(item, slots, out)?;
            }
            out.push(']');
            Ok(())
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_text(name, out)?;
                out.push(':');
                write_renumbered(member, slots, out)?;
            }
            out.push('}');
            Ok(())
        }
        _ => Ok(write!(out, "{value}")?),
    }
}

fn write_text(text: &str, out: &mut String) -> Result<(), Refused> {
    out.push_str(&serde_json::to_string(text)?);
    Ok(())
}

/// A mention of a slot, as it names where that slot stands now.
fn renumbered<'a>(text: &'a str, slots: &mut Renumbered<'_>) -> Result<Cow<'a, str>, Refused> {
    let (digits, rest) = text[1..].split_at(text[1..].find('.').unwrap_or(text.len() - 1));
    let slot: Option<usize> = digits.parse().ok();
    let place = slot.and_then(|it| slots.place(it)).ok_or("there is no such slot")?;
    let canonical = digits == "0" || !digits.starts_with(['0', '+']);
    if slot == Some(place) && canonical {
        return Ok(text.into());
    }
    Ok(format!("{}{place}{rest}", &text[..1]).into())
}

pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.strip_prefix('+')?.parse().ok(),
        _ => None,
    }
}
