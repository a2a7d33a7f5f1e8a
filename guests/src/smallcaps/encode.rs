//! Encodes values as text.

use alloc::string::String;
use alloc::vec::Vec;

use super::part;
use crate::number::{push_i128, push_u64};
use crate::promise::Again;
use crate::sys::CapData;
use crate::vref::VRef;
use crate::{Decimal, Value};

/// Writes a value. Settled promises in it are added to `again`, to be sent as new ones.
pub(crate) fn encode(value: &Value, again: &mut Again) -> CapData {
    let mut encoder = Encoder::new(again);
    encoder.value(value);
    encoder.data
}

/// Writes `[method, args]`.
pub(crate) fn encode_message(method: &str, args: Vec<Value>, again: &mut Again) -> CapData {
    let mut encoder = Encoder::new(again);
    encoder.data.body.push('[');
    encoder.text(method);
    encoder.data.body.push(',');
    encoder.list(&args);
    encoder.data.body.push(']');
    encoder.data
}

struct Encoder<'a> {
    data: CapData,
    again: &'a mut Again,
}

impl<'a> Encoder<'a> {
    fn new(again: &'a mut Again) -> Self {
        let mut body = String::with_capacity(64);
        body.push('#');
        Encoder { data: CapData { body, slots: Vec::new() }, again }
    }

    fn value(&mut self, value: &Value) {
        let body = &mut self.data.body;
        match value {
            Value::Undefined => body.push_str("\"#undefined\""),
            Value::Null => body.push_str("null"),
            Value::Bool(true) => body.push_str("true"),
            Value::Bool(false) => body.push_str("false"),
            Value::Int(n) => push_i128(body, (*n).into(), false),
            Value::Decimal(Decimal(text)) => {
                let special = text.ends_with(['N', 'y']);
                body.push_str(if special { "\"#" } else { "" });
                body.push_str(text);
                body.push_str(if special { "\"" } else { "" });
            }
            Value::BigInt(n) => {
                body.push('"');
                push_i128(body, *n, true);
                body.push('"');
            }
            Value::Str(text) => self.text(text),
            Value::Symbol(name) => self.quoted("%", name),
            Value::List(items) => self.list(items),
            Value::Record(members) => self.record(members),
            Value::Tagged(tag, payload) => {
                body.push_str("{\"#tag\":");
                self.text(tag);
                self.data.body.push_str(",\"payload\":");
                self.value(payload);
                self.data.body.push('}');
            }
            Value::Error { name, message } => {
                body.push_str("{\"#error\":");
                self.text(message);
                self.data.body.push_str(",\"name\":");
                self.text(name);
                self.data.body.push('}');
            }
            Value::Remote(remote) => self.slot('$', remote.vref(), ""),
            Value::Exo(exo) => self.slot('$', crate::delivery::export(exo), exo.interface()),
            Value::Device(device) => self.slot('$', device.vref(), ""),
            Value::Promise(promise) => {
                let vpid = promise.mention(self.again);
                self.slot('&', vpid, "");
            }
        }
    }

    fn list(&mut self, items: &[Value]) {
        self.data.body.push('[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.data.body.push(',');
            }
            self.value(item);
        }
        self.data.body.push(']');
    }

    fn record(&mut self, members: &[(String, Value)]) {
        self.data.body.push('{');
        for (i, (name, value)) in members.iter().enumerate() {
            if i > 0 {
                self.data.body.push(',');
            }
            self.text(name);
            self.data.body.push(':');
            self.value(value);
        }
        self.data.body.push('}');
    }

    fn slot(&mut self, prefix: char, vref: VRef, interface: &str) {
        let slots = &mut self.data.slots;
        let index = slots.iter().position(|&known| known == vref).unwrap_or_else(|| {
            slots.push(vref);
            slots.len() - 1
        });
        let body = &mut self.data.body;
        body.push('"');
        body.push(prefix);
        push_u64(body, index as u64);
        if !interface.is_empty() {
            body.push_str(".Alleged: ");
            body.push_str(interface);
        }
        body.push('"');
    }

    /// Text, with `!` before what would otherwise mean something.
    fn text(&mut self, text: &str) {
        let special = matches!(text.as_bytes().first(), Some(b'!'..=b'-'));
        self.quoted(if special { "!" } else { "" }, text);
    }

    fn quoted(&mut self, prefix: &str, text: &str) {
        let body = &mut self.data.body;
        body.push('"');
        body.push_str(prefix);
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= b' ' && byte != b'"' && byte != b'\\' {
                continue;
            }
            body.push_str(part(text, plain..at));
            plain = at + 1;
            body.push('\\');
            match byte {
                b'\n' => body.push('n'),
                b'\r' => body.push('r'),
                b'\t' => body.push('t'),
                b'"' | b'\\' => body.push(byte.into()),
                _ => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    body.push_str("u00");
                    body.push(HEX[usize::from(byte >> 4)].into());
                    body.push(HEX[usize::from(byte & 15)].into());
                }
            }
        }
        body.push_str(part(text, plain..text.len()));
        body.push('"');
    }
}
