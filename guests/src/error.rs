//! Why a message was not answered as its sender hoped.

use alloc::string::String;
use core::fmt;

use crate::Value;

/// A rejection. Its reason is usually an error with a message, but may be any value.
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
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        let reason = Value::Error { name: "Error".into(), message: message.into() };
        Error { reason }
    }

    /// A rejection whose reason is any value.
    pub fn with_reason(reason: impl Into<Value>) -> Self {
        Error { reason: reason.into() }
    }

    /// The message, where the reason is an error or a text.
    pub fn message(&self) -> &str {
        match &self.reason {
            Value::Error { message, .. } | Value::Str(message) => message,
            _ => "rejected",
        }
    }

    /// What the promise was rejected with.
    pub fn reason(&self) -> &Value {
        &self.reason
    }

    /// What the promise was rejected with.
    pub fn into_reason(self) -> Value {
        self.reason
    }

    /// The target of a message does not answer to that name.
    pub fn no_method(method: &str) -> Self {
        Error::join(&["target has no method ", method])
    }

    /// A value is not what was asked for.
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
