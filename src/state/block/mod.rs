//! The open block: all state of the kernel, owned by value.
//!
//! ```text
//!   Block ──▶ kernel::Ledger, of a crank or an input ──close──▶ Block ──commit──▶ Block (the next one)
//!                                     └──(kernel panic: dropped, and with it the block)
//! ```
//!
//! Invariants: rows change only within a crank, which owns its block; what is on disk is a committed block; on a
//! kernel panic there is no block left to commit.

pub mod beside;
pub mod branch;
pub(crate) mod bundles;
pub(crate) mod commit;
mod console;
mod find;
pub mod heap;
pub mod history;
pub(crate) mod pending;
mod policy;
mod probe;
pub(crate) mod proof;
pub mod stored;
pub mod undo;

pub use branch::Mark;
pub use console::{Console, Heard, Printed};
pub use find::{classes, find_bundle, sweep_digest};
pub use policy::{BlockPolicy, held_bytes};
pub use probe::{BlockProbe, Sealed};

use std::{
    collections::{BTreeMap, BTreeSet},
    hint,
    path::Path,
    sync::Arc,
};

use pending::Pending;

use crate::{
    directive::DirectiveSet,
    model::{
        blame::HostFault,
        id::{BundleId, CrankNum, DeliveryNum, VatId},
    },
    slog::{Detail, Event, Slog},
    state::{
        device::Device,
        retention::Retention,
        snapshot::Snapshots,
        table::Tables,
        transcript::{Entries, EntriesFrom, Entry},
    },
    store::{
        BesideRow, CrankMark, Database, Digest, Fold, Journaled, Meta, Reach, StateHash, canon::Sink, drop_copy,
        unproved_copy,
    },
};

/// Says, in what is hashed of a step, that a vat and an entry of its transcript follow.
const ENTRY: u64 = 1;
/// The same, that rows follow, each behind its length, and all of them behind theirs.
const ROWS: u64 = 2;
/// The same, that it ends.
const END: u64 = 0;

/// The open block of a state. Cheap to move.
#[derive(Debug)]
pub struct Block(Box<Inner>);

#[derive(Debug)]
struct Inner {
    tables: Tables,
    database: Database,
    meta: Meta,
    /// What is known of the last commit to whoever writes the next.
    books: commit::WriterBooks,
    entries: Entries,
    forgotten: Vec<VatId>,
    bundles: BTreeMap<BundleId, Vec<u8>>,
    /// The bundles that something stopped needing: they leave if nothing else needs them.
    retired: BTreeSet<BundleId>,
    /// Rows beside the state that are written with this block.
    beside: Vec<BesideRow>,
    slog: Slog,
    pending: Pending,
    directives: DirectiveSet,
    /// The mark of each crank since the last commit.
    crank_marks: Vec<CrankMark>,
    /// The result of the open block, to be kept beside the state.
    result: Option<Vec<u8>>,
    audit_every: u64,
    snapshots: Snapshots,
    snapshot_interval: Option<u64>,
    retention: Retention,
    /// Bytes of memory that rows may take between two cranks which can leave it.
    stored_max: Option<u64>,
    /// Whether references stay in memory all the same.
    holds_references: bool,
    console: Console,
    /// The devices of the embedder.
    devices: Vec<Arc<dyn Device>>,
    probe: Option<Arc<dyn BlockProbe>>,
}

/// A step of a block: what is sealed together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A crank, or what is left of it.
    Crank(CrankNum),
    /// What the directives of a crank changed before its item.
    Directive,
    /// What a fault on purpose changed in a crank before its item.
    Fault,
    /// An input from outside.
    Outside,
}

impl Step {
    fn label(self) -> &'static str {
        match self {
            Step::Crank(_) => "crank",
            Step::Directive => "directive",
            Step::Fault => "fault",
            Step::Outside => "outside",
        }
    }

    fn crank(self) -> Option<CrankNum> {
        match self {
            Step::Crank(number) => Some(number),
            Step::Directive | Step::Fault | Step::Outside => None,
        }
    }
}

impl Block {
    /// Makes a new state in memory.
    pub fn memory(slog: Slog) -> Result<Block, HostFault> {
        Block::load(Database::memory(&Tables::layout())?, slog)
    }

    /// Opens the state in this folder, new or not, to run it.
    pub fn open(dir: &Path, slog: Slog) -> Result<Block, HostFault> {
        Block::load(Database::open(dir, &Tables::layout())?, slog)
    }

    /// Opens the state in this folder, only to read it.
    pub fn open_read_only(dir: &Path) -> Result<Block, HostFault> {
        Block::load(Database::open_read_only(dir)?, Slog::default())
    }

    /// Opens the state in this database, only to read it.
    pub fn over(database: Database, slog: Slog) -> Result<Block, HostFault> {
        Block::load(database, slog)
    }

    /// Refused where anything that is read of the state is not what its last commit wrote.
    fn load(database: Database, slog: Slog) -> Result<Block, HostFault> {
        let read = match unproved_copy(&database) {
            None => proof::read(&database),
            Some(copy) => {
                let read = proof::read(&database).and_then(|it| proof::whole(&database, &it).map(|()| it));
                let read = read.map_err(|it| {
                    let why = format!("{} (`{}` is as it was)", it.why, copy.display());
                    it.because(why)
                })?;
                drop_copy(&copy).map(|()| read)
            }
        };
        let read = read.map_err(|it| it.within(database.opening()))?;
        let proof::Proved { tables, meta, heads, snapshots } = read;
        let books = commit::WriterBooks::of(heads, &tables, &meta.proof);
        Ok(Block(Box::new(Inner {
            tables,
            database,
            meta,
            books,
            entries: Entries::default(),
            forgotten: Vec::new(),
            bundles: BTreeMap::new(),
            retired: BTreeSet::new(),
            beside: Vec::new(),
            slog,
            pending: Pending::default(),
            directives: DirectiveSet::default(),
            crank_marks: Vec::new(),
            result: None,
            audit_every: u64::from(cfg!(debug_assertions)),
            snapshots: Snapshots::stored(&snapshots),
            snapshot_interval: None,
            retention: Retention::default(),
            stored_max: None,
            holds_references: false,
            console: Console::default(),
            devices: Vec::new(),
            probe: None,
        })))
    }

    /// Returns the tables of the state.
    pub fn tables(&self) -> &Tables {
        &self.0.tables
    }

    pub(crate) fn tables_mut(&mut self) -> &mut Tables {
        &mut self.0.tables
    }

    /// Returns the slog, the flight recorder.
    pub fn slog(&mut self) -> &mut Slog {
        &mut self.0.slog
    }

    /// Facts about the state; its hash and digest are those of the last committed block.
    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// Names the runtime and the scenario of a new state.
    pub fn describe(&mut self, runtime: &str, scenario: &str) {
        self.0.meta.runtime = runtime.to_owned();
        self.0.meta.scenario = scenario.to_owned();
    }

    /// Returns the state hash at the last commit.
    pub fn committed_hash(&self) -> StateHash {
        self.0.meta.state_hash
    }

    /// Computes the state hash so far, the open block included, and of the open crank nothing. It costs the hashing of
    /// each row that changed since the last commit: nothing that runs with every crank may ask for it.
    pub fn state_hash(&self) -> Result<StateHash, HostFault> {
        if !self.has_begun() {
            return Ok(self.committed_hash());
        }
        let mut rows = self.0.tables.digest(&self.0.meta.proof.tables);
        let mut hashed = self.0.tables.all().into_iter().filter(|it| !it.is_derived());
        hashed.try_for_each(|it| it.digest_now(&mut rows))?;
        Ok(self.0.meta.chain.hash(&rows))
    }

    /// Returns whether anything was done since the last block was closed.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.meta.chain.has_begun()
    }

    /// Returns the mark of the last crank, and of all before it.
    pub fn crank_mark(&self) -> CrankMark {
        self.0.meta.mark
    }

    /// Returns whether this crank is followed by the full audit.
    pub(crate) fn is_audited_at(&self, crank: CrankNum) -> bool {
        self.0.audit_every > 0 && crank.0.is_multiple_of(self.0.audit_every)
    }

    /// Audits after every crank whose number this divides; 0 never. In a debug build, every crank is where nothing is
    /// said.
    pub fn set_audit(&mut self, every: u64) {
        self.0.audit_every = every;
    }

    /// Marks a new state as made for experiments.
    pub fn set_experimental(&mut self) {
        self.0.meta.experimental = true;
    }

    /// Returns the directives in force.
    pub fn directives(&self) -> &DirectiveSet {
        &self.0.directives
    }

    /// Ends the block as a commit does, and writes nothing: for a caller that only looks ahead, and continues in the
    /// next one.
    pub fn close(&mut self) -> Result<(), HostFault> {
        stored::fetch_all(self)?;
        branch::settle(self, |table, digest| table.close(digest))?;
        let hash = self.state_hash()?;
        self.0.meta.end(hash, true);
        Ok(())
    }

    /// Puts directives in force.
    pub fn set_directives(&mut self, directives: DirectiveSet) {
        self.0.directives = directives;
    }

    /// Sets the devices that the embedder has.
    pub fn set_devices(&mut self, devices: Vec<Arc<dyn Device>>) {
        self.0.devices = devices;
    }

    /// Returns the embedder's device of this name.
    pub(crate) fn device(&self, name: &str) -> Option<Arc<dyn Device>> {
        self.0.devices.iter().find(|it| it.name() == name).cloned()
    }

    /// Returns the number of cranks in the open block so far.
    pub fn cranks(&self) -> u64 {
        self.0.meta.cranks
    }

    /// Returns the fuel that the open block's deliveries used.
    pub fn fuel(&self) -> u64 {
        self.0.meta.fuel
    }

    /// Holds a bundle, to be stored with this block.
    pub fn put_bundle(&mut self, wasm: &[u8]) -> BundleId {
        let id = BundleId::of(wasm);
        self.0.bundles.entry(id).or_insert_with(|| wasm.to_vec());
        id
    }

    /// Returns the wasm of a bundle.
    pub fn bundle(&self, id: BundleId) -> Result<Vec<u8>, HostFault> {
        match self.0.bundles.get(&id) {
            Some(wasm) => Ok(wasm.clone()),
            None => self.0.database.bundle(id),
        }
    }

    /// Returns the transcript of a vat from this delivery on, the open block included, chunk by chunk: without a gap
    /// up to the last one.
    pub fn transcript(
        &self,
        vat: VatId,
        from: DeliveryNum,
    ) -> Result<impl Iterator<Item = Result<Entry, HostFault>>, HostFault> {
        let is_forgotten = self.0.forgotten.contains(&vat);
        let (mut left, mut chunks) = (None, Vec::new());
        if !is_forgotten {
            let (archived, next) = Reach::chunks_from(&self.0.database, vat, from)?;
            left = Some(archived);
            chunks = commit::with_heads(&self.0, |heads| self.0.database.transcript(heads, vat, next))?;
            chunks.extend(self.0.entries.of(vat));
        }
        let chunks = left.into_iter().flatten().chain(chunks.into_iter().map(Ok));
        Ok(EntriesFrom::new(vat, from, chunks))
    }

    /// Sets the fuel that the open block used.
    pub(crate) fn set_fuel(&mut self, fuel: u64) {
        self.0.meta.fuel = fuel;
    }

    /// Forgets the transcript of a dead vat.
    pub(crate) fn forget_transcript(&mut self, vat: VatId) {
        self.0.forgotten.push(vat);
    }

    /// Returns the transcript entries of the open block.
    pub(crate) fn entries(&mut self) -> &mut Entries {
        &mut self.0.entries
    }

    /// Undoes all row changes since the last seal, and takes back the transcript entries and what was sent.
    #[cold]
    pub(crate) fn rewind(&mut self) {
        self.0.pending.clear();
        self.0.tables.each().into_iter().for_each(Journaled::rewind);
        self.0.entries.rewind();
    }

    /// Ends a step (a crank, or an input from outside): what it changed, and what it appended to transcripts, becomes
    /// part of the block, of the crank's mark, and of what the state hash is made of. Of a crank that are its entries:
    /// its rows follow from them. Of anything else it is the rows too.
    pub(crate) fn seal(&mut self, step: Step) -> Result<(), HostFault> {
        self.0.database.file.check()?;
        let (label, crank) = (step.label(), step.crank());
        let Inner { tables, meta, slog, entries, probe, crank_marks, .. } = &mut *self.0;
        let mut compared = probe.as_ref().filter(|it| it.counts_rows()).map(|_| Digest::default());
        let mut fold = Fold::of_step(label);
        let mut rows = crank.is_none().then(Vec::new);
        tables.each_changed(&mut |table| table.seal(&mut fold, rows.as_mut(), compared.as_mut()))?;
        meta.chain.push(|chain| {
            chain.bytes(label.as_bytes());
            for it in entries.unsealed() {
                chain.number(ENTRY);
                chain.number(it.vat.0);
                chain.plain(it.entry);
                fold.number(it.vat.0);
                fold.plain(it.entry);
            }
            if let Some(rows) = rows {
                chain.number(ROWS);
                chain.bytes(&rows);
            }
            chain.number(END);
        });
        if let Some(probe) = probe {
            hint::cold_path();
            // What is sealed in the middle of a crank has no number yet: that of the crank is one less than the next.
            let crank = crank.unwrap_or(CrankNum(tables.globals().next_crank.0.saturating_sub(1)));
            probe.sealed(&Sealed { crank, rows: compared.unwrap_or_default(), entries })?;
        }
        entries.seal();
        let step = fold.mark();
        meta.since = meta.since.then(step);
        if let Some(crank_num) = crank {
            meta.cranks += 1;
            meta.mark = meta.mark.then(std::mem::take(&mut meta.since));
            crank_marks.push(meta.mark);
            let event = || Event::CrankFinish { crank_num, crankhash: step, activityhash: meta.mark };
            slog.record(Detail::Cranks, event);
        }
        stored::trim(self, false);
        Ok(())
    }

    /// Makes the block durable, in one transaction. `open`: more cranks are to follow in it, in this process or
    /// another.
    pub fn commit(self, open: bool) -> Result<Block, HostFault> {
        self.commit_after(open, |_, _| ())
    }

    /// Does what [`Block::commit`] does; `ended` receives the state hash before it is durable.
    pub fn commit_after(mut self, open: bool, ended: impl FnOnce(&mut Slog, StateHash)) -> Result<Block, HostFault> {
        commit::now(&mut self, open, ended)?;
        Ok(self)
    }
}
