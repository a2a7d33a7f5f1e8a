//! The types that the engine is generic over. The value of a height is the id of its block: the block itself travels as a proposal part,
//! or as a synced value, and the driver keeps it.

use std::{fmt, sync::Arc};

use arc_malachitebft_core_types as engine;
use borsh::{BorshDeserialize, BorshSerialize};
use engine::{NilOrVal, Round, SignedExtension, VoteType};

use crate::{
    block::Proposal,
    certificate::{Certificate, VoteKind, vote_bytes},
    genesis::{self, Genesis},
    keys::{Address, Digest, PublicKey, SecretKey, Signature},
};

/// A height, as the engine wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct Height(pub(crate) u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl engine::Height for Height {
    const ZERO: Height = Height(0);
    const INITIAL: Height = Height(1);

    fn increment_by(&self, n: u64) -> Height {
        Height(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Height> {
        self.0.checked_sub(n).map(Height)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl engine::Address for Address {}

impl engine::Value for Digest {
    type Id = Digest;

    fn id(&self) -> Digest {
        *self
    }
}

/// The scheme of signatures: ed25519.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ed25519;

impl engine::SigningScheme for Ed25519 {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = PublicKey;
    type PrivateKey = SecretKey;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, &'static str> {
        bytes.try_into().map(Signature).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, &'static str> {
        bytes.try_into().map(PublicKey).map_err(|_| "a public key has 32 bytes")
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.0.to_vec()
    }
}

/// A validator with its address, which the engine asks for again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    address: Address,
    validator: genesis::Validator,
}

impl engine::Validator<ChainContext> for Member {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.validator.key
    }

    fn voting_power(&self) -> u64 {
        self.validator.power
    }
}

/// The validators of the chain, in the order of the genesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members(Arc<Vec<Member>>);

impl Members {
    /// Returns the validators of this genesis, which has at least one.
    pub(crate) fn of(genesis: &Genesis) -> Members {
        let member = |it: &genesis::Validator| Member { address: it.address(), validator: it.clone() };
        Members(Arc::new(genesis.validators.iter().map(member).collect()))
    }
}

impl engine::ValidatorSet<ChainContext> for Members {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.iter().map(|it| it.validator.power).sum()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Member> {
        self.0.iter().find(|it| it.address == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

/// The proposal of a round: the id of its block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct IdProposal {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: Digest,
    pub(crate) pol_round: Round,
    pub(crate) address: Address,
}

impl IdProposal {
    /// Returns the bytes that the proposer signs.
    pub(crate) fn bytes(&self, chain: &Digest) -> [u8; 32] {
        Digest::of("vathost-node proposal", &(chain, self)).0
    }
}

impl engine::Proposal<ChainContext> for IdProposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Digest {
        &self.value
    }

    fn take_value(self) -> Digest {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }
}

/// A message of the driver's own, which travels as a proposal part.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Part {
    /// A whole block, with the proposer's signature.
    Block(Box<Proposal>, Signature),
    /// A submission, which somebody gave to another node.
    Submission(Vec<u8>),
}

impl Part {
    /// Makes the part that carries a proposal.
    pub(crate) fn of(proposal: Proposal, chain: &Digest, key: &SecretKey) -> Part {
        let signature = key.sign(&part_bytes(&proposal, chain));
        Part::Block(Box::new(proposal), signature)
    }
}

/// Returns the bytes that a proposer signs for a part.
pub(crate) fn part_bytes(proposal: &Proposal, chain: &Digest) -> [u8; 32] {
    let Proposal { round, valid_round, proposer, block } = proposal;
    Digest::of("vathost-node part", &(chain, block.height, round, valid_round, proposer, block.id())).0
}

impl engine::ProposalPart<ChainContext> for Part {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

/// A vote for a block, or for none.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Ballot {
    pub(crate) kind: VoteType,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<Digest>,
    pub(crate) address: Address,
    pub(crate) extension: Option<SignedExtension<ChainContext>>,
}

impl Ballot {
    /// Returns the bytes that the validator signs.
    pub(crate) fn bytes(&self, chain: &Digest) -> [u8; 32] {
        let kind = match self.kind {
            VoteType::Prevote => VoteKind::Prevote,
            VoteType::Precommit => VoteKind::Precommit,
        };
        let block = match &self.value {
            NilOrVal::Nil => None,
            NilOrVal::Val(id) => Some(*id),
        };
        vote_bytes(chain, kind, self.height.0, number(self.round), block, self.address)
    }
}

impl engine::Vote<ChainContext> for Ballot {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Digest> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Digest> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }

    fn extension(&self) -> Option<&SignedExtension<ChainContext>> {
        self.extension.as_ref()
    }

    fn take_extension(&mut self) -> Option<SignedExtension<ChainContext>> {
        self.extension.take()
    }

    fn extend(self, extension: SignedExtension<ChainContext>) -> Ballot {
        Ballot { extension: Some(extension), ..self }
    }
}

/// The engine's context: nothing but types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainContext;

impl engine::Context for ChainContext {
    type Address = Address;
    type Height = Height;
    type ProposalPart = Part;
    type Proposal = IdProposal;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = engine::LinearTimeouts;
    type Value = Digest;
    type Vote = Ballot;
    type Extension = Vec<u8>;
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(&self, members: &'a Members, height: Height, round: Round) -> &'a Member {
        &members.0[genesis::turn(members.0.len(), height.0, number(round))]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Digest,
        pol_round: Round,
        address: Address,
    ) -> IdProposal {
        IdProposal { height, round, value, pol_round, address }
    }

    fn new_prevote(&self, height: Height, round: Round, value: NilOrVal<Digest>, address: Address) -> Ballot {
        Ballot { kind: VoteType::Prevote, height, round, value, address, extension: None }
    }

    fn new_precommit(&self, height: Height, round: Round, value: NilOrVal<Digest>, address: Address) -> Ballot {
        Ballot { kind: VoteType::Precommit, height, round, value, address, extension: None }
    }
}

/// Returns the number of a round. The engine's round of nothing, which no message of a height has, is the last number.
pub(crate) fn number(round: Round) -> u32 {
    round.as_u32().unwrap_or(u32::MAX)
}

/// Returns the certificate that the engine's is.
pub(crate) fn certificate(theirs: &engine::CommitCertificate<ChainContext>) -> Certificate {
    Certificate {
        height: theirs.height.0,
        round: number(theirs.round),
        block: theirs.value_id,
        signatures: theirs.commit_signatures.iter().map(|it| (it.address, it.signature)).collect(),
    }
}

/// Returns the engine's form of a certificate.
pub(crate) fn commit_certificate(ours: &Certificate) -> engine::CommitCertificate<ChainContext> {
    let signature = |(address, signature): &(Address, Signature)| engine::CommitSignature::new(*address, *signature);
    engine::CommitCertificate {
        height: Height(ours.height),
        round: Round::new(ours.round),
        value_id: ours.block,
        commit_signatures: ours.signatures.iter().map(signature).collect(),
    }
}
