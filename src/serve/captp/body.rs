//! Bodies, from marshal's older encoding (`@qclass`), which `@endo/captp` speaks, to smallcaps, which vats speak, and back.
//!
//! | value | `@qclass` | smallcaps |
//! | --- | --- | --- |
//! | a text | as it is | behind a `!` where it begins with one of `!` to `-` |
//! | undefined, NaN, an infinity | `{"@qclass":"undefined"}` … | `"#undefined"` … |
//! | a bigint | `{"@qclass":"bigint","digits":"5"}` | `"+5"` |
//! | a symbol | `{"@qclass":"symbol","name":"x"}` | `"%x"` |
//! | a reference | `{"@qclass":"slot","index":0,"iface":"Alleged: x"}` | `"$0.Alleged: x"`, `"&0"` for a promise |
//! | an error | `{"@qclass":"error","message":"m","name":"Error"}` | `{"#error":"m","name":"Error"}` |
//! | a tagged value | `{"@qclass":"tagged","tag":"t","payload":…}` | `{"#tag":"t","payload":…}` |
//! | a record with a member `@qclass` | `{"@qclass":"hilbert","original":…,"rest":{…}}` | as it is |
//!
//! Invariants: what one side says the other side hears, or it is refused with the reason; a body names only slots that there are, each as what
//! it is.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::model::{body::SlotKind, smallcaps};

const QCLASS: &str = "@qclass";

/// Returns the smallcaps of a body from a client, `#` in front; or why it has none. `kinds` tells what each slot is.
pub(super) fn to_smallcaps(body: &str, kinds: &[SlotKind]) -> Result<String, String> {
    let value = parse(body)?;
    Ok(format!("#{}", encode(&value, kinds)?))
}

/// A body for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spoken {
    /// The text of the body.
    pub(super) text: String,
    /// The slots that it names.
    pub(super) named: BTreeSet<usize>,
}

/// Returns the `@qclass` of a body from a vat; or why it has none.
pub(super) fn to_qclass(body: &[u8], kinds: &[SlotKind]) -> Result<Spoken, String> {
    let text = std::str::from_utf8(body).map_err(|err| err.to_string())?;
    // Some vats speak the older encoding themselves.
    let Some(smallcaps) = text.strip_prefix('#') else {
        let value = parse(text)?;
        encode(&value, kinds)?;
        return Ok(spoken(&value));
    };
    Ok(spoken(&decode(&parse(smallcaps)?, kinds)?))
}

fn spoken(value: &Value) -> Spoken {
    let mut named = BTreeSet::new();
    name_slots(value, &mut named);
    Spoken { text: value.to_string(), named }
}

fn name_slots(value: &Value, named: &mut BTreeSet<usize>) {
    match value {
        Value::Array(items) => items.iter().for_each(|it| name_slots(it, named)),
        Value::Object(members) if members.get(QCLASS).is_some_and(|it| it == "slot") => {
            let index = members.get("index").and_then(Value::as_u64);
            named.extend(index.and_then(|it| usize::try_from(it).ok()));
        }
        Value::Object(members) => members.values().for_each(|it| name_slots(it, named)),
        _ => (),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|err| format!("the body is not JSON: {err}"))
}

// ---- to smallcaps

fn encode(value: &Value, kinds: &[SlotKind]) -> Result<Value, String> {
    Ok(match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(_) => number(value),
        Value::String(text) => smallcaps::text(text).into(),
        Value::Array(items) => items.iter().map(|it| encode(it, kinds)).collect::<Result<_, _>>()?,
        Value::Object(members) => match members.get(QCLASS) {
            None => encode_members(members, kinds)?.into(),
            Some(Value::String(class)) => encode_class(class, members, kinds)?,
            Some(other) => return Err(format!("`{QCLASS}` is {other}, and no text")),
        },
    })
}

/// A number as marshal has it: there is no negative zero.
fn number(value: &Value) -> Value {
    if value.as_f64() == Some(0.0) { json!(0) } else { value.clone() }
}

fn encode_members(members: &Map<String, Value>, kinds: &[SlotKind]) -> Result<Map<String, Value>, String> {
    members.iter().map(|(key, it)| Ok((smallcaps::text(key), encode(it, kinds)?))).collect()
}

fn encode_class(class: &str, members: &Map<String, Value>, kinds: &[SlotKind]) -> Result<Value, String> {
    let text = |name: &str| {
        let found = members.get(name).and_then(Value::as_str);
        found.ok_or_else(|| format!("`{name}` of a {class} is no text"))
    };
    Ok(match class {
        "undefined" | "NaN" | "Infinity" | "-Infinity" => json!(format!("#{class}")),
        "bigint" => encode_bigint(text("digits")?)?.into(),
        "symbol" => json!(format!("%{}", text("name")?)),
        "@@asyncIterator" => json!("%@@asyncIterator"),
        "slot" => encode_slot(members, kinds)?.into(),
        "tagged" => {
            let payload = members.get("payload").ok_or("a tagged value has no payload")?;
            json!({ "#tag": smallcaps::text(text("tag")?), "payload": encode(payload, kinds)? })
        }
        "error" => {
            let mut error = Map::new();
            error.insert("#error".to_owned(), smallcaps::text(text("message")?).into());
            error.insert("name".to_owned(), smallcaps::text(text("name")?).into());
            for (key, it) in members.iter().filter(|(key, _)| !matches!(&***key, QCLASS | "message" | "name")) {
                error.insert(smallcaps::text(key), encode(it, kinds)?);
            }
            error.into()
        }
        "hilbert" => encode_hilbert(members, kinds)?,
        other => return Err(format!("`{other}` is no `{QCLASS}` that can be passed")),
    })
}

fn encode_bigint(digits: &str) -> Result<String, String> {
    let (sign, number) = digits.strip_prefix('-').map_or(("+", digits), |it| ("-", it));
    if number.is_empty() || !number.bytes().all(|it| it.is_ascii_digit()) {
        return Err(format!("`{digits}` are no digits of a bigint"));
    }
    let number = number.trim_start_matches('0');
    Ok(if number.is_empty() { "+0".to_owned() } else { format!("{sign}{number}") })
}

fn encode_slot(members: &Map<String, Value>, kinds: &[SlotKind]) -> Result<String, String> {
    let index = members.get("index").and_then(Value::as_u64).and_then(|it| usize::try_from(it).ok());
    let found = index.and_then(|index| Some((index, *kinds.get(index)?)));
    let (index, kind) = found.ok_or("a reference names no slot")?;
    let iface = match members.get("iface") {
        None => None,
        Some(Value::String(iface)) => Some(iface),
        Some(other) => return Err(format!("`iface` is {other}, and no text")),
    };
    Ok(match (kind, iface) {
        (SlotKind::Promise, _) => format!("&{index}"),
        (SlotKind::Presence, None) => format!("${index}"),
        (SlotKind::Presence, Some(iface)) => format!("${index}.{iface}"),
    })
}

/// A record with a member `@qclass`, which the older encoding has to go round.
fn encode_hilbert(members: &Map<String, Value>, kinds: &[SlotKind]) -> Result<Value, String> {
    let original = members.get("original").ok_or("a hilbert record has no original")?;
    let mut record = match members.get("rest") {
        None => Map::new(),
        Some(Value::Object(rest)) if !rest.is_empty() && !rest.contains_key(QCLASS) => encode_members(rest, kinds)?,
        Some(_) => return Err("the rest of a hilbert record is no record with members".to_owned()),
    };
    record.insert(QCLASS.to_owned(), encode(original, kinds)?);
    Ok(record.into())
}

// ---- from smallcaps

fn decode(value: &Value, kinds: &[SlotKind]) -> Result<Value, String> {
    Ok(match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(_) => number(value),
        Value::String(text) => decode_text(text, kinds)?,
        Value::Array(items) => items.iter().map(|it| decode(it, kinds)).collect::<Result<_, _>>()?,
        Value::Object(members) => decode_record(members, kinds)?,
    })
}

fn decode_text(text: &str, kinds: &[SlotKind]) -> Result<Value, String> {
    if let Some(plain) = smallcaps::as_text(text) {
        return Ok(plain.into());
    }
    let (prefix, rest) = text.split_at(1);
    Ok(match prefix {
        "#" if matches!(rest, "undefined" | "NaN" | "Infinity" | "-Infinity") => json!({ QCLASS: rest }),
        "+" if is_digits(rest) => json!({ QCLASS: "bigint", "digits": rest }),
        "-" if is_digits(rest) => json!({ QCLASS: "bigint", "digits": text }),
        "%" => json!({ QCLASS: "symbol", "name": rest }),
        "$" | "&" => decode_slot(prefix, rest, kinds)?,
        _ => return Err(format!("`{text}` is no smallcaps")),
    })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

fn decode_slot(prefix: &str, rest: &str, kinds: &[SlotKind]) -> Result<Value, String> {
    let (digits, iface) = match rest.split_once('.') {
        Some((digits, iface)) if prefix == "$" => (digits, Some(iface)),
        _ => (rest, None),
    };
    let wanted = if prefix == "$" { SlotKind::Presence } else { SlotKind::Promise };
    let index = digits.parse::<usize>().ok().filter(|it| is_digits(digits) && kinds.get(*it) == Some(&wanted));
    let index = index.ok_or_else(|| format!("`{prefix}{rest}` names no slot"))?;
    Ok(match iface {
        Some(iface) => json!({ QCLASS: "slot", "iface": iface, "index": index }),
        None => json!({ QCLASS: "slot", "index": index }),
    })
}

fn decode_record(members: &Map<String, Value>, kinds: &[SlotKind]) -> Result<Value, String> {
    let as_text = |it: Option<&Value>, what: &str| {
        let text = it.and_then(Value::as_str).and_then(smallcaps::as_text);
        text.map(str::to_owned).ok_or_else(|| format!("{what} is no text"))
    };
    if let Some(message) = members.get("#error") {
        let mut error = Map::new();
        error.insert(QCLASS.to_owned(), "error".into());
        error.insert("message".to_owned(), as_text(Some(message), "the message of an error")?.into());
        let name = members.get("name").map_or(Ok("Error".to_owned()), |it| as_text(Some(it), "the name of an error"));
        error.insert("name".to_owned(), name?.into());
        for (key, it) in members.iter().filter(|(key, _)| !matches!(&***key, "#error" | "name")) {
            let key = smallcaps::as_text(key).filter(|it| !matches!(*it, QCLASS | "message" | "name"));
            let key = key.ok_or("an error has a member that none can have")?;
            error.insert(key.to_owned(), decode(it, kinds)?);
        }
        return Ok(error.into());
    }
    if let Some(tag) = members.get("#tag") {
        let payload = members.get("payload").filter(|_| members.len() == 2);
        let payload = payload.ok_or("a tagged value has a payload, and nothing else")?;
        let tag = as_text(Some(tag), "the tag of a tagged value")?;
        return Ok(json!({ QCLASS: "tagged", "tag": tag, "payload": decode(payload, kinds)? }));
    }
    let mut record = Map::new();
    for (key, it) in members {
        let key = smallcaps::as_text(key).ok_or_else(|| format!("`{key}` is the name of no member"))?;
        record.insert(key.to_owned(), decode(it, kinds)?);
    }
    let Some(original) = record.remove(QCLASS) else { return Ok(record.into()) };
    let mut hilbert = json!({ QCLASS: "hilbert", "original": original });
    if !record.is_empty() {
        hilbert["rest"] = record.into();
    }
    Ok(hilbert)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [SlotKind; 3] = [SlotKind::Presence, SlotKind::Promise, SlotKind::Presence];

    #[test]
    fn each_kind_of_value_has_a_word_on_both_sides() {
        for (qclass, smallcaps) in [
            (json!([null, true, 0.5, "plain", "-5", "!", "é"]), json!([null, true, 0.5, "plain", "!-5", "!!", "é"])),
            (json!({ QCLASS: "undefined" }), json!("#undefined")),
            (
                json!([{ QCLASS: "NaN" }, { QCLASS: "Infinity" }, { QCLASS: "-Infinity" }]),
                json!(["#NaN", "#Infinity", "#-Infinity"]),
            ),
            (
                json!([{ QCLASS: "bigint", "digits": "100" }, { QCLASS: "bigint", "digits": "-7" }]),
                json!(["+100", "-7"]),
            ),
            (json!({ QCLASS: "symbol", "name": "@@asyncIterator" }), json!("%@@asyncIterator")),
            (
                json!([{ QCLASS: "slot", "iface": "Alleged: Purse.x", "index": 0 }, { QCLASS: "slot", "index": 1 }, { QCLASS: "slot", "index": 2 }]),
                json!(["$0.Alleged: Purse.x", "&1", "$2"]),
            ),
            (
                json!({ QCLASS: "error", "errorId": "error:1", "message": "-no", "name": "TypeError" }),
                json!({ "#error": "!-no", "errorId": "error:1", "name": "TypeError" }),
            ),
            (
                json!({ QCLASS: "tagged", "tag": "copySet", "payload": [1] }),
                json!({ "#tag": "copySet", "payload": [1] }),
            ),
            (
                json!({ QCLASS: "hilbert", "original": "slot", "rest": { "@qclassy": 1, "#x": 2 } }),
                json!({ QCLASS: "slot", "@qclassy": 1, "!#x": 2 }),
            ),
            (
                json!({ QCLASS: "hilbert", "original": { QCLASS: "hilbert", "original": 5 } }),
                json!({ QCLASS: { QCLASS: 5 } }),
            ),
        ] {
            let there = to_smallcaps(&qclass.to_string(), &KINDS).unwrap();
            assert_eq!(there, format!("#{smallcaps}"));
            let back: Value = serde_json::from_str(&to_qclass(there.as_bytes(), &KINDS).unwrap().text).unwrap();
            assert_eq!(back, qclass);
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let qclass = [
            "",
            "nul",
            "{\"@qclass\":5}",
            "{\"@qclass\":\"ibid\",\"index\":0}",
            "{\"@qclass\":\"slot\",\"index\":3}",
            "{\"@qclass\":\"slot\",\"index\":-1}",
            "{\"@qclass\":\"slot\",\"index\":0,\"iface\":5}",
            "{\"@qclass\":\"bigint\",\"digits\":\"0x5\"}",
            "{\"@qclass\":\"bigint\",\"digits\":\"\"}",
            "{\"@qclass\":\"bigint\"}",
            "{\"@qclass\":\"symbol\"}",
            "{\"@qclass\":\"error\",\"name\":\"E\"}",
            "{\"@qclass\":\"tagged\",\"tag\":\"x\"}",
            "{\"@qclass\":\"hilbert\"}",
            "{\"@qclass\":\"hilbert\",\"original\":1,\"rest\":{}}",
            "{\"@qclass\":\"hilbert\",\"original\":1,\"rest\":{\"@qclass\":\"undefined\"}}",
        ];
        for body in qclass {
            assert!(to_smallcaps(body, &KINDS).is_err(), "{body}");
        }
        assert!(to_smallcaps(&format!("{}{}", "[".repeat(9_000), "]".repeat(9_000)), &[]).is_err());
        let smallcaps = [
            "#",
            "#\"$1\"",
            "#\"&0\"",
            "#\"$3\"",
            "#\"$\"",
            "#\"$+0\"",
            "#\"#x\"",
            "#\"+\"",
            "#\"-x\"",
            "#\"'\"",
            "#{\"#x\":1}",
            "#{\"$0\":1}",
            "#{\"#tag\":\"t\"}",
            "#{\"#tag\":\"t\",\"payload\":1,\"x\":2}",
            "#{\"#error\":\"#undefined\"}",
            "#{\"#error\":\"m\",\"name\":5}",
            "{\"@qclass\":\"ibid\"}",
        ];
        for body in smallcaps {
            assert!(to_qclass(body.as_bytes(), &KINDS).is_err(), "{body}");
        }
        assert!(to_qclass(&[0xff], &KINDS).is_err());
    }

    /// A passable value, as smallcaps has it.
    fn passable() -> impl Strategy<Value = Value> {
        let text = || prop_oneof![".*", "[!-.@#$&%+a]{0,4}", Just("@qclass".to_owned()), Just("slot".to_owned())];
        let key = move || prop_oneof![3 => text(), 1 => Just(QCLASS.to_owned()), 1 => Just("@qclass2".to_owned())];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            (-1e6..1e6_f64).prop_map(|it| if it == 0.0 { json!(0) } else { json!(it) }),
            text().prop_map(|it| smallcaps::text(&it).into()),
            any::<i128>().prop_map(|it| if it < 0 { json!(it.to_string()) } else { json!(format!("+{it}")) }),
            prop::sample::select(vec!["#undefined", "#NaN", "#Infinity", "#-Infinity", "$0", "&1", "$2.Alleged: x"])
                .prop_map(Value::from),
            text().prop_map(|it| format!("%{it}").into()),
            (text(), text()).prop_map(|(m, n)| json!({ "#error": smallcaps::text(&m), "name": smallcaps::text(&n) })),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(key(), inner.clone(), 0..5).prop_map(|it| it
                    .into_iter()
                    .map(|(key, it)| (smallcaps::text(&key), it))
                    .collect::<Map<_, _>>()
                    .into()),
                (text(), inner).prop_map(|(tag, it)| json!({ "#tag": smallcaps::text(&tag), "payload": it })),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_body_goes_out_and_comes_back_as_it_was(value in passable()) {
            let there = to_qclass(format!("#{value}").as_bytes(), &KINDS).unwrap();
            let back = to_smallcaps(&there.text, &KINDS).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&back[1..]).unwrap(), value);
        }

        #[test]
        fn no_body_breaks_the_translation(body in "[{}\\[\\]\",:@qclasdetro0-9#$&+-]{0,40}") {
            let _ = to_smallcaps(&body, &KINDS);
            let _ = to_qclass(body.as_bytes(), &KINDS);
        }
    }
}
