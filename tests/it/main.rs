//! The integration tests: one binary, since each links wasmtime.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing should say so at once")]
#![allow(clippy::disallowed_methods, reason = "tests read the environment, and wait for processes")]

mod abi;
mod anachronism;
mod bench;
mod bridge;
mod campaign;
mod cli;
mod core_dump;
mod crash;
mod debug;
mod demo;
mod dev;
mod dice;
mod directives;
mod embedding;
mod fair;
mod fault;
mod gdb;
mod guests;
mod handover;
mod hostile;
mod inspect;
mod kernel;
mod language;
mod life;
mod mailbox;
mod model;
mod module;
mod new;
mod obey;
mod package;
mod parallel;
mod runtime;
mod serve;
mod session;
mod slog;
mod snapshot;
mod soak;
mod staged;
mod state;
mod tidy;
mod vectors;
