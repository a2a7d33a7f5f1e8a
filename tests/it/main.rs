//! The integration tests: one binary, since each links wasmtime.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing should say so at once")]

mod abi;
mod anachronism;
mod cli;
mod directives;
mod guests;
mod hostile;
mod inspect;
mod kernel;
mod life;
mod model;
mod module;
mod new;
mod slog;
mod snapshot;
mod state;
mod tidy;
mod vectors;
