//! Signing and verifying for the engine. Everything that is signed names the chain, so no signature is good on another.

use arc_malachitebft_core_types::{SignedMessage, ValidatorProof, VoteExtensionScope};
use arc_malachitebft_signing::{Error, Signer, VerificationResult, Verifier};
use async_trait::async_trait;

use super::context::{Ballot, ChainContext, IdProposal, number};
use crate::keys::{Digest, PublicKey, SecretKey, Signature};

/// The verifier of other validators' messages on this chain.
#[derive(Debug)]
pub(crate) struct ChainVerifier(pub(crate) Digest);

/// The signer of this validator's messages on this chain.
#[derive(Debug)]
pub(crate) struct ChainSigner {
    pub(crate) chain: Digest,
    pub(crate) key: SecretKey,
}

fn result(is_right: bool) -> Result<VerificationResult, Error> {
    Ok(VerificationResult::from_bool(is_right))
}

fn extension_bytes(chain: &Digest, scope: &VoteExtensionScope<ChainContext>, extension: &Vec<u8>) -> [u8; 32] {
    let place = (scope.height, number(scope.round), scope.value_id, scope.validator_address);
    Digest::of("vathost-node vote extension", &(chain, place, extension)).0
}

#[async_trait]
impl Verifier<ChainContext> for ChainVerifier {
    async fn verify_signed_vote(
        &self,
        vote: &Ballot,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        result(key.verifies(signature, &vote.bytes(&self.0)))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &IdProposal,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        result(key.verifies(signature, &proposal.bytes(&self.0)))
    }

    async fn verify_signed_vote_extension(
        &self,
        scope: &VoteExtensionScope<ChainContext>,
        extension: &Vec<u8>,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        result(key.verifies(signature, &extension_bytes(&self.0, scope, extension)))
    }

    async fn verify_validator_proof(&self, proof: &ValidatorProof<ChainContext>) -> Result<VerificationResult, Error> {
        result(proof.decoded_public_key().is_ok_and(|key| key.verifies(&proof.signature, &proof.preimage())))
    }
}

#[async_trait]
impl Signer<ChainContext> for ChainSigner {
    async fn sign_vote(&self, vote: Ballot) -> Result<SignedMessage<ChainContext, Ballot>, Error> {
        let signature = self.key.sign(&vote.bytes(&self.chain));
        Ok(SignedMessage::new(vote, signature))
    }

    async fn sign_proposal(&self, proposal: IdProposal) -> Result<SignedMessage<ChainContext, IdProposal>, Error> {
        let signature = self.key.sign(&proposal.bytes(&self.chain));
        Ok(SignedMessage::new(proposal, signature))
    }

    async fn sign_vote_extension(
        &self,
        scope: VoteExtensionScope<ChainContext>,
        extension: Vec<u8>,
    ) -> Result<SignedMessage<ChainContext, Vec<u8>>, Error> {
        let signature = self.key.sign(&extension_bytes(&self.chain, &scope, &extension));
        Ok(SignedMessage::new(extension, signature))
    }

    async fn sign_validator_proof(
        &self,
        public_key: Vec<u8>,
        peer_id: Vec<u8>,
    ) -> Result<ValidatorProof<ChainContext>, Error> {
        let signature = self.key.sign(&ValidatorProof::<ChainContext>::signing_bytes(&public_key, &peer_id));
        Ok(ValidatorProof::new(public_key, peer_id, signature))
    }
}
