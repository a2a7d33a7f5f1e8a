//! How the engine's messages are written: in borsh, as everything that is signed. Where a message holds a type that has no such form, its
//! fields are written one after the other.

use std::io;

use arc_malachitebft_codec::{Codec, HasEncodedLen};
use arc_malachitebft_core_consensus::{LivenessMsg, ProposedValue, SignedConsensusMsg};
use arc_malachitebft_core_types::{ExtendedCommitCertificate, PolkaCertificate, ValidatorProof, VoteExtensions};
use arc_malachitebft_engine::util::streaming::StreamMessage;
use arc_malachitebft_sync as sync;
use bytes::Bytes;

use super::context::{ChainContext, Height, Part, certificate, commit_certificate};
use crate::{certificate::Certificate, keys::Signature};

/// The codec of every message and of every entry of the engine's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Borsh;

macro_rules! in_borsh {
    ($($message:ty),* $(,)?) => {
        $(
            impl Codec<$message> for Borsh {
                type Error = io::Error;

                fn decode(&self, bytes: Bytes) -> io::Result<$message> {
                    borsh::from_slice(&bytes)
                }

                fn encode(&self, message: &$message) -> io::Result<Bytes> {
                    borsh::to_vec(message).map(Bytes::from)
                }
            }
        )*
    };
}

in_borsh!(
    Part,
    SignedConsensusMsg<ChainContext>,
    LivenessMsg<ChainContext>,
    StreamMessage<Part>,
    ProposedValue<ChainContext>,
    PolkaCertificate<ChainContext>,
    sync::Status<ChainContext>,
    sync::Request<ChainContext>,
);

impl Codec<ValidatorProof<ChainContext>> for Borsh {
    type Error = io::Error;

    fn decode(&self, bytes: Bytes) -> io::Result<ValidatorProof<ChainContext>> {
        let (key, peer, signature): (Vec<u8>, Vec<u8>, Signature) = borsh::from_slice(&bytes)?;
        Ok(ValidatorProof::new(key, peer, signature))
    }

    fn encode(&self, proof: &ValidatorProof<ChainContext>) -> io::Result<Bytes> {
        borsh::to_vec(&(&proof.public_key, &proof.peer_id, &proof.signature)).map(Bytes::from)
    }
}

/// An answer to a node that catches up: the first height, and each block's bytes with its certificate.
type CatchUp = (Height, Vec<(Vec<u8>, Certificate)>);

impl Codec<sync::Response<ChainContext>> for Borsh {
    type Error = io::Error;

    fn decode(&self, bytes: Bytes) -> io::Result<sync::Response<ChainContext>> {
        let (start, values): CatchUp = borsh::from_slice(&bytes)?;
        let values = values.into_iter().map(|(bytes, certificate)| raw_value(bytes, &certificate)).collect();
        Ok(sync::Response::ValueResponse(sync::ValueResponse::new(start, values)))
    }

    fn encode(&self, response: &sync::Response<ChainContext>) -> io::Result<Bytes> {
        let sync::Response::ValueResponse(response) = response;
        let value = |it: &sync::RawDecidedValue<ChainContext>| {
            (it.value_bytes.to_vec(), certificate(&it.certificate.trim_vote_extensions()))
        };
        let values: Vec<_> = response.values.iter().map(value).collect();
        borsh::to_vec(&(response.start_height, values)).map(Bytes::from)
    }
}

impl HasEncodedLen<sync::Response<ChainContext>> for Borsh {
    fn encoded_len(&self, response: &sync::Response<ChainContext>) -> io::Result<usize> {
        self.encode(response).map(|it| it.len())
    }
}

/// Returns a decided block as the engine hands it to a node that catches up.
pub(crate) fn raw_value(bytes: Vec<u8>, certificate: &Certificate) -> sync::RawDecidedValue<ChainContext> {
    let certificate = commit_certificate(certificate);
    let extended =
        ExtendedCommitCertificate::from_commit_certificate_and_extensions(certificate, VoteExtensions::default());
    sync::RawDecidedValue::new(bytes.into(), extended)
}
