//! Reports of a campaign: for people, for a pull request, for a CI, for programs.
//!
//! Invariant: they hold no times, and nothing that differs from run to run: the same results give the same bytes.

mod change;
mod html;
mod junit;
mod markdown;
mod style;
mod svg;

use serde_json::json;

use crate::lab::{
    campaign::{Tally, results::Header},
    experiment::Class,
};

pub use change::Change;
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

impl Report {
    /// Makes a report of results; `before` are those of an earlier run.
    pub fn of(header: Header, tally: Tally, before: Option<&Tally>) -> Report {
        let change = before.map(|before| Change::between(before, &tally));
        Report { header, tally, change }
    }

    /// Returns whether some experiments' faults did not come to their places, so that shares of the others say more.
    pub fn has_unreached(&self) -> bool {
        self.tally.shares.iter().any(|it| it.class == Class::NotReached)
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
        let drawn = if space > total && self.header.order != "swarm" && !self.header.exhaustive {
            format!(", drawn from {space}")
        } else {
            String::new()
        };
        let all = if self.tally.is_census { ", all that there are" } else { "" };
        format!("{run} experiments ({order}{drawn}{all}) on a golden run of {cranks} cranks, seed {seed}")
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
            "census": self.tally.is_census,
            "noEffect": self.tally.no_effect,
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
        Class::Latent => "only the heap of the faulted vat differs; it has not shown yet",
        Class::Contained => "the faulted vat suffers; nobody else does",
        Class::Spread => "others are hurt, and somebody was told",
        Class::Silent => "others are hurt, and nobody was told",
        Class::Recovered => "it went another way, and came to the same",
        Class::Masked => "it never showed",
    }
}
