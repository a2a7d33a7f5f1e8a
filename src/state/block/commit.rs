//! The commit of a block in two halves: what decides the state hash, and what is left to write then.
//!
//! ```text
//!   EndedBlock::of: rows encoded, digest moved, chain hashed ─▶ EndedBlock ─┬─ now ───────▶ written by the block's thread
//!                                                                           └─ hand_over ─▶ by another, while the next block runs
//! ```
//!
//! Invariants: an ended block has all that its transaction writes, so that the next one may change whatever it likes meanwhile. What only
//! a writer changes is in its books, which nobody sees before the commit is written that was handed over. At most one is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

use super::{Block, Inner, bundles, stored};
use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, BundleId, CrankNum, VatId},
    },
    slog::Slog,
    state::{
        retention::{Ends, Keep, PastOf},
        snapshot::SnapshotChanges,
        table::Tables,
        transcript::Entries,
    },
    store::{
        AppendedBlock, Batch, BesideRow, BlockMark, CommitOutcome, CrankMark, Digest, Handover, Heads, Meta, Proof,
        Rows, StateHash, SumChange, Transaction,
    },
};

/// The facts that a writer carries from one commit to the next. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct WriterBooks(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    /// The ends of the transcripts.
    heads: Heads,
    /// The vats that were cleaned up, and whose transcripts wait for the archive.
    waiting: BTreeSet<VatId>,
    /// Chunks that were written since others could leave.
    written: u64,
    /// The last block of which a mark was written since the state was opened.
    marked: Option<BlockHeight>,
    /// The proof of every table, but for those of the kernel: those are the block's.
    proof: Proof,
    /// Room that a block that was handed over leaves to the next but one.
    room: Option<Entries>,
}

impl WriterBooks {
    /// Makes the books of a state that was just read.
    pub(super) fn of(heads: Heads, tables: &Tables, proof: &Proof) -> WriterBooks {
        let proof = Proof { tables: Vec::new(), ..proof.clone() };
        let has_gone = |vat: &VatId| tables.vats.get(vat).is_some_and(|it| it.status.is_cleaned());
        let waiting = heads.vats().into_iter().filter(has_gone).collect();
        WriterBooks(Arc::new(Mutex::new(Books { heads, waiting, proof, ..Books::default() })))
    }

    /// Opens the books: once no commit is being written.
    fn open<'a>(&'a self, inner: &Inner) -> MutexGuard<'a, Books> {
        inner.database.file.settle();
        self.0.lock()
    }
}

/// Lets `see` see the end of each vat's transcript, as of the last commit.
pub(super) fn with_heads<T>(inner: &Inner, see: impl FnOnce(&Heads) -> T) -> T {
    see(&inner.books.open(inner).heads)
}

/// Lets `see` see and change the ends of the transcripts, as of the last commit: no other is being written.
pub(super) fn with_ends<T>(books: &WriterBooks, see: impl FnOnce(&mut Ends<'_>) -> T) -> T {
    see(&mut books.0.lock().ends())
}

impl Books {
    fn ends(&mut self) -> Ends<'_> {
        Ends { heads: &mut self.heads, digest: &mut self.proof.transcripts, waiting: &mut self.waiting }
    }
}

/// A block that has ended, and is to be written.
#[derive(Debug)]
struct EndedBlock {
    height: BlockHeight,
    time: u64,
    next_crank: CrankNum,
    /// The rows that it changed, table by table.
    rows: Vec<(&'static str, Batch)>,
    sums: Vec<SumChange>,
    meta: Meta,
    entries: Entries,
    forgotten: Vec<VatId>,
    /// Whether the transcripts of those wait for an archive.
    archives: bool,
    /// Whether what the block appends to the transcripts may stay in their tail: nothing of them leaves the state.
    gathers: bool,
    bundles: BTreeMap<BundleId, Vec<u8>>,
    leaving: Vec<BundleId>,
    beside: Vec<BesideRow>,
    snapshots: SnapshotChanges,
    crank_marks: Vec<CrankMark>,
    result: Option<Vec<u8>>,
}

impl EndedBlock {
    /// Ends the block: after this its state hash is known, and it is the next one.
    fn of(inner: &mut Inner, open: bool, ended: impl FnOnce(&mut Slog, StateHash)) -> Result<EndedBlock, HostFault> {
        let leaving = bundles::leaving(inner);
        let Inner { tables, meta, slog, .. } = inner;
        let globals = tables.globals();
        let mut rows = Vec::new();
        meta.proof.tables.resize(Tables::COUNT, Digest::default());
        for (table, digest) in tables.each().into_iter().zip(&mut meta.proof.tables) {
            table.flush(&mut rows, digest)?;
        }
        meta.digest = tables.digest(&meta.proof.tables);
        let hash = meta.chain.hash(&meta.digest);
        meta.end(hash, !open);
        ended(slog, hash);
        Ok(EndedBlock {
            height: globals.height,
            time: globals.time,
            next_crank: globals.next_crank,
            rows,
            sums: tables.vatstore.index_mut().take_changes(),
            meta: meta.clone(),
            entries: std::mem::take(&mut inner.entries),
            forgotten: std::mem::take(&mut inner.forgotten),
            archives: inner.retention.archive.is_some(),
            gathers: inner.retention.archive.is_none() && inner.retention.keep == Keep::All,
            bundles: std::mem::take(&mut inner.bundles),
            leaving,
            beside: std::mem::take(&mut inner.beside),
            snapshots: inner.snapshots.take_changes(),
            crank_marks: std::mem::take(&mut inner.crank_marks),
            result: inner.result.take(),
        })
    }

    /// Writes all of it. `last` comes before the facts: with the ends of the transcripts, and how many chunks were written since it last set
    /// that to 0.
    fn write(
        &mut self,
        transaction: &mut Transaction<'_>,
        books: &mut Books,
        last: impl FnOnce(&Transaction<'_>, &mut Ends<'_>, &mut u64) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        let EndedBlock { meta, entries, forgotten, archives, .. } = self;
        let gone: &[VatId] = if *archives { &[] } else { forgotten };
        gone.iter().try_for_each(|vat| books.ends().delete(transaction, *vat))?;
        let Books { heads, proof, .. } = books;
        for (table, batch) in std::mem::take(&mut self.rows) {
            transaction.write(table, batch)?;
        }
        transaction.put_sums(&self.sums, &mut proof.sums)?;
        let block = AppendedBlock {
            mark: BlockMark { height: self.height, next_crank: self.next_crank, state_hash: meta.state_hash },
            time: self.time,
            cranks: &self.crank_marks,
            has_mark: books.marked.is_none_or(|it| it >= self.height),
            gathers: self.gathers,
        };
        let mut written = transaction.put_block(&block, heads, proof, |append| {
            entries.flush(&mut |vat, number, entry| match gone.contains(&vat) {
                true => Ok(()),
                false => append(vat, number, entry),
            })
        })?;
        books.marked = Some(self.height);
        written += books.written;
        if *archives {
            books.waiting.extend(forgotten.iter().filter(|it| books.heads.has(**it)));
        }
        self.bundles.iter().try_for_each(|(id, wasm)| transaction.put_bundle(*id, wasm))?;
        self.leaving.iter().try_for_each(|it| transaction.delete_bundle(*it))?;
        transaction.put_beside(&self.beside)?;
        self.snapshots.write(transaction, &mut books.proof.snapshots)?;
        last(transaction, &mut books.ends(), &mut written)?;
        books.written = written;
        let tables = std::mem::take(&mut meta.proof.tables);
        meta.proof = Proof { tables, ..books.proof.clone() };
        transaction.put_meta(meta)?;
        match &self.result {
            Some(result) => transaction.put_result(self.height.0, result),
            None => Ok(()),
        }
    }
}

/// Ends a block, and makes it durable.
pub(super) fn now(block: &mut Block, open: bool, ended: impl FnOnce(&mut Slog, StateHash)) -> Result<(), HostFault> {
    let mut ended = EndedBlock::of(&mut block.0, open, ended)?;
    let Inner { tables, database, books, snapshots, retention, probe, retired, .. } = &mut *block.0;
    if retention.archive.is_some() {
        // What cannot be archived stays, and is looked at again with the next block.
        let is_there = |id: &BundleId| {
            let wasm = ended.bundles.get(id).cloned().or_else(|| database.bundle(*id).ok());
            wasm.is_none_or(|it| retention.put_bundle(*id, &it))
        };
        let (leaving, staying) = std::mem::take(&mut ended.leaving).into_iter().partition(is_there);
        ended.leaving = leaving;
        retired.extend::<Vec<_>>(staying);
    }
    let mut transaction = database.transaction()?;
    let next_crank = ended.next_crank;
    ended.write(&mut transaction, &mut books.0.lock(), |transaction, ends, written| {
        retention.step(transaction, &PastOf { tables, snapshots }, ends, std::mem::take(written))?;
        probe.as_ref().map_or(Ok(()), |it| it.at_commit(next_crank, transaction))
    })?;
    transaction.commit()?;
    block.0.entries = ended.entries;
    stored::trim(block, true);
    Ok(())
}

/// The rest of a commit: it is to be called on another thread, once.
pub(crate) type WriteBlock = Box<dyn FnOnce() + Send>;

/// Returns whether the commit of this block can be left to another thread: not if something of it needs the block itself.
pub(crate) fn can_be_handed_over(block: &Block) -> bool {
    let Inner { probe, retention, forgotten, retired, .. } = &*block.0;
    probe.is_none() && retention.can_be_put_off(!forgotten.is_empty() || !retired.is_empty())
}

/// Ends a block as a commit does, and leaves the writing to another thread: `give` has to pass it on at once. `ended` receives the state hash
/// before it is durable. Nothing of the block may leave before the outcome says that it is.
pub(crate) fn hand_over(
    block: &mut Block,
    ended: impl FnOnce(&mut Slog, StateHash),
    give: impl FnOnce(WriteBlock),
) -> Result<CommitOutcome, HostFault> {
    let mut ended = EndedBlock::of(&mut block.0, false, ended)?;
    let inner = &mut *block.0;
    let room = inner.books.open(inner).room.take();
    inner.entries = room.unwrap_or_default();
    inner.snapshots.keep_at_hand(&ended.snapshots);
    inner.retention.put_off();
    let (handover, outcome) = Handover::of(&inner.database);
    let books = inner.books.clone();
    let write = move || {
        handover.write(|transaction| {
            let mut books = books.0.lock();
            ended.write(transaction, &mut books, |_, _, _| Ok(()))?;
            books.room = Some(ended.entries);
            Ok(())
        });
    };
    // Before anything here asks for the file: it is the writer's until the outcome is told.
    give(Box::new(write));
    stored::trim(block, true);
    Ok(outcome)
}
