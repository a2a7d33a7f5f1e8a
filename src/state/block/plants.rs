//! The bugs that are planted in a block's kernel, and what ends the process for those that do.
//!
//! Invariant: a process ends on order only where it was made to die: whoever started it for that has given it an
//! [`End`]. In any other (a real host, a plan, a debugger) such a plant is a `HostFault`, and nothing was done.

use crate::{
    directive::plant::{End, HALF_COMMIT, Plant},
    model::{blame::HostFault, id::CrankNum},
    state::block::Block,
};

/// The faults planted in a block's kernel, and the way to end the process: see the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Plants {
    pub(super) list: Vec<Plant>,
    pub(super) end: Option<End>,
}

impl Plants {
    /// Returns the function that ends this process, for the plant of that name.
    pub(super) fn end(&self, name: &str) -> Result<End, HostFault> {
        self.end.ok_or_else(|| {
            let why =
                "it ends its process, and this one was not made to die: `vathost run --plant` and `vathost fault` are";
            HostFault::new(format_args!("obey the plant `{name}`"), why)
        })
    }

    /// Returns the end of the process that must come between the two transactions of a commit, if a half commit was
    /// planted in a crank before `next`.
    pub(super) fn between_transactions(&self, next: CrankNum) -> Result<Option<End>, HostFault> {
        let is_half = |it: &Plant| it.name == HALF_COMMIT && it.is_before(next);
        self.list.iter().any(is_half).then(|| self.end(HALF_COMMIT)).transpose()
    }
}

impl Block {
    /// Returns the planted faults.
    pub fn plants(&self) -> &[Plant] {
        &self.0.plants.list
    }

    /// Plants faults in the kernel.
    pub fn set_plants(&mut self, plants: Vec<Plant>) {
        self.0.plants.list = plants;
    }

    /// Plants one more bug.
    pub(crate) fn add_plant(&mut self, plant: Plant) {
        self.0.plants.list.push(plant);
    }

    /// Sets how the process ends when a plant orders it: this process was made to die.
    pub fn set_end(&mut self, end: End) {
        self.0.plants.end = Some(end);
    }

    /// Ends the process on the order of the plant of that name.
    ///
    /// # Errors
    ///
    /// Where it was not made to die.
    pub(crate) fn end_process(&self, name: &str) -> Result<(), HostFault> {
        self.0.plants.end(name).map(|end| end(name))
    }
}
