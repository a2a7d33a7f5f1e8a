//! Views of a state: rows and facts, for scripts as JSON, for people as text that cannot steer a terminal.
//!
//! Nothing here prints: the command line prints the views, and the debugger returns them in its replies.

pub(crate) mod clist;
pub(crate) mod kv;
pub(crate) mod objects;
pub(crate) mod overview;
pub(crate) mod promises;
pub(crate) mod queue;
pub(crate) mod said;
pub(crate) mod sizes;
pub(crate) mod text;
pub(crate) mod transcript;
pub(crate) mod vats;

use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    inspect::view::text::harmless,
    model::{id::VatId, value::Bytes},
    state::{
        block::{Block, stored},
        table::{KernelObject, Owner, Tables},
    },
    store::Cut,
};

/// Bytes of memory that rows of the state may take while they are listed.
const LISTED_MEMORY: u64 = 16 << 20;

/// Rows that are listed together.
const PIECE: usize = 1_000;

/// Some listed rows, each with the key behind which the list goes on.
type Piece<T, K> = Vec<(T, K)>;

/// Hands over rows piece by piece, until it is told to stop. `rows` makes those from a place on, at most [`PIECE`] of them; what they were
/// made of leaves the memory before the next, if it takes too much.
fn in_pieces<T, K, E>(
    block: &mut Block,
    mut from: Cut<K>,
    rows: impl Fn(&Tables, Cut<K>) -> Piece<T, K>,
    mut each: impl FnMut(Vec<T>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    loop {
        stored::set_memory(block, LISTED_MEMORY);
        let (rows, mut keys): (Vec<T>, Vec<K>) = rows(block.tables(), from).into_iter().unzip();
        let is_last = rows.len() < PIECE;
        let Some(last) = keys.pop() else { return Ok(()) };
        if each(rows)?.is_break() || is_last {
            return Ok(());
        }
        from = Cut::behind(last);
    }
}

/// A row of a table; as JSON, one object of an array. The names of its fields are a contract.
pub(crate) trait Row: Serialize {
    /// The names of the columns.
    const HEADER: &'static [&'static str];
    /// The indices of the columns that are text; the rest are numbers.
    const LEFT: &'static [usize];

    /// Returns the cells of the row, for people.
    fn cells(&self) -> Vec<String>;
}

/// One thing with named facts; as JSON, an object. For people, each fact is a line.
pub(crate) trait Facts: Serialize {
    /// Returns the names and the values, for people.
    fn facts(&self) -> Vec<(&'static str, String)>;
}

/// Writes facts for people, a line each.
pub(crate) fn lines(facts: &impl Facts) -> String {
    let facts = facts.facts();
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect::<Vec<_>>().join("\n")
}

/// Writes rows as a table for people.
pub(crate) fn table_of<T: Row>(rows: &[T]) -> String {
    text::table(T::HEADER, T::LEFT, rows.iter().map(Row::cells))
}

/// The refusal of a word that names no vat, or several, with a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// Finds the vat of this number, or of this name.
pub(crate) fn find(tables: &Tables, word: &str) -> Result<VatId, Unknown> {
    let vats = &tables.vats;
    if let Some(id) = word.parse().ok().filter(|id| vats.contains(id)) {
        return Ok(id);
    }
    let named: Vec<VatId> = vats.iter().filter(|(_, row)| row.name == word).map(|(id, _)| *id).collect();
    match &named[..] {
        [id] => Ok(*id),
        [] => Err(Unknown { what: format!("there is no vat `{word}`"), hint: "`vats` lists them".to_owned() }),
        many => {
            let ids: Vec<String> = many.iter().map(ToString::to_string).collect();
            let what = format!("{} vats are named `{word}`", many.len());
            Err(Unknown { what, hint: format!("give the number: {}", ids.join(", ")) })
        }
    }
}

/// Returns the label of a vat for people: `v2 bank`
pub(crate) fn label(tables: &Tables, vat: VatId) -> String {
    match tables.vats.get(&vat) {
        Some(row) => format!("{vat} {}", brief(row.name.as_bytes())),
        None => vat.to_string(),
    }
}

/// Returns the label of an object's owner, for people.
pub(crate) fn owner_label(tables: &Tables, owner: Owner) -> String {
    match owner {
        Owner::Vat(vat) => label(tables, vat),
        Owner::Kernel(it) => format!("kernel: {}", role(it)),
    }
}

/// Returns the role of an object of the kernel.
pub(crate) fn role(it: KernelObject) -> String {
    match it {
        KernelObject::VatAdmin => "vatAdmin".to_owned(),
        KernelObject::AdminFacet(vat) => format!("adminFacet {vat}"),
        KernelObject::Meter(number) => format!("meter {number}"),
    }
}

/// Returns a value that may be missing, for people.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |it| it.to_string())
}

/// Returns references in brackets; an empty text if there are none.
pub(crate) fn bracketed(refs: impl IntoIterator<Item = impl ToString>) -> String {
    let refs: Vec<String> = refs.into_iter().map(|it| it.to_string()).collect();
    if refs.is_empty() { String::new() } else { format!(" [{}]", refs.join(", ")) }
}

/// Returns a guest's text as one short line that cannot steer a terminal.
pub(crate) fn brief(bytes: &[u8]) -> String {
    const MAX: usize = 80;
    harmless(&text::shortened(&String::from_utf8_lossy(bytes), MAX))
}

/// Returns a key or a value: in one short line if it is text, other bytes in hex.
pub(crate) fn printable(bytes: &Bytes) -> String {
    match bytes.as_text() {
        Some(_) => brief(bytes),
        None => brief(format!("{bytes:?}").as_bytes()),
    }
}

/// Returns bytes as JSON, as in the slog: a text if they are UTF-8, otherwise `{ "base64": … }`.
pub(crate) fn bytes(bytes: &Bytes) -> Value {
    use base64::{Engine, prelude::BASE64_STANDARD};
    match bytes.as_text() {
        Some(text) => json!(text),
        None => json!({ "base64": BASE64_STANDARD.encode(&**bytes) }),
    }
}

/// Returns the same value with `camelCase` names.
pub(crate) fn camel(value: Value) -> Value {
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
    use crate::{
        kernel::outside,
        model::{id::BundleId, value::CapData},
        slog::Slog,
        state::{block::Block, table::Options},
    };

    #[test]
    fn a_name_finds_a_vat_where_only_one_has_it_and_a_number_comes_first() {
        let block = Block::memory(Slog::default()).expect("a state");
        let (block, ()) = outside(block, |crank| {
            for name in ["bank", "shop", "shop", "v1"] {
                crank.create_vat(name, BundleId::of(b""), Options::default(), CapData::plain("#{}"))?;
            }
            Ok(())
        })
        .expect("four vats");
        let found = |word| find(block.tables(), word).map_err(|it| it.hint);
        assert_eq!(found("bank"), Ok(VatId(1)));
        assert_eq!(found("v1"), Ok(VatId(1)));
        assert_eq!(found("v4"), Ok(VatId(4)));
        assert_eq!(found("shop"), Err("give the number: v2, v3".to_owned()));
        assert_eq!(found("v04").err(), found("nobody").err());
    }

    #[test]
    fn what_a_guest_wrote_cannot_steer_a_terminal() {
        assert_eq!(brief(b"#\"a\x1b[2J\nb\""), "#\"a\\u{1b}[2J\\nb\"");
        assert_eq!(brief("\u{202e}é\u{9b}".as_bytes()), "\\u{202e}é\\u{9b}");
        assert_eq!(brief(&[0xff]), "\u{fffd}");
        assert_eq!(brief(&[b'x'; 80]), "x".repeat(80));
        assert_eq!(brief(&[b'x'; 81]), format!("{}…", "x".repeat(80)));
        let number = format!("{}1234567", "x".repeat(77));
        assert_eq!(brief(number.as_bytes()), format!("{}…", "x".repeat(77)));
    }

    #[test]
    fn names_become_camel_case_all_the_way_down() {
        let value = json!({ "fuel_per_delivery": 1, "name": { "on_fault": "x_y" } });
        assert_eq!(camel(value), json!({ "fuelPerDelivery": 1, "name": { "onFault": "x_y" } }));
    }
}
