//! The probes of the laboratory: planted bugs, the injector of an experiment's faults, the watch over its run; and how
//! several probes stand in the one slot of a block.

mod breakage;
mod deadly;
mod disturb;
mod injector;
mod planted;
mod several;
mod watch;

pub use breakage::PlantedBugs;
pub use deadly::Life;
pub(crate) use injector::lasts;
pub use injector::{Counts, Injector, Log, Reached};
pub use planted::{ParsePlantError, PlantedAt, PlantedBug};
pub use several::Probes;
pub(crate) use watch::{DeliveryRecord, RunWatch};
