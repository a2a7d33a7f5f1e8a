//! Signatures of a simulation: the real ones. Each is verified once, however many nodes see it.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use arc_malachitebft_core_consensus::ConsensusMsg;
use arc_malachitebft_core_types::{
    CertificateError, CommitCertificate, ExtendedCommitCertificate, PolkaCertificate, RoundCertificate, SignedMessage,
    ThresholdParams, ValidatorProof, VoteExtensionPolicy, VoteExtensionScope,
};
use arc_malachitebft_signing::{Error, VerificationResult, Verifier, VerifierExt as _};
use async_trait::async_trait;

use crate::{
    block::Proposal,
    engine::context::{Ballot, ChainContext, IdProposal, Members, Part},
    keys::{Address, Digest, PublicKey, SecretKey, Signature},
};

/// The signer and verifier of all nodes of a simulation.
#[derive(Debug)]
pub(super) struct Notary {
    keys: BTreeMap<Address, PublicKey>,
    known: Known,
}

/// A claim that this key signed these bytes so.
type Claim = ([u8; 32], Signature, PublicKey);

/// The signatures that were verified.
#[derive(Debug)]
struct Known {
    chain: Digest,
    verified: Mutex<BTreeMap<Claim, bool>>,
}

impl Known {
    fn verifies(&self, key: &PublicKey, signature: &Signature, bytes: &[u8; 32]) -> bool {
        let mut verified = self.verified.lock().unwrap();
        *verified.entry((*bytes, *signature, *key)).or_insert_with(|| key.verifies(signature, bytes))
    }
}

type Certified = Result<(), CertificateError<ChainContext>>;

impl Notary {
    pub(super) fn new(chain: Digest, keys: &[SecretKey]) -> Notary {
        let keys = keys.iter().map(|it| (it.address(), it.public())).collect();
        Notary { keys, known: Known { chain, verified: Mutex::default() } }
    }

    pub(super) fn sign_vote(&self, key: &SecretKey, vote: Ballot) -> SignedMessage<ChainContext, Ballot> {
        let signature = key.sign(&vote.bytes(&self.known.chain));
        SignedMessage::new(vote, signature)
    }

    pub(super) fn sign_proposal(&self, key: &SecretKey, it: IdProposal) -> SignedMessage<ChainContext, IdProposal> {
        let signature = key.sign(&it.bytes(&self.known.chain));
        SignedMessage::new(it, signature)
    }

    pub(super) fn part(&self, key: &SecretKey, proposal: Proposal) -> Part {
        Part::of(proposal, &self.known.chain, key)
    }

    /// Returns whether this validator signed these bytes.
    pub(super) fn is_of(&self, signer: &Address, signature: &Signature, bytes: &[u8; 32]) -> bool {
        self.keys.get(signer).is_some_and(|key| self.known.verifies(key, signature, bytes))
    }

    pub(super) fn verifies(
        &self,
        signed: &SignedMessage<ChainContext, ConsensusMsg<ChainContext>>,
        key: &PublicKey,
    ) -> bool {
        let bytes = match &signed.message {
            ConsensusMsg::Vote(vote) => vote.bytes(&self.known.chain),
            ConsensusMsg::Proposal(proposal) => proposal.bytes(&self.known.chain),
        };
        self.known.verifies(key, &signed.signature, &bytes)
    }

    pub(super) fn commit_certificate(
        &self,
        it: &CommitCertificate<ChainContext>,
        members: &Members,
        thresholds: ThresholdParams,
    ) -> Certified {
        at_once(self.known.verify_commit_certificate(&ChainContext, it, members, thresholds))
    }

    pub(super) fn extended_certificate(
        &self,
        it: &ExtendedCommitCertificate<ChainContext>,
        members: &Members,
        thresholds: ThresholdParams,
        policy: VoteExtensionPolicy,
    ) -> Certified {
        at_once(self.known.verify_extended_commit_certificate(&ChainContext, it, members, thresholds, policy))
    }

    pub(super) fn polka_certificate(
        &self,
        it: &PolkaCertificate<ChainContext>,
        members: &Members,
        thresholds: ThresholdParams,
    ) -> Certified {
        at_once(self.known.verify_polka_certificate(&ChainContext, it, members, thresholds))
    }

    pub(super) fn round_certificate(
        &self,
        it: &RoundCertificate<ChainContext>,
        members: &Members,
        thresholds: ThresholdParams,
    ) -> Certified {
        at_once(self.known.verify_round_certificate(&ChainContext, it, members, thresholds))
    }
}

#[async_trait]
impl Verifier<ChainContext> for Known {
    async fn verify_signed_vote(
        &self,
        vote: &Ballot,
        it: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(self.verifies(key, it, &vote.bytes(&self.chain))))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &IdProposal,
        it: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(self.verifies(key, it, &proposal.bytes(&self.chain))))
    }

    async fn verify_signed_vote_extension(
        &self,
        _: &VoteExtensionScope<ChainContext>,
        _: &Vec<u8>,
        _: &Signature,
        _: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(false))
    }

    async fn verify_validator_proof(&self, _: &ValidatorProof<ChainContext>) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(false))
    }
}

/// Returns what a future comes to that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(it) => it,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}
