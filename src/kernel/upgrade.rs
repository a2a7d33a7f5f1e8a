//! Upgrade: new code for a vat that keeps its identity, its c-list, its vatstore and its durable exports.
//!
//! One crank, up to two deliveries: BringOutYourDead to the old incarnation (a paused vat is told nothing), `startVat` to the new
//! one. Where either fails everything is undone, and the old incarnation goes on.

use crate::{
    body,
    fault::{Fault, Interrupted, KernelPanic, VatFault},
    id::{BundleId, KRef, PromiseId, VRef, VatId},
    kernel::{
        Crank, Position, Ran, Workers,
        deliver::{Outcome, Work},
    },
    table::Item,
    transcript::End,
    value::{CapData, Delivery},
};

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

    /// The two deliveries. After an error the crank must be undone; so it must where it was interrupted, whatever came of them.
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
            if let Err(why) = self.pay(vat, outcome)? {
                return Ok((self, Err(why)));
            }
        }
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
        let paid = crank.pay(vat, outcome)?;
        Ok((crank, paid.map(|()| incarnation)))
    }

    /// Pays for one of the two deliveries, if it went well.
    fn pay(&mut self, vat: VatId, outcome: Outcome) -> Result<Result<(), VatFault>, Fault> {
        Ok(match outcome {
            Outcome::Interrupted => {
                self.interrupted = true;
                Err(VatFault::Delivery(Interrupted.to_string()))
            }
            Outcome::Done(usage) => Ok(self.charge(vat, usage.fuel)?),
            Outcome::Fault(fault) => Err(fault),
            Outcome::Exit { .. } => Err(VatFault::Delivery("the vat ended itself".to_owned())),
        })
    }

    /// Back to the old incarnation; the attempt takes its number, and whoever asked is told.
    fn undo_upgrade(mut self, workers: &mut dyn Workers, vat: VatId, why: &VatFault) -> Result<Crank, Fault> {
        self.rewind();
        workers.put_back(vat);
        if !self.tables().is_paused(vat) {
            // It was told to bring out its dead.
            self.take_back(workers, vat)?;
        }
        // As after any fault: it pays for all that it might have used.
        let fuel_max = self.fuel_max(vat)?.0;
        self.charge(vat, fuel_max)?;
        let work = self.retake()?;
        let Work::Item(_, Item::UpgradeVat { parameters, result, .. }) = work else {
            return Err(KernelPanic::new("audit.queue", format_args!("the upgrade of {vat} is gone: {work:?}")).into());
        };
        parameters.slots.iter().try_for_each(|it| self.decref(*it))?;
        self.leave_entry(vat, End::Faulted(why.clone()))?;
        self.settle_queued(result, true, body::error(&format!("vat-upgrade failure: {why}")))?;
        Ok(self)
    }

    /// What ends with an incarnation: the promises that it decides, and its exports that are not durable. The root stays.
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
