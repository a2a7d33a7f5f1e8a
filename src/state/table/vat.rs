//! Vats.

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        id::{BundleId, DeliveryNum, PromiseId, VatId},
        limits,
    },
    store::{Dense, Numbered, Table},
};

/// The vats, dead ones included.
pub type Vats = Table<VatId, Vat, (), Dense>;

/// The sums of each vat that change at each delivery.
pub type Tallies = Table<VatId, Tally, (), Dense>;

impl Numbered for VatId {
    fn number(self) -> u64 {
        self.0
    }
}

/// The fate of a vat whose delivery faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFault {
    /// The vat is terminated.
    #[default]
    Terminate,
    /// The vat is paused as it was before the delivery, heap included, with the delivery first in its pause queue.
    Pause,
    /// The vat continues as it was before the delivery, heap included, and the sender gets the fault as a rejection.
    Reject,
}

/// The options with which a vat runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Fuel of one delivery.
    pub fuel_per_delivery: u64,
    /// The most bytes of memory.
    pub memory_max: u64,
    /// Bytes that its vatstore may count for: see [`limits::STORE_MAX`].
    pub store_max: u64,
    /// Collect after this many deliveries; `None` never.
    pub reap_interval: Option<u64>,
    /// Collect after this many references in GC deliveries; `None` never.
    pub reap_gc_krefs: Option<u64>,
    /// The consequence of a fault.
    pub on_fault: OnFault,
    /// Set if the vat's death is a kernel panic.
    pub critical: bool,
    /// Messages to promises that it decides go to it at once.
    pub pipelining: bool,
    /// The meter from which its fuel is taken, if any.
    pub meter: Option<u64>,
    /// Take a snapshot of its heap after this many deliveries; `None`: by the fuel that they used alone.
    pub snapshot_interval: Option<u64>,
    /// Items of the run-queue that its family has in one turn. Only that of the family's first vat counts.
    pub weight: u32,
    /// Items of its making that may wait in all queues.
    pub queued_max: u64,
    /// Bytes of the waiting items' bodies, and eight for each slot, that may wait in all queues.
    pub queued_bytes_max: u64,
    /// Exports and promises of its own that its c-list may hold: see [`limits::OWN_REFS_MAX`].
    pub refs_max: u64,
    /// Live vats and held meters that it, and those it created, may have made: see [`limits::VATS_MAX`].
    pub vats_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            fuel_per_delivery: limits::FUEL_PER_DELIVERY,
            memory_max: limits::MEMORY_MAX,
            store_max: limits::STORE_MAX,
            reap_interval: Some(limits::REAP_INTERVAL),
            reap_gc_krefs: Some(limits::REAP_GC_KREFS),
            on_fault: OnFault::Terminate,
            critical: false,
            pipelining: false,
            meter: None,
            snapshot_interval: Some(limits::SNAPSHOT_INTERVAL),
            weight: 1,
            queued_max: limits::QUEUED_MAX,
            queued_bytes_max: limits::QUEUED_BYTES_MAX,
            refs_max: limits::OWN_REFS_MAX,
            vats_max: limits::VATS_MAX,
        }
    }
}

/// ```text
///   Running ◀──(resume)── Paused ◀──(pause)── Running
///      └──────────────┬──────┘
///      (fault, exit, admin, host)──▶ Terminated { cleaned: false } ──(cleanup cranks)──▶ Terminated { cleaned: true }
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Status {
    /// The vat takes deliveries.
    Running,
    /// The vat is alive and takes no deliveries: they wait.
    Paused {
        /// The reason, for people.
        reason: String,
    },
    /// The vat is dead.
    Terminated {
        /// The reason, for people.
        reason: String,
        /// Set once the vat's last row is gone.
        cleaned: bool,
    },
}

impl Status {
    /// Returns whether the vat is dead, and its last row gone.
    pub fn is_cleaned(&self) -> bool {
        matches!(self, Status::Terminated { cleaned: true, .. })
    }
}

/// A vat: what seldom changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vat {
    /// The vat's name in the scenario.
    pub name: String,
    /// The vat at the root of those that created it: itself, where it stands in the scenario. They share one turn in
    /// the run-queue, so that nobody gains by creating vats.
    pub family: VatId,
    /// The vat that asked for it; none, where the scenario or the outside did.
    pub creator: Option<VatId>,
    /// The live vats and held meters that it made, and those that its creatures made: see [`Options::vats_max`].
    pub made: u64,
    /// The bundle that the vat runs.
    pub bundle: BundleId,
    /// The options with which it runs.
    pub options: Options,
    /// Upgrades that succeeded.
    pub incarnation: u32,
    /// Alive or dead.
    pub status: Status,
    /// The first delivery of this incarnation: its heap is a function of those from here on.
    pub first_delivery: DeliveryNum,
    /// Set while another vat may ask how it ends: its creator waits for it, or its admin facet exists.
    pub may_be_asked: bool,
    /// A promise that was settled with how it ended, as long as somebody may ask: it is held.
    pub ending: Option<PromiseId>,
}

impl Vat {
    /// Returns the part on which the future depends: not how a delivery is numbered.
    pub(crate) fn essence(&self) -> Vat {
        Vat { first_delivery: DeliveryNum(0), ..self.clone() }
    }
}

/// A vat: what each delivery changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Attempts to deliver: the number of the next one.
    pub deliveries: u64,
    /// Syscalls made in deliveries that were kept.
    pub syscalls: u64,
    /// Fuel used in deliveries that were kept.
    pub fuel: u64,
    /// Bytes of memory after the last delivery.
    pub memory: u64,
    /// The next import of an object, `o-N`.
    pub next_import: u64,
    /// The next import of a promise, `p-N`.
    pub next_promise_import: u64,
    /// Deliveries since the last reap.
    pub dirt_deliveries: u64,
    /// References in GC deliveries since the last reap.
    pub dirt_gc_krefs: u64,
    /// Set while the vat is in the reap queue.
    pub reap_queued: bool,
    /// Where it is the root of a family: the one of it that had its turn last.
    pub served: VatId,
}

impl Tally {
    /// Returns the part on which the future depends: not what was counted so far.
    pub(crate) fn essence(&self) -> Tally {
        Tally { deliveries: 0, syscalls: 0, fuel: 0, memory: 0, ..*self }
    }
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            deliveries: 0,
            syscalls: 0,
            fuel: 0,
            memory: 0,
            next_import: limits::FIRST_IMPORT,
            next_promise_import: limits::FIRST_PROMISE_IMPORT,
            dirt_deliveries: 0,
            dirt_gc_krefs: 0,
            reap_queued: false,
            served: VatId(0),
        }
    }
}

/// Fuel that vats share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Meter {
    /// The fuel that is left; `None` is unlimited, and never deducted from.
    pub remaining: Option<u64>,
    /// Falling below this is told once, until it is refilled.
    pub threshold: u64,
    /// Set once the fall was reported.
    pub notified: bool,
    /// The vat that asked for it.
    pub creator: Option<VatId>,
    /// Set while the meter is held.
    pub held: bool,
    /// The live vats whose fuel it pays.
    pub users: u64,
}

/// A message from outside whose result is awaited.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outside {
    /// The vat's name.
    pub to: String,
    /// The method that was called.
    pub method: String,
}
