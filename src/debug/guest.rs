//! A delivery that is about to be made, for a debugger of the guest's own source.

use std::net::TcpListener;

use crate::{
    debug::{Base, Machine, Open, Refusal, engine::behind, gdb},
    kernel::{Halt, Ran},
    model::id::{CrankNum, DeliveryNum, VatId},
    slog::Slog,
    state::block::Block,
    store::StateHash,
    vat::Warehouse,
};

/// A private copy of a state, just before a delivery; its vats run on an engine that can be stopped.
#[derive(Debug)]
pub struct Guest {
    /// The crank that makes the delivery.
    pub crank: CrankNum,
    /// The vat that receives the delivery.
    pub vat: VatId,
    /// The number of the delivery within its vat.
    pub delivery: DeliveryNum,
    /// What it is.
    pub kind: &'static str,
    block: Block,
    workers: Warehouse,
    _home: Base,
}

impl Guest {
    /// Goes to the place. Refused where no delivery comes next there, and for what is committed.
    pub fn open(what: Open) -> Result<Guest, Refusal> {
        let mut machine = Machine::open(what.base, what.how, Slog::default(), None)?;
        if let Some(place) = what.at {
            if behind(&machine, place, what.slog.as_deref())?.is_some() {
                let hint = "without --gdb the same place can be looked at, and stepped from syscall to syscall";
                return Err(Refusal::new(
                    format!("{place} is committed: gdb debugs what is still to be delivered"),
                    hint,
                ));
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
        let (crank, kind) = (it.crank, it.kind);
        let (block, home, code_cache) = machine.into_block()?;
        let workers = Warehouse::for_debugger(code_cache.as_deref())?;
        Ok(Guest { crank, vat, delivery, kind, block, workers, _home: home })
    }

    /// Makes the delivery, under whoever connects; what became of it, and the hash of the state after it.
    pub fn serve(mut self, listener: TcpListener) -> Result<(Option<Ran>, StateHash), Box<Halt>> {
        let (block, ran) = gdb::serve(self.block, self.vat, &mut self.workers, listener)?;
        let hash = block.state_hash()?;
        Ok((ran, hash))
    }
}
