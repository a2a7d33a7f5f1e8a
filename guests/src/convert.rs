//! Conversions between Rust types and [`Value`].

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Decimal, Device, Error, Exo, Promise, Rc, Remote, Value};

/// A type that an argument, a parameter or an answer can be read as.
#[diagnostic::on_unimplemented(
    message = "no message can carry a `{Self}`",
    label = "not something that a vat can be sent",
    note = "what can: numbers, `bool`, `String`, `Vec`, `Option`, `Remote`, `Promise`, `Rc` of an exo, `Value`; others by `impl FromValue`"
)]
pub trait FromValue: Sized {
    /// Converts a value to this type.
    ///
    /// # Errors
    /// The value is of another type, or out of range. The sender of such an argument gets this error as a rejection.
    fn from_value(value: Value) -> Result<Self, Error>;
}

/// A type that a method may return: a value, or a `Result` of one.
#[diagnostic::on_unimplemented(
    message = "a method cannot answer with a `{Self}`",
    label = "not something that a vat can send",
    note = "what can be sent implements `Into<Value>`; a `Result<T, Error>` answers with a rejection where it is an error"
)]
pub trait IntoOutcome {
    /// Converts the answer to an outcome.
    fn into_outcome(self) -> Result<Value, Error>;
}

/// The vat's parameters, as the type that its root wants.
#[doc(hidden)]
pub fn parameters<T: FromValue>(value: Value) -> T {
    match T::from_value(value) {
        Ok(parameters) => parameters,
        Err(e) => refuse(&e),
    }
}

/// Ends a vat that cannot start. The reason goes to the console, where whoever runs the host reads it;
/// then the vat panics, so that the kernel ends the delivery
/// and nothing of it stays.
pub(crate) fn refuse(error: &Error) -> ! {
    crate::console(crate::Level::Error, error.message());
    panic!("the vat cannot start with these parameters")
}

impl<T: Into<Value>> IntoOutcome for T {
    fn into_outcome(self) -> Result<Value, Error> {
        Ok(self.into())
    }
}

impl<T: Into<Value>, E: Into<Error>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Result<Value, Error> {
        self.map(Into::into).map_err(Into::into)
    }
}

impl From<()> for Value {
    fn from((): ()) -> Value {
        Value::Undefined
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Str(text.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Decimal(number.into())
    }
}

impl From<Error> for Value {
    fn from(error: Error) -> Value {
        error.into_reason()
    }
}

impl<T: Exo> From<Rc<T>> for Value {
    fn from(exo: Rc<T>) -> Value {
        Value::Exo(exo)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(option: Option<T>) -> Value {
        option.map_or(Value::Undefined, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Value {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}

macro_rules! variants {
    ($($type:ty, $variant:ident, $what:literal;)*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(value)
            }
        }

        impl FromValue for $type {
            fn from_value(value: Value) -> Result<Self, Error> {
                match value {
                    Value::$variant(inner) => Ok(inner),
                    other => Err(Error::expected($what, &other)),
                }
            }
        }
    )*};
}

variants! {
    bool, Bool, "a boolean";
    String, Str, "a string";
    Decimal, Decimal, "a fractional number";
    Remote, Remote, "an object of another vat";
    Promise, Promise, "a promise";
    Device, Device, "a device";
}

/// Small integers cross as JSON numbers, wide ones as bigints; both are accepted for each.
macro_rules! integers {
    ($($type:ident as $variant:ident;)*) => {$(
        impl From<$type> for Value {
            fn from(number: $type) -> Value {
                Value::$variant(number.into())
            }
        }

        impl FromValue for $type {
            fn from_value(value: Value) -> Result<Self, Error> {
                integer(value)?
                    .try_into()
                    .map_err(|_| Error::new(concat!("out of range of ", stringify!($type))))
            }
        }
    )*};
}

integers! {
    u8 as Int;
    u16 as Int;
    u32 as Int;
    i8 as Int;
    i16 as Int;
    i32 as Int;
    i64 as BigInt;
    u64 as BigInt;
    i128 as BigInt;
}

fn integer(value: Value) -> Result<i128, Error> {
    match value {
        Value::Int(number) => Ok(number.into()),
        Value::BigInt(number) => Ok(number),
        other => Err(Error::expected("an integer", &other)),
    }
}

impl FromValue for () {
    fn from_value(_: Value) -> Result<Self, Error> {
        Ok(())
    }
}

impl FromValue for f64 {
    #[allow(clippy::cast_precision_loss, reason = "a JSON number is a float to begin with")]
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Int(number) => Ok(number as f64),
            Value::Decimal(number) => Ok(number.to_f64()),
            other => Err(Error::expected("a number", &other)),
        }
    }
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, Error> {
        Ok(value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Undefined | Value::Null => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::List(items) => items.into_iter().map(T::from_value).collect(),
            other => Err(Error::expected("a list", &other)),
        }
    }
}

impl<T: Exo> FromValue for Rc<T> {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Exo(exo) => {
                let any: Rc<dyn core::any::Any> = exo;
                any.downcast().map_err(|_| Error::new("expected another kind of object"))
            }
            other => Err(Error::expected("an object of this vat", &other)),
        }
    }
}
