//! The SDK for vats: write an actor in plain Rust, run it under `vathost`.
//!
//! A vat is a wasm module with one root object. Objects (`#[vat::exo]`) answer messages from other vats, hold references to
//! objects of other vats ([`Remote`]) and to answers still to come ([`Promise`]), and may wait for them (`async fn`).
//! Names cross as camelCase; an argument of the wrong type is answered with a rejection.
//!
//! ```
//! use std::cell::Cell;
//! use vat::{Error, Rc, Remote};
//!
//! struct Purse {
//!     balance: Cell<u64>,
//! }
//!
//! #[vat::exo]
//! impl Purse {
//!     pub fn deposit(&self, amount: u64) {
//!         self.balance.update(|b| b + amount);
//!     }
//!
//!     pub async fn pay(&self, to: Remote, amount: u64) -> Result<u64, Error> {
//!         let rest = self.balance.get().checked_sub(amount).ok_or("insufficient funds")?;
//!         self.balance.set(rest);
//!         if let Err(refused) = to.send("deposit", (amount,)).await {
//!             self.deposit(amount);
//!             return Err(refused);
//!         }
//!         Ok(self.balance.get())
//!     }
//! }
//!
//! // In a unit test, a mock kernel takes the place of the real one:
//! use vat::test::World;
//! let mut world = World::start(|| Purse { balance: Cell::new(100) });
//! let shop = world.import();
//! let payment = world.send("pay", (shop, 30u64));
//! let deposit = world.sent().remove(0);
//! assert_eq!(deposit.body, r##"#["deposit",["+30"]]"##);
//!
//! world.reject(deposit.result, "closed for today");
//! assert_eq!(world.outcome(payment), Some(Err(Error::new("closed for today"))));
//! let deposit = world.send("deposit", (5,));
//! assert_eq!(world.outcome(deposit), Some(Ok(vat::Value::Undefined)));
//! ```
//!
//! # What the SDK promises
//!
//! 1. The kernel learns of every reference that the vat no longer holds: `Drop` of the last [`Remote`] leads to `dropImports`
//!    and `retireImports` at the next `bringOutYourDead`.
//! 2. A promise id is never mentioned after `resolve` or `notify` retired it; a settled promise that is sent again travels
//!    as a new one.
//! 3. No message can make the vat trap by its shape alone: bodies are bounded in depth and in number of values.
//! 4. No text formatting, float or not, is linked into a vat that does not use it.

#![cfg_attr(all(target_arch = "wasm32", not(feature = "std")), no_std)]
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;

pub mod admin;
mod argument;
pub mod console;
mod convert;
mod delivery;
mod durable;
mod error;
mod executor;
mod exo;
#[cfg(any(test, all(target_arch = "wasm32", not(feature = "std"))))]
mod heap;
mod kind;
pub mod mailbox;
mod number;
mod promise;
mod remote;
#[cfg(target_arch = "wasm32")]
mod rt;
mod smallcaps;
mod state;
pub mod sys;
#[cfg(not(target_arch = "wasm32"))]
pub mod test;
pub mod timer;
mod value;
pub mod vref;

pub use alloc::rc::Rc;

pub use argument::{Args, Bootstrap, IntoArgs};
pub use convert::{FromValue, IntoOutcome};
pub use durable::{Durable, DurableMap, Key, Store};
pub use error::Error;
pub use executor::spawn;
pub use exo::{Exo, IntoRoot, Reply};
pub use kind::DurableKind;
pub use number::Decimal;
pub use promise::{Promise, Resolver};
pub use remote::{Device, Remote};
pub use sys::CapData;
pub use value::Value;
pub use vat_macros::{exo, root};

/// The names that a vat without std needs in scope: `use vat::prelude::*;`.
pub mod prelude {
    pub use crate::{Durable, DurableMap, Error, Promise, Rc, Remote, Value, dbg, eprintln, println};
    pub use alloc::borrow::ToOwned;
    pub use alloc::boxed::Box;
    pub use alloc::format;
    pub use alloc::string::{String, ToString};
    pub use alloc::vec;
    pub use alloc::vec::Vec;
    pub use core::cell::{Cell, RefCell};
}

/// The importance of a line on the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A line for the author of the vat.
    Debug = 0,
    /// A line for whoever runs the vat.
    Info = 1,
    /// A line about something odd.
    Warn = 2,
    /// A line about something wrong.
    Error = 3,
}

/// Writes a line to the console at [`Level::Info`]. It reaches the host's log, never another vat.
pub fn log(text: &str) {
    console(Level::Info, text);
}

/// Writes a line to the console.
pub fn console(level: Level, text: &str) {
    sys::console(level as u32, text);
}

/// Ends this vat after the current delivery, which counts; `done()` of its admin facet is fulfilled with `info`.
pub fn exit(info: impl Into<Value>) {
    promise::exit(false, info.into());
}

/// Ends this vat, and undoes the current delivery; `done()` of its admin facet is rejected with `reason`.
pub fn exit_with_failure(reason: impl Into<Error>) {
    promise::exit(true, reason.into().into_reason());
}

/// Writes a line to the console at [`Level::Info`], as a program without a terminal does.
#[macro_export]
macro_rules! println {
    () => { $crate::console($crate::Level::Info, "") };
    ($($what:tt)*) => { $crate::console($crate::Level::Info, &$crate::__private::format!($($what)*)) };
}

/// Writes a line to the console at [`Level::Error`].
#[macro_export]
macro_rules! eprintln {
    () => { $crate::console($crate::Level::Error, "") };
    ($($what:tt)*) => { $crate::console($crate::Level::Error, &$crate::__private::format!($($what)*)) };
}

/// Writes the value of an expression to the console at [`Level::Debug`], with its place, and returns it.
#[macro_export]
macro_rules! dbg {
    ($what:expr $(,)?) => {
        match $what {
            it => {
                let text = $crate::__private::format!("[{}:{}] {} = {:?}", file!(), line!(), stringify!($what), &it);
                $crate::console($crate::Level::Debug, &text);
                it
            }
        }
    };
}

/// The functions that code written by the macros calls. Not for people.
#[doc(hidden)]
pub mod __private {
    pub use alloc::format;

    pub use crate::convert::parameters;
    pub use crate::delivery::deliver;
}
