//! Plain data as smallcaps and back: how JSON from outside reaches a vat, and what a vat says reaches the outside.
//!
//! Smallcaps is Endo's encoding: JSON behind a `#`, in which a text that begins with one of `!"#$%&'()*+,-` is escaped by a `!`, and
//! what JSON has no word for is such a text: `"+5"` is a bigint, `"#undefined"` is undefined, `"$0"` a reference.

use serde_json::{Map, Value, json};

/// The largest integer that a JSON number holds exactly; beyond it smallcaps has bigints.
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A text as it stands in a body.
pub fn text(text: &str) -> String {
    if is_special(text) { format!("!{text}") } else { text.to_owned() }
}

/// The text that stands in a body as this; `None` where it is no text.
pub fn as_text(encoded: &str) -> Option<&str> {
    match encoded.strip_prefix('!') {
        Some(text) => Some(text),
        None => (!is_special(encoded)).then_some(encoded),
    }
}

fn is_special(text: &str) -> bool {
    matches!(text.chars().next(), Some('!'..='-'))
}

/// JSON as smallcaps, without the `#` in front. Integers that a JSON number cannot hold exactly become bigints.
pub fn from_json(value: &Value) -> Value {
    match value {
        Value::String(it) => Value::String(text(it)),
        Value::Number(number) => {
            let large = number.as_u64().map(|it| it > SAFE_INTEGER_MAX);
            let large = large.or_else(|| number.as_i64().map(|it| it.unsigned_abs() > SAFE_INTEGER_MAX));
            match (large, number.as_i64().is_some_and(i64::is_negative)) {
                (Some(true), true) => json!(number.to_string()),
                (Some(true), false) => json!(format!("+{number}")),
                _ => value.clone(),
            }
        }
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, it)| (text(key), from_json(it))).collect::<Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

/// Smallcaps, without the `#` in front, as JSON: only plain data has a JSON form. Bigints become numbers, undefined becomes null.
pub fn to_json(value: &Value) -> Result<Value, String> {
    Ok(match value {
        Value::String(it) => match as_text(it) {
            Some(text) => text.into(),
            None if it == "#undefined" => Value::Null,
            None => bigint(it).ok_or_else(|| format!("`{it}` is not plain data"))?,
        },
        Value::Array(items) => items.iter().map(to_json).collect::<Result<_, _>>()?,
        Value::Object(members) => {
            let mut plain = Map::new();
            for (key, it) in members {
                let key = as_text(key).ok_or_else(|| format!("a record with `{key}` is not plain data"))?;
                plain.insert(key.to_owned(), to_json(it)?);
            }
            plain.into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// A bigint, as far as a JSON number of 64 bits reaches.
fn bigint(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    match digits.parse::<u64>() {
        Ok(number) => Some(number.into()),
        Err(_) => digits.parse::<i64>().ok().map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_data_goes_in_and_comes_out_again() {
        let json = json!([null, true, -1, 0.5, "", "plain", "-5", "!", "$0", { "a": [], "#b": { "+": 9_007_199_254_740_992_u64 } }]);
        let inside = from_json(&json);
        let seen = json!([null, true, -1, 0.5, "", "plain", "!-5", "!!", "!$0", { "a": [], "!#b": { "!+": "+9007199254740992" } }]);
        assert_eq!(inside, seen);
        assert_eq!(to_json(&inside), Ok(json));
        assert_eq!(from_json(&json!(i64::MIN)), json!("-9223372036854775808"));
    }

    #[test]
    fn what_is_not_plain_does_not_come_out() {
        for it in ["$0.Alleged: purse", "&1", "%sym", "#NaN", "+18446744073709551616", "-x", "+"] {
            assert!(to_json(&json!([it])).is_err(), "{it}");
        }
        for it in [json!({ "#error": "bad" }), json!({ "#tag": "copySet", "payload": [] }), json!([{ "x": "$0" }])] {
            assert!(to_json(&it).is_err(), "{it}");
        }
        assert_eq!(to_json(&json!(["#undefined", "+7", "-7"])), Ok(json!([null, 7, -7])));
    }
}
