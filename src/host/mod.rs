//! A host that runs: opened on a scenario and a state, fed with inputs, and run block by block.
//!
//! [`controller::Host`] is the host, for the command line and for programs that embed it. [`options::HostOptions`] is what it is opened with,
//! and [`scenario::Scenario`] the `vat.toml` that a new state starts from. [`block_run::BlockRun`] runs a block crank by crank.
//! [`report`] sums up a state; [`epitaph`] is the report of a kernel panic or a host fault; [`mailbox`] reads and writes the mailbox's files; [`scrub`] proves
//! what was not read when the state was opened.

pub mod block_run;
pub mod controller;
pub mod epitaph;
pub mod mailbox;
pub mod options;
pub mod report;
pub mod scenario;
pub mod scrub;

pub use controller::staged;
