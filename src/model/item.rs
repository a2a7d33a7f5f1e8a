//! The items of the kernel's queues.

use serde::{Deserialize, Serialize};

use crate::model::{
    id::{BundleId, KRef, PromiseId, VatId},
    value::{CapData, Message},
};

/// What waits in a queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Item {
    /// A message to an object or a promise.
    Send {
        /// The object or promise.
        target: KRef,
        /// The message.
        message: Message<KRef>,
    },
    /// Tell the vat that the promise is settled.
    Notify {
        /// Whom.
        vat: VatId,
        /// Of what.
        promise: PromiseId,
    },
    /// Start a new vat.
    StartVat {
        /// Which.
        vat: VatId,
        /// What it is given.
        parameters: CapData<KRef>,
        /// The promise for its root and its admin facet.
        result: Option<PromiseId>,
    },
    /// Replace the code of a vat.
    UpgradeVat {
        /// Which.
        vat: VatId,
        /// The new code.
        bundle: BundleId,
        /// What the new incarnation is given.
        parameters: CapData<KRef>,
        /// The promise for the number of the new incarnation.
        result: Option<PromiseId>,
    },
    /// Tell a vat of its new options.
    ChangeOptions {
        /// Which.
        vat: VatId,
        /// The options.
        options: CapData<KRef>,
    },
    /// Tell the vat to bring out its dead.
    Reap(VatId),
    /// Remove the rows of the vat.
    Cleanup(VatId),
}
