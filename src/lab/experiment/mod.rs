//! Fault injection: what becomes of the others when this happens to that one, here?
//!
//! A *base* is a state, or a scenario just installed, and how its blocks end. Its *golden run* is the run that nothing disturbs.
//! An *experiment* is the same run disturbed by a *schedule* of faults; it ends in one [`Outcome`], which depends on base,
//! schedule, seed and build alone: the same four give the same line, byte by byte, on every machine and in every isolation.
//!
//! Every definition that an outcome rests on stands in [`outcome`].

/// The stack that a thread must have, so that a guest need not be given another for each delivery, in bytes.
pub const STACK_BYTES: usize = 16 << 20;

mod base;
mod child;
mod disk;
mod end;
mod experiments;
mod golden;
mod judge;
mod machine;
mod memo;
mod names;
pub mod outcome;
mod patience;
pub mod protocol;
mod recording;
mod remedy;
mod run;
mod runner;
mod shrink;
mod token;
mod watcher;
mod worker;

pub use base::{Base, BaseId, Build, Limits, Until};
pub use child::{Process, Program, Silence};
pub use disk::store_ops;
pub use experiments::Experiments;
pub use golden::{Golden, GoldenBlock, Points, VatPoints};
pub use names::VatNames;
pub use outcome::{Class, Done, Outcome, Step};
pub use patience::{Endless, Over, Patience};
pub use remedy::{Remedies, Remedy, attempt, rank, remedies, ways};
pub use runner::{Isolation, MARKER, Runner, copy_base, is_marked};
pub use shrink::{Shrunk, shrink};
pub use token::{CampaignName, Token, TokenError};
pub use watcher::{Answer, Looks, Useless, View, Watcher, When};
pub use worker::{run_on_disk, serve};
