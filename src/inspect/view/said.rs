//! Bodies for people: smallcaps, shown as JavaScript would.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::bracketed;
use crate::model::smallcaps;

/// Shows a body as JavaScript would: `{ paid: 70n, purse: <Purse ko28> }`, the members in the order of their names (as
/// marshal writes them). A body that is no smallcaps is shown as it is.
pub(crate) fn said(body: &str, slots: &[impl Display]) -> String {
    let value = body.strip_prefix('#').and_then(|it| serde_json::from_str(it).ok());
    value.map_or_else(|| body.to_owned(), |value| show(&value, slots))
}

/// Shows capdata: the body, and behind it the references that the body does not mention.
pub(crate) fn data(body: &str, slots: &[impl Display]) -> String {
    said(body, slots) + &bracketed(unmentioned(body, slots))
}

/// Shows the body of a message as a call, `deposit(70n, <Purse ko28>)`, and behind it the references that it does not mention.
pub(crate) fn call(body: &str, slots: &[impl Display]) -> String {
    let value = body.strip_prefix('#').and_then(|it| serde_json::from_str(it).ok());
    let Some(Value::Array(parts)) = value else { return data(body, slots) };
    let method = |it: &Value| Some(smallcaps::as_text(it.as_str()?)?.to_owned());
    match &parts[..] {
        [name, Value::Array(args)] if method(name).is_some() => {
            let args: Vec<_> = args.iter().map(|it| show(it, slots)).collect();
            let rest = bracketed(unmentioned(body, slots));
            format!("{}({}){rest}", method(name).unwrap_or_default(), args.join(", "))
        }
        _ => data(body, slots),
    }
}

/// The slots that a body does not mention.
fn unmentioned<'a, T: Display>(body: &str, slots: &'a [T]) -> Vec<&'a T> {
    let mut mentioned = vec![false; slots.len()];
    if let Some(value) = body.strip_prefix('#').and_then(|it| serde_json::from_str(it).ok()) {
        mention(&value, &mut mentioned);
    }
    slots.iter().zip(mentioned).filter(|(_, it)| !it).map(|(slot, _)| slot).collect()
}

fn mention(value: &Value, mentioned: &mut [bool]) {
    match value {
        Value::String(text) => {
            let slot = text.strip_prefix(['$', '&']).map(|it| it.split('.').next().unwrap_or(it));
            let at: Option<usize> = slot.and_then(|it| it.parse().ok());
            at.and_then(|at| mentioned.get_mut(at)).into_iter().for_each(|it| *it = true);
        }
        Value::Array(items) => items.iter().for_each(|it| mention(it, mentioned)),
        Value::Object(members) => members.values().for_each(|it| mention(it, mentioned)),
        _ => (),
    }
}

fn show(value: &Value, slots: &[impl Display]) -> String {
    match value {
        Value::String(text) => word(text, slots),
        Value::Array(items) => format!("[{}]", items.iter().map(|it| show(it, slots)).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => error(members).unwrap_or_else(|| record(members, slots)),
        other => other.to_string(),
    }
}

fn error(members: &Map<String, Value>) -> Option<String> {
    let text = |it: &Value| Some(smallcaps::as_text(it.as_str()?)?.to_owned());
    let message = text(members.get("#error")?)?;
    let name = members.get("name").and_then(text).unwrap_or_else(|| "Error".to_owned());
    Some(format!("{name}: {message}"))
}

fn record(members: &Map<String, Value>, slots: &[impl Display]) -> String {
    if members.is_empty() {
        return "{}".to_owned();
    }
    let is_plain = |key: &str| {
        !key.is_empty()
            && !key.starts_with(|it: char| it.is_ascii_digit())
            && key.chars().all(|it| it.is_ascii_alphanumeric() || it == '_' || it == '$')
    };
    let members = members.iter().map(|(key, it)| {
        let key = smallcaps::as_text(key).unwrap_or(key);
        let key = if is_plain(key) { key.to_owned() } else { Value::from(key).to_string() };
        format!("{key}: {}", show(it, slots))
    });
    format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
}

/// Shows a text, or a value that smallcaps encodes as one.
fn word(text: &str, slots: &[impl Display]) -> String {
    if let Some(text) = smallcaps::as_text(text) {
        return Value::from(text).to_string();
    }
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    let shown = match text.split_at_checked(1) {
        Some(("+", digits)) if is_number(digits) => Some(format!("{digits}n")),
        Some(("-", digits)) if is_number(digits) => Some(format!("-{digits}n")),
        Some(("#", word @ ("undefined" | "NaN" | "Infinity" | "-Infinity"))) => Some(word.to_owned()),
        Some(("%", name)) => Some(format!("Symbol({name})")),
        Some(("$" | "&", slot)) => reference(slot, slots),
        _ => None,
    };
    shown.unwrap_or_else(|| Value::from(text).to_string())
}

/// Shows a reference such as `0.Alleged: Purse`, with the name of its slot.
fn reference(slot: &str, slots: &[impl Display]) -> Option<String> {
    let (at, interface) = slot.split_once('.').unwrap_or((slot, ""));
    let name = slots.get(at.parse::<usize>().ok()?)?;
    let interface = interface.strip_prefix("Alleged: ").unwrap_or(interface);
    Some(if interface.is_empty() { format!("<{name}>") } else { format!("<{interface} {name}>") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_javascript_would() {
        let rows = [
            (
                r##"#{"paid":"+70","debt":"-5","no text":[1,null,true],"purse":"$1.Alleged: Purse","when":"&0"}"##,
                r##"{ debt: -5n, "no text": [1, null, true], paid: 70n, purse: <Purse ko28>, when: <kp3> }"##,
            ),
            (r##"#{"#error":"no such purse","name":"TypeError"}"##, "TypeError: no such purse"),
            (r##"#"!-x \"y\"""##, r##""-x \"y\"""##),
            (
                r##"#["#undefined","#NaN","#-Infinity","%iterator",{}]"##,
                "[undefined, NaN, -Infinity, Symbol(iterator), {}]",
            ),
            (r##"#"$7""##, r##""$7""##),
            ("no smallcaps", "no smallcaps"),
        ];
        for (body, shown) in rows {
            assert_eq!(said(body, &["kp3", "ko28"]), shown);
        }
    }

    #[test]
    fn a_message_is_a_call_and_no_reference_is_lost() {
        let slots = ["kp3", "ko28"];
        let rows = [
            (r##"#["pay",["+5","$1.Alleged: Purse",{"when":"&0"}]]"##, "pay(5n, <Purse ko28>, { when: <kp3> })"),
            (r##"#["hi",[]]"##, "hi() [kp3, ko28]"),
            (r##"#["%iterator",["$1"]]"##, "[Symbol(iterator), [<ko28>]] [kp3]"),
            (r##"#["hi"]"##, r##"["hi"] [kp3, ko28]"##),
            ("no smallcaps", "no smallcaps [kp3, ko28]"),
        ];
        for (body, shown) in rows {
            assert_eq!(call(body, &slots), shown);
        }
        assert_eq!(data(r##"#"$1.Alleged: Purse""##, &slots), "<Purse ko28> [kp3]");
        assert_eq!(data("#70", &[] as &[&str]), "70");
    }
}
