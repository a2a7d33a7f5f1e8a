//! Lines of the mailbox's files: what a line says, or why it cannot be used.

use serde::{
    Deserialize,
    de::{Error as _, IgnoredAny},
};
use serde_json::{Map, Value};

use crate::model::smallcaps;

/// A line that comes in.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// A message, and its number.
    Message(u64, Value),
    /// The outside has the mailbox's messages up to this number.
    Acknowledged(u64),
}

/// A line that cannot be used.
#[derive(Debug, PartialEq)]
pub(super) struct Unusable {
    /// The number of the message that the line would have been, if it can be read.
    pub(super) number: Option<u64>,
    /// The reason: the same for every host that reads the line, at any place.
    pub(super) why: String,
}

const NEITHER: &str = "it is neither `{\"num\": N, \"body\": …}`, N from 1 on, nor `{\"ack\": N}`";

impl Line {
    pub(super) fn read(bytes: &[u8]) -> Result<Line, Unusable> {
        let unusable = |why| Unusable { number: number_of(bytes), why };
        let value = smallcaps::read_json(bytes).map_err(unusable)?;
        Line::of(value).ok_or_else(|| unusable(NEITHER.to_owned()))
    }

    fn of(value: Value) -> Option<Line> {
        let Value::Object(mut members) = value else { return None };
        let number = |members: &Map<String, Value>, name: &str| members.get(name).and_then(Value::as_u64);
        match members.len() {
            1 => Some(Line::Acknowledged(number(&members, "ack")?)),
            2 => {
                let number = number(&members, "num").filter(|it| *it > 0)?;
                Some(Line::Message(number, members.remove("body")?))
            }
            _ => None,
        }
    }
}

/// Returns the number of a message, even if its body is wrong.
pub(super) fn number_of(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        num: u64,
        #[serde(default, rename = "body")]
        _body: Option<IgnoredAny>,
    }
    serde_json::from_slice(bytes).ok().map(|Numbered { num, .. }| num).filter(|it| *it > 0)
}

/// A line of the outbound file, which a host wrote.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// A vat's message.
    Message(u64, Value),
    /// A message from outside was refused: our number, its number, and why.
    Refused(u64, u64, String),
    /// A vat has the outside's messages up to this number.
    Acknowledged(u64),
}

impl Said {
    pub(super) fn read(text: &str) -> Result<Said, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, deny_unknown_fields)]
        enum Line {
            Message { num: u64, body: Value },
            Refused { num: u64, refused: u64, why: String },
            Acknowledged { ack: u64 },
        }
        Ok(match serde_json::from_str(text)? {
            Line::Message { num: 0, .. } | Line::Refused { num: 0, .. } => {
                return Err(serde_json::Error::custom("no 0"));
            }
            Line::Message { num, body } => Said::Message(num, body),
            Line::Refused { num, refused, why } => Said::Refused(num, refused, why),
            Line::Acknowledged { ack } => Said::Acknowledged(ack),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_used_says_why_and_which_message_it_is() {
        let deep = format!("{{\"num\":7,\"body\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let rows: [(&[u8], Option<u64>, &str); 12] = [
            (br#"{"num":7,"body":"\ud800"}"#, Some(7), "its JSON is wrong at column 24: unexpected end of hex escape"),
            (deep.as_bytes(), Some(7), "its JSON is wrong at column 143: recursion limit exceeded"),
            (br#"{"num":7,"body":1e400}"#, Some(7), "its JSON is wrong at column 21: number out of range"),
            (
                br#"{"body":18446744073709551616,"num":7}"#,
                Some(7),
                "at column 9 is the integer 18446744073709551616, of more than 64 bits: write it as a text",
            ),
            (b"{\"num\":7,\"body\":\"\xff\"}", Some(7), "it is not UTF-8 from byte 18 on"),
            (b"\xff", None, "it is not UTF-8 from byte 1 on"),
            (br#"{"num":7,"bo"#, None, "its JSON is wrong at column 12: EOF while parsing a string"),
            (br#"{"num":7,"bdy":1}"#, Some(7), NEITHER),
            (br#"{"num":0,"body":1}"#, None, NEITHER),
            (br#"{"num":-7,"body":1}"#, None, NEITHER),
            (
                br#"{"num":18446744073709551616,"body":1}"#,
                None,
                "at column 8 is the integer 18446744073709551616, of more than 64 bits: write it as a text",
            ),
            (b"[]", None, NEITHER),
        ];
        for (line, number, why) in rows {
            let text = String::from_utf8_lossy(line);
            assert_eq!(Line::read(line), Err(Unusable { number, why: why.to_owned() }), "{text}");
        }
        assert_eq!(Line::read(br#" {"body": null, "num": 7} "#), Ok(Line::Message(7, json!(null))));
        assert_eq!(Line::read(br#"{"ack":7}"#), Ok(Line::Acknowledged(7)));
    }
}
