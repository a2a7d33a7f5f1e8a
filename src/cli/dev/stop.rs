//! ^C: the first stops the run at a crank boundary and ends the build, the second ends everything at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{cli::Exit, vat::Interrupter};

/// How long a delivery or a build may continue after ^C before it is ended.
const GRACE: Duration = Duration::from_millis(500);

/// The count of interrupts, and the work that they end.
#[derive(Clone, Default)]
pub(super) struct Stop {
    count: Arc<AtomicU8>,
    work: Arc<Mutex<UnderWay>>,
}

/// The build and the run that are under way, if any.
#[derive(Default)]
struct UnderWay {
    /// The process group of the build.
    build: Option<Pid>,
    run: Option<Interrupter>,
}

impl Stop {
    /// Installs the handler of ^C, once in a process.
    pub(super) fn install() -> anyhow::Result<Stop> {
        let stop = Stop::default();
        let seen = stop.clone();
        ctrlc::set_handler(move || {
            if seen.count.fetch_add(1, Ordering::Relaxed) > 0 {
                seen.end_build(Signal::KILL);
                std::process::exit(Exit::Interrupted as i32);
            }
            seen.end_build(Signal::INT);
            let late = seen.clone();
            thread::spawn(move || late.insist());
        })
        .context("install a handler for ^C")?;
        Ok(stop)
    }

    /// Returns whether ^C was pressed.
    pub(super) fn is_asked(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Names the process group of the build that is under way.
    pub(super) fn set_build(&self, group: Option<Pid>) {
        self.work().build = group;
        // ^C may have come just before.
        if self.is_asked() {
            self.end_build(Signal::KILL);
        }
    }

    /// Names the run that is under way.
    pub(super) fn set_run(&self, run: Interrupter) {
        self.work().run = Some(run);
    }

    fn work(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the build and all that it started.
    fn end_build(&self, signal: Signal) {
        if let Some(group) = self.work().build {
            // It may have ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Ends the build and the run if they do not end by themselves.
    #[expect(clippy::disallowed_methods, reason = "it waits beside the kernel, and ends what takes too long")]
    fn insist(&self) {
        loop {
            thread::sleep(GRACE);
            self.end_build(Signal::KILL);
            if let Some(run) = &self.work().run {
                run.stop();
            }
        }
    }
}
