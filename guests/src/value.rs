//! The values that messages carry.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::{Decimal, Device, Error, Exo, FromValue, Promise, Rc, Remote};

/// Anything that can pass between vats: data, and references to objects and promises.
#[derive(Clone, Default)]
pub enum Value {
    /// The value `undefined`, which a method without a result returns.
    #[default]
    Undefined,
    /// The `null` of JSON.
    Null,
    /// A truth value of JSON.
    Bool(bool),
    /// A whole number of JSON.
    Int(i64),
    /// Any other number of JSON.
    Decimal(Decimal),
    /// An integer that is not bound to the 53 bits of a JSON number; the wire shows its sign.
    BigInt(i128),
    /// A string of text.
    Str(String),
    /// A registered symbol of JavaScript.
    Symbol(String),
    /// A list of values.
    List(Vec<Value>),
    /// A record, in the order of the wire.
    Record(Vec<(String, Value)>),
    /// A value with a tag.
    Tagged(String, Box<Value>),
    /// An error as data.
    Error {
        /// The class of the error, usually `Error`.
        name: String,
        /// The message of the error.
        message: String,
    },
    /// An object of another vat.
    Remote(Remote),
    /// An object of this vat.
    Exo(Rc<dyn Exo>),
    /// An answer still to come.
    Promise(Promise),
    /// A device of the host.
    Device(Device),
}

impl Value {
    /// Makes a record of these members.
    pub fn record<const N: usize>(members: [(&str, Value); N]) -> Value {
        Value::Record(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// Converts the value to a type of Rust.
    ///
    /// # Errors
    /// The value is of another type, or out of its range.
    pub fn to<T: FromValue>(self) -> Result<T, Error> {
        T::from_value(self)
    }

    /// Reads a member of a record, converted. A missing member is `Undefined`, and so is every member of `Undefined`.
    ///
    /// # Errors
    /// The value is no record, or the member is of another type.
    pub fn get<T: FromValue>(&self, name: &str) -> Result<T, Error> {
        let members: &[_] = match self {
            Value::Record(members) => members,
            Value::Undefined => &[],
            _ => return Err(Error::expected("a record", self)),
        };
        let member = members.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        T::from_value(member.unwrap_or_default()).map_err(|e| Error::join(&[name, ": ", e.message()]))
    }

    /// The name of the value's type, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Undefined => "nothing",
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Decimal(_) => "a number",
            Value::BigInt(_) => "a bigint",
            Value::Str(_) => "a string",
            Value::Symbol(_) => "a symbol",
            Value::List(_) => "a list",
            Value::Record(_) => "a record",
            Value::Tagged(..) => "a tagged value",
            Value::Error { .. } => "an error",
            Value::Remote(_) => "an object of another vat",
            Value::Exo(_) => "an object of this vat",
            Value::Promise(_) => "a promise",
            Value::Device(_) => "a device",
        }
    }
}

/// Data is equal by content, a reference by identity.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Undefined, Value::Undefined) | (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Decimal(a), Value::Decimal(b)) => a == b,
            (Value::BigInt(a), Value::BigInt(b)) => a == b,
            (Value::Str(a), Value::Str(b)) | (Value::Symbol(a), Value::Symbol(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Record(a), Value::Record(b)) => a == b,
            (Value::Tagged(s, a), Value::Tagged(t, b)) => s == t && a == b,
            (Value::Error { name: n, message: a }, Value::Error { name: m, message: b }) => n == m && a == b,
            (Value::Remote(a), Value::Remote(b)) => a == b,
            (Value::Exo(a), Value::Exo(b)) => Rc::ptr_eq(a, b),
            (Value::Promise(a), Value::Promise(b)) => a == b,
            (Value::Device(a), Value::Device(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Undefined | Value::Null => f.write_str(self.kind()),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(n) => write!(f, "{n}"),
            Value::Decimal(n) => f.write_str(n.as_str()),
            Value::BigInt(n) => write!(f, "{n}n"),
            Value::Str(s) => write!(f, "{s:?}"),
            Value::Symbol(s) => write!(f, "@@{s}"),
            Value::List(items) => f.debug_list().entries(items).finish(),
            Value::Record(members) => f.debug_map().entries(members.iter().map(|(k, v)| (k, v))).finish(),
            Value::Tagged(tag, payload) => f.debug_tuple(tag).field(payload).finish(),
            Value::Error { name, message } => write!(f, "{name}({message:?})"),
            Value::Remote(r) => r.fmt(f),
            Value::Exo(e) => write!(f, "[{}]", e.interface()),
            Value::Promise(p) => p.fmt(f),
            Value::Device(d) => d.fmt(f),
        }
    }
}
