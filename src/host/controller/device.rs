//! The devices of the program that embeds the host: inputs for them, and the messages that leave through them.
//!
//! Invariant: a message leaves only after it was committed; each committed message leaves at least once, in order of its numbers. It stays in
//! the state until the next block begins.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    host::controller::{Host, input::Input},
    kernel::Halt,
    model::blame::HostFault,
    state::{block::Block, device::Device, table::DeviceRow},
};

impl Host {
    /// Gives an input to a device of the program, with the next block. Refused if the state has no such device of this name.
    pub fn tell_device(&mut self, name: &str, input: Value) -> Result<(), Box<Halt>> {
        let is_it = |it: &DeviceRow| matches!(it, DeviceRow::Own(_)) && it.name() == name;
        let found = self.block()?.tables().devices.iter().find(|(_, it)| is_it(it)).map(|(id, _)| *id);
        let id = found.ok_or_else(|| HostFault::new("tell a device", format_args!("the state has no `{name}`")))?;
        self.inputs.push(Input::Device(id, input));
        Ok(())
    }

    /// Lets the committed messages of devices leave.
    pub(super) fn let_leave(&mut self) -> Result<(), Box<Halt>> {
        let Some(block) = &self.block else { return Ok(()) };
        for ((id, number), row) in block.tables().device_messages.iter() {
            let name = block.tables().devices.get(id).map(DeviceRow::name).unwrap_or_default();
            let Some(device) = self.devices.iter().find(|it| it.name() == name) else { continue };
            let left = self.left.entry(*id).or_default();
            if *number > *left {
                let failed = |why: String| HostFault::new(format_args!("let message {number} of `{name}` leave"), why);
                let message = serde_json::from_slice(row).map_err(|err| failed(err.to_string()))?;
                device.leave(*number, &message).map_err(failed)?;
                *left = *number;
            }
        }
        Ok(())
    }
}

/// Refuses a state with a device that the program does not have, and devices that cannot be told apart.
pub(super) fn check(block: &Block, given: &[Arc<dyn Device>], read_only: bool) -> Result<(), HostFault> {
    let refused =
        |name: &str, why: &str| Err(HostFault::new(format_args!("open a state with the device `{name}`"), why));
    for (at, device) in given.iter().enumerate() {
        let name = device.name();
        if DeviceRow::named(name).is_some() || given.iter().take(at).any(|it| it.name() == name) {
            return refused(name, "there is another device of this name");
        }
    }
    let own = block.tables().devices.iter().filter(|(_, it)| matches!(it, DeviceRow::Own(_)));
    let missing = own.map(|(_, it)| it.name()).find(|name| !given.iter().any(|it| it.name() == *name));
    match missing {
        Some(name) if !read_only => {
            refused(name, "the state has it, and this program does not: give it in `HostOptions::devices`")
        }
        _ => Ok(()),
    }
}
