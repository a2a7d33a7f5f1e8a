//! View of the kernel's objects: owner, counts, and the vats that import each.

use std::ops::ControlFlow;

use serde::Serialize;

use super::{PIECE, Piece, Row, in_pieces, or_dash, owner_label, role};
use crate::{
    model::id::{ObjectId, VRef, VatId},
    state::{
        block::Block,
        table::{Object, Owner, Tables},
    },
    store::Cut,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectRow {
    object: String,
    /// A vat, or `kernel`; nobody owns an orphan.
    owner: Option<String>,
    /// The role of an object of the kernel: `vatAdmin`, `adminFacet v3`, `meter 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// The owner's own reference to the object.
    export: Option<String>,
    reachable: u32,
    recognizable: u32,
    pinned: bool,
    importers: Vec<Importer>,
    #[serde(skip)]
    label: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Importer {
    vat: String,
    vref: String,
    reachable: bool,
}

/// Hands over all objects, piece by piece, until it is told to stop.
pub(crate) fn pieces<E>(
    block: &mut Block,
    each: impl FnMut(Vec<ObjectRow>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let rows = |tables: &Tables, from: Cut<ObjectId>| -> Piece<ObjectRow, ObjectId> {
        let objects = tables.objects.along((from, Cut::End)).take(PIECE);
        objects.map(|(id, object)| (row(tables, *id, object), *id)).collect()
    };
    in_pieces(block, Cut::Start, rows, each)
}

pub(crate) fn list(tables: &Tables) -> impl Iterator<Item = ObjectRow> {
    tables.objects.along((Cut::Start, Cut::End)).map(|(id, object)| row(tables, *id, object))
}

pub(crate) fn row(tables: &Tables, id: ObjectId, object: &Object) -> ObjectRow {
    let importer = |(vat, vref): (VatId, VRef)| Importer {
        vat: vat.to_string(),
        vref: vref.to_string(),
        reachable: tables.clist.get(&(vat, vref)).is_some_and(|it| it.reachable),
    };
    let (owner, role) = match object.owner {
        Some(Owner::Vat(vat)) => (Some(vat.to_string()), None),
        Some(Owner::Kernel(it)) => (Some("kernel".to_owned()), Some(role(it))),
        None => (None, None),
    };
    let (importers, exports): (Vec<_>, Vec<_>) =
        tables.clist.holders(id.into()).into_iter().partition(|(_, vref)| vref.is_imported_object());
    ObjectRow {
        object: id.to_string(),
        owner,
        role,
        export: exports
            .iter()
            .find(|(vat, _)| object.owner == Some(Owner::Vat(*vat)))
            .map(|(_, vref)| vref.to_string()),
        reachable: object.reachable,
        recognizable: object.recognizable,
        pinned: object.pinned,
        importers: importers.into_iter().map(importer).collect(),
        label: object.owner.map(|it| owner_label(tables, it)),
    }
}

impl Row for ObjectRow {
    const HEADER: &'static [&'static str] =
        &["object", "owner", "export", "reachable", "recognizable", "pinned", "importers"];
    const LEFT: &'static [usize] = &[0, 1, 2, 5, 6];

    fn cells(&self) -> Vec<String> {
        let weak = |it: &Importer| if it.reachable { "" } else { " (recognizes)" };
        let importers: Vec<_> = self.importers.iter().map(|it| format!("{} {}{}", it.vat, it.vref, weak(it))).collect();
        vec![
            self.object.clone(),
            or_dash(self.label.as_ref()),
            or_dash(self.export.as_ref()),
            self.reachable.to_string(),
            self.recognizable.to_string(),
            if self.pinned { "yes" } else { "no" }.to_owned(),
            or_dash((!importers.is_empty()).then(|| importers.join(", "))),
        ]
    }
}
