//! View of the vatstore of one vat.

use serde::Serialize;
use serde_json::Value;

use super::{Row, bytes, printable};
use crate::{
    model::{id::VatId, value::Bytes},
    state::table::Tables,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KvRow {
    key: Value,
    value: Value,
    value_bytes: usize,
    #[serde(skip)]
    texts: (String, String),
}

/// Returns the keys of a vat under a prefix, with their values.
pub(crate) fn of<'a>(tables: &'a Tables, vat: VatId, prefix: &'a [u8]) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> {
    let rows = tables.vatstore.range((vat, Bytes::from(prefix).into())..);
    rows.take_while(move |((it, key), _)| *it == vat && key.starts_with(prefix))
        .map(|((_, key), value)| (&**key, value))
}

pub(crate) fn list(tables: &Tables, vat: VatId, prefix: &str) -> Vec<KvRow> {
    of(tables, vat, prefix.as_bytes()).map(|(key, value)| row(key, value)).collect()
}

pub(crate) fn row(key: &Bytes, value: &Bytes) -> KvRow {
    let texts = (printable(key), printable(value));
    KvRow { key: bytes(key), value: bytes(value), value_bytes: value.len(), texts }
}

impl Row for KvRow {
    const HEADER: &'static [&'static str] = &["key", "bytes", "value"];
    const LEFT: &'static [usize] = &[0, 2];

    fn cells(&self) -> Vec<String> {
        vec![self.texts.0.clone(), self.value_bytes.to_string(), self.texts.1.clone()]
    }
}
