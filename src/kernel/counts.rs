//! Reference counts: of an object, by how many holders it is reached and recognized; of a promise, by how many it is
//! held.
//!
//! Invariant: no count falls below zero, and what falls to zero becomes a candidate for collection (see `gc`).

use crate::{
    kernel::Ledger,
    model::{
        blame::KernelPanic,
        id::{KRef, ObjectId},
        value::Message,
    },
};

impl Ledger {
    /// Adds one holder, which also reaches it, to the counts of an object or a promise.
    pub(crate) fn incref(&mut self, kref: KRef) -> Result<(), KernelPanic> {
        match kref {
            KRef::Object(id) => self.change_counts(id, 1, 1),
            KRef::Promise(id) => self.update_promise(id, |it| it.refs += 1),
            KRef::Device(_) => Ok(()),
        }
    }

    /// Takes one holder, which also reached it, from the counts of an object or a promise.
    pub(crate) fn decref(&mut self, kref: KRef) -> Result<(), KernelPanic> {
        match kref {
            KRef::Object(id) => self.change_counts(id, -1, -1),
            KRef::Promise(id) => {
                let refs = self.promise(id)?.refs.checked_sub(1);
                let refs = refs.ok_or_else(|| KernelPanic::new("promise.refs", format_args!("{id} below zero")))?;
                if refs == 0 {
                    self.candidates().insert(kref);
                }
                self.update_promise(id, |it| it.refs = refs)
            }
            KRef::Device(_) => Ok(()),
        }
    }

    /// Moves the counts of an object. What falls to zero may be garbage.
    pub(crate) fn change_counts(&mut self, id: ObjectId, reachable: i32, recognizable: i32) -> Result<(), KernelPanic> {
        let changed = self.tables_mut().objects.update(&id, |it| {
            let counts =
                it.reachable.checked_add_signed(reachable).zip(it.recognizable.checked_add_signed(recognizable));
            let Some(counts) = counts.filter(|(reachable, recognizable)| reachable <= recognizable) else {
                return Err(*it);
            };
            (it.reachable, it.recognizable) = counts;
            Ok(counts)
        });
        let changed = changed.ok_or_else(|| KernelPanic::new("object.known", id))?;
        let (reached, recognized) = changed.map_err(|object| {
            let detail = format_args!("{id} {object:?} by {reachable}, {recognizable}");
            KernelPanic::new("object.counts", detail)
        })?;
        if reachable < 0 && reached == 0 || recognizable < 0 && recognized == 0 {
            self.candidates().insert(id.into());
        }
        Ok(())
    }

    /// Adds the holds of a queued message: on its target, its slots and its result.
    pub(crate) fn incref_message(&mut self, target: KRef, message: &Message<KRef>) -> Result<(), KernelPanic> {
        self.incref(target)?;
        message.result.into_iter().chain(message.methargs.slots.iter().copied()).try_for_each(|it| self.incref(it))
    }

    /// Releases the references of a message that leaves its queue for good.
    pub(super) fn decref_message(&mut self, target: KRef, message: &Message<KRef>) -> Result<(), KernelPanic> {
        self.decref(target)?;
        message.result.into_iter().chain(message.methargs.slots.iter().copied()).try_for_each(|it| self.decref(it))
    }
}
