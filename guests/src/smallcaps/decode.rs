//! Decodes text into values.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{part, tail};
use crate::number::{parse_i128, parse_u64};
use crate::{Decimal, Error, Value};

/// How deep a body may nest. The decoder recurses, and a vat's stack is small.
const DEPTH_MAX: u32 = 100;
/// How many values a body may hold: each takes 32 bytes here, and as little as two in the body.
const VALUES_MAX: u32 = 65_536;
/// The largest integer that a number of JSON holds safely (2^53 − 1).
const SAFE_INTEGER_MAX: u64 = 9_007_199_254_740_991;

/// Reads a body whose slots have these handles.
///
/// # Errors
/// The body is not smallcaps, names a slot that is not there, or exceeds a limit.
pub(crate) fn decode(body: &[u8], slots: &[Value]) -> Result<Value, Error> {
    let text = core::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    let json = text.strip_prefix('#').ok_or("the body is not smallcaps")?;
    let mut decoder = Decoder { text: json, at: 0, slots, depth: 0, values: 0 };
    let value = decoder.value().map_err(Error::new)?;
    decoder.blanks();
    if decoder.at < json.len() {
        return Err("the body goes on after its end".into());
    }
    Ok(value)
}

/// What is wrong with a body. It becomes an [`Error`] in one place, as that takes code.
type Fault = &'static str;

struct Decoder<'a> {
    text: &'a str,
    at: usize,
    slots: &'a [Value],
    depth: u32,
    values: u32,
}

impl<'a> Decoder<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        part(self.text, self.at..self.text.len())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips blanks, and the character if it is there.
    fn eat(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.eat(byte) { Ok(()) } else { Err("the body is not JSON") }
    }

    fn value(&mut self) -> Result<Value, Fault> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err("the body holds too many values");
        }
        self.blanks();
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                self.special(text)
            }
            Some(b'[') => self.nested(Self::list),
            Some(b'{') => self.nested(Self::record),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Fault>) -> Result<Value, Fault> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("the body nests too deep");
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if !self.rest().starts_with(word) {
            return Err("the body is not JSON");
        }
        self.at += word.len();
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            if !self.eat(b',') {
                self.expect(b']')?;
                return Ok(Value::List(items));
            }
        }
    }

    fn record(&mut self) -> Result<Value, Fault> {
        let mut members = Vec::new();
        if self.eat(b'}') {
            return Ok(Value::Record(members));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.expect(b':')?;
            members.push((key, self.value()?));
            if !self.eat(b',') {
                self.expect(b'}')?;
                return finish_record(members);
            }
        }
    }

    /// A whole number stays one; any other is kept as it is written.
    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = part(self.text, start..self.at);
        let digits = text.strip_prefix('-').unwrap_or(text);
        if let Some(number) = parse_u64(digits.as_bytes())
            && number <= SAFE_INTEGER_MAX
        {
            let number = number.cast_signed();
            return Ok(Value::Int(if digits.len() < text.len() { -number } else { number }));
        }
        let first = digits.as_bytes().first().is_some_and(u8::is_ascii_digit);
        let last = digits.as_bytes().last().is_some_and(u8::is_ascii_digit);
        if first && last { Ok(Value::Decimal(Decimal(text.into()))) } else { Err("the body is not JSON") }
    }

    fn string(&mut self) -> Result<String, Fault> {
        if self.peek() != Some(b'"') {
            return Err("the body is not JSON");
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            let plain = self.at;
            let rest = self.rest().as_bytes();
            let run = rest.iter().position(|&b| b == b'"' || b == b'\\').ok_or("a string has no end")?;
            self.at += run;
            text.push_str(part(self.text, plain..self.at));
            self.at += 1;
            if rest[run] == b'"' {
                return Ok(text);
            }
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let byte = self.peek().ok_or("a string has no end")?;
        self.at += 1;
        Ok(match byte {
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'"' | b'\\' | b'/' => byte.into(),
            b'u' => self.unicode()?,
            _ => return Err("a string has an unknown escape"),
        })
    }

    /// After `\u`: one unit of UTF-16, or two that belong together. Half a pair becomes U+FFFD.
    fn unicode(&mut self) -> Result<char, Fault> {
        let mut units = vec![self.unit()?];
        if units[0] & 0xfc00 == 0xd800 && self.rest().starts_with("\\u") {
            self.at += 2;
            units.push(self.unit()?);
        }
        let mut chars = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        chars.next().ok_or("a string has an unknown escape")
    }

    fn unit(&mut self) -> Result<u16, Fault> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or("a string has no end")?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, &digit| {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return Err("a string has an unknown escape"),
            };
            Ok(unit << 4 | u16::from(value))
        })
    }

    /// The value that a string stands for.
    fn special(&self, text: String) -> Result<Value, Fault> {
        let (first, rest) = match text.as_bytes() {
            [first @ b'!'..=b'-', rest @ ..] => (*first, rest),
            _ => return Ok(Value::Str(text)),
        };
        match first {
            b'!' => Ok(Value::Str(tail(&text).into())),
            b'+' | b'-' => {
                let digits = rest.first().is_some_and(u8::is_ascii_digit);
                let number = parse_i128(text.as_bytes()).filter(|_| digits);
                number.map(Value::BigInt).ok_or("a bigint is malformed, or too large for this vat")
            }
            b'$' | b'&' => self.slot(first, rest),
            b'%' => Ok(Value::Symbol(tail(&text).into())),
            _ => match text.as_str() {
                "#undefined" => Ok(Value::Undefined),
                "#NaN" | "#Infinity" | "#-Infinity" => Ok(Value::Decimal(Decimal(tail(&text).into()))),
                _ => Err("the body has an unknown constant"),
            },
        }
    }

    fn slot(&self, prefix: u8, text: &[u8]) -> Result<Value, Fault> {
        let digits = text.split(|&b| b == b'.').next().unwrap_or(text);
        let index = parse_u64(digits).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.slots.get(index)) {
            Some(value) if matches!(value, Value::Promise(_)) == (prefix == b'&') => Ok(value.clone()),
            Some(_) => Err("the body takes an object for a promise"),
            None => Err("the body names a slot that is not there"),
        }
    }
}

/// A record, unless one of its keys says that it is something else.
fn finish_record(mut members: Vec<(String, Value)>) -> Result<Value, Fault> {
    if let Some(tag) = take(&mut members, "#tag") {
        let Value::Str(tag) = tag else {
            return Err("a tag is not a string");
        };
        let payload = take(&mut members, "payload").ok_or("a tagged value has no payload")?;
        return Ok(Value::Tagged(tag, Box::new(payload)));
    }
    if let Some(message) = take(&mut members, "#error") {
        let Value::Str(message) = message else {
            return Err("an error's message is not a string");
        };
        let name = match take(&mut members, "name") {
            Some(Value::Str(name)) => name,
            _ => "Error".into(),
        };
        return Ok(Value::Error { name, message });
    }
    for (key, _) in &mut members {
        match key.as_bytes().first() {
            Some(b'!') => *key = tail(key).into(),
            Some(b'"'..=b'-') => return Err("a key of a record has a reserved prefix"),
            _ => {}
        }
    }
    Ok(Value::Record(members))
}

fn take(members: &mut [(String, Value)], key: &str) -> Option<Value> {
    let (_, value) = members.iter_mut().find(|(name, _)| name == key)?;
    Some(core::mem::take(value))
}
