//! The probe of a run: what looks on, or disturbs it on purpose. A debugger's breakpoints, an experiment's watch and its
//! faults, planted bugs are probes; the block of a real host has none, and asks once whether there is one.
//!
//! ```text
//!   take ─▶ obey ─▶ admit ──────────▶ deliver ───────────────────────────────────────▶ settle ─────────▶ collect ─▶ finish
//!    │       │       │                 │ begin_attempt ─▶ (each syscall) ─▶ end_attempt │                             │
//!    taken   obeyed  before_delivery       before_syscall, syscall, answer              after_delivery                sealed
//! ```
//!
//! A probe is shared, and asked again while it is being asked: what it does to a crank can seal a step. So it holds no
//! lock while it calls the kernel.
//!
//! Invariants: nothing here says what a probe is for; one that overrides nothing changes no hash.

use std::{any::Any, hint, sync::Arc};

use crate::{
    directive::{Class, Directive, DirectiveSet, SetDigest},
    kernel::{Ledger, crank::Crank},
    model::{
        blame::{Fault, HostFault},
        id::{CrankNum, KRef, VRef, VatId},
        value::{Answer, Syscall},
    },
    slog::At,
    state::block::{Block, BlockProbe, Sealed, classes},
    store::Transaction,
};

/// A syscall that was translated and is about to be applied.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// In which delivery.
    pub at: At,
    /// The number of the syscall in its delivery, from 0.
    pub number: u32,
    /// The syscall as the vat made it.
    pub vat: &'a Syscall<VRef>,
    /// In the kernel's references, or why the vat may not make it.
    pub kernel: Result<&'a Syscall<KRef>, &'a Fault>,
    /// The memory of the guest as it is now; empty where it has none.
    pub memory: &'a [u8],
    /// All state, as it is now: the crank is open.
    pub block: &'a Block,
}

/// A check of the kernel that a probe can leave out: a bug that somebody might have made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoundaryCheck {
    /// That a vat resolves only promises that it decides, where its syscall is translated.
    Decider,
}

/// A probe, as the kernel asks it: see the module. What is not overridden does nothing.
pub trait Probe: BlockProbe {
    /// Returns the bugs that the probe puts in the kernel, each in one line, for the record of the run.
    fn planted(&self) -> Vec<String> {
        Vec::new()
    }

    // ---- what it orders, beside the directives of the operators

    /// Returns whether a directive is one of the probe's own orders too, and is left to it.
    fn owns(&self, directive: &Directive) -> bool {
        let _ = directive;
        false
    }

    /// Returns the digest under which a directive that was obeyed is recorded: of the operators' directives and the
    /// probe's own orders.
    fn digest(&self, operators: &DirectiveSet) -> SetDigest {
        operators.digest()
    }

    /// Lists the directives of the operators and the probe's own orders, in the order of their places, each with its class.
    fn in_force(&self, block: &Block) -> Vec<(String, Class)> {
        let all = classes(block, block.directives());
        all.into_iter().map(|(directive, class)| (directive.to_string(), class)).collect()
    }

    /// Returns whether an order is a reason for the next crank to run although every queue is empty.
    fn wakes(&self, block: &Block) -> bool {
        let _ = block;
        false
    }

    /// Returns the orders that are due in this crank, for somebody who looks ahead: each in one line.
    fn foresee(&self, crank: &Crank<'_>) -> Vec<String> {
        let _ = crank;
        Vec::new()
    }

    /// Sees the crank when its item was taken, and before directives are obeyed: what is due is decided here.
    fn taken(&self, crank: &Crank<'_>) {
        let _ = crank;
    }

    /// Carries out what was due, when the operators' directives were obeyed.
    fn obeyed<'h>(&self, crank: Crank<'h>) -> Result<Crank<'h>, Fault> {
        Ok(crank)
    }

    // ---- around a delivery

    /// Comes before the crank's item is delivered, or dealt with otherwise.
    fn before_delivery(&self, crank: &mut Crank<'_>) -> Result<(), Fault> {
        let _ = crank;
        Ok(())
    }

    /// Comes before an attempt to deliver, and returns the fuel that it may use.
    fn begin_attempt(&self, at: At, fuel_max: u64) -> u64 {
        let _ = at;
        fuel_max
    }

    /// Comes before a syscall is translated. An error is the syscall's.
    fn before_syscall(&self, ledger: &mut Ledger, at: At, number: u32, kind: &'static str) -> Result<(), Fault> {
        let _ = (ledger, at, number, kind);
        Ok(())
    }

    /// Returns whether the probe wants to see syscalls as they are translated.
    fn sees_syscalls(&self) -> bool {
        false
    }

    /// Sees a syscall that was translated. An error ends the delivery, and with it the block.
    fn syscall(&self, call: &Call<'_>) -> Result<(), Fault> {
        let _ = call;
        Ok(())
    }

    /// Returns what a syscall answers, which is `real` where nothing is disturbed.
    fn answer(&self, crank: CrankNum, real: Answer) -> Answer {
        let _ = crank;
        real
    }

    /// Comes after an attempt to deliver, with the fuel that it used if it went well.
    fn end_attempt(&self, at: At, used: Option<u64>) {
        let _ = (at, used);
    }

    /// Comes when the consequences of the delivery were taken.
    fn after_delivery(&self, crank: &mut Crank<'_>) -> Result<(), Fault> {
        let _ = crank;
        Ok(())
    }

    // ---- what of the kernel it changes

    /// Returns whether the kernel leaves out a check.
    fn omits(&self, check: BoundaryCheck, ledger: &Ledger) -> bool {
        let _ = (check, ledger);
        false
    }

    /// Comes when a vat was brought up by so many deliveries made again.
    fn brought_up(&self, block: &mut Block, vat: VatId, deliveries: u64) {
        let _ = (block, vat, deliveries);
    }

    /// Returns whether the crank is audited whatever the host's interval is.
    fn audits(&self, crank: CrankNum) -> bool {
        let _ = crank;
        false
    }

    /// Returns whether heaps are changed behind their vats' backs: then none is rolled back, but each comes back from its
    /// past, without the change.
    fn changes_heaps(&self) -> bool {
        false
    }
}

/// The probe, in the slot of a block.
#[derive(Debug)]
struct Slot(Arc<dyn Probe>);

impl BlockProbe for Slot {
    fn counts_rows(&self) -> bool {
        self.0.counts_rows()
    }

    fn sealed(&self, step: &Sealed<'_>) -> Result<(), HostFault> {
        self.0.sealed(step)
    }

    fn at_commit(&self, next: CrankNum, transaction: &Transaction<'_>) -> Result<(), HostFault> {
        self.0.at_commit(next, transaction)
    }
}

/// Gives a block a probe, or takes the one that it has.
pub fn set_probe(block: &mut Block, probe: Option<Arc<dyn Probe>>) {
    block.set_probe(probe.map(|it| Arc::new(Slot(it)) as Arc<dyn BlockProbe>));
}

/// Returns the probe of a block; `None` in a real host.
#[inline]
pub fn probe_of(block: &Block) -> Option<&Arc<dyn Probe>> {
    let held: &dyn Any = block.probe()?;
    hint::cold_path();
    held.downcast_ref::<Slot>().map(|it| &it.0)
}

impl Ledger {
    /// Returns the probe, to be asked while the ledger is changed.
    #[inline]
    pub(super) fn probe(&self) -> Option<Arc<dyn Probe>> {
        probe_of(self.block()).cloned()
    }
}
