//! The progress of a campaign: a line on a terminal, now and then a line elsewhere, or JSON for a program.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    cli::{Output, output::grouped},
    lab::{
        campaign::{Earlier, key},
        experiment::{Class, Outcome},
    },
};

/// The time from one line to the next, if there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// The time from one line of JSON to the next.
const JSON_EVERY: Duration = Duration::from_millis(500);

/// The form in which progress is shown.
enum ProgressKind {
    Bar(ProgressBar),
    Plain,
    Json,
}

/// The progress display of one campaign; see the module.
pub(super) struct Progress<'a> {
    output: &'a Output,
    kind: ProgressKind,
    begun: Instant,
    told: Instant,
    /// Experiments done in this run; `before` are those of earlier runs.
    done: u64,
    before: u64,
    total: u64,
    counts: BTreeMap<Class, u64>,
    findings: u64,
    /// The value of `done` when progress was printed last.
    last: u64,
}

#[allow(clippy::disallowed_methods, reason = "for people who wait")]
fn now() -> Instant {
    Instant::now()
}

impl<'a> Progress<'a> {
    /// Starts the display for this many experiments, and counts those that were run before.
    pub(super) fn new(output: &'a Output, json: bool, total: u64, earlier: &Earlier) -> Progress<'a> {
        let before = earlier.ids.len() as u64;
        let style = ProgressStyle::with_template("{bar:30} {percent}%  {msg}  {eta} left").ok();
        let kind = match (json, output.progress(), style) {
            (true, ..) => ProgressKind::Json,
            (false, true, Some(style)) => {
                let bar = ProgressBar::new(total).with_style(style).with_position(before);
                bar.enable_steady_tick(Duration::from_millis(200));
                bar.reset_eta();
                ProgressKind::Bar(bar)
            }
            _ => ProgressKind::Plain,
        };
        let (begun, told) = (now(), now());
        let (counts, findings) = (earlier.classes.clone(), earlier.findings);
        Progress { output, kind, begun, told, done: 0, before, total, counts, findings, last: 0 }
    }

    /// Counts one more outcome, and shows it.
    pub(super) fn add(&mut self, outcome: &Outcome, is_finding: bool) {
        self.done += 1;
        self.findings += u64::from(is_finding);
        *self.counts.entry(outcome.class).or_default() += 1;
        match &self.kind {
            ProgressKind::Bar(bar) => {
                bar.set_position(self.before + self.done);
                bar.set_message(self.message());
            }
            ProgressKind::Plain if self.told.elapsed() >= PLAIN_EVERY => self.tell(),
            ProgressKind::Json if self.told.elapsed() >= JSON_EVERY => self.tell(),
            _ => (),
        }
    }

    fn rate(&self) -> f64 {
        self.done as f64 / self.begun.elapsed().as_secs_f64().max(1e-3)
    }

    fn message(&self) -> String {
        let counts: Vec<String> =
            self.counts.iter().map(|(class, count)| format!("{} {}", key(*class), grouped(*count))).collect();
        let findings = if self.findings > 0 { format!("  {} findings", grouped(self.findings)) } else { String::new() };
        format!("{:.0}/s  {}{findings}", self.rate(), counts.join(" "))
    }

    fn tell(&mut self) {
        (self.told, self.last) = (now(), self.done);
        let done = self.before + self.done;
        match &self.kind {
            ProgressKind::Json => {
                let left = (self.total - done.min(self.total)) as f64 / self.rate().max(1e-3);
                let counts: BTreeMap<String, u64> = self.counts.iter().map(|(class, it)| (key(*class), *it)).collect();
                self.output.note(
                    json!({ "done": done, "total": self.total, "perSecond": self.rate(), "secondsLeft": left,
                        "classes": counts, "findings": self.findings })
                    .to_string(),
                );
            }
            _ => {
                let (done, total) = (grouped(done), grouped(self.total));
                self.output.note(format!("{done} of {total}  {}", self.message()));
            }
        }
    }

    /// Ends the display, and prints the last counts.
    pub(super) fn finish(mut self) {
        match &self.kind {
            ProgressKind::Bar(bar) => bar.finish_and_clear(),
            ProgressKind::Plain | ProgressKind::Json if self.last < self.done => self.tell(),
            ProgressKind::Plain | ProgressKind::Json => (),
        }
    }
}
