//! The engine versions that a state runs on, and ran on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        engine_version,
        id::{DeliveryNum, VatId},
    },
    state::table::Tables,
};

/// A change of the engine version. The rows are numbered from 0, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EngineChange {
    /// The version from then on.
    pub version: u32,
    /// The first delivery of each vat that is made on that version. All deliveries are of a vat that is not here.
    pub first: BTreeMap<VatId, DeliveryNum>,
}

impl EngineChange {
    /// Returns the part on which the future depends: deliveries that were made decide nothing any more.
    pub(super) fn essence(&self) -> EngineChange {
        EngineChange { version: self.version, first: BTreeMap::new() }
    }
}

impl Tables {
    /// Returns the engine version of the next delivery to any vat.
    pub fn engine_version(&self) -> u32 {
        self.engine.iter().next_back().map_or(engine_version::FIRST, |(_, it)| it.version)
    }

    /// Returns the engine version on which a delivery is made, or was.
    pub fn engine_version_of(&self, vat: VatId, delivery: DeliveryNum) -> u32 {
        let is_on = |it: &EngineChange| it.first.get(&vat).is_none_or(|first| *first <= delivery);
        let last = self.engine.iter().rev().find(|(_, it)| is_on(it));
        last.map_or(engine_version::FIRST, |(_, it)| it.version)
    }

    /// Has all vats run on this engine version from now on.
    pub(crate) fn set_engine_version(&mut self, version: u32) {
        let begun = self.tallies.iter().filter(|(vat, it)| it.deliveries > 0 && self.is_alive(**vat));
        let first = begun.map(|(vat, it)| (*vat, DeliveryNum(it.deliveries))).collect();
        let at = self.engine.iter().next_back().map_or(0, |(at, _)| at + 1);
        self.engine.insert(at, EngineChange { version, first });
    }
}
