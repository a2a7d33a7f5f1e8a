//! vathost: a WebAssembly-sandboxed vat host.

pub mod bench;
pub mod block;
pub mod body;
pub mod cli;
pub mod conformance;
pub mod controller;
pub mod directive;
pub mod epitaph;
pub mod fault;
pub mod id;
pub mod kernel;
pub mod kernel_version;
pub mod limits;
pub mod plant;
pub mod report;
pub mod scenario;
pub mod slog;
pub mod snapshot;
pub mod store;
pub mod table;
pub mod transcript;
pub mod value;
pub mod vat;
