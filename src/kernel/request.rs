//! A message that the kernel itself answers, decoded: smallcaps, with the slots beside it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
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

    /// Where the slot stands now; nothing where there is no such slot.
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

    /// A whole number: a JSON number or a bigint.
    pub(super) fn number(&self, at: usize) -> Result<u64, Refused> {
        number(self.arg(at)).ok_or_else(|| Refused(format!("argument {at} must be a whole number")))
    }

    pub(super) fn text(&self, at: usize) -> Result<&str, Refused> {
        match self.arg(at) {
            Value::String(text) => Ok(text.strip_prefix('!').unwrap_or(text)),
            _ => Err(Refused(format!("argument {at} must be a text"))),
        }
    }

    /// A reason: a text, an error, or nothing.
    pub(super) fn reason(&self, at: usize) -> String {
        match self.arg(at) {
            Value::String(text) => text.strip_prefix('!').unwrap_or(text).to_owned(),
            Value::Object(members) => {
                members.get("#error").and_then(Value::as_str).unwrap_or("no reason given").to_owned()
            }
            _ => "no reason given".to_owned(),
        }
    }

    /// One argument as capdata of its own, with only the slots that it mentions.
    pub(super) fn capdata(&self, at: usize) -> Result<CapData<KRef>, Refused> {
        let mut slots = Renumbered::of(&self.slots);
        let mut value = match self.arg(at) {
            Value::Null => json!({}),
            value => value.clone(),
        };
        renumber(&mut value, &mut slots)?;
        Ok(CapData { body: format!("#{value}").into(), slots: slots.to })
    }

    /// An argument that is one object.
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

/// Makes every mention of a slot name where that slot stands now.
fn renumber(value: &mut Value, slots: &mut Renumbered<'_>) -> Result<(), Refused> {
    match value {
        Value::String(text) if text.starts_with(['$', '&']) => {
            let (digits, rest) = text[1..].split_at(text[1..].find('.').unwrap_or(text.len() - 1));
            let slot: Option<usize> = digits.parse().ok();
            let place = slot.and_then(|it| slots.place(it)).ok_or("there is no such slot")?;
            let canonical = digits == "0" || !digits.starts_with(['0', '+']);
            if slot != Some(place) || !canonical {
                *text = format!("{}{place}{rest}", &text[..1]);
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|it| renumber(it, slots)),
        Value::Object(members) => members.values_mut().try_for_each(|it| renumber(it, slots)),
        _ => Ok(()),
    }
}

pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.strip_prefix('+')?.parse().ok(),
        _ => None,
    }
}
