//! The record that an experiment keeps of a run while it runs: the digest of its rows after each step, and each vat's
//! deliveries.
//!
//! Invariant: it is write-only for the kernel, like the slog; watching or not changes no hash.

use crate::{
    model::{
        blame::HostFault,
        id::{CrankNum, DeliveryNum, VRef, VatId},
        value::{CapData, Delivery, Resolution},
    },
    state::transcript::{self, End},
    store::{self, Digest},
};

/// The record of a run for an experiment: see the module.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// The digest of the rows, as far as an experiment compares them.
    pub digest: Digest,
    /// The deliveries that vats received, in order.
    pub told: Vec<Told>,
}

/// One attempt to deliver, as its vat saw it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Told {
    /// The vat of the delivery.
    pub vat: VatId,
    /// A hash of the delivery.
    pub full: u64,
    /// A hash of the delivery without how the promises of a notification were settled, and with what.
    pub lenient: u64,
    /// Set if the delivery contains a rejection.
    pub rejects: bool,
    /// The kind of delivery: `message`, `notify`, …; `skipped` or `fault` if the attempt failed.
    pub kind: &'static str,
    /// The crank of the attempt.
    pub crank: CrankNum,
    /// The number of the attempt.
    pub number: DeliveryNum,
}

impl Told {
    /// Returns whether both deliveries are the same to the vat.
    pub fn same(&self, other: &Told) -> bool {
        self.full == other.full
    }

    /// Returns whether this delivery differs from the golden run's only in that promises were rejected.
    pub fn rejects_instead_of(&self, golden: &Told) -> bool {
        self.rejects && self.lenient == golden.lenient
    }
}

fn hash_of(delivery: &Delivery<VRef>) -> Result<u64, HostFault> {
    let mut bytes = Vec::new();
    store::encode(delivery, &mut bytes)?;
    Ok(short(&bytes))
}

fn short(bytes: &[u8]) -> u64 {
    blake3::hash(bytes).as_bytes().first_chunk().map_or(0, |it| u64::from_le_bytes(*it))
}

impl Watch {
    /// Notes an entry of a transcript.
    pub(super) fn note(
        &mut self,
        crank: CrankNum,
        vat: VatId,
        number: DeliveryNum,
        entry: &[u8],
    ) -> Result<(), HostFault> {
        let (delivery, end) = transcript::told(entry)?;
        let told = Told { vat, full: 0, lenient: 0, rejects: false, kind: "skipped", crank, number };
        self.told.push(match (delivery, end) {
            (Some(delivery), _) => {
                let full = hash_of(&delivery)?;
                let (lenient, rejects) = match &delivery {
                    Delivery::Notify(resolutions) => {
                        let bare = |it: &Resolution<VRef>| Resolution {
                            promise: it.promise,
                            rejected: false,
                            data: CapData::plain(""),
                        };
                        let rejects = resolutions.iter().any(|it| it.rejected);
                        (hash_of(&Delivery::Notify(resolutions.iter().map(bare).collect()))?, rejects)
                    }
                    _ => (full, false),
                };
                Told { full, lenient, rejects, kind: delivery.kind(), ..told }
            }
            (None, Some(End::Faulted(fault))) => {
                let full = short(fault.to_string().as_bytes());
                Told { full, lenient: full, kind: "fault", ..told }
            }
            (None, _) => told,
        });
        Ok(())
    }
}
