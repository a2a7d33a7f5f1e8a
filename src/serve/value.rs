//! Values as JSON: what a client writes becomes smallcaps, and what a vat answers becomes JSON.
//!
//! Plain data is plain JSON; a text is never taken for anything else. What JSON has no word for is an object whose first key begins
//! with one `@`; a key of plain data that begins with `@` gets another one in front.
//!
//! ```text
//!   {"@cap": "/cap/TOKEN"}          an object          {"@bigint": "36893488147419103232"}   beyond 64 bits
//!   {"@promise": "/promise/TOKEN"}  a promise          {"@error": {"name", "message"}}       an error
//!   {"@symbol": "asyncIterator"}    a symbol           {"@number": "NaN"}                    what JSON has no number for
//!   {"@tag": "copySet", "payload"}  a tagged value     {"@undefined": true}                  undefined
//! ```

use serde_json::{Map, Value, json};

use crate::model::smallcaps;

/// The keys of references, in arguments and in answers.
const CAP: &str = "@cap";
const PROMISE: &str = "@promise";

/// Finds the slot that a URL names, and whether it is a promise; or says why there is none.
type Referring<'a> = dyn FnMut(&str) -> Result<(usize, bool), String> + 'a;

/// Encodes JSON as smallcaps, without the `#` in front. `refer` finds the slot that a URL names, and whether it is a promise.
pub(super) fn to_smallcaps(value: &Value, refer: &mut Referring<'_>) -> Result<Value, String> {
    Ok(match value {
        Value::Array(items) => items.iter().map(|it| to_smallcaps(it, refer)).collect::<Result<_, _>>()?,
        Value::Object(members) => match members.iter().next() {
            Some((key, first)) if key.starts_with('@') && !key.starts_with("@@") => {
                special(key, first, members, refer)?
            }
            _ => {
                let mut encoded = Map::new();
                for (key, it) in members {
                    let key = match key.strip_prefix('@') {
                        None => key,
                        Some(rest) if rest.starts_with('@') => rest,
                        Some(_) => return Err(unknown(key)),
                    };
                    encoded.insert(smallcaps::text(key), to_smallcaps(it, refer)?);
                }
                encoded.into()
            }
        },
        other => smallcaps::from_json(other),
    })
}

fn unknown(key: &str) -> String {
    format!("`{key}` means nothing: a key of plain data that begins with @ is written with another @ in front")
}

fn special(key: &str, first: &Value, members: &Map<String, Value>, refer: &mut Referring<'_>) -> Result<Value, String> {
    let text = || first.as_str().ok_or_else(|| format!("`{key}` wants a text"));
    // An interface's name may stand beside a reference that an answer gave.
    let alone = |others: &[&str]| match members.keys().find(|it| *it != key && !others.contains(&it.as_str())) {
        None => Ok(()),
        Some(other) => Err(format!("`{other}` may not stand beside `{key}`")),
    };
    match key {
        CAP | PROMISE => {
            alone(&["interface"])?;
            let (slot, is_promise) = refer(text()?)?;
            Ok(format!("{}{slot}", if is_promise { '&' } else { '$' }).into())
        }
        "@bigint" => {
            alone(&[])?;
            let digits = text()?;
            let (sign, bare) = digits.strip_prefix('-').map_or(("+", digits), |bare| ("-", bare));
            let is_number = !bare.is_empty() && bare.bytes().all(|it| it.is_ascii_digit());
            let plain = bare.trim_start_matches('0');
            match (is_number, plain.is_empty()) {
                (false, _) => Err(format!("`{digits}` is no integer")),
                (true, true) => Ok("+0".into()),
                (true, false) => Ok(format!("{sign}{plain}").into()),
            }
        }
        "@undefined" => alone(&[]).map(|()| "#undefined".into()),
        _ => Err(unknown(key)),
    }
}

/// Decodes the body of a value. `name` gives the URL of a slot, by its number, and whether it is a promise.
pub(super) fn of_body(body: &str, name: &mut dyn FnMut(usize) -> Option<(String, bool)>) -> Value {
    let value = body.strip_prefix('#').and_then(|it| serde_json::from_str(it).ok());
    value.map_or_else(|| json!({ "@body": body }), |value: Value| of_smallcaps(&value, name))
}

fn of_smallcaps(value: &Value, name: &mut dyn FnMut(usize) -> Option<(String, bool)>) -> Value {
    match value {
        Value::String(text) => of_text(text, name),
        Value::Array(items) => items.iter().map(|it| of_smallcaps(it, name)).collect(),
        Value::Object(members) => of_record(members, name),
        other => other.clone(),
    }
}

fn of_record(members: &Map<String, Value>, name: &mut dyn FnMut(usize) -> Option<(String, bool)>) -> Value {
    if let Some(message) = members.get("#error") {
        let said = |it: &Value| it.as_str().and_then(smallcaps::as_text).unwrap_or_default().to_owned();
        let kind = members.get("name").map_or_else(|| "Error".to_owned(), said);
        return json!({ "@error": { "name": kind, "message": said(message) } });
    }
    if let Some(tag) = members.get("#tag") {
        let payload = members.get("payload").map_or(Value::Null, |it| of_smallcaps(it, name));
        return json!({ "@tag": of_smallcaps(tag, name), "payload": payload });
    }
    let mut plain = Map::new();
    for (key, it) in members {
        let key = smallcaps::as_text(key).unwrap_or(key);
        let escape = if key.starts_with('@') { "@" } else { "" };
        plain.insert(format!("{escape}{key}"), of_smallcaps(it, name));
    }
    plain.into()
}

fn of_text(text: &str, name: &mut dyn FnMut(usize) -> Option<(String, bool)>) -> Value {
    if let Some(plain) = smallcaps::as_text(text) {
        return plain.into();
    }
    if let Ok(number) = smallcaps::to_json(&text.into()) {
        return number;
    }
    let rest = text.get(1..).unwrap_or_default();
    match text.as_bytes().first() {
        Some(b'$' | b'&') => {
            let (slot, interface) = rest.split_once('.').map_or((rest, None), |(slot, it)| (slot, Some(it)));
            let Some((url, is_promise)) = slot.parse().ok().and_then(name) else { return json!({ "@body": text }) };
            let mut reference = json!({ if is_promise { PROMISE } else { CAP }: url });
            if let Some(interface) = interface {
                reference["interface"] = interface.strip_prefix("Alleged: ").unwrap_or(interface).into();
            }
            reference
        }
        Some(b'+') => json!({ "@bigint": rest }),
        Some(b'-') => json!({ "@bigint": text }),
        Some(b'%') => json!({ "@symbol": rest }),
        Some(b'#') => json!({ "@number": rest }),
        _ => json!({ "@body": text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(value: &Value) -> Result<Value, String> {
        to_smallcaps(value, &mut |url| match url {
            "/cap/a" => Ok((0, false)),
            "/promise/b" => Ok((1, true)),
            _ => Err(format!("no {url}")),
        })
    }

    fn back(value: &Value) -> Value {
        let mut names = |slot: usize| Some((["/cap/a", "/promise/b"].get(slot)?.to_string(), slot == 1));
        of_body(&format!("#{value}"), &mut names)
    }

    #[test]
    fn what_goes_in_comes_out_the_same() {
        for value in [
            json!([null, true, -1, 0.5, "", "$0", "@cap", "/cap/a", 9_007_199_254_740_993_u64]),
            json!({ "a": { "@@cap": "/cap/a", "@@@x": 1 }, "#error": "no error" }),
            json!([{ "@cap": "/cap/a" }, { "@promise": "/promise/b" }]),
            json!({ "@bigint": "36893488147419103232" }),
        ] {
            assert_eq!(back(&there(&value).unwrap()), value);
        }
        let seen = json!(["$0", "!$0", { "@x": "&1" }]);
        let written =
            json!([{ "@cap": "/cap/a", "interface": "purse" }, "$0", { "@@x": { "@promise": "/promise/b" } }]);
        assert_eq!(there(&written), Ok(seen));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (value, why) in [
            (json!({ "@cap": "/cap/z" }), "no /cap/z"),
            (json!({ "@cap": 5 }), "`@cap` wants a text"),
            (json!({ "@cap": "/cap/a", "more": 1 }), "`more` may not stand beside `@cap`"),
            (json!({ "@bigint": "1e5" }), "`1e5` is no integer"),
            (json!([{ "@market": 1 }]), "`@market` means nothing"),
            (json!({ "a": 1, "@b": 1 }), "`@b` means nothing"),
        ] {
            let refused = there(&value).unwrap_err();
            assert!(refused.starts_with(why), "{value}: {refused}");
        }
    }

    #[test]
    fn what_json_has_no_word_for_has_a_form() {
        let inside = json!(["#undefined", "#NaN", "%asyncIterator", "+18446744073709551616", "-18446744073709551616",
            { "#error": "bad", "name": "TypeError" }, { "#tag": "copySet", "payload": ["$0.Alleged: purse"] }, "$7"]);
        let outside = json!([null, { "@number": "NaN" }, { "@symbol": "asyncIterator" }, { "@bigint": "18446744073709551616" },
            { "@bigint": "-18446744073709551616" }, { "@error": { "name": "TypeError", "message": "bad" } },
            { "@tag": "copySet", "payload": [{ "@cap": "/cap/a", "interface": "purse" }] }, { "@body": "$7" }]);
        assert_eq!(back(&inside), outside);
    }
}
