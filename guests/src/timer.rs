//! The timer device. Its time is that of the block, in whole seconds; it does not change within a block.

use crate::{Device, Error, Exo, FromValue, Rc, Value};

/// The timer device of the host.
#[derive(Clone, Copy, Debug)]
pub struct Timer(Device);

impl Timer {
    /// The time of the present block.
    ///
    /// # Errors
    /// The device refuses.
    pub fn now(self) -> Result<u64, Error> {
        self.0.call_now("getLastPolled", ())?.to()
    }

    /// Sends `wake(time)` to the handler in the first block at that time or later.
    ///
    /// # Errors
    /// The device refuses.
    pub fn set_wakeup<H: Exo>(self, at: u64, handler: &Rc<H>) -> Result<(), Error> {
        self.0.call_now("setWakeup", (at, handler.clone()))?.to()
    }

    /// Cancels the wakeups of the handler.
    ///
    /// # Errors
    /// The device refuses.
    pub fn remove_wakeup<H: Exo>(self, handler: &Rc<H>) -> Result<(), Error> {
        self.0.call_now("removeWakeup", (handler.clone(),))?.to()
    }
}

impl FromValue for Timer {
    fn from_value(value: Value) -> Result<Self, Error> {
        value.to().map(Timer)
    }
}
