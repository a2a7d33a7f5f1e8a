//! The integration tests: one binary, since each links wasmtime.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing should say so at once")]

mod cli;
mod directives;
mod guests;
mod inspect;
mod module;
mod slog;
mod new;
mod abi;
mod hostile;
mod kernel;
mod model;
mod module;
mod tidy;
mod vectors;
