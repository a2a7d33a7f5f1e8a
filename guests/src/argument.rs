//! The arguments of messages, received and sent.

use alloc::string::String;
use alloc::vec;
use alloc::vec::{IntoIter, Vec};

use crate::{Error, FromValue, Remote, Value};

/// The arguments of a message, taken one after the other.
#[derive(Debug)]
pub struct Args {
    rest: IntoIter<Value>,
    taken: u64,
    /// Whether one did not fit.
    refused: bool,
}

impl Args {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Args { rest: values.into_iter(), taken: 0, refused: false }
    }

    /// Takes the next argument, converted. A missing one is `Undefined`; those left over are ignored.
    ///
    /// # Errors
    /// The argument does not fit; the message says which one.
    pub fn take<T: FromValue>(&mut self) -> Result<T, Error> {
        self.taken += 1;
        T::from_value(self.rest.next().unwrap_or_default()).map_err(|e| self.blame(&e))
    }

    /// Returns the error of the method that took these arguments, with the method's name if an argument is at fault.
    #[cold]
    pub(crate) fn name_method(&self, method: &str, error: Error) -> Error {
        if self.refused { Error::join(&[method, ": ", error.message()]) } else { error }
    }

    #[cold]
    fn blame(&mut self, error: &Error) -> Error {
        self.refused = true;
        let mut text = String::from("argument ");
        crate::number::push_u64(&mut text, self.taken);
        text.push_str(": ");
        text.push_str(error.message());
        Error::new(text)
    }
}

/// The arguments that a message is sent with: a tuple of values, a list of them, or `()` for none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of arguments",
    label = "wanted: a tuple",
    note = "one argument is `(x,)`, none is `()`"
)]
pub trait IntoArgs {
    /// Converts to a list of values.
    fn into_args(self) -> Vec<Value>;
}

impl IntoArgs for () {
    fn into_args(self) -> Vec<Value> {
        Vec::new()
    }
}

impl IntoArgs for Vec<Value> {
    fn into_args(self) -> Vec<Value> {
        self
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {$(
        impl<$($name: Into<Value>),+> IntoArgs for ($($name,)+) {
            #[allow(non_snake_case, reason = "the type parameters name the fields")]
            fn into_args(self) -> Vec<Value> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    )*};
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
}

/// The argument of the bootstrap vat's first message: `bootstrap({ vats, devices, vatAdmin })`.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    vats: Value,
    devices: Value,
    /// The vat admin, if the host has one.
    pub vat_admin: Option<Remote>,
}

impl Bootstrap {
    /// The root of a vat, by its name in the scenario.
    ///
    /// # Errors
    /// There is no vat of that name.
    pub fn vat(&self, name: &str) -> Result<Remote, Error> {
        self.vats.get(name)
    }

    /// The roots of all vats, by name, in the order of the scenario.
    pub fn vats(&self) -> impl Iterator<Item = (&str, &Remote)> {
        let members = if let Value::Record(members) = &self.vats { &members[..] } else { &[] };
        members.iter().filter_map(|(name, value)| match value {
            Value::Remote(root) => Some((name.as_str(), root)),
            _ => None,
        })
    }

    /// A device by its name.
    ///
    /// # Errors
    /// There is no such device.
    pub fn device<T: FromValue>(&self, name: &str) -> Result<T, Error> {
        self.devices.get(name)
    }
}

impl FromValue for Bootstrap {
    fn from_value(value: Value) -> Result<Self, Error> {
        Ok(Bootstrap { vats: value.get("vats")?, devices: value.get("devices")?, vat_admin: value.get("vatAdmin")? })
    }
}
