//! The open crank: it owns the block, what was sent and is not yet accepted, and what may have become garbage.
//!
//! Invariant: all of it is part of the crank; a rewind leaves nothing of it.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use crate::{
    directive::DirectiveSet,
    directive::plant::Plant,
    invariant,
    kernel::{audit::audit, deliver::Source, gc::Candidates, route::Route},
    model::{
        blame::{Fault, HostFault, Interrupted, KernelPanic},
        id::{CrankNum, KRef, ObjectId, PromiseId, VRef, VatId},
        value::Message,
    },
    slog::{CListMode, Detail, Event, Slog},
    state::{
        block::{Block, Printed},
        table::{CListEntry, Item, Load, Object, Owner, Promise, QueueId, Tables, Turn, Waiting},
        transcript::Entries,
    },
    store::StateHash,
};

/// The open crank, or the open input from outside. Cheap to move.
#[derive(Debug)]
pub struct Crank(Box<Open>);

/// The contents of an open crank.
#[derive(Debug)]
pub struct Open {
    block: Block,
    number: Option<CrankNum>,
    pub(super) accepting: VecDeque<Waiting>,
    /// The vat in whose name things are posted.
    pub(super) by: Option<VatId>,
    /// The load that was posted in that vat's name.
    pub(super) posted: Load,
    pub(super) candidates: Candidates,
    /// The lines that vats wrote to the console.
    pub(super) printed: Vec<Printed>,
    /// The place from which the crank's item was taken.
    pub(super) source: Option<Source>,
    /// The queue entry that it dealt with, where that was no delivery.
    pub(super) entry: Option<Arc<Item>>,
    /// The turn as it is once the item is taken; nothing where there are no turns.
    pub(super) turn: Option<Turn>,
    /// Set if the crank's delivery was interrupted: the crank is to be given up.
    pub(super) interrupted: bool,
    /// Set if a part of the crank is in the block already.
    sealed: bool,
    /// The block's fuel before it.
    fuel_before: u64,
}

impl Deref for Crank {
    type Target = Open;
    fn deref(&self) -> &Open {
        &self.0
    }
}

impl DerefMut for Crank {
    fn deref_mut(&mut self) -> &mut Open {
        &mut self.0
    }
}

impl Crank {
    /// Opens the next crank, and counts it.
    pub(super) fn begin(mut block: Block) -> Crank {
        let number = block.tables().globals().next_crank;
        block.tables_mut().update_globals(|it| it.next_crank = number.next());
        let mut crank = Crank::outside(block);
        crank.number = Some(number);
        crank
    }

    /// Opens an input from outside: it has no number.
    pub(super) fn outside(block: Block) -> Crank {
        let fuel_before = block.fuel();
        Crank(Box::new(Open {
            block,
            number: None,
            accepting: VecDeque::new(),
            by: None,
            posted: Load::default(),
            candidates: Candidates::default(),
            printed: Vec::new(),
            source: None,
            entry: None,
            turn: None,
            interrupted: false,
            sealed: false,
            fuel_before,
        }))
    }

    /// Undoes everything but that the crank was begun.
    pub(super) fn rewind(&mut self) {
        self.block.rewind();
        self.accepting.clear();
        self.act_for(None);
        self.candidates.clear();
        self.printed.clear();
        if let Some(number) = self.number {
            self.tables_mut().update_globals(|it| it.next_crank = number.next());
        }
    }

    /// Accepts what was sent, collects garbage, and ends the crank: its changes are part of the block.
    pub(super) fn finish(mut self, label: &str) -> Result<Block, Fault> {
        self.settle_down()?;
        if self.block.is_audited_at(self.number()) || self.breaks_for_audit() {
            audit(self.tables())?;
        }
        let Open { mut block, number, printed, .. } = *self.0;
        block.seal(label, number)?;
        block.keep_printed(printed);
        Ok(block)
    }

    /// Notes a line of a vat's console, for the host's operator.
    pub(super) fn hear(&mut self, vat: VatId, level: &'static str, text: &str) {
        self.block.hear(vat, level, text);
    }

    /// Accepts what was sent, and collects garbage.
    pub(super) fn settle_down(&mut self) -> Result<(), Fault> {
        self.collect()?;
        while let Some(waiting) = self.accepting.pop_front() {
            self.accept(waiting)?;
            self.collect()?;
        }
        Ok(())
    }

    /// Makes what was done so far part of the block, so that a rewind returns to this point.
    pub(super) fn seal(&mut self, label: &str) -> Result<(), Fault> {
        self.sealed = true;
        Ok(self.block.seal(label, None)?)
    }

    pub(super) fn directives(&self) -> &DirectiveSet {
        self.block.directives()
    }

    pub(super) fn plants(&self) -> &[Plant] {
        self.block.plants()
    }

    pub(super) fn state_hash(&self) -> Result<StateHash, HostFault> {
        self.block.state_hash()
    }

    pub(super) fn committed_hash(&self) -> StateHash {
        self.block.committed_hash()
    }

    /// Returns whether no crank of the open block has run yet.
    pub(super) fn is_first_of_block(&self) -> bool {
        self.block.cranks() == 0
    }

    /// Returns whether an observer follows the deliveries.
    pub(super) fn is_observed(&self) -> bool {
        self.block.is_observed()
    }

    /// Gives the block back as it was before the crank, of which nothing may be part of the block yet.
    pub(super) fn undo(mut self) -> Block {
        self.block.rewind();
        let fuel = self.fuel_before;
        self.block.set_fuel(fuel);
        self.0.block
    }

    /// Ends a crank that was interrupted. What directives did before the delivery is part of the block, and cannot be
    /// taken out of it: then the block is lost, as by a crash, and runs again from its last commit.
    pub(super) fn give_up(self) -> Result<Block, Fault> {
        if self.sealed { Err(Interrupted.into()) } else { Ok(self.undo()) }
    }

    /// Returns the number of the crank; input from outside has the number of the crank after it.
    pub(super) fn number(&self) -> CrankNum {
        self.number.unwrap_or(self.tables().globals().next_crank)
    }

    /// Returns the transcript entries of the block; the crank's own are removed if it is undone.
    pub(super) fn entries(&mut self) -> &mut Entries {
        self.block.entries()
    }

    pub(super) fn tables(&self) -> &Tables {
        self.block.tables()
    }

    pub(super) fn tables_mut(&mut self) -> &mut Tables {
        self.block.tables_mut()
    }

    pub(super) fn wants(&mut self, detail: Detail) -> bool {
        self.block.slog().wants(detail)
    }

    pub(super) fn slog(&mut self) -> &mut Slog {
        self.block.slog()
    }

    pub(super) fn block(&mut self) -> &mut Block {
        &mut self.block
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

    // ---- rows that must exist

    pub(super) fn object(&self, id: ObjectId) -> Result<Object, KernelPanic> {
        self.tables().objects.get(&id).copied().ok_or_else(|| KernelPanic::new("object.known", id))
    }

    pub(super) fn promise(&self, id: PromiseId) -> Result<&Promise, KernelPanic> {
        self.tables().promises.get(&id).ok_or_else(|| KernelPanic::new("promise.known", id))
    }

    pub(super) fn update_promise<T>(
        &mut self,
        id: PromiseId,
        change: impl FnOnce(&mut Promise) -> T,
    ) -> Result<T, KernelPanic> {
        self.tables_mut().promises.update(&id, change).ok_or_else(|| KernelPanic::new("promise.known", id))
    }

    // ---- new rows

    pub(super) fn next_object_id(&mut self) -> ObjectId {
        self.tables_mut().update_globals(|it| {
            let id = it.next_object;
            it.next_object = id.next();
            id
        })
    }

    pub(super) fn new_object(&mut self, owner: VatId) -> ObjectId {
        let id = self.next_object_id();
        self.tables_mut().objects.insert(id, Object { owner: Some(Owner::Vat(owner)), ..Object::default() });
        id
    }

    pub(super) fn new_promise(&mut self, decider: Option<VatId>) -> PromiseId {
        let id = self.tables_mut().update_globals(|it| {
            let id = it.next_promise;
            it.next_promise = id.next();
            id
        });
        self.tables_mut().promises.insert(id, Promise::new(decider));
        id
    }

    // ---- counts

    /// Adds one holder, which also reaches it, to the counts of an object or a promise.
    pub(super) fn incref(&mut self, kref: KRef) -> Result<(), KernelPanic> {
        match kref {
            KRef::Object(id) => self.change_counts(id, 1, 1),
            KRef::Promise(id) => self.update_promise(id, |it| it.refs += 1),
            KRef::Device(_) => Ok(()),
        }
    }

    /// Takes one holder, which also reached it, from the counts of an object or a promise.
    pub(super) fn decref(&mut self, kref: KRef) -> Result<(), KernelPanic> {
        match kref {
            KRef::Object(id) => self.change_counts(id, -1, -1),
            KRef::Promise(id) => {
                let refs = self.promise(id)?.refs.checked_sub(1);
                let refs = refs.ok_or_else(|| KernelPanic::new("promise.refs", format_args!("{id} below zero")))?;
                if refs == 0 {
                    self.candidates.insert(kref);
                }
                self.update_promise(id, |it| it.refs = refs)
            }
            KRef::Device(_) => Ok(()),
        }
    }

    /// Moves the counts of an object. What falls to zero may be garbage.
    pub(super) fn change_counts(&mut self, id: ObjectId, reachable: i32, recognizable: i32) -> Result<(), KernelPanic> {
        let mut object = self.object(id)?;
        let counts = object
            .reachable
            .checked_add_signed(reachable)
            .zip(object.recognizable.checked_add_signed(recognizable))
            .filter(|(reachable, recognizable)| reachable <= recognizable);
        let Some(counts) = counts else {
            let detail = format_args!("{id} {object:?} by {reachable}, {recognizable}");
            return Err(KernelPanic::new("object.counts", detail));
        };
        (object.reachable, object.recognizable) = counts;
        if reachable < 0 && object.reachable == 0 || recognizable < 0 && object.recognizable == 0 {
            self.candidates.insert(id.into());
        }
        self.tables_mut().objects.insert(id, object);
        Ok(())
    }

    /// Adds the holds of a queued message: on its target, its slots and its result.
    pub(super) fn incref_message(&mut self, target: KRef, message: &Message<KRef>) -> Result<(), KernelPanic> {
        self.incref(target)?;
        message.result.into_iter().chain(message.methargs.slots.iter().copied()).try_for_each(|it| self.incref(it))
    }

    /// Releases the references of a message that leaves its queue for good.
    pub(super) fn decref_message(&mut self, target: KRef, message: &Message<KRef>) -> Result<(), KernelPanic> {
        self.decref(target)?;
        message.result.into_iter().chain(message.methargs.slots.iter().copied()).try_for_each(|it| self.decref(it))
    }

    // ---- c-lists

    pub(super) fn add_entry(&mut self, vat: VatId, vref: VRef, kref: KRef) {
        self.tables_mut().clist.insert((vat, vref), CListEntry { kref, reachable: true });
        let mode = if vref.is_own() { CListMode::Export } else { CListMode::Import };
        self.record_clist(mode, vat, vref, kref);
    }

    /// Returns a vat's name and c-list entry for a kernel reference.
    pub(super) fn entry(&self, vat: VatId, kref: KRef) -> Result<(VRef, CListEntry), KernelPanic> {
        let clist = &self.tables().clist;
        let vref = clist.vref(vat, kref);
        vref.and_then(|vref| Some((vref, *clist.get(&(vat, vref))?)))
            .ok_or_else(|| KernelPanic::new("clist.known", format_args!("{kref} in {vat}")))
    }

    pub(super) fn set_reachable(&mut self, vat: VatId, vref: VRef, reachable: bool) -> Result<(), KernelPanic> {
        let found = self.tables_mut().clist.update(&(vat, vref), |it| it.reachable = reachable);
        invariant!(found.is_some(), "clist.known", "{vref} in {vat}");
        Ok(())
    }

    /// Removes an entry, and returns it. The counts are the caller's business.
    pub(super) fn remove_entry(&mut self, vat: VatId, vref: VRef) -> Result<CListEntry, KernelPanic> {
        let entry = self.tables_mut().clist.remove(&(vat, vref));
        let entry = entry.ok_or_else(|| KernelPanic::new("clist.known", format_args!("{vref} in {vat}")))?;
        self.record_clist(CListMode::Drop, vat, vref, entry.kref);
        Ok(entry)
    }

    fn record_clist(&mut self, mode: CListMode, vat: VatId, vobj: VRef, kobj: KRef) {
        let crank_num = self.number();
        self.slog().record(Detail::Syscalls, || Event::CList { crank_num, mode, vat, kobj, vobj });
    }
}
