//! The interface of a module: the methods of its objects, as the custom section `vathost.interface` describes them.
//!
//! The section holds lines of JSON, one for each kind of object and one for the root; `#[vat::exo]` and `#[vat::root]` write them,
//! and vats in C by `VAT_INTERFACE`. A linker may put those of several crates one behind the other, in one section or more.
//!
//! Invariant: nothing that runs depends on it. A module without the section, or with one that is wrong, runs as any other.

mod fit;
pub mod openapi;
mod read;
#[cfg(test)]
mod tests;
pub mod text;
pub mod typescript;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use fit::Misfit;

/// The name of the custom section that holds the lines.
pub const SECTION: &str = "vathost.interface";

/// The version of the lines that this build reads.
pub const VERSION: u32 = 1;

/// The most bytes that the sections of a module may have together: tools keep all of it in memory, and print it.
pub const BYTES_MAX: usize = 256 << 10;

/// The interface of a module: its kinds of objects, and which of them is the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The name of the root's kind; empty if the module does not say.
    pub root: String,
    /// The words about the vat as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// The type of the vat parameters, if the root takes any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Type>,
    /// The kinds of objects, in the order of the section.
    pub exos: Vec<Exo>,
}

/// A kind of object: its name in messages and its methods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exo {
    /// The name of the kind, as in `Alleged: Purse`.
    pub name: String,
    /// The words about the kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// The methods, in the order of the sources.
    pub methods: Vec<Method>,
}

/// A method that messages can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// The name of the method in messages.
    pub name: String,
    /// The words about the method.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// The arguments, in order.
    pub args: Vec<Argument>,
    /// The type of the answer, unless it is a rejection.
    pub answer: Type,
}

/// An argument of a method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// The name of the argument, for people.
    pub name: String,
    /// The type of the argument.
    #[serde(rename = "type")]
    pub kind: Type,
}

/// A type of arguments and answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// An integer of 8 bits without a sign.
    U8,
    /// An integer of 16 bits without a sign.
    U16,
    /// An integer of 32 bits without a sign.
    U32,
    /// An integer of 64 bits without a sign; it crosses as a bigint.
    U64,
    /// An integer of 8 bits.
    I8,
    /// An integer of 16 bits.
    I16,
    /// An integer of 32 bits.
    I32,
    /// An integer of 64 bits; it crosses as a bigint.
    I64,
    /// An integer of 128 bits; it crosses as a bigint.
    I128,
    /// A number of 64 bits with a fraction.
    F64,
    /// A number with a fraction, digit by digit.
    Decimal,
    /// A truth value: true or false.
    Boolean,
    /// A text of any length.
    String,
    /// The absence of a value, `undefined`.
    Undefined,
    /// Data that the module does not describe.
    Any,
    /// A reference to an object of any vat.
    Remote,
    /// A reference to a promise of anything.
    Promise,
    /// A reference to a device.
    Device,
    /// A value of that type, or none.
    Option(Box<Type>),
    /// A list of values of that type.
    List(Box<Type>),
    /// A reference to an object of that kind, of the vat itself.
    Object(String),
    /// A type of the sources that the module does not describe further.
    Named(String),
}

impl Interface {
    /// Reads the interface of a module; `None` if the module has no such section.
    ///
    /// # Errors
    ///
    /// The section is malformed; the text names the line. The module runs all the same.
    pub fn read(wasm: &[u8]) -> Result<Option<Interface>, String> {
        read::read(wasm)
    }

    /// Finds the kind of the root object.
    pub fn root(&self) -> Option<&Exo> {
        self.exo(&self.root)
    }

    /// Finds a kind of object by its name.
    pub fn exo(&self, name: &str) -> Option<&Exo> {
        self.exos.iter().find(|exo| exo.name == name)
    }
}

impl Exo {
    /// Finds a method by its name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name == name)
    }
}

impl Type {
    /// Returns the least and the greatest integer of the type, if it is an integer type.
    pub fn range(&self) -> Option<(i128, i128)> {
        Some(match self {
            Type::U8 => (0, u8::MAX.into()),
            Type::U16 => (0, u16::MAX.into()),
            Type::U32 => (0, u32::MAX.into()),
            Type::U64 => (0, u64::MAX.into()),
            Type::I8 => (i8::MIN.into(), i8::MAX.into()),
            Type::I16 => (i16::MIN.into(), i16::MAX.into()),
            Type::I32 => (i32::MIN.into(), i32::MAX.into()),
            Type::I64 => (i64::MIN.into(), i64::MAX.into()),
            Type::I128 => (i128::MIN, i128::MAX),
            _ => return None,
        })
    }

    /// Returns whether an argument of the type may be left out.
    pub fn may_be_missing(&self) -> bool {
        matches!(self, Type::Option(_) | Type::Any | Type::Named(_) | Type::Undefined)
    }

    /// Returns the word that stands for a type without parts, in the section and for people.
    fn word(&self) -> &str {
        match self {
            Type::U8 => "u8",
            Type::U16 => "u16",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::I8 => "i8",
            Type::I16 => "i16",
            Type::I32 => "i32",
            Type::I64 => "i64",
            Type::I128 => "i128",
            Type::F64 => "f64",
            Type::Decimal => "decimal",
            Type::Boolean => "boolean",
            Type::String => "string",
            Type::Undefined => "undefined",
            Type::Any => "any",
            Type::Remote => "remote",
            Type::Promise => "promise",
            Type::Device => "device",
            Type::Option(_) => "option",
            Type::List(_) => "list",
            Type::Object(name) | Type::Named(name) => name,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Option(kind) => write!(f, "{kind}?"),
            Type::List(kind) => write!(f, "[{kind}]"),
            other => f.write_str(other.word()),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (at, Argument { name, kind }) in self.args.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}: {kind}")?;
        }
        match &self.answer {
            Type::Undefined => f.write_str(")"),
            answer => write!(f, ") -> {answer}"),
        }
    }
}
