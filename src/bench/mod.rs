//! Benchmarks: the cost of a delivery with everything on, as a multiple of the *floor*, a bare wasmtime call with a send.
//!
//! Both are measured in the same run, one next to the other, since machines differ and are noisy: the ratio is the result.
//! Of several runs the medians are reported, figure by figure; counts are sums, and the peak of memory is the greatest.
//!
//! ```text
//!   floors ─▶ workload ─▶ floors ─▶ workload ─▶ floors …     each ratio is to the floors around it
//! ```

mod amplification;
mod compare;
mod date;
mod experiments;
mod floors;
mod growth;
mod guest;
mod instructions;
mod life;
mod live;
mod load;
mod machine;
mod memory;
mod result;
mod scale;
mod siege;
mod svg;
mod workload;

pub use amplification::{
    Amplification, Case, CaseResult, Enough, LIMITS, Measuring, UseLimits, amplification, amplification_cases,
    amplification_child, amplification_tried,
};
pub use compare::{RatioChange, compare};
pub use experiments::{ExperimentRates, experiments};
pub use floors::{Floors, PerDelivery};
pub use growth::{Curve, Growth, Point, growth};
pub use instructions::{INSTRUCTIONS_TOLERATED, InstructionChange, Instructions, count_instructions, has_valgrind};
pub use life::{Life, LifeOptions, LifePoint, life};
pub use load::Load;
pub use machine::{Hardware, machine};
pub use memory::{Memory, memory};
pub use result::{Deliveries, Figure, Measured, Results, Target};
pub use scale::{Scale, ScaleCost, ScaleOptions, ScalePoint, scale};
pub use siege::{Besieged, LATENCY_PER_ATTACKER, Latency, Siege, Until, attacker_names, siege};
pub use svg::{Chart, Dot, svg};
pub use workload::{WORKLOADS, Workload, scenario};

/// The size of a measurement: deliveries, cranks of a block, and runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Deliveries of a run.
    pub deliveries: u64,
    /// Cranks of a block.
    pub cranks_per_block: u64,
    /// Runs, of which the median counts.
    pub runs: usize,
    /// Whether states have only a hundredth of the vats and objects: for a quick look, and no measurement.
    pub quick: bool,
    /// The most vats to which the workloads send that send to many.
    pub vats_max: Option<u64>,
}

impl Default for Size {
    fn default() -> Size {
        Size { deliveries: 200_000, cranks_per_block: 10_000, runs: 3, quick: false, vats_max: None }
    }
}

impl Size {
    /// Returns how many vats, objects, or past deliveries a state of this size has instead of `full`.
    fn of(self, full: u64) -> u64 {
        if self.quick { (full / 100).max(1) } else { full }
    }

    /// Returns to how many vats one vat sends, if it is `full` in a state of full size.
    fn vats(self, full: u64) -> u64 {
        self.of(full).min(self.vats_max.unwrap_or(u64::MAX))
    }
}

/// Runs workloads, with the floors around each. `told` is called with the name of each before it begins.
pub fn run(workloads: &[Workload], size: Size, told: &mut dyn FnMut(&str)) -> anyhow::Result<Results> {
    let mut around = floors::Around::new()?;
    let mut measured = Vec::new();
    for workload in workloads {
        told(&workload.name);
        measured.push(workload.measure(size, &mut around)?);
    }
    Ok(Results { machine: machine(), runs: size.runs, floors: around.medians(), workloads: measured })
}
