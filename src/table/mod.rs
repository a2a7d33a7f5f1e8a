//! The rows of the kernel. [`Tables`] lists every table there is; nothing else of the kernel's state persists.

mod clist;
mod object;
mod promise;
mod queue;
mod vat;

pub use clist::{CList, CListEntry};
pub use object::{GcAction, GcKind, KernelObject, Object, Owner};
pub use promise::{Policy, Promise, PromiseState};
pub use queue::{Item, Queue, QueueId};
pub use vat::{Meter, OnFault, Options, Outside, Status, Tally, Vat};

use serde::{Deserialize, Serialize};

use crate::{
    directive::Applied,
    id::{BlockHeight, BundleId, CrankNum, ObjectId, PromiseId, VatId},
    limits,
    store::{Journaled, Table},
    value::Bytes,
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
    pub vatstore: Table<(VatId, Bytes), Bytes>,
    /// The messages from outside whose results are awaited, in order.
    pub outside: Table<u64, Outside>,
    /// Bundles that can be named, by name.
    pub bundles: Table<Bytes, BundleId>,
    /// Meters, in order of creation.
    pub meters: Table<u64, Meter>,
    /// The directives that were obeyed, in order.
    pub applied: Table<u64, Applied>,
}

impl Default for Tables {
    fn default() -> Tables {
        Tables {
            globals: Table::new("globals").with_essence(|it| Some(it.essence())),
            vats: Table::new("vat").with_essence(|it| Some(it.essence())),
            tallies: Table::new("tally").with_essence(|it| Some(it.essence())),
            clist: CList::new("clist"),
            objects: Table::new("object"),
            promises: Table::new("promise"),
            queue: Queue::new("queue"),
            gc: Table::new("gc"),
            vatstore: Table::new("vatstore"),
            outside: Table::new("outside"),
            bundles: Table::new("bundle_name"),
            meters: Table::new("meter"),
            applied: Table::new("directive").with_essence(|_| None),
        }
    }
}

impl Tables {
    /// All of them, in the order in which their changes are hashed.
    pub fn each(&mut self) -> [&mut dyn Journaled; 13] {
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
        ]
    }

    /// Their names.
    pub fn names() -> [&'static str; 13] {
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
