//! The report on an upgraded vat: what it keeps, and what ended with its incarnation.

use crate::{
    cli::output::{counted, size},
    model::id::{KRef, VRef, VatId},
    state::table::Tables,
};

/// The counts of a vat's exports and promises that end with its incarnation, taken before its upgrade.
pub(super) struct Before {
    /// Objects that others hold and that are not durable.
    exports: u64,
    /// Promises that the vat was to settle.
    promises: u64,
}

impl Before {
    /// Looks at a vat that is about to be upgraded.
    pub(super) fn of(tables: &Tables, vat: VatId) -> Before {
        let is_decided = |kref: KRef| {
            let promise = kref.promise().and_then(|it| tables.promises.get(&it));
            promise.is_some_and(|it| it.decider() == Some(vat))
        };
        Before {
            exports: tables.clist.ephemeral(vat).filter(|(vref, _)| *vref != VRef::ROOT).count() as u64,
            promises: tables.clist.promises(vat).filter(|(_, entry)| is_decided(entry.kref)).count() as u64,
        }
    }

    /// Says in words what the vat kept, and what is gone.
    pub(super) fn told(&self, tables: &Tables, vat: VatId) -> String {
        let keys = tables.vatstore.keys(vat);
        let others = tables.clist.of(vat).filter(|(vref, _)| *vref != VRef::ROOT).count() as u64;
        let mut kept = vec!["its root".to_owned()];
        if keys > 0 {
            let bytes = size(tables.vatstore.bytes(vat));
            kept.push(format!("{} of its vatstore ({bytes})", counted(keys, "key", "keys")));
        }
        if others > 0 {
            kept.push(counted(others, "reference to or from others", "references to or from others"));
        }
        let mut gone = vec!["its memory".to_owned()];
        if self.exports > 0 {
            gone.push(counted(self.exports, "export that is not durable", "exports that are not durable"));
        }
        if self.promises > 0 {
            gone.push(counted(self.promises, "promise that it was to settle", "promises that it was to settle"));
        }
        format!("it keeps {}; gone: {}", kept.join(" and "), gone.join(", "))
    }
}
