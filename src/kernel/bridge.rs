//! The kernel's side of an embedder's devices: see [`Device`].
//!
//! Invariants: a device of the embedder sees its own rows and plain data alone; one that panics, or that the host does
//! not have, is a fault of the machine, not of a vat or of the kernel.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{
    kernel::{
        Ledger,
        crank::panic_text,
        device::DeviceCall,
        request::{Refused, Unanswered},
    },
    model::{
        blame::{Fault, HostFault},
        id::{DeviceId, ObjectId},
        smallcaps,
        value::CapData,
    },
    state::{
        device::{Device, DeviceState},
        table::{DeviceRow, OwnDevice},
    },
};

impl Ledger {
    /// Adds a device of the embedder's, for the state's life.
    pub fn add_own_device(&mut self, name: &str) -> DeviceId {
        self.add_device(DeviceRow::Own(OwnDevice { name: name.into(), handler: None, sent: 0 }))
    }

    /// Gives an input from outside to a device.
    pub fn tell_device(&mut self, id: DeviceId, input: &Value) -> Result<(), Fault> {
        let messages = self.ask_device(id, |device, state| device.input(state, input))?;
        self.deliver_inbound(id, messages)
    }

    /// Begins a block for all devices of the embedder: what they sent in the one before has left.
    pub(super) fn begin_devices(&mut self) -> Result<(), Fault> {
        let devices = self.tables().devices.iter();
        let own: Vec<_> = devices.filter(|(_, it)| matches!(it, DeviceRow::Own(_))).map(|(id, _)| *id).collect();
        for id in own {
            let sent: Vec<_> =
                self.tables().device_messages.range((id, 0)..=(id, u64::MAX)).map(|(key, _)| *key).collect();
            sent.iter().for_each(|key| drop(self.tables_mut().device_messages.remove(key)));
            let messages = self.ask_device(id, |device, state| device.begin_block(state))?;
            self.deliver_inbound(id, messages)?;
        }
        Ok(())
    }

    /// Queues messages for the handler that a vat registered with a device. Without one they are dropped.
    fn deliver_inbound(&mut self, id: DeviceId, messages: Vec<Value>) -> Result<(), Fault> {
        let handler = match self.tables().devices.get(&id) {
            Some(DeviceRow::Own(own)) => own.handler,
            _ => None,
        };
        let is_there = |it: &ObjectId| self.tables().objects.get(it).is_some_and(|it| it.owner.is_some());
        let Some(handler) = handler.filter(is_there) else { return Ok(()) };
        for message in messages {
            let args = json!(["deliverInbound", [smallcaps::from_json(&message)]]);
            self.queue_from_outside(handler.into(), CapData::plain(format!("#{args}")), None)?;
        }
        Ok(())
    }

    /// Asks the embedder's code.
    fn ask_device<T>(
        &mut self,
        id: DeviceId,
        ask: impl FnOnce(&dyn Device, &mut DeviceState<'_>) -> T,
    ) -> Result<T, Fault> {
        let name = self.tables().devices.get(&id).map(|it| it.name().to_owned()).unwrap_or_default();
        let fault = |why: String| HostFault::new(format_args!("ask the device `{name}`"), why);
        let device: Option<Arc<dyn Device>> = self.block().device(&name);
        let none = || fault("this host has no such device: give it with the state's other options".to_owned());
        let device = device.ok_or_else(none)?;
        let state = &mut DeviceState::of(self.tables_mut(), id);
        let asked = catch_unwind(AssertUnwindSafe(|| ask(&*device, state)));
        Ok(asked.map_err(|panic| fault(format!("it panicked: {}", panic_text(&*panic))))?)
    }
}

impl DeviceCall<'_> {
    /// Calls a device of the embedder's.
    pub(super) fn call_own(&mut self, own: OwnDevice) -> Result<Value, Unanswered> {
        if self.request.method == "registerInboundHandler" {
            let handler = Some(self.replace_handler(own.handler)?);
            self.ledger.tables_mut().devices.insert(self.id, DeviceRow::Own(OwnDevice { handler, ..own }));
            return Ok(json!("#undefined"));
        }
        let args = self.request.args().iter().map(smallcaps::to_json).collect::<Result<Vec<_>, _>>();
        let args = args.map_err(|why| Refused(format!("only plain data goes to the device: {why}")))?;
        let method = &self.request.method;
        let answer = self.ledger.ask_device(self.id, |device, state| device.call(state, method, &args))?;
        Ok(smallcaps::from_json(&answer.map_err(Refused)?))
    }
}
