//! C-lists: each vat's own names for what it may mention. And the objects that enter them.

use crate::{
    invariant,
    kernel::Ledger,
    model::{
        blame::KernelPanic,
        id::{KRef, ObjectId, VRef, VatId},
    },
    slog::{CListMode, Detail, Event},
    state::table::{CListEntry, Object, Owner},
};

impl Ledger {
    pub(super) fn object(&self, id: ObjectId) -> Result<Object, KernelPanic> {
        self.tables().objects.get(&id).copied().ok_or_else(|| KernelPanic::new("object.known", id))
    }

    pub(super) fn next_object_id(&mut self) -> ObjectId {
        self.tables_mut().update_globals(|it| {
            let id = it.next_object;
            it.next_object = id.next();
            id
        })
    }

    pub(crate) fn new_object(&mut self, owner: VatId) -> ObjectId {
        let id = self.next_object_id();
        self.tables_mut().objects.insert(id, Object { owner: Some(Owner::Vat(owner)), ..Object::default() });
        id
    }

    pub(crate) fn add_entry(&mut self, vat: VatId, vref: VRef, kref: KRef) {
        self.tables_mut().clist.insert((vat, vref), CListEntry { kref, reachable: true });
        let mode = if vref.is_own() { CListMode::Export } else { CListMode::Import };
        self.record_clist(mode, vat, vref, kref);
    }

    /// Returns a vat's name and c-list entry for a kernel reference.
    pub(crate) fn entry(&self, vat: VatId, kref: KRef) -> Result<(VRef, CListEntry), KernelPanic> {
        let clist = &self.tables().clist;
        let vref = clist.vref(vat, kref);
        vref.and_then(|vref| Some((vref, *clist.get(&(vat, vref))?)))
            .ok_or_else(|| KernelPanic::new("clist.known", format_args!("{kref} in {vat}")))
    }

    pub(super) fn set_reachable(&mut self, vat: VatId, vref: VRef, reachable: bool) -> Result<(), KernelPanic> {
        let found = self.tables_mut().clist.update(&(vat, vref), |it| it.reachable = reachable);
        invariant!(found.is_some(), "clist.known", "{vref} in {vat}");
        Ok(())
    }

    /// Removes an entry, and returns it. The counts are the caller's business.
    pub(super) fn remove_entry(&mut self, vat: VatId, vref: VRef) -> Result<CListEntry, KernelPanic> {
        let entry = self.tables_mut().clist.remove(&(vat, vref));
        let entry = entry.ok_or_else(|| KernelPanic::new("clist.known", format_args!("{vref} in {vat}")))?;
        self.record_clist(CListMode::Drop, vat, vref, entry.kref);
        Ok(entry)
    }

    fn record_clist(&mut self, mode: CListMode, vat: VatId, vobj: VRef, kobj: KRef) {
        let crank_num = self.number();
        self.slog().record(Detail::Syscalls, || Event::CList { crank_num, mode, vat, kobj, vobj });
    }
}
