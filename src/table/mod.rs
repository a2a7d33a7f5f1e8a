//! The rows of the kernel. [`Tables`] lists every table there is; nothing else of the kernel's state persists.

mod clist;
mod device;
mod object;
mod promise;
mod queue;
mod vat;

pub use clist::{CList, CListEntry};
pub use device::{Device, Mailbox, Outbox, Outgoing, Wakeup, Wakeups};
pub use object::{GcAction, GcKind, KernelObject, Object, Owner};
pub use promise::{Policy, Promise, PromiseState};
pub use queue::{Item, Queue, QueueId};
pub use vat::{Ending, Meter, OnFault, Options, Outside, Status, Tally, Vat};

use serde::{Deserialize, Serialize};

use crate::{
    directive::Applied,
    id::{BlockHeight, BundleId, CrankNum, DeviceId, ObjectId, PromiseId, VatId},
    limits,
    store::{Journaled, Table},
    value::{Bytes, StoreKey},
};

/// The counters, and where the chain of blocks stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Globals {
    /// The open block, or the last one where none is open.
    pub height: BlockHeight,
    /// Its time, in seconds since the epoch, as the host was told.
    pub time: u64,
    /// The number of the next crank.
    pub next_crank: CrankNum,
    /// Cranks that were deliveries, so far.
    pub deliveries: u64,
    /// Ids to give out next.
    pub next_vat: VatId,
    /// See `next_vat`.
    pub next_object: ObjectId,
    /// See `next_vat`.
    pub next_promise: PromiseId,
    /// The version of the kernel's behaviour that ran last.
    pub kernel_version: u32,
}

impl Globals {
    /// Those of a state in which nothing happened yet.
    pub const INITIAL: Globals = Globals {
        height: BlockHeight(0),
        time: 0,
        next_crank: CrankNum(0),
        deliveries: 0,
        next_vat: VatId(1),
        next_object: ObjectId(limits::FIRST_OBJECT),
        next_promise: PromiseId(limits::FIRST_PROMISE),
        kernel_version: crate::kernel_version::DEFAULT,
    };

    /// What the future depends on: not on how much there was before; the time, which only a device can tell,
    /// is compared by whoever compares.
    pub(crate) fn essence(&self) -> Globals {
        Globals { height: BlockHeight(0), time: 0, next_crank: CrankNum(0), deliveries: 0, ..*self }
    }
}

/// Every table.
#[derive(Debug)]
pub struct Tables {
    /// One row of counters.
    pub globals: Table<(), Globals>,
    /// The vats, dead ones included.
    pub vats: Table<VatId, Vat>,
    /// What changes in a vat at each delivery.
    pub tallies: Table<VatId, Tally>,
    /// The c-lists of all vats.
    pub clist: CList,
    /// Kernel objects.
    pub objects: Table<ObjectId, Object>,
    /// Kernel promises.
    pub promises: Table<PromiseId, Promise>,
    /// The run-queue, the reap queue, the queues of promises, the vats to clean up.
    pub queue: Queue,
    /// Pending GC actions, in the order in which they are taken.
    pub gc: Table<GcAction, ()>,
    /// Keys and values of the vats.
    pub vatstore: Table<(VatId, StoreKey), Bytes>,
    /// The messages from outside whose results are awaited, by the promises for them.
    pub outside: Table<PromiseId, Outside>,
    /// Bundles that can be named, by name.
    pub bundles: Table<Bytes, BundleId>,
    /// Meters, in order of creation.
    pub meters: Table<u64, Meter>,
    /// The directives that were obeyed, in order.
    pub applied: Table<u64, Applied>,
    /// The devices.
    pub devices: Table<DeviceId, Device>,
    /// Whom the timer wakes: each is held.
    pub wakeups: Wakeups,
    /// What the mailbox says to the outside, until that acknowledges it.
    pub outbox: Outbox,
}

impl Default for Tables {
    fn default() -> Tables {
        Tables {
            globals: Table::new(1, "globals").with_essence(|it| Some(it.essence())),
            vats: Table::new(2, "vat").with_essence(|it| Some(it.essence())),
            tallies: Table::new(3, "tally").with_essence(|it| Some(it.essence())),
            clist: CList::new(4, "clist"),
            objects: Table::new(5, "object"),
            promises: Table::new(6, "promise"),
            queue: Queue::new(7, "queue"),
            gc: Table::new(8, "gc"),
            vatstore: Table::new(9, "vatstore"),
            outside: Table::new(10, "outside"),
            bundles: Table::new(11, "bundle_name"),
            meters: Table::new(12, "meter"),
            applied: Table::new(13, "directive").with_essence(|_| None),
            devices: Table::new(14, "device"),
            wakeups: Wakeups::new(15, "wakeup"),
            outbox: Outbox::new(16, "outbox"),
        }
    }
}

impl Tables {
    /// All of them, in the order in which their changes are hashed.
    pub fn each(&mut self) -> [&mut dyn Journaled; 16] {
        [
            &mut self.globals,
            &mut self.vats,
            &mut self.tallies,
            &mut self.clist,
            &mut self.objects,
            &mut self.promises,
            &mut self.queue,
            &mut self.gc,
            &mut self.vatstore,
            &mut self.outside,
            &mut self.bundles,
            &mut self.meters,
            &mut self.applied,
            &mut self.devices,
            &mut self.wakeups,
            &mut self.outbox,
        ]
    }

    /// Their names.
    pub fn names() -> [&'static str; 16] {
        Tables::default().each().map(|it| it.name())
    }

    /// The counters.
    pub fn globals(&self) -> Globals {
        self.globals.get(&()).copied().unwrap_or(Globals::INITIAL)
    }

    /// Changes the counters.
    pub fn update_globals<T>(&mut self, change: impl FnOnce(&mut Globals) -> T) -> T {
        let mut globals = self.globals();
        let result = change(&mut globals);
        self.globals.insert((), globals);
        result
    }

    /// Whether this vat is alive and takes no deliveries.
    pub fn is_paused(&self, vat: VatId) -> bool {
        self.vats.get(&vat).is_some_and(|it| matches!(it.status, Status::Paused { .. }))
    }

    /// Whether there is such a vat and it is not terminated.
    pub fn is_alive(&self, vat: VatId) -> bool {
        self.vats.get(&vat).is_some_and(|it| !matches!(it.status, Status::Terminated { .. }))
    }
}
