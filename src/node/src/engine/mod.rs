//! Malachite: its events to the driver, and the driver's answers back.

mod codec;
mod context;
mod signing;
