//! The record that an experiment keeps of a run while it runs: the digest of its rows after each step, and each vat's
//! deliveries.
//!
//! Invariant: it is write-only for the kernel, like the slog; watching or not changes no hash.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    kernel::Probe,
    model::{
        blame::HostFault,
        id::{CrankNum, DeliveryNum, VRef, VatId},
        value::{CapData, Delivery, Resolution},
    },
    state::{
        block::{BlockProbe, Sealed},
        transcript::{self, End},
    },
    store::{self, Digest},
};

/// The record of a run for an experiment: see the module.
#[derive(Debug, Default)]
pub(crate) struct RunWatch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    digest: Digest,
    told: Vec<DeliveryRecord>,
}

/// One attempt to deliver, as its vat saw it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct DeliveryRecord {
    /// The vat of the delivery.
    pub(crate) vat: VatId,
    /// A hash of the delivery.
    pub(crate) full: u64,
    /// A hash of the delivery without how the promises of a notification were settled, and with what.
    pub(crate) lenient: u64,
    /// Set if the delivery contains a rejection.
    pub(crate) rejects: bool,
    /// The kind of delivery: `message`, `notify`, …; `skipped` or `fault` if the attempt failed.
    pub(crate) kind: &'static str,
    /// The crank of the attempt.
    pub(crate) crank: CrankNum,
    /// The number of the attempt.
    pub(crate) number: DeliveryNum,
}

impl DeliveryRecord {
    /// Returns whether both deliveries are the same to the vat.
    pub(crate) fn same(&self, other: &DeliveryRecord) -> bool {
        self.full == other.full
    }

    /// Returns whether this delivery differs from the golden run's only in that promises were rejected.
    pub(crate) fn rejects_instead_of(&self, golden: &DeliveryRecord) -> bool {
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

impl RunWatch {
    /// Begins a record in which the rows have this digest.
    pub(crate) fn begin(&self, digest: Digest) {
        *self.seen() = Seen { digest, told: Vec::new() };
    }

    /// Returns the digest of the rows, as far as experiments compare them.
    pub(crate) fn digest(&self) -> Digest {
        self.seen().digest
    }

    /// Returns the deliveries that vats received, in order, without the first of them.
    pub(crate) fn told_from(&self, from: usize) -> Vec<DeliveryRecord> {
        self.seen().told.get(from..).unwrap_or_default().to_vec()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockProbe for RunWatch {
    fn counts_rows(&self) -> bool {
        true
    }

    fn sealed(&self, step: &Sealed<'_>) -> Result<(), HostFault> {
        let mut seen = self.seen();
        seen.digest = Digest::sum([&seen.digest, &step.rows]);
        step.each_entry(|vat, number, entry| seen.note(step.crank, vat, number, entry))
    }
}

impl Probe for RunWatch {}

impl Seen {
    /// Notes an entry of a transcript.
    fn note(&mut self, crank: CrankNum, vat: VatId, number: DeliveryNum, entry: &[u8]) -> Result<(), HostFault> {
        let (delivery, end) = transcript::told(entry)?;
        let record = DeliveryRecord { vat, full: 0, lenient: 0, rejects: false, kind: "skipped", crank, number };
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
                DeliveryRecord { full, lenient, rejects, kind: delivery.kind(), ..record }
            }
            (None, Some(End::Faulted(fault))) => {
                let full = short(fault.to_string().as_bytes());
                DeliveryRecord { full, lenient: full, kind: "fault", ..record }
            }
            (None, _) => record,
        });
        Ok(())
    }
}
