//! How answers are printed, and how what guests wrote is made fit for a terminal.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    cli::{Output, output::table},
    id::VatId,
    table::{KernelObject, Owner, Tables},
    value::Bytes,
};

/// A row of a table; as JSON, one object of an array. The names of its fields are a contract.
pub(super) trait Row: Serialize {
    /// The columns.
    const HEADER: &'static [&'static str];
    /// Which of them are text; the rest are numbers.
    const LEFT: &'static [usize];

    /// The row for people.
    fn cells(&self) -> Vec<String>;
}

/// One object; for people, a line a fact.
pub(super) trait Facts: Serialize {
    /// Names and values.
    fn facts(&self) -> Vec<(&'static str, String)>;
}

/// Prints answers as the command line wants them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printer<'a> {
    pub(super) output: &'a Output,
    pub(super) json: bool,
    pub(super) limit: Option<usize>,
}

impl Printer<'_> {
    pub(super) fn facts(&self, it: &impl Facts) -> anyhow::Result<()> {
        if self.json {
            return self.output.json(it);
        }
        let facts = it.facts();
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in facts {
            self.output.line(format!("{name:width$}  {value}"))?;
        }
        Ok(())
    }

    pub(super) fn rows<T: Row>(&self, mut rows: Vec<T>) -> anyhow::Result<()> {
        let total = rows.len();
        rows.truncate(self.shown(total));
        if self.json {
            self.output.json(&rows)?;
        } else {
            self.output.line(table(T::HEADER, T::LEFT, rows.iter().map(Row::cells)))?;
        }
        self.say_what_is_left_out(rows.len(), total);
        Ok(())
    }

    /// How many of so many rows are wanted.
    pub(super) fn shown(&self, total: usize) -> usize {
        self.limit.map_or(total, |limit| limit.min(total))
    }

    pub(super) fn say_what_is_left_out(&self, shown: usize, total: usize) {
        if shown < total {
            self.output.note(format!("{shown} of {total}; a larger --limit shows more"));
        }
    }
}

/// `v2 bank`, for people.
pub(super) fn label(tables: &Tables, vat: VatId) -> String {
    match tables.vats.get(&vat) {
        Some(row) => format!("{vat} {}", brief(row.name.as_bytes())),
        None => vat.to_string(),
    }
}

/// Who answers for an object, for people.
pub(super) fn owner_label(tables: &Tables, owner: Owner) -> String {
    match owner {
        Owner::Vat(vat) => label(tables, vat),
        Owner::Kernel(it) => format!("kernel: {}", role(it)),
    }
}

/// What an object of the kernel does.
pub(super) fn role(it: KernelObject) -> String {
    match it {
        KernelObject::VatAdmin => "vatAdmin".to_owned(),
        KernelObject::AdminFacet(vat) => format!("adminFacet {vat}"),
        KernelObject::Meter(number) => format!("meter {number}"),
    }
}

/// A value that may be missing, for people.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |it| it.to_string())
}

/// References in brackets; nothing where there are none.
pub(super) fn bracketed(refs: impl IntoIterator<Item = impl ToString>) -> String {
    let refs: Vec<String> = refs.into_iter().map(|it| it.to_string()).collect();
    if refs.is_empty() { String::new() } else { format!(" [{}]", refs.join(", ")) }
}

/// What a guest wrote, in one short line that cannot steer a terminal.
pub(super) fn brief(bytes: &[u8]) -> String {
    const MAX: usize = 80;
    let text = String::from_utf8_lossy(bytes);
    let mut line = String::new();
    for (at, it) in text.chars().enumerate() {
        match it {
            _ if at == MAX => {
                line.push('…');
                break;
            }
            it if it.is_control() || is_invisible(it) => line.extend(it.escape_default()),
            it => line.push(it),
        }
    }
    line
}

/// A key or a value: in one short line where it is text, other bytes in hex.
pub(super) fn printable(bytes: &Bytes) -> String {
    match bytes.as_text() {
        Some(_) => brief(bytes),
        None => brief(format!("{bytes:?}").as_bytes()),
    }
}

/// Characters that turn the direction of text, or take no room.
fn is_invisible(it: char) -> bool {
    matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Bytes as in the slog: a text where they are UTF-8, otherwise `{ "base64": … }`.
pub(super) fn bytes(bytes: &Bytes) -> Value {
    use base64::{Engine, prelude::BASE64_STANDARD};
    match bytes.as_text() {
        Some(text) => json!(text),
        None => json!({ "base64": BASE64_STANDARD.encode(&**bytes) }),
    }
}

/// The same value with `camelCase` names.
pub(super) fn camel(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let renamed = members.into_iter().map(|(name, value)| {
        let mut words = name.split('_');
        let mut name = words.next().unwrap_or("").to_owned();
        for word in words {
            let mut rest = word.chars();
            name.extend(rest.next().map(|it| it.to_ascii_uppercase()));
            name.push_str(rest.as_str());
        }
        (name, camel(value))
    });
    Value::Object(renamed.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_wrote_cannot_steer_a_terminal() {
        assert_eq!(brief(b"#\"a\x1b[2J\nb\""), "#\"a\\u{1b}[2J\\nb\"");
        assert_eq!(brief("\u{202e}é\u{9b}".as_bytes()), "\\u{202e}é\\u{9b}");
        assert_eq!(brief(&[0xff]), "\u{fffd}");
        assert_eq!(brief(&[b'x'; 80]), "x".repeat(80));
        assert_eq!(brief(&[b'x'; 81]), format!("{}…", "x".repeat(80)));
    }

    #[test]
    fn names_become_camel_case_all_the_way_down() {
        let value = json!({ "fuel_per_delivery": 1, "name": { "on_fault": "x_y" } });
        assert_eq!(camel(value), json!({ "fuelPerDelivery": 1, "name": { "onFault": "x_y" } }));
    }
}
