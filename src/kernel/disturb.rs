//! The effects of an experiment's faults on a crank. Nothing here runs in a real host: its block has no injector.
//!
//! Invariants: what cannot be done at a place is noted and changes nothing; a fault of the schedule that changes rows
//! does so in the crank that it names, like a directive.

use crate::{
    directive::{Action, Bit, Directive, Disturbance, SyscallError},
    directive::{
        injector::{Disturbed, Injector},
        plant::{Plant, PlantedAt},
    },
    kernel::{
        Ended, Ledger,
        audit::audit,
        crank::Crank,
        deliver::next_delivery,
        plant::{damage, misuse},
        replay, run_order,
        take::{Numbers, Source, Work},
    },
    model::{
        blame::{Fault, Halted, VatFault},
        body,
        id::{CrankNum, VatId},
        value::{Answer, Bytes},
    },
    slog::{Detail, Event},
    state::{
        block::Step,
        table::{Item, QueueId},
    },
};

/// Bytes of the pages that a random bit is drawn from.
const PAGE_BYTES: usize = 4_096;

/// Returns the numbers of the pages that hold anything but zeros: a bit of another page is one that nobody uses.
fn pages_in_use(memory: &[u8]) -> Vec<u64> {
    let pages = (0..).zip(memory.chunks_exact(PAGE_BYTES));
    pages.filter(|(_, page)| page.iter().any(|it| *it != 0)).map(|(at, _)| at).collect()
}

/// Disturbs the crank, whose directives were obeyed.
pub(super) fn disturb(crank: &mut Crank<'_>, faults: &[Directive]) -> Result<(), Fault> {
    for fault in faults {
        let Action::Disturb(disturbance) = &fault.action else { continue };
        let vat = crank.log.work.vat();
        let why_not = match disturbance {
            Disturbance::Plant(name) | Disturbance::KernelPanic(name) => {
                let number = crank.ledger.number();
                crank.ledger.block_mut().probed().plants.push(Plant::in_crank(name, number));
                None
            }
            Disturbance::Flip { vat, bit } => flip(crank, fault, *vat, *bit)?,
            Disturbance::TrapAfter { fuel } if crank.log.work.numbers(crank.ledger.tables()).first.is_some() => {
                if let Some(injector) = injector(&mut crank.ledger) {
                    injector.limit_fuel(fault, *fuel);
                }
                // What comes of it is known when the delivery has run.
                continue;
            }
            Disturbance::TrapAfter { .. } => Some("the crank is no delivery".to_owned()),
            // What was let through before it takes its number, and is not late for that.
            Disturbance::Delay { .. } if injector(&mut crank.ledger).is_some_and(|it| it.is_over(fault)) => {
                continue;
            }
            Disturbance::Delay { cranks } => {
                let why_not = delay(crank, *cranks)?;
                if why_not.is_none() {
                    crank.ledger.seal(Step::Fault)?;
                }
                why_not
            }
            Disturbance::Duplicate => {
                let why_not = duplicate(crank)?;
                if why_not.is_none() {
                    crank.ledger.seal(Step::Fault)?;
                    crank.log.work = crank.retake()?;
                }
                why_not
            }
            Disturbance::Kill => {
                return Err(Halted { crank: crank.ledger.number(), line: fault.to_string(), why: None }.into());
            }
            other => Some(format!("`{other}` cannot be done at a crank")),
        };
        record_fault(&mut crank.ledger, fault, vat);
        note(&mut crank.ledger, fault, vat, why_not);
    }
    Ok(())
}

/// Turns a bit of a vat's memory over.
fn flip(crank: &mut Crank<'_>, fault: &Directive, vat: VatId, bit: Bit) -> Result<Option<String>, Fault> {
    if !crank.ledger.tables().is_alive(vat) {
        return Ok(Some(format!("{vat} is not alive")));
    }
    if crank.ledger.tables().is_session(vat) {
        return Ok(Some(format!("{vat} is a session, which has no memory")));
    }
    let number = next_delivery(crank.ledger.tables(), vat);
    if crank.ledger.tables().vats.get(&vat).is_none_or(|it| it.first_delivery == number) {
        return Ok(Some(format!("{vat} has not run yet")));
    }
    replay::bring_up(crank.ledger.block_mut(), crank.workers, vat)?;
    let Some(memory) = crank.workers.worker(vat).and_then(|it| it.memory()) else {
        return Ok(Some(format!("{vat} has no memory")));
    };
    let bytes = memory.len() as u64;
    let (address, bit) = match bit {
        Bit::At { address, bit } => (address, bit),
        Bit::Random => {
            let used = pages_in_use(memory);
            let page_bytes = PAGE_BYTES as u64;
            let bits = used.len() as u64 * page_bytes * 8;
            let random = injector(&mut crank.ledger).map_or(0, |it| it.random(fault, number, bits));
            let page = usize::try_from(random / 8 / page_bytes).ok().and_then(|it| used.get(it));
            let Some(page) = page else { return Ok(Some(format!("{vat} uses no page of its memory"))) };
            (page * page_bytes + random / 8 % page_bytes, u8::try_from(random % 8).unwrap_or(0))
        }
    };
    let memory = crank.workers.worker(vat).and_then(|it| it.memory());
    let byte = memory.and_then(|it| it.get_mut(usize::try_from(address).ok()?));
    Ok(match byte {
        Some(byte) => {
            *byte ^= 1 << bit;
            None
        }
        None => Some(format!("{vat} has {bytes} bytes of memory")),
    })
}

/// Puts the item behind others of the run-queue; the crank ends with that.
fn delay(crank: &mut Crank<'_>, cranks: u64) -> Result<Option<String>, Fault> {
    let Some(Source::Queue(id @ QueueId::Run(_), at)) = crank.log.source else {
        return Ok(Some("only what stands in the run-queue can be late".to_owned()));
    };
    if matches!(crank.log.work, Work::Done | Work::Entry(_)) {
        return Ok(Some("nothing was left of the delivery".to_owned()));
    }
    // It was taken: what is left comes behind it.
    let behind = run_order(crank.ledger.tables()).into_iter();
    let behind: Vec<_> = behind.take(usize::try_from(cranks).unwrap_or(usize::MAX)).collect();
    if behind.is_empty() {
        return Ok(Some("nothing stands behind it in the run-queue".to_owned()));
    }
    crank.rewind();
    let queue = &mut crank.ledger.tables_mut().queue;
    let late = queue.remove(&(id, at));
    let mut gap = (id, at);
    for next in behind {
        if let Some(item) = queue.remove(&next) {
            queue.insert(gap, item);
            gap = next;
        }
    }
    if let Some(item) = late {
        queue.insert(gap, item);
    }
    crank.log.work = Work::Done;
    Ok(None)
}

/// Puts a copy of the item before it, which has no result, because a promise is settled once; the crank takes the copy.
fn duplicate(crank: &mut Crank<'_>) -> Result<Option<String>, Fault> {
    let (Some(Source::Queue(id @ QueueId::Run(_), at)), Work::Item(_, Item::Send { .. })) =
        (crank.log.source, &crank.log.work)
    else {
        return Ok(Some("only a message can come twice".to_owned()));
    };
    crank.rewind();
    let Some(mut waiting) = crank.ledger.tables().queue.get(&(id, at)).cloned() else { return Ok(None) };
    if let Item::Send { target, message } = &mut waiting.item {
        message.result = None;
        crank.ledger.incref_message(*target, message)?;
    }
    crank.ledger.tables_mut().queue.insert((id, at - 1), waiting);
    crank.log.source = Some(Source::Queue(id, at - 1));
    Ok(None)
}

/// Disturbs what is there when a delivery has run and is kept.
pub(super) fn disturb_end(crank: &mut Crank<'_>) -> Result<(), Fault> {
    let Some((vat, number)) = crank.log.ran.delivery else { return Ok(()) };
    let Some(injector) = injector(&mut crank.ledger) else { return Ok(()) };
    let faults = injector.at_end(vat, number);
    for fault in faults {
        let why_not = match &fault.action {
            _ if crank.log.ran.ended.is_some() => Some(format!("{vat} ended")),
            Action::Pause { why, .. } => {
                crank.ledger.pause(vat, why.as_deref().unwrap_or("paused by a fault"))?;
                None
            }
            Action::Terminate { why, .. } => {
                let info = body::error(why.as_deref().unwrap_or("terminated by a fault"));
                let ended = Ended { aborted: false, info, fault: None };
                crank.end(vat, ended)?;
                None
            }
            Action::Disturb(Disturbance::Flip { vat, bit }) => flip(crank, &fault, *vat, *bit)?,
            Action::Disturb(Disturbance::Plant(name) | Disturbance::KernelPanic(name)) => {
                let number = crank.ledger.number();
                crank.ledger.block_mut().probed().plants.push(Plant::in_crank(name, number));
                note(&mut crank.ledger, &fault, Some(vat), None);
                break_now(&mut crank.ledger, name)?;
                continue;
            }
            other => Some(format!("`{other}` cannot be done at the end of a delivery")),
        };
        record_fault(&mut crank.ledger, &fault, Some(vat));
        note(&mut crank.ledger, &fault, Some(vat), why_not);
    }
    Ok(())
}

/// Returns the faults that are to be injected, if any are.
pub(super) fn injector(ledger: &mut Ledger) -> Option<&mut Injector> {
    ledger.block_mut().probe_mut()?.injector.as_mut()
}

/// Returns whether a directive is one of the faults that are to be injected, rather than an operator's.
pub(super) fn is_fault(ledger: &Ledger, directive: &Directive) -> bool {
    let injector = ledger.block().probe().and_then(|it| it.injector.as_ref());
    injector.is_some_and(|it| it.schedule().faults().any(|it| it == directive) || directive.is_for_experiments())
}

/// Returns the faults that fire at this crank because its delivery is one of every so many.
pub(super) fn recurring(ledger: &mut Ledger, numbers: Numbers) -> Vec<Directive> {
    let Some(injector) = injector(ledger) else { return Vec::new() };
    let recurring = numbers.iter().flat_map(|(vat, number)| injector.recurring(vat, number));
    recurring.collect()
}

/// Notes that the place of a fault was reached.
pub(super) fn note(ledger: &mut Ledger, fault: &Directive, vat: Option<VatId>, why_not: Option<String>) {
    let number = ledger.number();
    if let Some(injector) = injector(ledger) {
        injector.note(fault, number, vat, why_not);
    }
}

fn record_fault(ledger: &mut Ledger, fault: &Directive, vat: Option<VatId>) {
    let crank_num = ledger.number();
    let action = fault.action.to_string().split(' ').next().unwrap_or_default().to_owned();
    let delivery_num = vat.map(|it| next_delivery(ledger.tables(), it).0);
    let (vat, line) = (vat.map(|it| it.to_string()), fault.to_string());
    let event = || Event::Directive { crank_num, vat, delivery_num, action, line, status: "injected", consumed: None };
    ledger.slog().record(Detail::Cranks, event);
}

/// Breaks an invariant here, and sees that it is noticed.
pub(super) fn break_now(ledger: &mut Ledger, name: &str) -> Result<(), Fault> {
    if name.starts_with("audit.") {
        damage(ledger, name)?;
        audit(ledger.tables())?;
        return Ok(());
    }
    misuse(ledger, name)
}

/// Returns whether a plant breaks, in this crank, an invariant that only an audit checks.
pub(super) fn breaks_for_audit(ledger: &mut Ledger) -> bool {
    let number = ledger.number();
    let Some(probe) = ledger.block().probe().filter(|it| it.injector.is_some()) else { return false };
    probe.plants.iter().any(|it| it.at == PlantedAt::Crank(number) && it.name.starts_with("audit."))
}

/// Returns the fuel that a fault leaves the next delivery, and the fault.
pub(super) fn fuel_left(ledger: &mut Ledger) -> Option<(usize, u64)> {
    injector(ledger)?.take_fuel_max()
}

/// Notes what became of a limit on fuel.
pub(super) fn note_fuel(ledger: &mut Ledger, limit: (usize, u64), vat: VatId, used: Option<u64>) {
    let why_not = used.map(|it| format!("the delivery used {it}"));
    let number = ledger.number();
    if let Some(injector) = injector(ledger) {
        injector.note_fuel(limit.0, number, Some(vat), why_not);
    }
}

/// The decision on a syscall that an experiment may disturb.
pub(super) enum Verdict {
    /// The syscall runs as usual; then its answer, if it has one, is replaced.
    Answer(usize, Answer),
    /// The syscall fails with a fault.
    Fails(Fault),
    /// The syscall runs as usual.
    Not,
}

/// Disturbs a syscall before it is applied.
pub(super) fn disturb_syscall(
    ledger: &mut Ledger,
    disturbed: &mut Disturbed,
    number: u32,
    kind: &'static str,
) -> Verdict {
    let Some((at, disturbance)) = disturbed.syscall(number, kind) else { return Verdict::Not };
    let crank = ledger.number();
    match disturbance {
        Disturbance::Error(SyscallError::Absent) => Verdict::Answer(at, Answer::Value(None)),
        Disturbance::Value(bytes) => Verdict::Answer(at, Answer::Value(Some(Bytes::from(bytes)))),
        Disturbance::Error(SyscallError::Illegal) => {
            disturbed.hit(at, crank, None);
            Verdict::Fails(VatFault::illegal(kind, "injected").into())
        }
        Disturbance::Error(SyscallError::OutOfFuel) => {
            disturbed.hit(at, crank, None);
            Verdict::Fails(VatFault::OutOfFuel.into())
        }
        Disturbance::KernelPanic(name) => {
            disturbed.hit(at, crank, None);
            match break_now(ledger, name) {
                Ok(()) => Verdict::Not,
                Err(fault) => Verdict::Fails(fault),
            }
        }
        other => {
            disturbed.hit(at, crank, Some(format!("`{other}` cannot be done at a syscall")));
            Verdict::Not
        }
    }
}

/// Returns the answer that a disturbed syscall gives: only a syscall that answers with data can answer with others.
pub(super) fn disturbed_answer(
    disturbed: &Disturbed,
    crank: CrankNum,
    at: usize,
    real: Answer,
    instead: Answer,
) -> Answer {
    match real {
        Answer::Value(_) | Answer::Device(_) => {
            disturbed.hit(at, crank, None);
            instead
        }
        Answer::Done => {
            disturbed.hit(at, crank, Some("the syscall answers with nothing".to_owned()));
            real
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_in_use_if_it_holds_anything() {
        let mut memory = vec![0; 5 * PAGE_BYTES];
        assert_eq!(pages_in_use(&memory), [0_u64; 0]);
        (memory[PAGE_BYTES], memory[4 * PAGE_BYTES + 9]) = (1, 128);
        assert_eq!(pages_in_use(&memory), [1, 4]);
    }
}
