//! Progress bars: shown on a terminal, and nothing elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Output;

/// The progress bar of one long task.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// How it looks if nobody knows how much there is to do.
    endless: Option<ProgressStyle>,
    begun: Instant,
}

impl Progress {
    /// Starts a bar for a task, `what`, that is done `unit` by `unit`.
    pub(crate) fn new(output: &Output, what: &'static str, unit: &str) -> Progress {
        let template = format!("{{msg}} {{wide_bar}} {{percent}}% of {{human_len}} {unit}, {{eta}} left");
        let style = ProgressStyle::with_template(&template).ok();
        let endless = ProgressStyle::with_template(&format!("{{spinner}} {{msg}}: {{human_pos}} {unit}")).ok();
        let bar = output.progress().then(|| ProgressBar::new(0).with_message(what));
        if let (Some(bar), Some(style)) = (&bar, style) {
            bar.set_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress { bar, endless, begun: Instant::now() }
    }

    /// Shows that `done` of `total` units are done.
    pub(crate) fn set(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Shows that `done` units are done, of a number that nobody knows.
    pub(crate) fn count(&self, done: u64) {
        if let (Some(bar), Some(style)) = (&self.bar, &self.endless) {
            if bar.length().is_some() {
                bar.unset_length();
                bar.set_style(style.clone());
            }
            bar.set_position(done);
        }
    }

    /// Removes the bar, and returns how long the task took.
    pub(crate) fn finish(&self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.begun.elapsed()
    }
}
