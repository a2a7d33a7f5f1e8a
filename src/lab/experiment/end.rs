//! The end of a run: all that is compared of it.

use std::collections::BTreeMap;

use crate::{
    kernel::Halt,
    lab::experiment::machine::Machine,
    model::{
        id::{PromiseId, VatId},
        value::Bytes,
    },
    state::table::{Outside, Status, Tables},
    store::{self, Digest, RowHash},
};

/// The end of one vat.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct VatEnd {
    pub(super) status: &'static str,
    pub(super) incarnation: u32,
    pub(super) vatstore: Digest,
    pub(super) heap: Option<[u8; 32]>,
    /// Promises that it waits for.
    pub(super) waits: usize,
}

/// The last status of a result that is awaited from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OutsideEnd {
    pub(super) message: String,
    pub(super) status: &'static str,
    body: Bytes,
    slots: usize,
}

/// The ends of all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ends {
    pub(super) vats: BTreeMap<VatId, VatEnd>,
    pub(super) outside: BTreeMap<PromiseId, OutsideEnd>,
}

impl Ends {
    /// Reads the end from the machine as it is, all heaps included.
    pub(super) fn of(machine: &mut Machine) -> Result<Ends, Box<Halt>> {
        let mut ends = Ends::without_heaps(machine.block()?.tables());
        for (vat, end) in &mut ends.vats {
            end.heap = machine.fingerprint(*vat)?;
        }
        Ok(ends)
    }

    /// All but the heaps.
    pub(super) fn without_heaps(tables: &Tables) -> Ends {
        let mut vats: BTreeMap<VatId, VatEnd> = BTreeMap::new();
        for (vat, row) in tables.vats.iter() {
            let status = match row.status {
                Status::Running => "running",
                Status::Paused { .. } => "paused",
                Status::Terminated { .. } => "terminated",
            };
            vats.insert(*vat, VatEnd { status, incarnation: row.incarnation, ..VatEnd::default() });
        }
        let mut bytes = Vec::new();
        for ((vat, key), value) in tables.vatstore.iter() {
            if let (Some(end), Ok(())) = (vats.get_mut(vat), row(key, value, &mut bytes)) {
                end.vatstore.add(&RowHash::of(&bytes));
            }
        }
        for ((_, vat), ()) in tables.subscribers.iter() {
            let live = vats.get_mut(&VatId(vat.0)).filter(|it| it.status != "terminated");
            live.into_iter().for_each(|it| it.waits += 1);
        }
        Ends { vats, outside: outside(tables) }
    }

    /// Iterates over the results from outside that are there at both ends: here, and there. An answer may have expired at one of them.
    pub(super) fn outside_of_both<'a>(
        &'a self,
        there: &'a Ends,
    ) -> impl Iterator<Item = (&'a OutsideEnd, &'a OutsideEnd)> {
        self.outside.iter().filter_map(|(promise, here)| Some((here, there.outside.get(promise)?)))
    }
}

fn row(key: &Bytes, value: &Bytes, bytes: &mut Vec<u8>) -> Result<(), crate::model::blame::HostFault> {
    bytes.clear();
    store::encode(&(key, value), bytes)
}

fn outside(tables: &Tables) -> BTreeMap<PromiseId, OutsideEnd> {
    let end = |promise: &PromiseId, row: &Outside| {
        let (status, data) = tables.settling(*promise);
        let (body, slots) = data.map(|it| (it.body.clone(), it.slots.len())).unwrap_or_default();
        (*promise, OutsideEnd { message: format!("{}.{}", row.to, row.method), status, body, slots })
    };
    tables.outside.iter().map(|(promise, row)| end(promise, row)).collect()
}
