//! The full audit: every invariant that can be seen from the rows alone, all of them together.
//!
//! It recounts every reference, so its cost is that of the whole state: for debug builds, tests and experiments, and for `verify`. Of objects
//! and promises it keeps a few numbers each, and of all other references none: so those may be in the file, and stay there.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{
        blame::{Fault, KernelPanic},
        id::{BundleId, KRef, ObjectId, PromiseId, VRef, VRefKind, VatId},
    },
    state::table::{
        DeviceRow, GcAction, GcKind, Item, Load, Object, Owner, QueueId, SessionEvent, Status, Tables, Waiting,
    },
    store::each_row,
};

/// A row of a large table that the audit reads: whoever wants to know more of each need not read it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditedRow {
    /// A kernel object.
    Object(ObjectId),
    /// A kernel promise.
    Promise(PromiseId),
    /// An entry of a vat's c-list.
    Entry(VatId, VRef),
}

/// Checks all rows of a state between two cranks, wherever they are.
///
/// # Errors
///
/// A broken invariant is a [`KernelPanic`]. A row that cannot be read is a host fault.
pub fn audit(tables: &Tables) -> Result<(), Fault> {
    audit_seeing(tables, &mut |_| ())
}

/// Does what [`audit`] does, and shows each object, promise and entry of a c-list that it comes to.
///
/// # Errors
///
/// As those of [`audit`].
pub fn audit_seeing(tables: &Tables, see: &mut dyn FnMut(AuditedRow)) -> Result<(), Fault> {
    let mut sweep = Sweep::of(tables, see)?;
    sweep.clists(tables, see)?;
    sweep.queues(tables)?;
    sweep.promises(tables)?;
    let awaited = tables.outside.iter().map(|(promise, _)| *promise);
    let endings = tables.vats.iter().filter_map(|(_, row)| row.ending);
    let waiting = tables.waiting.iter().map(|((_, promise), ())| *promise);
    awaited.chain(endings).chain(waiting).for_each(|it| sweep.hold(it.into()));
    let woken = tables.wakeups.iter().map(|(_, it)| it.handler);
    let told = tables.devices.iter().filter_map(|(_, it)| match it {
        DeviceRow::Mailbox(mailbox) => mailbox.handler,
        DeviceRow::Own(own) => own.handler,
        DeviceRow::Timer | DeviceRow::Console => None,
    });
    woken.chain(told).for_each(|it| sweep.hold(it.into()));
    sweep.compare(tables)?;
    sweep.dead_vats(tables)?;
    sweep.answers(tables)?;
    Ok(sessions(tables)?)
}

/// A session is a vat without code that has a name of its own; it has ended exactly if its vat has, and its events are
/// in order.
fn sessions(tables: &Tables) -> Result<(), KernelPanic> {
    let fail = |detail: String| Err(KernelPanic::new("audit.session", detail));
    if tables.sessions.names_len() != tables.sessions.len() {
        return fail(format!("{} names, {} sessions", tables.sessions.names_len(), tables.sessions.len()));
    }
    for (vat, session) in tables.sessions.iter() {
        let Some(row) = tables.vats.get(vat) else { return fail(format!("there is no {vat}")) };
        let dead = !tables.is_alive(*vat);
        if row.bundle != BundleId::NONE || row.name != session.name || session.ended != dead {
            return fail(format!("{vat} is {row:?}, and {session:?}"));
        }
    }
    for ((vat, number), event) in tables.session_outbox.iter() {
        let session = tables.sessions.get(vat);
        let is_last = session.is_some_and(|it| it.ended && number + 1 == it.next);
        let ends = matches!(event, SessionEvent::Ended { .. });
        if session.is_none_or(|it| *number == 0 || *number >= it.next || it.ended != ends) || ends != is_last {
            return fail(format!("event {number} of {vat} is {event:?}"));
        }
    }
    Ok(())
}

/// What the sweep keeps of the rows of a table, by their ids.
struct Column<K, T>(Vec<(K, T)>);

impl<K: Ord, T> Column<K, T> {
    /// Rows come in the order in which a file has them, which is mostly that of their ids.
    fn of(mut rows: Vec<(K, T)>) -> Column<K, T> {
        if !rows.is_sorted_by(|a, b| a.0 <= b.0) {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Column(rows)
    }

    fn get(&self, id: &K) -> Option<&T> {
        let at = self.0.binary_search_by(|(it, _)| it.cmp(id)).ok()?;
        self.0.get(at).map(|(_, it)| it)
    }

    fn get_mut(&mut self, id: &K) -> Option<&mut T> {
        let at = self.0.binary_search_by(|(it, _)| it.cmp(id)).ok()?;
        self.0.get_mut(at).map(|(_, it)| it)
    }
}

/// An object, with the counts that it has, and those that a recount of all references has.
struct ObjectSum {
    /// The vat that owns it; no vat's number stands for anything else.
    owner: VatId,
    counts: (u32, u32),
    counted: (u32, u32),
}

/// No vat.
const NOBODY: VatId = VatId(u64::MAX);

impl ObjectSum {
    fn of(object: &Object) -> ObjectSum {
        let owner = match object.owner {
            Some(Owner::Vat(vat)) => vat,
            Some(Owner::Kernel(_)) | None => NOBODY,
        };
        // Who pins it is no row.
        let pins = u32::from(object.pinned);
        ObjectSum { owner, counts: (object.reachable, object.recognizable), counted: (pins, pins) }
    }
}

/// A promise, with the count that it has, and that of a recount.
struct PromiseSum {
    refs: u32,
    counted: u32,
    is_unresolved: bool,
}

/// A settlement, and who was settled with it.
#[derive(Default)]
struct SettlementSum {
    /// Whether the promise was that it was made for.
    own: bool,
    others: u64,
}

/// The kernel's references in the c-list of one vat, where no index tells whether each is there once. The entries of a vat come together.
#[derive(Default)]
struct Named {
    vat: Option<VatId>,
    krefs: Vec<KRef>,
}

impl Named {
    /// Takes the reference of an entry. Returns the vat before, if this is another, and one of its references was there twice.
    fn take(&mut self, vat: VatId, kref: KRef) -> Option<VatId> {
        let mut twice = None;
        if self.vat != Some(vat) {
            twice = self.twice();
            self.krefs.clear();
            self.vat = Some(vat);
        }
        self.krefs.push(kref);
        twice
    }

    /// Returns the vat, if one of its references is there twice.
    fn twice(&mut self) -> Option<VatId> {
        self.krefs.sort_unstable();
        self.vat.filter(|_| !self.krefs.is_sorted_by(|a, b| a < b))
    }
}

/// A recount of all references.
struct Sweep {
    objects: Column<ObjectId, ObjectSum>,
    promises: Column<PromiseId, PromiseSum>,
    settlements: Column<PromiseId, SettlementSum>,
    /// The least object and the least promise that something refers to, and that do not exist.
    missing: (Option<ObjectId>, Option<PromiseId>),
    /// The dead vats that have a c-list.
    dying: BTreeSet<VatId>,
}

impl Sweep {
    fn of(tables: &Tables, see: &mut dyn FnMut(AuditedRow)) -> Result<Sweep, Fault> {
        let (mut objects, mut promises, mut settlements) = (Vec::new(), Vec::new(), Vec::new());
        each_row::<_, _, _, _, Fault>(&tables.objects, |id, object| {
            see(AuditedRow::Object(*id));
            objects.push((*id, ObjectSum::of(object)));
            Ok(())
        })?;
        each_row::<_, _, _, _, Fault>(&tables.promises, |id, it| {
            see(AuditedRow::Promise(*id));
            promises.push((*id, PromiseSum { refs: it.refs, counted: 0, is_unresolved: it.is_unresolved() }));
            Ok(())
        })?;
        each_row::<_, _, _, _, Fault>(&tables.settlements, |id, _| {
            settlements.push((*id, SettlementSum::default()));
            Ok(())
        })?;
        Ok(Sweep {
            objects: Column::of(objects),
            promises: Column::of(promises),
            settlements: Column::of(settlements),
            missing: (None, None),
            dying: BTreeSet::new(),
        })
    }

    fn hold(&mut self, kref: KRef) {
        match kref {
            KRef::Object(id) => self.count(id, true),
            KRef::Promise(id) => match self.promises.get_mut(&id) {
                Some(promise) => promise.counted += 1,
                None => note_least(&mut self.missing.1, id),
            },
            KRef::Device(_) => (),
        }
    }

    fn count(&mut self, id: ObjectId, reachable: bool) {
        match self.objects.get_mut(&id) {
            Some(object) => {
                object.counted.0 += u32::from(reachable);
                object.counted.1 += 1;
            }
            None => note_least(&mut self.missing.0, id),
        }
    }

    fn is_unresolved(&self, promise: PromiseId) -> Option<bool> {
        self.promises.get(&promise).map(|it| it.is_unresolved)
    }

    fn clists(&mut self, tables: &Tables, see: &mut dyn FnMut(AuditedRow)) -> Result<(), Fault> {
        let fail = |name, detail: String| Err(KernelPanic::new(name, detail).into());
        let has_index = tables.clist.is_whole();
        if has_index && tables.clist.index_len() != tables.clist.len() {
            let detail = format!("{} names, {} entries", tables.clist.index_len(), tables.clist.len());
            return fail("audit.clist-bijection", detail);
        }
        let (mut named, twice) = (Named::default(), |vat: VatId| format!("{vat} has two names for one reference"));
        each_row(&tables.clist, |(vat, vref), entry| {
            see(AuditedRow::Entry(*vat, *vref));
            let kref = entry.kref;
            let name = || format!("{vat} {vref} {kref}");
            if let (false, Some(other)) = (has_index, named.take(*vat, kref)) {
                return fail("audit.clist-bijection", twice(other));
            }
            let is_named = !has_index || tables.clist.vref(*vat, kref) == Some(*vref);
            if !is_named || vref.is_promise() != matches!(kref, KRef::Promise(_)) {
                return fail("audit.clist-bijection", name());
            }
            let dying = !tables.is_alive(*vat);
            if dying {
                self.dying.insert(*vat);
            }
            match kref {
                KRef::Promise(id) if self.promises.get(&id).is_some() && entry.reachable => self.hold(kref),
                KRef::Device(id) if tables.devices.contains(&id) && vref.kind() == VRefKind::Device => (),
                KRef::Promise(_) | KRef::Device(_) => return fail("audit.clist-target", name()),
                KRef::Object(id) => {
                    let object = self.objects.get(&id);
                    let known = match object {
                        Some(object) if vref.is_own() => object.owner == *vat,
                        Some(_) => true,
                        None if vref.is_own() => dying,
                        None => {
                            dying
                                || (!entry.reachable
                                    && tables.gc.contains(&GcAction::new(*vat, GcKind::RetireImport, id)))
                        }
                    };
                    if !known {
                        return fail("audit.clist-target", name());
                    }
                    if object.is_some() && !vref.is_own() {
                        self.count(id, entry.reachable);
                    }
                }
            }
            Ok(())
        })?;
        named.twice().map_or(Ok(()), |vat| fail("audit.clist-bijection", twice(vat)))
    }

    fn queues(&mut self, tables: &Tables) -> Result<(), KernelPanic> {
        let mut reaped = BTreeSet::new();
        let mut loads: BTreeMap<VatId, Load> = BTreeMap::new();
        for ((queue, at), Waiting { by, item }) in tables.queue.iter() {
            if let Some(by) = by {
                *loads.entry(*by).or_default() += Load::of(item);
            }
            let good = match (queue, item) {
                (QueueId::Run(_) | QueueId::Promise(_) | QueueId::Pause(_), Item::Send { target, message }) => {
                    let held =
                        [*target].into_iter().chain(message.result).chain(message.methargs.slots.iter().copied());
                    held.for_each(|it| self.hold(it));
                    !matches!(target, KRef::Device(_))
                }
                (QueueId::Run(_) | QueueId::Pause(_), Item::Notify { vat, promise }) => {
                    self.hold((*promise).into());
                    // A session is forgotten with news still on their way to it, which nobody receives.
                    *vat < tables.globals().next_vat && self.is_unresolved(*promise) == Some(false)
                }
                (QueueId::Run(_) | QueueId::Pause(_), Item::StartVat { vat, parameters, result })
                | (QueueId::Run(_), Item::UpgradeVat { vat, parameters, result, .. }) => {
                    parameters.slots.iter().for_each(|it| self.hold(*it));
                    result.iter().for_each(|it| self.hold((*it).into()));
                    tables.vats.contains(vat)
                }
                (QueueId::Run(_) | QueueId::Pause(_), Item::ChangeOptions { vat, options }) => {
                    options.slots.iter().for_each(|it| self.hold(*it));
                    tables.vats.contains(vat)
                }
                (QueueId::Run(_) | QueueId::Reap | QueueId::Pause(_), Item::Reap(vat)) => {
                    tables.vats.contains(vat) && reaped.insert(*vat)
                }
                (QueueId::Run(_) | QueueId::Cleanup, Item::Cleanup(vat)) => {
                    tables.vats.contains(vat) && !tables.is_alive(*vat)
                }
                _ => false,
            };
            let waits = match queue {
                QueueId::Promise(id) => self.is_unresolved(*id) == Some(true),
                QueueId::Pause(vat) => tables.is_paused(*vat),
                _ => true,
            };
            if !good || !waits {
                return Err(KernelPanic::new("audit.queue", format_args!("{queue:?} {at}: {item:?}")));
            }
        }
        if !tables.queue.loads().eq(loads.clone()) {
            let kept: Vec<_> = tables.queue.loads().collect();
            return Err(KernelPanic::new("audit.queue", format_args!("loads kept {kept:?}, counted {loads:?}")));
        }
        let marked: BTreeSet<VatId> =
            tables.tallies.iter().filter(|(_, it)| it.reap_queued).map(|(vat, _)| *vat).collect();
        if marked != reaped {
            return Err(KernelPanic::new("audit.reap", format_args!("marked {marked:?}, queued {reaped:?}")));
        }
        Ok(())
    }

    fn promises(&mut self, tables: &Tables) -> Result<(), Fault> {
        let fail = |name, detail: String| Err(KernelPanic::new(name, detail).into());
        each_row(&tables.promises, |id, promise| {
            if promise.decider().is_some_and(|it| !tables.is_alive(it)) {
                return fail("audit.decider", format!("{id}: {:?}", promise.state));
            }
            let Some(with) = promise.settlement() else { return Ok(()) };
            match self.settlements.get_mut(&with) {
                None => return fail("audit.settlement", format!("{id}: {:?}", promise.state)),
                Some(sum) if promise.shared_settlement(*id).is_some() => sum.others += 1,
                Some(sum) => sum.own = true,
            }
            Ok(())
        })?;
        let mut noted = 0_usize;
        each_row(&tables.sharers, |id, count| {
            noted += 1;
            match self.settlements.get(id).map_or(0, |it| it.others) {
                0 => fail("audit.settlement", format!("noted {count} who share {id}'s, counted none")),
                counted if counted == *count => Ok(()),
                counted => fail("audit.settlement", format!("noted {count} who share {id}'s, counted {counted}")),
            }
        })?;
        let shared = self.settlements.0.iter().filter(|(_, it)| it.others > 0).count();
        if shared != noted {
            return fail("audit.settlement", format!("noted {noted} that are shared, counted {shared}"));
        }
        each_row(&tables.settlements, |id, data| {
            if self.settlements.get(id).is_none_or(|it| !it.own && it.others == 0) {
                return fail("audit.settlement", format!("no promise was settled with {id}'s"));
            }
            data.slots.iter().for_each(|it| self.hold(*it));
            Ok(())
        })?;
        each_row(&tables.subscribers, |(id, vat), ()| {
            let vat = VatId(vat.0);
            match self.is_unresolved(*id) {
                Some(true) if tables.vats.contains(&vat) => Ok(()),
                Some(true) => fail("audit.decider", format!("{vat} subscribes to {id}")),
                _ => fail("audit.settlement", format!("{vat} subscribes to {id}")),
            }
        })
    }

    fn compare(&self, tables: &Tables) -> Result<(), KernelPanic> {
        for (id, object) in &self.objects.0 {
            if object.counted != object.counts {
                let (row, counted) = (tables.objects.get(id), object.counted);
                let detail = format_args!("{id}: {:?}, counted {counted:?}", row.copied().unwrap_or_default());
                return Err(KernelPanic::new("audit.object-counts", detail));
            }
        }
        for (id, promise) in &self.promises.0 {
            let (refs, counted) = (promise.refs, promise.counted);
            if counted != refs {
                return Err(KernelPanic::new("audit.promise-refs", format_args!("{id}: {refs}, counted {counted}")));
            }
        }
        let told =
            |name, id: String| Err(KernelPanic::new(name, format_args!("{id} is referred to, and does not exist")));
        match self.missing {
            (Some(id), _) => told("audit.object-counts", id.to_string()),
            (None, Some(id)) => told("audit.promise-refs", id.to_string()),
            (None, None) => Ok(()),
        }
    }

    /// What a cleaned-up vat leaves is its name and its sums; what is still to be cleaned up stands in the queue.
    fn dead_vats(&self, tables: &Tables) -> Result<(), KernelPanic> {
        let cleanups = tables.queue.iter().filter_map(|(_, it)| match it.item {
            Item::Cleanup(vat) => Some(vat),
            _ => None,
        });
        let cleanups: BTreeSet<VatId> = cleanups.collect();
        for (vat, row) in tables.vats.iter() {
            let Status::Terminated { cleaned, .. } = row.status else { continue };
            let queued = cleanups.contains(vat);
            let left = self.dying.contains(vat) || tables.vatstore.keys(*vat) > 0;
            if cleaned == queued || (cleaned && left) {
                let detail = format_args!("{vat}: cleaned {cleaned}, queued {queued}, rows left {left}");
                return Err(KernelPanic::new("audit.dead-vat", detail));
            }
        }
        Ok(())
    }

    /// Where answers expire, there is a row for each settled result from outside; in any other state there is none.
    fn answers(&self, tables: &Tables) -> Result<(), KernelPanic> {
        let expires = tables.answer_blocks().is_some();
        let is_given = |it: &PromiseId| expires && self.is_unresolved(*it) == Some(false);
        let given = tables.outside.iter().map(|(promise, _)| promise).filter(|it| is_given(it));
        let height = tables.globals().height;
        if !given.eq(tables.answers.iter().map(|(promise, _)| promise))
            || tables.answers.iter().any(|(_, it)| *it > height)
        {
            let noted: Vec<_> = tables.answers.iter().collect();
            return Err(KernelPanic::new(
                "audit.answer",
                format_args!("noted {noted:?} in {height}, expires: {expires}"),
            ));
        }
        Ok(())
    }
}

/// Notes an id if it is the least of those that were noted.
fn note_least<K: Ord>(least: &mut Option<K>, id: K) {
    if least.as_ref().is_none_or(|it| id < *it) {
        *least = Some(id);
    }
}

#[cfg(test)]
mod tests;
