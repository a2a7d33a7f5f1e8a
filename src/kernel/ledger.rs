//! The ledger: the open block, owned, with all that a crank or an input from outside changes before it is sealed.
//!
//! It holds what may have become garbage; what was sent and is not yet accepted waits in the block, which keeps the room for it. A crank lends it to the worker for
//! the length of a delivery: this alone moves into the wasm store, with the syscalls. An input from outside is a
//! ledger without a crank.
//!
//! Invariant: all of it is part of the step; a rewind leaves nothing of it.

use crate::{
    kernel::{audit::audit, gc::Candidates, probe::probe_of, route::Route},
    model::{
        blame::{Fault, HostFault, Interrupted},
        id::{CrankNum, VatId},
    },
    slog::Slog,
    state::{
        block::{Block, Printed, Step, pending},
        table::{Item, Load, QueueId, Tables, Waiting},
        transcript::Entries,
    },
};

/// The open block with the changes of one crank, or of one input from outside. Cheap to move.
#[derive(Debug)]
pub struct Ledger(Box<Open>);

/// The contents of a ledger; boxed so that moving it is cheap.
#[derive(Debug)]
struct Open {
    block: Block,
    /// The crank that has begun, or will begin next.
    number: CrankNum,
    /// The vat in whose name things are posted.
    by: Option<VatId>,
    /// The load that was posted in that vat's name.
    posted: Load,
    candidates: Candidates,
    /// The lines that vats wrote to the console.
    printed: Vec<Printed>,
    /// Set if a part of the step is in the block already.
    sealed: bool,
    /// The block's fuel before the step.
    fuel_before: u64,
}

impl Ledger {
    pub(super) fn open(block: Block) -> Ledger {
        let (number, fuel_before) = (block.tables().globals().next_crank, block.fuel());
        Ledger(Box::new(Open {
            block,
            number,
            by: None,
            posted: Load::default(),
            candidates: Candidates::default(),
            printed: Vec::new(),
            sealed: false,
            fuel_before,
        }))
    }

    /// Undoes everything since the last seal.
    pub(super) fn rewind(&mut self) {
        self.0.block.rewind();
        self.act_for(None);
        self.0.candidates.clear();
        self.0.printed.clear();
    }

    /// Accepts what was sent, and collects garbage.
    pub(super) fn settle_down(&mut self) -> Result<(), Fault> {
        self.collect()?;
        while let Some(waiting) = pending::sent_mut(&mut self.0.block).pop_front() {
            self.accept(waiting)?;
            self.collect()?;
        }
        Ok(())
    }

    /// Makes what was done so far part of the block, so that a rewind returns to this point.
    pub(crate) fn seal(&mut self, step: Step) -> Result<(), HostFault> {
        self.0.sealed = true;
        self.0.block.seal(step)
    }

    /// Ends the step, which has settled down: its changes are part of the block.
    pub(super) fn close(mut self, step: Step) -> Result<Block, Fault> {
        let is_probed = || probe_of(&self.0.block).is_some_and(|it| it.audits(self.0.number));
        // What is recounted is all of the state: not while most of it is in the file.
        if self.tables().are_whole() && (self.0.block.is_audited_at(self.0.number) || is_probed()) {
            audit(self.tables())?;
        }
        self.seal(step)?;
        let Open { mut block, printed, .. } = *self.0;
        block.console().keep_printed(printed);
        Ok(block)
    }

    /// Gives the block back as it was before the step, of which nothing may be part of the block yet.
    pub(super) fn undo(mut self) -> Block {
        self.0.block.rewind();
        let fuel = self.0.fuel_before;
        self.0.block.set_fuel(fuel);
        self.0.block
    }

    /// Ends a step that was interrupted. What directives did before the delivery is part of the block, and cannot be
    /// taken out of it: then the block is lost, as by a crash, and runs again from its last commit.
    pub(super) fn give_up(self) -> Result<Block, Fault> {
        if self.0.sealed { Err(Interrupted.into()) } else { Ok(self.undo()) }
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
        self.0.by = by;
        self.0.posted = Load::default();
    }

    /// Returns the vat in whose name things are posted.
    pub(super) fn by(&self) -> Option<VatId> {
        self.0.by
    }

    /// Posts an item in that vat's name, which is accepted at the end of the step.
    pub(super) fn post(&mut self, item: Item) {
        self.0.posted += Load::of(&item);
        let by = self.0.by;
        self.accept_later(Waiting { by, item });
    }

    /// Has what waited accepted anew, at the end of the step.
    pub(super) fn accept_later(&mut self, waiting: Waiting) {
        pending::sent_mut(&mut self.0.block).push_back(waiting);
    }

    /// Returns whether something that was posted in this vat's name is still to be accepted.
    pub(super) fn has_posted(&self, by: VatId) -> bool {
        pending::sent(&self.0.block).iter().any(|waiting| waiting.by == Some(by))
    }

    /// Returns the load that was posted in the acting vat's name.
    pub(super) fn posted(&self) -> Load {
        self.0.posted
    }

    // ---- what it holds

    /// Returns the number of the crank; input from outside has the number of the crank after it.
    pub(crate) fn number(&self) -> CrankNum {
        self.0.number
    }

    /// Returns the transcript entries of the block; the step's own are removed if it is undone.
    pub(super) fn entries(&mut self) -> &mut Entries {
        self.0.block.entries()
    }

    pub(crate) fn tables(&self) -> &Tables {
        self.0.block.tables()
    }

    pub(crate) fn tables_mut(&mut self) -> &mut Tables {
        self.0.block.tables_mut()
    }

    pub(crate) fn slog(&mut self) -> &mut Slog {
        self.0.block.slog()
    }

    pub(crate) fn block(&self) -> &Block {
        &self.0.block
    }

    pub(crate) fn block_mut(&mut self) -> &mut Block {
        &mut self.0.block
    }

    pub(super) fn candidates(&mut self) -> &mut Candidates {
        &mut self.0.candidates
    }

    /// Keeps a line for the operator, who sees it if the step is committed.
    pub(super) fn keep_line(&mut self, line: Printed) {
        self.0.printed.push(line);
    }
}
