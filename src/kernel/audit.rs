//! The full audit: every invariant that can be seen from the rows alone, all of them together.
//!
//! It recounts every reference, so its cost is that of the whole state: for debug builds, tests and experiments.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{
        blame::KernelPanic,
        id::{BundleId, KRef, ObjectId, PromiseId, VRefKind, VatId},
    },
    state::table::{DeviceRow, GcAction, GcKind, Item, Load, Owner, QueueId, SessionEvent, Status, Tables, Waiting},
};

/// Checks all rows of a state between two cranks.
pub fn audit(tables: &Tables) -> Result<(), KernelPanic> {
    let mut sweep = Sweep::default();
    sweep.clists(tables)?;
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
    dead_vats(tables)?;
    answers(tables)?;
    sessions(tables)
}

/// Where answers expire, there is a row for each settled result from outside; in any other state there is none.
fn answers(tables: &Tables) -> Result<(), KernelPanic> {
    let expires = tables.answer_blocks().is_some();
    let is_given = |it: &PromiseId| expires && tables.settled(*it).is_some();
    let given = tables.outside.iter().map(|(promise, _)| promise).filter(|it| is_given(it));
    let height = tables.globals().height;
    if !given.eq(tables.answers.iter().map(|(promise, _)| promise)) || tables.answers.iter().any(|(_, it)| *it > height)
    {
        let noted: Vec<_> = tables.answers.iter().collect();
        return Err(KernelPanic::new("audit.answer", format_args!("noted {noted:?} in {height}, expires: {expires}")));
    }
    Ok(())
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

/// The counts as a recount of all references has them.
#[derive(Default)]
struct Sweep {
    objects: BTreeMap<ObjectId, (u32, u32)>,
    promises: BTreeMap<PromiseId, u32>,
}

impl Sweep {
    fn hold(&mut self, kref: KRef) {
        match kref {
            KRef::Object(id) => self.count(id, true),
            KRef::Promise(id) => *self.promises.entry(id).or_default() += 1,
            KRef::Device(_) => (),
        }
    }

    fn count(&mut self, id: ObjectId, reachable: bool) {
        let counts = self.objects.entry(id).or_default();
        counts.0 += u32::from(reachable);
        counts.1 += 1;
    }

    fn clists(&mut self, tables: &Tables) -> Result<(), KernelPanic> {
        let fail = |name, detail: String| Err(KernelPanic::new(name, detail));
        if tables.clist.index_len() != tables.clist.len() {
            return fail(
                "audit.clist-bijection",
                format!("{} names, {} entries", tables.clist.index_len(), tables.clist.len()),
            );
        }
        for ((vat, vref), entry) in tables.clist.iter() {
            let kref = entry.kref;
            let name = format!("{vat} {vref} {kref}");
            if tables.clist.vref(*vat, kref) != Some(*vref) || vref.is_promise() != matches!(kref, KRef::Promise(_)) {
                return fail("audit.clist-bijection", name);
            }
            match kref {
                KRef::Promise(id) if tables.promises.contains(&id) && entry.reachable => self.hold(kref),
                KRef::Device(id) if tables.devices.contains(&id) && vref.kind() == VRefKind::Device => (),
                KRef::Promise(_) | KRef::Device(_) => return fail("audit.clist-target", name),
                KRef::Object(id) => {
                    let object = tables.objects.get(&id);
                    let dying = !tables.is_alive(*vat);
                    let known = match object {
                        Some(object) if vref.is_own() => object.owner == Some(Owner::Vat(*vat)),
                        Some(_) => true,
                        None if vref.is_own() => dying,
                        None => {
                            dying
                                || (!entry.reachable
                                    && tables.gc.contains(&GcAction::new(*vat, GcKind::RetireImport, id)))
                        }
                    };
                    if !known {
                        return fail("audit.clist-target", name);
                    }
                    if object.is_some() && !vref.is_own() {
                        self.count(id, entry.reachable);
                    }
                }
            }
        }
        Ok(())
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
                    *vat < tables.globals().next_vat
                        && tables.promises.get(promise).is_some_and(|it| !it.is_unresolved())
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
                QueueId::Promise(id) => tables.promises.get(id).is_some_and(|it| it.is_unresolved()),
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

    fn promises(&mut self, tables: &Tables) -> Result<(), KernelPanic> {
        let mut sharers: BTreeMap<PromiseId, u64> = BTreeMap::new();
        for (id, promise) in tables.promises.iter() {
            let orphaned = promise.decider().is_some_and(|it| !tables.is_alive(it));
            if orphaned || !tables.subscribers.of(*id).all(|it| tables.vats.contains(&it)) {
                return Err(KernelPanic::new("audit.decider", format_args!("{id}: {:?}", promise.state)));
            }
            if promise.settlement().is_some_and(|it| !tables.settlements.contains(&it)) {
                return Err(KernelPanic::new("audit.settlement", format_args!("{id}: {:?}", promise.state)));
            }
            promise.shared_settlement(*id).into_iter().for_each(|it| *sharers.entry(it).or_default() += 1);
        }
        if !sharers.iter().eq(tables.sharers.iter()) {
            let noted: Vec<_> = tables.sharers.iter().collect();
            return Err(KernelPanic::new("audit.settlement", format_args!("noted {noted:?}, counted {sharers:?}")));
        }
        for (id, data) in tables.settlements.iter() {
            if tables.sharers(*id) == 0 {
                return Err(KernelPanic::new("audit.settlement", format_args!("no promise was settled with {id}'s")));
            }
            data.slots.iter().for_each(|it| self.hold(*it));
        }
        for ((id, vat), ()) in tables.subscribers.iter() {
            if !tables.promises.get(id).is_some_and(|it| it.is_unresolved()) {
                return Err(KernelPanic::new("audit.settlement", format_args!("v{vat:?} subscribes to {id}")));
            }
        }
        Ok(())
    }

    fn compare(mut self, tables: &Tables) -> Result<(), KernelPanic> {
        for (id, object) in tables.objects.iter() {
            if object.pinned {
                self.count(*id, true);
            }
            let counted = self.objects.remove(id).unwrap_or_default();
            if counted != (object.reachable, object.recognizable) {
                return Err(KernelPanic::new(
                    "audit.object-counts",
                    format_args!("{id}: {object:?}, counted {counted:?}"),
                ));
            }
        }
        for (id, promise) in tables.promises.iter() {
            let counted = self.promises.remove(id).unwrap_or_default();
            if counted != promise.refs {
                return Err(KernelPanic::new(
                    "audit.promise-refs",
                    format_args!("{id}: {}, counted {counted}", promise.refs),
                ));
            }
        }
        if let Some((id, _)) = self.objects.first_key_value() {
            return Err(KernelPanic::new(
                "audit.object-counts",
                format_args!("{id} is referred to, and does not exist"),
            ));
        }
        if let Some((id, _)) = self.promises.first_key_value() {
            return Err(KernelPanic::new(
                "audit.promise-refs",
                format_args!("{id} is referred to, and does not exist"),
            ));
        }
        Ok(())
    }
}

/// What a cleaned-up vat leaves is its name and its sums; what is still to be cleaned up stands in the queue.
fn dead_vats(tables: &Tables) -> Result<(), KernelPanic> {
    let cleanups = tables.queue.iter().filter_map(|(_, it)| match it.item {
        Item::Cleanup(vat) => Some(vat),
        _ => None,
    });
    let cleanups: BTreeSet<VatId> = cleanups.collect();
    for (vat, row) in tables.vats.iter() {
        let Status::Terminated { cleaned, .. } = row.status else { continue };
        let queued = cleanups.contains(vat);
        let left = tables.clist.of(*vat).next().is_some() || tables.vatstore.keys(*vat) > 0;
        if cleaned == queued || (cleaned && left) {
            let detail = format_args!("{vat}: cleaned {cleaned}, queued {queued}, rows left {left}");
            return Err(KernelPanic::new("audit.dead-vat", detail));
        }
    }
    Ok(())
}
