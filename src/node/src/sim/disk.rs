//! What of a machine outlives its process: the node's records, the engine's log, the state; and the points at which a process can end.

use std::{
    cell::{Cell, RefCell},
    panic::resume_unwind,
    rc::Rc,
};

use arc_malachitebft_core_consensus::Input;
use arc_malachitebft_core_types::ValueOrigin;
use vathost::{host::staged::BlockResult, model::blame::HostFault};

use crate::{
    block::Proposal,
    engine::context::ChainContext,
    keys::Digest,
    store::{DecidedBlock, ExecutedBlock, MemoryStore, Store, SubmissionAnswer},
};

/// The end of a process, in the midst of what it did.
#[derive(Debug)]
pub(super) struct Crash;

/// The point at which a process ends: it passes one before and after each persist, and before each reply.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Rc<FateInner>);

#[derive(Debug, Default)]
struct FateInner {
    /// The point at which the process is to end, and how often it passes there before.
    end: Cell<Option<(&'static str, u64)>>,
    /// The point at which it ended last.
    place: Cell<&'static str>,
}

/// Every point at which a process can end.
pub(super) const POINTS: [&str; 19] = [
    "before a value is written",
    "before a value is forced",
    "after a value is forced",
    "before a decided block is written",
    "before a decided block is forced",
    "after a decided block is forced",
    "before a block is executed",
    "after a block is committed",
    "before its result is recorded",
    "after its result is recorded",
    "before records are undone",
    "after records are undone",
    "before the engine's log is written",
    "after the engine's log is written",
    "before the engine's log is forced",
    "after the engine's log is forced",
    "before the reply to a round",
    "before the reply with a value",
    "before the reply to a decision",
];

impl Fate {
    /// Has the process end at this point, after it passed there so many times.
    pub(super) fn end_at(&self, place: &'static str, passes: u64) {
        self.0.end.set(Some((place, passes)));
    }

    pub(super) fn spare(&self) {
        self.0.end.set(None);
    }

    /// Returns the point at which the process ended.
    pub(super) fn place(&self) -> &'static str {
        self.0.place.get()
    }

    /// Passes a point, or ends the process there: nothing of it is left but what is on its disk.
    pub(super) fn point(&self, place: &'static str) {
        match self.0.end.get() {
            Some((end, 0)) if end == place => {
                self.0.end.set(None);
                self.0.place.set(place);
                // No panic: no hook is called, and nothing is printed.
                resume_unwind(Box::new(Crash));
            }
            Some((end, passes)) if end == place => self.0.end.set(Some((end, passes - 1))),
            _ => (),
        }
    }
}

/// The node's records on a disk: what was written, and what of it a loss of power leaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    written: MemoryStore,
    durable: MemoryStore,
}

impl Records {
    /// Loses what was not forced to the disk.
    pub(super) fn lose_power(&mut self) {
        self.written = self.durable.clone();
    }
}

/// The records of a node in a simulation.
#[derive(Debug)]
pub(super) struct DiskStore {
    records: Rc<RefCell<Records>>,
    fate: Fate,
    /// For a driver that is broken on purpose: values that are not decided yet are kept in this process alone.
    forgetful: Option<MemoryStore>,
}

impl DiskStore {
    /// Opens the records, which forces what is found there to the disk: a process that was killed can have written it and no more.
    pub(super) fn open(records: Rc<RefCell<Records>>, fate: Fate, is_forgetful: bool) -> DiskStore {
        {
            let mut records = records.borrow_mut();
            records.durable = records.written.clone();
        }
        DiskStore { records, fate, forgetful: is_forgetful.then(MemoryStore::default) }
    }

    /// Writes, and forces all that was written to the disk: power that is lost before leaves nothing of it.
    fn force(
        &mut self,
        [before, written, forced]: [&'static str; 3],
        write: impl Fn(&mut MemoryStore) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        self.fate.point(before);
        {
            let mut records = self.records.borrow_mut();
            write(&mut records.written)?;
        }
        self.fate.point(written);
        {
            let mut records = self.records.borrow_mut();
            records.durable = records.written.clone();
        }
        self.fate.point(forced);
        Ok(())
    }

    /// Writes, and leaves it to the system when it reaches the disk.
    fn write(
        &mut self,
        [before, after]: [&'static str; 2],
        write: impl Fn(&mut MemoryStore) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        self.fate.point(before);
        write(&mut self.records.borrow_mut().written)?;
        self.fate.point(after);
        Ok(())
    }

    fn read<T>(&self, read: impl Fn(&MemoryStore) -> T) -> T {
        read(&self.records.borrow().written)
    }
}

impl Store for DiskStore {
    fn put_undecided(&mut self, proposal: &Proposal) -> Result<(), HostFault> {
        match &mut self.forgetful {
            Some(memory) => memory.put_undecided(proposal),
            None => self
                .force(["before a value is written", "before a value is forced", "after a value is forced"], |it| {
                    it.put_undecided(proposal)
                }),
        }
    }

    fn undecided(&self, height: u64) -> Result<Vec<Proposal>, HostFault> {
        match &self.forgetful {
            Some(memory) => memory.undecided(height),
            None => self.read(|it| it.undecided(height)),
        }
    }

    fn put_decided(&mut self, decided: &DecidedBlock) -> Result<(), HostFault> {
        self.force(
            [
                "before a decided block is written",
                "before a decided block is forced",
                "after a decided block is forced",
            ],
            |it| it.put_decided(decided),
        )
    }

    fn decided(&self, height: u64) -> Result<Option<DecidedBlock>, HostFault> {
        self.read(|it| it.decided(height))
    }

    fn decided_heights(&self) -> Result<Option<(u64, u64)>, HostFault> {
        self.read(MemoryStore::decided_heights)
    }

    fn put_executed(&mut self, executed: &ExecutedBlock) -> Result<(), HostFault> {
        self.write(["before its result is recorded", "after its result is recorded"], |it| it.put_executed(executed))
    }

    fn executed(&self, height: u64) -> Result<Option<BlockResult>, HostFault> {
        self.read(|it| it.executed(height))
    }

    fn last_executed(&self) -> Result<Option<u64>, HostFault> {
        self.read(MemoryStore::last_executed)
    }

    fn forget_executed_above(&mut self, height: u64) -> Result<(), HostFault> {
        self.write(["before records are undone", "after records are undone"], |it| it.forget_executed_above(height))
    }

    fn answer(&self, id: &Digest) -> Result<Option<SubmissionAnswer>, HostFault> {
        self.read(|it| it.answer(id))
    }

    fn ids_since(&self, height: u64) -> Result<Vec<(u64, Digest)>, HostFault> {
        self.read(|it| it.ids_since(height))
    }
}

/// The engine's log of one height, as `wal` of the engine keeps it.
#[derive(Debug, Clone, Default)]
pub(super) struct EngineLog {
    height: u64,
    entries: Vec<Input<ChainContext>>,
    /// How many of them are forced to the disk.
    forced: usize,
}

impl EngineLog {
    /// Begins the log of a height. Returns what the log has of it.
    pub(super) fn begin(&mut self, height: u64) -> Vec<Input<ChainContext>> {
        if self.height != height {
            *self = EngineLog { height, ..EngineLog::default() };
        }
        self.entries.clone()
    }

    pub(super) fn append(&mut self, height: u64, entry: Input<ChainContext>) {
        if self.height == height {
            // The log does not hold where a value came from.
            let entry = match entry {
                Input::ProposedValue(value, _) => Input::ProposedValue(value, ValueOrigin::Consensus),
                other => other,
            };
            self.entries.push(entry);
        }
    }

    pub(super) fn force(&mut self) {
        self.forced = self.entries.len();
    }

    /// Loses so many of the entries that were not forced.
    pub(super) fn lose(&mut self, most: usize) {
        let left = self.entries.len().saturating_sub(most).max(self.forced);
        self.entries.truncate(left);
    }
}
