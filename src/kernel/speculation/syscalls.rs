//! The syscalls of a guest that runs ahead of its turn, or again.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use crate::{
    kernel::{
        speculation::{GuestAct, Record},
        syscall::{Live, anachronism},
    },
    model::{
        blame::{Fault, Interrupted},
        id::{VRef, VatId},
        limits,
        value::{Answer, Bytes, CapData, StoreKey, Syscall},
    },
    state::table::Tables,
};

/// The syscalls of a guest that runs ahead of its turn. Reads of the vatstore are answered from the tables, if it has them, and from the
/// delivery's own writes; everything else is taken for granted, since the live syscalls are still to come. What the vat cannot know alone
/// ends the speculation.
#[derive(Debug)]
pub(in crate::kernel) struct Guess {
    vat: VatId,
    /// The tables before the delivery; `None` if no read is to be answered.
    tables: Option<Arc<Tables>>,
    /// The keys that this delivery wrote or deleted.
    written: BTreeMap<StoreKey, Option<Bytes>>,
    acts: Vec<GuestAct>,
    /// Bytes of the acts, roughly.
    bytes: u64,
    /// Bytes of console lines.
    printed: u64,
    syscalls: u32,
    given_up: bool,
}

impl Guess {
    pub(in crate::kernel) fn new(vat: VatId, tables: Option<Arc<Tables>>) -> Guess {
        let (written, acts) = (BTreeMap::new(), Vec::new());
        Guess { vat, tables, written, acts, bytes: 0, printed: 0, syscalls: 0, given_up: false }
    }

    /// Answers a syscall of the guest. An error ends the delivery, and is seen by nobody.
    pub(in crate::kernel) fn call(&mut self, syscall: Syscall<VRef>) -> Result<Answer, Fault> {
        let Some(answer) = self.answer(&syscall) else { return Err(self.give_up()) };
        self.syscalls += 1;
        self.bytes = self.bytes.saturating_add(bytes_of(&syscall));
        if let Answer::Value(Some(value)) = &answer {
            self.bytes = self.bytes.saturating_add(value.len() as u64);
        }
        // The live delivery would fault: that is best left to it.
        if self.syscalls > limits::SYSCALLS_MAX || self.bytes > limits::ENTRY_BYTES_MAX {
            return Err(self.give_up());
        }
        self.acts.push(GuestAct::Syscall(syscall, answer.clone()));
        Ok(answer)
    }

    /// Ends the speculation, which came to what is not known ahead of time.
    pub(in crate::kernel) fn give_up(&mut self) -> Fault {
        self.given_up = true;
        Interrupted.into()
    }

    /// Records a line, unless the log would not take it either.
    pub(in crate::kernel) fn console(&mut self, level: &'static str, text: &str, bytes: u64) {
        if self.printed > limits::CONSOLE_BYTES_PER_DELIVERY {
            return;
        }
        self.printed = self.printed.saturating_add(bytes);
        self.acts.push(GuestAct::Console { level, text: text.to_owned(), bytes });
    }

    /// Returns all that the guest did; `None` if the speculation was ended.
    pub(in crate::kernel) fn into_acts(self) -> Option<Vec<GuestAct>> {
        (!self.given_up).then_some(self.acts)
    }

    fn answer(&mut self, syscall: &Syscall<VRef>) -> Option<Answer> {
        // Without tables, cranks run meanwhile; and a row may be in the file alone, which only a crank reads.
        if syscall.reads_vatstore() && !self.tables.as_ref().is_some_and(|it| it.vatstore.is_whole()) {
            return None;
        }
        Some(match syscall {
            Syscall::VatstoreGet(key) => Answer::Value(self.get(key.clone().into())),
            Syscall::VatstoreGetNextKey(key) => Answer::Value(self.next_key(key.clone().into())),
            Syscall::VatstoreScan { prefix, after, max } => {
                Answer::Value(Some(self.scan(prefix, after, *max as usize)))
            }
            Syscall::VatstoreSet(key, value) => {
                self.written.insert(key.clone().into(), Some(value.clone()));
                Answer::Done
            }
            Syscall::VatstoreDelete(key) => {
                self.written.insert(key.clone().into(), None);
                Answer::Done
            }
            Syscall::CallNow { .. } => return None,
            Syscall::Send { .. }
            | Syscall::Subscribe(_)
            | Syscall::Resolve(_)
            | Syscall::Exit { .. }
            | Syscall::DropImports(_)
            | Syscall::RetireImports(_)
            | Syscall::RetireExports(_)
            | Syscall::AbandonExports(_) => Answer::Done,
        })
    }

    /// Returns the first row of the vat's store, as it was before the delivery, from this key on. The one place that reads it.
    fn stored(&self, from: Bound<StoreKey>) -> Option<(&StoreKey, &Bytes)> {
        let from = from.map(|key| (self.vat, key));
        let row = self.tables.as_ref()?.vatstore.range((from, Bound::Unbounded)).next();
        row.filter(|((vat, _), _)| *vat == self.vat).map(|((_, key), value)| (key, value))
    }

    /// Returns the first row of the vat's store, as the delivery left it so far, from this key on.
    fn row(&self, from: Bound<StoreKey>) -> Option<(&StoreKey, &Bytes)> {
        let mut stored = self.stored(from.clone());
        while let Some((key, _)) = stored.filter(|(key, _)| self.written.contains_key(key)) {
            stored = self.stored(Bound::Excluded(key.clone()));
        }
        let mut written = self.written.range((from, Bound::Unbounded));
        let written = written.find_map(|(key, value)| Some((key, value.as_ref()?)));
        match (stored, written) {
            (Some(stored), Some(written)) if written.0 < stored.0 => Some(written),
            (stored, written) => stored.or(written),
        }
    }

    fn get(&self, key: StoreKey) -> Option<Bytes> {
        let value = match self.written.get(&key) {
            Some(written) => written.as_ref(),
            None => self.stored(Bound::Included(key.clone())).filter(|(it, _)| **it == key).map(|(_, value)| value),
        };
        value.filter(|it| !it.is_empty()).cloned()
    }

    fn next_key(&self, key: StoreKey) -> Option<Bytes> {
        self.row(Bound::Excluded(key)).map(|(key, _)| (**key).clone())
    }

    fn scan(&self, prefix: &Bytes, after: &Bytes, max: usize) -> Bytes {
        let mut from = match after.is_empty() || after < prefix {
            true => Bound::Included(prefix.clone().into()),
            false => Bound::Excluded(after.clone().into()),
        };
        let mut out = Vec::new();
        while let Some((key, value)) = self.row(from) {
            let fits = out.len() + 8 + key.len() + value.len() <= max;
            if !key.starts_with(prefix) || !fits {
                break;
            }
            for length in [key.len(), value.len()] {
                out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
            }
            out.extend_from_slice(key);
            out.extend_from_slice(value);
            from = Bound::Excluded(key.clone());
        }
        Bytes::from(out)
    }
}

/// Returns the bytes that a syscall takes in memory, roughly.
fn bytes_of(syscall: &Syscall<VRef>) -> u64 {
    let data = |data: &CapData<VRef>| data.body.len() + 8 * data.slots.len();
    let bytes = match syscall {
        Syscall::Send { message, .. } => data(&message.methargs),
        Syscall::Resolve(all) => all.iter().map(|it| 32 + data(&it.data)).sum(),
        Syscall::Exit { info, .. } => data(info),
        Syscall::CallNow { methargs, .. } => data(methargs),
        Syscall::VatstoreSet(key, value) => key.len() + value.len(),
        Syscall::VatstoreGet(key) | Syscall::VatstoreDelete(key) | Syscall::VatstoreGetNextKey(key) => key.len(),
        Syscall::VatstoreScan { prefix, after, .. } => prefix.len() + after.len(),
        Syscall::DropImports(refs)
        | Syscall::RetireImports(refs)
        | Syscall::RetireExports(refs)
        | Syscall::AbandonExports(refs) => 8 * refs.len(),
        Syscall::Subscribe(_) => 0,
    };
    bytes as u64
}

/// The syscalls of a guest that runs again, since an answer was another than it was given ahead of its turn. Those before it were
/// applied already: they are answered from the record. Those behind it are live.
#[derive(Debug)]
pub(in crate::kernel) struct Again {
    pub(in crate::kernel) live: Live,
    vat: VatId,
    record: Arc<Record>,
    /// The next act that the guest will make again.
    next: usize,
    /// The act whose answer was another, and that answer; `None` once it was given.
    parted: usize,
    answer: Option<Result<Answer, Fault>>,
}

impl Again {
    pub(in crate::kernel) fn new(
        live: Live,
        vat: VatId,
        record: Arc<Record>,
        parted: usize,
        answer: Result<Answer, Fault>,
    ) -> Again {
        Again { live, vat, record, next: 0, parted, answer: Some(answer) }
    }

    /// Returns whether the guest has come to where it goes on live.
    pub(in crate::kernel) fn is_live(&self) -> bool {
        self.answer.is_none()
    }

    /// Answers a syscall that was applied already.
    pub(in crate::kernel) fn call(&mut self, syscall: &Syscall<VRef>) -> Result<Answer, Fault> {
        let at = self.next;
        self.next += 1;
        match self.record.acts.get(at) {
            Some(GuestAct::Syscall(recorded, given)) if recorded == syscall => {
                match self.answer.take_if(|_| at == self.parted) {
                    Some(answer) => answer,
                    None => Ok(given.clone()),
                }
            }
            other => {
                let number = self.live.at.delivery_num;
                let (what, recorded) = (format_args!("act {at}"), format!("{other:?}"));
                Err(anachronism(self.vat, number, what, recorded, format_args!("{syscall:?}")))
            }
        }
    }

    /// Passes over a line that is in the log already.
    pub(in crate::kernel) fn console(&mut self) {
        self.next += 1;
    }
}
