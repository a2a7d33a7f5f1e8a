//! The items of the kernel's queues.

use serde::{Deserialize, Serialize};

use crate::model::{
    id::{BundleId, KRef, PromiseId, VatId},
    value::{CapData, Message},
};

/// An entry of the kernel's queues, still to be processed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Item {
    /// A message to an object or a promise.
    Send {
        /// The object or promise.
        target: KRef,
        /// The message to deliver.
        message: Message<KRef>,
    },
    /// Tell the vat that the promise is settled.
    Notify {
        /// The vat to notify.
        vat: VatId,
        /// The promise that is settled.
        promise: PromiseId,
    },
    /// Start a new vat.
    StartVat {
        /// The vat to start.
        vat: VatId,
        /// The vat's parameters.
        parameters: CapData<KRef>,
        /// The promise for its root and its admin facet.
        result: Option<PromiseId>,
    },
    /// Replace the code of a vat.
    UpgradeVat {
        /// The vat to upgrade.
        vat: VatId,
        /// The new code.
        bundle: BundleId,
        /// The parameters of the new incarnation.
        parameters: CapData<KRef>,
        /// The promise for the number of the new incarnation.
        result: Option<PromiseId>,
    },
    /// Tell a vat of its new options.
    ChangeOptions {
        /// The vat whose options change.
        vat: VatId,
        /// The new options, as CapData.
        options: CapData<KRef>,
    },
    /// Tell the vat to bring out its dead.
    Reap(VatId),
    /// Remove the rows of the vat.
    Cleanup(VatId),
}
