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
        table::{CListEntry, Item, Policy, Status, Tables, Waiting},
        transcript::{End, Entry},
    },
};

/// No state gets this far.
const NOWHERE: u64 = 1 << 50;

/// Breaks what is planted in this crank, or for a message like the one that is about to be delivered.
pub(super) fn plant(crank: &mut Crank<'_>) -> Result<(), Fault> {
    let Some(probe) = crank.ledger.block().probe().filter(|it| !it.plants.is_empty()) else { return Ok(()) };
    let number = crank.ledger.number();
    let message = match &crank.log.work {
        Work::Item(_, Item::Send { message, .. }) => {
            Some((body::method_of(&message.methargs.body), hex(&crank.log.work.hash()?)))
        }
        _ => None,
    };
    let message = message.as_ref().map(|(method, hash)| (method.as_str(), hash.as_str()));
    let due = probe.plants.iter().filter(|it| it.is_due(number, message));
    let names: Vec<&str> = due.map(|it| it.name).collect();
    names.into_iter().try_for_each(|name| {
        if name.starts_with("audit.") { damage(&mut crank.ledger, name) } else { misuse(&mut crank.ledger, name) }
    })
}

/// Returns whether this bug is in force: planted in this crank or an earlier one, in a kernel that was not
/// replaced since.
pub(super) fn has_bug(ledger: &Ledger, name: &str) -> bool {
    ledger
        .block()
        .probe()
        .is_some_and(|probe| probe.plants.iter().any(|it| it.name == name && it.is_since(ledger.number())))
        && !was_replaced(ledger.tables())
}

fn was_replaced(tables: &Tables) -> bool {
    let mut applied = tables.applied.iter().filter(|(_, it)| it.effect == Effect::Done);
    applied.any(|(_, it)| it.text.contains(": replace-kernel "))
}

/// Does what no kernel code may do: the check that it meets must notice.
pub(super) fn misuse(ledger: &mut Ledger, name: &str) -> Result<(), Fault> {
    let object = ledger.tables().objects.iter().next().map_or(ObjectId(NOWHERE), |(id, _)| *id);
    let vat = ledger
        .tables()
        .vats
        .iter()
        .find(|(id, _)| ledger.tables().is_alive(**id))
        .map_or(VatId(NOWHERE), |(id, _)| *id);
    let error = || body::error("planted");
    match name {
        "object.known" => ledger.decref(ObjectId(NOWHERE).into())?,
        "object.counts" => ledger.change_counts(object, -1_000_000, -1_000_000)?,
        "promise.known" => ledger.decref(PromiseId(NOWHERE).into())?,
        "promise.refs" => {
            let promise = ledger.new_promise(None);
            ledger.decref(promise.into())?;
        }
        "promise.settled-once" => {
            let promise = ledger.new_promise(None);
            ledger.settle(promise, true, error())?;
            ledger.settle(promise, true, error())?;
        }
        "promise.decider" => {
            let promise = ledger.new_promise(None);
            ledger.incref(promise.into())?;
            ledger.add_entry(vat, VRef::imported_promise(NOWHERE), promise.into());
            ledger.resolve(vat, vec![Resolution { promise: promise.into(), rejected: true, data: error() }])?;
        }
        "promise.policy" => {
            let promise = ledger.new_promise(None);
            ledger.set_policy(promise, Policy::Panic)?;
            ledger.settle(promise, true, error())?;
        }
        "clist.known" => drop(ledger.entry(vat, KRef::Object(ObjectId(NOWHERE)))?),
        "vat.known" => ledger.pause(VatId(NOWHERE), "planted")?,
        "vat.critical" => {
            ledger.tables_mut().vats.update(&vat, |it| it.options.critical = true);
            ledger.terminate(vat, &Ended { aborted: true, info: error(), fault: None })?;
        }
        "worker.brought-up" => {
            let number = next_delivery(ledger.tables(), vat);
            let entry = Entry { number, delivery: None, syscalls: Vec::new(), end: End::Skipped };
            Syscalls::replay(vat, entry).into_live()?;
        }
        "kernel.no-panic" => panic!("planted"),
        LOST_DECREF => ledger.change_counts(object, 1, 1)?,
        POISON_QUEUE => {
            let message = Message { methargs: CapData::plain("#[\"poison\",[]]"), result: None };
            let item = Item::Send { target: PromiseId(NOWHERE).into(), message };
            ledger.queue_run(Waiting { by: None, item });
        }
        HOST_ABORT | HOST_HANG => ledger.block_mut().probed().end_process(name)?,
        _ => (),
    }
    Ok(())
}

/// Damages rows: the next audit must notice.
pub(super) fn damage(ledger: &mut Ledger, name: &str) -> Result<(), Fault> {
    let vat = ledger
        .tables()
        .vats
        .iter()
        .find(|(id, _)| ledger.tables().is_alive(**id))
        .map_or(VatId(NOWHERE), |(id, _)| *id);
    let nowhere = VRef::imported_object(NOWHERE);
    match name {
        "audit.clist-bijection" => {
            let promise = ledger.new_promise(None);
            ledger.tables_mut().clist.insert((vat, nowhere), CListEntry { kref: promise.into(), reachable: true });
        }
        "audit.clist-target" => {
            let entry = CListEntry { kref: KRef::Object(ObjectId(NOWHERE)), reachable: true };
            ledger.tables_mut().clist.insert((vat, nowhere), entry);
        }
        "audit.object-counts" => {
            let id = ledger.new_object(vat);
            ledger.tables_mut().objects.update(&id, |it| (it.reachable, it.recognizable) = (1, 1));
        }
        "audit.promise-refs" => {
            let id = ledger.new_promise(None);
            ledger.update_promise(id, |it| it.refs = 1)?;
        }
        "audit.decider" => drop(ledger.new_promise(Some(VatId(NOWHERE)))),
        "audit.settlement" => {
            ledger.tables_mut().settlements.insert(PromiseId(NOWHERE), CapData::plain("#null"));
        }
        "audit.queue" => {
            let item = Item::Notify { vat, promise: PromiseId(NOWHERE) };
            ledger.queue_run(Waiting { by: None, item });
        }
        "audit.reap" => drop(ledger.tables_mut().tallies.update(&vat, |it| it.reap_queued = !it.reap_queued)),
        "audit.dead-vat" => {
            if let Some(mut row) = ledger.tables().vats.get(&vat).cloned() {
                row.status = Status::Terminated { reason: "planted".to_owned(), cleaned: false };
                ledger.tables_mut().vats.insert(VatId(NOWHERE), row);
            }
        }
        _ => (),
    }
    Ok(())
}
