//! The upgrade of a state's layout, as an operator sees it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    cli::{Output, progress::Progress},
    model::blame::HostFault,
    store::{Database, UpgradeProgress, UpgradeStep, UpgradeWatch},
};

/// Watches the upgrade of a state, if it comes to one.
pub(super) struct Watch(Arc<Mutex<Shown>>);

/// What is shown: nothing before the first step.
struct Shown {
    output: Output,
    step: Option<(UpgradeStep, Progress)>,
    seconds: f64,
}

impl Watch {
    pub(super) fn new(output: &Output) -> Watch {
        Watch(Arc::new(Mutex::new(Shown { output: *output, step: None, seconds: 0.0 })))
    }

    /// Returns what the host is given, and calls.
    pub(super) fn hook(&self) -> UpgradeWatch {
        let shown = self.0.clone();
        UpgradeWatch::new(move |it| shown.lock().unwrap_or_else(PoisonError::into_inner).see(it))
    }

    /// Removes the bar, and says how it ended, if there was an upgrade.
    pub(super) fn end<T>(self, opened: Result<T, HostFault>, output: &Output) -> Result<T, HostFault> {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.step.is_some() && opened.is_ok() {
            shown.next(None);
            let (schema, seconds) = (Database::SCHEMA, shown.seconds);
            output.note(format!(
                "the state has schema {schema} now: every row was proved, the copy is removed, {seconds:.1} s"
            ));
        }
        opened
    }
}

impl Shown {
    fn see(&mut self, progress: &UpgradeProgress) {
        let (from, to) = (progress.from, Database::SCHEMA);
        let Some(copy) = &progress.copy else {
            self.output.note(format!(
                "this state has schema {from}, and is brought to schema {to}; binaries of before refuse it from now on"
            ));
            return;
        };
        if self.step.is_none() {
            let copy = copy.display();
            self.output.note(format!(
                "this state has schema {from}, and is brought to schema {to}; until every row is proved a copy of it as it was is kept: `{copy}`"
            ));
        }
        if self.step.as_ref().is_none_or(|(step, _)| *step != progress.step) {
            let (what, unit) = match progress.step {
                UpgradeStep::LayingOut => return,
                UpgradeStep::Copying => ("copying", "bytes"),
                UpgradeStep::Counting => ("counting", "rows"),
                UpgradeStep::Proving => ("proving", "rows"),
            };
            self.next(Some((progress.step, Progress::new(&self.output, what, unit))));
        }
        if let Some((_, bar)) = &self.step {
            match progress.of {
                Some(of) => bar.set(progress.done, of),
                None => bar.count(progress.done),
            }
        }
    }

    fn next(&mut self, step: Option<(UpgradeStep, Progress)>) {
        if let Some((_, before)) = std::mem::replace(&mut self.step, step) {
            self.seconds += before.finish().as_secs_f64();
        }
    }
}
