//! A host that runs: opened on a scenario and a state, fed with inputs, and run block by block.
//!
//! [`controller::Host`] is the host for programs that embed it; [`options::HostOptions`] is what it is given; [`block_run::BlockRun`] is a block, crank by crank; [`scenario::Scenario`] is the `vat.toml` it starts from;
//! [`epitaph`] and [`report`] are what it leaves and prints when the kernel panics; [`mailbox`] is its line to the outside.

pub mod block_run;
pub mod controller;
pub mod epitaph;
pub mod mailbox;
pub mod options;
pub mod report;
pub mod scenario;

pub use controller::staged;
