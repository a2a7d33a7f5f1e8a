//! Debuggers: of the guests, by their own sources.

pub mod gdb;
