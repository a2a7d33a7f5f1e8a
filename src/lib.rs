//! vathost: a WebAssembly-sandboxed vat host.

pub mod block;
pub mod body;
pub mod cli;
pub mod conformance;
pub mod controller;
pub mod epitaph;
pub mod fault;
pub mod id;
pub mod kernel;
pub mod limits;
pub mod report;
pub mod scenario;
pub mod slog;
pub mod snapshot;
pub mod store;
pub mod table;
pub mod transcript;
pub mod value;
pub mod vat;

/// The version of the kernel's behaviour that this binary runs.
pub const KERNEL_VERSION: u32 = 1;
