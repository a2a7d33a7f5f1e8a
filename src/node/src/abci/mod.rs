//! CometBFT in the place of Malachite: the host as an ABCI application, over its socket protocol (`tendermint-abci`). CometBFT has the
//! network, the pool and the log; this process has the kernel.
//!
//! ```text
//!   CometBFT ─┬ consensus ─┐                         InitChain, PrepareProposal, ProcessProposal, FinalizeBlock, Commit
//!             ├ mempool ───┼─▶ AbciApp ─▶ kernel's thread ─▶ AbciReplica ─▶ StagedHost     CheckTx
//!             ├ query ─────┤                                                               Info, Query
//!             └ snapshot ──┘                                                               there are none
//! ```
//!
//! Invariants: one thread has the kernel, whatever the connections do; a block is staged by FinalizeBlock and durable by Commit; on a halt
//! nothing is answered any more, nothing of the block is committed, and the process ends with the exit code of the halt.
//!
//! A transaction is a [`Submission`](crate::submit::Submission) in its canonical bytes; the application hash is the state hash.

mod app;
mod replica;

pub use app::{AbciApp, AbciServer, OnHalt};
pub use replica::{AbciReplica, Finalized, TxOutcome};
