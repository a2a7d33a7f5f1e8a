//! The syscalls that a vat may make during a delivery: the one place through which a guest reaches the kernel.

use std::{fmt, hint, ops::ControlFlow, sync::Arc};

use crate::{
    kernel::{
        Ledger, gc,
        probe::{Call, Probe},
        speculation::{Again, Guess, GuestAct, Record},
        translate::Outward,
    },
    model::{
        blame::{Anachronism, Fault, HostFault, KernelPanic, VatFault},
        id::{DeliveryNum, KRef, VRef, VatId},
        limits,
        value::{Answer, Bytes, CapData, Message, Syscall},
    },
    slog::{At, Detail, Event, Shape, SyscallResult},
    state::{
        block::{Block, stored},
        table::{Item, Tables},
        transcript::Entry,
    },
    store::Cut,
};

/// The syscalls of one delivery. Owned, so that a worker can keep it where its host functions find it; it holds the
/// open crank, and with it everything.
///
/// In a replay there is no crank: each syscall must equal the recorded one, and is answered from the record. Ahead of its turn
/// a delivery has no crank either: its syscalls are only recorded.
#[derive(Debug)]
pub struct Syscalls(Mode);

#[derive(Debug)]
enum Mode {
    Live(Live),
    Replay(Box<Replay>),
    Ahead(Box<Guess>),
    Again(Box<Again>),
}

/// The state of a live delivery, as it is left at its end.
#[derive(Debug)]
pub(crate) struct Live {
    pub(super) ledger: Ledger,
    pub(super) at: At,
    /// Number of syscalls made so far.
    pub(super) count: u32,
    /// The kind of the last one.
    pub(super) last: &'static str,
    /// The last `exit`.
    pub(super) exit: Option<Box<(bool, CapData<KRef>)>>,
    /// The fault of a syscall: it stands, whatever the guest does afterwards.
    pub(super) fault: Option<Box<Fault>>,
    /// Bytes of its console lines so far.
    printed: u64,
    /// The probe of the block, if it has one.
    pub(super) probe: Option<Arc<dyn Probe>>,
}

#[derive(Debug)]
struct Replay {
    vat: VatId,
    entry: Entry,
    next: usize,
    fault: Option<Fault>,
}

impl Syscalls {
    pub(super) fn live(ledger: Ledger, at: At) -> Syscalls {
        let probe = ledger.probe();
        let live = Live { ledger, at, count: 0, last: "", exit: None, fault: None, printed: 0, probe };
        Syscalls(Mode::Live(live))
    }

    pub(crate) fn replay(vat: VatId, entry: Entry) -> Syscalls {
        Syscalls(Mode::Replay(Box::new(Replay { vat, entry, next: 0, fault: None })))
    }

    /// Makes the syscalls of a delivery that runs ahead of its turn, before these tables. Without tables its first read of the vatstore
    /// ends it.
    pub fn ahead(vat: VatId, tables: Option<Arc<Tables>>) -> Syscalls {
        Syscalls(Mode::Ahead(Box::new(Guess::new(vat, tables))))
    }

    /// Returns all that a guest did ahead of its turn; `None` if it came to something that it cannot know there.
    pub fn into_acts(self) -> Option<Vec<GuestAct>> {
        match self.0 {
            Mode::Ahead(guess) => guess.into_acts(),
            Mode::Live(_) | Mode::Replay(_) | Mode::Again(_) => None,
        }
    }

    /// Has the guest run again up to the act with this number, which is answered so; from there on its syscalls are live.
    pub(super) fn again(
        self,
        vat: VatId,
        record: Arc<Record>,
        parted: usize,
        answer: Result<Answer, Fault>,
    ) -> Result<Syscalls, KernelPanic> {
        let again = Again::new(self.into_live()?, vat, record, parted, answer);
        Ok(Syscalls(Mode::Again(Box::new(again))))
    }

    /// Returns the block of a live delivery.
    pub(super) fn block_mut(&mut self) -> Result<&mut Block, KernelPanic> {
        match &mut self.0 {
            Mode::Live(live) => Ok(live.ledger.block_mut()),
            Mode::Again(again) => Ok(again.live.ledger.block_mut()),
            Mode::Replay(_) | Mode::Ahead(_) => Err(not_live()),
        }
    }

    /// Returns whether the delivery is live, or may become so, rather than a replay.
    pub fn is_live(&self) -> bool {
        !matches!(self.0, Mode::Replay(_))
    }

    pub(crate) fn into_live(self) -> Result<Live, KernelPanic> {
        match self.0 {
            Mode::Live(live) => Ok(live),
            Mode::Again(again) => Ok(again.live),
            Mode::Replay(_) | Mode::Ahead(_) => Err(not_live()),
        }
    }

    /// Checks, after a replayed delivery, that the vat made every recorded syscall.
    pub(super) fn end_replay(self) -> Result<(), Fault> {
        let Mode::Replay(replay) = self.0 else { return Ok(()) };
        if let Some(fault) = replay.fault {
            return Err(fault);
        }
        match replay.entry.syscalls.get(replay.next) {
            Some((missing, _)) => {
                let (what, recorded) = (format_args!("syscall {}", replay.next), format_args!("{missing:?}"));
                Err(anachronism(replay.vat, replay.entry.number, what, recorded, "none: the delivery ended"))
            }
            None => Ok(()),
        }
    }

    /// Makes a syscall for the vat. The delivery must end with the fault that this returns.
    pub fn call(&mut self, syscall: Syscall<VRef>) -> Result<Answer, Fault> {
        self.call_from(syscall, &[])
    }

    /// Makes a syscall for a guest with this memory, which only an observer looks into.
    pub fn call_from(&mut self, syscall: Syscall<VRef>, memory: &[u8]) -> Result<Answer, Fault> {
        match &mut self.0 {
            Mode::Live(live) => live.call(syscall, memory).inspect_err(|fault| {
                live.fault.get_or_insert_with(|| Box::new(fault.clone()));
            }),
            Mode::Replay(replay) => replay.call(&syscall).inspect_err(|fault| {
                replay.fault.get_or_insert_with(|| fault.clone());
            }),
            Mode::Ahead(guess) => guess.call(syscall),
            Mode::Again(again) => {
                let answer = if again.is_live() { again.live.call(syscall, memory) } else { again.call(&syscall) };
                answer.inspect_err(|fault| {
                    again.live.fault.get_or_insert_with(|| Box::new(fault.clone()));
                })
            }
        }
    }

    /// Ends the delivery: the guest asked for something that is no syscall at all.
    #[cold]
    pub fn malformed(&mut self, kind: &'static str, why: impl fmt::Display) -> Fault {
        let fault = Fault::from(VatFault::illegal(kind, why));
        let live = match &mut self.0 {
            Mode::Live(live) => live,
            Mode::Again(again) if again.is_live() => &mut again.live,
            Mode::Ahead(guess) => return guess.give_up(),
            Mode::Again(_) | Mode::Replay(_) => return fault,
        };
        live.count += 1;
        live.last = kind;
        live.fault.get_or_insert_with(|| Box::new(fault.clone()));
        fault
    }

    /// Writes a line of the vat's console to the slog; `bytes` is what it takes there. Not a syscall.
    pub fn console(&mut self, level: &'static str, text: &str, bytes: u64) {
        match &mut self.0 {
            Mode::Live(live) => live.console(level, text, bytes),
            Mode::Ahead(guess) => guess.console(level, text, bytes),
            Mode::Again(again) if again.is_live() => again.live.console(level, text, bytes),
            Mode::Again(again) => again.console(),
            Mode::Replay(_) => (),
        }
    }
}

fn not_live() -> KernelPanic {
    KernelPanic::new("worker.brought-up", "a live delivery came back as another")
}

pub(super) fn anachronism(
    vat: VatId,
    delivery: DeliveryNum,
    what: impl fmt::Display,
    recorded: impl fmt::Display,
    actual: impl fmt::Display,
) -> Fault {
    let (what, recorded, actual) = (what.to_string(), recorded.to_string(), actual.to_string());
    Anachronism { vat, delivery: delivery.0, what, recorded, actual }.into()
}

impl Replay {
    fn call(&mut self, syscall: &Syscall<VRef>) -> Result<Answer, Fault> {
        let at = self.next;
        self.next += 1;
        match self.entry.syscalls.get(at) {
            Some((recorded, answer)) if recorded == syscall => Ok(answer.clone()),
            other => {
                let recorded = other.map_or("none: the delivery ended".to_owned(), |(it, _)| format!("{it:?}"));
                let (what, actual) = (format_args!("syscall {at}"), format_args!("{syscall:?}"));
                Err(anachronism(self.vat, self.entry.number, what, recorded, actual))
            }
        }
    }
}

impl Live {
    /// Returns the probe, which few hosts have.
    #[inline]
    fn probe(&self) -> Option<Arc<dyn Probe>> {
        let probe = self.probe.as_ref()?;
        hint::cold_path();
        Some(Arc::clone(probe))
    }

    fn call(&mut self, syscall: Syscall<VRef>, memory: &[u8]) -> Result<Answer, Fault> {
        let (at, vat, kind) = (self.at, self.at.vat, syscall.kind());
        let syscall_num = self.count;
        self.count += 1;
        self.last = kind;
        if self.count > limits::SYSCALLS_MAX {
            return Err(
                VatFault::illegal(kind, format_args!("more than {} in a delivery", limits::SYSCALLS_MAX)).into()
            );
        }
        if let Some(probe) = self.probe() {
            probe.before_syscall(&mut self.ledger, at, syscall_num, kind)?;
        }
        self.ledger.entries().syscall(&syscall)?;
        self.check_entry()?;
        let seen = self.probe().filter(|it| it.sees_syscalls()).map(|probe| (probe, syscall.clone()));
        let recorded = self.ledger.slog().wants(Detail::Syscalls).then(|| syscall.clone());
        let translated = Outward { ledger: &mut self.ledger, vat, kind }.translate(syscall);
        let translated = translated.and_then(|it| self.ledger.check_queued(vat, &it).map(|()| it));
        if let Some(vsc) = &recorded {
            hint::cold_path();
            self.ledger.slog().record(Detail::Syscalls, || {
                let (ksc, vsc) = (translated.as_ref().ok().map(Shape), Shape(vsc));
                Event::Syscall { at, syscall_num, replay: false, syscall: kind, ksc, vsc }
            });
        }
        if let Some((probe, vat)) = &seen {
            hint::cold_path();
            let (kernel, block) = (translated.as_ref(), self.ledger.block());
            probe.syscall(&Call { at, number: syscall_num, vat, kernel, memory, block })?;
        }
        let answer = translated.and_then(|syscall| self.apply(syscall));
        if recorded.is_some() {
            hint::cold_path();
            let result = match &answer {
                Ok(answer) => SyscallResult::Ok(answer),
                Err(fault) => SyscallResult::Error(fault),
            };
            let event = || Event::SyscallResult { at, syscall_num, replay: false, ksr: result, vsr: result };
            self.ledger.slog().record(Detail::Syscalls, event);
        }
        let mut answer = answer?;
        if let Some(probe) = self.probe() {
            answer = probe.answer(at.crank_num, answer);
        }
        self.ledger.entries().answer(&answer)?;
        self.check_entry()?;
        Ok(answer)
    }

    /// A delivery's record must be one that can be read again.
    fn check_entry(&mut self) -> Result<(), Fault> {
        let bytes = self.ledger.entries().open_bytes();
        Ok(VatFault::limit("bytes of a transcript entry", bytes, limits::ENTRY_BYTES_MAX)?)
    }

    /// A line for the slog, as far as there is room for those of one delivery.
    fn console(&mut self, level: &'static str, text: &str, bytes: u64) {
        let max = limits::CONSOLE_BYTES_PER_DELIVERY;
        if self.printed > max {
            return;
        }
        self.printed = self.printed.saturating_add(bytes);
        let (level, text) = match self.printed <= max {
            true => (level, text),
            false => ("warn", "the rest of what this delivery writes to the console is cut"),
        };
        let at = self.at;
        let event = || Event::Console { at, level, args: [text], source: "vat" };
        self.ledger.slog().record(Detail::Deliveries, event);
        self.ledger.block_mut().console().hear(at.vat, level, text);
    }

    /// Applies what was translated. Nothing the guest does can fail here: an error is the kernel's.
    fn apply(&mut self, syscall: Syscall<KRef>) -> Result<Answer, Fault> {
        let vat = self.at.vat;
        let ledger = &mut self.ledger;
        match syscall {
            Syscall::Send { target, message } => ledger.send(target, message)?,
            Syscall::Subscribe(promise) => ledger.subscribe(vat, promise)?,
            Syscall::Resolve(resolutions) => ledger.resolve(vat, resolutions)?,
            Syscall::Exit { failure, info } => self.exit = Some(Box::new((failure, info))),
            Syscall::VatstoreGet(key) => return Ok(Answer::Value(vatstore_get(ledger.block_mut(), vat, key)?)),
            Syscall::VatstoreGetNextKey(key) => {
                return Ok(Answer::Value(vatstore_next_key(ledger.block_mut(), vat, key)?));
            }
            Syscall::VatstoreScan { prefix, after, max } => {
                let found = vatstore_scan(ledger.block_mut(), vat, &prefix, after, max as usize)?;
                return Ok(Answer::Value(Some(found)));
            }
            Syscall::VatstoreSet(key, value) => stored::set(ledger.block_mut(), vat, key, value)?,
            Syscall::VatstoreDelete(key) => stored::delete(ledger.block_mut(), vat, key)?,
            Syscall::DropImports(krefs) => krefs.into_iter().try_for_each(|it| gc::drop_import(ledger, vat, it))?,
            Syscall::RetireImports(krefs) => krefs.into_iter().try_for_each(|it| gc::retire_import(ledger, vat, it))?,
            Syscall::RetireExports(krefs) => krefs.into_iter().try_for_each(|it| gc::retire_export(ledger, vat, it))?,
            Syscall::AbandonExports(krefs) => {
                krefs.into_iter().try_for_each(|it| gc::abandon_export(ledger, vat, it))?
            }
            Syscall::CallNow { device, methargs } => return ledger.call_now(self.at, device, &methargs),
        }
        Ok(Answer::Done)
    }
}

impl Ledger {
    /// Sends a message; the vat that receives it will decide its result.
    pub(super) fn send(&mut self, target: KRef, message: Message<KRef>) -> Result<(), Fault> {
        if let Some(KRef::Promise(result)) = message.result {
            self.set_decider(result, None)?;
        }
        self.incref_message(target, &message)?;
        self.post(Item::Send { target, message });
        Ok(())
    }
}

/// An empty value counts as none, as in SwingSet.
fn vatstore_get(block: &mut Block, vat: VatId, key: Bytes) -> Result<Option<Bytes>, HostFault> {
    Ok(stored::get(block, vat, key)?.filter(|it| !it.is_empty()))
}

fn vatstore_next_key(block: &mut Block, vat: VatId, key: Bytes) -> Result<Option<Bytes>, HostFault> {
    let mut next = None;
    stored::walk(block, vat, Cut::behind((vat, key.into())), |key, _| {
        next = Some(key.clone());
        ControlFlow::Break(())
    })?;
    Ok(next)
}

/// `(key length u32, value length u32, key, value)*`, as many whole ones as fit. None do where `max` is too small for the next
/// one, or there is none: `vatstoreGetNextKey` tells which.
fn vatstore_scan(block: &mut Block, vat: VatId, prefix: &Bytes, after: Bytes, max: usize) -> Result<Bytes, HostFault> {
    let from = if after.is_empty() || after < *prefix {
        Cut::before((vat, prefix.clone().into()))
    } else {
        Cut::behind((vat, after.into()))
    };
    let mut out = Vec::new();
    stored::walk(block, vat, from, |key, value| {
        let fits = out.len() + 8 + key.len() + value.len() <= max;
        if !key.starts_with(prefix) || !fits {
            return ControlFlow::Break(());
        }
        for length in [key.len(), value.len()] {
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.extend_from_slice(key);
        out.extend_from_slice(value);
        ControlFlow::Continue(())
    })?;
    Ok(Bytes::from(out))
}
