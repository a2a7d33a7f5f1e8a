//! The mailbox device: messages from and to the outside, each exactly once. Only plain data goes through it.

use crate::{Device, Error, Exo, FromValue, Rc, Value};

/// The mailbox device of the host.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox(Device);

impl Mailbox {
    /// Registers the object that gets `deliverInbound(number, message)` for each message from outside, in order. Until an
    /// object is registered, the messages wait outside.
    ///
    /// # Errors
    /// The device refuses.
    pub fn register_inbound_handler<H: Exo>(self, handler: &Rc<H>) -> Result<(), Error> {
        self.0.call_now("registerInboundHandler", (handler.clone(),))?.to()
    }

    /// Tells the outside that its messages up to this one were handled.
    ///
    /// # Errors
    /// There was no such message.
    pub fn ack_inbound(self, number: u64) -> Result<(), Error> {
        self.0.call_now("ackInbound", (number,))?.to()
    }

    /// Sends a message to the outside, when this delivery is committed; returns its number.
    ///
    /// # Errors
    /// The message is not plain data.
    pub fn send(self, message: impl Into<Value>) -> Result<u64, Error> {
        self.0.call_now("add", (message.into(),))?.to()
    }
}

impl FromValue for Mailbox {
    fn from_value(value: Value) -> Result<Self, Error> {
        value.to().map(Mailbox)
    }
}
