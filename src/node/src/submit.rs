//! Submissions: inputs from outside, each signed or from anybody, each with an id. One is good for a window of heights, in which a second
//! one with its id is refused; after the window nobody can repeat it.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use serde_json::Value;
use vathost::host::staged::BlockInput;

use crate::{
    genesis::{Genesis, Submitters},
    keys::{Digest, PublicKey, SecretKey, Signature},
};

/// The most bytes of a submission's input: a message of the kernel fits, with what surrounds it.
pub const INPUT_BYTES_MAX: usize = 256 << 10;

/// The heights for which a submission can be good, and for which nodes remember the ids of those that were decided.
pub const WINDOW: u64 = 1_000;

/// An input from outside, as somebody submitted it.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Submission {
    /// A number that tells apart what is otherwise the same.
    pub nonce: u64,
    /// The last height of a block that may hold it.
    pub last_height: u64,
    /// The input: the JSON of a [`BlockInput`].
    pub input: Vec<u8>,
    /// Who submits it, and the signature over its id.
    pub signed: Option<(PublicKey, Signature)>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Submission { nonce, last_height, input, .. } = self;
        write!(f, "Submission({nonce}, until {last_height}, {})", String::from_utf8_lossy(input))
    }
}

/// The reason why a submission is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The input is not one, or not one that may be submitted.
    #[error("{0}")]
    Malformed(String),
    /// The signature is missing, or wrong, or not of somebody who may submit.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The window of heights is over, or has not begun.
    #[error("it is good up to block {last}, and the next block is {next}: between {next} and {} is possible", next + WINDOW)]
    Expired {
        /// The last height in the submission.
        last: u64,
        /// The height of the next block.
        next: u64,
    },
    /// A submission with this id is in a block already, or waits for one.
    #[error("it was submitted already, and its id is {0}")]
    Duplicate(Digest),
    /// The queue of submissions that wait is full.
    #[error("{0} submissions wait already: try again later")]
    Busy(usize),
}

impl Submission {
    /// Makes a submission of this input, signed if there is a key.
    pub fn new(chain: &Digest, input: Vec<u8>, nonce: u64, last_height: u64, key: Option<&SecretKey>) -> Submission {
        let mut submission = Submission { nonce, last_height, input, signed: None };
        if let Some(key) = key {
            let id = submission.id_of(chain, Some(key.public()));
            submission.signed = Some((key.public(), key.sign(&id.0)));
        }
        submission
    }

    /// Returns the id by which a result is asked for. All of the submission is in it but the signature.
    pub fn id(&self, chain: &Digest) -> Digest {
        self.id_of(chain, self.signed.map(|(key, _)| key))
    }

    fn id_of(&self, chain: &Digest, key: Option<PublicKey>) -> Digest {
        Digest::of("vathost-node submission", &(chain, self.nonce, self.last_height, &self.input, key))
    }

    /// Returns the input for the kernel, with exported names replaced by the vats' own.
    ///
    /// # Errors
    ///
    /// It is not an input, or names what nobody opened.
    pub fn to_input(&self, genesis: &Genesis) -> Result<BlockInput, Refusal> {
        let malformed = |why: &dyn fmt::Display| Refusal::Malformed(why.to_string());
        if self.input.len() > INPUT_BYTES_MAX {
            let why = format!("its input has {} bytes: {INPUT_BYTES_MAX} at the most", self.input.len());
            return Err(Refusal::Malformed(why));
        }
        let mut input: BlockInput = serde_json::from_slice(&self.input).map_err(|err| malformed(&err))?;
        match &mut input {
            BlockInput::Send { to, args, .. } => {
                *to = target(genesis, to)?;
                args.iter_mut().try_for_each(|arg| resolve_names(genesis, arg))?;
            }
            _ if genesis.submitters == Submitters::Everybody => {
                return Err(malformed(&"everybody may submit here, and everybody may send messages only"));
            }
            _ => (),
        }
        Ok(input)
    }

    /// Checks whether a block of this height may hold it: its form, its signature, and its window. Whether it is a duplicate is for
    /// those to say who know the blocks before.
    pub fn check(&self, genesis: &Genesis, chain: &Digest, height: u64) -> Result<(), Refusal> {
        if self.last_height < height || self.last_height > height + WINDOW {
            return Err(Refusal::Expired { last: self.last_height, next: height });
        }
        match (&genesis.submitters, &self.signed) {
            (Submitters::Everybody, None) => (),
            (Submitters::Everybody, Some((key, signature))) => self.verify(chain, key, signature)?,
            (Submitters::Keys(_), None) => return Err(Refusal::Unauthorized("it is not signed")),
            (Submitters::Keys(keys), Some((key, signature))) => {
                if !keys.contains(key) {
                    return Err(Refusal::Unauthorized("its key is none of those that may submit"));
                }
                self.verify(chain, key, signature)?;
            }
        }
        self.to_input(genesis).map(drop)
    }

    fn verify(&self, chain: &Digest, key: &PublicKey, signature: &Signature) -> Result<(), Refusal> {
        let right = key.verifies(signature, &self.id(chain).0);
        if right { Ok(()) } else { Err(Refusal::Unauthorized("its signature is wrong")) }
    }

    /// Returns the bytes that it takes in a block.
    pub fn size(&self) -> usize {
        // The nonce, the height, the length, and the key with its signature.
        self.input.len() + 8 + 8 + 4 + 1 + 96
    }
}

/// Returns the target of a message as the kernel knows it.
fn target(genesis: &Genesis, to: &str) -> Result<String, Refusal> {
    if to.starts_with('@') && genesis.open_references {
        return Ok(to.to_owned());
    }
    let vat = genesis.exports.get(to);
    vat.cloned().ok_or_else(|| {
        let names: Vec<&str> = genesis.exports.keys().map(String::as_str).collect();
        let names = if names.is_empty() { "none is".to_owned() } else { format!("open are {}", names.join(", ")) };
        Refusal::Malformed(format!("no vat is open by the name `{to}`: {names}"))
    })
}

/// Replaces each `@name` in an argument by the vat's own name.
fn resolve_names(genesis: &Genesis, arg: &mut Value) -> Result<(), Refusal> {
    match arg {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix('@')
                && !name.starts_with('@')
                && !genesis.open_references
            {
                *text = format!("@{}", target(genesis, name)?);
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|it| resolve_names(genesis, it)),
        Value::Object(members) => members.values_mut().try_for_each(|it| resolve_names(genesis, it)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}
