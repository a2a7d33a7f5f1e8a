//! The host's actions from outside of any crank: the inputs of a block. They have no number, and extend the chain of
//! hashes.

use crate::{
    kernel::{Ended, Halt, Ledger, Position, is_quiescent},
    model::{
        blame::{Fault, KernelPanic},
        body,
        id::{BlockHeight, BundleId, KRef, ObjectId, PromiseId, VRef, VatId},
        value::{CapData, Message},
    },
    state::{
        block::{Block, Step, beside, bundles, pending, stored},
        table::{Item, KernelObject, Outside, Owner, Policy},
    },
    store::{BesideRow, Cut},
};

/// Begins the next block, so many seconds after the last one; where only the timer has something to do, when it has.
/// One that is open goes on.
pub fn begin_block(block: Block, seconds: u64) -> Result<Block, Box<Halt>> {
    if block.meta().open {
        return Ok(block);
    }
    let next = block.tables().globals().time.saturating_add(seconds);
    let first = block.tables().wakeups.iter().next().map(|((time, _), _)| *time);
    let time = first.filter(|_| is_quiescent(&block)).map_or(next, |it| it.max(next));
    let height = block.tables().globals().height.next();
    Ok(outside(block, |ledger| ledger.begin_block(height, time))?.0)
}

/// Begins a block together with an input from outside: the input is something to do, so the clock is not hurried.
pub fn begin_block_with<T>(
    block: Block,
    seconds: u64,
    input: impl FnOnce(&mut Ledger) -> Result<T, Fault>,
) -> Result<(Block, T), Box<Halt>> {
    let time = block.tables().globals().time.saturating_add(seconds);
    begin_block_at(block, time, input)
}

/// Begins a block at a time that the outside tells, together with an input from there. The time is an input itself; one before that
/// of the last block counts as that of the last block.
pub fn begin_block_at<T>(
    block: Block,
    time: u64,
    input: impl FnOnce(&mut Ledger) -> Result<T, Fault>,
) -> Result<(Block, T), Box<Halt>> {
    let (open, globals) = (block.meta().open, block.tables().globals());
    outside(block, |ledger| {
        if !open {
            ledger.begin_block(globals.height.next(), time.max(globals.time))?;
        }
        input(ledger)
    })
}

/// Does something from outside: what `input` changes becomes part of the block, or none of it.
pub fn outside<T>(block: Block, input: impl FnOnce(&mut Ledger) -> Result<T, Fault>) -> Result<(Block, T), Box<Halt>> {
    let file = stored::file_of(&block);
    let halt = |fault| {
        let unread = file.as_ref().and_then(|it| it.check().err());
        Box::new(Halt { fault: unread.map_or(fault, Fault::from), position: Position::default(), taken: None })
    };
    let mut ledger = Ledger::open(block);
    let result = input(&mut ledger).map_err(halt)?;
    ledger.settle_down().map_err(halt)?;
    let block = ledger.close(Step::Outside).map_err(halt)?;
    Ok((block, result))
}

impl Ledger {
    /// Opens a block: answers that have expired go, and the wakeups are sent that are due by its time.
    pub fn begin_block(&mut self, height: BlockHeight, time: u64) -> Result<(), Fault> {
        self.tables_mut().update_globals(|it| (it.height, it.time) = (height, time));
        let expired: Vec<PromiseId> = self.tables().answers_expiring_at(height).collect();
        expired.into_iter().try_for_each(|it| self.forget_result(it))?;
        self.wake()?;
        self.begin_devices()
    }

    /// Returns the root object of a vat. Naming it does not hold it.
    pub fn root(&mut self, vat: VatId) -> Result<ObjectId, Fault> {
        let entry = self.tables().clist.get(&(vat, VRef::ROOT)).copied();
        let id = match entry.map(|it| it.kref) {
            Some(KRef::Object(id)) => id,
            Some(other) => {
                return Err(KernelPanic::new("audit.clist-bijection", format_args!("root of {vat} is {other}")).into());
            }
            None => {
                let id = self.new_object(vat);
                self.add_entry(vat, VRef::ROOT, id.into());
                id
            }
        };
        self.set_reachable(vat, VRef::ROOT, true)?;
        Ok(id)
    }

    /// Returns the vat admin: one for the whole state, held for ever.
    pub fn vat_admin(&mut self) -> Result<ObjectId, Fault> {
        let owner = Some(Owner::Kernel(KernelObject::VatAdmin));
        let known =
            self.tables().objects.along((Cut::Start, Cut::End)).find(|(_, it)| it.owner == owner).map(|(id, _)| *id);
        if let Some(id) = known {
            return Ok(id);
        }
        let id = self.new_kernel_object(KernelObject::VatAdmin);
        self.pin(id)?;
        Ok(id)
    }

    /// Runs this version of the kernel from here on. Of a new state only: one that runs is changed by a directive.
    pub fn set_kernel_version(&mut self, version: u32) {
        self.tables_mut().update_globals(|it| it.kernel_version = version);
    }

    /// Runs vats on this engine version from here on. Of a new state only, as for the kernel's.
    pub fn set_engine_version(&mut self, version: u32) {
        if self.tables().engine_version() != version {
            self.tables_mut().set_engine_version(version);
        }
    }

    /// Makes a bundle known by this name, for `createVat` and `upgrade`.
    pub fn name_bundle(&mut self, name: &str, bundle: BundleId) {
        if let Some(before) = self.tables().bundles.get(&name.into()).copied() {
            bundles::retire(self.block_mut(), before);
        }
        self.tables_mut().bundles.insert(name.into(), bundle);
    }

    /// Holds an object for ever.
    pub fn pin(&mut self, id: ObjectId) -> Result<(), Fault> {
        if !self.object(id)?.pinned {
            self.tables_mut().objects.update(&id, |it| it.pinned = true);
            self.change_counts(id, 1, 1)?;
        }
        Ok(())
    }

    /// Sends a message from outside. With `awaited`, its result is remembered under that vat's and method's name.
    pub fn send_from_outside(
        &mut self,
        target: KRef,
        methargs: CapData<KRef>,
        awaited: Option<(&str, &str)>,
    ) -> Result<PromiseId, Fault> {
        let result = self.new_promise(None);
        self.await_outside(result, awaited)?;
        self.queue_from_outside(target, methargs, Some(result))?;
        Ok(result)
    }

    /// Queues an upgrade from outside, as by the vat's admin facet; its result is remembered under the label.
    pub fn upgrade_from_outside(
        &mut self,
        vat: VatId,
        bundle: BundleId,
        parameters: &str,
        label: Option<(&str, &str)>,
    ) -> Result<PromiseId, Fault> {
        let result = self.new_promise(None);
        self.await_outside(result, label)?;
        self.incref(result.into())?;
        let parameters = CapData::plain(parameters);
        self.post(Item::UpgradeVat { vat, bundle, parameters, result: Some(result) });
        Ok(result)
    }

    /// Remembers a result under this vat's and method's name, until it is forgotten.
    fn await_outside(&mut self, result: PromiseId, label: Option<(&str, &str)>) -> Result<(), Fault> {
        if let Some((to, method)) = label {
            let row = Outside { to: to.to_owned(), method: method.to_owned() };
            self.tables_mut().outside.insert(result, row);
            self.incref(result.into())?;
        }
        Ok(())
    }

    /// Sends a message whose result nobody wants, or which is to settle this promise.
    pub fn queue_from_outside(
        &mut self,
        target: KRef,
        methargs: CapData<KRef>,
        result: Option<PromiseId>,
    ) -> Result<(), Fault> {
        let message = Message { methargs, result: result.map(KRef::Promise) };
        self.incref_message(target, &message)?;
        self.post(Item::Send { target, message });
        Ok(())
    }

    /// Forgets a result that nobody outside awaits or needs any more.
    pub fn forget_result(&mut self, result: PromiseId) -> Result<(), Fault> {
        if self.tables_mut().outside.remove(&result).is_some() {
            self.tables_mut().answers.remove(&result);
            self.decref(result.into())?;
        }
        Ok(())
    }

    /// Says what a rejection of this promise means to the host.
    pub fn set_policy(&mut self, promise: PromiseId, policy: Policy) -> Result<(), Fault> {
        Ok(self.update_promise(promise, |it| it.policy = policy)?)
    }

    /// Ends a vat, if it is alive.
    pub fn terminate_from_outside(&mut self, vat: VatId, info: CapData<KRef>) -> Result<(), Fault> {
        if self.tables().is_alive(vat) {
            self.terminate(vat, &Ended { aborted: true, info, fault: None })?;
            pending::of_mut(self.block_mut()).doomed.push(vat);
        }
        Ok(())
    }

    /// Terminates a vat for the host, with this reason.
    pub fn terminate_with_reason(&mut self, vat: VatId, reason: &str) -> Result<(), Fault> {
        self.terminate_from_outside(vat, body::error(reason))
    }

    /// Pauses a vat for the host, if it is alive.
    pub fn pause_from_outside(&mut self, vat: VatId, reason: &str) -> Result<(), Fault> {
        if self.tables().is_alive(vat) { self.pause(vat, reason) } else { Ok(()) }
    }

    /// Resumes a vat that is paused for the host.
    pub fn resume_from_outside(&mut self, vat: VatId) -> Result<(), Fault> {
        self.resume(vat)
    }

    /// Writes rows beside the state with this block.
    pub fn put_beside(&mut self, rows: Vec<BesideRow>) {
        beside::put(self.block_mut(), rows);
    }

    /// Tells live vats to bring out their dead.
    pub fn reap(&mut self, vats: impl IntoIterator<Item = VatId>) {
        for vat in vats {
            if self.tables().is_alive(vat) {
                self.queue_reap(vat);
            }
        }
    }
}
