//! References to objects of other vats, and to devices.

use alloc::rc::Weak;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::state::{Row, vat};
use crate::vref::VRef;
use crate::{Error, IntoArgs, Promise, Rc, Value, smallcaps, sys};

/// An object of another vat. After the last clone is dropped, the SDK tells the kernel at the next `bringOutYourDead`.
#[derive(Clone)]
pub struct Remote(Rc<Import>);

pub(crate) struct Import(VRef);

impl Drop for Import {
    fn drop(&mut self) {
        vat().litter.borrow_mut().imports.push(self.0);
    }
}

impl Remote {
    /// The handle of an import; the same one for as long as one is held.
    pub(crate) fn of(vref: VRef) -> Self {
        if let Some(Row::Import(held)) = vat().row(vref)
            && let Some(import) = Weak::upgrade(&held)
        {
            return Remote(import);
        }
        let import = Rc::new(Import(vref));
        vat().set_row(vref, Row::Import(Rc::downgrade(&import)));
        Remote(import)
    }

    /// Sends a message, and promises its answer.
    pub fn send(&self, method: &str, args: impl IntoArgs) -> Promise {
        crate::promise::send(self.vref(), method, args.into_args())
    }

    /// Sends a message without asking for its answer.
    pub fn send_only(&self, method: &str, args: impl IntoArgs) {
        crate::promise::send_only(self.vref(), method, args.into_args());
    }

    /// The reference as the kernel knows it.
    pub fn vref(&self) -> VRef {
        self.0.0
    }
}

/// Two handles are equal if they mean the same object.
impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        self.vref() == other.vref()
    }
}

impl Eq for Remote {}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::vref::text(self.vref()))
    }
}

/// The answer to `bringOutYourDead`: the imports that nothing in this vat holds any more, in the order in which they were
/// dropped. They leave the table, so that an import which is listed twice is taken once.
pub(crate) fn take_dropped() -> Vec<VRef> {
    let mut dropped = core::mem::take(&mut vat().litter.borrow_mut().imports);
    dropped.retain(|&vref| match vat().row(vref) {
        Some(Row::Import(weak)) if weak.strong_count() == 0 => {
            vat().remove_row(vref);
            !crate::durable::is_stored(vref)
        }
        // It was imported again and is held, or was taken already.
        _ => false,
    });
    dropped
}

/// Lets go of a reference that the vatstore no longer holds.
pub(crate) fn release(vref: VRef) {
    // The handle's own `Drop` does the rest, unless there are other handles.
    drop(Remote::of(vref));
}

/// A device of the host. It is called at once, within the delivery, and its answer is a value instead of a promise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Device(VRef);

impl Device {
    pub(crate) fn of(vref: VRef) -> Self {
        Device(vref)
    }

    /// Calls a method of the device.
    ///
    /// # Errors
    /// The device refuses.
    pub fn call_now(self, method: &str, args: impl IntoArgs) -> Result<Value, Error> {
        let mut again = Vec::new();
        let data = smallcaps::encode_message(method, args.into_args(), &mut again);
        let answer = sys::call_now(self.0, &data);
        crate::promise::settle(Vec::new(), again);
        match answer {
            Ok(bytes) => crate::delivery::decode_answer(&bytes),
            Err(bytes) => Err(match crate::delivery::decode_answer(&bytes) {
                Ok(reason) => Error::with_reason(reason),
                Err(_) => Error::new(String::from_utf8_lossy(&bytes)),
            }),
        }
    }

    /// The reference as the kernel knows it.
    pub fn vref(self) -> VRef {
        self.0
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::vref::text(self.0))
    }
}
