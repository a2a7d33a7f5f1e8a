//! Calls that a server needs of a host: rows that it keeps beside the state, acts of its administrator on vats, messages with encoded bodies.
//!
//! Invariant: a row that is given with inputs is durable with them, and not before.

use crate::{
    host::controller::{
        Host, Sent, To, gone,
        input::{self, Input},
    },
    kernel::Halt,
    model::{
        blame::HostFault,
        id::{KRef, PromiseId, VRef, VatId},
        value::CapData,
    },
    state::block::beside,
    store::{BesideRow, KeptRow},
};

/// An act of an administrator on a vat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VatAct {
    /// The vat receives nothing, for this reason, until it is resumed.
    Pause(String),
    /// The vat receives what waited for it, and all that follows.
    Resume,
    /// The vat ends, for this reason.
    Terminate(String),
}

impl Host {
    /// Reads the rows that a server keeps beside the state, in order of their keys.
    pub fn beside(&self) -> Result<Vec<KeptRow>, Box<Halt>> {
        Ok(beside::read(self.block()?)?)
    }

    /// Writes rows beside the state now, durably, and without a block.
    pub fn keep_beside(&mut self, rows: &[BesideRow]) -> Result<(), Box<Halt>> {
        Ok(beside::keep(self.block.as_mut().ok_or_else(gone)?, rows)?)
    }

    /// Writes rows beside the state with the inputs of the next block: either all of them become durable, or none.
    pub fn keep_with_inputs(&mut self, rows: Vec<BesideRow>) {
        self.inputs.push(Input::Beside(rows));
    }

    /// Does this to a vat with the next block, as an input.
    ///
    /// # Errors
    ///
    /// There is no such vat alive, or it is a critical vat and the act would end it.
    pub fn administrate(&mut self, vat: VatId, act: VatAct) -> Result<(), HostFault> {
        let refused = |why: String| HostFault::new("administrate a vat", why);
        let tables = self.block.as_ref().ok_or_else(super::halted)?.tables();
        let row = tables.vats.get(&vat).ok_or_else(|| refused(format!("there is no {vat}")))?;
        if !tables.is_alive(vat) {
            return Err(refused(format!("{vat} (`{}`) is terminated", row.name)));
        }
        if row.options.critical && matches!(act, VatAct::Terminate(_)) {
            return Err(refused(format!("{vat} (`{}`) is critical: the host cannot go on without it", row.name)));
        }
        self.inputs.push(Input::Administrate(vat, act));
        Ok(())
    }

    /// Sends a message whose body is encoded already, with the next block.
    ///
    /// # Errors
    ///
    /// The body names something that does not exist, or is too large.
    pub fn send_data(&mut self, to: To<'_>, method: &str, methargs: CapData<KRef>) -> Result<Sent, HostFault> {
        let tables = self.block.as_ref().ok_or_else(super::halted)?.tables();
        let (target, label) = input::target(tables, to)?;
        input::check_data(tables, &methargs)?;
        Ok(self.queue_send(target, label, method, methargs))
    }

    /// Lets the result of a message go, with the next block.
    pub fn forget_result(&mut self, result: PromiseId) {
        // A host that has halted holds nothing more.
        let _ = self.forget(Sent(result));
    }

    /// Returns the root of a vat, if somebody holds it.
    pub fn root_of(&self, vat: VatId) -> Option<KRef> {
        self.block.as_ref()?.tables().clist.get(&(vat, VRef::ROOT)).map(|it| it.kref)
    }

    /// Returns whether a vat exists and is not terminated.
    pub fn is_alive(&self, vat: VatId) -> bool {
        self.block.as_ref().is_some_and(|it| it.tables().is_alive(vat))
    }

    /// Returns whether there is work now: an input, a queue that is not empty, or the rest of a block.
    pub fn has_work(&self) -> Result<bool, Box<Halt>> {
        let block = self.block()?;
        Ok(!self.inputs.is_empty() || !crate::kernel::is_quiescent(block) || block.meta().open)
    }
}
