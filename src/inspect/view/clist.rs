//! View of the c-list of one vat.

use std::ops::ControlFlow;

use serde::Serialize;

use super::{PIECE, Piece, Row, in_pieces, label, owner_label};
use crate::{
    model::id::{KRef, VRef, VatId},
    state::{
        block::Block,
        table::{CListEntry, PromiseState, Tables},
    },
    store::Cut,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CListRow {
    vref: String,
    kref: String,
    /// `export`, `import`, or `promise`.
    kind: &'static str,
    reachable: bool,
    #[serde(skip)]
    about: String,
}

/// Hands over the entries of a vat's c-list, piece by piece, until it is told to stop.
pub(crate) fn pieces<E>(
    block: &mut Block,
    vat: VatId,
    each: impl FnMut(Vec<CListRow>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let rows = |tables: &Tables, from: Cut<(VatId, VRef)>| -> Piece<CListRow, (VatId, VRef)> {
        let entries = tables.clist.of_from(vat, from).take(PIECE);
        entries.map(|(vref, entry)| (row(tables, vref, entry), (vat, vref))).collect()
    };
    in_pieces(block, Cut::Start, rows, each)
}

pub(crate) fn list(tables: &Tables, vat: VatId) -> impl Iterator<Item = CListRow> {
    tables.clist.of(vat).map(|(vref, entry)| row(tables, vref, entry))
}

fn row(tables: &Tables, vref: VRef, entry: CListEntry) -> CListRow {
    let kind = match vref {
        _ if vref.is_promise() => "promise",
        _ if vref.is_own() => "export",
        _ => "import",
    };
    CListRow {
        vref: vref.to_string(),
        kref: entry.kref.to_string(),
        kind,
        reachable: entry.reachable,
        about: about(tables, entry.kref),
    }
}

/// Describes what the kernel knows of a reference.
fn about(tables: &Tables, kref: KRef) -> String {
    match kref {
        KRef::Object(id) => match tables.objects.get(&id).map(|it| it.owner) {
            Some(Some(owner)) => format!("of {}", owner_label(tables, owner)),
            Some(None) => "orphaned".to_owned(),
            None => "being retired".to_owned(),
        },
        KRef::Promise(id) => match tables.promises.get(&id).map(|it| &it.state) {
            Some(PromiseState::Unresolved { decider: Some(vat) }) => format!("decided by {}", label(tables, *vat)),
            Some(PromiseState::Unresolved { decider: None }) => "unresolved".to_owned(),
            Some(PromiseState::Fulfilled { .. }) => "fulfilled".to_owned(),
            Some(PromiseState::Rejected { .. }) => "rejected".to_owned(),
            None => String::new(),
        },
        KRef::Device(_) => "device".to_owned(),
    }
}

impl Row for CListRow {
    const HEADER: &'static [&'static str] = &["vat's", "kernel's", "kind", "reachable", "about"];
    const LEFT: &'static [usize] = &[0, 1, 2, 3, 4];

    fn cells(&self) -> Vec<String> {
        let reachable = if self.reachable { "yes" } else { "no" };
        [&*self.vref, &*self.kref, self.kind, reachable, &*self.about].map(str::to_owned).into()
    }
}
