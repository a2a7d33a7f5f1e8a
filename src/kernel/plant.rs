//! The ways in which planted faults break the kernel: see `plant`.

use crate::{
    directive::Effect,
    directive::plant::{HOST_ABORT, HOST_HANG, LOST_DECREF, POISON_QUEUE},
    kernel::{Ended, Ledger, crank::Crank, deliver::next_delivery, syscall::Syscalls, take::Work},
    model::{
        blame::Fault,
        body,
        id::{KRef, ObjectId, PromiseId, VRef, VatId, hex},
        value::{CapData, Message, Resolution},
    },
    state::{
        table::{CListEntry, Item, Policy, Status, Waiting},
        transcript::{End, Entry},
    },
};

/// No state gets this far.
const NOWHERE: u64 = 1 << 50;

impl Crank<'_> {
    /// Breaks what is planted in this crank, or for a message like the one that is about to be delivered.
    pub(super) fn plant(&mut self) -> Result<(), Fault> {
        if self.ledger.block().plants().is_empty() {
            return Ok(());
        }
        let number = self.ledger.number();
        let message = match &self.log.work {
            Work::Item(_, Item::Send { message, .. }) => {
                Some((body::method_of(&message.methargs.body), hex(&self.log.work.hash()?)))
            }
            _ => None,
        };
        let message = message.as_ref().map(|(method, hash)| (method.as_str(), hash.as_str()));
        let due = self.ledger.block().plants().iter().filter(|it| it.is_due(number, message));
        let names: Vec<&str> = due.map(|it| it.name).collect();
        names.into_iter().try_for_each(|name| {
            if name.starts_with("audit.") { self.ledger.damage(name) } else { self.ledger.misuse(name) }
        })
    }
}

impl Ledger {
    /// Returns whether this bug is in force: planted in this crank or an earlier one, in a kernel that was not
    /// replaced since.
    pub(super) fn has_bug(&self, name: &str) -> bool {
        self.block().plants().iter().any(|it| it.name == name && it.is_since(self.number())) && !self.was_replaced()
    }

    fn was_replaced(&self) -> bool {
        let mut applied = self.tables().applied.iter().filter(|(_, it)| it.effect == Effect::Done);
        applied.any(|(_, it)| it.text.contains(": replace-kernel "))
    }

    /// Does what no kernel code may do: the check that it meets must notice.
    pub(super) fn misuse(&mut self, name: &str) -> Result<(), Fault> {
        let object = self.tables().objects.iter().next().map_or(ObjectId(NOWHERE), |(id, _)| *id);
        let vat = self
            .tables()
            .vats
            .iter()
            .find(|(id, _)| self.tables().is_alive(**id))
            .map_or(VatId(NOWHERE), |(id, _)| *id);
        let error = || body::error("planted");
        match name {
            "object.known" => self.decref(ObjectId(NOWHERE).into())?,
            "object.counts" => self.change_counts(object, -1_000_000, -1_000_000)?,
            "promise.known" => self.decref(PromiseId(NOWHERE).into())?,
            "promise.refs" => {
                let promise = self.new_promise(None);
                self.decref(promise.into())?;
            }
            "promise.settled-once" => {
                let promise = self.new_promise(None);
                self.settle(promise, true, error())?;
                self.settle(promise, true, error())?;
            }
            "promise.decider" => {
                let promise = self.new_promise(None);
                self.incref(promise.into())?;
                self.add_entry(vat, VRef::imported_promise(NOWHERE), promise.into());
                self.resolve(vat, vec![Resolution { promise: promise.into(), rejected: true, data: error() }])?;
            }
            "promise.policy" => {
                let promise = self.new_promise(None);
                self.set_policy(promise, Policy::Panic)?;
                self.settle(promise, true, error())?;
            }
            "clist.known" => drop(self.entry(vat, KRef::Object(ObjectId(NOWHERE)))?),
            "vat.known" => self.pause(VatId(NOWHERE), "planted")?,
            "vat.critical" => {
                self.tables_mut().vats.update(&vat, |it| it.options.critical = true);
                self.terminate(vat, &Ended { aborted: true, info: error(), fault: None })?;
            }
            "worker.brought-up" => {
                let number = next_delivery(self.tables(), vat);
                let entry = Entry { number, delivery: None, syscalls: Vec::new(), end: End::Skipped };
                Syscalls::replay(vat, entry).into_live()?;
            }
            "kernel.no-panic" => panic!("planted"),
            LOST_DECREF => self.change_counts(object, 1, 1)?,
            POISON_QUEUE => {
                let message = Message { methargs: CapData::plain("#[\"poison\",[]]"), result: None };
                let item = Item::Send { target: PromiseId(NOWHERE).into(), message };
                self.queue_run(Waiting { by: None, item });
            }
            HOST_ABORT | HOST_HANG => self.block_mut().end_process(name)?,
            _ => (),
        }
        Ok(())
    }

    /// Damages rows: the next audit must notice.
    pub(super) fn damage(&mut self, name: &str) -> Result<(), Fault> {
        let vat = self
            .tables()
            .vats
            .iter()
            .find(|(id, _)| self.tables().is_alive(**id))
            .map_or(VatId(NOWHERE), |(id, _)| *id);
        let nowhere = VRef::imported_object(NOWHERE);
        match name {
            "audit.clist-bijection" => {
                let promise = self.new_promise(None);
                self.tables_mut().clist.insert((vat, nowhere), CListEntry { kref: promise.into(), reachable: true });
            }
            "audit.clist-target" => {
                let entry = CListEntry { kref: KRef::Object(ObjectId(NOWHERE)), reachable: true };
                self.tables_mut().clist.insert((vat, nowhere), entry);
            }
            "audit.object-counts" => {
                let id = self.new_object(vat);
                self.tables_mut().objects.update(&id, |it| (it.reachable, it.recognizable) = (1, 1));
            }
            "audit.promise-refs" => {
                let id = self.new_promise(None);
                self.update_promise(id, |it| it.refs = 1)?;
            }
            "audit.decider" => drop(self.new_promise(Some(VatId(NOWHERE)))),
            "audit.settlement" => {
                self.tables_mut().settlements.insert(PromiseId(NOWHERE), CapData::plain("#null"));
            }
            "audit.queue" => {
                let item = Item::Notify { vat, promise: PromiseId(NOWHERE) };
                self.queue_run(Waiting { by: None, item });
            }
            "audit.reap" => drop(self.tables_mut().tallies.update(&vat, |it| it.reap_queued = !it.reap_queued)),
            "audit.dead-vat" => {
                if let Some(mut row) = self.tables().vats.get(&vat).cloned() {
                    row.status = Status::Terminated { reason: "planted".to_owned(), cleaned: false };
                    self.tables_mut().vats.insert(VatId(NOWHERE), row);
                }
            }
            _ => (),
        }
        Ok(())
    }
}
