//! The beginning of a hash, as people type it.

use std::{fmt, str::FromStr};

use crate::model::id::hex;

/// The first digits of a BLAKE3 hash: at least 8 (an accident is then one in four thousand million), at most 64.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexPrefix(String);

/// The reason why a text is no prefix of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HexPrefixError {
    /// With the digits that it has.
    #[error("{0} hexadecimal digits are too few: 8 at the least")]
    TooShort(usize),
    /// With the digits that it has.
    #[error("{0} hexadecimal digits are too many: a hash has 64")]
    TooLong(usize),
    /// With the first that is none.
    #[error("`{0}` is no hexadecimal digit")]
    NotHex(char),
}

impl HexPrefix {
    const DIGITS_MIN: usize = 8;
    const DIGITS_MAX: usize = 64;

    /// Returns the prefix that is the whole hash.
    pub fn of(hash: &[u8; 32]) -> HexPrefix {
        HexPrefix(hex(hash))
    }

    /// Returns whether the hash begins with this prefix.
    pub fn matches(&self, hash: &[u8; 32]) -> bool {
        hex(hash).starts_with(&self.0)
    }

    /// Returns whether one hash can begin with both prefixes.
    pub(super) fn agrees_with(&self, other: &HexPrefix) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

impl fmt::Display for HexPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HexPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Upper case is read too, and an ellipsis behind it, as hashes are printed for people.
impl FromStr for HexPrefix {
    type Err = HexPrefixError;
    fn from_str(text: &str) -> Result<HexPrefix, HexPrefixError> {
        let digits = text.strip_suffix('…').unwrap_or(text);
        if let Some(other) = digits.chars().find(|it| !it.is_ascii_hexdigit()) {
            return Err(HexPrefixError::NotHex(other));
        }
        match digits.len() {
            0..HexPrefix::DIGITS_MIN => Err(HexPrefixError::TooShort(digits.len())),
            HexPrefix::DIGITS_MIN..=HexPrefix::DIGITS_MAX => Ok(HexPrefix(digits.to_ascii_lowercase())),
            _ => Err(HexPrefixError::TooLong(digits.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_from_8_to_64_digits() {
        assert_eq!("1234567".parse::<HexPrefix>(), Err(HexPrefixError::TooShort(7)));
        assert_eq!("1234567…".parse::<HexPrefix>(), Err(HexPrefixError::TooShort(7)));
        assert_eq!("12345678…".parse::<HexPrefix>().expect("8").to_string(), "12345678");
        assert!("a".repeat(64).parse::<HexPrefix>().is_ok());
        assert_eq!("a".repeat(65).parse::<HexPrefix>(), Err(HexPrefixError::TooLong(65)));
        assert_eq!("1234567g".parse::<HexPrefix>(), Err(HexPrefixError::NotHex('g')));
        assert_eq!("12345678……".parse::<HexPrefix>(), Err(HexPrefixError::NotHex('…')));
    }

    #[test]
    fn it_matches_by_digit_not_by_byte() {
        let mut hash = [0; 32];
        hash[..5].copy_from_slice(&[0x5f, 0x3a, 0x9c, 0x01, 0xab]);
        let matches = |text: &str| text.parse::<HexPrefix>().expect("parses").matches(&hash);
        assert!(matches("5F3A9C01") && matches("5f3a9c01a"));
        assert!(!matches("5f3a9c01b") && !matches("5f3a9c00"));
    }
}
