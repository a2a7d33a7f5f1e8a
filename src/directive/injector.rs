//! The injector disturbs the run of an experiment. It is a value that the block holds. A real host's block holds
//! none, and asks once a delivery whether there is one.
//!
//! Invariants: what it does depends on its schedule, its seed and the numbers that it is asked with; each fault whose place
//! came is noted, with the reason where nothing could be done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    directive::plant::LASTING,
    directive::{Action, Directive, Disturbance, Schedule, Spot, Trigger},
    model::{
        id::{CrankNum, DeliveryNum, VatId},
        value::SYSCALL_KINDS,
    },
};

/// The number of syscalls of each kind that a vat made.
pub type Counts = [u64; SYSCALL_KINDS.len()];

/// The injector of an experiment's faults: it finds the faults that are due at a place, and notes what became of
/// them.
#[derive(Clone, Debug, Default)]
pub struct Injector {
    schedule: Schedule,
    seed: u64,
    /// Places that are not looked up by number alone, with their positions in the schedule.
    spots: Vec<(usize, Spot, Action)>,
    counts: BTreeMap<VatId, Counts>,
    /// The log, shared with the experiment's runner: a halt takes the block, and with it the injector.
    log: Log,
    /// The fault that limits the fuel of the next delivery, and to what.
    fuel_max: Option<(usize, u64)>,
}

/// The faults whose places came, by their positions in the schedule.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<BTreeMap<usize, Reached>>>);

impl Log {
    /// Returns the faults whose places were reached, by their positions in the schedule.
    pub fn reached(&self) -> BTreeMap<usize, Reached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether no fault's place was reached.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn is_done(&self, at: usize) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&at).is_some_and(|it| it.done > 0)
    }

    fn note(&self, at: usize, crank: CrankNum, vat: Option<VatId>, why_not: Option<String>) {
        let new = Reached { crank, vat, times: 0, done: 0, why_not: None };
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = log.entry(at).or_insert(new);
        reached.times += 1;
        match why_not {
            None => reached.done += 1,
            why_not => reached.why_not = why_not,
        }
    }
}

/// A fault whose place came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reached {
    /// In this crank first.
    pub crank: CrankNum,
    /// The vat that the crank delivered to, if to any.
    pub vat: Option<VatId>,
    /// The number of times that the place was reached.
    pub times: u64,
    /// The number of times that something could be done.
    pub done: u64,
    /// The reason why nothing could be done, the last time that this happened.
    pub why_not: Option<String>,
}

impl Injector {
    /// Makes the injector of this schedule. `counts` are the syscalls that were made before, by vat.
    pub fn new(schedule: Schedule, seed: u64, counts: BTreeMap<VatId, Counts>) -> Injector {
        let spot = |(at, fault): (usize, &Directive)| match fault.trigger {
            Trigger::Spot(spot) => Some((at, spot, fault.action.clone())),
            _ => None,
        };
        let spots = schedule.faults().enumerate().filter_map(spot).collect();
        Injector { schedule, seed, spots, counts, ..Injector::default() }
    }

    /// Returns the schedule of faults.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Returns the number of syscalls made so far, by vat.
    pub fn counts(&self) -> &BTreeMap<VatId, Counts> {
        &self.counts
    }

    /// Returns the log of the faults whose places were reached.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns whether the fault is a delay that was done already: the same delivery number comes again, with an
    /// earlier item or with the delayed one.
    pub(crate) fn is_over(&self, fault: &Directive) -> bool {
        let is_once = matches!(fault.action, Action::Disturb(Disturbance::Delay { .. }))
            && !matches!(fault.trigger, Trigger::Spot(Spot::DeliveryEvery(..)));
        is_once && self.position(fault).is_some_and(|at| self.log.is_done(at))
    }

    /// Returns the faults that may still come, by their positions, if these are the numbers of the next crank and
    /// deliveries. A run in memory has no faults of commits.
    pub fn left(&self, next_crank: CrankNum, next_delivery: &dyn Fn(VatId) -> DeliveryNum) -> Vec<usize> {
        let may_come = |fault: &Directive| match fault.trigger {
            // It has come, and it stays.
            _ if lasts(&fault.action) => true,
            _ if self.is_over(fault) => false,
            Trigger::Crank(crank) => crank >= next_crank,
            Trigger::Delivery(vat, delivery)
            | Trigger::Spot(Spot::DeliveryEnd(vat, delivery) | Spot::Syscall(vat, delivery, _)) => {
                delivery >= next_delivery(vat)
            }
            Trigger::Spot(Spot::DeliveryEvery(..)) => true,
            Trigger::Spot(Spot::SyscallOfKind(vat, kind, number)) => self.count_of(vat, kind) < number,
            Trigger::Spot(Spot::Commit(_) | Spot::StoreOp(..)) | Trigger::Block(_) => false,
        };
        let is_left = |at: usize, fault| self.fuel_max.is_some_and(|(it, _)| it == at) || may_come(fault);
        self.schedule.faults().enumerate().filter(|(at, fault)| is_left(*at, fault)).map(|(at, _)| at).collect()
    }

    /// Returns whether a fault is in force that changes the run without a trace in the state.
    pub fn is_under_way(&self) -> bool {
        self.fuel_max.is_some() || self.schedule.faults().any(|it| lasts(&it.action))
    }

    fn count_of(&self, vat: VatId, kind: &str) -> u64 {
        self.counts.get(&vat).zip(index_of(kind)).and_then(|(counts, at)| counts.get(at)).copied().unwrap_or(0)
    }

    /// Returns the faults that fire at every Kth delivery, if this delivery is one of them.
    pub(crate) fn recurring(&self, vat: VatId, number: DeliveryNum) -> impl Iterator<Item = Directive> {
        let spots = self.spots.iter().filter(move |(_, spot, _)| match spot {
            Spot::DeliveryEvery(it, every) => *it == vat && number.0 > 0 && number.0.is_multiple_of(*every),
            _ => false,
        });
        spots.map(|(_, spot, action)| Directive { trigger: Trigger::Spot(*spot), action: action.clone() })
    }

    /// Returns the faults that fire at the end of this delivery.
    pub(crate) fn at_end(&self, vat: VatId, number: DeliveryNum) -> Vec<Directive> {
        let trigger = Trigger::Spot(Spot::DeliveryEnd(vat, number));
        let spots = self.spots.iter().filter(|(_, spot, _)| Trigger::Spot(*spot) == trigger);
        spots.map(|(.., action)| Directive { trigger, action: action.clone() }).collect()
    }

    /// Returns the disturbances of one delivery's syscalls.
    pub(crate) fn begin_delivery(&self, vat: VatId, number: DeliveryNum) -> Disturbed {
        let mine = |spot: &Spot| match spot {
            Spot::Syscall(it, delivery, _) => *it == vat && *delivery == number,
            Spot::SyscallOfKind(it, ..) => *it == vat,
            _ => false,
        };
        let spots = self.spots.iter().filter(|(_, spot, _)| mine(spot)).cloned().collect();
        let counts = self.counts.get(&vat).copied().unwrap_or_default();
        Disturbed { vat, spots, counts, log: self.log.clone() }
    }

    /// Takes back the counts of the vat's syscalls when its delivery has ended.
    pub(crate) fn end_delivery(&mut self, disturbed: Disturbed) {
        self.counts.insert(disturbed.vat, disturbed.counts);
    }

    /// Notes that the place of a fault came, and why nothing was done there, if nothing was.
    pub(crate) fn note(&mut self, fault: &Directive, crank: CrankNum, vat: Option<VatId>, why_not: Option<String>) {
        if let Some(at) = self.position(fault) {
            self.log.note(at, crank, vat, why_not);
        }
    }

    fn position(&self, fault: &Directive) -> Option<usize> {
        self.schedule.faults().position(|it| it == fault)
    }

    /// Limits the next delivery of the crank to at most this much fuel.
    pub(crate) fn limit_fuel(&mut self, fault: &Directive, fuel: u64) {
        self.fuel_max = self.position(fault).map(|at| (at, fuel));
    }

    /// Takes the limit that a fault has set on the fuel of the next delivery.
    pub(crate) fn take_fuel_max(&mut self) -> Option<(usize, u64)> {
        self.fuel_max.take()
    }

    /// Notes what became of that limit.
    pub(crate) fn note_fuel(&mut self, at: usize, crank: CrankNum, vat: Option<VatId>, why_not: Option<String>) {
        self.log.note(at, crank, vat, why_not);
    }

    /// Returns a number below this bound that the seed and the fault decide.
    pub(crate) fn random(&self, fault: &Directive, number: DeliveryNum, below: u64) -> u64 {
        let text = format!("{} {fault} {number}", self.seed);
        let hash = blake3::hash(text.as_bytes());
        let word = hash.as_bytes().first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        if below == 0 { 0 } else { word % below }
    }
}

/// Returns whether the action plants a bug that stays in force after its crank.
pub(crate) fn lasts(action: &Action) -> bool {
    matches!(action, Action::Disturb(Disturbance::Plant(name)) if LASTING.contains(name))
}

fn index_of(kind: &str) -> Option<usize> {
    SYSCALL_KINDS.iter().position(|it| *it == kind)
}

/// The faults that are due among the syscalls of one delivery.
#[derive(Debug)]
pub(crate) struct Disturbed {
    vat: VatId,
    spots: Vec<(usize, Spot, Action)>,
    counts: Counts,
    log: Log,
}

impl Disturbed {
    /// Counts a syscall, and says how it is to be disturbed; the number by which to say what became of it.
    pub(crate) fn syscall(&mut self, number: u32, kind: &'static str) -> Option<(usize, Disturbance)> {
        let count = index_of(kind).and_then(|at| self.counts.get_mut(at))?;
        *count += 1;
        let count = *count;
        let here = |spot: &Spot| match spot {
            Spot::Syscall(_, _, at) => *at == u64::from(number),
            Spot::SyscallOfKind(_, it, at) => *it == kind && *at == count,
            _ => false,
        };
        let (at, _, action) = self.spots.iter().find(|(_, spot, _)| here(spot))?;
        match action {
            Action::Disturb(disturbance) => Some((*at, disturbance.clone())),
            _ => None,
        }
    }

    /// Notes in the log that a fault was injected, or why it could not be.
    pub(crate) fn hit(&self, at: usize, crank: CrankNum, why_not: Option<String>) {
        self.log.note(at, crank, Some(self.vat), why_not);
    }
}
