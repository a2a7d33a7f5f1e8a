//! The vat admin: creates vats, and controls those that one has created. Its methods send plain messages.

use alloc::string::String;

use crate::{Error, FromValue, Promise, Remote, Value};

/// The authority to create vats, which the bootstrap vat gets.
#[derive(Clone, Debug)]
pub struct VatAdmin(Remote);

/// A vat that was just created.
#[derive(Clone, Debug)]
pub struct Created {
    /// The new vat's root object.
    pub root: Remote,
    /// The authority over the new vat.
    pub admin: AdminFacet,
}

/// The authority over one vat.
#[derive(Clone, Debug)]
pub struct AdminFacet(Remote);

impl VatAdmin {
    /// Creates a vat that runs the bundle; `options` is a record, or `Undefined` for the defaults.
    ///
    /// # Errors
    /// There is no such bundle, an option is wrong, or the vat failed to start.
    pub async fn create_vat(
        &self,
        bundle: impl Into<Value>,
        parameters: impl Into<Value>,
        options: impl Into<Value>,
    ) -> Result<Created, Error> {
        let args = (bundle, parameters, options);
        self.0.send("createVat", args).to().await
    }
}

impl AdminFacet {
    /// Replaces the vat's code. Its durable state, its root and its durable objects stay.
    pub fn upgrade(&self, bundle: impl Into<Value>, parameters: impl Into<Value>) -> Promise {
        self.0.send("upgrade", (bundle, parameters))
    }

    /// Ends the vat; [`done`](Self::done) is rejected with the reason.
    pub fn terminate(&self, reason: impl Into<Error>) -> Promise {
        self.0.send("terminate", (reason.into(),))
    }

    /// Keeps further deliveries from the vat until it is resumed.
    pub fn pause(&self, reason: impl Into<String>) -> Promise {
        self.0.send("pause", (reason.into(),))
    }

    /// Resumes deliveries to the vat: first what has waited, in order.
    pub fn resume(&self) -> Promise {
        self.0.send("resume", ())
    }

    /// Changes options of the vat, given as a record.
    pub fn change_options(&self, options: Value) -> Promise {
        self.0.send("changeOptions", (options,))
    }

    /// Promises the vat's last words, once it ends.
    pub fn done(&self) -> Promise {
        self.0.send("done", ())
    }
}

macro_rules! facets {
    ($($type:ident)*) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Result<Self, Error> {
                value.to().map($type)
            }
        }

        impl From<Remote> for $type {
            fn from(remote: Remote) -> Self {
                $type(remote)
            }
        }

        impl From<$type> for Value {
            fn from(facet: $type) -> Value {
                facet.0.into()
            }
        }
    )*};
}

facets!(VatAdmin AdminFacet);

impl FromValue for Created {
    fn from_value(value: Value) -> Result<Self, Error> {
        Ok(Created { root: value.get("root")?, admin: value.get("admin")? })
    }
}
