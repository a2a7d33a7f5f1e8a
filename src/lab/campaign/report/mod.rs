//! Reports of a campaign: for people, for a pull request, for a CI, for programs.
//!
//! Invariant: they hold no times, and nothing that differs from run to run: the same results give the same bytes.

mod html;
mod junit;
mod markdown;
mod style;
mod svg;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use crate::lab::{
    campaign::{Tally, results::Header},
    experiment::Class,
};

pub use html::html;
pub use junit::junit;
pub use markdown::markdown;

/// All that a report shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the results are of.
    pub header: Header,
    /// What they come to.
    pub tally: Tally,
    /// How they differ from those of an earlier run.
    pub change: Option<Change>,
}

/// The differences between results and those of an earlier run.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Whether that one was accepted.
    pub was_accepted: bool,
    /// By class: experiments then and now, where they are not the same.
    pub classes: Vec<(Class, u64, u64)>,
    /// Findings that were not there.
    pub new: Vec<String>,
    /// Findings that are not there any more.
    pub gone: Vec<String>,
}

impl Change {
    /// From one to the other.
    fn between(before: &Tally, now: &Tally) -> Change {
        let count = |tally: &Tally, class| tally.shares.iter().find(|it| it.class == class).map_or(0, |it| it.count);
        let classes = Class::ALL.into_iter().map(|class| (class, count(before, class), count(now, class)));
        let names =
            |tally: &Tally| -> BTreeMap<String, ()> { tally.findings.iter().map(|it| (it.name.clone(), ())).collect() };
        let (then, now_names) = (names(before), names(now));
        let only = |one: &BTreeMap<String, ()>, other: &BTreeMap<String, ()>| {
            one.keys().filter(|it| !other.contains_key(*it)).cloned().collect()
        };
        Change {
            was_accepted: before.is_accepted(),
            classes: classes.filter(|(_, before, now)| before != now).collect(),
            new: only(&now_names, &then),
            gone: only(&then, &now_names),
        }
    }
}

impl Report {
    /// Makes a report of results; `before` are those of an earlier run.
    pub fn of(header: Header, tally: Tally, before: Option<&Tally>) -> Report {
        let change = before.map(|before| Change::between(before, &tally));
        Report { header, tally, change }
    }

    /// The verdict in words.
    pub fn verdict(&self) -> &'static str {
        match (self.tally.is_accepted(), self.is_complete()) {
            (true, true) => "accepted",
            (true, false) => "accepted so far",
            (false, _) => "not accepted",
        }
    }

    /// Returns whether every experiment was run.
    pub fn is_complete(&self) -> bool {
        self.tally.run >= self.header.total
    }

    /// Says in a sentence what was run.
    pub fn summary(&self) -> String {
        let Header { total, space, cranks, order, seed, .. } = &self.header;
        let run = if self.is_complete() { format!("{total}") } else { format!("{} of {total}", self.tally.run) };
        let order = match order.as_str() {
            "pairs" => "pairs of faults",
            "swarm" => "random sets of faults",
            _ => "single faults",
        };
        let drawn =
            if space > total && self.header.order != "swarm" { format!(", drawn from {space}") } else { String::new() };
        format!("{run} experiments ({order}{drawn}) on a golden run of {cranks} cranks, seed {seed}")
    }

    /// Renders the report as one JSON object.
    pub fn json(&self) -> String {
        let heat: Vec<_> = self
            .tally
            .heat
            .iter()
            .map(|((place, action), cells)| {
                let cells: Vec<_> = cells.iter().map(|(at, classes)| json!([at, classes])).collect();
                json!({ "place": place, "action": action, "cells": cells })
            })
            .collect();
        let blast: Vec<_> = self.tally.blast.iter().map(|((from, to), count)| json!([from, to, count])).collect();
        let object = json!({
            "campaign": self.header,
            "verdict": self.verdict(),
            "accepted": self.tally.is_accepted(),
            "complete": self.is_complete(),
            "experiments": self.tally.run,
            "classes": self.tally.shares,
            "limits": self.tally.limits,
            "sometimes": self.tally.sometimes,
            "findings": self.tally.findings,
            "planted": self.tally.plants,
            "heat": heat,
            "blast": blast,
            "change": self.change,
        });
        serde_json::to_string_pretty(&object).unwrap_or_default() + "\n"
    }
}

/// A few of a class, for people: what it means.
fn meaning(class: Class) -> &'static str {
    match class {
        Class::NotReached => "the fault's place never came",
        Class::NoEffect => "the place came, and nothing could be done there",
        Class::Harness => "the experiment itself failed",
        Class::HostCrash => "the host's process ended by itself",
        Class::HostHang => "the host did not end in its time",
        Class::Durability => "the state on disk is no committed one",
        Class::Diverged => "replicas differ, or history did not repeat",
        Class::KernelPanic => "an invariant of the kernel broke: a clean halt",
        Class::Invariant => "an invariant of this campaign does not hold",
        Class::Stalled => "what the golden run settles stays pending, or it goes on for ever",
        Class::Contained => "the faulted vat suffers; nobody else does",
        Class::Spread => "others are hurt, and somebody was told",
        Class::Silent => "others are hurt, and nobody was told",
        Class::Recovered => "it went another way, and came to the same",
        Class::Masked => "it never showed",
    }
}
