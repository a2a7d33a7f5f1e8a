//! A repro token: all that is needed to run an experiment again, in one word.
//!
//! ```text
//!   vf1-<base64url of:  checksum 4 │ base 8 │ build 4 │ seed 8 │ length 2 │ path of the base │ schedule>
//!   vf2-<base64url of:  … the same … │ path of the base │ question 8 │ length 2 │ file of the campaign │ schedule>
//! ```
//!
//! Base and build are the beginnings of their hashes: they tell whether it is the same, not which it is. The path is where the
//! base was found, as it was typed. An experiment of a campaign has a token of the second form: its verdict depends on the
//! campaign's limits and invariants, of which `question` is a hash.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    directive::Refused,
    lab::Schedule,
    lab::experiment::{BaseId, Build},
};

const PREFIX: &str = "vf1-";
/// The prefix of a token that names a campaign.
const CAMPAIGN_PREFIX: &str = "vf2-";

/// The campaign that an experiment belongs to, as its token names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CampaignName {
    /// The campaign's file, as it was typed.
    pub file: String,
    /// The beginning of a hash over all that the campaign adds to a verdict: limits, replicas and invariants.
    pub question: [u8; 8],
}

/// The contents of a repro token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The beginning of the base's hash.
    pub base: [u8; 8],
    /// The beginning of the build's.
    pub build: [u8; 4],
    /// The seed of the experiment.
    pub seed: u64,
    /// Where the base was found.
    pub path: String,
    /// The campaign that the experiment belongs to, if to any.
    pub campaign: Option<CampaignName>,
    /// The faults of the experiment.
    pub schedule: Schedule,
}

/// A reason why a text is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The text does not look like a token.
    #[error("`{0}` is no repro token: one begins with `{PREFIX}`")]
    NotOne(String),
    /// A letter is wrong or missing.
    #[error("the token is damaged: a letter is wrong or missing")]
    Damaged,
    /// The token holds a schedule that this program does not understand.
    #[error("the token's schedule cannot be read: {0}")]
    Schedule(#[from] Refused),
}

impl Token {
    /// Makes the token of an experiment.
    pub fn new(base: BaseId, build: Build, seed: u64, path: &str, schedule: &Schedule) -> Token {
        let base = base.0.first_chunk().copied().unwrap_or_default();
        let build = build.0.first_chunk().copied().unwrap_or_default();
        Token { base, build, seed, path: path.to_owned(), campaign: None, schedule: schedule.clone() }
    }

    /// Names the campaign that the experiment belongs to.
    pub fn of_campaign(self, campaign: Option<CampaignName>) -> Token {
        Token { campaign, ..self }
    }

    /// Returns whether a text looks like a token.
    pub fn is_like(text: &str) -> bool {
        text.starts_with(PREFIX) || text.starts_with(CAMPAIGN_PREFIX)
    }

    /// Returns whether the token is of this base.
    pub fn is_of(&self, base: BaseId) -> bool {
        base.0.starts_with(&self.base)
    }

    /// Returns whether the token was made by this build.
    pub fn is_by(&self, build: Build) -> bool {
        build.0.starts_with(&self.build)
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = blake3::hash(bytes);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.base);
        bytes.extend_from_slice(&self.build);
        bytes.extend_from_slice(&self.seed.to_le_bytes());
        put_text(&mut bytes, &self.path);
        if let Some(campaign) = &self.campaign {
            bytes.extend_from_slice(&campaign.question);
            put_text(&mut bytes, &campaign.file);
        }
        bytes.extend_from_slice(self.schedule.to_string().as_bytes());
        let sum = checksum(&bytes);
        let all: Vec<u8> = sum.into_iter().chain(bytes).collect();
        let prefix = if self.campaign.is_some() { CAMPAIGN_PREFIX } else { PREFIX };
        write!(f, "{prefix}{}", URL_SAFE_NO_PAD.encode(all))
    }
}

/// Appends a text after its length. One that is too long for a path is left out.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(0);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

/// Takes a text that was put there, and returns what is left.
fn take_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((std::str::from_utf8(text).ok()?.to_owned(), rest))
}

/// Takes a campaign's name, and returns what is left.
fn take_campaign(bytes: &[u8]) -> Option<(CampaignName, &[u8])> {
    let (question, rest) = bytes.split_first_chunk::<8>()?;
    let (file, rest) = take_text(rest)?;
    Some((CampaignName { file, question: *question }, rest))
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Token, TokenError> {
        let named = text.strip_prefix(CAMPAIGN_PREFIX);
        let digits = named.or(text.strip_prefix(PREFIX)).ok_or_else(|| TokenError::NotOne(text.to_owned()))?;
        let all = URL_SAFE_NO_PAD.decode(digits).map_err(|_| TokenError::Damaged)?;
        let (sum, bytes) = all.split_first_chunk::<4>().ok_or(TokenError::Damaged)?;
        if checksum(bytes) != *sum {
            return Err(TokenError::Damaged);
        }
        let read = || {
            let (base, rest) = bytes.split_first_chunk::<8>()?;
            let (build, rest) = rest.split_first_chunk::<4>()?;
            let (seed, rest) = rest.split_first_chunk::<8>()?;
            let (path, rest) = take_text(rest)?;
            let (campaign, rest) = match named {
                Some(_) => take_campaign(rest).map(|(it, rest)| (Some(it), rest))?,
                None => (None, rest),
            };
            let schedule = std::str::from_utf8(rest).ok()?.to_owned();
            Some((*base, *build, u64::from_le_bytes(*seed), path, campaign, schedule))
        };
        let (base, build, seed, path, campaign, schedule) = read().ok_or(TokenError::Damaged)?;
        Ok(Token { base, build, seed, path, campaign, schedule: Schedule::read("token", &schedule)? })
    }
}
