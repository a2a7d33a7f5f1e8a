//! The c-lists: for each vat a bijection between its references and the kernel's.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        blame::HostFault,
        id::{KRef, ObjectId, PromiseId, VRef, VatId},
    },
    state::table::Globals,
    store::{Cut, Database, Index, RowFile, RowReader, Table},
};

/// One entry of one vat's c-list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CListEntry {
    /// The kernel's name of what the vat knows under the row's key.
    pub kref: KRef,
    /// Set if the vat reaches it (imports), or is reached through it (exports). Always true for promises.
    pub reachable: bool,
}

/// The c-lists of all vats, by the vat's reference; the index finds an entry by the kernel's. Where they are large they stay in the file
/// until somebody asks for an entry, whose vat's others come with it, if they are few.
pub type CList = Table<(VatId, VRef), CListEntry, ByKRef>;

/// The other direction of the bijections. It also finds everybody who knows an object.
#[derive(Debug, Default)]
pub struct ByKRef {
    names: BTreeMap<(KRef, VatId), VRef>,
    /// Number of references of its own that each vat has; of vats whose entries are in the file, what the open block changed of it.
    own: BTreeMap<VatId, i64>,
    stored: Option<Stored>,
}

/// What is known of entries in the file.
#[derive(Debug)]
struct Stored {
    /// No entry for an object or promise from these on is in the file alone.
    next: (ObjectId, PromiseId),
    /// The references of its own that a vat had at the last commit, where that was asked.
    own: Mutex<BTreeMap<VatId, i64>>,
}

impl ByKRef {
    fn count(&mut self, vat: VatId, vref: VRef, more: i64) {
        if !vref.is_own() {
            return;
        }
        let count = self.own.entry(vat).or_default();
        *count += more;
        if *count == 0 {
            self.own.remove(&vat);
        }
    }

    /// Returns whether there may be an entry for this reference in the file.
    fn may_be_stored(&self, kref: KRef) -> bool {
        self.stored.as_ref().is_some_and(|it| match kref {
            KRef::Object(id) => id < it.next.0,
            KRef::Promise(id) => id < it.next.1,
            KRef::Device(_) => true,
        })
    }
}

impl Index<(VatId, VRef), CListEntry> for ByKRef {
    fn changed(&mut self, (vat, vref): &(VatId, VRef), old: Option<&CListEntry>, new: Option<&CListEntry>) {
        match (old, new) {
            (Some(old), Some(new)) if old.kref == new.kref => (),
            _ => {
                if let Some(old) = old {
                    self.names.remove(&(old.kref, *vat));
                    self.count(*vat, *vref, -1);
                }
                if let Some(new) = new {
                    self.names.insert((new.kref, *vat), *vref);
                    self.count(*vat, *vref, 1);
                }
            }
        }
    }

    fn moved(&mut self, (vat, vref): &(VatId, VRef), entry: &CListEntry, is_in_memory: bool) {
        match is_in_memory {
            true => self.names.insert((entry.kref, *vat), *vref),
            false => self.names.remove(&(entry.kref, *vat)),
        };
    }

    fn end_block(&mut self) {
        let Some(stored) = &mut self.stored else { return };
        let counted = stored.own.get_mut();
        for (vat, more) in std::mem::take(&mut self.own) {
            if let Some(count) = counted.get_mut(&vat) {
                *count += more;
            }
        }
    }
}

/// A range of entries.
type Entries = (Cut<(VatId, VRef)>, Cut<(VatId, VRef)>);

/// Returns the range of all entries of a vat.
fn all_of((vat, _): &(VatId, VRef)) -> Entries {
    let first = |vat| Cut::before((vat, VRef::imported_object(0)));
    (first(*vat), vat.0.checked_add(1).map_or(Cut::End, |next| first(VatId(next))))
}

fn between(vat: VatId, from: VRef, to: VRef) -> Entries {
    (Cut::before((vat, from)), Cut::before((vat, to)))
}

impl CList {
    /// Has entries stay in the file until somebody asks for them: after a commit, or before any was read.
    pub(crate) fn leave(&mut self, file: RowFile, globals: &Globals) {
        if self.is_whole() {
            let beyond = Cut::before((globals.next_vat, VRef::imported_object(0)));
            self.leave_in_file(beyond, Some(RowReader { file, near: Some(all_of) }));
            let index = self.index_mut();
            let own = Mutex::new(std::mem::take(&mut index.own));
            index.stored = Some(Stored { next: (globals.next_object, globals.next_promise), own });
        }
    }

    /// Reads every entry that is not in memory. None leaves any more.
    pub(crate) fn gather(&mut self, file: &Database) -> Result<(), HostFault> {
        if self.is_whole() {
            return Ok(());
        }
        self.fetch_all(file)?;
        let mut own: BTreeMap<VatId, i64> = BTreeMap::new();
        self.iter().filter(|((_, vref), _)| vref.is_own()).for_each(|((vat, _), _)| *own.entry(*vat).or_default() += 1);
        let index = self.index_mut();
        (index.own, index.stored) = (own, None);
        Ok(())
    }

    /// Lets entries leave the memory until there are no more than these, as far as they may.
    pub(crate) fn trim_to(&mut self, entries: u64, globals: &Globals) {
        self.trim(|_, rows| rows as u64 <= entries);
        if let Some(stored) = &mut self.index_mut().stored {
            stored.next = (globals.next_object, globals.next_promise);
        }
    }

    /// Returns the vat's name for a kernel reference, if it is in the vat's c-list.
    pub fn vref(&self, vat: VatId, kref: KRef) -> Option<VRef> {
        let known = self.index().names.get(&(kref, vat)).copied();
        if known.is_some() || self.is_whole() { known } else { self.stored_vref(vat, kref) }
    }

    #[cold]
    fn stored_vref(&self, vat: VatId, kref: KRef) -> Option<VRef> {
        if !self.index().may_be_stored(kref) {
            return None;
        }
        // To ask for one that is not there brings the vat's others, if they are few.
        self.get(&(vat, VRef::imported_object(0)));
        let found = self.found_by_value(&CListEntry { kref, reachable: true }, &all_of(&(vat, VRef::ROOT)));
        found.first().map(|(_, vref)| *vref)
    }

    /// Counts the references of the vat's own: exports, and promises that it made.
    pub fn own(&self, vat: VatId) -> u64 {
        let changed = self.index().own.get(&vat).copied().unwrap_or(0);
        let stored = self.index().stored.as_ref().map_or(0, |stored| {
            *stored.own.lock().entry(vat).or_insert_with(|| {
                let objects = between(vat, VRef::ROOT, VRef::imported_promise(0));
                let promises = between(vat, VRef::own_promise(0), VRef::device(0));
                let count = self.stored_within(&objects) + self.stored_within(&promises);
                i64::try_from(count).unwrap_or(i64::MAX)
            })
        });
        (stored + changed).cast_unsigned()
    }

    /// Returns the vats that know a kernel reference, each with its name for it, in order of vats.
    pub fn holders(&self, kref: KRef) -> Vec<(VatId, VRef)> {
        let known = self.index().names.range((kref, VatId(0))..=(kref, VatId(u64::MAX)));
        let mut holders: Vec<_> = known.map(|((_, vat), vref)| (*vat, *vref)).collect();
        if self.index().may_be_stored(kref) {
            holders.extend(self.found_by_value(&CListEntry { kref, reachable: true }, &(Cut::Start, Cut::End)));
            holders.sort();
        }
        holders
    }

    /// Iterates over the c-list entries of one vat.
    pub fn of(&self, vat: VatId) -> impl Iterator<Item = (VRef, CListEntry)> {
        self.along(all_of(&(vat, VRef::ROOT))).map(|((_, vref), entry)| (*vref, *entry))
    }

    /// Iterates over the c-list entries of one vat from a place on.
    pub(crate) fn of_from(&self, vat: VatId, from: Cut<(VatId, VRef)>) -> impl Iterator<Item = (VRef, CListEntry)> {
        let (first, end) = all_of(&(vat, VRef::ROOT));
        self.along((first.max(from), end)).map(|((_, vref), entry)| (*vref, *entry))
    }

    /// Counts the c-list entries of one vat, for people: as of the last commit, where not all entries are in memory.
    pub fn held(&self, vat: VatId) -> usize {
        if self.is_whole() { self.of(vat).count() } else { self.stored_within(&all_of(&(vat, VRef::ROOT))) }
    }

    /// Iterates over the promises in a vat's c-list.
    pub fn promises(&self, vat: VatId) -> impl Iterator<Item = (VRef, CListEntry)> {
        self.along(between(vat, VRef::imported_promise(0), VRef::device(0))).map(|((_, vref), entry)| (*vref, *entry))
    }

    /// Iterates over the devices in a vat's c-list.
    pub fn devices(&self, vat: VatId) -> impl Iterator<Item = (VRef, CListEntry)> {
        let (_, end) = all_of(&(vat, VRef::ROOT));
        self.along((Cut::before((vat, VRef::device(0))), end)).map(|((_, vref), entry)| (*vref, *entry))
    }

    /// Iterates over the exports of a vat that end with its incarnation, the root among them.
    pub fn ephemeral(&self, vat: VatId) -> impl Iterator<Item = (VRef, CListEntry)> {
        self.along(between(vat, VRef::ROOT, VRef::FIRST_DURABLE)).map(|((_, vref), entry)| (*vref, *entry))
    }

    /// Counts the entries of the index: as many as the table has, if both are bijections.
    pub fn index_len(&self) -> usize {
        self.index().names.len()
    }
}
