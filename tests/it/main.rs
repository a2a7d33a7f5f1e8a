//! The integration tests: one binary, since each links wasmtime.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing should say so at once")]
#![allow(clippy::disallowed_methods, reason = "tests read the environment, and wait for processes")]

mod abi;
mod anachronism;
mod campaign;
mod cli;
mod demo;
mod directives;
mod fault;
mod guests;
mod hostile;
mod inspect;
mod kernel;
mod life;
mod model;
mod module;
mod new;
mod obey;
mod slog;
mod snapshot;
mod state;
mod tidy;
mod vectors;
