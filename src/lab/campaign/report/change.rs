//! The differences between two runs of a campaign, experiment by experiment.
//!
//! Invariant: only experiments that are in both count, so that a larger campaign is no change for the better or the worse. An
//! experiment is the same if its faults and its seed are: base and build may be others, as they are what is compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::lab::{
    campaign::{Tally, tally::Each},
    experiment::Class,
};

/// The differences between results and those of an earlier run.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Whether the earlier run was accepted.
    pub was_accepted: bool,
    /// Experiments that are in both.
    pub compared: u64,
    /// Experiments that are only in the earlier run.
    pub only_before: u64,
    /// Experiments that are only in this run.
    pub only_now: u64,
    /// By class: compared experiments then and now, where the counts differ.
    pub classes: Vec<(Class, u64, u64)>,
    /// The compared experiments that are of another class now: the class then, the class now, and how many.
    pub transitions: Vec<(Class, Class, u64)>,
    /// Findings of compared experiments that were not there.
    pub new: Vec<String>,
    /// Findings of compared experiments that are not there any more.
    pub gone: Vec<String>,
}

impl Change {
    /// Compares the results of one run with those of another.
    pub(super) fn between(before: &Tally, now: &Tally) -> Change {
        let then: BTreeMap<u64, &Each> = before.each.iter().map(|it| (it.key, it)).collect();
        let both: Vec<(&Each, &Each)> = now.each.iter().filter_map(|it| Some((*then.get(&it.key)?, it))).collect();
        let (mut counts, mut transitions) = (BTreeMap::<Class, (u64, u64)>::new(), BTreeMap::new());
        for (then, now) in &both {
            counts.entry(then.class).or_default().0 += 1;
            counts.entry(now.class).or_default().1 += 1;
            if then.class != now.class {
                *transitions.entry((then.class, now.class)).or_insert(0) += 1;
            }
        }
        let names = |tally: &Tally, pick: &dyn Fn(&(&Each, &Each)) -> Option<usize>| -> BTreeSet<String> {
            both.iter().filter_map(|it| tally.names.get(pick(it)?).cloned()).collect()
        };
        let (found, finds) = (names(before, &|(it, _)| it.finding), names(now, &|(_, it)| it.finding));
        let compared = both.len() as u64;
        Change {
            was_accepted: before.is_accepted(),
            compared,
            only_before: before.each.len() as u64 - compared,
            only_now: now.each.len() as u64 - compared,
            classes: counts.into_iter().filter(|(_, (a, b))| a != b).map(|(class, (a, b))| (class, a, b)).collect(),
            transitions: transitions.into_iter().map(|((from, to), count)| (from, to, count)).collect(),
            new: finds.difference(&found).cloned().collect(),
            gone: found.difference(&finds).cloned().collect(),
        }
    }

    /// Returns whether no compared experiment came to anything else.
    pub fn is_none(&self) -> bool {
        self.transitions.is_empty() && self.new.is_empty() && self.gone.is_empty()
    }

    /// Writes each transition, as in `CONTAINED → SPREAD: 84 experiments`.
    pub fn transitions(&self) -> impl Iterator<Item = String> {
        self.transitions.iter().map(|(then, now, count)| {
            let experiments = if *count == 1 { "experiment" } else { "experiments" };
            format!("{then} → {now}: {count} {experiments}")
        })
    }

    /// Says in a sentence which experiments were compared.
    pub fn summary(&self) -> String {
        let mut text = match self.compared {
            1 => "1 experiment is in both".to_owned(),
            compared => format!("{compared} experiments are in both"),
        };
        for (count, which) in [(self.only_before, "only in the earlier run"), (self.only_now, "only in this one")] {
            match count {
                0 => (),
                1 => text += &format!("; 1 is {which}, and is not compared"),
                _ => text += &format!("; {count} are {which}, and are not compared"),
            }
        }
        text
    }
}
