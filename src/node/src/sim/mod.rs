//! A simulation of the driver past what one machine can show: some nodes in one process, on a network that delays, reorders, doubles and
//! loses messages, with partitions, with machines that crash at each persist and before each reply, with a validator that lies, and with
//! operators who recover from a kernel panic, not all in the same way. The consensus is Malachite's own state machine (its `process!`), with
//! its log and its signatures; the driver is the one of a real node. All follows from a seed.
//!
//! A run is judged thus: no two nodes commit different blocks or hashes for one height; no submission is in two blocks; no node halts but
//! for what its operators did; once nothing goes wrong any more, all go on.
//!
//! `VATHOST_SIM_SEED=77 cargo test -p vathost-node --lib sim` runs one seed, `VATHOST_SIM_RUNS=10000` so many; a run that fails prints its seed.

#[path = "../../../../tests/it/dice.rs"]
mod dice;
mod disk;
mod engine;
mod judge;
mod liar;
mod machine;
mod plan;
mod replica;
mod signing;
mod tests;
mod world;
