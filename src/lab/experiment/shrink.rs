//! Makes a schedule as small, weak, simple and late as it can be and still come to the same.
//!
//! ```text
//!   drop faults (ddmin) ─▶ weaker actions ─▶ simpler numbers ─▶ later places ─▶ again, until nothing changes
//! ```
//!
//! Invariant: what comes of it has the signature of the first outcome; no fault of it can be left out.

use crate::{
    directive::{Action, Bit, Directive, Disturbance, Spot, Trigger},
    lab::Schedule,
    lab::experiment::Outcome,
    model::id::{CrankNum, DeliveryNum},
};

/// Experiments that a shrinking may take.
const RUNS_MAX: usize = 20_000;

/// Steps of one place to a later one.
const MOVES_MAX: usize = 64;

/// A schedule that was shrunk, and its outcome.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The schedule that is left.
    pub schedule: Schedule,
    /// The outcome of that schedule.
    pub outcome: Outcome,
    /// How many experiments that took.
    pub runs: usize,
}

struct Shrinker<'a> {
    run: &'a mut dyn FnMut(&Schedule) -> Outcome,
    wanted: Outcome,
    best: Vec<Directive>,
    outcome: Outcome,
    runs: usize,
}

/// Shrinks a schedule; `run` runs one.
pub fn shrink(schedule: &Schedule, run: &mut dyn FnMut(&Schedule) -> Outcome) -> Shrunk {
    let wanted = run(schedule);
    let best: Vec<Directive> = schedule.faults().cloned().collect();
    let mut shrinker = Shrinker { run, outcome: wanted.clone(), wanted, best, runs: 1 };
    loop {
        shrinker.drop_faults();
        let before = shrinker.best.clone();
        shrinker.vary(&weaker);
        shrinker.vary(&simpler);
        shrinker.drop_faults();
        shrinker.move_later();
        if shrinker.best == before || shrinker.runs >= RUNS_MAX {
            break;
        }
    }
    let schedule = Schedule::of(shrinker.best).unwrap_or_else(|_| schedule.clone());
    Shrunk { schedule, outcome: shrinker.outcome, runs: shrinker.runs }
}

impl Shrinker<'_> {
    /// Takes these faults instead, if they come to the same.
    fn takes(&mut self, faults: Vec<Directive>) -> bool {
        let Ok(schedule) = Schedule::of(faults.clone()) else { return false };
        if self.runs >= RUNS_MAX || schedule.is_empty() {
            return false;
        }
        self.runs += 1;
        let outcome = (self.run)(&schedule);
        let same = outcome.signature() == self.wanted.signature();
        if same {
            (self.best, self.outcome) = (faults, outcome);
        }
        same
    }

    /// Leaves out halves, quarters, … of the faults, and in the end each single one.
    fn drop_faults(&mut self) {
        let mut size = self.best.len().div_ceil(2);
        while size > 0 && self.best.len() > 1 {
            let before = self.best.len();
            let mut at = 0;
            while at < self.best.len() {
                let rest = self.best.iter().enumerate().filter(|(it, _)| *it < at || *it >= at + size);
                if !self.takes(rest.map(|(_, it)| it.clone()).collect()) {
                    at += size;
                }
            }
            size = match size {
                1 if self.best.len() < before => 1,
                1 => 0,
                _ => size.div_ceil(2),
            };
        }
    }

    /// Tries each fault in each of its variants, the best first.
    fn vary(&mut self, variants: &dyn Fn(&Directive) -> Vec<Action>) {
        for at in 0..self.best.len() {
            let Some(fault) = self.best.get(at).cloned() else { continue };
            for action in variants(&fault) {
                let mut faults = self.best.clone();
                if let Some(it) = faults.get_mut(at) {
                    it.action = action;
                }
                if self.takes(faults) {
                    break;
                }
            }
        }
    }

    /// Moves each place as far back in the run as it goes: by large steps first, then smaller ones. One that goes back for ever is
    /// not needed, or stands for a place that is never reached: neither is worth more than some steps.
    fn move_later(&mut self) {
        let mut at = 0;
        while at < self.best.len() {
            let (mut step, mut moves) = (1 << 12, 0);
            while step > 0 && moves < MOVES_MAX {
                let mut faults = self.best.clone();
                let moved = faults.get_mut(at).is_some_and(|it| later(&mut it.trigger, step));
                if moved && self.takes(faults) {
                    moves += 1;
                } else {
                    step /= 2;
                }
            }
            at += 1;
        }
    }
}

/// Actions that do less, the least first.
fn weaker(fault: &Directive) -> Vec<Action> {
    let skip = Action::Skip { guard: None, expect: None };
    let pause = Action::Pause { vat: None, why: None };
    match &fault.action {
        Action::Terminate { .. } => vec![skip, pause],
        Action::Pause { .. } => vec![skip],
        Action::Skip { .. } => vec![Action::Disturb(Disturbance::Delay { cranks: 1 })],
        _ => Vec::new(),
    }
}

/// Returns the same action with simpler words and numbers, the simplest first.
fn simpler(fault: &Directive) -> Vec<Action> {
    let numbers = |number: u64| {
        let halves = std::iter::successors(Some(number), |it| (*it > 0).then_some(it / 2)).skip(1);
        let mut simple: Vec<u64> = [0, 1, 1_000].into_iter().filter(|it| *it < number).chain(halves).collect();
        simple.dedup();
        simple
    };
    let disturb = |it: Vec<Disturbance>| it.into_iter().map(Action::Disturb).collect();
    match &fault.action {
        Action::Terminate { vat, why: Some(_) } => vec![Action::Terminate { vat: *vat, why: None }],
        Action::Pause { vat, why: Some(_) } => vec![Action::Pause { vat: *vat, why: None }],
        Action::Disturb(Disturbance::TrapAfter { fuel }) => {
            disturb(numbers(*fuel).into_iter().map(|fuel| Disturbance::TrapAfter { fuel }).collect())
        }
        Action::Disturb(Disturbance::Delay { cranks }) => disturb(
            numbers(*cranks).into_iter().filter(|it| *it > 0).map(|cranks| Disturbance::Delay { cranks }).collect(),
        ),
        Action::Disturb(Disturbance::Value(bytes)) if !bytes.is_empty() => {
            disturb(vec![Disturbance::Value(Vec::new()), Disturbance::Value(b"0".to_vec())])
        }
        Action::Disturb(Disturbance::Flip { vat, bit: Bit::At { address, bit } }) if *bit > 0 => {
            disturb(vec![Disturbance::Flip { vat: *vat, bit: Bit::At { address: *address, bit: 0 } }])
        }
        _ => Vec::new(),
    }
}

/// The place that many numbers later; whether there is one.
fn later(trigger: &mut Trigger, by: u64) -> bool {
    match trigger {
        Trigger::Crank(CrankNum(number))
        | Trigger::Delivery(_, DeliveryNum(number))
        | Trigger::Spot(
            Spot::DeliveryEvery(_, number)
            | Spot::DeliveryEnd(_, DeliveryNum(number))
            | Spot::Syscall(_, DeliveryNum(number), _)
            | Spot::SyscallOfKind(_, _, number),
        ) => number.checked_add(by).is_some_and(|it| {
            *number = it;
            true
        }),
        Trigger::Spot(Spot::Commit(_) | Spot::StoreOp(..)) | Trigger::Block(_) => false,
    }
}
