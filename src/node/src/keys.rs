//! Keys of validators and of those who submit: ed25519, each written as 64 hexadecimal digits; and digests, which are written so too.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use vathost::model::blame::HostFault;

/// The error of a text that should be a key, a signature, an address or a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{what}` is written as {digits} hexadecimal digits, in lower case")]
pub struct BadHex {
    what: &'static str,
    digits: usize,
}

macro_rules! bytes_in_hex {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&vathost::model::id::hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self:.12}")
            }
        }

        impl FromStr for $name {
            type Err = BadHex;

            fn from_str(text: &str) -> Result<$name, BadHex> {
                from_hex(text).map($name).ok_or(BadHex { what: $what, digits: 2 * $len })
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadHex;

            fn try_from(text: String) -> Result<$name, BadHex> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(it: $name) -> String {
                it.to_string()
            }
        }
    };
}

bytes_in_hex! {
    /// A BLAKE3 hash: of a block, of a state, of a result, of a submission.
    Digest, 32, "digest"
}
bytes_in_hex! {
    /// The address of a validator: the beginning of the hash of its public key.
    Address, 20, "address"
}
bytes_in_hex! {
    /// An ed25519 public key of a validator, or of somebody who submits.
    PublicKey, 32, "public key"
}
bytes_in_hex! {
    /// An ed25519 signature, which only its exact key and bytes verify.
    Signature, 64, "signature"
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |it: u8| match it {
        b'0'..=b'9' => Some(it - b'0'),
        b'a'..=b'f' => Some(it - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

impl Digest {
    /// The digest of nothing: before the first block there is none.
    pub const NONE: Digest = Digest([0; 32]);

    /// Hashes the canonical encoding of a value, under a domain that no other kind of value has.
    pub fn of(domain: &str, value: &impl BorshSerialize) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(domain);
        // A hasher takes everything that is written to it.
        let _ = value.serialize(&mut hasher);
        Digest(*hasher.finalize().as_bytes())
    }
}

impl Address {
    /// Returns the address of the validator that has this key.
    pub fn of(key: &PublicKey) -> Address {
        let Digest(hash) = Digest::of("vathost-node address", key);
        let mut address = [0; 20];
        address.copy_from_slice(&hash[..20]);
        Address(address)
    }
}

impl PublicKey {
    /// Returns whether the signature over these bytes is of this key.
    pub fn verifies(&self, signature: &Signature, bytes: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }
}

/// A secret key: of a validator, of its connections, or of somebody who submits.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl SecretKey {
    /// Makes a new key from the system's randomness.
    pub fn new() -> Result<SecretKey, HostFault> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|err| HostFault::new("make a key", err))?;
        Ok(SecretKey::from_bytes(bytes))
    }

    /// Makes the key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(&bytes))
    }

    /// Reads a key as a key file holds it.
    pub fn read(text: &str) -> Result<SecretKey, BadHex> {
        let bad = BadHex { what: "secret key", digits: 64 };
        from_hex(text.trim()).map(SecretKey::from_bytes).ok_or(bad)
    }

    /// Returns the key as a key file holds it.
    pub fn write(&self) -> String {
        format!("{}\n", vathost::model::id::hex(&self.0.to_bytes()))
    }

    /// Returns the bytes of the key.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Returns the public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Returns the address of the validator that has this key.
    pub fn address(&self) -> Address {
        Address::of(&self.public())
    }

    /// Signs these bytes with the key.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}
