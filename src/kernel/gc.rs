//! Garbage collection: the references that a vat gives up, their fate, and the GC deliveries to other vats.
//!
//! Whatever a crank decrements to zero is a candidate. At the crank's end each is looked at: a promise that nobody
//! holds is removed; of an object that nobody reaches its owner is to be told. The actions wait in one table and are
//! checked again when their turn comes, since an object may have been exported anew meanwhile.

use std::ops::Bound;

use crate::{
    invariant,
    kernel::Ledger,
    model::{
        blame::{Fault, KernelPanic},
        id::{KRef, ObjectId, PromiseId, VatId},
        kernel_version, limits,
        value::Delivery,
    },
    state::table::{GcAction, GcKind, Owner, Tables},
};

fn object_of(kref: KRef) -> Result<ObjectId, KernelPanic> {
    match kref {
        KRef::Object(id) => Ok(id),
        _ => Err(KernelPanic::new("object.known", format_args!("{kref} is not an object"))),
    }
}

// ---- what a vat gives up

pub(super) fn drop_import(ledger: &mut Ledger, vat: VatId, kref: KRef) -> Result<(), KernelPanic> {
    let (vref, entry) = ledger.entry(vat, kref)?;
    if entry.reachable {
        ledger.set_reachable(vat, vref, false)?;
        ledger.change_counts(object_of(kref)?, -1, 0)?;
    }
    Ok(())
}

pub(super) fn retire_import(ledger: &mut Ledger, vat: VatId, kref: KRef) -> Result<(), KernelPanic> {
    let (vref, _) = ledger.entry(vat, kref)?;
    ledger.remove_entry(vat, vref)?;
    let id = object_of(kref)?;
    // The object may be gone, with the news of it still on its way to this vat.
    if ledger.tables().objects.contains(&id) {
        ledger.change_counts(id, 0, -1)?;
    }
    Ok(())
}

/// Retires an object that nobody reaches, for its exporter: the vats that recognize it are notified.
pub(super) fn retire_export(ledger: &mut Ledger, vat: VatId, kref: KRef) -> Result<(), KernelPanic> {
    let (vref, _) = ledger.entry(vat, kref)?;
    ledger.remove_entry(vat, vref)?;
    ledger.retire_object(object_of(kref)?)
}

/// Abandons an object for its exporter, reached or not: the object becomes an orphan.
pub(super) fn abandon_export(ledger: &mut Ledger, vat: VatId, kref: KRef) -> Result<(), KernelPanic> {
    let (vref, _) = ledger.entry(vat, kref)?;
    ledger.remove_entry(vat, vref)?;
    ledger.orphan(vat, object_of(kref)?)
}

impl Ledger {
    /// Takes an object from its owner. It may be garbage now.
    pub(super) fn orphan(&mut self, owner: VatId, id: ObjectId) -> Result<(), KernelPanic> {
        let object = self.object(id)?;
        invariant!(object.owner == Some(Owner::Vat(owner)), "object.known", "{id} is not {owner}'s: {object:?}");
        self.tables_mut().objects.update(&id, |it| it.owner = None);
        self.candidates().insert(id.into());
        Ok(())
    }

    /// Removes an object that nobody reaches, and tells those who recognize it.
    fn retire_object(&mut self, id: ObjectId) -> Result<(), KernelPanic> {
        invariant!(self.object(id)?.reachable == 0, "object.counts", "{id} is retired, and reached");
        let holders: Vec<VatId> = self.importers(id);
        for vat in holders {
            self.tables_mut().gc.insert(GcAction::new(vat, GcKind::RetireImport, id), ());
        }
        self.tables_mut().objects.remove(&id);
        Ok(())
    }

    fn importers(&self, id: ObjectId) -> Vec<VatId> {
        self.tables()
            .clist
            .holders(id.into())
            .into_iter()
            .filter(|(_, vref)| vref.is_imported_object())
            .map(|(vat, _)| vat)
            .collect()
    }

    /// Looks at every candidate, and at what that makes a candidate.
    pub(super) fn collect(&mut self) -> Result<(), Fault> {
        if self.candidates().order.is_empty() {
            return Ok(());
        }
        let looks_again = kernel_version::looks_again(self.tables().globals().kernel_version);
        let mut next = 0;
        while let Some(kref) = self.candidates().order.get(next).copied() {
            next += 1;
            if looks_again {
                self.candidates().forget(kref);
            }
            match kref {
                KRef::Promise(id) => self.collect_promise(id)?,
                KRef::Object(id) => self.collect_object(id)?,
                KRef::Device(_) => (),
            }
        }
        self.candidates().clear();
        Ok(())
    }

    fn collect_promise(&mut self, id: PromiseId) -> Result<(), KernelPanic> {
        if self.tables().promises.get(&id).is_none_or(|it| it.refs > 0) {
            return Ok(());
        }
        let unshared = self.tables_mut().remove_promise(id);
        self.forget_subscribers(id);
        unshared.map_or(Ok(()), |it| self.forget_settlement(it))
    }

    /// Removes a settlement that no promise shares any more, and what it held.
    fn forget_settlement(&mut self, settlement: PromiseId) -> Result<(), KernelPanic> {
        let slots = self.tables_mut().settlements.remove(&settlement).map(|it| it.slots).unwrap_or_default();
        slots.into_iter().try_for_each(|it| self.decref(it))
    }

    fn collect_object(&mut self, id: ObjectId) -> Result<(), KernelPanic> {
        let Some(object) = self.tables().objects.get(&id).copied().filter(|it| it.reachable == 0) else {
            return Ok(());
        };
        match object.owner {
            Some(Owner::Vat(owner)) if self.tables().is_alive(owner) => {
                let (_, entry) = self.entry(owner, id.into())?;
                let gc = &mut self.tables_mut().gc;
                if entry.reachable {
                    gc.insert(GcAction::new(owner, GcKind::DropExport, id), ());
                }
                if object.recognizable == 0 {
                    gc.insert(GcAction::new(owner, GcKind::RetireExport, id), ());
                }
                Ok(())
            }
            Some(Owner::Kernel(kernels)) => {
                self.retire_object(id)?;
                self.forget_kernel_object(kernels)
            }
            // Nobody is left to be told.
            _ => self.retire_object(id),
        }
    }

    /// Looks for the next GC delivery: of the first group of actions, behind the one that was served last, of which something is due.
    /// Actions for which there is no reason any more are removed. A paused vat gets its GC deliveries later; `paused_max` of them are
    /// passed over.
    pub(super) fn next_gc_group(&mut self, served: Option<(VatId, GcKind)>, paused_max: usize) -> GcSearch {
        // Where nothing else waits it is asked at each crank.
        if self.tables().gc.is_empty() {
            return GcSearch::Nothing;
        }
        let last = served.map(|(vat, kind)| GcAction::last_of_kind(vat, kind));
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut paused = paused_max;
        match self.due_group((behind, Bound::Unbounded), &mut paused) {
            GcSearch::Nothing if last.is_some() => {
                self.due_group((Bound::Unbounded, last.map_or(Bound::Unbounded, Bound::Included)), &mut paused)
            }
            found => found,
        }
    }

    /// Looks for the first group within this range of which something is due.
    fn due_group(&mut self, (mut from, to): (Bound<GcAction>, Bound<GcAction>), paused: &mut usize) -> GcSearch {
        loop {
            let Some((first, ())) = self.tables().gc.range((from, to)).next() else { return GcSearch::Nothing };
            let (vat, kind) = (first.vat(), first.kind);
            if self.tables().is_paused(vat) {
                let Some(fewer) = paused.checked_sub(1) else { return GcSearch::Beyond(vat) };
                *paused = fewer;
                from = Bound::Excluded(GcAction::last_of(vat));
                continue;
            }
            let mut waiting = false;
            for action in self.gc_group(vat, kind) {
                match reason(self.tables(), action) {
                    Reason::Due => return GcSearch::Due(vat, kind),
                    Reason::NotYet => waiting = true,
                    Reason::Gone => drop(self.tables_mut().gc.remove(&action)),
                }
            }
            if waiting {
                from = Bound::Excluded(GcAction::last_of_kind(vat, kind));
            }
        }
    }

    /// The first actions of one vat and kind: as many as one delivery may hold.
    fn gc_group(&self, vat: VatId, kind: GcKind) -> Vec<GcAction> {
        let first = GcAction::new(vat, kind, ObjectId(0));
        let actions = self.tables().gc.range(first..).map(|(it, ())| *it);
        actions.take_while(|it| (it.vat(), it.kind) == (vat, kind)).take(limits::GC_REFS_PER_DELIVERY).collect()
    }

    /// Takes the actions of one vat and kind, as a delivery; those that are not true any more vanish.
    pub(super) fn take_gc(&mut self, vat: VatId, kind: GcKind) -> Option<Delivery<KRef>> {
        let mut krefs: Vec<KRef> = Vec::new();
        for action in self.gc_group(vat, kind) {
            match reason(self.tables(), action) {
                Reason::Due => krefs.push(action.object().into()),
                Reason::NotYet => continue,
                Reason::Gone => (),
            }
            self.tables_mut().gc.remove(&action);
        }
        if krefs.is_empty() {
            return None;
        }
        Some(match kind {
            GcKind::DropExport => Delivery::DropExports(krefs),
            GcKind::RetireExport => Delivery::RetireExports(krefs),
            GcKind::RetireImport => Delivery::RetireImports(krefs),
        })
    }

    /// Puts back the actions of a GC delivery that is not made.
    pub(super) fn restore_gc(&mut self, vat: VatId, delivery: &Delivery<KRef>) -> Result<(), KernelPanic> {
        let (kind, krefs) = match delivery {
            Delivery::DropExports(krefs) => (GcKind::DropExport, krefs),
            Delivery::RetireExports(krefs) => (GcKind::RetireExport, krefs),
            Delivery::RetireImports(krefs) => (GcKind::RetireImport, krefs),
            _ => return Ok(()),
        };
        for kref in krefs {
            let action = GcAction::new(vat, kind, object_of(*kref)?);
            self.tables_mut().gc.insert(action, ());
        }
        Ok(())
    }

    /// Updates the c-list and the objects for a GC delivery, just before the vat receives it.
    pub(super) fn apply_gc_delivery(&mut self, vat: VatId, delivery: &Delivery<KRef>) -> Result<(), KernelPanic> {
        match delivery {
            Delivery::DropExports(krefs) => krefs.iter().try_for_each(|kref| {
                let (vref, _) = self.entry(vat, *kref)?;
                self.set_reachable(vat, vref, false)
            }),
            Delivery::RetireExports(krefs) => krefs.iter().try_for_each(|kref| retire_export(self, vat, *kref)),
            Delivery::RetireImports(krefs) => krefs.iter().try_for_each(|kref| retire_import(self, vat, *kref)),
            _ => Ok(()),
        }
    }
}

/// The outcome of a search for the next GC delivery.
pub(super) enum GcSearch {
    /// A vat is to be told of a group of this kind.
    Due(VatId, GcKind),
    /// Too many paused vats were passed over; this is the next one.
    Beyond(VatId),
    Nothing,
}

/// Returns whether there is a GC action of a vat that is not paused. A paused vat's are passed over together, however many they are.
pub(super) fn has_garbage(tables: &Tables) -> bool {
    let mut from = Bound::Unbounded;
    while let Some((action, ())) = tables.gc.range((from, Bound::Unbounded)).next() {
        if !tables.is_paused(action.vat()) {
            return true;
        }
        from = Bound::Excluded(GcAction::last_of(action.vat()));
    }
    false
}

/// The reason that there is for a GC action, now.
enum Reason {
    Due,
    /// Its vat has to hear first that the object was dropped.
    NotYet,
    Gone,
}

fn reason(tables: &Tables, action: GcAction) -> Reason {
    let vat = action.vat();
    let entry = tables.clist.vref(vat, action.object().into()).and_then(|vref| tables.clist.get(&(vat, vref)));
    let Some(entry) = entry.filter(|_| tables.is_alive(vat)) else { return Reason::Gone };
    let object = tables.objects.get(&action.object());
    let there_is = match action.kind {
        GcKind::DropExport => entry.reachable && object.is_some_and(|it| it.reachable == 0),
        GcKind::RetireExport => object.is_some_and(|it| it.reachable == 0 && it.recognizable == 0),
        GcKind::RetireImport => true,
    };
    match there_is {
        false => Reason::Gone,
        true if action.kind == GcKind::RetireExport && entry.reachable && tables.gc.contains(&drops(action)) => {
            Reason::NotYet
        }
        true => Reason::Due,
    }
}

/// Returns the action by which the same vat hears that the same object was dropped.
fn drops(action: GcAction) -> GcAction {
    GcAction::new(action.vat(), GcKind::DropExport, action.object())
}
