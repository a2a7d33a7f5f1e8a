//! The injector as the kernel's probe: what an experiment's faults do to a crank.
//!
//! Invariants: what cannot be done at a place is noted and changes nothing; a fault of the schedule that changes rows
//! does so in the crank that it names, like a directive.

use crate::{
    directive::{Action, Bit, Class, Directive, DirectiveSet, Disturbance, SetDigest, SyscallError},
    kernel::{
        Crank, Ended, Ledger, Probe, bring_up,
        deliver::next_delivery,
        obey, run_order,
        take::{Source, Work},
    },
    lab::probe::{Injector, PlantedBug},
    model::{
        blame::{Fault, Halted, VatFault},
        body,
        id::{CrankNum, VatId},
        value::{Answer, Bytes},
    },
    slog::{At, Detail, Event},
    state::{
        block::{Block, BlockProbe, Step, classes},
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

impl BlockProbe for Injector {}

impl Probe for Injector {
    fn owns(&self, directive: &Directive) -> bool {
        self.schedule().faults().any(|it| it == directive)
    }

    fn digest(&self, operators: &DirectiveSet) -> SetDigest {
        // What contradicts was refused when the faults were put in force.
        self.with(operators).map_or_else(|_| operators.digest(), |it| it.digest())
    }

    fn in_force(&self, block: &Block) -> Vec<(String, Class)> {
        let all = self.with(block.directives());
        let all = classes(block, all.as_ref().unwrap_or(block.directives()));
        all.into_iter().map(|(directive, class)| (directive.to_string(), class)).collect()
    }

    fn wakes(&self, block: &Block) -> bool {
        let globals = block.tables().globals();
        let mut due = self.schedule().directives().due(globals.next_crank, None);
        due.any(|it| obey::acts_alone(it, block.tables()))
    }

    fn foresee(&self, crank: &Crank<'_>) -> Vec<String> {
        self.due(crank).iter().map(ToString::to_string).collect()
    }

    fn taken(&self, crank: &Crank<'_>) {
        self.set_due(self.due(crank));
    }

    /// What cannot be obeyed is noted, and changes nothing.
    fn obeyed<'h>(&self, mut crank: Crank<'h>) -> Result<Crank<'h>, Fault> {
        let (mut orders, mut faults) = (Vec::new(), Vec::new());
        let (number, vat) = (crank.ledger.number(), crank.log.work.vat());
        for fault in self.take_due() {
            if matches!(fault.action, Action::Disturb(_)) {
                faults.push(fault);
                continue;
            }
            let mut with_it = orders.clone();
            with_it.push(fault.clone());
            match crank.check(&with_it) {
                Ok(()) => {
                    orders = with_it;
                    self.note(&fault, number, vat, None);
                }
                Err(Fault::Halted(halted)) => {
                    let why = halted.why.unwrap_or_else(|| "it is no fault".to_owned());
                    self.note(&fault, number, vat, Some(why));
                }
                Err(other) => return Err(other),
            }
        }
        if !orders.is_empty() {
            crank = crank.carry_out_all(orders)?;
        }
        faults.iter().try_for_each(|fault| self.disturb(&mut crank, fault))?;
        Ok(crank)
    }

    fn begin_attempt(&self, at: At, fuel_max: u64) -> u64 {
        self.begin_delivery(at.vat).map_or(fuel_max, |fuel| fuel_max.min(fuel))
    }

    fn before_syscall(&self, ledger: &mut Ledger, at: At, number: u32, kind: &'static str) -> Result<(), Fault> {
        let Some((fault, disturbance)) = self.syscall(at.delivery_num, number, kind) else { return Ok(()) };
        let crank = at.crank_num;
        match disturbance {
            Disturbance::Error(SyscallError::Absent) => self.answer_instead(fault, Answer::Value(None)),
            Disturbance::Value(bytes) => self.answer_instead(fault, Answer::Value(Some(Bytes::from(bytes)))),
            Disturbance::Error(SyscallError::Illegal) => {
                self.hit(fault, crank, None);
                return Err(VatFault::illegal(kind, "injected").into());
            }
            Disturbance::Error(SyscallError::OutOfFuel) => {
                self.hit(fault, crank, None);
                return Err(VatFault::OutOfFuel.into());
            }
            Disturbance::KernelPanic(name) => {
                self.hit(fault, crank, None);
                self.bugs.break_now(ledger, name)?;
            }
            other => self.hit(fault, crank, Some(format!("`{other}` cannot be done at a syscall"))),
        }
        Ok(())
    }

    /// Only a syscall that answers with data can answer with others.
    fn answer(&self, crank: CrankNum, real: Answer) -> Answer {
        match (self.take_instead(), real) {
            (Some((fault, instead)), Answer::Value(_) | Answer::Device(_)) => {
                self.hit(fault, crank, None);
                instead
            }
            (Some((fault, _)), Answer::Done) => {
                self.hit(fault, crank, Some("the syscall answers with nothing".to_owned()));
                Answer::Done
            }
            (None, real) => real,
        }
    }

    fn end_attempt(&self, at: At, used: Option<u64>) {
        self.end_delivery(at.crank_num, used);
    }

    fn after_delivery(&self, crank: &mut Crank<'_>) -> Result<(), Fault> {
        let Some((vat, number)) = crank.log.ran.delivery else { return Ok(()) };
        self.at_end(vat, number).iter().try_for_each(|fault| self.disturb_end(crank, fault, vat))
    }

    fn audits(&self, crank: CrankNum) -> bool {
        self.bugs.breaks_for_audit(crank)
    }

    fn changes_heaps(&self) -> bool {
        true
    }
}

impl Injector {
    /// Returns the faults that are due in this crank, which has taken its item, in the order of effect.
    fn due(&self, crank: &Crank<'_>) -> Vec<Directive> {
        let (set, number) = (self.schedule().directives(), crank.ledger.number());
        let numbers = crank.log.work.numbers(crank.ledger.tables());
        let mut due: Vec<Directive> = set.due(number, numbers.first).cloned().collect();
        if let Some(second) = numbers.second {
            let more: Vec<_> = set.due(number, Some(second)).filter(|it| !due.contains(it)).cloned().collect();
            due.extend(more);
        }
        due.extend(numbers.iter().flat_map(|(vat, number)| self.recurring(vat, number)));
        due.sort_by(|a, b| a.action.cmp(&b.action));
        due
    }

    /// Disturbs the crank, whose directives were obeyed.
    fn disturb(&self, crank: &mut Crank<'_>, fault: &Directive) -> Result<(), Fault> {
        let Action::Disturb(disturbance) = &fault.action else { return Ok(()) };
        let (number, vat) = (crank.ledger.number(), crank.log.work.vat());
        let why_not = match disturbance {
            Disturbance::Plant(name) | Disturbance::KernelPanic(name) => {
                self.bugs.plant(PlantedBug::in_crank(name, number));
                None
            }
            Disturbance::Flip { vat, bit } => self.flip(crank, fault, *vat, *bit)?,
            Disturbance::TrapAfter { fuel } if crank.log.work.numbers(crank.ledger.tables()).first.is_some() => {
                self.limit_fuel(fault, *fuel);
                // What comes of it is known when the delivery has run.
                return Ok(());
            }
            Disturbance::TrapAfter { .. } => Some("the crank is no delivery".to_owned()),
            // What was let through before it takes its number, and is not late for that.
            Disturbance::Delay { .. } if self.is_over(fault) => return Ok(()),
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
                return Err(Halted { crank: number, line: fault.to_string(), why: None }.into());
            }
            other => Some(format!("`{other}` cannot be done at a crank")),
        };
        record_fault(&mut crank.ledger, fault, vat);
        self.note(fault, number, vat, why_not);
        Ok(())
    }

    /// Disturbs what is there when a delivery has run and is kept.
    fn disturb_end(&self, crank: &mut Crank<'_>, fault: &Directive, vat: VatId) -> Result<(), Fault> {
        let number = crank.ledger.number();
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
            Action::Disturb(Disturbance::Flip { vat, bit }) => self.flip(crank, fault, *vat, *bit)?,
            Action::Disturb(Disturbance::Plant(name) | Disturbance::KernelPanic(name)) => {
                self.bugs.plant(PlantedBug::in_crank(name, number));
                self.note(fault, number, Some(vat), None);
                return self.bugs.break_now(&mut crank.ledger, name);
            }
            other => Some(format!("`{other}` cannot be done at the end of a delivery")),
        };
        record_fault(&mut crank.ledger, fault, Some(vat));
        self.note(fault, number, Some(vat), why_not);
        Ok(())
    }

    /// Turns a bit of a vat's memory over.
    fn flip(&self, crank: &mut Crank<'_>, fault: &Directive, vat: VatId, bit: Bit) -> Result<Option<String>, Fault> {
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
        bring_up(crank.ledger.block_mut(), crank.workers, vat)?;
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
                let random = self.random(fault, number, bits);
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

fn record_fault(ledger: &mut Ledger, fault: &Directive, vat: Option<VatId>) {
    let crank_num = ledger.number();
    let action = fault.action.to_string().split(' ').next().unwrap_or_default().to_owned();
    let delivery_num = vat.map(|it| next_delivery(ledger.tables(), it).0);
    let (vat, line) = (vat.map(|it| it.to_string()), fault.to_string());
    let event = || Event::Directive { crank_num, vat, delivery_num, action, line, status: "injected", consumed: None };
    ledger.slog().record(Detail::Cranks, event);
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
