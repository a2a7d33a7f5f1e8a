//! Scenarios to measure: two vats or many, all with one guest that does next to nothing (`loader.wat`).

use anyhow::Context;

use crate::{
    host::scenario::{Scenario, StaticVat},
    state::table::Options,
};

/// The work that the guests do; see `loader.wat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// The letter of the work.
    pub letter: char,
    /// The number that goes with the letter.
    pub number: u64,
    /// The number of vats besides the first.
    pub others: u64,
}

impl Load {
    /// Makes a load between two vats.
    pub(super) const fn pair(letter: char, number: u64) -> Load {
        Load { letter, number, others: 1 }
    }

    /// Makes a load from one vat to so many.
    pub(super) const fn fan(others: u64) -> Load {
        Load { letter: 'f', number: 0, others }
    }

    /// Makes a load from one vat to so many, each of which takes so many steps of a loop with each message.
    pub(super) const fn work(others: u64, steps: u64) -> Load {
        Load { letter: 'w', number: steps, others }
    }

    /// Returns the number of cranks until the load is in its steady state: every vat is up, and everything is handed over.
    pub(super) fn begins_after(self) -> u64 {
        let handed_over = if "oq".contains(self.letter) { self.number.div_ceil(1_000) * 2 } else { 0 };
        // Each vat has two cranks: its start, and its first message.
        2 * self.others + handed_over + 100
    }

    /// Makes the scenario: vats `load0`, `load1` and so on, of which the first is given the others' roots.
    pub fn scenario(self) -> anyhow::Result<Scenario> {
        let wasm = wat::parse_str(include_str!("loader.wat")).context("assemble the load of the benchmarks")?;
        let vat = |at: u64| StaticVat {
            name: format!("load{at}"),
            wasm: wasm.clone(),
            // Growth is measured, so there is no bound.
            options: Options {
                queued_max: u64::MAX,
                queued_bytes_max: u64::MAX,
                refs_max: u64::MAX,
                ..Options::default()
            },
            parameters: format!("{}{}", self.letter, self.number),
        };
        Ok(Scenario {
            vats: (0..=self.others).map(vat).collect(),
            bootstrap: Some("load0".to_owned()),
            ..Scenario::default()
        })
    }
}
