//! View of the vatstore of one vat.

use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::Value;

use super::{LISTED_MEMORY, PIECE, Row, bytes, printable};
use crate::{
    model::{blame::HostFault, id::VatId, value::Bytes},
    state::block::{Block, stored},
    store::Cut,
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

/// Hands over the keys of a vat under a prefix, with their values, piece by piece, until it is told to stop.
pub(crate) fn pieces<E: From<HostFault>>(
    block: &mut Block,
    vat: VatId,
    prefix: &str,
    mut each: impl FnMut(Vec<KvRow>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    stored::set_memory(block, LISTED_MEMORY);
    let prefix = Bytes::from(prefix.as_bytes());
    let mut from = Cut::before((vat, prefix.clone().into()));
    loop {
        let (mut rows, mut last) = (Vec::new(), None);
        stored::walk(block, vat, from, |key, value| {
            if !key.starts_with(&prefix) {
                return ControlFlow::Break(());
            }
            rows.push(row(key, value));
            last = Some(key.clone());
            if rows.len() < PIECE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let is_last = rows.len() < PIECE;
        let Some(last) = last else { return Ok(()) };
        if each(rows)?.is_break() || is_last {
            return Ok(());
        }
        stored::set_memory(block, LISTED_MEMORY);
        from = Cut::behind((vat, last.into()));
    }
}

/// Lists the keys of a vat under a prefix, with their values.
pub(crate) fn list(block: &Block, vat: VatId, prefix: &str) -> Result<Vec<KvRow>, HostFault> {
    let prefix = Bytes::from(prefix.as_bytes());
    let mut rows = Vec::new();
    stored::look(block, vat, Cut::before((vat, prefix.clone().into())), |key, value| {
        if !key.starts_with(&prefix) {
            return ControlFlow::Break(());
        }
        rows.push(row(key, value));
        ControlFlow::Continue(())
    })?;
    Ok(rows)
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
