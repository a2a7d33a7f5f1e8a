//! The kernel's reading of bodies that are not addressed to it: is a fulfilment one presence, which method does a message
//! to settled data name, how do a vat's last words read for people? Also the errors that the kernel writes itself.
//! (Requests to the vat admin, meters and devices are read by the kernel's modules that answer them.)
//!
//! Bodies are Endo's smallcaps (`#` and JSON) or its older JSON with `@qclass`. Which forms are refused follows
//! recordings of SwingSet's kernel: its `marshal` decodes the whole body of a fulfilment, so a body that does not
//! decode is an illegal `resolve`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::model::{smallcaps, value::CapData};

/// The kind of a slot's reference, with which the body's marker must agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotKind {
    /// An object or a device: marked `$`.
    Presence,
    /// A promise: marked `&`.
    Promise,
}

/// The shape of a fulfilment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Wholly the slot of this index.
    Slot(usize),
    /// Any other data than one slot.
    Data,
}

/// Decodes the body of a fulfilment: its shape, or why it is not one.
pub fn shape_of(body: &[u8], kinds: &[SlotKind]) -> Result<Shape, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    match text.strip_prefix('#') {
        Some(json) => {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            let shape = Smallcaps { kinds }.deserialize(&mut deserializer).map_err(|err| err.to_string())?;
            deserializer.end().map_err(|err| err.to_string())?;
            Ok(shape)
        }
        None => {
            let value: Value = serde_json::from_str(text).map_err(|err| err.to_string())?;
            check_qclass(&value, kinds)
        }
    }
}

/// Walks a smallcaps body without building it.
#[derive(Clone, Copy)]
struct Smallcaps<'a> {
    kinds: &'a [SlotKind],
}

impl Smallcaps<'_> {
    fn string(self, text: &str) -> Result<Shape, String> {
        let Some(prefix @ '!'..='-') = text.chars().next() else { return Ok(Shape::Data) };
        let rest = &text[1..];
        match prefix {
            '!' | '%' => Ok(Shape::Data),
            '$' => slot(rest.split('.').next().unwrap_or(""), SlotKind::Presence, self.kinds),
            '&' => slot(rest, SlotKind::Promise, self.kinds),
            '+' | '-' if !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_digit()) => Ok(Shape::Data),
            '#' if matches!(rest, "undefined" | "NaN" | "Infinity" | "-Infinity") => Ok(Shape::Data),
            _ => Err(format!("`{text}` is not smallcaps")),
        }
    }
}

fn slot(digits: &str, wanted: SlotKind, kinds: &[SlotKind]) -> Result<Shape, String> {
    let index = match digits {
        "" => Some(0),
        _ if digits.bytes().all(|it| it.is_ascii_digit()) => digits.parse::<usize>().ok(),
        _ => None,
    };
    match index.and_then(|index| Some((index, *kinds.get(index)?))) {
        Some((index, kind)) if kind == wanted => Ok(Shape::Slot(index)),
        Some(_) => Err(format!("slot {digits} is marked as the wrong kind")),
        None => Err(format!("there is no slot {digits}")),
    }
}

impl<'de> DeserializeSeed<'de> for Smallcaps<'_> {
    type Value = Shape;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Smallcaps<'_> {
    type Value = Shape;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("smallcaps")
    }
    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Data)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Data)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Data)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Data)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Data)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Shape, E> {
        self.string(text).map_err(E::custom)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        while seq.next_element_seed(self)?.is_some() {}
        Ok(Shape::Data)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let special = key.starts_with('#') && !matches!(&*key, "#error" | "#tag");
            if special {
                return Err(A::Error::custom(format_args!("`{key}` is not a smallcaps record")));
            }
            map.next_value_seed(self)?;
        }
        Ok(Shape::Data)
    }
}

/// The older encoding: `{"@qclass":"slot","index":0}`.
fn check_qclass(value: &Value, kinds: &[SlotKind]) -> Result<Shape, String> {
    match value {
        Value::Object(members) if members.get("@qclass").is_some_and(|it| it == "slot") => {
            let index = members.get("index").and_then(Value::as_u64).and_then(|it| usize::try_from(it).ok());
            match index.filter(|it| *it < kinds.len()) {
                Some(index) => Ok(Shape::Slot(index)),
                None => Err("a slot without a good index".to_owned()),
            }
        }
        Value::Object(members) => {
            members.values().try_for_each(|it| check_qclass(it, kinds).map(drop)).map(|()| Shape::Data)
        }
        Value::Array(items) => items.iter().try_for_each(|it| check_qclass(it, kinds).map(drop)).map(|()| Shape::Data),
        _ => Ok(Shape::Data),
    }
}

/// Returns the method that a message calls, as SwingSet words it when the target turns out to be data.
pub fn method_of(methargs: &[u8]) -> String {
    let text = String::from_utf8_lossy(methargs);
    let (smallcaps, json) = match text.strip_prefix('#') {
        Some(json) => (true, json),
        None => (false, &*text),
    };
    let method = match serde_json::from_str(json) {
        Err(_) | Ok(BodyHead::Null) => return "<unknown>".to_owned(),
        Ok(BodyHead::First(first)) => first,
        Ok(BodyHead::Text(first)) => first.map(|it| Value::String(it.to_string())),
        Ok(BodyHead::Other) => None,
    };
    match method {
        None => "<funcall>".to_owned(),
        Some(Value::String(method)) if smallcaps => smallcaps_method(&method),
        Some(Value::String(method)) => method,
        Some(Value::Object(members)) if !smallcaps => qclass_method(&members),
        Some(Value::Array(_)) if !smallcaps => "<invalid method type>".to_owned(),
        Some(_) => "<unintelligible method>".to_owned(),
    }
}

/// The beginning of a JSON text. The rest of it is passed over, not built.
enum BodyHead {
    Null,
    /// The first element of an array.
    First(Option<Value>),
    /// The first character of a text.
    Text(Option<char>),
    Other,
}

impl<'de> Deserialize<'de> for BodyHead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BodyHead, D::Error> {
        deserializer.deserialize_any(HeadVisitor)
    }
}

struct HeadVisitor;

impl<'de> Visitor<'de> for HeadVisitor {
    type Value = BodyHead;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }
    fn visit_unit<E>(self) -> Result<BodyHead, E> {
        Ok(BodyHead::Null)
    }
    fn visit_bool<E>(self, _: bool) -> Result<BodyHead, E> {
        Ok(BodyHead::Other)
    }
    fn visit_i64<E>(self, _: i64) -> Result<BodyHead, E> {
        Ok(BodyHead::Other)
    }
    fn visit_u64<E>(self, _: u64) -> Result<BodyHead, E> {
        Ok(BodyHead::Other)
    }
    fn visit_f64<E>(self, _: f64) -> Result<BodyHead, E> {
        Ok(BodyHead::Other)
    }
    fn visit_str<E>(self, text: &str) -> Result<BodyHead, E> {
        Ok(BodyHead::Text(text.chars().next()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<BodyHead, A::Error> {
        let first = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(BodyHead::First(first))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BodyHead, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(BodyHead::Other)
    }
}

fn smallcaps_method(method: &str) -> String {
    match method.chars().next() {
        Some('%') => format!("[{}]", &method[1..]),
        Some('#') if method == "#undefined" => "<funcall>".to_owned(),
        Some('#' | '+' | '-' | '$' | '&') => "<unintelligible method>".to_owned(),
        Some('!') => method[1..].to_owned(),
        _ => method.to_owned(),
    }
}

fn qclass_method(members: &serde_json::Map<String, Value>) -> String {
    match members.get("@qclass").and_then(Value::as_str) {
        Some("undefined") => "<funcall>".to_owned(),
        Some("symbol") => format!("[{}]", members.get("name").and_then(Value::as_str).unwrap_or_default()),
        Some("@@asyncIterator") => "[Symbol.asyncIterator]".to_owned(),
        _ => "<invalid method type>".to_owned(),
    }
}

/// Renders a body for people: the text that it is, or the message of the error that it is, or all of it.
pub fn text_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let value = text.strip_prefix('#').and_then(|it| serde_json::from_str(it).ok());
    let said = match &value {
        Some(Value::String(said)) => Some(said),
        Some(Value::Object(members)) => match members.get("#error") {
            Some(Value::String(said)) => Some(said),
            _ => None,
        },
        _ => None,
    };
    said.and_then(|it| smallcaps::as_text(it)).map_or_else(|| text.to_string(), str::to_owned)
}

/// Encodes an error as smallcaps data.
pub fn error<R>(message: &str) -> CapData<R> {
    let text = Value::String(smallcaps::text(message));
    CapData::plain(format!("#{{\"#error\":{text},\"name\":\"Error\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fulfilment_is_a_slot_only_if_it_is_wholly_one() {
        let kinds = [SlotKind::Presence, SlotKind::Promise];
        let slots = [("#\"$0\"", 0), ("# \"$0.Alleged: x\" ", 0), ("#\"$\"", 0), ("#\"$00\"", 0), ("#\"&1\"", 1)];
        for (body, index) in slots {
            assert_eq!(shape_of(body.as_bytes(), &kinds), Ok(Shape::Slot(index)), "{body}");
        }
        let old = r#"{"iface":"x","index":1,"@qclass":"slot"}"#;
        assert_eq!(shape_of(old.as_bytes(), &kinds), Ok(Shape::Slot(1)));
        let data = [
            "#[\"$0\"]",
            "\"$0\"",
            "#\"!$0\"",
            "#\" $0\"",
            "#{\"@qclass\":\"slot\",\"index\":0}",
            "#null",
            "#{\"#error\":\"e\"}",
            "#\"+5\"",
            "#-1.5e3",
        ];
        for body in data {
            assert_eq!(shape_of(body.as_bytes(), &kinds), Ok(Shape::Data), "{body}");
        }
        let wrong = [
            "",
            "#",
            "#{",
            "not json",
            "#\"$3\"",
            "#\"#bad\"",
            "#\"$x\"",
            "#\"$-1\"",
            "#\"$1\"",
            "#\"&0\"",
            "#\"(x\"",
            "#[\"$2\"]",
            "#1 2",
            "#\"+\"",
        ];
        for body in wrong {
            assert!(shape_of(body.as_bytes(), &kinds).is_err(), "{body}");
        }
        assert!(shape_of(&[b'#', b'"', 0xff, b'"'], &kinds).is_err(), "not UTF-8");
    }

    #[test]
    fn an_error_escapes_what_smallcaps_would_read_otherwise() {
        assert_eq!(error::<()>("-1 \"x\"").body.as_text(), Some(r##"#{"#error":"!-1 \"x\"","name":"Error"}"##));
    }
}
