//! The load-time pass: decides whether a module may run as a vat, and rewrites it so that it runs deterministically.
//!
//! Contract:
//! * A change of the verdict on any module, or of any instrumented byte, is a new engine version.
//! * A pure function of the bytes and the [`Rules`]. No engine, no clock, no platform: every replica gives the same verdict and the same bytes.
//! * No input makes it panic; time and memory are linear in the input, which is bounded by [`limits`].
//! * An accepted module can be instantiated: its imports exist, its segments fit. Only its vat's memory limit, which is not checked
//!   here, or the host's own memory can be too small.
//! * An accepted module's whole state between deliveries is its one memory and its mutable number globals, which it exports.
//!   Tables never change, segments are never dropped.
//! * An accepted module cannot overflow the native stack: a counter in the guest traps first, at the same place everywhere
//!   (see [`limits::STACK_BUDGET`]).
//! * Every refusal says which rule, where, and what to change.

mod body;
mod check;
mod cost;
mod imports;
mod instrument;
mod interface;
pub mod limits;
mod offsets;
mod operand;
mod plan;
mod read;
mod refusal;
mod weight;

pub use cost::Cost;
pub use imports::{IMPORT_MODULE, IMPORTS, Import, Num};
pub use instrument::{FUEL_EXPORT, GLOBAL_EXPORT, STACK_EXPORT};
pub use offsets::OffsetMap;
pub use refusal::{ModuleRefusal, Refusals};

use crate::model::engine_version;

/// The rules of the pass that can be chosen. A host checks with the default; `vathost check --no-floats` forbids floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether floating-point types and instructions are allowed.
    pub floats: bool,
    /// The engine version for which the module is instrumented. The verdict is the same for all.
    pub engine: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { floats: true, engine: engine_version::DEFAULT }
    }
}

/// The declared size of the one linear memory, in pages of 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPages {
    /// Pages at instantiation, at most 65,536.
    pub min: u32,
    /// The most pages that the module declares, if it declares a maximum.
    pub max: Option<u32>,
}

/// A module that passed the checks, instrumented.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The instrumented module: what is compiled and run.
    pub wasm: Vec<u8>,
    /// The guest's memory.
    pub memory: MemoryPages,
    /// Indices of the guest's mutable globals, ascending; each is exported as [`GLOBAL_EXPORT`] followed by its index.
    pub mutable_globals: Vec<u32>,
    /// Whether the guest exports `_initialize`.
    pub initialize: bool,
    /// The cost of compiling the module, by the model.
    pub cost: Cost,
    /// The map of instruction offsets. It is not stored: [`prepare`] makes it again from the original bytes.
    pub offsets: OffsetMap,
}

/// Checks `wasm` against the rules and instruments it.
///
/// # Errors
///
/// All the refusals that could be collected, at least one. A malformed module ends the collection at its mistake.
pub fn prepare(wasm: &[u8], rules: &Rules) -> Result<Prepared, Refusals> {
    let plan = check::check(wasm, rules)?;
    let (instrumented, offsets) = instrument::instrument(wasm, &plan, engine_version::charges_by_operand(rules.engine));
    Ok(Prepared {
        wasm: instrumented,
        memory: plan.memory,
        mutable_globals: plan.mutable_globals,
        initialize: plan.initialize,
        cost: plan.cost,
        offsets,
    })
}
