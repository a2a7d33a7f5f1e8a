//! Recording the golden run, with its progress for whoever waits, and a hint if it does not end.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::{
        Output, Usage,
        output::{grouped, size},
    },
    lab::experiment::{Base, Build, Endless, Experiments, Limits, Over, Patience, Until},
};

/// The time from one line of progress to the next, if there is no terminal.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// Bytes of vatstores from which on it is told how much memory they need.
const TOLD_BYTES_MIN: u64 = 64 << 20;
/// Cranks from one look at the clock to the next.
const CRANKS_PER_LOOK: u64 = 256;

/// Records the golden run, and returns what runs experiments on it. A quick run prints nothing.
pub(super) fn record(
    base: &Base,
    build: Build,
    until: Until,
    limits: Limits,
    patience: Patience,
    output: &Output,
) -> anyhow::Result<Experiments> {
    let stored = base.stored_bytes()?;
    if stored >= TOLD_BYTES_MIN {
        let need = size(stored);
        output.note(format!(
            "experiments keep the vatstores of this state in memory: some {need} in each process that runs them"
        ));
    }
    let bar = output.progress().then(ProgressBar::new_spinner);
    if let (Some(bar), Ok(style)) = (&bar, ProgressStyle::with_template("{spinner} {msg}")) {
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    let mut told = Instant::now();
    let mut tell = |cranks: u64| {
        let text = || format!("the undisturbed run: {} cranks so far", grouped(cranks));
        match &bar {
            _ if !cranks.is_multiple_of(CRANKS_PER_LOOK) => (),
            Some(bar) => bar.set_message(text()),
            None if told.elapsed() >= TOLD_EVERY => {
                output.note(text());
                told = Instant::now();
            }
            None => (),
        }
    };
    let prepared = Experiments::prepare_within(base, build, until, limits, patience, &mut tell);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    prepared.map_err(|err| match err.downcast_ref::<Endless>() {
        Some(endless) => Usage::new(endless, way_out(endless)).into(),
        None => err,
    })
}

fn way_out(endless: &Endless) -> String {
    let (option, field) = match endless.over {
        Over::Cranks => ("--golden-cranks N", "cranks = N"),
        Over::Cpu(_) => ("--golden-cpu S", "cpu = \"60s\""),
        Over::Memory(_) => ("--golden-memory BYTES", "memory = \"4GiB\""),
    };
    format!(
        "say where it ends: `--cranks N`, in a campaign `until = \"+N cranks\"` in [base]; or let it go on: `{option}`, \
         in a campaign `golden = {{ {field} }}` in [base]"
    )
}
