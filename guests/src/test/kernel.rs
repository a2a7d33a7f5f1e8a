//! The mock kernel's record of the vat.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::vec::Vec;

use super::Sent;
use crate::sys::CapData;
use crate::vref::{self, VRef, text};

/// The answer of a device to the body of a call.
pub(super) type Answer = fn(&str) -> Result<String, String>;

#[derive(Default)]
pub(super) struct Kernel {
    pub(super) input: Vec<u8>,
    pub(super) answer: Vec<u8>,
    pub(super) vatstore: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) outcomes: BTreeMap<VRef, (bool, CapData)>,
    pub(super) sent: Vec<Sent>,
    pub(super) log: Vec<String>,
    pub(super) console: Vec<String>,
    pub(super) device: Option<Answer>,
    /// The references that the vat may mention.
    clist: BTreeSet<VRef>,
    /// Promises that were settled. The kernel would take a further mention for a new promise.
    retired: BTreeSet<VRef>,
}

std::thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::default();
}

pub(super) fn with<R>(f: impl FnOnce(&mut Kernel) -> R) -> R {
    KERNEL.with_borrow_mut(f)
}

pub(super) fn reset() {
    with(|kernel| *kernel = Kernel::default());
}

pub(super) fn set_input(bytes: Vec<u8>) {
    with(|kernel| kernel.input = bytes);
}

/// `u32 body_len, u32 nslots, slots, body, padding`.
pub(super) fn capdata(data: &CapData) -> Vec<u8> {
    let mut bytes = super::length(data.body.as_bytes()).to_le_bytes().to_vec();
    bytes.extend(super::u32_of(data.slots.len()).to_le_bytes());
    bytes.extend(data.slots.iter().flat_map(|slot| slot.to_le_bytes()));
    bytes.extend(data.body.bytes());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

impl Kernel {
    /// Notes a syscall in words.
    pub(super) fn note(&mut self, name: &str, words: &[&str]) {
        let words = words.iter().filter(|word| !word.is_empty());
        self.log.push(words.fold(name.to_string(), |line, word| line + " " + word));
    }

    pub(super) fn grant(&mut self, vrefs: &[VRef]) {
        self.clist.extend(vrefs);
    }

    /// The vat mentions a reference: one that it was given, or a new one of its own.
    pub(super) fn mention(&mut self, vref: VRef) {
        assert!(!self.retired.contains(&vref), "the vat mentions {}, which is retired", text(vref));
        let known = self.clist.contains(&vref) || vref & vref::OURS != 0;
        assert!(known, "the vat mentions {}, which it does not hold", text(vref));
        self.clist.insert(vref);
    }

    pub(super) fn mention_all(&mut self, data: &CapData) {
        data.slots.iter().for_each(|&slot| self.mention(slot));
    }

    pub(super) fn forget(&mut self, vrefs: &[VRef]) {
        for vref in vrefs {
            assert!(self.clist.remove(vref), "the vat does not hold {}", text(*vref));
        }
    }

    pub(super) fn retire_promises(&mut self, vpids: impl Iterator<Item = VRef>) {
        for vpid in vpids {
            assert!(self.retired.insert(vpid), "{} is settled twice", text(vpid));
            self.clist.remove(&vpid);
        }
    }

    pub(super) fn resolve(&mut self, batch: Vec<(VRef, bool, CapData)>) {
        for (vpid, _, data) in &batch {
            self.mention(*vpid);
            self.mention_all(data);
        }
        self.retire_promises(batch.iter().map(|(vpid, ..)| *vpid));
        for (vpid, rejected, data) in batch {
            let how = if rejected { "rejected" } else { "fulfilled" };
            self.note("resolve", &[&text(vpid), how, &data.body, &list(&data.slots)]);
            self.outcomes.insert(vpid, (rejected, data));
        }
    }
}

/// References in words, blanks between.
pub(super) fn list(vrefs: &[VRef]) -> String {
    vrefs.iter().map(|&vref| text(vref)).collect::<Vec<_>>().join(" ")
}
