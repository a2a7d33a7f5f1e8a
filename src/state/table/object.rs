//! Kernel objects, and what is still to be told about them.

use serde::{Deserialize, Serialize};

use crate::{
    model::id::{ObjectId, TextOrd, VatId},
    store::{canon::Sink, codec::Key},
};

/// The owner of an object, which answers its messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Owner {
    /// A vat's object.
    Vat(VatId),
    /// The kernel itself.
    Kernel(KernelObject),
}

/// The objects that the kernel itself answers for. Holding one is the authority to use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KernelObject {
    /// Creates vats and meters.
    VatAdmin,
    /// Governs one vat.
    AdminFacet(VatId),
    /// A meter's object.
    Meter(u64),
}

/// A row of a kernel object.
///
/// Invariant: `recognizable >= reachable`. Reachable: import entries with the flag set, slots of queued messages and
/// of settled promises, targets of queued messages, pins. Recognizable: the same, and import entries without the flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Object {
    /// The owner that answers the object's messages; `None` for an orphan, whose exporter died or gave it up.
    pub owner: Option<Owner>,
    /// Number of holders that reach it.
    pub reachable: u32,
    /// Number of holders that recognize it.
    pub recognizable: u32,
    /// Held by the host, for ever.
    pub pinned: bool,
}

/// The kind of a GC action. The order is that of their sorted names: drop before retire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum GcKind {
    /// No vat reaches this export any more.
    DropExport,
    /// No vat recognizes this export any more.
    RetireExport,
    /// Your import is gone.
    RetireImport,
}

impl GcKind {
    /// Every kind, each at its number.
    pub const ALL: [GcKind; 3] = [GcKind::DropExport, GcKind::RetireExport, GcKind::RetireImport];
}

/// A pending GC action for one vat and one object. It sorts as SwingSet's text `v1 dropExport ko20` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GcAction {
    vat: TextOrd,
    /// The kind of the action.
    pub kind: GcKind,
    object: TextOrd,
}

impl GcAction {
    /// Makes the action of this kind for `vat` and `object`.
    pub fn new(vat: VatId, kind: GcKind, object: ObjectId) -> GcAction {
        GcAction { vat: TextOrd(vat.0), kind, object: TextOrd(object.0) }
    }

    /// Returns the least action for a vat: it sorts before each other of the vat's.
    pub fn first_of(vat: VatId) -> GcAction {
        GcAction::new(vat, GcKind::DropExport, ObjectId(0))
    }

    /// Returns the greatest action for a vat: it sorts behind each of the vat's, before those of any other.
    pub fn last_of(vat: VatId) -> GcAction {
        GcAction::last_of_kind(vat, GcKind::RetireImport)
    }

    /// Returns the greatest action of this kind for a vat.
    pub fn last_of_kind(vat: VatId, kind: GcKind) -> GcAction {
        // Of all numbers of 64 bits the last in text order.
        const LAST: u64 = 9_999_999_999_999_999_999;
        GcAction::new(vat, kind, ObjectId(LAST))
    }

    /// Returns the vat that is to be notified.
    pub fn vat(self) -> VatId {
        VatId(self.vat.0)
    }

    /// Returns the object of the action.
    pub fn object(self) -> ObjectId {
        ObjectId(self.object.0)
    }
}

impl Key for GcAction {
    const SORTS_AS_BYTES: bool = false;

    fn write(&self, out: &mut impl Sink) {
        (self.vat.0, (self.kind as u8, self.object.0)).write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<GcAction> {
        let (vat, (kind, object)) = <(u64, (u8, u64))>::read(bytes)?;
        let kind = *GcKind::ALL.get(usize::from(kind))?;
        Some(GcAction { vat: TextOrd(vat), kind, object: TextOrd(object) })
    }
}
