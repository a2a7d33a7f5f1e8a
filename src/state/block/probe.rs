//! The probe of a block: what looks on at a run, or disturbs it on purpose. A debugger's observer, an experiment's watch
//! and injector, planted bugs. None of it is state, and the block of a real host has no probe.
//!
//! Invariants: a probe that only looks on changes no hash; a process ends on order only where it was made to die:
//! whoever started it for that has given it an [`End`]. In any other (a real host, a plan, a debugger) a bug that ends
//! its process is a `HostFault`, and nothing was done.

use std::fmt;

use crate::{
    directive::{
        injector::Injector,
        plant::{End, HALF_COMMIT, Plant},
    },
    model::{
        blame::{Fault, HostFault},
        id::{CrankNum, KRef, VRef},
        value::Syscall,
    },
    slog::At,
    state::block::{Block, Watch},
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

/// An observer of running deliveries: a debugger.
pub trait Observer: fmt::Debug + Send {
    /// Sees a syscall. An error ends the delivery, and with it the block.
    fn syscall(&mut self, call: &Call<'_>) -> Result<(), Fault>;
}

/// The probe of a block: see the module.
#[derive(Debug, Default)]
pub struct Probe {
    /// The observer of the deliveries.
    pub observer: Option<Box<dyn Observer>>,
    /// The record that an experiment keeps of the run.
    pub watch: Option<Watch>,
    /// The faults that are to be injected.
    pub injector: Option<Injector>,
    /// The bugs planted in the kernel.
    pub plants: Vec<Plant>,
    /// The way to end the process when a planted bug orders it: this process was made to die.
    pub end: Option<End>,
}

impl Probe {
    /// Makes a probe of planted bugs; none where there are none, and no way to end the process.
    pub fn of_plants(plants: Vec<Plant>, end: Option<End>) -> Option<Probe> {
        (!plants.is_empty() || end.is_some()).then(|| Probe { plants, end, ..Probe::default() })
    }

    /// Ends the process on the order of the plant of that name.
    ///
    /// # Errors
    ///
    /// Where it was not made to die.
    pub(crate) fn end_process(&self, name: &str) -> Result<(), HostFault> {
        let refused = || {
            let why =
                "it ends its process, and this one was not made to die: `vathost run --plant` and `vathost fault` are";
            HostFault::new(format_args!("obey the plant `{name}`"), why)
        };
        self.end.ok_or_else(refused).map(|end| end(name))
    }

    /// Comes in the middle of a commit, before the block with this next crank is marked. A planted half commit makes
    /// durable what was written so far, and ends the process.
    pub(super) fn at_commit(&self, next: CrankNum, transaction: &Transaction<'_>) -> Result<(), HostFault> {
        if !self.plants.iter().any(|it| it.name == HALF_COMMIT && it.is_before(next)) {
            return Ok(());
        }
        if self.end.is_some() {
            transaction.split()?;
        }
        self.end_process(HALF_COMMIT)
    }
}

impl Block {
    /// Returns the probe; `None` in a real host.
    pub fn probe(&self) -> Option<&Probe> {
        self.0.probe.as_deref()
    }

    /// Returns the probe, to change it; `None` in a real host.
    pub fn probe_mut(&mut self) -> Option<&mut Probe> {
        self.0.probe.as_deref_mut()
    }

    /// Returns the probe, to change it; a new one where there is none yet.
    pub fn probed(&mut self) -> &mut Probe {
        self.0.probe.get_or_insert_default()
    }

    /// Sets the probe, or takes it away.
    pub fn set_probe(&mut self, probe: Option<Probe>) {
        self.0.probe = probe.map(Box::new);
    }
}

/// Shows a syscall to the observer, if there is one. It cannot see the block's observer, which is itself.
pub(crate) fn observe(
    block: &mut Block,
    look: impl FnOnce(&Block, &mut dyn Observer) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some(mut observer) = block.probe_mut().and_then(|it| it.observer.take()) else { return Ok(()) };
    let seen = look(block, &mut *observer);
    block.probed().observer = Some(observer);
    seen
}

/// Puts faults in force, beside the directives that operators gave.
///
/// # Errors
///
/// A fault that contradicts one of them.
pub fn inject(block: &mut Block, injector: Injector) -> Result<(), HostFault> {
    let mut all = block.directives().clone();
    for fault in injector.schedule().faults() {
        if !all.iter().any(|it| it == fault) {
            all.insert_fault(fault.clone()).map_err(|err| HostFault::new("put faults in force", err))?;
        }
    }
    block.set_directives(all);
    block.probed().injector = Some(injector);
    Ok(())
}
