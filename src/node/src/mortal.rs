//! Dying on purpose, for tests: a node that kills itself, as `kill -9` would, after a chosen step of its work.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use vathost::{host::staged::BlockResult, model::blame::HostFault};

use crate::{
    block::Proposal,
    keys::Digest,
    report::{NodeEvent, NodeLog},
    store::{DecidedBlock, ExecutedBlock, Store, SubmissionAnswer},
};

/// The steps of a node after which it can die: what was just made durable, or what the engine was just answered.
pub const STEPS: [&str; 11] = [
    "undecided",
    "decided",
    "executed",
    "ready",
    "started-round",
    "get-value",
    "received",
    "synced",
    "committed",
    "finalized",
    "history",
];

/// The place at which a node dies: `decided:3` is after it has made a decided block durable for the third time.
#[derive(Debug, Clone)]
pub struct Death {
    step: String,
    left: Arc<AtomicU64>,
}

impl FromStr for Death {
    type Err = String;

    fn from_str(text: &str) -> Result<Death, String> {
        let bad = || format!("`{text}` is not STEP:N, where STEP is one of {}", STEPS.join(", "));
        let (step, count) = text.split_once(':').ok_or_else(bad)?;
        let count: u64 = count.parse().map_err(|_| bad())?;
        if count == 0 || !STEPS.contains(&step) {
            return Err(bad());
        }
        Ok(Death { step: step.to_owned(), left: Arc::new(count.into()) })
    }
}

impl Death {
    /// Counts a step that was just done, and ends the process if it was the one.
    fn after(&self, step: &str) {
        if step == self.step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nobody gets to tidy up.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

/// Records of a node that dies after one of them was written.
#[derive(Debug)]
pub struct MortalStore<S> {
    store: S,
    death: Option<Death>,
}

impl<S> MortalStore<S> {
    /// Wraps the records of a node. Without a death they are as they were.
    pub fn new(store: S, death: Option<Death>) -> MortalStore<S> {
        MortalStore { store, death }
    }

    fn after(&self, step: &str) {
        if let Some(death) = &self.death {
            death.after(step);
        }
    }
}

impl<S: Store> Store for MortalStore<S> {
    fn put_undecided(&mut self, proposal: &Proposal) -> Result<(), HostFault> {
        self.store.put_undecided(proposal)?;
        self.after("undecided");
        Ok(())
    }

    fn undecided(&self, height: u64) -> Result<Vec<Proposal>, HostFault> {
        self.store.undecided(height)
    }

    fn put_decided(&mut self, decided: &DecidedBlock) -> Result<(), HostFault> {
        self.store.put_decided(decided)?;
        self.after("decided");
        Ok(())
    }

    fn decided(&self, height: u64) -> Result<Option<DecidedBlock>, HostFault> {
        self.store.decided(height)
    }

    fn decided_heights(&self) -> Result<Option<(u64, u64)>, HostFault> {
        self.store.decided_heights()
    }

    fn put_executed(&mut self, executed: &ExecutedBlock) -> Result<(), HostFault> {
        self.store.put_executed(executed)?;
        self.after("executed");
        Ok(())
    }

    fn executed(&self, height: u64) -> Result<Option<BlockResult>, HostFault> {
        self.store.executed(height)
    }

    fn last_executed(&self) -> Result<Option<u64>, HostFault> {
        self.store.last_executed()
    }

    fn forget_executed_above(&mut self, height: u64) -> Result<(), HostFault> {
        self.store.forget_executed_above(height)
    }

    fn answer(&self, id: &Digest) -> Result<Option<SubmissionAnswer>, HostFault> {
        self.store.answer(id)
    }

    fn ids_since(&self, height: u64) -> Result<Vec<(u64, Digest)>, HostFault> {
        self.store.ids_since(height)
    }
}

/// The log of a node that dies after the engine was answered.
pub struct MortalLog {
    log: Arc<dyn NodeLog>,
    death: Death,
}

impl MortalLog {
    /// Wraps the log of a node.
    pub fn new(log: Arc<dyn NodeLog>, death: Death) -> MortalLog {
        MortalLog { log, death }
    }
}

impl NodeLog for MortalLog {
    fn say(&self, event: &NodeEvent) {
        self.log.say(event);
    }

    fn answered(&self, step: &str) {
        self.death.after(step);
    }
}
