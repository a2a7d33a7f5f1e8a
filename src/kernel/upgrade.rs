//! Upgrade: new code for a vat that keeps its identity, its c-list, its vatstore and its durable exports.
//!
//! One crank, up to two deliveries: BringOutYourDead to the old incarnation (a paused vat receives none), `startVat`
//! to the new one. If either fails, everything is undone, and the old incarnation continues.

use crate::{
    kernel::{
        Ledger,
        crank::Crank,
        deliver::{DeliveryOutcome, next_delivery},
        lifecycle::decided_by,
        meter::{disconnection_fee, fuel_limit, undoing_fee},
        take::Work,
    },
    model::{
        blame::{Fault, KernelPanic, VatFault},
        body,
        id::{BundleId, KRef, PromiseId, VRef, VatId},
        value::{CapData, Delivery},
    },
    state::{block::bundles, table::Item, transcript::End},
};

/// The outcome of replacing a vat's code.
pub(super) enum Replaced {
    /// It runs the new code, as this incarnation.
    By(u32),
    /// It was not replaced: the crank must be undone.
    Failed(VatFault),
    /// Not at all: the crank is to be given up.
    Interrupted,
}

impl Crank<'_> {
    /// Upgrades a vat for an item of the queue, and settles the promise of whoever asked for it.
    pub(super) fn upgrade(
        mut self,
        vat: VatId,
        bundle: BundleId,
        parameters: CapData<KRef>,
        result: Option<PromiseId>,
    ) -> Result<Self, Fault> {
        parameters.slots.iter().try_for_each(|it| self.ledger.decref(*it))?;
        let (mut crank, replaced) = self.replace_code(vat, bundle, parameters)?;
        match replaced {
            Replaced::By(incarnation) => {
                let data = CapData::plain(format!("#{{\"incarnationNumber\":{incarnation}}}"));
                crank.ledger.settle_queued(result, false, data)?;
            }
            Replaced::Failed(fault) => crank.undo_upgrade(vat, &fault)?,
            Replaced::Interrupted => (),
        }
        Ok(crank)
    }

    /// Runs the two deliveries of an upgrade.
    pub(super) fn replace_code(
        mut self,
        vat: VatId,
        bundle: BundleId,
        parameters: CapData<KRef>,
    ) -> Result<(Self, Replaced), Fault> {
        if !self.ledger.tables().is_paused(vat) {
            let (crank, outcome) = self.attempt(vat, &Delivery::BringOutYourDead)?;
            self = crank;
            if let Some(failed) = self.pay(vat, outcome, 0)? {
                return Ok((self, failed));
            }
        }
        let fee = disconnection_fee(self.ledger.tables(), vat);
        self.ledger.disconnect(vat)?;
        self.workers.set_aside(vat);
        let first = next_delivery(self.ledger.tables(), vat);
        if let Some(before) = self.ledger.tables().vats.get(&vat).map(|it| it.bundle) {
            bundles::retire(self.ledger.block_mut(), before);
        }
        let incarnation = self.ledger.tables_mut().vats.update(&vat, |it| {
            it.bundle = bundle;
            it.incarnation += 1;
            it.first_delivery = first;
            it.incarnation
        });
        let incarnation = incarnation.ok_or_else(|| KernelPanic::new("vat.known", vat))?;
        let (mut crank, outcome) = self.attempt(vat, &Delivery::StartVat(parameters))?;
        let failed = crank.pay(vat, outcome, fee)?;
        Ok((crank, failed.unwrap_or(Replaced::By(incarnation))))
    }

    /// Pays for one of the two deliveries and this besides, if it went well; otherwise returns what the upgrade came to.
    fn pay(&mut self, vat: VatId, outcome: DeliveryOutcome, besides: u64) -> Result<Option<Replaced>, Fault> {
        Ok(Some(match outcome {
            DeliveryOutcome::Done(usage) => {
                self.ledger.charge(vat, usage.fuel.saturating_add(besides))?;
                return Ok(None);
            }
            DeliveryOutcome::Interrupted => Replaced::Interrupted,
            DeliveryOutcome::Fault(fault) => Replaced::Failed(fault),
            DeliveryOutcome::Exit { .. } => Replaced::Failed(VatFault::Delivery("the vat ended itself".to_owned())),
        }))
    }

    /// Returns to the old incarnation; the attempt takes its number, and the requester receives the reason.
    fn undo_upgrade(&mut self, vat: VatId, why: &VatFault) -> Result<(), Fault> {
        self.rewind();
        self.workers.put_back(vat);
        if !self.ledger.tables().is_paused(vat) {
            // It was told to bring out its dead.
            self.take_back(vat)?;
        }
        // As after any fault: it pays for all that it might have used, and for what was done and undone.
        let tables = self.ledger.tables();
        let fuel_max = fuel_limit(tables, vat)?.fuel;
        let undone = disconnection_fee(tables, vat).saturating_add(undoing_fee(tables, vat, fuel_max, true));
        self.ledger.charge(vat, fuel_max.saturating_add(undone))?;
        let work = self.retake()?;
        let Work::Item(_, Item::UpgradeVat { parameters, result, .. }) = work else {
            return Err(KernelPanic::new("audit.queue", format_args!("the upgrade of {vat} is gone: {work:?}")).into());
        };
        parameters.slots.iter().try_for_each(|it| self.ledger.decref(*it))?;
        self.ledger.leave_entry(vat, End::Faulted(why.clone()))?;
        self.ledger.settle_queued(result, true, body::error(&format!("vat-upgrade failure: {why}")))
    }
}

impl Ledger {
    /// Disconnects what ends with an incarnation: the promises that it decides, and its exports that are not durable.
    /// The root stays.
    fn disconnect(&mut self, vat: VatId) -> Result<(), Fault> {
        let incarnation = self.tables().vats.get(&vat).map_or(0, |it| it.incarnation);
        let text = format!(
            "#{{\"incarnationNumber\":{incarnation},\"name\":\"vatUpgraded\",\"upgradeMessage\":\"vat upgraded\"}}"
        );
        for promise in decided_by(self.tables(), vat) {
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
