//! A preview of the next crank, made without running it.
//!
//! Invariant: the block comes back as it was: the crank that looked is undone, and nothing of it is recorded. Whatever
//! is wrong with the rows is told, not stumbled over: who looks may well look for that.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    directive::Directive,
    kernel::{
        Worker, Workers,
        crank::{Crank, CrankLog},
        probe::probe_of,
        route::Route,
        take::{Source, Work},
        translate::Inward,
    },
    model::{
        blame::{Fault, HostFault},
        id::{CrankNum, DeliveryNum, KRef, PromiseId, VRef, VatId},
        value::Delivery,
    },
    state::{
        block::Block,
        snapshot::Snapshot,
        table::{Item, Vat},
    },
};

/// The fate of the item that the next crank takes, unless a directive changes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// A vat is given this: in the kernel's references, and in its own.
    Delivered(Delivery<KRef>, Delivery<VRef>),
    /// The vat's code is replaced.
    Upgrade,
    /// The vat is paused: it is put aside.
    Held,
    /// The kernel answers the message itself.
    Kernel,
    /// The message goes to the queue of this promise.
    Waits(PromiseId),
    /// The message reaches nobody: its result is rejected.
    Rejected,
    /// Rows of this dead vat are removed.
    Cleanup(VatId),
    /// Nothing is delivered to a vat.
    Nothing,
    /// The rows are not what they should be: the crank will say so in its own way.
    Broken(String),
}

/// A preview of the next crank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ahead {
    /// The number of the crank.
    pub crank: CrankNum,
    /// The delivery numbers that it takes: none where it is no delivery, two for an upgrade.
    pub deliveries: Vec<(VatId, DeliveryNum)>,
    /// The kind of delivery.
    pub kind: &'static str,
    /// The fate of what the crank takes.
    pub fate: Fate,
    /// The hash by which a directive can recognize it.
    pub message_hash: Option<[u8; 32]>,
    /// The directives that fire there, in the order of effect.
    pub due: Vec<Directive>,
    /// The orders of a probe that fire there: each in one line.
    pub probed: Vec<String>,
}

impl Ahead {
    /// Returns the vat that the next crank is for.
    pub fn vat(&self) -> Option<VatId> {
        self.deliveries.first().map(|(vat, _)| *vat)
    }
}

/// The workers of a crank that is not run.
struct Nobody;

impl Workers for Nobody {
    fn worker(&mut self, _vat: VatId) -> Option<&mut dyn Worker> {
        None
    }

    fn start(
        &mut self,
        vat: VatId,
        _row: &Vat,
        _snapshot: Option<Snapshot<'_>>,
        _bundle: &dyn Fn() -> Result<Vec<u8>, HostFault>,
    ) -> Result<(), Fault> {
        Err(HostFault::new(format_args!("start {vat}"), "the crank is only looked at").into())
    }

    fn stop(&mut self, _vat: VatId) {}
}

/// Looks at the next crank. `None` where nothing is left to do.
pub fn look(block: Block) -> (Block, Option<Ahead>) {
    if super::is_quiescent(&block) {
        return (block, None);
    }
    let (mut nobody, mut log) = (Nobody, CrankLog::of(block.tables().globals().next_crank));
    let mut crank = Crank::begin(block, &mut nobody, &mut log);
    let slog = std::mem::take(crank.ledger.slog());
    let mut ahead = Ahead {
        crank: crank.ledger.number(),
        deliveries: Vec::new(),
        kind: "nothing",
        fate: Fate::Nothing,
        message_hash: None,
        due: Vec::new(),
        probed: Vec::new(),
    };
    let looked = catch_unwind(AssertUnwindSafe(|| foresee(&mut crank, &mut ahead)));
    match looked {
        Ok(Ok(fate)) => ahead.fate = fate,
        Ok(Err(fault)) => ahead.fate = Fate::Broken(fault.to_string()),
        Err(_) => ahead.fate = Fate::Broken("the kernel's own code panics".to_owned()),
    }
    *crank.ledger.slog() = slog;
    (crank.ledger.undo(), Some(ahead))
}

fn foresee(crank: &mut Crank<'_>, ahead: &mut Ahead) -> Result<Fate, Fault> {
    crank.choose();
    let standing = crank.standing();
    ahead.message_hash = standing.and_then(|it| Work::Entry(it).hash().ok());
    let (work, fate) = take_to_look(crank)?;
    ahead.deliveries = work.numbers(crank.ledger.tables()).iter().collect();
    ahead.kind = work.kind();
    if work.vat().is_some() {
        ahead.message_hash = work.hash().ok();
    }
    crank.log.work = work.clone();
    ahead.due = crank.due();
    ahead.probed = probe_of(crank.ledger.block()).map(|it| it.foresee(crank)).unwrap_or_default();
    if let Some(fate) = fate {
        return Ok(fate);
    }
    let (vat, delivery) = match work {
        Work::Done | Work::Entry(_) => return Ok(Fate::Nothing),
        Work::Item(_, Item::UpgradeVat { .. }) => return Ok(Fate::Upgrade),
        Work::Item(vat, _) | Work::Gc(vat, _) if crank.ledger.tables().is_paused(vat) => return Ok(Fate::Held),
        Work::Item(vat, item) => (vat, crank.ledger.open_item(item)?),
        Work::Gc(vat, delivery) => (vat, delivery),
    };
    let translated = Inward { ledger: &mut crank.ledger, vat }.translate(&delivery)?;
    Ok(Fate::Delivered(delivery, translated))
}

/// Takes the item as `retake` does, except what would leave more behind than rows.
fn take_to_look(crank: &mut Crank<'_>) -> Result<(Work, Option<Fate>), Fault> {
    let item = match crank.log.source {
        Some(Source::Queue(id, at)) => crank.ledger.tables().queue.get(&(id, at)).map(|it| it.item.clone()),
        _ => None,
    };
    let fate = match item {
        Some(Item::Cleanup(vat)) => Fate::Cleanup(vat),
        Some(Item::Send { target, message }) => match crank.ledger.route(target, &message)? {
            (target, Route::Vat(vat)) => return Ok((Work::Item(vat, Item::Send { target, message }), None)),
            (_, Route::Kernel(_)) => Fate::Kernel,
            (_, Route::Wait(promise)) => Fate::Waits(promise),
            (_, Route::Splat(_)) => Fate::Rejected,
        },
        _ => return Ok((crank.retake()?, None)),
    };
    Ok((Work::Done, Some(fate)))
}
