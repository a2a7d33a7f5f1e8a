//! Reports about a slog: summaries, the last moments before a halt, single cranks, traces of causes, differences,
//! exports.
//!
//! Those that look for something read only the pieces of a recording that may have it, by its index (`map`). The others read a recording
//! forwards, through [`Reader`](crate::slog::Reader), some of them twice. In memory are a crank or two, and what the module's head names,
//! but never the whole recording.

mod chrome;
mod crank;
mod dot;
mod export;
mod fact;
mod histogram;
mod history;
mod last;
mod link;
mod map;
mod parting;
mod show;
mod spine;
mod spoken;
mod story;
mod summary;
mod trace;

pub use export::{ExportError, ExportFormat, Range, export};
pub use fact::{Fact, What};
pub use histogram::Histogram;
pub use last::{Console, Last, Status, last};
pub use parting::{Ending, Evidence, Parted, Parting, Side, parting};
pub use show::{Cause, Extent, Place, Shown, Which, follow, show};
pub use spoken::{NamedVats, Spoken, SpokenLine, vats_named};
pub use story::{Mention, Story, story};
pub use summary::{Latency, Summary, VatSummary, summary};
pub use trace::{Act, StepCause, Subject, Trace, TraceStep, trace};
