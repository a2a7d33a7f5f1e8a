//! vathost: a WebAssembly-sandboxed vat host.

pub mod model;

pub mod directive;
pub mod store;

pub mod slog;
pub mod state;

pub mod kernel;

pub mod vat;

pub mod host;

#[cfg(feature = "tools")]
pub mod inspect;
#[cfg(feature = "tools")]
pub mod lab;

#[cfg(feature = "tools")]
pub mod debug;

#[cfg(feature = "tools")]
pub mod bench;

#[cfg(feature = "tools")]
pub mod cli;
