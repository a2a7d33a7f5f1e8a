//! Validators as real processes, on this machine's loopback: what a network of them does, and what it does after each kind of trouble.

#![allow(clippy::disallowed_methods, reason = "tests wait for processes, and read the clock while they do")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "network/nodes.rs"]
mod nodes;

#[path = "network/blocks.rs"]
mod blocks;
#[path = "network/deaths.rs"]
mod deaths;
#[path = "network/recovery.rs"]
mod recovery;
