//! Capability tokens: 256 bits that nobody guesses. Whoever has one may use what it names.
//!
//! Invariant: a token is told to its client and forgotten; what is kept is its hash.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{model::blame::HostFault, store::write_private};

/// The name of the file, in a state's folder, with the secret that the tokens of calls with keys are made from.
const SECRET: &str = "serve.secret";

/// What to do where the secret cannot be used.
const OF_SECRET: &str = "bring the file back from a copy of the folder. Without it the answers of earlier calls cannot be told by their keys: \
     `vathost serve --new-secret` makes a new one, and a request that is sent again with its old key acts again";

/// The characters of a token in a URL.
pub const TOKEN_CHARS: usize = 43;

/// A secret that names an object, a promise, or the answer of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CapToken([u8; 32]);

/// The hash of a token: all that is kept of it.
pub(super) type TokenHash = [u8; 32];

impl CapToken {
    /// Makes a token that nobody can guess.
    pub fn random() -> Result<CapToken, HostFault> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|err| HostFault::new("make a token", err))?;
        Ok(CapToken(bytes))
    }

    /// Reads the secret of a state's folder; makes it, durably, where there is none. `keyed` is the number of answers that are kept of
    /// calls with keys: they were made with it.
    ///
    /// # Errors
    ///
    /// It is damaged, or lost while such answers are kept: with another one their keys would act again.
    pub(super) fn secret_of(folder: &Path, keyed: usize) -> Result<CapToken, HostFault> {
        let path = folder.join(SECRET);
        let failed = |why: String| HostFault::new(format_args!("read `{}`", path.display()), why);
        let unusable = |why: String| failed(why).with_way_out(OF_SECRET);
        match fs::read(&path) {
            Ok(bytes) => {
                let length = bytes.len();
                let whole = bytes.try_into().map(CapToken);
                whole.map_err(|_| unusable(format!("it has {length} bytes, and is one of 32")))
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound && keyed > 0 => Err(unusable(format!(
                "it is lost, and the state keeps {keyed} answers of calls with keys made from it"
            ))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => CapToken::new_secret(folder),
            Err(err) => Err(failed(err.to_string())),
        }
    }

    /// Makes a secret for a state's folder, durably, in the place of one that there may be.
    pub(super) fn new_secret(folder: &Path) -> Result<CapToken, HostFault> {
        let (path, part) = (folder.join(SECRET), folder.join("serve.secret.part"));
        let secret = CapToken::random()?;
        let keep = || {
            write_private(&part, &secret.0)?;
            File::open(&part)?.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(folder)?.sync_all()
        };
        keep().map(|()| secret).map_err(|err| HostFault::new(format_args!("write `{}`", path.display()), err))
    }

    /// Makes the token of a call that has a key: the same for the same key at the same place of the state whose secret this is, in
    /// this process and every later one. Nobody finds it who has the key alone.
    pub fn of_key(secret: CapToken, place: &str, key: &[u8]) -> CapToken {
        let mut hasher = blake3::Hasher::new_derive_key("vathost serve: the promise of a call with a key, version 2");
        hasher.update(&secret.0).update(&(place.len() as u64).to_le_bytes()).update(place.as_bytes()).update(key);
        CapToken(*hasher.finalize().as_bytes())
    }

    /// Makes the token of a reference that an answer names: whoever has the answer's token finds the same each time.
    pub fn of_slot(self, slot: usize) -> CapToken {
        let mut hasher = blake3::Hasher::new_derive_key("vathost serve: a reference in an answer, version 1");
        hasher.update(&self.0).update(&(slot as u64).to_le_bytes());
        CapToken(*hasher.finalize().as_bytes())
    }

    /// Reads a token of a URL; `None` if it is none.
    pub fn parse(text: &str) -> Option<CapToken> {
        (text.len() == TOKEN_CHARS).then_some(())?;
        BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(CapToken)
    }

    /// Returns the text of the token in a URL.
    pub fn text(self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Returns what is kept of the token.
    pub fn hash(self) -> TokenHash {
        blake3::derive_key("vathost serve: a token as it is kept, version 1", &self.0)
    }
}

/// The secret is not shown.
impl std::fmt::Debug for CapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_not_shown() {
        let token = CapToken::random().unwrap();
        assert_eq!(CapToken::parse(&token.text()), Some(token));
        assert_eq!(token.text().len(), TOKEN_CHARS);
        assert_ne!(token, CapToken::random().unwrap());
        for wrong in ["", "market", &format!("{}=", token.text()), &"!".repeat(TOKEN_CHARS)] {
            assert_eq!(CapToken::parse(wrong), None, "{wrong}");
        }
        assert!(!format!("{token:?}").contains(&token.text()));
    }

    #[test]
    fn tokens_of_a_key_and_of_slots_are_the_same_again_and_else_differ() {
        let folder = tempfile::tempdir().unwrap();
        let secret = CapToken::secret_of(folder.path(), 0).unwrap();
        assert_eq!(secret, CapToken::secret_of(folder.path(), 7).unwrap(), "it is kept");
        let of = CapToken::of_key(secret, "/cap/market", b"key");
        assert_eq!(of, CapToken::of_key(secret, "/cap/market", b"key"));
        assert_ne!(of, CapToken::of_key(secret, "/cap/marke", b"tkey"));
        assert_ne!(of, CapToken::of_key(CapToken::random().unwrap(), "/cap/market", b"key"), "of another state");
        assert_eq!(of.of_slot(1), of.of_slot(1));
        assert_ne!(of.of_slot(1), of.of_slot(2));
        assert_ne!(of.hash(), of.of_slot(0).hash());
    }
}
