//! The bounds of recording a golden run: a base whose own run does not end is no base, and must not fill the machine to say so.
//!
//! Invariant: nothing of it is in an outcome: a run that was recorded is the same whatever was allowed for it.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Cranks of a golden run, if nothing else is said: each is remembered, and a campaign visits each.
pub(super) const GOLDEN_CRANKS_MAX: u64 = 1_000_000;
/// Time of the processor, if nothing else is said: every process that runs experiments records it again. It is no time on the wall,
/// so that a busy machine refuses nothing that an idle one takes.
pub(super) const GOLDEN_CPU_MAX: Duration = Duration::from_secs(12);
/// Memory, if nothing else is said: the checkpoints of a run are held in memory, in each of those processes.
pub(super) const GOLDEN_MEMORY_MAX: u64 = 1 << 30;

/// The bounds of the recording of a golden run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Cranks, where the run is not told by number where to end.
    pub cranks: u64,
    /// Time that the processor takes for it.
    pub cpu: Duration,
    /// Bytes by which the memory of this process may grow.
    pub memory: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { cranks: GOLDEN_CRANKS_MAX, cpu: GOLDEN_CPU_MAX, memory: GOLDEN_MEMORY_MAX }
    }
}

impl Patience {
    /// The patience of a process that repeats what another has recorded, which waits for it.
    pub const ENDLESS: Patience = Patience { cranks: u64::MAX, cpu: Duration::MAX, memory: u64::MAX };
}

/// The golden run was over a bound before it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Endless {
    /// Cranks that were run.
    pub cranks: u64,
    /// The bound that was crossed.
    pub over: Over,
}

/// A bound of [`Patience`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields of `Patience`")]
pub enum Over {
    Cranks,
    Cpu(Duration),
    Memory(u64),
}

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cranks = self.cranks;
        write!(f, "the undisturbed run has no end in sight: ")?;
        match self.over {
            Over::Cranks => write!(f, "after {cranks} cranks more is to be done"),
            Over::Cpu(cpu) => write!(f, "{cranks} cranks took {:.1} seconds of the processor", cpu.as_secs_f64()),
            Over::Memory(bytes) => write!(f, "its {cranks} cranks take more than {} MiB of memory", bytes >> 20),
        }
    }
}

/// A recording under way, held against its bounds.
pub(super) struct Watchful<'a> {
    patience: Patience,
    begun: Instant,
    looked: Instant,
    cpu: Option<Duration>,
    memory: u64,
    told: &'a mut dyn FnMut(u64),
}

impl Watchful<'_> {
    /// From now on; `told` hears how many cranks were run.
    #[allow(clippy::disallowed_methods, reason = "how long somebody waits is no part of what is recorded")]
    pub(super) fn new(patience: Patience, told: &mut dyn FnMut(u64)) -> Watchful<'_> {
        let now = Instant::now();
        Watchful { patience, begun: now, looked: now, cpu: used(), memory: resident(), told }
    }

    /// After that many cranks more is to be done.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    pub(super) fn goes_on(&mut self, cranks: u64, is_counted: bool) -> Result<(), Endless> {
        (self.told)(cranks);
        let Patience { cranks: cranks_max, cpu, memory } = self.patience;
        let over = |over| Err(Endless { cranks, over });
        if is_counted && cranks >= cranks_max {
            return over(Over::Cranks);
        }
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        let used = used().zip(self.cpu).map_or(self.begun.elapsed(), |(now, then)| now.saturating_sub(then));
        if used > cpu {
            return over(Over::Cpu(used));
        }
        if resident().saturating_sub(self.memory) > memory {
            return over(Over::Memory(memory));
        }
        Ok(())
    }

    /// Returns how long the recording took.
    pub(super) fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// From one look at what was used to the next: it costs as much as some cranks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Time of the processor that this thread has had, where the system says so: fields 14 and 15, in ticks.
fn used() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    // The second field is a name, which may hold anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let ticks = times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1)))
}

/// Bytes of memory that this process has; 0 where the system does not say.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|it| it.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}
