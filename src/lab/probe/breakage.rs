//! The ways in which planted bugs break the kernel.
//!
//! Invariant: a process ends on order only if it was made to die. In any other (a plan, a debugger) a bug that ends its
//! process is a `HostFault`, and nothing was done.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    directive::Effect,
    directive::plant::{
        HALF_COMMIT, HOST_ABORT, HOST_HANG, LOST_DECREF, POISON_QUEUE, REPLAY_CHARGES, RESOLVE_NON_DECIDER,
    },
    kernel::{
        BoundaryCheck, Crank, Ended, Ledger, Probe, audit, deliver::next_delivery, syscall::Syscalls, take::Work,
    },
    lab::probe::{
        deadly::Life,
        planted::{PlantedAt, PlantedBug},
    },
    model::{
        blame::{Fault, HostFault},
        body,
        id::{CrankNum, KRef, ObjectId, PromiseId, VRef, VatId, hex},
        value::{CapData, Message, Resolution},
    },
    state::{
        block::{Block, BlockProbe},
        table::{CListEntry, Item, Policy, Status, Tables, Waiting},
        transcript::{End, Entry},
    },
    store::Transaction,
};

/// No state gets this far.
const NOWHERE: u64 = 1 << 50;

/// The bugs that are planted in the kernel. An experiment plants more while it runs.
#[derive(Debug, Default)]
pub struct PlantedBugs {
    bugs: Mutex<Vec<PlantedBug>>,
    life: Life,
}

impl PlantedBugs {
    /// Plants bugs in the kernel of a process that takes orders to end as its `life` says.
    pub fn new(bugs: Vec<PlantedBug>, life: Life) -> PlantedBugs {
        PlantedBugs { bugs: Mutex::new(bugs), life }
    }

    /// Makes the probe of these bugs; `None` where there are none.
    pub fn probe(bugs: &[PlantedBug], life: Life) -> Option<Arc<dyn Probe>> {
        (!bugs.is_empty()).then(|| Arc::new(PlantedBugs::new(bugs.to_vec(), life)) as Arc<dyn Probe>)
    }

    fn bugs(&self) -> MutexGuard<'_, Vec<PlantedBug>> {
        self.bugs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plants one more bug in the kernel.
    pub(super) fn plant(&self, bug: PlantedBug) {
        self.bugs().push(bug);
    }

    fn any(&self, is: impl Fn(&PlantedBug) -> bool) -> bool {
        self.bugs().iter().any(is)
    }

    /// Returns whether one breaks, in this crank, an invariant that only an audit checks.
    pub(super) fn breaks_for_audit(&self, crank: CrankNum) -> bool {
        self.any(|it| it.at == PlantedAt::Crank(crank) && it.name.starts_with("audit."))
    }

    /// Breaks an invariant here, or does what the bug of that name does.
    fn break_kernel(&self, ledger: &mut Ledger, name: &str) -> Result<(), Fault> {
        match name {
            HOST_ABORT | HOST_HANG => Ok(self.life.end_process(name)?),
            name if name.starts_with("audit.") => damage(ledger, name),
            name => misuse(ledger, name),
        }
    }

    /// Breaks an invariant here, and sees that it is noticed.
    pub(super) fn break_now(&self, ledger: &mut Ledger, name: &str) -> Result<(), Fault> {
        self.break_kernel(ledger, name)?;
        if name.starts_with("audit.") {
            audit(ledger.tables())?;
        }
        Ok(())
    }
}

impl BlockProbe for PlantedBugs {
    /// A planted half commit makes durable what was written so far, and ends the process.
    fn at_commit(&self, next: CrankNum, transaction: &Transaction<'_>) -> Result<(), HostFault> {
        if !self.any(|it| it.name == HALF_COMMIT && it.is_before(next)) {
            return Ok(());
        }
        if self.life == Life::Expendable {
            transaction.split()?;
        }
        self.life.end_process(HALF_COMMIT)
    }
}

impl Probe for PlantedBugs {
    fn planted(&self) -> Vec<String> {
        self.bugs().iter().map(ToString::to_string).collect()
    }

    /// Breaks what is planted in this crank, or for a message like the one that is about to be delivered.
    fn before_delivery(&self, crank: &mut Crank<'_>) -> Result<(), Fault> {
        if self.bugs().is_empty() {
            return Ok(());
        }
        let number = crank.ledger.number();
        let message = match &crank.log.work {
            Work::Item(_, Item::Send { message, .. }) => {
                Some((body::method_of(&message.methargs.body), hex(&crank.log.work.hash()?)))
            }
            _ => None,
        };
        let message = message.as_ref().map(|(method, hash)| (method.as_str(), hash.as_str()));
        let due = |it: &PlantedBug| it.is_due(number, message).then_some(it.name);
        let names: Vec<&str> = self.bugs().iter().filter_map(due).collect();
        names.into_iter().try_for_each(|name| self.break_kernel(&mut crank.ledger, name))
    }

    /// The check is missing from the crank of its bug on, in a kernel that was not replaced since.
    fn omits(&self, check: BoundaryCheck, ledger: &Ledger) -> bool {
        let BoundaryCheck::Decider = check;
        self.any(|it| it.name == RESOLVE_NON_DECIDER && it.is_since(ledger.number())) && !was_replaced(ledger.tables())
    }

    fn brought_up(&self, block: &mut Block, vat: VatId, deliveries: u64) {
        let next_crank = block.tables().globals().next_crank;
        if self.any(|it| it.name == REPLAY_CHARGES && it.is_before(next_crank)) {
            block.tables_mut().tallies.update(&vat, |it| it.fuel += deliveries);
        }
    }
}

fn was_replaced(tables: &Tables) -> bool {
    let mut applied = tables.applied.iter().filter(|(_, it)| it.effect == Effect::Done);
    applied.any(|(_, it)| it.text.contains(": replace-kernel "))
}

fn first_live_vat(tables: &Tables) -> VatId {
    let mut all = tables.vats.iter().map(|(id, _)| *id);
    all.find(|id| tables.is_alive(*id)).unwrap_or(VatId(NOWHERE))
}

/// Does what no kernel code may do: the check that it meets must notice.
fn misuse(ledger: &mut Ledger, name: &str) -> Result<(), Fault> {
    let object = ledger.tables().objects.iter().next().map_or(ObjectId(NOWHERE), |(id, _)| *id);
    let vat = first_live_vat(ledger.tables());
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
        _ => (),
    }
    Ok(())
}

/// Damages rows: the next audit must notice.
fn damage(ledger: &mut Ledger, name: &str) -> Result<(), Fault> {
    let vat = first_live_vat(ledger.tables());
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
