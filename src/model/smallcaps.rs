//! Plain data as smallcaps and back: how JSON from outside reaches a vat, and what a vat says reaches the outside.
//!
//! Smallcaps is Endo's encoding: JSON behind a `#`. What JSON cannot express is a text that begins with one of
//! `!"#$%&'()*+,-`: `"+5"` is a bigint, `"#undefined"` is undefined, `"$0"` is a reference. A plain text that begins
//! with one of these is escaped by a `!`.

use serde_json::{Map, Value, json};

/// The largest integer that a JSON number holds exactly; beyond it smallcaps has bigints.
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Encodes a text for a body.
pub fn text(text: &str) -> String {
    if is_special(text) { format!("!{text}") } else { text.to_owned() }
}

/// Decodes a text of a body; `None` if it encodes something else.
pub fn as_text(encoded: &str) -> Option<&str> {
    match encoded.strip_prefix('!') {
        Some(text) => Some(text),
        None => (!is_special(encoded)).then_some(encoded),
    }
}

fn is_special(text: &str) -> bool {
    matches!(text.chars().next(), Some('!'..='-'))
}

/// Parses JSON from outside. Refuses, with the reason, what is not JSON, and what has an integer of more than 64
/// bits: that would become another number.
pub fn read_json(bytes: &[u8]) -> Result<Value, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|err| format!("it is not UTF-8 from byte {} on", err.valid_up_to() + 1))?;
    let value = serde_json::from_str(text).map_err(|err| {
        let (said, place) = (err.to_string(), format!(" at line {} column {}", err.line(), err.column()));
        format!("its JSON is wrong at column {}: {}", err.column(), said.strip_suffix(&*place).unwrap_or(&said))
    })?;
    match large_integer(text) {
        None => Ok(value),
        Some((at, digits)) => {
            Err(format!("at column {} is the integer {digits}, of more than 64 bits: write it as a text", at + 1))
        }
    }
}

/// Finds the first integer in a JSON text that 64 bits do not hold, and its offset.
fn large_integer(text: &str) -> Option<(usize, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        let rest = &bytes[at..];
        let length = match first {
            b'"' => text_length(rest),
            b'-' | b'0'..=b'9' => {
                let is_of_number = |it: &&u8| it.is_ascii_alphanumeric() || b"+-.".contains(it);
                let token = text.get(at..at + rest.iter().take_while(is_of_number).count())?;
                let is_integer = !token.contains(['.', 'e', 'E']);
                if is_integer && token.parse::<u64>().is_err() && token.parse::<i64>().is_err() {
                    return Some((at, token));
                }
                token.len()
            }
            _ => 1,
        };
        at += length;
    }
    None
}

/// Counts the bytes of the JSON text that begins here, both quotes included.
fn text_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            // The escaped character does not end the text.
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Encodes JSON as smallcaps, without the `#` in front. Integers that a JSON number cannot hold exactly become
/// bigints.
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

/// Decodes smallcaps, without the `#` in front, to JSON. Only plain data has a JSON form: bigints of up to 64 bits become
/// numbers, undefined becomes null, and anything else is an error.
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

/// Decodes any smallcaps, without the `#` in front, to JSON for a program. What JSON cannot express becomes a text or a key that begins
/// with an `@`: a reference is `@ko31`, by the name that `slot` gives its number. A plain text that begins with an `@` gets a second
/// one. Bigints of up to 64 bits become numbers, undefined becomes null.
pub fn to_program(value: &Value, slot: &dyn Fn(usize) -> Option<String>) -> Value {
    let plain = |text: &str| if text.starts_with('@') { format!("@{text}") } else { text.to_owned() };
    match value {
        Value::String(it) => match as_text(it) {
            Some(text) => plain(text).into(),
            None if it == "#undefined" => Value::Null,
            None => bigint(it).unwrap_or_else(|| named_reference(it, slot).unwrap_or_else(|| format!("@{it}")).into()),
        },
        Value::Array(items) => items.iter().map(|it| to_program(it, slot)).collect(),
        Value::Object(members) => {
            let key = |key: &str| as_text(key).map_or_else(|| format!("@{key}"), plain);
            members.iter().map(|(name, it)| (key(name), to_program(it, slot))).collect::<Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The name of the reference that `$0.Alleged: purse` or `&1` is.
fn named_reference(text: &str, slot: &dyn Fn(usize) -> Option<String>) -> Option<String> {
    let number = text.strip_prefix(['$', '&'])?.split('.').next()?;
    Some(format!("@{}", slot(number.parse().ok()?)?))
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
    fn an_integer_that_would_become_another_number_does_not_come_in() {
        for (text, digits) in [
            ("18446744073709551616", Some("18446744073709551616")),
            ("[\"\\\\\\\"9\", {\"a\": -9223372036854775809}]", Some("-9223372036854775809")),
            ("[18446744073709551615, -9223372036854775808, -0, 1e30, 99999999999999999999.5]", None),
            ("\"18446744073709551616\"", None),
            ("{\"18446744073709551616\": [\"\\\"18446744073709551616\"]}", None),
        ] {
            match (read_json(text.as_bytes()), digits) {
                (Ok(_), None) => (),
                (Err(why), Some(digits)) => {
                    assert!(why.contains(&format!("integer {digits}, of more")), "{text}: {why}")
                }
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }

    #[test]
    fn a_program_reads_whatever_a_vat_says() {
        let slot = |at: usize| ["ko31", "kp41"].get(at).map(|it| (*it).to_owned());
        let said = json!({ "a": ["$0.Alleged: purse", "&1", "$7", "+5", "#undefined", "@x", "!-y"], "#error": "bad", "@k": "#NaN" });
        let read = json!({ "a": ["@ko31", "@kp41", "@$7", 5, null, "@@x", "-y"], "@#error": "bad", "@@k": "@#NaN" });
        assert_eq!(to_program(&said, &slot), read);
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
