//! The ledger: the open block, owned, with all that a crank or an input from outside changes before it is sealed.
//!
//! What the step holds until its end (what may have become garbage, what was sent and is not yet accepted) stands in the block's
//! `pending`. A crank lends the ledger to the worker for the length of a delivery: this alone moves into the wasm store, with the
//! syscalls. An input from outside is a ledger without a crank.
//!
//! Invariant: all of it is part of the step; a rewind leaves nothing of it.

use std::hint;

use crate::{
    kernel::{audit::audit, probe::probe_of, route::Route},
    model::{
        blame::{Fault, HostFault, Interrupted},
        id::{CrankNum, VatId},
    },
    slog::Slog,
    state::{
        block::{
            Block, Printed, Step,
            pending::{self, Candidates},
        },
        table::{Item, Load, QueueId, Tables, Waiting},
        transcript::Entries,
    },
};

/// The open block with the changes of one crank, or of one input from outside. Cheap to move.
#[derive(Debug)]
pub struct Ledger(Block);

impl Ledger {
    pub(super) fn open(mut block: Block) -> Ledger {
        let (number, fuel_before) = (block.tables().globals().next_crank, block.fuel());
        let pending = pending::of_mut(&mut block);
        pending.clear();
        (pending.number, pending.fuel_before, pending.sealed) = (number, fuel_before, false);
        Ledger(block)
    }

    /// Undoes everything since the last seal.
    pub(super) fn rewind(&mut self) {
        self.0.rewind();
    }

    /// Accepts what was sent, and collects garbage.
    pub(super) fn settle_down(&mut self) -> Result<(), Fault> {
        self.collect()?;
        while let Some(waiting) = pending::of_mut(&mut self.0).sent.pop_front() {
            self.accept(waiting)?;
            self.collect()?;
        }
        Ok(())
    }

    /// Makes what was done so far part of the block, so that a rewind returns to this point.
    pub(crate) fn seal(&mut self, step: Step) -> Result<(), HostFault> {
        pending::of_mut(&mut self.0).sealed = true;
        self.0.seal(step)
    }

    /// Ends the step, which has settled down: its changes are part of the block.
    pub(super) fn close(mut self, step: Step) -> Result<Block, Fault> {
        let is_probed = || probe_of(&self.0).is_some_and(|it| it.audits(self.number()));
        // What is recounted is all of the state: not while most of it is in the file.
        if (self.0.is_audited_at(self.number()) || is_probed()) && self.tables().are_whole() {
            hint::cold_path();
            audit(self.tables())?;
        }
        self.seal(step)?;
        let printed = &mut pending::of_mut(&mut self.0).printed;
        if !printed.is_empty() {
            let printed = std::mem::take(printed);
            self.0.console().keep_printed(printed);
        }
        Ok(self.0)
    }

    /// Gives the block back as it was before the step, of which nothing may be part of the block yet.
    #[cold]
    pub(super) fn undo(mut self) -> Block {
        self.0.rewind();
        let fuel = pending::of(&self.0).fuel_before;
        self.0.set_fuel(fuel);
        self.0
    }

    /// Ends a step that was interrupted. What directives did before the delivery is part of the block, and cannot be
    /// taken out of it: then the block is lost, as by a crash, and runs again from its last commit.
    #[cold]
    pub(super) fn give_up(self) -> Result<Block, Fault> {
        if pending::of(&self.0).sealed { Err(Interrupted.into()) } else { Ok(self.undo()) }
    }

    /// Gives what was sent its place: the run-queue, the queue of a promise, or nowhere.
    fn accept(&mut self, Waiting { by, item }: Waiting) -> Result<(), Fault> {
        self.act_for(by);
        let Item::Send { target, message } = item else {
            self.queue_run(Waiting { by, item });
            return Ok(());
        };
        let (target, route) = self.route(target, &message)?;
        match route {
            Route::Vat(_) | Route::Kernel(_) => self.queue_run(Waiting { by, item: Item::Send { target, message } }),
            Route::Wait(promise) => {
                let waiting = Waiting { by, item: Item::Send { target, message } };
                self.tables_mut().queue.push(QueueId::Promise(promise), waiting);
            }
            Route::Splat(with) => self.splat(target, message, with)?,
        }
        Ok(())
    }

    // ---- who acts

    /// Makes this vat responsible for what follows: items that result are queued as the vat's, and count towards its
    /// load.
    pub(super) fn act_for(&mut self, by: Option<VatId>) {
        let pending = pending::of_mut(&mut self.0);
        (pending.by, pending.posted) = (by, Load::default());
    }

    /// Returns the vat in whose name things are posted.
    pub(super) fn by(&self) -> Option<VatId> {
        pending::of(&self.0).by
    }

    /// Posts an item in that vat's name, which is accepted at the end of the step.
    pub(super) fn post(&mut self, item: Item) {
        let pending = pending::of_mut(&mut self.0);
        pending.posted += Load::of(&item);
        pending.sent.push_back(Waiting { by: pending.by, item });
    }

    /// Has what waited accepted anew, at the end of the step.
    pub(super) fn accept_later(&mut self, waiting: Waiting) {
        pending::of_mut(&mut self.0).sent.push_back(waiting);
    }

    /// Returns whether something that was posted in this vat's name is still to be accepted.
    pub(super) fn has_posted(&self, by: VatId) -> bool {
        pending::of(&self.0).sent.iter().any(|waiting| waiting.by == Some(by))
    }

    /// Returns the load that was posted in the acting vat's name.
    pub(super) fn posted(&self) -> Load {
        pending::of(&self.0).posted
    }

    // ---- what it holds

    /// Returns the number of the crank; input from outside has the number of the crank after it.
    pub(crate) fn number(&self) -> CrankNum {
        pending::of(&self.0).number
    }

    /// Returns the transcript entries of the block; the step's own are removed if it is undone.
    pub(super) fn entries(&mut self) -> &mut Entries {
        self.0.entries()
    }

    pub(crate) fn tables(&self) -> &Tables {
        self.0.tables()
    }

    pub(crate) fn tables_mut(&mut self) -> &mut Tables {
        self.0.tables_mut()
    }

    pub(crate) fn slog(&mut self) -> &mut Slog {
        self.0.slog()
    }

    pub(crate) fn block(&self) -> &Block {
        &self.0
    }

    pub(crate) fn block_mut(&mut self) -> &mut Block {
        &mut self.0
    }

    pub(super) fn candidates(&mut self) -> &mut Candidates {
        &mut pending::of_mut(&mut self.0).candidates
    }

    /// Keeps a line for the operator, who sees it if the step is committed.
    pub(super) fn keep_line(&mut self, line: Printed) {
        pending::of_mut(&mut self.0).printed.push(line);
    }
}
