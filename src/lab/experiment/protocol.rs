//! The lines that an experiment's processes exchange: one JSON object each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    host::controller::BlockPolicy,
    lab::Schedule,
    lab::experiment::{Base, Build, CampaignName, Limits, Outcome, Until},
};

/// The first line to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The path of the base.
    pub path: PathBuf,
    /// Cranks of a block.
    pub block_cranks: u64,
    /// Fuel of a block.
    pub block_fuel: Option<u64>,
    /// Seconds from block to block.
    pub block_time: u64,
    /// Where compiled code is kept.
    pub code_cache: Option<PathBuf>,
    /// The build that results are of.
    pub build: [u8; 32],
    /// How far a run goes.
    pub until: Until,
    /// What an experiment may use.
    pub limits: Limits,
    /// Replicas of each experiment.
    pub replicas: u32,
    /// The number of the base's first crank.
    pub start: u64,
    /// Audit after each crank whose number this divides.
    pub audit_every: u64,
    /// The campaign that tokens name.
    #[serde(default)]
    pub named: Option<CampaignName>,
    /// What a campaign adds: its invariants.
    #[serde(default)]
    pub campaign: serde_json::Value,
}

impl Hello {
    /// Makes the greeting for a base.
    pub fn of(base: &Base, build: Build, until: Until, limits: Limits) -> Hello {
        Hello {
            path: base.path.clone(),
            block_cranks: base.policy.cranks,
            block_fuel: base.policy.fuel,
            block_time: base.policy.block_time,
            code_cache: base.code_cache.clone(),
            build: build.0,
            until,
            limits,
            replicas: 1,
            start: 0,
            audit_every: 0,
            named: None,
            campaign: serde_json::Value::Null,
        }
    }

    /// Returns the base that is meant.
    pub fn base(&self) -> Base {
        let policy = BlockPolicy {
            cranks: self.block_cranks,
            fuel: self.block_fuel,
            wall_millis: None,
            block_time: self.block_time,
        };
        Base { path: self.path.clone(), policy, code_cache: self.code_cache.clone() }
    }
}

/// A further line to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The faults of the experiment.
    pub faults: Schedule,
    /// The seed of the experiment.
    pub seed: u64,
}

/// A line from a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The golden run is recorded.
    Ready,
    /// The base cannot be used.
    Refused(String),
    /// The outcome of an experiment.
    Outcome(Box<Outcome>),
}

/// A line from a process that runs on a disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The state is open.
    Opened {
        /// The last block.
        height: u64,
        /// The chained hash there.
        state_hash: String,
        /// Whether the digest of the rows is the recorded one.
        sound: bool,
    },
    /// A block is committed: it must never be lost.
    Committed {
        /// The block's height.
        height: u64,
    },
    /// A fault's place is here, and what is left of the files is as it says; the process is to be killed.
    Here {
        /// The fault's position in the schedule.
        fault: usize,
        /// The crank, if it is in one.
        crank: Option<u64>,
    },
    /// An operation on a file was made to fail.
    Failed {
        /// The fault's position in the schedule.
        fault: usize,
    },
    /// The host stopped.
    Stopped {
        /// Whether the machine is at fault, which is what it should say of a disk that fails.
        host: bool,
        /// What it says.
        why: String,
    },
    /// The run ended.
    End {
        /// The chained hash.
        state_hash: String,
    },
}
