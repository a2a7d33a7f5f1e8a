//! The mailbox device: messages from and to the outside, each exactly once. Only plain data goes through it.

use crate::{Device, Error, Exo, FromValue, Rc, Value};

/// The mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox(Device);

impl Mailbox {
    /// From now on `deliverInbound(number, message)` is sent to the handler for each message from outside, in order. Until
    /// somebody does, they wait outside.
    ///
    /// # Errors
    /// The device refuses.
    pub fn register_inbound_handler<H: Exo>(self, handler: &Rc<H>) -> Result<(), Error> {
        self.0.call_now("registerInboundHandler", (handler.clone(),))?.to()
    }

    /// Tells the outside that its messages up to this one were dealt with.
    ///
    /// # Errors
    /// There was no such message.
    pub fn ack_inbound(self, number: u64) -> Result<(), Error> {
        self.0.call_now("ackInbound", (number,))?.to()
    }

    /// Sends a message to the outside, when this delivery is committed; its number.
    ///
    /// # Errors
    /// It is not plain data.
    pub fn send(self, message: impl Into<Value>) -> Result<u64, Error> {
        self.0.call_now("add", (message.into(),))?.to()
    }
}

impl FromValue for Mailbox {
    fn from_value(value: Value) -> Result<Self, Error> {
        value.to().map(Mailbox)
    }
}
