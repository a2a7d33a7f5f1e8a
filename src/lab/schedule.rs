//! The faults of one experiment: where, and what.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::directive::{Contradiction, Directive, DirectiveSet, Refused};

/// The faults that an experiment injects into its run. Prints as its canonical form, one fault a line; serializes as
/// the list of its lines.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Schedule {
    set: DirectiveSet,
}

/// The BLAKE3 hash of a schedule's canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ScheduleId(pub [u8; 32]);

impl Schedule {
    /// Makes the schedule of these faults; an error if they contradict each other.
    ///
    /// # Errors
    ///
    /// The first that makes no sense, is no fault, or contradicts another.
    pub fn of(faults: impl IntoIterator<Item = Directive>) -> Result<Schedule, Box<Contradiction>> {
        let mut schedule = Schedule::default();
        faults.into_iter().try_for_each(|it| schedule.set.insert_fault(it))?;
        Ok(schedule)
    }

    /// Reads one; `name` is what its lines are called in an error.
    ///
    /// # Errors
    ///
    /// Every mistake in it.
    pub fn read(name: &str, text: &str) -> Result<Schedule, Refused> {
        let mut schedule = Schedule::default();
        schedule.set.read_faults(name, text.as_bytes())?;
        Ok(schedule)
    }

    /// Returns the faults, by place and then in the order of effect. Their positions here are their names in a
    /// result.
    pub fn faults(&self) -> impl Iterator<Item = &Directive> {
        self.set.iter()
    }

    /// Returns the number of faults.
    pub fn len(&self) -> usize {
        self.set.iter().count()
    }

    /// Returns whether the schedule has no faults.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Returns the trigger table that the kernel asks.
    pub fn directives(&self) -> &DirectiveSet {
        &self.set
    }

    /// Returns the hash of the canonical form.
    pub fn id(&self) -> ScheduleId {
        ScheduleId(*blake3::hash(self.to_string().as_bytes()).as_bytes())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.set.iter().enumerate() {
            write!(f, "{}{fault}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = Refused;
    fn from_str(text: &str) -> Result<Schedule, Refused> {
        Schedule::read("schedule", text)
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.set.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Schedule, D::Error> {
        let lines = Vec::<String>::deserialize(deserializer)?;
        lines.join("\n").parse().map_err(de::Error::custom)
    }
}
