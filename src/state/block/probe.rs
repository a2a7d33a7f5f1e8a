//! The slot of a block for a probe: what looks on at a run, or disturbs it on purpose. The block of a real host has none.
//!
//! The kernel has a trait of its own for what it asks (`kernel::Probe`), which extends this one. A block only asks when
//! it seals a step, and when it is committed; it does not know what the probe is.
//!
//! Invariant: a probe is no part of the state. One that only looks on changes no hash.

use std::{any::Any, fmt, sync::Arc};

use crate::{
    model::{
        blame::HostFault,
        id::{CrankNum, DeliveryNum, VatId},
    },
    state::{block::Block, transcript::Entries},
    store::{Digest, Transaction},
};

/// A probe, as the block sees it.
pub trait BlockProbe: Any + fmt::Debug + Send + Sync {
    /// Returns whether the probe wants to know how each step changes the digest of the rows that experiments compare.
    fn counts_rows(&self) -> bool {
        false
    }

    /// Sees a step that was sealed: it is part of the block now.
    fn sealed(&self, step: &Sealed<'_>) -> Result<(), HostFault> {
        let _ = step;
        Ok(())
    }

    /// Comes in the middle of a commit, before the block with this next crank is marked.
    fn at_commit(&self, next: CrankNum, transaction: &Transaction<'_>) -> Result<(), HostFault> {
        let _ = (next, transaction);
        Ok(())
    }
}

/// A step that was sealed.
#[derive(Debug)]
pub struct Sealed<'a> {
    /// The crank that the step is, or belongs to.
    pub crank: CrankNum,
    /// The change of the digest of the rows that experiments compare; nothing where the probe does not count them.
    pub rows: Digest,
    pub(super) entries: &'a Entries,
}

impl Sealed<'_> {
    /// Calls `see` with each entry that the step appended to a transcript: its vat, its number, and how it is stored.
    pub fn each_entry(
        &self,
        mut see: impl FnMut(VatId, DeliveryNum, &[u8]) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        self.entries.unsealed().try_for_each(|it| see(it.vat, it.number, it.entry))
    }
}

impl Block {
    /// Returns the probe; `None` in a real host.
    pub(crate) fn probe(&self) -> Option<&dyn BlockProbe> {
        self.0.probe.as_deref()
    }

    /// Sets the probe, or takes it away.
    pub(crate) fn set_probe(&mut self, probe: Option<Arc<dyn BlockProbe>>) {
        self.0.probe = probe;
    }
}
