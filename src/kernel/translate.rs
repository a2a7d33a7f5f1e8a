//! Crossing between the kernel's references and a vat's: deliveries inward, syscalls outward.
//!
//! Invariants: a delivery names only what stands in the vat's c-list when the vat runs (but for what it retires); a
//! syscall that names anything else, or what the vat may not use that way, is a `VatFault`, found here, before
//! anything is applied.

use crate::{
    kernel::{
        Ledger,
        probe::{BoundaryCheck, probe_of},
    },
    model::{
        blame::{Fault, KernelPanic, VatFault},
        body::{self, Shape, SlotKind},
        id::{KRef, VRef, VRefKind, VatId},
        limits,
        value::{Bytes, CapData, Delivery, Message, Resolution, Syscall},
    },
    state::{
        block::stored,
        table::{CListEntry, Tally},
    },
};

/// Returns the kind of marker that a body must use for a reference.
pub(super) fn slot_kind(kref: KRef) -> SlotKind {
    match kref {
        KRef::Promise(_) => SlotKind::Promise,
        KRef::Object(_) | KRef::Device(_) => SlotKind::Presence,
    }
}

// ---- inward

/// Translates what is delivered to one vat.
pub(super) struct Inward<'a> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) vat: VatId,
}

impl Inward<'_> {
    /// Translates a delivery into the vat's references. New references enter its c-list; retired ones leave it.
    pub(super) fn translate(&mut self, delivery: &Delivery<KRef>) -> Result<Delivery<VRef>, KernelPanic> {
        let translated = match delivery {
            Delivery::DropExports(_) | Delivery::RetireExports(_) | Delivery::RetireImports(_) => {
                renamed(delivery, |kref| self.known(kref))?
            }
            _ => renamed(delivery, |kref| self.import(kref))?,
        };
        if let Delivery::Notify(told) = &translated {
            self.forget_told(told)?;
        }
        Ok(translated)
    }

    /// Returns the vat's name for a reference; a new name if the vat does not know it.
    pub(super) fn import(&mut self, kref: KRef) -> Result<VRef, KernelPanic> {
        let Some(vref) = self.ledger.tables().clist.vref(self.vat, kref) else { return self.introduce(kref) };
        let unreachable = self.ledger.tables().clist.get(&(self.vat, vref)).is_some_and(|it| !it.reachable);
        if unreachable {
            self.ledger.set_reachable(self.vat, vref, true)?;
            if let (true, KRef::Object(id)) = (vref.is_imported_object(), kref) {
                self.ledger.change_counts(id, 1, 0)?;
            }
        }
        Ok(vref)
    }

    fn introduce(&mut self, kref: KRef) -> Result<VRef, KernelPanic> {
        let vref = match kref {
            KRef::Device(_) => self.next_device(),
            KRef::Object(_) => VRef::imported_object(self.next_import(|it| &mut it.next_import)?),
            KRef::Promise(_) => VRef::imported_promise(self.next_import(|it| &mut it.next_promise_import)?),
        };
        self.ledger.incref(kref)?;
        self.ledger.add_entry(self.vat, vref, kref);
        Ok(vref)
    }

    fn next_import(&mut self, counter: fn(&mut Tally) -> &mut u64) -> Result<u64, KernelPanic> {
        let number = self.ledger.tables_mut().tallies.update(&self.vat, |it| {
            let next = counter(it);
            *next += 1;
            *next - 1
        });
        number.ok_or_else(|| KernelPanic::new("vat.known", self.vat))
    }

    /// A vat never loses a device: how many it knows tells the next one's name.
    fn next_device(&self) -> VRef {
        let known = self.ledger.tables().clist.devices(self.vat);
        VRef::device(known.count() as u64 + limits::FIRST_DEVICE_IMPORT)
    }

    /// After a notify the vat forgets the promises that it was told of.
    fn forget_told(&mut self, told: &[Resolution<VRef>]) -> Result<(), KernelPanic> {
        for it in told {
            let entry = self.ledger.remove_entry(self.vat, it.promise)?;
            self.ledger.decref(entry.kref)?;
        }
        Ok(())
    }

    fn known(&self, kref: KRef) -> Result<VRef, KernelPanic> {
        self.ledger.entry(self.vat, kref).map(|(vref, _)| vref)
    }
}

/// Rewrites a delivery with other names for its references. `name` is asked in the order in which new names are given out.
pub(super) fn renamed<E>(
    delivery: &Delivery<KRef>,
    mut name: impl FnMut(KRef) -> Result<VRef, E>,
) -> Result<Delivery<VRef>, E> {
    Ok(match delivery {
        Delivery::StartVat(data) => Delivery::StartVat(renamed_data(data, &mut name)?),
        Delivery::ChangeOptions(data) => Delivery::ChangeOptions(renamed_data(data, &mut name)?),
        Delivery::Message { target, message } => {
            let target = name(*target)?;
            let methargs = renamed_data(&message.methargs, &mut name)?;
            let result = message.result.map(name).transpose()?;
            Delivery::Message { target, message: Message { methargs, result } }
        }
        Delivery::Notify(resolutions) => {
            let mut told = Vec::with_capacity(resolutions.len());
            for it in resolutions {
                let promise = name(it.promise)?;
                told.push(Resolution { promise, rejected: it.rejected, data: renamed_data(&it.data, &mut name)? });
            }
            Delivery::Notify(told)
        }
        Delivery::DropExports(krefs) => Delivery::DropExports(renamed_all(krefs, &mut name)?),
        Delivery::RetireExports(krefs) => Delivery::RetireExports(renamed_all(krefs, &mut name)?),
        Delivery::RetireImports(krefs) => Delivery::RetireImports(renamed_all(krefs, &mut name)?),
        Delivery::BringOutYourDead => Delivery::BringOutYourDead,
    })
}

fn renamed_data<E>(data: &CapData<KRef>, name: &mut impl FnMut(KRef) -> Result<VRef, E>) -> Result<CapData<VRef>, E> {
    Ok(CapData { body: data.body.clone(), slots: renamed_all(&data.slots, name)? })
}

fn renamed_all<E>(krefs: &[KRef], name: &mut impl FnMut(KRef) -> Result<VRef, E>) -> Result<Vec<VRef>, E> {
    krefs.iter().map(|it| name(*it)).collect()
}

// ---- outward

/// Translates one syscall of one vat.
pub(super) struct Outward<'a> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) vat: VatId,
    pub(super) kind: &'static str,
}

impl Outward<'_> {
    #[cold]
    fn illegal<T>(&self, why: impl std::fmt::Display) -> Result<T, Fault> {
        Err(VatFault::illegal(self.kind, why).into())
    }

    /// Translates a syscall into the kernel's references, if the vat may make it.
    pub(super) fn translate(&mut self, syscall: Syscall<VRef>) -> Result<Syscall<KRef>, Fault> {
        Ok(match syscall {
            Syscall::Send { target, message } => self.send(target, message)?,
            Syscall::Subscribe(promise) => {
                if !promise.is_promise() {
                    return self.illegal(format_args!("{promise} is not a promise"));
                }
                Syscall::Subscribe(self.export(promise)?)
            }
            Syscall::Resolve(resolutions) => Syscall::Resolve(self.resolve(resolutions)?),
            Syscall::Exit { failure, info } => Syscall::Exit { failure, info: self.export_data(info)? },
            Syscall::DropImports(refs) => Syscall::DropImports(self.held(&refs, |it| it.is_imported_object(), None)?),
            Syscall::RetireImports(refs) => {
                Syscall::RetireImports(self.held(&refs, |it| it.is_imported_object(), Some("still reachable"))?)
            }
            Syscall::RetireExports(refs) => {
                Syscall::RetireExports(self.held(&refs, |it| it.is_exported_object(), Some("still reachable"))?)
            }
            Syscall::AbandonExports(refs) => {
                let krefs = self.held(&refs, |it| it.is_exported_object(), None)?;
                self.refuse_repeats(&refs)?;
                Syscall::AbandonExports(krefs)
            }
            Syscall::CallNow { device, methargs } => {
                if device.kind() != VRefKind::Device {
                    return self.illegal(format_args!("{device} is not a device"));
                }
                Syscall::CallNow { device: self.export(device)?, methargs: self.export_data(methargs)? }
            }
            Syscall::VatstoreGet(key) => Syscall::VatstoreGet(self.key(key)?),
            Syscall::VatstoreDelete(key) => Syscall::VatstoreDelete(self.key(key)?),
            Syscall::VatstoreGetNextKey(key) => Syscall::VatstoreGetNextKey(self.key(key)?),
            Syscall::VatstoreSet(key, value) => {
                self.size("value", value.len(), limits::VALUE_BYTES_MAX)?;
                let key = self.key(key)?;
                self.check_store(&key, &value)?;
                Syscall::VatstoreSet(key, value)
            }
            Syscall::VatstoreScan { prefix, after, max } => {
                self.size("answer", max as usize, limits::SCAN_BYTES_MAX)?;
                Syscall::VatstoreScan { prefix: self.key(prefix)?, after: self.key(after)?, max }
            }
        })
    }

    fn size(&self, what: &str, size: usize, max: u32) -> Result<(), Fault> {
        if size > max as usize {
            return self.illegal(format_args!("{what} of {size}, the limit is {max}"));
        }
        Ok(())
    }

    /// Checks that the vat's store has room for this.
    fn check_store(&mut self, key: &Bytes, value: &Bytes) -> Result<(), Fault> {
        let tables = self.ledger.tables();
        let max = tables.vats.get(&self.vat).map_or(limits::STORE_MAX, |it| it.options.store_max);
        let more = limits::STORE_KEY_OVERHEAD + (key.len() + value.len()) as u64;
        let all = tables.vatstore.bytes(self.vat) + more;
        if all <= max {
            return Ok(());
        }
        let old = stored::get(self.ledger.block_mut(), self.vat, key.clone())?;
        let old = old.map_or(0, |it| limits::STORE_KEY_OVERHEAD + (key.len() + it.len()) as u64);
        Ok(VatFault::limit("storeMax", all - old, max)?)
    }

    fn key(&self, key: Bytes) -> Result<Bytes, Fault> {
        self.size("key", key.len(), limits::KEY_BYTES_MAX)?;
        Ok(key)
    }

    /// The kernel's name of what the vat may mention; a new one for what it allocates.
    fn export(&mut self, vref: VRef) -> Result<KRef, Fault> {
        let entry = self.ledger.tables().clist.get(&(self.vat, vref)).copied();
        match entry {
            Some(CListEntry { kref, reachable: true }) => Ok(kref),
            Some(CListEntry { kref, .. }) if vref.is_exported_object() => {
                self.ledger.set_reachable(self.vat, vref, true)?;
                Ok(kref)
            }
            Some(_) => self.illegal(format_args!("{vref} was dropped")),
            None if !vref.is_own() => self.illegal(format_args!("{vref} is not in the c-list")),
            None => {
                let max =
                    self.ledger.tables().vats.get(&self.vat).map_or(limits::OWN_REFS_MAX, |it| it.options.refs_max);
                VatFault::limit("refsMax", self.ledger.tables().clist.own(self.vat) + 1, max)?;
                let kref: KRef = match vref.kind() {
                    VRefKind::Object => self.ledger.new_object(self.vat).into(),
                    VRefKind::Promise => {
                        let kref = self.ledger.new_promise(Some(self.vat)).into();
                        self.ledger.incref(kref)?;
                        kref
                    }
                    VRefKind::Device => return self.illegal(format_args!("{vref}: a vat has no devices of its own")),
                };
                self.ledger.add_entry(self.vat, vref, kref);
                Ok(kref)
            }
        }
    }

    fn export_data(&mut self, data: CapData<VRef>) -> Result<CapData<KRef>, Fault> {
        self.size("body", data.body.len(), limits::BODY_BYTES_MAX)?;
        self.size("slots", data.slots.len(), limits::SLOTS_MAX)?;
        let slots = data.slots.into_iter().map(|it| self.export(it)).collect::<Result<_, _>>()?;
        Ok(CapData { body: data.body, slots })
    }

    fn send(&mut self, target: VRef, message: Message<VRef>) -> Result<Syscall<KRef>, Fault> {
        if target.kind() == VRefKind::Device {
            return self.illegal(format_args!("{target} is a device"));
        }
        let target = self.export(target)?;
        let methargs = self.export_data(message.methargs)?;
        let result = message.result.map(|it| self.result(it)).transpose()?;
        Ok(Syscall::Send { target, message: Message { methargs, result } })
    }

    /// The promise for an answer must be new; or, where the vat takes pipelined messages, one that it decides.
    fn result(&mut self, vref: VRef) -> Result<KRef, Fault> {
        if !vref.is_promise() {
            return self.illegal(format_args!("result {vref} is not a promise"));
        }
        let known = self.ledger.tables().clist.get(&(self.vat, vref)).map(|it| it.kref);
        let Some(kref) = known else { return self.export(vref) };
        let pipelining = self.ledger.tables().vats.get(&self.vat).is_some_and(|it| it.options.pipelining);
        if !pipelining {
            return self.illegal(format_args!("result {vref} is already in use"));
        }
        self.must_decide(vref, kref)?;
        Ok(kref)
    }

    fn must_decide(&self, vref: VRef, kref: KRef) -> Result<(), Fault> {
        let decider = match kref {
            KRef::Promise(id) => self.ledger.promise(id)?.decider(),
            _ => None,
        };
        let is_omitted =
            || probe_of(self.ledger.block()).is_some_and(|it| it.omits(BoundaryCheck::Decider, self.ledger));
        if decider != Some(self.vat) && !is_omitted() {
            return self.illegal(format_args!("the vat does not decide {vref}"));
        }
        Ok(())
    }

    fn resolve(&mut self, resolutions: Vec<Resolution<VRef>>) -> Result<Vec<Resolution<KRef>>, Fault> {
        self.size("resolutions", resolutions.len(), limits::REFS_MAX)?;
        let vrefs: Vec<VRef> = resolutions.iter().map(|it| it.promise).collect();
        let mut krefs = Vec::with_capacity(resolutions.len());
        for Resolution { promise: vref, rejected, data } in resolutions {
            if !vref.is_promise() {
                return self.illegal(format_args!("{vref} is not a promise"));
            }
            if !rejected {
                self.check_fulfilment(&data)?;
            }
            let promise = self.export(vref)?;
            self.must_decide(vref, promise)?;
            krefs.push(Resolution { promise, rejected, data: self.export_data(data)? });
        }
        self.refuse_repeats(&vrefs)?;
        Ok(krefs)
    }

    fn check_fulfilment(&self, data: &CapData<VRef>) -> Result<(), Fault> {
        let kind = |it: &VRef| if it.is_promise() { SlotKind::Promise } else { SlotKind::Presence };
        let kinds: Vec<SlotKind> = data.slots.iter().map(kind).collect();
        match body::shape_of(&data.body, &kinds) {
            Ok(Shape::Slot(index)) if kinds.get(index) == Some(&SlotKind::Promise) => {
                self.illegal("cannot resolve to a promise")
            }
            Ok(_) => Ok(()),
            Err(why) => self.illegal(why),
        }
    }

    /// Checks that what the vat gives up is in its c-list and of the right kind. `unless_reachable`: it must have been
    /// dropped before.
    fn held(
        &self,
        refs: &[VRef],
        kind: impl Fn(&VRef) -> bool,
        unless_reachable: Option<&str>,
    ) -> Result<Vec<KRef>, Fault> {
        self.size("references", refs.len(), limits::REFS_MAX)?;
        let mut krefs = Vec::with_capacity(refs.len());
        for vref in refs {
            let entry = self.ledger.tables().clist.get(&(self.vat, *vref));
            match (entry, unless_reachable) {
                _ if !kind(vref) => return self.illegal(format_args!("{vref} is of the wrong kind")),
                (None, _) => return self.illegal(format_args!("{vref} is not in the c-list")),
                (Some(CListEntry { reachable: true, .. }), Some(why)) => {
                    return self.illegal(format_args!("{vref} is {why}"));
                }
                (Some(entry), _) => krefs.push(entry.kref),
            }
        }
        if unless_reachable.is_some() {
            self.refuse_repeats(refs)?;
        }
        Ok(krefs)
    }

    fn refuse_repeats(&self, refs: &[VRef]) -> Result<(), Fault> {
        let mut sorted = refs.to_vec();
        sorted.sort();
        match sorted.windows(2).find(|it| it[0] == it[1]) {
            Some(twice) => self.illegal(format_args!("{} twice", twice[0])),
            None => Ok(()),
        }
    }
}
