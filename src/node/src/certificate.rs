//! Votes and certificates: what a validator signs, and the proof that more than two thirds of them decided a block. It can be verified
//! without the engine, by whoever has the genesis.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    genesis::Genesis,
    keys::{Address, Digest, Signature},
};

/// The kind of a vote in the engine's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum VoteKind {
    /// The first vote of a round.
    Prevote,
    /// The second vote of a round: two thirds of these decide a block.
    Precommit,
}

/// Returns the bytes that a validator signs when it votes. Without a block it is a vote for none.
pub fn vote_bytes(
    chain: &Digest,
    kind: VoteKind,
    height: u64,
    round: u32,
    block: Option<Digest>,
    voter: Address,
) -> [u8; 32] {
    Digest::of("vathost-node vote", &(chain, kind, height, round, block, voter)).0
}

/// The proof that a block was decided: votes of more than two thirds of the validators.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Certificate {
    /// The height of the block.
    pub height: u64,
    /// The round in which it was decided.
    pub round: u32,
    /// The id of the block.
    pub block: Digest,
    /// The precommits for the block: each voter, and its signature.
    pub signatures: Vec<(Address, Signature)>,
}

impl Certificate {
    /// Verifies that more than two thirds of the validators signed it.
    ///
    /// # Errors
    ///
    /// The reason why it proves nothing.
    pub fn verify(&self, genesis: &Genesis) -> Result<(), String> {
        let chain = genesis.id();
        let mut voters = BTreeSet::new();
        let mut power = 0;
        for (voter, signature) in &self.signatures {
            let validator = genesis.validator(voter).ok_or_else(|| format!("{voter} is not a validator"))?;
            let bytes = vote_bytes(&chain, VoteKind::Precommit, self.height, self.round, Some(self.block), *voter);
            if !validator.key.verifies(signature, &bytes) {
                return Err(format!("the signature of {} is wrong", validator.name));
            }
            if !voters.insert(*voter) {
                return Err(format!("{} signed twice", validator.name));
            }
            power += validator.power;
        }
        if genesis.is_quorum(power) {
            return Ok(());
        }
        Err(format!("{} of {} validators signed it: too few", voters.len(), genesis.validators.len()))
    }
}
