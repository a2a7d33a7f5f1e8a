//! Orders of a program: what a directive file says, said in Rust.
//!
//! They go through the same set and the same rules as a file, and the kernel asks about them at the same point. They
//! live in memory: a program that continues with the state gives them again, as a file is read again.

use crate::{
    directive::{Action, Class, Contradiction, Directive, HexPrefix, Missed, Trigger},
    host::controller::Host,
    model::id::{BundleId, VatId},
};

/// The reason why an order was refused. The directives in force have not changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The order makes no sense, is there already, or contradicts another.
    #[error(transparent)]
    Contradiction(#[from] Box<Contradiction>),
    /// The place of the order has passed.
    #[error(transparent)]
    Missed(#[from] Missed),
    /// The host has halted.
    #[error("the host has halted: open the state anew")]
    Halted,
}

/// # Orders at an exact place
///
/// ```
/// use vathost::{CrankNum, DeliveryNum, Host, BlockPolicy, Scenario, Trigger, VatId};
///
/// # fn main() -> anyhow::Result<()> {
/// let scenario = Scenario::read(concat!(env!("CARGO_MANIFEST_DIR"), "/vats/globals").as_ref())?;
/// let mut controller = Host::open(Default::default())?;
/// controller.install(&scenario)?;
/// controller.schedule_skip(Trigger::Delivery(VatId(1), DeliveryNum(1)), None)?;
/// controller.schedule_halt(Trigger::Crank(CrankNum(1_000_000)))?;
/// // The same rules as in a file: a delivery is either skipped or kept for later.
/// let refused = controller.schedule_pause(Trigger::Delivery(VatId(1), DeliveryNum(1)), None, None);
/// assert!(refused.is_err());
/// while !controller.run_block(&BlockPolicy::default(), &mut |_| true)?.quiescent {}
/// let report = controller.report()?;
/// assert!(report.directives.iter().any(|it| it.line == "v1/delivery-1: skip" && it.status == "applied"));
/// # Ok(())
/// # }
/// ```
impl Host {
    /// Schedules a skip: the delivery is consumed and its vat does not receive it. `expect`: halt unless the
    /// message's hash has this prefix.
    ///
    /// # Errors
    ///
    /// Of all of these: [`Refusal`].
    pub fn schedule_skip(&mut self, at: Trigger, expect: Option<HexPrefix>) -> Result<(), Refusal> {
        self.schedule(at, Action::Skip { guard: None, expect })
    }

    /// Schedules the end of a vat just before the delivery. `None` is the vat of the delivery.
    pub fn schedule_termination(&mut self, at: Trigger, vat: Option<VatId>, why: Option<&str>) -> Result<(), Refusal> {
        self.schedule(at, Action::Terminate { vat, why: why.map(str::to_owned) })
    }

    /// Schedules a pause of a vat: it receives nothing from the delivery on. `None` is the vat of the delivery.
    pub fn schedule_pause(&mut self, at: Trigger, vat: Option<VatId>, why: Option<&str>) -> Result<(), Refusal> {
        self.schedule(at, Action::Pause { vat, why: why.map(str::to_owned) })
    }

    /// Schedules the end of a vat's pause: the deliveries that were held back go to the front of the run-queue.
    pub fn schedule_resume(&mut self, at: Trigger, vat: VatId) -> Result<(), Refusal> {
        self.schedule(at, Action::Resume(vat))
    }

    /// Schedules an upgrade: the vat runs this bundle from just before the delivery on. The state must hold the
    /// bundle then: see [`Host::put_bundle`].
    pub fn schedule_upgrade(
        &mut self,
        at: Trigger,
        vat: VatId,
        bundle: BundleId,
        why: Option<&str>,
    ) -> Result<(), Refusal> {
        self.schedule(at, Action::Upgrade { vat, bundle: HexPrefix::of(&bundle.0), why: why.map(str::to_owned) })
    }

    /// Schedules a break into the debugger, if one is attached.
    pub fn schedule_break(&mut self, at: Trigger) -> Result<(), Refusal> {
        self.schedule(at, Action::Break)
    }

    /// Schedules a halt just before this place.
    pub fn schedule_halt(&mut self, at: Trigger) -> Result<(), Refusal> {
        self.schedule(at, Action::Halt)
    }

    /// Schedules the switch to this version of the kernel, from that block on: the trigger must be a block.
    pub fn schedule_kernel(&mut self, at: Trigger, version: u32) -> Result<(), Refusal> {
        self.schedule(at, Action::ReplaceKernel(version))
    }

    fn schedule(&mut self, trigger: Trigger, action: Action) -> Result<(), Refusal> {
        let block = self.block.as_mut().ok_or(Refusal::Halted)?;
        let directive = Directive { trigger, action };
        // A file may hold lines of the past; an order given now is about the future.
        let mut alone = crate::directive::DirectiveSet::default();
        alone.insert(directive.clone())?;
        if block.classes(&alone).iter().any(|(_, class)| *class == Class::Missed) {
            return Err(Missed(vec![directive]).into());
        }
        let mut set = block.directives().clone();
        set.insert(directive)?;
        block.set_directives(set);
        self.stand();
        Ok(())
    }
}
