//! Upgrade: new code for a vat that keeps its identity, its c-list, its vatstore and its durable exports.
//!
//! One crank, up to two deliveries: BringOutYourDead to the old incarnation (a paused vat receives none), `startVat`
//! to the new one. If either fails, everything is undone, and the old incarnation continues.

use crate::{
    kernel::{
        Crank, Position, Ran, Workers,
        deliver::{Outcome, Work},
    },
    model::{
        blame::{Fault, Interrupted, KernelPanic, VatFault},
        body,
        id::{BundleId, KRef, PromiseId, VRef, VatId},
        limits, price,
        value::{CapData, Delivery},
    },
    state::{table::Item, transcript::End},
    store::PAGE_BYTES,
};

/// The least fuel that a write to a page takes: an address, a value, the write.
const FUEL_OF_A_WRITE: u64 = 3;

impl Crank {
    #[expect(clippy::too_many_arguments, reason = "what the queue item holds, and what every crank is given")]
    pub(super) fn upgrade(
        mut self,
        workers: &mut dyn Workers,
        vat: VatId,
        bundle: BundleId,
        parameters: CapData<KRef>,
        result: Option<PromiseId>,
        ran: &mut Ran,
        position: &mut Position,
    ) -> Result<Crank, Fault> {
        parameters.slots.iter().try_for_each(|it| self.decref(*it))?;
        let (mut crank, replaced) = self.replace_code(workers, vat, bundle, parameters, ran, position)?;
        if crank.interrupted {
            return Ok(crank);
        }
        match replaced {
            Ok(incarnation) => {
                let data = CapData::plain(format!("#{{\"incarnationNumber\":{incarnation}}}"));
                crank.settle_queued(result, false, data)?;
                Ok(crank)
            }
            Err(fault) => crank.undo_upgrade(workers, vat, &fault),
        }
    }

    /// Runs the two deliveries of an upgrade. After an error the crank must be undone; so it must where it was
    /// interrupted, whatever came of them.
    pub(super) fn replace_code(
        mut self,
        workers: &mut dyn Workers,
        vat: VatId,
        bundle: BundleId,
        parameters: CapData<KRef>,
        ran: &mut Ran,
        position: &mut Position,
    ) -> Result<(Crank, Result<u32, VatFault>), Fault> {
        if !self.tables().is_paused(vat) {
            let (crank, outcome) = self.deliver(workers, vat, &Delivery::BringOutYourDead, ran, position)?;
            self = crank;
            if let Err(why) = self.pay(vat, outcome, 0)? {
                return Ok((self, Err(why)));
            }
        }
        let fee = self.disconnection_fee(vat);
        self.disconnect(vat)?;
        workers.set_aside(vat);
        let first = self.next_delivery(vat);
        let incarnation = self.tables_mut().vats.update(&vat, |it| {
            it.bundle = bundle;
            it.incarnation += 1;
            it.first_delivery = first;
            it.incarnation
        });
        let incarnation = incarnation.ok_or_else(|| KernelPanic::new("vat.known", vat))?;
        let (mut crank, outcome) = self.deliver(workers, vat, &Delivery::StartVat(parameters), ran, position)?;
        let paid = crank.pay(vat, outcome, fee)?;
        Ok((crank, paid.map(|()| incarnation)))
    }

    /// Pays for one of the two deliveries and this besides, if it went well.
    fn pay(&mut self, vat: VatId, outcome: Outcome, besides: u64) -> Result<Result<(), VatFault>, Fault> {
        Ok(match outcome {
            Outcome::Interrupted => {
                self.interrupted = true;
                Err(VatFault::Delivery(Interrupted.to_string()))
            }
            Outcome::Done(usage) => Ok(self.charge(vat, usage.fuel.saturating_add(besides))?),
            Outcome::Fault(fault) => Err(fault),
            Outcome::Exit { .. } => Err(VatFault::Delivery("the vat ended itself".to_owned())),
        })
    }

    /// Returns to the old incarnation; the attempt takes its number, and the requester receives the reason.
    fn undo_upgrade(mut self, workers: &mut dyn Workers, vat: VatId, why: &VatFault) -> Result<Crank, Fault> {
        self.rewind();
        workers.put_back(vat);
        if !self.tables().is_paused(vat) {
            // It was told to bring out its dead.
            self.take_back(workers, vat)?;
        }
        // As after any fault: it pays for all that it might have used, and for what was done and undone.
        let fuel_max = self.fuel_max(vat)?.0;
        let undone = self.disconnection_fee(vat).saturating_add(self.undoing_fee(vat, fuel_max, true));
        self.charge(vat, fuel_max.saturating_add(undone))?;
        let work = self.retake()?;
        let Work::Item(_, Item::UpgradeVat { parameters, result, .. }) = work else {
            return Err(KernelPanic::new("audit.queue", format_args!("the upgrade of {vat} is gone: {work:?}")).into());
        };
        parameters.slots.iter().try_for_each(|it| self.decref(*it))?;
        self.leave_entry(vat, End::Faulted(why.clone()))?;
        self.settle_queued(result, true, body::error(&format!("vat-upgrade failure: {why}")))?;
        Ok(self)
    }

    /// Returns the fuel charged for undoing a delivery, besides the fuel that it might have used: by the pages that it
    /// might have written; and if an incarnation was started, by what that may use.
    pub(super) fn undoing_fee(&self, vat: VatId, fuel_max: u64, started: bool) -> u64 {
        let memory = self.tables().tallies.get(&vat).map_or(0, |it| it.memory);
        let pages = (memory / PAGE_BYTES as u64).min(fuel_max / FUEL_OF_A_WRITE);
        let undone = price::UNDO.of(0, pages);
        if !started {
            return undone;
        }
        undone.saturating_add(price::START.of(0, 0)).saturating_add(limits::FUEL_INITIALIZE)
    }

    /// Returns the fuel charged for the end of an incarnation, by what the vat knows.
    fn disconnection_fee(&self, vat: VatId) -> u64 {
        let clist = &self.tables().clist;
        let (looked_at, exports) =
            (clist.promises(vat).count(), clist.ephemeral(vat).filter(|(it, _)| *it != VRef::ROOT).count());
        let ended = self.decided_by(vat).len() + exports;
        price::LOOK.of(0, looked_at as u64).saturating_add(price::DISCONNECT.of(0, ended as u64))
    }

    /// Disconnects what ends with an incarnation: the promises that it decides, and its exports that are not durable.
    /// The root stays.
    fn disconnect(&mut self, vat: VatId) -> Result<(), Fault> {
        let incarnation = self.tables().vats.get(&vat).map_or(0, |it| it.incarnation);
        let text = format!(
            "#{{\"incarnationNumber\":{incarnation},\"name\":\"vatUpgraded\",\"upgradeMessage\":\"vat upgraded\"}}"
        );
        for promise in self.decided_by(vat) {
            if let Some(vref) = self.tables().clist.vref(vat, promise.into()) {
                self.remove_entry(vat, vref)?;
                self.decref(promise.into())?;
            }
            self.settle(promise, true, CapData::plain(&text))?;
        }
        let lost: Vec<_> = self.tables().clist.ephemeral(vat).filter(|(vref, _)| *vref != VRef::ROOT).collect();
        for (vref, entry) in lost {
            self.remove_entry(vat, vref)?;
            if let KRef::Object(id) = entry.kref {
                self.orphan(vat, id)?;
            }
        }
        Ok(())
    }
}
