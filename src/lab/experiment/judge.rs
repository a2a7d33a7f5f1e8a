//! The verdict on what was seen of an experiment: see `outcome` for every definition.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    directive::{Action, Disturbance, Trigger},
    kernel::Halt,
    lab::Schedule,
    lab::experiment::{
        Golden,
        end::{Ends, VatEnd},
        outcome::{Class, Done, Step},
        run::{RunEnd, Seen},
    },
    lab::probe::DeliveryRecord,
    model::{
        blame::Fault,
        id::{CrankNum, VatId},
    },
};

/// Steps of a path that are kept.
const PATH_MAX: usize = 8;

/// A verdict: an outcome without its names.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) class: Option<Class>,
    pub(super) detail: Option<String>,
    pub(super) hurt: Vec<String>,
    pub(super) count: Option<usize>,
    pub(super) path: Vec<Step>,
}

/// How what a vat was told relates to the golden run.
struct History {
    vat: VatId,
    /// The crank and the kind of the first difference.
    first: Option<(CrankNum, &'static str)>,
    /// Whether it was told the same as in the golden run, in another order.
    permuted: bool,
    /// Whether it was told the same in any order, except for rejections.
    merely_told: bool,
    /// Whether it was told of a rejection that the golden run does not have.
    rejected: bool,
}

/// Lists what became of each fault, for the outcome.
pub(super) fn done(seen: &Seen) -> Vec<Done> {
    let done = |(fault, it): (&usize, &crate::lab::probe::Reached)| Done {
        fault: *fault,
        crank: Some(it.crank.0),
        times: it.times,
        why_not: if it.done == 0 { it.why_not.clone() } else { None },
    };
    seen.reached.iter().map(done).collect()
}

/// Decides the class of an experiment from what was seen.
pub(super) fn judge(golden: &Golden, schedule: &Schedule, seen: &Seen) -> Verdict {
    let of = |class: Class, detail: Option<String>| Verdict { class: Some(class), detail, ..Verdict::default() };
    match &seen.end {
        RunEnd::Halted(halt) => return halted(golden, schedule, seen, halt),
        RunEnd::Broken(why) => return of(Class::Harness, Some(why.clone())),
        _ if seen.reached.is_empty() => return of(Class::NotReached, None),
        _ if seen.reached.values().all(|it| it.done == 0) => {
            let why = seen.reached.values().find_map(|it| it.why_not.clone());
            return of(Class::NoEffect, why);
        }
        RunEnd::Invariant(name, _) => {
            let verdict = damage(golden, schedule, seen);
            return Verdict { class: Some(Class::Invariant), detail: Some(name.clone()), count: None, ..verdict };
        }
        RunEnd::Met if seen.deviated.is_none() => return of(Class::Masked, None),
        RunEnd::Met => return of(Class::Recovered, None),
        RunEnd::Repeats => {
            let verdict = damage(golden, schedule, seen);
            let detail = Some("the state repeats: it will go on so for ever".to_owned());
            return Verdict { class: Some(Class::Stalled), detail, count: None, ..verdict };
        }
        RunEnd::Limit(what) => {
            let verdict = damage(golden, schedule, seen);
            let detail = Some(format!("over the limit of {what}"));
            return Verdict { class: Some(Class::Stalled), detail, count: None, ..verdict };
        }
        RunEnd::Quiescent | RunEnd::Until | RunEnd::Known(_) => (),
    }
    let verdict = damage(golden, schedule, seen);
    if let Some(why) = seen.ends.as_deref().and_then(|it| stalled(golden, it)) {
        return Verdict { class: Some(Class::Stalled), detail: Some(why), count: None, ..verdict };
    }
    verdict
}

/// A host that stopped.
fn halted(golden: &Golden, schedule: &Schedule, seen: &Seen, halt: &Halt) -> Verdict {
    let flips = schedule.faults().any(|it| matches!(it.action, Action::Disturb(Disturbance::Flip { .. })));
    let (class, detail) = match &halt.fault {
        Fault::Kernel(panic) => (Class::KernelPanic, panic.invariant.to_owned()),
        // A heap that was disturbed does not repeat its history: that this is noticed is a clean halt.
        Fault::Anachronism(_) if flips => (Class::KernelPanic, "anachronism".to_owned()),
        Fault::Anachronism(it) => (Class::Diverged, it.to_string()),
        Fault::Halted(it) => (Class::NoEffect, it.why.clone().unwrap_or_else(|| it.line.clone())),
        Fault::Host(it) => (Class::Harness, it.to_string()),
        Fault::Vat(it) => (Class::Harness, it.to_string()),
        Fault::Interrupted(it) => (Class::Harness, it.to_string()),
    };
    // What was not delivered any more is no damage.
    let mut path = path(&histories(golden, seen, &BTreeSet::new()), seen);
    path.retain(|it| it.what != "missing");
    Verdict { class: Some(class), detail: Some(detail), path, ..Verdict::default() }
}

/// The vats that the schedule aims at, and those whose memory it disturbs.
fn faulted(golden: &Golden, schedule: &Schedule, seen: &Seen) -> (BTreeSet<VatId>, BTreeSet<VatId>) {
    let (mut all, mut flipped) = (BTreeSet::new(), BTreeSet::new());
    for (at, fault) in schedule.faults().enumerate() {
        let Some(reached) = seen.reached.get(&at).filter(|it| it.done > 0) else { continue };
        all.extend(fault.action.vat().or_else(|| fault.trigger.vat()));
        if let (Trigger::Crank(crank), None) = (fault.trigger, fault.action.vat()) {
            all.extend(reached.vat.or_else(|| golden.vat_of(crank)));
        }
        if let Action::Disturb(Disturbance::Flip { vat, .. }) = fault.action {
            flipped.insert(vat);
        }
    }
    (all, flipped)
}

/// Who waits for what the golden run settles.
fn stalled(golden: &Golden, ends: &Ends) -> Option<String> {
    for (here, there) in ends.outside_of_both(&golden.ends) {
        if here.status == "pending" && there.status != "pending" {
            return Some(format!("{} is pending", here.message));
        }
    }
    for (vat, here) in &ends.vats {
        let there = golden.ends.vats.get(vat).map_or(0, |it| it.waits);
        if here.waits > there {
            return Some(format!("{vat} waits for {} promises, and for {there} in the golden run", here.waits));
        }
    }
    None
}

/// Who is changed, told and hurt; the class is one of the last six.
fn damage(golden: &Golden, schedule: &Schedule, seen: &Seen) -> Verdict {
    let (faulted, flipped) = faulted(golden, schedule, seen);
    let Some(ends) = &seen.ends else { return Verdict::default() };
    let histories = histories(golden, seen, &ends.vats.keys().copied().collect());
    let (mut hurt, mut changed, mut told, mut shown) = (Vec::new(), false, false, false);
    for history in &histories {
        let vat = history.vat;
        let (here, there) = (ends.vats.get(&vat), golden.ends.vats.get(&vat));
        let rows = here.map(rows_of) != there.map(rows_of);
        let heap = here.map(|it| it.heap) != there.map(|it| it.heap);
        let ordered = history.first.is_none() || history.permuted;
        let is_changed = rows || (heap && (!ordered || flipped.contains(&vat) || faulted_heap(history, &faulted)));
        changed |= is_changed;
        shown |= rows;
        told |= !ordered;
        if !faulted.contains(&vat) && (rows || (is_changed && !history.merely_told)) {
            hurt.push((history.first.map_or(u64::MAX, |(crank, _)| crank.0), vat.to_string()));
        }
    }
    let mut signal = histories.iter().any(|it| it.rejected);
    signal |= seen.faults.iter().any(|(_, vat, _)| !faulted.contains(vat));
    for (here, there) in ends.outside_of_both(&golden.ends) {
        if here == there {
            continue;
        }
        told = true;
        signal |= here.status == "rejected" && there.status != "rejected";
        if here.status == "fulfilled" && !hurt.iter().any(|(_, it)| it == "outside") {
            hurt.push((u64::MAX, "outside".to_owned()));
        }
    }
    hurt.sort();
    let count = hurt.len();
    let class = match (count, signal) {
        (0, _) if changed && !shown && !told => Class::Latent,
        (0, _) if changed || told => Class::Contained,
        (0, _) if seen.deviated.is_some() => Class::Recovered,
        (0, _) => Class::Masked,
        (_, true) => Class::Spread,
        (_, false) => Class::Silent,
    };
    let detail = seen.faults.first().map(|(crank, vat, why)| format!("{vat} in {crank}: {why}"));
    Verdict {
        class: Some(class),
        detail,
        hurt: hurt.into_iter().map(|(_, it)| it).collect(),
        count: (count > 0).then_some(count),
        path: path(&histories, seen),
    }
}

/// A faulted vat whose history is the golden run's and whose heap is not: what it was answered was disturbed.
fn faulted_heap(history: &History, faulted: &BTreeSet<VatId>) -> bool {
    history.first.is_none() && faulted.contains(&history.vat)
}

fn rows_of(end: &VatEnd) -> (&'static str, u32, crate::store::Digest) {
    (end.status, end.incarnation, end.vatstore)
}

/// What every vat was told since the checkpoint, beside the golden run.
fn histories(golden: &Golden, seen: &Seen, vats: &BTreeSet<VatId>) -> Vec<History> {
    let from = CrankNum(golden.start.0 + seen.from as u64);
    let mut here: BTreeMap<VatId, Vec<&DeliveryRecord>> = BTreeMap::new();
    for it in &seen.told {
        here.entry(it.vat).or_default().push(it);
    }
    let mut all: BTreeSet<VatId> = golden.told.keys().chain(here.keys()).copied().collect();
    all.extend(vats);
    let history = |vat: VatId| {
        let here = here.get(&vat).map(Vec::as_slice).unwrap_or_default();
        let there = golden.told.get(&vat).map(Vec::as_slice).unwrap_or_default();
        history(vat, here, &there[there.partition_point(|it| it.crank < from)..])
    };
    all.into_iter().map(history).collect()
}

fn history(vat: VatId, here: &[&DeliveryRecord], there: &[DeliveryRecord]) -> History {
    let common = here.iter().zip(there).take_while(|(a, b)| a.same(b)).count();
    let first = match (here.get(common), there.get(common)) {
        (None, None) => None,
        (Some(it), Some(golden)) if it.rejects_instead_of(golden) => Some((it.crank, "rejection")),
        (Some(it), _) => Some((it.crank, it.kind)),
        (None, Some(it)) => Some((it.crank, "missing")),
    };
    let mut missing: BTreeMap<u64, Vec<&DeliveryRecord>> = BTreeMap::new();
    for it in there.get(common..).unwrap_or_default() {
        missing.entry(it.full).or_default().push(it);
    }
    let mut other: Vec<&&DeliveryRecord> = Vec::new();
    for it in here.get(common..).unwrap_or_default() {
        if missing.get_mut(&it.full).and_then(Vec::pop).is_none() {
            other.push(it);
        }
    }
    let mut left: Vec<&DeliveryRecord> = missing.into_values().flatten().collect();
    let permuted = first.is_some() && other.is_empty() && left.is_empty();
    let rejected = other.iter().any(|it| it.rejects);
    let mut merely_told = true;
    for it in other {
        match left.iter().position(|golden| it.rejects_instead_of(golden)) {
            Some(at) => drop(left.swap_remove(at)),
            None => merely_told = false,
        }
    }
    merely_told &= left.is_empty();
    History { vat, first, permuted, merely_told, rejected }
}

/// Where histories left the golden run's, in order.
fn path(histories: &[History], seen: &Seen) -> Vec<Step> {
    let mut steps: Vec<Step> = histories
        .iter()
        .filter_map(|it| {
            let (crank, what) = it.first?;
            Some(Step { crank: crank.0, vat: it.vat.to_string(), what: what.to_owned() })
        })
        .collect();
    for (crank, vat, _) in &seen.faults {
        steps.push(Step { crank: crank.0, vat: vat.to_string(), what: "fault".to_owned() });
    }
    steps.sort_by(|a, b| (a.crank, &a.vat).cmp(&(b.crank, &b.vat)));
    steps.truncate(PATH_MAX);
    steps
}
