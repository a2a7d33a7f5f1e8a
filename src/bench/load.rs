//! Scenarios to measure: two vats or many, all of one guest that does next to nothing (`loader.wat`).

use anyhow::Context;

use crate::{
    host::scenario::{Scenario, StaticVat},
    state::table::Options,
};

/// The work that the guests do; see `loader.wat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// The letter of it.
    pub letter: char,
    /// The number that the letter takes.
    pub number: u64,
    /// How many vats there are beside the first.
    pub others: u64,
}

impl Load {
    /// Makes a load between two vats.
    pub(super) const fn pair(letter: char, number: u64) -> Load {
        Load { letter, number, others: 1 }
    }

    /// From one vat to so many.
    pub(super) const fn fan(others: u64) -> Load {
        Load { letter: 'f', number: 0, others }
    }

    /// Cranks until it goes on as it will for ever: every vat is up, everything handed over.
    pub(super) fn begins_after(self) -> u64 {
        let handed_over = if "oq".contains(self.letter) { self.number.div_ceil(1_000) * 2 } else { 0 };
        // A vat starts; then it hears of the first message.
        2 * self.others + handed_over + 100
    }

    /// The scenario: vats `load0`, `load1` and so on, of which the first is told of the others.
    pub fn scenario(self) -> anyhow::Result<Scenario> {
        let wasm = wat::parse_str(include_str!("loader.wat")).context("assemble the load of the benchmarks")?;
        let vat = |at: u64| StaticVat {
            name: format!("load{at}"),
            wasm: wasm.clone(),
            // What is measured is how it grows: it has no bound.
            options: Options { queued_max: u64::MAX, queued_bytes_max: u64::MAX, ..Options::default() },
            parameters: format!("{}{}", self.letter, self.number),
        };
        Ok(Scenario {
            vats: (0..=self.others).map(vat).collect(),
            bootstrap: Some("load0".to_owned()),
            ..Scenario::default()
        })
    }
}
