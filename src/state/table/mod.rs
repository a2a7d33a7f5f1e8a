//! The rows of the kernel. [`Tables`] lists every table there is; nothing else of the kernel's state persists.

mod answer;
mod clist;
mod device;
mod engine;
mod object;
mod promise;
mod queue;
mod session;
mod vat;
mod vatstore;

pub use crate::model::item::Item;
pub use answer::Answers;
pub use clist::{CList, CListEntry};
pub use device::{DeviceMessages, DeviceRow, DeviceRows, Mailbox, Outbox, Outgoing, OwnDevice, Wakeup, Wakeups};
pub use engine::EngineChange;
pub use object::{GcAction, GcKind, KernelObject, Object, Owner};
pub use promise::{Awaited, Policy, Promise, PromiseState, Settlements, Subscribers, Waiters};
pub use queue::{GarbageTurn, Load, Queue, QueueId, Sender, Turn, Waiting};
pub use session::{Session, SessionEvent, SessionOutbox, Sessions};
pub use vat::{Meter, OnFault, Options, Outside, Status, Tallies, Tally, Vat, Vats};
pub use vatstore::Vatstore;

use serde::{Deserialize, Serialize};

use crate::{
    directive::Applied,
    model::{
        blame::HostFault,
        id::{BlockHeight, BundleId, CrankNum, DeviceId, KRef, ObjectId, PromiseId, VatId},
        limits,
        value::{Bytes, CapData},
    },
    store::{self, Digest, Journaled, Single, Table, TableKind, TableLayout},
};

/// The counters, and where the chain of blocks stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Globals {
    /// The open block, or the last one where none is open.
    pub height: BlockHeight,
    /// The time of the block in seconds since the epoch, as the host was given it.
    pub time: u64,
    /// The number of the next crank.
    pub next_crank: CrankNum,
    /// Cranks that were deliveries, so far.
    pub deliveries: u64,
    /// Ids to give out next.
    pub next_vat: VatId,
    /// The next kernel object, as for `next_vat`.
    pub next_object: ObjectId,
    /// The next kernel promise, as for `next_vat`.
    pub next_promise: PromiseId,
    /// The version of the kernel's behaviour that ran last.
    pub kernel_version: u32,
    /// The present turn in the run-queue.
    pub turn: Turn,
}

impl Globals {
    /// The counters of a state in which nothing happened yet.
    pub const INITIAL: Globals = Globals {
        height: BlockHeight(0),
        time: 0,
        next_crank: CrankNum(0),
        deliveries: 0,
        next_vat: VatId(1),
        next_object: ObjectId(limits::FIRST_OBJECT),
        next_promise: PromiseId(limits::FIRST_PROMISE),
        kernel_version: crate::model::kernel_version::DEFAULT,
        turn: Turn { family: VatId(0), left: 0, answers: None, garbage: GarbageTurn { until: 0, served: None } },
    };

    /// Returns the part on which the future depends: not how much there was before; the time, which only a device can
    /// tell, is left to the caller to compare.
    pub(crate) fn essence(&self) -> Globals {
        Globals { height: BlockHeight(0), time: 0, next_crank: CrankNum(0), deliveries: 0, ..*self }
    }
}

/// The kernel's tables, all of them.
#[derive(Debug)]
pub struct Tables {
    /// One row of counters.
    pub globals: Table<(), Globals, (), Single>,
    /// The vats, dead ones included.
    pub vats: Vats,
    /// The sums of each vat that change at each delivery.
    pub tallies: Tallies,
    /// The c-lists of all vats.
    pub clist: CList,
    /// The kernel objects.
    pub objects: Table<ObjectId, Object>,
    /// The kernel promises.
    pub promises: Table<PromiseId, Promise>,
    /// The run-queue, the reap queue, the queues of promises, the vats to clean up.
    pub queue: Queue,
    /// Pending GC actions, in the order in which they are taken.
    pub gc: Table<GcAction, ()>,
    /// Keys and values of the vats.
    pub vatstore: Vatstore,
    /// The messages from outside whose results are awaited, by the promises for them.
    pub outside: Table<PromiseId, Outside>,
    /// Bundles that can be named, by name.
    pub bundles: Table<Bytes, BundleId>,
    /// Meters, in order of creation.
    pub meters: Table<u64, Meter>,
    /// The directives that were obeyed, in order.
    pub applied: Table<u64, Applied>,
    /// The devices' rows.
    pub devices: Table<DeviceId, DeviceRow>,
    /// The wakeups that the timer owes: each holds its target.
    pub wakeups: Wakeups,
    /// The messages of the mailbox to the outside, until that acknowledges them.
    pub outbox: Outbox,
    /// The values with which promises were settled, under the first promise that was: written once, gone with the last
    /// that shares it. The slots of each are held once.
    pub settlements: Settlements,
    /// The vats to notify when a promise is settled.
    pub subscribers: Subscribers,
    /// The promises that the kernel's own objects will settle.
    pub waiting: Waiters,
    /// What the embedder's devices remember.
    pub device_rows: DeviceRows,
    /// What they sent into the world with the last block, or with this one.
    pub device_messages: DeviceMessages,
    /// The sessions: vats without code.
    pub sessions: Sessions,
    /// What happened to each session, until the outside acknowledges it.
    pub session_outbox: SessionOutbox,
    /// The engine versions that the state ran on: none in one that was made before there was a second.
    pub engine: Table<u64, EngineChange>,
    /// The options of the state, by name: those that were given. They decide hashes, so each replica has the same.
    pub options: Table<Bytes, u64>,
    /// The blocks in which messages from outside were answered, in a state whose answers expire.
    pub answers: Answers,
    /// For each settlement the number of promises that share it, other than the one that it was made for: of most there is none, and no
    /// row. It follows from the promises.
    pub sharers: Table<PromiseId, u64>,
}

/// Lists the tables, in the order in which their changes are hashed.
macro_rules! in_order {
    ($($table:ident)*) => {
        /// Number of the kernel's tables.
        const TABLES: usize = [$(stringify!($table)),*].len();

        impl Tables {
            /// Returns all tables, in the order in which their changes are hashed.
            pub fn each(&mut self) -> [&mut dyn Journaled; TABLES] {
                [$(&mut self.$table),*]
            }

            /// Returns all tables, to read.
            pub(crate) fn all(&self) -> [&dyn Journaled; TABLES] {
                [$(&self.$table),*]
            }

            /// Visits the tables that the open step changed, in the same order.
            pub(crate) fn each_changed(
                &mut self,
                visit: &mut dyn FnMut(&mut dyn Journaled) -> Result<(), HostFault>,
            ) -> Result<(), HostFault> {
                $(if self.$table.has_changed() {
                    visit(&mut self.$table)?;
                })*
                Ok(())
            }
        }
    };
}

in_order! {
    globals vats tallies clist objects promises queue gc vatstore outside bundles meters applied devices wakeups
    outbox settlements subscribers waiting device_rows device_messages sessions session_outbox engine options
    answers sharers
}

impl Default for Tables {
    fn default() -> Tables {
        Tables {
            globals: Table::new(1, "globals").with_essence(|it| Some(it.essence())),
            vats: Vats::new(2, "vat").with_essence(|it| Some(it.essence())),
            tallies: Tallies::new(3, "tally").with_essence(|it| Some(it.essence())),
            clist: CList::new(4, "clist").of_kind(TableKind::ValueIndex),
            objects: Table::new(5, "object"),
            promises: Table::new(6, "promise"),
            queue: Queue::new(7, "queue"),
            gc: Table::new(8, "gc"),
            vatstore: Vatstore::new(9, "vatstore").of_kind(TableKind::LongValues),
            outside: Table::new(10, "outside"),
            bundles: Table::new(11, "bundle_name"),
            meters: Table::new(12, "meter"),
            applied: Table::new(13, "directive").with_essence(|_| None),
            devices: Table::new(14, "device"),
            wakeups: Wakeups::new(15, "wakeup"),
            outbox: Outbox::new(16, "outbox"),
            settlements: Settlements::new(17, "settlement"),
            subscribers: Subscribers::new(18, "subscriber"),
            waiting: Waiters::new(19, "waiting"),
            device_rows: DeviceRows::new(20, "device_row").of_kind(TableKind::LongValues),
            device_messages: DeviceMessages::new(21, "device_message"),
            sessions: Sessions::new(22, "session"),
            session_outbox: SessionOutbox::new(23, "session_outbox").of_kind(TableKind::LongValues),
            engine: Table::new(24, "engine").with_essence(|it| Some(it.essence())),
            options: Table::new(25, "state_option"),
            answers: Answers::new(26, "answer"),
            sharers: store::sharers(),
        }
    }
}

impl Tables {
    /// The number of tables.
    pub(crate) const COUNT: usize = TABLES;

    /// Returns whether every row is in memory, but for those of vatstores.
    pub fn are_whole(&self) -> bool {
        let promises = self.promises.is_whole() && self.settlements.is_whole() && self.subscribers.is_whole();
        self.clist.is_whole() && self.objects.is_whole() && promises && self.sharers.is_whole()
    }

    /// Returns the digest of the rows that are in the state hash, given that of each table.
    pub(crate) fn digest(&self, digests: &[Digest]) -> Digest {
        let hashed = self.all().into_iter().zip(digests).filter(|(table, _)| !table.is_derived());
        Digest::sum(hashed.map(|(_, digest)| digest))
    }

    /// Returns how the tables are laid out in the file of a state.
    pub fn layout() -> [TableLayout; TABLES] {
        Tables::default().each().map(|table| table.layout())
    }

    /// Returns the names of the tables.
    pub fn names() -> [&'static str; TABLES] {
        Tables::default().each().map(|it| it.name())
    }

    /// Returns the kernel's counters.
    #[inline]
    pub fn globals(&self) -> Globals {
        self.globals.get(&()).copied().unwrap_or(Globals::INITIAL)
    }

    /// Changes the kernel's counters.
    pub fn update_globals<T>(&mut self, change: impl FnOnce(&mut Globals) -> T) -> T {
        if self.globals.is_empty() {
            self.globals.insert((), Globals::INITIAL);
        }
        self.globals.update(&(), change).expect("it is there, or was put there above")
    }

    /// Returns the value with which a promise was settled, if it was.
    pub fn settled(&self, promise: PromiseId) -> Option<&CapData<KRef>> {
        self.settlements.get(&self.promises.get(&promise)?.settlement()?)
    }

    /// Returns the name that people use for a promise's state, and the value with which it was settled; a promise that
    /// is gone counts as pending.
    pub fn settling(&self, promise: PromiseId) -> (&'static str, Option<&CapData<KRef>>) {
        match self.promises.get(&promise).map(|it| &it.state) {
            Some(PromiseState::Fulfilled { with, .. }) => ("fulfilled", self.settlements.get(with)),
            Some(PromiseState::Rejected { with }) => ("rejected", self.settlements.get(with)),
            Some(PromiseState::Unresolved { .. }) | None => ("pending", None),
        }
    }

    /// Returns whether this vat is alive and takes no deliveries.
    pub fn is_paused(&self, vat: VatId) -> bool {
        self.vats.get(&vat).is_some_and(|it| matches!(it.status, Status::Paused { .. }))
    }

    /// Returns the family of a vat, dead or alive; the kernel's, if there is no such vat.
    pub fn family(&self, vat: VatId) -> VatId {
        self.vats.get(&vat).map_or(Sender::KERNEL.family, |it| it.family)
    }

    /// Returns whether the vat exists and is not terminated.
    pub fn is_alive(&self, vat: VatId) -> bool {
        self.vats.get(&vat).is_some_and(|it| !matches!(it.status, Status::Terminated { .. }))
    }
}
