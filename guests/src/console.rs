//! The console device: lines for whoever runs the host, shown when their delivery is committed. Unlike [`console`](crate::console()),
//! which every vat has and which writes to the host's log, it is a capability, and it shows nothing of a delivery that was undone.

use alloc::string::String;

use crate::{Device, Error, FromValue, Value};

/// The console device of the host.
#[derive(Clone, Copy, Debug)]
pub struct Console(Device);

impl Console {
    /// Shows a line on the console.
    ///
    /// # Errors
    /// The device refuses.
    pub fn log(self, text: impl Into<String>) -> Result<(), Error> {
        self.0.call_now("log", (text.into(),))?.to()
    }

    /// Shows a line about something odd.
    ///
    /// # Errors
    /// The device refuses.
    pub fn warn(self, text: impl Into<String>) -> Result<(), Error> {
        self.0.call_now("warn", (text.into(),))?.to()
    }
}

impl FromValue for Console {
    fn from_value(value: Value) -> Result<Self, Error> {
        value.to().map(Console)
    }
}
