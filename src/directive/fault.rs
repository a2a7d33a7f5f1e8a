//! Directives that only an experiment can give: more places, and more actions. `vathost run` refuses all of them.
//!
//! | place | when |
//! | --- | --- |
//! | `v3/delivery every 7` | at each attempt to deliver to `v3` whose number is 7, 14, 21, … |
//! | `v3/delivery-7 end` | when that delivery has run and was kept, before its crank ends |
//! | `v3/delivery-7/syscall-2` | at that syscall of that delivery, counted from 0 as in the slog |
//! | `v3/syscall-vatstoreGet-5` | at the fifth syscall of that kind that `v3` makes in the experiment's run, counted from 1; also written `v3/syscall:vatstoreGet #5` |
//! | `commit-4` | at the commit of block 4 |
//! | `commit-4/store-op-9` | at the ninth operation, from 1, of that commit which changes a file: a write, a truncation, a sync, a new or removed file |
//!
//! | in the store | at `commit-4` | at `commit-4/store-op-9` |
//! | --- | --- | --- |
//! | `kill -9` | before its first operation | before that one |
//! | `eio`, `enospc` | its first operation fails, and all that follow | that one fails, and no other |
//! | `lose unsynced`, `tear at 512` | when it has returned, and must be there | before that one; `tear`: in it |

use std::fmt;

use crate::{
    directive::grammar,
    directive::plant,
    model::id::{BlockHeight, DeliveryNum, VatId},
};

/// A place that only an experiment knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Spot {
    /// `v3/delivery every 7`
    DeliveryEvery(VatId, u64),
    /// The end of a delivery: `v3/delivery-7 end`
    DeliveryEnd(VatId, DeliveryNum),
    /// A syscall of a delivery: `v3/delivery-7/syscall-2`
    Syscall(VatId, DeliveryNum, u64),
    /// A vat's syscall of one kind: `v3/syscall-vatstoreGet-5`
    SyscallOfKind(VatId, &'static str, u64),
    /// The commit of a block: `commit-4`
    Commit(BlockHeight),
    /// An operation of the store in a commit: `commit-4/store-op-9`
    StoreOp(BlockHeight, u64),
}

impl Spot {
    /// Returns the vat of the place, if it has one.
    pub fn vat(&self) -> Option<VatId> {
        match self {
            Spot::DeliveryEvery(vat, _)
            | Spot::DeliveryEnd(vat, _)
            | Spot::Syscall(vat, ..)
            | Spot::SyscallOfKind(vat, ..) => Some(*vat),
            Spot::Commit(_) | Spot::StoreOp(..) => None,
        }
    }

    /// Returns whether the place lies in the store, of which a run in memory has none.
    pub fn is_in_store(&self) -> bool {
        matches!(self, Spot::Commit(_) | Spot::StoreOp(..))
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::DeliveryEvery(vat, every) => write!(f, "{vat}/delivery every {every}"),
            Spot::DeliveryEnd(vat, delivery) => write!(f, "{vat}/{delivery} end"),
            Spot::Syscall(vat, delivery, number) => write!(f, "{vat}/{delivery}/syscall-{number}"),
            Spot::SyscallOfKind(vat, kind, number) => write!(f, "{vat}/syscall-{kind}-{number}"),
            Spot::Commit(height) => write!(f, "commit-{}", height.0),
            Spot::StoreOp(height, number) => write!(f, "commit-{}/store-op-{number}", height.0),
        }
    }
}

/// The choice of a bit in a vat's memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Bit {
    /// A bit that the seed of the experiment decides.
    Random,
    /// `ADDRESS.BIT`: that bit, from 0 to 7, of the byte at that address.
    At {
        /// The address of the byte.
        address: u64,
        /// The bit in it.
        bit: u8,
    },
}

impl fmt::Display for Bit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bit::Random => f.write_str("random"),
            Bit::At { address, bit } => write!(f, "{address}.{bit}"),
        }
    }
}

/// The way in which a syscall fails, as the guest sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SyscallError {
    /// The answer is that there is no such key. Only of a syscall that answers with data.
    Absent,
    /// The syscall is illegal: the vat faults.
    Illegal,
    /// The delivery is out of fuel there: the vat faults.
    OutOfFuel,
}

/// Their names.
pub const SYSCALL_ERRORS: [(&str, SyscallError); 3] =
    [("absent", SyscallError::Absent), ("illegal", SyscallError::Illegal), ("out-of-fuel", SyscallError::OutOfFuel)];

impl fmt::Display for SyscallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SYSCALL_ERRORS.iter().find(|(_, it)| it == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// An action that only an experiment can order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Disturbance {
    /// A bug of the kernel with this name is there from that crank on (see `plant`).
    Plant(&'static str),
    /// An invariant of the kernel with this name breaks.
    KernelPanic(&'static str),
    /// One bit of a vat's memory turns over, behind the guest's back.
    Flip {
        /// The vat whose memory changes.
        vat: VatId,
        /// The bit that flips.
        bit: Bit,
    },
    /// The delivery gets at most this much fuel.
    TrapAfter {
        /// The amount of fuel.
        fuel: u64,
    },
    /// The syscall fails so.
    Error(SyscallError),
    /// The syscall answers with these bytes.
    Value(Vec<u8>),
    /// The item goes back in the run-queue, behind this many others.
    Delay {
        /// The number of cranks.
        cranks: u64,
    },
    /// The item is delivered, and then once more.
    Duplicate,
    /// The process ends at once.
    Kill,
    /// The machine loses power: what was written and not yet forced to the disk is gone.
    LoseUnsynced,
    /// The machine loses power as with `LoseUnsynced`, but a part of the data, in sectors of this many bytes that the seed
    /// chooses, is on the disk.
    Tear {
        /// Bytes of a sector.
        sector: u32,
    },
    /// The operation fails: input/output error.
    Eio,
    /// The operation fails: no space left.
    Enospc,
}

impl Disturbance {
    /// Returns whether the disturbance needs a process of its own, because it ends the process or changes its files.
    pub fn needs_process(&self) -> bool {
        matches!(
            self,
            Disturbance::Kill
                | Disturbance::Plant(plant::HALF_COMMIT)
                | Disturbance::LoseUnsynced
                | Disturbance::Tear { .. }
                | Disturbance::Eio
                | Disturbance::Enospc
        )
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disturbance::Plant(name) => write!(f, "plant {name}"),
            Disturbance::KernelPanic(name) => write!(f, "kernel-panic {name}"),
            Disturbance::Flip { vat, bit } => write!(f, "flip {vat} memory bit {bit}"),
            Disturbance::TrapAfter { fuel } => write!(f, "trap after {fuel} fuel"),
            Disturbance::Error(error) => write!(f, "error {error}"),
            Disturbance::Value(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => write!(f, "value {}", grammar::quoted(text)),
                Err(_) => write!(f, "value 0x{}", crate::model::id::hex(bytes)),
            },
            Disturbance::Delay { cranks } => write!(f, "delay {cranks} cranks"),
            Disturbance::Duplicate => f.write_str("duplicate"),
            Disturbance::Kill => f.write_str("kill -9"),
            Disturbance::LoseUnsynced => f.write_str("lose unsynced"),
            Disturbance::Tear { sector } => write!(f, "tear at {sector}"),
            Disturbance::Eio => f.write_str("eio"),
            Disturbance::Enospc => f.write_str("enospc"),
        }
    }
}
