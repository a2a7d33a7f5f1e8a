//! Objects that other vats can send to.

use alloc::boxed::Box;
use core::any::Any;
use core::future::Future;
use core::pin::Pin;

use crate::{Args, Error, IntoOutcome, Rc, Value};

/// An object with methods that messages can name. `#[vat::exo]` writes the implementation.
///
/// The object gets a reference the first time it is sent out, keeps it for as long as anybody may know it, and stays alive
/// while anybody can reach it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an object that messages can be sent to",
    label = "not an exo",
    note = "put #[vat::exo] on its `impl` block"
)]
pub trait Exo: Any {
    /// Returns the object's name in messages.
    fn interface(&self) -> &'static str;

    /// Calls the method of that name.
    ///
    /// # Errors
    /// There is no such method, or an argument does not fit.
    fn dispatch(self: Rc<Self>, method: &str, args: &mut Args) -> Result<Reply, Error>;
}

/// The future of an answer.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Value, Error>>>>;

/// The answer of a method: an outcome now, or a future for later.
pub struct Reply(pub(crate) When);

pub(crate) enum When {
    Now(Result<Value, Error>),
    Later(Pending),
}

impl Reply {
    /// The answer of a plain method.
    pub fn now(outcome: impl IntoOutcome) -> Self {
        Reply(When::Now(outcome.into_outcome()))
    }

    /// The answer of an async method.
    pub fn later(future: impl Future<Output = Result<Value, Error>> + 'static) -> Self {
        Reply(When::Later(Box::pin(future)))
    }
}

/// A type that the function under `#[vat::root]` may return: the root object, or a `Result` of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the root object of a vat",
    label = "not an exo, and not a `Result` of one",
    note = "put #[vat::exo] on its `impl` block"
)]
pub trait IntoRoot {
    /// Converts to the root object.
    fn into_root(self) -> Rc<dyn Exo>;
}

impl<E: Exo> IntoRoot for E {
    fn into_root(self) -> Rc<dyn Exo> {
        Rc::new(self)
    }
}

impl<E: Exo> IntoRoot for Result<E, Error> {
    fn into_root(self) -> Rc<dyn Exo> {
        match self {
            Ok(root) => Rc::new(root),
            Err(error) => crate::convert::refuse(&error),
        }
    }
}
