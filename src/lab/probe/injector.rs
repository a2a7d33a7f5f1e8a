//! The injector finds the faults that are due at a place of an experiment's run, and notes what became of them. How it
//! disturbs the kernel as its probe: see `disturb`.
//!
//! Invariants: what it does depends on its schedule, its seed and the numbers that it is asked with; each fault whose place
//! came is noted, with the reason where nothing could be done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    directive::plant::LASTING,
    directive::{Action, Directive, DirectiveSet, Disturbance, Spot, Trigger},
    lab::Schedule,
    lab::probe::PlantedBugs,
    model::{
        blame::HostFault,
        id::{CrankNum, DeliveryNum, VatId},
        value::{Answer, SYSCALL_KINDS},
    },
};

/// The number of syscalls of each kind that a vat made.
pub type Counts = [u64; SYSCALL_KINDS.len()];

/// The injector of an experiment's faults: it finds the faults that are due at a place, and notes what became of
/// them.
#[derive(Debug, Default)]
pub struct Injector {
    schedule: Schedule,
    seed: u64,
    /// Places that are not looked up by number alone, with their positions in the schedule.
    spots: Vec<(usize, Spot, Action)>,
    /// The bugs that faults plant.
    pub(super) bugs: Arc<PlantedBugs>,
    log: Log,
    course: Mutex<InjectorProgress>,
}

/// The part of an injector that moves along with the run.
#[derive(Debug, Default)]
struct InjectorProgress {
    counts: BTreeMap<VatId, Counts>,
    /// The faults that are due in the crank that runs.
    due: Vec<Directive>,
    /// The fault that limits the fuel of the next delivery, and to what.
    fuel_max: Option<(usize, u64)>,
    /// The delivery that is under way.
    delivery: Option<DisturbedDelivery>,
}

/// A delivery that is under way, as the faults of its syscalls see it.
#[derive(Debug)]
struct DisturbedDelivery {
    vat: VatId,
    counts: Counts,
    /// The fault that limited its fuel.
    limit: Option<usize>,
    /// The fault that replaces the answer of the syscall under way, and by what.
    instead: Option<(usize, Answer)>,
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
    pub fn new(schedule: Schedule, seed: u64, counts: BTreeMap<VatId, Counts>, bugs: Arc<PlantedBugs>) -> Injector {
        let spot = |(at, fault): (usize, &Directive)| match fault.trigger {
            Trigger::Spot(spot) => Some((at, spot, fault.action.clone())),
            _ => None,
        };
        let spots = schedule.faults().enumerate().filter_map(spot).collect();
        let course = Mutex::new(InjectorProgress { counts, ..InjectorProgress::default() });
        Injector { schedule, seed, spots, bugs, course, log: Log::default() }
    }

    fn course(&self) -> MutexGuard<'_, InjectorProgress> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bugs that faults plant.
    pub fn bugs(&self) -> Arc<PlantedBugs> {
        self.bugs.clone()
    }

    /// Returns these directives of operators with the faults: what is in force.
    ///
    /// # Errors
    ///
    /// A fault that contradicts a directive.
    pub fn with(&self, operators: &DirectiveSet) -> Result<DirectiveSet, HostFault> {
        let mut all = operators.clone();
        for fault in self.schedule.faults().filter(|fault| !operators.iter().any(|it| it == *fault)) {
            all.insert_fault(fault.clone()).map_err(|err| HostFault::new("put faults in force", err))?;
        }
        Ok(all)
    }

    /// Returns the schedule of faults.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Returns the number of syscalls made so far, by vat.
    pub fn counts(&self) -> BTreeMap<VatId, Counts> {
        self.course().counts.clone()
    }

    /// Returns the log of the faults whose places were reached.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns whether the fault is a delay that was done already: the same delivery number comes again, with an
    /// earlier item or with the delayed one.
    pub(super) fn is_over(&self, fault: &Directive) -> bool {
        let is_once = matches!(fault.action, Action::Disturb(Disturbance::Delay { .. }))
            && !matches!(fault.trigger, Trigger::Spot(Spot::DeliveryEvery(..)));
        is_once && self.position(fault).is_some_and(|at| self.log.is_done(at))
    }

    /// Returns the faults that may still come, by their positions, if these are the numbers of the next crank and
    /// deliveries. A run in memory has no faults of commits.
    pub fn left(&self, next_crank: CrankNum, next_delivery: &dyn Fn(VatId) -> DeliveryNum) -> Vec<usize> {
        let course = self.course();
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
            Trigger::Spot(Spot::SyscallOfKind(vat, kind, number)) => course.count_of(vat, kind) < number,
            Trigger::Spot(Spot::Commit(_) | Spot::StoreOp(..)) | Trigger::Block(_) => false,
        };
        let is_left = |at: usize, fault| course.fuel_max.is_some_and(|(it, _)| it == at) || may_come(fault);
        self.schedule.faults().enumerate().filter(|(at, fault)| is_left(*at, fault)).map(|(at, _)| at).collect()
    }

    /// Returns whether a fault is in force that changes the run without a trace in the state.
    pub fn is_under_way(&self) -> bool {
        self.course().fuel_max.is_some() || self.schedule.faults().any(|it| lasts(&it.action))
    }

    /// Returns the faults that fire at every Kth delivery, if this delivery is one of them.
    pub(super) fn recurring(&self, vat: VatId, number: DeliveryNum) -> impl Iterator<Item = Directive> {
        let spots = self.spots.iter().filter(move |(_, spot, _)| match spot {
            Spot::DeliveryEvery(it, every) => *it == vat && number.0 > 0 && number.0.is_multiple_of(*every),
            _ => false,
        });
        spots.map(|(_, spot, action)| Directive { trigger: Trigger::Spot(*spot), action: action.clone() })
    }

    /// Returns the faults that fire at the end of this delivery.
    pub(super) fn at_end(&self, vat: VatId, number: DeliveryNum) -> Vec<Directive> {
        let trigger = Trigger::Spot(Spot::DeliveryEnd(vat, number));
        let spots = self.spots.iter().filter(|(_, spot, _)| Trigger::Spot(*spot) == trigger);
        spots.map(|(.., action)| Directive { trigger, action: action.clone() }).collect()
    }

    /// Sets the faults that are due in the crank that runs.
    pub(super) fn set_due(&self, due: Vec<Directive>) {
        self.course().due = due;
    }

    /// Takes the faults that are due in the crank that runs.
    pub(super) fn take_due(&self) -> Vec<Directive> {
        std::mem::take(&mut self.course().due)
    }

    /// Begins a delivery to the vat, and returns the most fuel that a fault leaves it, if one does.
    pub(super) fn begin_delivery(&self, vat: VatId) -> Option<u64> {
        let mut course = self.course();
        let limit = course.fuel_max.take();
        let counts = course.counts.get(&vat).copied().unwrap_or_default();
        course.delivery = Some(DisturbedDelivery { vat, counts, limit: limit.map(|(at, _)| at), instead: None });
        limit.map(|(_, fuel)| fuel)
    }

    /// Ends the delivery under way, and notes what became of a limit on its fuel.
    pub(super) fn end_delivery(&self, crank: CrankNum, used: Option<u64>) {
        let mut course = self.course();
        let Some(delivery) = course.delivery.take() else { return };
        course.counts.insert(delivery.vat, delivery.counts);
        if let Some(at) = delivery.limit {
            self.log.note(at, crank, Some(delivery.vat), used.map(|it| format!("the delivery used {it}")));
        }
    }

    /// Counts a syscall of the delivery under way, and returns how it is to be disturbed: the position of the fault, by
    /// which to say what became of it, and the disturbance.
    pub(super) fn syscall(
        &self,
        delivery: DeliveryNum,
        number: u32,
        kind: &'static str,
    ) -> Option<(usize, Disturbance)> {
        let mut course = self.course();
        let under_way = course.delivery.as_mut()?;
        let vat = under_way.vat;
        let count = index_of(kind).and_then(|at| under_way.counts.get_mut(at))?;
        *count += 1;
        let count = *count;
        let here = |spot: &Spot| match spot {
            Spot::Syscall(it, its, at) => *it == vat && *its == delivery && *at == u64::from(number),
            Spot::SyscallOfKind(it, its, at) => *it == vat && *its == kind && *at == count,
            _ => false,
        };
        let (at, _, action) = self.spots.iter().find(|(_, spot, _)| here(spot))?;
        match action {
            Action::Disturb(disturbance) => Some((*at, disturbance.clone())),
            _ => None,
        }
    }

    /// Has the syscall under way answer so, by order of the fault at that position.
    pub(super) fn answer_instead(&self, at: usize, answer: Answer) {
        if let Some(delivery) = &mut self.course().delivery {
            delivery.instead = Some((at, answer));
        }
    }

    /// Takes the answer of the syscall under way that a fault orders, if one does.
    pub(super) fn take_instead(&self) -> Option<(usize, Answer)> {
        self.course().delivery.as_mut()?.instead.take()
    }

    /// Notes what became of the fault at that position, at a syscall of the delivery under way.
    pub(super) fn hit(&self, at: usize, crank: CrankNum, why_not: Option<String>) {
        let vat = self.course().delivery.as_ref().map(|it| it.vat);
        self.log.note(at, crank, vat, why_not);
    }

    /// Notes that the place of a fault came, and why nothing was done there, if nothing was.
    pub(super) fn note(&self, fault: &Directive, crank: CrankNum, vat: Option<VatId>, why_not: Option<String>) {
        if let Some(at) = self.position(fault) {
            self.log.note(at, crank, vat, why_not);
        }
    }

    fn position(&self, fault: &Directive) -> Option<usize> {
        self.schedule.faults().position(|it| it == fault)
    }

    /// Limits the next delivery of the crank to at most this much fuel.
    pub(super) fn limit_fuel(&self, fault: &Directive, fuel: u64) {
        self.course().fuel_max = self.position(fault).map(|at| (at, fuel));
    }

    /// Returns a number below this bound that the seed and the fault decide.
    pub(super) fn random(&self, fault: &Directive, number: DeliveryNum, below: u64) -> u64 {
        let text = format!("{} {fault} {number}", self.seed);
        let hash = blake3::hash(text.as_bytes());
        let word = hash.as_bytes().first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        if below == 0 { 0 } else { word % below }
    }
}

impl InjectorProgress {
    fn count_of(&self, vat: VatId, kind: &str) -> u64 {
        self.counts.get(&vat).zip(index_of(kind)).and_then(|(counts, at)| counts.get(at)).copied().unwrap_or(0)
    }
}

/// Returns whether the action plants a bug that stays in force after its crank.
pub(crate) fn lasts(action: &Action) -> bool {
    matches!(action, Action::Disturb(Disturbance::Plant(name)) if LASTING.contains(name))
}

fn index_of(kind: &str) -> Option<usize> {
    SYSCALL_KINDS.iter().position(|it| *it == kind)
}
