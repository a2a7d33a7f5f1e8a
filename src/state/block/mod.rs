//! The open block: all state of the kernel, owned by value.
//!
//! ```text
//!   Block ──▶ kernel::Ledger, of a crank or an input ──close──▶ Block ──commit──▶ Block (the next one)
//!                                     └──(kernel panic: dropped, and with it the block)
//! ```
//!
//! Invariants: rows change only within a crank, which owns its block; what is on disk is a committed block; on a
//! kernel panic there is no block left to commit.

mod beside;
mod heard;
mod policy;
mod probe;
pub(crate) mod proof;
pub mod undo;

pub use heard::Heard;
pub use policy::BlockPolicy;
pub use probe::{BlockProbe, Sealed};

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    directive::{Class, Committed, Directive, DirectiveSet, HexPrefix},
    model::{
        blame::HostFault,
        id::{BlockHeight, BundleId, CrankNum, DeliveryNum, VatId},
    },
    slog::{Detail, Event, Slog},
    state::{
        device::Device,
        snapshot::{Manifest, Snapshots},
        table::Tables,
        transcript::{self, Entries, Entry},
    },
    store::{
        BesideRow, BlockMark, Change, CrankMark, Database, Digest, Fold, Heads, Journaled, Meta, PageHash, StateHash,
        canon::Sink,
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
    /// The end of each vat's transcript, at the last commit.
    heads: Heads,
    entries: Entries,
    forgotten: Vec<VatId>,
    bundles: BTreeMap<BundleId, Vec<u8>>,
    /// Rows beside the state that are written with this block.
    beside: Vec<BesideRow>,
    slog: Slog,
    doomed: Vec<VatId>,
    directives: DirectiveSet,
    /// The mark of each crank since the last commit.
    crank_marks: Vec<CrankMark>,
    /// The result of the open block, to be kept beside the state.
    result: Option<Vec<u8>>,
    audit_every: u64,
    snapshots: Snapshots,
    snapshot_interval: Option<u64>,
    printed: Vec<Printed>,
    heard: Heard,
    /// The devices of the embedder.
    devices: Vec<Arc<dyn Device>>,
    probe: Option<Arc<dyn BlockProbe>>,
}

/// A place that an experiment comes back to: all that is not in the rows.
#[derive(Clone, Debug)]
pub struct Mark {
    meta: Meta,
    doomed: Vec<VatId>,
    snapshots: Snapshots,
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

/// A line for the host's operator, from the console device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Printed {
    /// The vat that wrote it.
    pub vat: VatId,
    /// `debug`, `log`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The text of the line.
    pub text: String,
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
        let read = proof::read(&database).map_err(|it| it.within(database.opening()))?;
        let proof::Proved { tables, meta, heads, snapshots } = read;
        Ok(Block(Box::new(Inner {
            tables,
            database,
            meta,
            heads,
            entries: Entries::default(),
            forgotten: Vec::new(),
            bundles: BTreeMap::new(),
            beside: Vec::new(),
            slog,
            doomed: Vec::new(),
            directives: DirectiveSet::default(),
            crank_marks: Vec::new(),
            result: None,
            audit_every: u64::from(cfg!(debug_assertions)),
            snapshots: Snapshots::stored(&snapshots),
            snapshot_interval: None,
            printed: Vec::new(),
            heard: Heard::default(),
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

    /// Names the engine and the scenario of a new state.
    pub fn describe(&mut self, engine: &str, scenario: &str) {
        self.0.meta.engine = engine.to_owned();
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
        let mut rows = Digest::sum(&self.0.meta.proof.tables);
        self.0.tables.all().iter().try_for_each(|it| it.digest_now(&mut rows))?;
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

    /// Sweeps all rows and returns their digest, which must equal that of the last commit when no block is open.
    pub fn sweep_digest(&mut self) -> Result<Digest, HostFault> {
        let mut digest = Digest::default();
        for table in self.0.tables.each() {
            table.sweep(&mut digest)?;
        }
        Ok(digest)
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

    /// Returns whether the state was made for experiments: only then may faults be planted in its kernel.
    pub fn is_experimental(&self) -> bool {
        self.0.meta.experimental
    }

    /// Marks a new state as made for experiments.
    pub fn set_experimental(&mut self) {
        self.0.meta.experimental = true;
    }

    /// Returns the directives in force.
    pub fn directives(&self) -> &DirectiveSet {
        &self.0.directives
    }

    /// Classifies each directive of a set against the state.
    pub fn classes(&self, set: &DirectiveSet) -> Vec<(Directive, Class)> {
        let (tables, globals) = (self.tables(), self.tables().globals());
        let applied: Vec<_> = tables.applied.iter().map(|(_, it)| it.clone()).collect();
        let committed = Committed {
            next_crank: globals.next_crank,
            // The place before the first crank of a block that has begun, and run none, is still to come.
            height: BlockHeight(globals.height.0.saturating_sub(u64::from(self.meta().open && self.cranks() == 0))),
            kernel_version: globals.kernel_version,
            next_delivery: &|vat| DeliveryNum(tables.tallies.get(&vat).map_or(0, |it| it.deliveries)),
            applied: &applied,
        };
        set.iter().map(|it| (it.clone(), it.class(&committed))).collect()
    }

    // ---- experiments

    /// Returns the digest of the rows that experiments compare; see [`Sealed::rows`].
    pub fn compared_rows(&self) -> Result<Digest, HostFault> {
        let mut digest = Digest::default();
        self.0.tables.all().iter().try_for_each(|table| table.count_compared(&mut digest))?;
        Ok(digest)
    }

    /// Marks the point to which the block is undone from now on.
    pub fn mark(&mut self) -> Result<Mark, HostFault> {
        self.settle(|table, digest| table.mark(digest))?;
        let inner = &mut *self.0;
        inner.entries.clear();
        inner.forgotten.clear();
        Ok(Mark { meta: inner.meta.clone(), doomed: inner.doomed.clone(), snapshots: inner.snapshots.clone() })
    }

    /// Moves the digest of each table along.
    fn settle(
        &mut self,
        by: impl Fn(&mut dyn Journaled, &mut Digest) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        let Inner { meta, tables, .. } = &mut *self.0;
        let digests = &mut meta.proof.tables;
        digests.resize(Tables::COUNT, Digest::default());
        tables.each().into_iter().zip(digests).try_for_each(|(table, digest)| by(table, digest))
    }

    /// Returns the rows that changed since the mark, table by table.
    pub fn changes(&mut self) -> Result<Vec<Vec<Change>>, HostFault> {
        self.0.tables.each().into_iter().map(|it| it.changes()).collect()
    }

    /// Undoes all since the mark, which must be the last one.
    pub fn revert(&mut self, mark: &Mark) {
        let inner = &mut *self.0;
        inner.tables.each().into_iter().for_each(Journaled::revert);
        self.stand_at(mark);
    }

    /// Goes from one mark to another, whose changes these are: `forward`, or back.
    pub fn travel(&mut self, changes: &[Vec<Change>], forward: bool) -> Result<(), HostFault> {
        for (table, changes) in self.0.tables.each().into_iter().zip(changes) {
            for it in changes {
                table.place(&it.key, if forward { it.new.as_deref() } else { it.old.as_deref() })?;
            }
        }
        Ok(())
    }

    /// Becomes all that the rows are not, as it was at a mark.
    pub fn stand_at(&mut self, mark: &Mark) {
        let inner = &mut *self.0;
        inner.meta.clone_from(&mark.meta);
        inner.doomed.clone_from(&mark.doomed);
        inner.snapshots = mark.snapshots.clone();
        inner.entries.clear();
        inner.forgotten.clear();
    }

    /// Ends the block as a commit does, and writes nothing: for a caller that only looks ahead, and continues in the
    /// next one.
    pub fn close(&mut self) -> Result<(), HostFault> {
        self.settle(|table, digest| table.close(digest))?;
        let hash = self.state_hash()?;
        self.0.meta.end(hash, true);
        Ok(())
    }

    /// Marks the block as open, like one that was interrupted: in an experiment.
    pub fn open_up(&mut self) {
        self.0.meta.open = true;
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

    /// Returns whether the open block has reached a limit of the policy.
    pub fn is_full(&self, policy: &BlockPolicy) -> bool {
        self.cranks() >= policy.cranks || policy.fuel.is_some_and(|max| self.fuel() >= max)
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

    /// Returns the bundle whose hash begins with this prefix, if the state holds one. What it holds may differ from
    /// replica to replica: the one that a vat comes to run is in the vat's row, and so in the hash.
    pub fn find_bundle(&self, prefix: &HexPrefix) -> Result<Option<BundleId>, HostFault> {
        let named = self.0.tables.bundles.iter().map(|(_, id)| *id);
        let mut found: Vec<_> = self.0.database.bundles()?.into_iter().chain(named).collect();
        found.extend(self.0.bundles.keys());
        found.retain(|it| prefix.matches(&it.0));
        found.sort();
        found.dedup();
        match found[..] {
            [] => Ok(None),
            [only] => Ok(Some(only)),
            [..] => Err(HostFault::new(format_args!("find bundle {prefix}"), "two bundles begin so: name more of it")),
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
        let mut chunks = Vec::new();
        if !is_forgotten {
            chunks = self.0.database.transcript(vat, from)?;
            self.0.database.ends_at(vat, &chunks, self.0.heads.get(vat))?;
            chunks.extend(self.0.entries.of(vat));
        }
        let placed =
            move |first, fault: HostFault| fault.within(format_args!("read the transcript of {vat} from {first}"));
        let entries = chunks
            .into_iter()
            .flat_map(move |it| transcript::entries(&it).map(move |entry| entry.map_err(|err| placed(it.first, err))));
        Ok(entries.skip_while(move |it| it.as_ref().is_ok_and(|it| it.number < from)))
    }

    /// Returns the interval between snapshots that this host keeps to, whatever the vats' options say; 0 is never.
    pub fn snapshot_interval(&self) -> Option<u64> {
        self.0.snapshot_interval
    }

    /// Overrides the vats' options. Replicas may differ in it.
    pub fn set_snapshot_interval(&mut self, interval: Option<u64>) {
        self.0.snapshot_interval = interval;
    }

    /// Returns the position of a vat's newest snapshot: the number of the first delivery that is not in it.
    pub fn snapshot_position(&self, vat: VatId) -> Option<DeliveryNum> {
        self.0.snapshots.position(vat)
    }

    /// Returns the newest snapshot of a vat, the open block included.
    pub fn snapshot(&self, vat: VatId) -> Result<Option<Manifest>, HostFault> {
        self.0.snapshots.manifest(&self.0.database, vat)
    }

    /// Reads a page of it.
    pub fn snapshot_page(&self, vat: VatId, hash: PageHash, into: &mut [u8]) -> Result<(), HostFault> {
        self.0.snapshots.page(&self.0.database, vat, hash, into)
    }

    /// Takes the place of the vat's newest snapshot, on which the `fresh` pages are based; to be stored with this
    /// block.
    pub(crate) fn put_snapshot(
        &mut self,
        manifest: Manifest,
        fresh: BTreeMap<PageHash, Arc<[u8]>>,
    ) -> Result<(), HostFault> {
        let (vat, snap_pos, bytes) = (manifest.vat, manifest.position, manifest.heap.bytes());
        let (hash, new_bytes) = self.0.snapshots.put(manifest, fresh)?;
        let event = || Event::HeapSnapshotSave { vat, snap_pos, hash: hash.to_string(), bytes, new_bytes };
        self.0.slog.record(Detail::Cranks, event);
        Ok(())
    }

    /// Forgets the snapshot of a vat that is dead, or another than it was.
    pub(crate) fn forget_snapshot(&mut self, vat: VatId) {
        self.0.snapshots.forget(vat);
    }

    /// Takes the console lines that vats wrote since the last call, to be shown when the block is committed.
    pub fn take_printed(&mut self) -> Vec<Printed> {
        std::mem::take(&mut self.0.printed)
    }

    pub(crate) fn keep_printed(&mut self, lines: Vec<Printed>) {
        self.0.printed.extend(lines);
    }

    /// Notes that the worker of this vat is to be stopped before the next delivery; to stop one for nothing costs only
    /// time.
    pub(crate) fn doom(&mut self, vat: VatId) {
        self.0.doomed.push(vat);
    }

    pub(crate) fn take_doomed(&mut self) -> Vec<VatId> {
        std::mem::take(&mut self.0.doomed)
    }

    pub(crate) fn add_fuel(&mut self, fuel: u64) {
        self.0.meta.fuel = self.0.meta.fuel.saturating_add(fuel);
    }

    /// Sets the block's fuel back, because an undone crank has used none.
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

    /// Undoes all row changes since the last seal, and takes back the transcript entries.
    pub(crate) fn rewind(&mut self) {
        self.0.tables.each().into_iter().for_each(Journaled::rewind);
        self.0.entries.rewind();
    }

    /// Ends a step (a crank, or an input from outside): what it changed, and what it appended to transcripts, becomes
    /// part of the block, of the crank's mark, and of what the state hash is made of. Of a crank that are its entries:
    /// its rows follow from them. Of anything else it is the rows too.
    pub(crate) fn seal(&mut self, step: Step) -> Result<(), HostFault> {
        let (label, crank) = (step.label(), step.crank());
        let Inner { tables, meta, slog, entries, probe, crank_marks, .. } = &mut *self.0;
        let mut compared = probe.as_ref().filter(|it| it.counts_rows()).map(|_| Digest::default());
        let mut fold = Fold::of_step(label);
        let mut rows = crank.is_none().then(Vec::new);
        for table in tables.each() {
            table.seal(&mut fold, rows.as_mut(), compared.as_mut())?;
        }
        meta.chain.push(|chain| {
            chain.bytes(label.as_bytes());
            for it in entries.unsealed() {
                chain.number(ENTRY);
                chain.number(it.vat.0);
                chain.plain(it.canon);
                fold.number(it.vat.0);
                fold.plain(it.canon);
            }
            if let Some(rows) = rows {
                chain.number(ROWS);
                chain.bytes(&rows);
            }
            chain.number(END);
        });
        if let Some(probe) = probe {
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
        Ok(())
    }

    /// Makes the block durable, in one transaction. `open`: more cranks are to follow in it, in this process or
    /// another.
    pub fn commit(self, open: bool) -> Result<Block, HostFault> {
        self.commit_after(open, |_, _| ())
    }

    /// Does what [`Block::commit`] does; `ended` receives the state hash before it is durable.
    pub fn commit_after(mut self, open: bool, ended: impl FnOnce(&mut Slog, StateHash)) -> Result<Block, HostFault> {
        let inner = &mut *self.0;
        let mut transaction = inner.database.transaction()?;
        let (heads, proof) = (&mut inner.heads, &mut inner.meta.proof);
        let tables = inner.tables.each();
        proof.tables.resize(tables.len(), Digest::default());
        for (table, digest) in tables.into_iter().zip(&mut proof.tables) {
            table.flush(&mut transaction, digest)?;
        }
        inner.meta.digest = Digest::sum(&proof.tables);
        inner.meta.end(inner.meta.chain.hash(&inner.meta.digest), !open);
        ended(&mut inner.slog, inner.meta.state_hash);
        let proof = &mut inner.meta.proof;
        let forgotten = std::mem::take(&mut inner.forgotten);
        forgotten.iter().try_for_each(|vat| transaction.delete_transcript(*vat, heads, &mut proof.transcripts))?;
        transaction.put_transcripts(heads, &mut proof.transcripts, |put| {
            inner.entries.flush(&mut |vat, first, next, chunk| match forgotten.contains(&vat) {
                true => Ok(()),
                false => put(vat, first, next, chunk),
            })
        })?;
        for (id, wasm) in std::mem::take(&mut inner.bundles) {
            transaction.put_bundle(id, &wasm)?;
        }
        transaction.put_beside(&std::mem::take(&mut inner.beside))?;
        inner.snapshots.flush(&transaction, &mut proof.snapshots)?;
        if let Some(probe) = &inner.probe {
            probe.at_commit(inner.tables.globals().next_crank, &transaction)?;
        }
        let globals = inner.tables.globals();
        let (height, next_crank, state_hash) = (globals.height, globals.next_crank, inner.meta.state_hash);
        transaction.put_block(&BlockMark { height, next_crank, state_hash }, &mut proof.blocks)?;
        transaction.put_meta(&inner.meta)?;
        transaction.put_crank_marks(globals.next_crank, &inner.crank_marks)?;
        inner.crank_marks.clear();
        if let Some(result) = inner.result.take() {
            transaction.put_result(height.0, &result)?;
        }
        transaction.commit()?;
        Ok(self)
    }
}
