//! The laboratory: faults injected on purpose, experiments with them, campaigns of experiments, and soaks.

pub mod campaign;
pub mod disk;
pub mod experiment;
pub mod probe;
mod schedule;
pub mod soak;

pub use schedule::{Schedule, ScheduleId};
