//! The start and the end of a vat.

use crate::{
    invariant,
    kernel::{Ended, Ledger, request::Refused},
    model::{
        blame::{Fault, KernelPanic},
        body,
        id::{BundleId, DeliveryNum, KRef, PromiseId, VatId},
        limits,
        value::CapData,
    },
    slog::{Data, Detail, Event},
    state::block::{bundles, heap, stored},
    state::table::{Awaited, Item, KernelObject, Options, QueueId, Status, Tables, Tally, Vat},
};

/// Returns the unresolved promises that a vat decides, in the byte order of its names for them (SwingSet's).
pub(super) fn decided_by(tables: &Tables, vat: VatId) -> Vec<PromiseId> {
    let mut decided: Vec<(String, PromiseId)> = Vec::new();
    for (vref, entry) in tables.clist.promises(vat) {
        if let KRef::Promise(id) = entry.kref
            && tables.promises.get(&id).is_some_and(|it| it.decider() == Some(vat))
        {
            decided.push((vref.to_string(), id));
        }
    }
    decided.sort();
    decided.into_iter().map(|(_, id)| id).collect()
}

/// The last words of a vat whose crank was undone: they may name what is undone with it.
fn surviving(tables: &Tables, info: CapData<KRef>) -> CapData<KRef> {
    let known = |kref: &KRef| match kref {
        KRef::Object(id) => tables.objects.contains(id),
        KRef::Promise(id) => tables.promises.contains(id),
        KRef::Device(_) => true,
    };
    if info.slots.iter().all(known) { info } else { body::error(&body::text_of(&info.body)) }
}

/// Checks that this vat may make one more vat or meter: neither it nor any of its creators has as many as it
/// may.
pub(super) fn may_make(tables: &Tables, by: Option<VatId>) -> Result<(), Refused> {
    let mut creators = 0;
    let mut next = by;
    while let Some((vat, row)) = next.and_then(|vat| Some((vat, tables.vats.get(&vat)?))) {
        let (max, most) = (row.options.vats_max, limits::CREATORS_MAX);
        if row.made >= max {
            return Err(Refused(format!("limit of vatsMax crossed by {vat}: {}, at most {max}", row.made + 1)));
        }
        creators += 1;
        if creators == most {
            return Err(Refused(format!("a vat that {most} others stand behind can make none")));
        }
        next = row.creator;
    }
    Ok(())
}

impl Ledger {
    /// Creates a vat, which starts when its turn in the run-queue comes.
    pub fn create_vat(
        &mut self,
        name: &str,
        bundle: BundleId,
        options: Options,
        parameters: CapData<KRef>,
    ) -> Result<VatId, Fault> {
        self.queue_new_vat(name, bundle, options, parameters, None, false)
    }

    /// Makes a vat and queues its start; `result` is the promise for its root and admin facet, held by the queue.
    pub(super) fn queue_new_vat(
        &mut self,
        name: &str,
        bundle: BundleId,
        options: Options,
        parameters: CapData<KRef>,
        result: Option<PromiseId>,
        dynamic: bool,
    ) -> Result<VatId, Fault> {
        let vat = self.tables_mut().update_globals(|it| {
            let vat = it.next_vat;
            it.next_vat = vat.next();
            vat
        });
        let row = Vat {
            name: name.to_owned(),
            family: self.by().map_or(vat, |by| self.tables().family(by)),
            creator: self.by(),
            made: 0,
            bundle,
            options,
            incarnation: 0,
            status: Status::Running,
            first_delivery: DeliveryNum(0),
            may_be_asked: result.is_some(),
            ending: None,
        };
        self.use_meter(row.options.meter, 1)?;
        self.count_made(row.creator, 1)?;
        self.tables_mut().vats.insert(vat, row);
        self.tables_mut().tallies.insert(vat, Tally { served: vat, ..Tally::default() });
        parameters.slots.iter().try_for_each(|it| self.incref(*it))?;
        let event =
            || Event::CreateVat { vat, name, dynamic, bundle, manager_type: "wasm", vat_parameters: Data(&parameters) };
        self.slog().record(Detail::Cranks, event);
        self.post(Item::StartVat { vat, parameters, result });
        Ok(vat)
    }

    /// Counts a vat or a meter that was made, or is gone, at its creator and at all of that one's.
    pub(super) fn count_made(&mut self, creator: Option<VatId>, more: i64) -> Result<(), KernelPanic> {
        let mut next = creator;
        while let Some(vat) = next {
            let counted = self.tables_mut().vats.update(&vat, |it| {
                let made = it.made.checked_add_signed(more);
                it.made = made.unwrap_or(0);
                (made.is_some(), it.creator)
            });
            invariant!(counted.is_some_and(|it| it.0), "vat.known", "{vat} made fewer than none");
            next = counted.and_then(|it| it.1);
        }
        Ok(())
    }

    /// Terminates a vat: the promises that it decided are rejected; its rows are removed later, under a budget.
    pub(crate) fn terminate(&mut self, vat: VatId, ended: &Ended) -> Result<(), Fault> {
        let by = self.by();
        self.act_for(Some(vat));
        let row = self.tables().vats.get(&vat).ok_or_else(|| KernelPanic::new("vat.known", vat))?;
        invariant!(!row.options.critical, "vat.critical", "{vat} ({}) ended: {:?}", row.name, ended.info.body);
        let reason = short(match &ended.fault {
            Some(fault) => fault.to_string(),
            None => body::text_of(&ended.info.body),
        });
        let info = surviving(self.tables(), ended.info.clone());
        let (meter, creator, may_be_asked) = (row.options.meter, row.creator, row.may_be_asked);
        self.end_session(vat, &reason)?;
        self.tables_mut().vats.update(&vat, |it| {
            it.status = Status::Terminated { reason, cleaned: false };
            it.options.meter = None;
        });
        self.use_meter(meter, -1)?;
        self.count_made(creator, -1)?;
        self.release_pause_queue(vat);
        self.queue_cleanup(vat, false);
        let should_reject = ended.aborted;
        self.slog().record(Detail::Cranks, || Event::Terminate { vat, should_reject, info: Data(&ended.info) });
        for promise in decided_by(self.tables(), vat) {
            self.settle(promise, true, body::error("vat terminated"))?;
        }
        let mut told = None;
        if may_be_asked {
            let ending = self.new_promise(None);
            self.incref(ending.into())?;
            self.settle(ending, ended.aborted, info.clone())?;
            self.tables_mut().vats.update(&vat, |it| it.ending = Some(ending));
            told = Some(ending);
        }
        for promise in self.take_waiting(Awaited::End(vat)) {
            match told {
                Some(other) => self.settle_as(promise, other)?,
                None => self.settle(promise, ended.aborted, info.clone())?,
            }
            told = Some(promise);
            self.decref(promise.into())?;
        }
        self.act_for(by);
        Ok(())
    }

    /// Forgets how a vat ended, or will end, because no vat can ask for it any more.
    pub(super) fn forget_ending(&mut self, vat: VatId) -> Result<(), KernelPanic> {
        let ending = self.tables_mut().vats.update(&vat, |it| {
            it.may_be_asked = false;
            it.ending.take()
        });
        ending.flatten().map_or(Ok(()), |it| self.decref(it.into()))
    }

    /// Removes rows of a dead vat, at most this many, and returns whether none is left.
    pub(super) fn clean_up(&mut self, vat: VatId, budget: usize) -> Result<bool, Fault> {
        let entries: Vec<_> = self.tables().clist.of(vat).take(budget).collect();
        let keys = stored::first_keys(self.block_mut(), vat, budget - entries.len())?;
        let rows = entries.len() + keys.len();
        for (vref, entry) in entries {
            self.remove_entry(vat, vref)?;
            self.unsubscribe_session(vat, entry.kref);
            match entry.kref {
                KRef::Object(id) if !self.tables().objects.contains(&id) => (),
                KRef::Object(id) if vref.is_own() => self.orphan(vat, id)?,
                KRef::Object(id) if entry.reachable => self.change_counts(id, -1, -1)?,
                KRef::Object(id) => self.change_counts(id, 0, -1)?,
                kref => self.decref(kref)?,
            }
        }
        for key in keys {
            stored::delete(self.block_mut(), vat, key)?;
        }
        self.slog().record(Detail::Cranks, || Event::VatCleanup { vat, rows });
        if rows < budget {
            self.block_mut().forget_transcript(vat);
            heap::forget(self.block_mut(), vat);
            if let Some(bundle) = self.tables().vats.get(&vat).map(|it| it.bundle) {
                bundles::retire(self.block_mut(), bundle);
            }
            self.tables_mut().vats.update(&vat, |it| {
                if let Status::Terminated { cleaned, .. } = &mut it.status {
                    *cleaned = true;
                }
            });
            self.slog().record(Detail::Cranks, || Event::VatCleanupComplete { vat });
            self.forget_session(vat);
        }
        Ok(rows < budget)
    }

    /// Queues a bring-out-your-dead for the vat, once.
    pub(super) fn queue_reap(&mut self, vat: VatId) {
        let queued = self.tables_mut().tallies.update(&vat, |it| std::mem::replace(&mut it.reap_queued, true));
        if queued == Some(false) {
            self.queue_bring_out(vat);
        }
    }

    /// Settles the promise for a new vat's root and admin facet: with the two, or with how the vat ended.
    pub(super) fn settle_creation(&mut self, vat: VatId, result: Option<PromiseId>) -> Result<(), Fault> {
        if result.is_none() {
            return Ok(());
        }
        let ending = self.tables().vats.get(&vat).and_then(|it| it.ending);
        if let (Some(ending), Some(id)) = (ending, result) {
            self.reject_creation(id, ending)?;
            return Ok(self.forget_ending(vat)?);
        }
        let root = self.root(vat)?;
        let admin = self.new_kernel_object(KernelObject::AdminFacet(vat));
        let body = "#{\"admin\":\"$1.Alleged: adminFacet\",\"root\":\"$0.Alleged: root\"}";
        self.settle_queued(result, false, CapData { body: body.into(), slots: vec![root.into(), admin.into()] })
    }

    /// Rejects the creation of a vat that ended before it was handed over: its creator gets a rejection even if the
    /// vat ended well.
    fn reject_creation(&mut self, result: PromiseId, ending: PromiseId) -> Result<(), Fault> {
        if self.promise(ending)?.is_rejected() {
            self.settle_as(result, ending)?;
        } else {
            let data = self.tables().settled(ending).cloned();
            self.settle(result, true, data.ok_or_else(|| KernelPanic::new("audit.settlement", ending))?)?;
        }
        Ok(self.decref(result.into())?)
    }

    /// Pauses a vat, so that it takes no deliveries. A second pause changes nothing but the reason.
    pub(crate) fn pause(&mut self, vat: VatId, reason: &str) -> Result<(), Fault> {
        let reason = short(reason.to_owned());
        let paused = self.tables_mut().vats.update(&vat, |it| it.status = Status::Paused { reason });
        paused.ok_or_else(|| KernelPanic::new("vat.known", vat).into())
    }

    /// Resumes a paused vat: its waiting items go to the front of the run-queue, each among those of its sender, in
    /// their order. Resuming a vat that runs changes nothing.
    pub(super) fn resume(&mut self, vat: VatId) -> Result<(), Fault> {
        if self.tables().is_paused(vat) {
            self.tables_mut().vats.update(&vat, |it| it.status = Status::Running);
            self.release_pause_queue(vat);
        }
        Ok(())
    }

    pub(super) fn release_pause_queue(&mut self, vat: VatId) {
        while let Some(waiting) = self.tables_mut().queue.pop_back(QueueId::Pause(vat)) {
            self.queue_first(waiting);
        }
    }
}

/// Shortens a reason to what a vat's row keeps of it. The row is written anew with each change of the vat.
pub(super) fn short(mut reason: String) -> String {
    if reason.len() > limits::REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(limits::REASON_BYTES_MAX));
        reason.push('…');
    }
    reason
}
