//! The start and the end of a vat.

use crate::{
    invariant,
    kernel::{Crank, Ended, request::Refused},
    model::{
        blame::{Fault, KernelPanic},
        body,
        id::{BundleId, DeliveryNum, KRef, PromiseId, VatId},
        limits,
        value::{CapData, StoreKey},
    },
    slog::{Data, Detail, Event},
    state::table::{Awaited, Item, Options, Status, Tally, Vat},
};

impl Crank {
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
            family: self.by.map_or(vat, |by| self.tables().family(by)),
            creator: self.by,
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

    /// Checks that the acting vat may make one more vat or meter: neither it nor any of its creators has as many as it
    /// may.
    pub(super) fn may_make(&self) -> Result<(), Refused> {
        let mut creators = 0;
        let mut next = self.by;
        while let Some((vat, row)) = next.and_then(|vat| Some((vat, self.tables().vats.get(&vat)?))) {
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
    pub(super) fn terminate(&mut self, vat: VatId, ended: &Ended) -> Result<(), Fault> {
        let by = self.by;
        self.act_for(Some(vat));
        let row = self.tables().vats.get(&vat).ok_or_else(|| KernelPanic::new("vat.known", vat))?;
        invariant!(!row.options.critical, "vat.critical", "{vat} ({}) ended: {:?}", row.name, ended.info.body);
        let reason = short(match &ended.fault {
            Some(fault) => fault.to_string(),
            None => body::text_of(&ended.info.body),
        });
        let info = self.surviving(ended.info.clone());
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
        for promise in self.decided_by(vat) {
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

    /// The last words of a vat whose crank was undone: they may name what is undone with it.
    fn surviving(&self, info: CapData<KRef>) -> CapData<KRef> {
        let known = |kref: &KRef| match kref {
            KRef::Object(id) => self.tables().objects.contains(id),
            KRef::Promise(id) => self.tables().promises.contains(id),
            KRef::Device(_) => true,
        };
        if info.slots.iter().all(known) { info } else { body::error(&body::text_of(&info.body)) }
    }

    /// Returns the unresolved promises that a vat decides, in the byte order of its names for them (SwingSet's).
    pub(super) fn decided_by(&self, vat: VatId) -> Vec<PromiseId> {
        let mut decided: Vec<(String, PromiseId)> = Vec::new();
        for (vref, entry) in self.tables().clist.promises(vat) {
            if let KRef::Promise(id) = entry.kref
                && self.tables().promises.get(&id).is_some_and(|it| it.decider() == Some(vat))
            {
                decided.push((vref.to_string(), id));
            }
        }
        decided.sort();
        decided.into_iter().map(|(_, id)| id).collect()
    }

    /// Removes rows of a dead vat, at most this many, and returns whether none is left.
    pub(super) fn clean_up(&mut self, vat: VatId, budget: usize) -> Result<bool, Fault> {
        let entries: Vec<_> = self.tables().clist.of(vat).take(budget).collect();
        let first = (vat, StoreKey::default());
        let keys: Vec<_> = (self.tables().vatstore.range(first..).map(|(key, _)| key))
            .take_while(|(it, _)| *it == vat)
            .take(budget - entries.len())
            .cloned()
            .collect();
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
        for key in &keys {
            self.tables_mut().vatstore.remove(key);
        }
        self.slog().record(Detail::Cranks, || Event::VatCleanup { vat, rows });
        if rows < budget {
            self.block().forget_transcript(vat);
            self.block().forget_snapshot(vat);
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
}

/// Shortens a reason to what a vat's row keeps of it. The row is written anew with each change of the vat.
pub(super) fn short(mut reason: String) -> String {
    if reason.len() > limits::REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(limits::REASON_BYTES_MAX));
        reason.push('…');
    }
    reason
}
