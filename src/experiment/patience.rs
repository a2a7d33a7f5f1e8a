//! What recording a golden run may take: a base whose own run does not end is no base, and must not fill the machine to say so.
//!
//! Invariant: nothing of it is in an outcome: a run that was recorded is the same whatever was allowed for it.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Cranks, where nothing is said: each is remembered, and a campaign visits each.
pub(super) const GOLDEN_CRANKS_MAX: u64 = 1_000_000;
/// Time, where nothing is said: every process that runs experiments records it again.
pub(super) const GOLDEN_WALL_MAX: Duration = Duration::from_secs(15);
/// Memory, where nothing is said: the checkpoints of a run are held in memory, in each of those processes.
pub(super) const GOLDEN_MEMORY_MAX: u64 = 1 << 30;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Cranks, where the run is not told by number where to end.
    pub cranks: u64,
    /// Time.
    pub wall: Duration,
    /// Bytes by which the memory of this process may grow.
    pub memory: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { cranks: GOLDEN_CRANKS_MAX, wall: GOLDEN_WALL_MAX, memory: GOLDEN_MEMORY_MAX }
    }
}

impl Patience {
    /// Of a process that repeats what another has recorded, which waits for it.
    pub const ENDLESS: Patience = Patience { cranks: u64::MAX, wall: Duration::MAX, memory: u64::MAX };
}

/// The golden run was over a bound before it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Endless {
    /// Cranks that were run.
    pub cranks: u64,
    /// Which bound.
    pub over: Over,
}

/// A bound of [`Patience`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields of `Patience`")]
pub enum Over {
    Cranks,
    Wall(Duration),
    Memory(u64),
}

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cranks = self.cranks;
        write!(f, "the undisturbed run has no end in sight: ")?;
        match self.over {
            Over::Cranks => write!(f, "after {cranks} cranks more is to be done"),
            Over::Wall(wall) => write!(f, "it took {} seconds for {cranks} cranks", wall.as_secs()),
            Over::Memory(bytes) => write!(f, "its {cranks} cranks take more than {} MiB of memory", bytes >> 20),
        }
    }
}

/// A recording under way, held against its bounds.
pub(super) struct Watchful<'a> {
    patience: Patience,
    begun: Instant,
    memory: u64,
    told: &'a mut dyn FnMut(u64),
}

impl Watchful<'_> {
    /// From now on; `told` hears how many cranks were run.
    #[allow(clippy::disallowed_methods, reason = "how long somebody waits is no part of what is recorded")]
    pub(super) fn new(patience: Patience, told: &mut dyn FnMut(u64)) -> Watchful<'_> {
        Watchful { patience, begun: Instant::now(), memory: resident(), told }
    }

    /// After that many cranks more is to be done.
    pub(super) fn goes_on(&mut self, cranks: u64, is_counted: bool) -> Result<(), Endless> {
        (self.told)(cranks);
        let Patience { cranks: cranks_max, wall, memory } = self.patience;
        let over = |over| Err(Endless { cranks, over });
        if is_counted && cranks >= cranks_max {
            return over(Over::Cranks);
        }
        if self.begun.elapsed() > wall {
            return over(Over::Wall(wall));
        }
        if memory < u64::MAX && resident().saturating_sub(self.memory) > memory {
            return over(Over::Memory(memory));
        }
        Ok(())
    }

    /// How long it took.
    pub(super) fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Bytes of memory that this process has; 0 where the system does not say.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|it| it.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}
