//! A WebAssembly-sandboxed vat host.
//!
//! A [`Host`] runs *vats*: isolated actors that reach each other only through capabilities and promises. Each is a WebAssembly
//! module in an instance of its own. A deterministic kernel in the model of Agoric's SwingSet makes one metered delivery at a time
//! and commits whole blocks to one SQLite file. The same inputs give the same state hash on every machine.
//!
//! # A host in a program
//!
//! ```
//! use vathost::{BlockPolicy, Host, HostOptions, Outcome, Scenario};
//!
//! # fn main() -> anyhow::Result<()> {
//! let dir = tempfile::tempdir()?;
//! let options = || HostOptions { state: Some(dir.path().join("state")), ..HostOptions::default() };
//! let mut host = Host::open(options())?;
//! if host.is_new() {
//!     let bank = concat!(env!("CARGO_MANIFEST_DIR"), "/vats/bank");
//!     host.install(&Scenario::read(bank.as_ref())?)?;
//! }
//!
//! // A message waits for the next block. Its answer can be used as a target or an argument until it is forgotten.
//! let purse = host.send("north", "makePurse", [100.into()])?;
//! // A block ends after so many cranks or so much fuel. The closure is called after each crank, and can stop the block there.
//! let policy = BlockPolicy { cranks: 10_000, fuel: Some(1_000_000_000), ..BlockPolicy::default() };
//! while !host.run_block(&policy, &mut |_crank| true)?.quiescent {}
//! let Outcome::Fulfilled(answer) = host.outcome(purse)? else { panic!("north refused") };
//!
//! let balance = host.send(answer.slots[0], "balance", [])?;
//! while !host.run_block(&policy, &mut |_crank| true)?.quiescent {}
//! assert_eq!(host.outcome(balance)?.decode::<u64>()?, 100);
//! host.forget(purse)?;
//! host.forget(balance)?;
//!
//! // Every commit is durable: a host that is opened again continues from the same state.
//! let hash = host.standing().state_hash.clone();
//! drop(host);
//! assert_eq!(Host::open(options())?.standing().state_hash, hash);
//! # Ok(())
//! # }
//! ```
//!
//! # If something is broken
//!
//! Every failure is one of three, by blame. A [`VatFault`] ends the vat that caused it (or pauses it, or only rejects the message);
//! other vats do not notice. A [`KernelPanic`] means that an invariant of the kernel does not hold: the host halts, nothing of the
//! open block is committed, and the [`Halt`] names the crank, the vat and the delivery. A [`HostFault`] is the machine's: a disk, a
//! file, a damaged row. The other kinds of [`Fault`] blame nobody: a halt that a directive ordered, an interruption, and a replay
//! that differs from its record.
//!
//! After a kernel panic a [`Directive`] takes all replicas past it at the same crank: `crank-12345: skip` or
//! `crank-12345: terminate v12`, one line of a set that the operators share and [`Host::set_directives`] puts in force. The grammar
//! is [`directive::GRAMMAR`].
//!
//! # The rooms
//!
//! Each room imports only from those above it; a test checks this.
//!
//! | room | holds |
//! | --- | --- |
//! | [`model`] | identifiers, values, limits, errors by blame |
//! | [`directive`] | the lines that operators write, and when they are due |
//! | [`store`] | tables in memory over SQLite, the journal, hashes, checksums |
//! | [`slog`] | the flight recorder |
//! | [`state`] | the rows of the kernel, the open block, transcripts, snapshots |
//! | [`kernel`] | deliveries, syscalls, references, promises, garbage, audit |
//! | [`vat`] | wasm modules, instances, fuel, the ABI |
//! | [`host`] | opening a state, scenarios, inputs, blocks, reports |
//! | `serve` | a host that stays up and answers HTTP; feature `serve`, on by default |
//! | `inspect`, `lab`, `debug`, `bench`, `cli` | the tools; feature `tools`, on by default |
//!
//! # Words
//!
//! * **vat**: an isolated actor with a heap, a vatstore of keys and values, and a c-list.
//! * **c-list**: the table of what a vat can name: for each of its references (`o+1`, `o-50`, `p-60`) the kernel's (`ko21`, `kp40`).
//! * **delivery**: one call into a vat: its start, a message, settled promises, garbage collection, or new options.
//! * **crank**: one step of the kernel, in most cases a delivery. A crank is kept whole or undone whole.
//! * **block**: a sequence of cranks that are committed together.
//! * **state hash**: a chained hash over the inputs, the deliveries and the rows of all blocks; equal on replicas that agree.
//! * **directive**: an operator's order for one exact crank, delivery or block.
//! * **quiescent**: nothing is left to do, now or at a later time.
//!
//! # What never happens
//!
//! * A vat reads or changes anything that it was not given a reference to.
//! * A vat's fault, or its use of time, memory, or disk, ends another vat or the host.
//! * A block is committed in part, or after an invariant was found broken.
//! * A result depends on a clock, on thread timing, on hash-map order, or on what was evicted or restarted. (The exception is a
//!   [`BlockPolicy`] that ends blocks by the clock: replicas with one do not agree.)

#![cfg_attr(not(feature = "tools"), allow(dead_code, unused_imports, reason = "some items serve the tools alone"))]

#[cfg(feature = "tools")]
pub mod bench;
#[cfg(feature = "tools")]
pub mod cli;
#[cfg(feature = "tools")]
pub mod debug;
pub mod directive;
pub mod host;
#[cfg(feature = "tools")]
pub mod inspect;
pub mod kernel;
#[cfg(feature = "tools")]
pub mod lab;
pub mod model;
#[cfg(feature = "serve")]
pub mod serve;
pub mod slog;
pub mod state;
pub mod store;
pub mod vat;

pub use crate::{
    directive::{Directive, DirectiveSet, Trigger},
    host::{
        controller::{
            Arg, BlockEnd, BlockPolicy, Host, HostOptions, Outcome, Sent, SessionEvent, SessionId, SessionRefusal,
            SessionSummary, To,
        },
        epitaph::Epitaph,
        options::{Audit, BlockOptions, Inputs},
        report::Report,
        scenario::{Scenario, StaticVat},
    },
    kernel::{Halt, Position},
    model::{
        blame::{Fault, HostFault, KernelPanic, VatFault},
        id::{BlockHeight, CrankNum, DeliveryNum, KRef, ObjectId, PromiseId, VRef, VatId},
        value::CapData,
    },
    slog::{Detail, Slog, Writer},
    state::{
        device::{Device, DeviceState},
        table::Options,
    },
    store::StateHash,
};
