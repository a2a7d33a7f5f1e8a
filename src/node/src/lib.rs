//! Validators for vathost: replicas of one host that agree on every block, on the consensus engine Malachite.
//!
//! ```text
//!   submit ─▶ pool ─▶ get value ─▶ vote ─▶ decided ─▶ StagedHost::decide ─▶ committed ─▶ the next height
//!            driver/pool  driver ───────────────────── on a thread of its own ──────────────┘
//!   engine/ (Malachite) and abci/ (CometBFT) hand each event to the driver, and its answer back
//! ```
//!
//! The driver knows no engine, no clock and no network: the engine's events come in, with the time of the machine where one is needed, and
//! answers go out. So a simulation drives the same code.

pub mod abci;
pub mod block;
pub mod certificate;
pub mod cli;
pub mod desk;
pub mod driver;
pub mod engine;
pub mod genesis;
pub mod handover;
pub mod home;
pub mod http;
pub mod keys;
pub mod mortal;
pub mod node;
pub mod report;
#[cfg(test)]
mod sim;
pub mod store;
pub mod submit;
