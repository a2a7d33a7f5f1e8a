//! The integration tests: one binary, since each links wasmtime.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing should say so at once")]

mod anachronism;
mod guests;
mod module;
mod snapshot;
mod vectors;
