//! Fault injection: what becomes of the others when this happens to that one, here?
//!
//! A *base* is a state, or a scenario just installed, and how its blocks end. Its *golden run* is the run that nothing disturbs.
//! An *experiment* is the same run disturbed by a *schedule* of faults; it ends in one [`Outcome`], which depends on base,
//! schedule, seed and build alone: the same four give the same line, byte by byte, on every machine and in every isolation.
//!
//! Every definition that an outcome rests on stands in [`outcome`].

mod base;
pub mod outcome;
mod token;

pub use base::{Base, BaseId, Build, Limits, Until};
pub use outcome::{Class, Done, Outcome, Step};
pub use token::{Token, TokenError};
