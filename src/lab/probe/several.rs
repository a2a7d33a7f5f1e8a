//! Several probes at once, in the one slot of a block: each is asked in turn.

use std::sync::Arc;

use crate::{
    directive::{Class, Directive, DirectiveSet, SetDigest},
    kernel::{BoundaryCheck, Call, Crank, Ledger, Probe, set_probe},
    lab::probe::{Injector, PlantedBugs},
    model::{
        blame::{Fault, HostFault},
        id::{CrankNum, VatId},
        value::Answer,
    },
    slog::At,
    state::block::{Block, BlockProbe, Sealed},
    store::Transaction,
};

/// The probes of one block, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Probes(Vec<Arc<dyn Probe>>);

impl Probes {
    /// Makes the probes of planted bugs.
    pub fn of_bugs(bugs: Arc<PlantedBugs>) -> Probes {
        Probes(vec![bugs])
    }

    /// Adds another probe, which is asked last.
    #[must_use]
    pub fn and(mut self, probe: Arc<dyn Probe>) -> Probes {
        self.0.push(probe);
        self
    }

    /// Gives them to a block, in the place of those that it has.
    pub fn attach(self, block: &mut Block) {
        set_probe(block, Some(Arc::new(self)));
    }

    /// Gives a block the faults of an injector, beside the directives that operators gave, and the bugs that it plants.
    ///
    /// # Errors
    ///
    /// A fault that contradicts a directive.
    pub fn inject(block: &mut Block, injector: Arc<Injector>) -> Result<(), HostFault> {
        injector.with(block.directives())?;
        Probes::of_bugs(injector.bugs()).and(injector).attach(block);
        Ok(())
    }

    fn any(&self, is: impl Fn(&dyn Probe) -> bool) -> bool {
        self.0.iter().any(|it| is(&**it))
    }
}

impl BlockProbe for Probes {
    fn counts_rows(&self) -> bool {
        self.any(|it| it.counts_rows())
    }

    fn sealed(&self, step: &Sealed<'_>) -> Result<(), HostFault> {
        self.0.iter().try_for_each(|it| it.sealed(step))
    }

    fn at_commit(&self, next: CrankNum, transaction: &Transaction<'_>) -> Result<(), HostFault> {
        self.0.iter().try_for_each(|it| it.at_commit(next, transaction))
    }
}

impl Probe for Probes {
    fn planted(&self) -> Vec<String> {
        self.0.iter().flat_map(|it| it.planted()).collect()
    }

    fn owns(&self, directive: &Directive) -> bool {
        self.any(|it| it.owns(directive))
    }

    /// One of them gives orders at the most.
    fn digest(&self, operators: &DirectiveSet) -> SetDigest {
        let alone = operators.digest();
        self.0.iter().map(|it| it.digest(operators)).find(|it| *it != alone).unwrap_or(alone)
    }

    /// The one that gives orders lists the most.
    fn in_force(&self, block: &Block) -> Vec<(String, Class)> {
        self.0.iter().map(|it| it.in_force(block)).max_by_key(Vec::len).unwrap_or_default()
    }

    fn wakes(&self, block: &Block) -> bool {
        self.any(|it| it.wakes(block))
    }

    fn foresee(&self, crank: &Crank<'_>) -> Vec<String> {
        self.0.iter().flat_map(|it| it.foresee(crank)).collect()
    }

    fn taken(&self, crank: &Crank<'_>) {
        self.0.iter().for_each(|it| it.taken(crank));
    }

    fn obeyed<'h>(&self, crank: Crank<'h>) -> Result<Crank<'h>, Fault> {
        self.0.iter().try_fold(crank, |crank, it| it.obeyed(crank))
    }

    fn before_delivery(&self, crank: &mut Crank<'_>) -> Result<(), Fault> {
        self.0.iter().try_for_each(|it| it.before_delivery(crank))
    }

    fn begin_attempt(&self, at: At, fuel_max: u64) -> u64 {
        self.0.iter().fold(fuel_max, |fuel_max, it| it.begin_attempt(at, fuel_max))
    }

    fn before_syscall(&self, ledger: &mut Ledger, at: At, number: u32, kind: &'static str) -> Result<(), Fault> {
        self.0.iter().try_for_each(|it| it.before_syscall(ledger, at, number, kind))
    }

    fn sees_syscalls(&self) -> bool {
        self.any(|it| it.sees_syscalls())
    }

    fn syscall(&self, call: &Call<'_>) -> Result<(), Fault> {
        self.0.iter().try_for_each(|it| it.syscall(call))
    }

    fn answer(&self, crank: CrankNum, real: Answer) -> Answer {
        self.0.iter().fold(real, |answer, it| it.answer(crank, answer))
    }

    fn end_attempt(&self, at: At, used: Option<u64>) {
        self.0.iter().for_each(|it| it.end_attempt(at, used));
    }

    fn after_delivery(&self, crank: &mut Crank<'_>) -> Result<(), Fault> {
        self.0.iter().try_for_each(|it| it.after_delivery(crank))
    }

    fn omits(&self, check: BoundaryCheck, ledger: &Ledger) -> bool {
        self.any(|it| it.omits(check, ledger))
    }

    fn brought_up(&self, block: &mut Block, vat: VatId, deliveries: u64) {
        self.0.iter().for_each(|it| it.brought_up(block, vat, deliveries));
    }

    fn audits(&self, crank: CrankNum) -> bool {
        self.any(|it| it.audits(crank))
    }

    fn changes_heaps(&self) -> bool {
        self.any(|it| it.changes_heaps())
    }
}
