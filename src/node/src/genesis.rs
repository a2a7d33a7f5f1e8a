//! The genesis of a chain: what its validators agreed on before the first block. Each home has the same file.

use std::{collections::BTreeMap, path::Path};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use vathost::{
    BlockPolicy,
    model::{blame::HostFault, files},
};

use crate::keys::{Address, Digest, PublicKey};

/// The most validators of a chain: each signs each block, and every home keeps the signatures.
pub const VALIDATORS_MAX: usize = 100;

/// The most bytes of a genesis file.
const BYTES_MAX: u64 = 1 << 20;

/// A validator, as the others know it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// The name that people use.
    pub name: String,
    /// The key that verifies its votes.
    pub key: PublicKey,
    /// The weight of its votes.
    pub power: u64,
}

impl Validator {
    /// Returns the address that votes name it by.
    pub fn address(&self) -> Address {
        Address::of(&self.key)
    }
}

/// The rule for who may submit inputs. It decides which blocks are valid, so all validators have the same.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Submitters {
    /// Everybody who reaches a node may send messages to exported vats, and nothing else.
    Everybody,
    /// Whoever has one of these keys may submit every kind of input.
    Keys(Vec<PublicKey>),
}

/// The beginning of a chain, the same in each home.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Genesis {
    /// The name of the chain.
    pub chain: String,
    /// The validators; each in turn proposes a block.
    pub validators: Vec<Validator>,
    /// Who may submit inputs.
    pub submitters: Submitters,
    /// The vats that messages may be sent to: for each name the vat's own.
    pub exports: BTreeMap<String, String>,
    /// Whether a message may name every object and promise of the state, as in `@ko31`, and not the exported vats alone.
    #[serde(default)]
    pub open_references: bool,
    /// The digest of the scenario that the state begins with.
    pub scenario: String,
    /// The state hash behind that beginning.
    pub state_hash: Digest,
    /// The most cranks of a block.
    pub cranks_per_block: u64,
    /// The most fuel of a block, if it is limited.
    #[serde(default)]
    pub fuel_per_block: Option<u64>,
}

impl Genesis {
    /// Reads the genesis of a file.
    pub fn read(path: &Path) -> Result<Genesis, HostFault> {
        let bad = |why: &dyn std::fmt::Display| HostFault::new(format_args!("read {}", path.display()), why);
        let text = files::read_text(path, BYTES_MAX).map_err(|err| bad(&err))?;
        let genesis: Genesis = serde_json::from_str(&text).map_err(|err| bad(&err))?;
        genesis.check().map_err(|why| bad(&why))?;
        Ok(genesis)
    }

    /// Returns the text of its file.
    pub fn text(&self) -> String {
        // A map of texts and numbers can be written.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Checks whether a chain can begin with it.
    ///
    /// # Errors
    ///
    /// The reason why none can.
    pub fn check(&self) -> Result<(), String> {
        let count = self.validators.len();
        if count == 0 || count > VALIDATORS_MAX {
            return Err(format!("it has {count} validators: 1 to {VALIDATORS_MAX} are possible"));
        }
        for (at, it) in self.validators.iter().enumerate() {
            if it.power == 0 || it.power > u64::from(u32::MAX) {
                return Err(format!("validator {} has the power {}: 1 to {} is possible", it.name, it.power, u32::MAX));
            }
            if self.validators[..at].iter().any(|other| other.key == it.key || other.name == it.name) {
                return Err(format!("validator {} is there twice", it.name));
            }
        }
        if self.cranks_per_block == 0 {
            return Err("a block needs at least one crank: `cranksPerBlock` is 0".to_owned());
        }
        Ok(())
    }

    /// Returns the id of the chain: a digest of all that the validators agreed on. Everything that is signed names it.
    pub fn id(&self) -> Digest {
        Digest::of("vathost-node genesis", self)
    }

    /// Returns how the chain's blocks end.
    pub fn policy(&self) -> BlockPolicy {
        // The time of a block is in its header.
        BlockPolicy { cranks: self.cranks_per_block, fuel: self.fuel_per_block, wall_millis: None, block_time: 0 }
    }

    /// Returns the validator that has this address.
    pub fn validator(&self, address: &Address) -> Option<&Validator> {
        self.validators.iter().find(|it| it.address() == *address)
    }

    /// Returns the validator whose turn it is to propose in this round of this height.
    pub fn proposer(&self, height: u64, round: u32) -> &Validator {
        &self.validators[turn(self.validators.len(), height, round)]
    }

    /// Returns whether validators of this power are more than two thirds.
    pub fn is_quorum(&self, power: u64) -> bool {
        let total: u64 = self.validators.iter().map(|it| it.power).sum();
        power * 3 > total * 2
    }
}

/// Returns the place of the validator whose turn it is in this round of this height, among so many.
pub(crate) fn turn(count: usize, height: u64, round: u32) -> usize {
    let count = (count as u64).max(1);
    // Less than the count.
    usize::try_from((height % count + u64::from(round) % count) % count).unwrap_or_default()
}
