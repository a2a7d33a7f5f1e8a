//! The room that is left on the disk of a state, and how long it lasts at the rate seen.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::cli::output::size;

/// The time from one look to the next.
const LOOK: Duration = Duration::from_secs(10);
/// The shortest time over which a rate is believed.
const SEEN_MIN: Duration = Duration::from_secs(60);
/// A disk that is full within this time is told of.
const SOON: Duration = Duration::from_secs(6 * 3_600);
/// So little room is told of whatever the rate.
const LITTLE: u64 = 256 << 20;

/// Looks at the room on the disk of a state now and then.
#[derive(Debug, Default)]
pub(super) struct DiskRoom {
    dir: Option<PathBuf>,
    begun: Option<(Instant, u64)>,
    looked: Option<Instant>,
    told: Option<u64>,
}

impl DiskRoom {
    /// Watches over the folder of a state, if it is in one.
    pub(super) fn of(state: Option<&Path>) -> DiskRoom {
        DiskRoom { dir: state.map(ToOwned::to_owned), ..DiskRoom::default() }
    }

    /// Returns what an operator must know, once, and again whenever half of the room that was told of is gone.
    pub(super) fn look(&mut self) -> Option<String> {
        let dir = self.dir.as_ref()?;
        if self.looked.is_some_and(|it| it.elapsed() < LOOK) {
            return None;
        }
        self.looked = Some(Instant::now());
        let room = rustix::fs::statvfs(dir).ok()?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let (begun, before) = *self.begun.get_or_insert((Instant::now(), free));
        let left = lasts(begun.elapsed(), before, free);
        let is_told = self.told.is_some_and(|told| free > told / 2);
        if is_told || (free > LITTLE && left.is_none_or(|it| it > SOON)) {
            return None;
        }
        self.told = Some(free);
        Some(told(&dir.display().to_string(), free, left))
    }
}

/// Returns how long the room lasts that is left: `before` was free at the beginning of this time, `free` is now. Nothing where that cannot
/// be said.
fn lasts(time: Duration, before: u64, free: u64) -> Option<Duration> {
    let used = before.checked_sub(free).filter(|it| *it > 0)?;
    let times = free / used;
    (time >= SEEN_MIN).then(|| time.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)))
}

fn told(dir: &str, free: u64, left: Option<Duration>) -> String {
    let left = left.filter(|it| *it <= SOON).map_or_else(String::new, |it| {
        let minutes = it.as_secs() / 60;
        let (hours, minutes) = (minutes / 60, minutes % 60);
        format!(", which is full in {hours} h {minutes:02} min at the rate of this run")
    });
    format!(
        "{} are left on the disk of `{dir}`{left}: a host halts when a block cannot be written, at the block before. `vathost inspect {dir} size` \
         says what takes the room, `vathost prune {dir} --keep needed` lets the past leave",
        size(free)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_follows_from_what_was_used() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(lasts(hour, 10 << 30, 9 << 30), Some(9 * hour));
        assert_eq!(lasts(hour, 4 << 30, 1 << 30), Some(Duration::ZERO), "in less than an hour");
        assert_eq!(lasts(hour, 1 << 30, 1 << 30), None, "nothing was used");
        assert_eq!(lasts(hour, 1 << 30, 2 << 30), None, "room was made");
        assert_eq!(lasts(Duration::from_secs(5), 10 << 30, 1 << 30), None, "too early to tell");
        let text = told("/s", 3 << 30, Some(Duration::from_secs(5_400)));
        assert!(
            text.starts_with("3072 MiB are left on the disk of `/s`, which is full in 1 h 30 min at the rate"),
            "{text}"
        );
        assert!(told("/s", 64 << 20, None).starts_with("64 MiB are left on the disk of `/s`: a host"));
    }
}
