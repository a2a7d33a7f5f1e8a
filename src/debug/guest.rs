//! Deliveries for a gdb-remote client to debug: those of the open work, about to be made, or committed ones, replayed.

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

use crate::{
    debug::{
        Base, Open, Refusal, Replica,
        engine::behind,
        gdb,
        place::{Before, CrankOutcome},
    },
    kernel,
    model::id::{CrankNum, DeliveryNum, VatId},
    slog::Slog,
    state::{
        block::Block,
        transcript::{End, Entry},
    },
    vat::Warehouse,
};

/// A private copy of a state, just before a delivery; its vats run on an engine that can be stopped.
#[derive(Debug)]
pub struct Guest {
    /// The crank that makes the delivery; `None` if the delivery is committed, and replayed.
    pub crank: Option<CrankNum>,
    /// The vat that receives the delivery.
    pub vat: VatId,
    /// The number of the delivery within its vat.
    pub delivery: DeliveryNum,
    /// The kind of the delivery.
    pub kind: &'static str,
    work: GuestWork,
}

/// The source of the deliveries: the open work, or a vat's transcript.
#[derive(Debug)]
enum GuestWork {
    Open(Box<Replica>),
    Committed(Box<Committed>),
}

/// A vat, replayed to just before a delivery.
#[derive(Debug)]
struct Committed {
    block: Block,
    workers: Warehouse,
    _home: Base,
}

/// The outcome of a delivery that a client could debug.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Debugged {
    /// The crank that made it; `None` if it was replayed.
    pub crank: Option<u64>,
    /// The vat that received it.
    #[serde(rename = "vatID")]
    pub vat: String,
    /// The number of the delivery within the vat.
    pub delivery_num: u64,
    /// `done`, `faulted`, `skipped`, `held` for a paused vat, `ended`, or `no delivery`.
    pub outcome: &'static str,
    /// Whether the vat ended with it.
    pub ended: bool,
    /// The fault of the vat, if it was at fault, whether it survived that or not.
    pub fault: Option<String>,
    /// The fuel that the delivery used.
    pub fuel: u64,
    /// The state hash after the delivery; `None` if it was replayed.
    pub state_hash: Option<String>,
}

impl Guest {
    /// Copies a state to just before a delivery. Refused if no delivery comes next at the place, or if the delivery is committed
    /// and cannot be replayed: it was undone or skipped, or an earlier incarnation received it.
    pub fn open(what: Open) -> Result<Guest, Refusal> {
        let mut machine = Replica::open(what.base, what.how, Slog::default(), None)?;
        if let Some(place) = what.at {
            if let Some((vat, number)) = behind(&machine, place, what.slog.as_deref())? {
                return Guest::replay(machine, vat, number);
            }
            while !machine.is_at(place)? {
                if machine.crank()?.is_none() {
                    return Err(Refusal::new(format!("the work that is open ends before {place}"), ""));
                }
            }
        }
        let ahead = machine.ahead().cloned();
        let next = ahead.as_ref().and_then(|it| Some((it, *it.deliveries.first()?)));
        let Some((it, (vat, delivery))) = next else {
            let hint = "go to one: `--at panic`, `--at crank-7890` or `--at v56/delivery-1234`";
            return Err(Refusal::new("no delivery comes next here", hint));
        };
        let (crank, kind) = (Some(it.crank), it.kind);
        machine.debug_guests()?;
        Ok(Guest { crank, vat, delivery, kind, work: GuestWork::Open(Box::new(machine)) })
    }

    /// Brings a vat up to just before a committed delivery, as the prompt does.
    fn replay(machine: Replica, vat: VatId, delivery: DeliveryNum) -> Result<Guest, Refusal> {
        let code_cache: Option<PathBuf> = machine.code_cache();
        let (mut block, _, home) = machine.surrender()?;
        let tables = block.tables();
        let Some(first) = tables.vats.get(&vat).filter(|_| tables.is_alive(vat)).map(|it| it.first_delivery) else {
            return Err(Refusal::new(format!("{vat} is dead: its transcript went with it"), ""));
        };
        if delivery < first {
            let what =
                format!("{delivery} was made by an earlier incarnation of {vat}, whose code is not known any more");
            return Err(Refusal::new(what, format!("its present code began with {first}")));
        }
        let entry = entry(&block, vat, delivery)?;
        let kind = match entry.as_ref().map(|it| (&it.end, &it.delivery)) {
            Some((End::Done { .. }, Some(delivery))) => delivery.kind(),
            _ => {
                let hint =
                    "the delivery before it can be, or the next: a replay passes over what was undone or skipped";
                return Err(Refusal::new(format!("{delivery} to {vat} came to nothing: it cannot be replayed"), hint));
            }
        };
        let mut workers = Warehouse::for_debugger(code_cache.as_deref())?;
        kernel::bring_up_to(&mut block, &mut workers, vat, delivery)?;
        let work = GuestWork::Committed(Box::new(Committed { block, workers, _home: home }));
        Ok(Guest { crank: None, vat, delivery, kind, work })
    }

    /// Makes up to so many deliveries to the vat, under the first client that connects, and returns the outcome of each. Ends early if the
    /// client disconnects or detaches.
    ///
    /// # Errors
    ///
    /// Those that stop a host, or a replay that differs from its record.
    pub fn serve(self, listener: TcpListener, deliveries: u64) -> Result<Vec<Debugged>, Refusal> {
        match self.work {
            GuestWork::Open(machine) => serve_open(*machine, self.vat, listener, deliveries),
            GuestWork::Committed(committed) => committed.serve(self.vat, self.delivery, listener, deliveries),
        }
    }
}

fn serve_open(
    mut machine: Replica,
    vat: VatId,
    listener: TcpListener,
    deliveries: u64,
) -> Result<Vec<Debugged>, Refusal> {
    let over = gdb::attach(vat, machine.workers(), listener, deliveries)?;
    let mut made = Vec::new();
    while goes_on(&made, deliveries, &over) {
        let Some(ahead) = machine.ahead().cloned() else { break };
        let before = Before::of(machine.block()?.tables());
        let Some(ran) = machine.crank_once()? else { break };
        if ahead.deliveries.iter().any(|(it, _)| *it == vat) {
            made.push(CrankOutcome::of(machine.block()?, &before, &ahead, &ran).debugged(vat, ran.ended.is_some()));
        }
    }
    machine.workers().detach();
    Ok(made)
}

fn goes_on(made: &[Debugged], deliveries: u64, over: &AtomicBool) -> bool {
    (made.len() as u64) < deliveries && (made.is_empty() || !over.load(Ordering::Relaxed))
}

fn entry(block: &Block, vat: VatId, number: DeliveryNum) -> Result<Option<Entry>, Refusal> {
    let first = block.transcript(vat, number)?.next().transpose()?;
    Ok(first.filter(|it| it.number == number))
}

impl Committed {
    fn serve(
        mut self,
        vat: VatId,
        first: DeliveryNum,
        listener: TcpListener,
        deliveries: u64,
    ) -> Result<Vec<Debugged>, Refusal> {
        self.workers.debug_replays(true);
        let over = gdb::attach(vat, &mut self.workers, listener, deliveries)?;
        let (mut made, mut next) = (Vec::new(), first);
        let is_down = || Refusal::new(format!("{vat} is not up"), "");
        let row = self.block.tables().vats.get(&vat).cloned().ok_or_else(is_down)?;
        let mut version = self.block.tables().engine_version_of(vat, first);
        while goes_on(&made, deliveries, &over) {
            let Some(entry) = entry(&self.block, vat, next)? else { break };
            next = next.next();
            let (number, End::Done { .. }) = (entry.number, &entry.end) else { continue };
            let used = kernel::repeat(&self.block, &mut self.workers, (vat, &row), entry, &mut version)?.fuel;
            made.push(Debugged {
                crank: None,
                vat: vat.to_string(),
                delivery_num: number.0,
                outcome: "done",
                ended: false,
                fault: None,
                fuel: used,
                state_hash: None,
            });
        }
        self.workers.detach();
        Ok(made)
    }
}
