//! Rejections: the reasons why a message got no answer but a refusal.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::Value;

/// A rejection of a message. Its reason is usually an error with a message, but may be any value.
///
/// ```
/// # use vat::Error;
/// let refused: Error = "insufficient funds".into();
/// assert_eq!(refused.message(), "insufficient funds");
/// ```
#[derive(Clone, PartialEq)]
pub struct Error {
    reason: Value,
}

impl Error {
    /// Makes an error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        let reason = Value::Error { name: "Error".into(), message: message.into() };
        Error { reason }
    }

    /// Makes a rejection whose reason is any value.
    pub fn with_reason(reason: impl Into<Value>) -> Self {
        Error { reason: reason.into() }
    }

    /// Returns the message, if the reason is an error or a text.
    pub fn message(&self) -> &str {
        match &self.reason {
            Value::Error { message, .. } | Value::Str(message) => message,
            _ => "rejected",
        }
    }

    /// Returns the value that the promise was rejected with.
    pub fn reason(&self) -> &Value {
        &self.reason
    }

    /// Takes out the value that the promise was rejected with.
    pub fn into_reason(self) -> Value {
        self.reason
    }

    /// Makes the error of a target that has no method of that name.
    pub fn no_method(method: &str) -> Self {
        Error::join(&["target has no method ", method])
    }

    /// Makes the error of a target that has no method of that name; `known` are the methods that it has, one of which may be meant.
    pub fn no_method_of(method: &str, known: &[&str]) -> Self {
        match nearest(method, known) {
            Some(meant) => Error::join(&["target has no method ", method, ": did you mean `", meant, "`?"]),
            None => Error::no_method(method),
        }
    }

    /// Makes the error of a value that is not what was asked for.
    pub(crate) fn expected(what: &str, found: &Value) -> Self {
        Error::join(&["expected ", what, ", found ", found.kind()])
    }

    /// An error whose message is made of parts; formatting would cost a vat some kilobytes.
    pub(crate) fn join(parts: &[&str]) -> Self {
        Error::new(parts.concat())
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Error::new(message)
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Error::new(message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl core::error::Error for Error {}

/// The known name that is nearest to this one, if it is near: at most two slips, and at most one in three letters. Case and
/// underscores make no difference.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    const LENGTH_MAX: usize = 64;
    let letters = |it: &str| -> Vec<u8> {
        it.bytes().filter(|it| *it != b'_').map(|it| it.to_ascii_lowercase()).take(LENGTH_MAX).collect()
    };
    let name = letters(name);
    let near = known.iter().map(|it| (distance(&name, &letters(it)), *it)).min_by_key(|it| it.0)?;
    (near.0 <= 2.min(name.len() / 3)).then_some(near.1)
}

/// The number of letters to change, add or leave out.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let (mut before, mut left) = (at, at + 1);
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (it, above) in other.iter().zip(row.iter().skip(1)) {
            left = (before + usize::from(it != letter)).min(above + 1).min(left + 1);
            before = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
