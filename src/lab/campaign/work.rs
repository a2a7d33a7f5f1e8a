//! Runs the experiments of a campaign on several threads, each with a runner of its own.
//!
//! Invariant: the outcome of an experiment does not depend on which thread ran it, nor on what ran before.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
    thread::Builder,
};

use crate::lab::{
    campaign::Space,
    experiment::{Outcome, Runner, STACK_BYTES},
};

/// Results that wait to be written.
const WAITING_MAX: usize = 256;

/// The way in which the work ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Every experiment was run.
    All,
    /// The stop flag was set before every experiment was run.
    Stopped,
}

/// The experiments that are to be run, and the threads that run them.
pub struct CampaignWork<'a> {
    /// Where the experiments are from.
    pub space: &'a Space,
    /// Their numbers there.
    pub numbers: &'a [u64],
    /// The number of threads.
    pub workers: usize,
    /// Makes a runner, in its thread.
    pub make: &'a (dyn Fn() -> anyhow::Result<Runner> + Sync),
    /// No experiment is begun once this is set.
    pub stop: &'a AtomicBool,
}

impl std::fmt::Debug for CampaignWork<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("numbers", &self.numbers.len()).finish_non_exhaustive()
    }
}

/// Runs them, and hands each result to `done`, in the order in which they end.
///
/// # Errors
///
/// Where a runner cannot be made, or `done` fails; what is under way is waited for.
pub fn run(work: &CampaignWork<'_>, done: &mut dyn FnMut(Outcome) -> anyhow::Result<()>) -> anyhow::Result<Ended> {
    let next = AtomicUsize::new(0);
    let (send, receive) = sync_channel::<anyhow::Result<Outcome>>(WAITING_MAX);
    let (mut failure, mut count) = (None, 0);
    std::thread::scope(|scope| {
        for _ in 0..work.workers.clamp(1, work.numbers.len().max(1)) {
            let (send, next) = (send.clone(), &next);
            let thread = Builder::new().stack_size(STACK_BYTES);
            let spawned = thread.spawn_scoped(scope, move || {
                let mut runner = match (work.make)() {
                    Ok(it) => it,
                    Err(err) => return drop(send.send(Err(err))),
                };
                while !work.stop.load(Ordering::Relaxed) {
                    let Some(number) = work.numbers.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    let Some(it) = work.space.experiment(*number) else { continue };
                    if send.send(Ok(runner.run(&it.schedule, it.seed))).is_err() {
                        return;
                    }
                }
            });
            if let Err(err) = spawned {
                failure = Some(anyhow::Error::new(err).context("start a thread"));
            }
        }
        drop(send);
        for result in receive {
            count += usize::from(result.is_ok());
            if let Err(err) = result.and_then(&mut *done) {
                work.stop.store(true, Ordering::Relaxed);
                failure.get_or_insert(err);
            }
        }
    });
    match failure {
        Some(err) => Err(err),
        None if count < work.numbers.len() => Ok(Ended::Stopped),
        None => Ok(Ended::All),
    }
}
