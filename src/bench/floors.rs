//! The floors (bare wasmtime calls), measured again and again around the workloads.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{
    bench::result::{median, per},
    vat::{Floor, FloorKind},
};

/// The costs of the floors, in nanoseconds a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floors {
    /// The floor `call`: into a guest and back.
    pub call: PerDelivery,
    /// The floor `send`: the guest also sends once.
    pub send: PerDelivery,
}

/// The cost of one delivery, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PerDelivery {
    /// Nanoseconds for each delivery.
    pub ns_per_delivery: f64,
}

const DELIVERIES: u64 = 200_000;

/// A recorder of the floors, which measures them around a workload and keeps all values.
#[derive(Debug)]
pub(super) struct Around {
    call: Floor,
    send: Floor,
    calls: Vec<f64>,
    sends: Vec<f64>,
}

impl Around {
    pub(super) fn new() -> anyhow::Result<Around> {
        let mut around = Around {
            call: Floor::new(FloorKind::Call)?,
            send: Floor::new(FloorKind::Send)?,
            calls: Vec::new(),
            sends: Vec::new(),
        };
        // To warm up, and so that there is always a value.
        around.measure()?;
        Ok(around)
    }

    /// Measures both, and returns the nanoseconds of a bare delivery with a send.
    #[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
    fn measure(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        self.call.run(DELIVERIES)?;
        self.calls.push(per(begun.elapsed(), DELIVERIES));
        let begun = Instant::now();
        self.send.run(DELIVERIES)?;
        let send = per(begun.elapsed(), DELIVERIES);
        self.sends.push(send);
        Ok(send)
    }

    /// Does something between two measurements of the floors, and returns the mean of the two bare sends with its result.
    pub(super) fn around<T>(&mut self, what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
        let before = self.measure()?;
        let result = what()?;
        Ok((result, f64::midpoint(before, self.measure()?)))
    }

    pub(super) fn medians(&self) -> Floors {
        let of = |all: &[f64]| PerDelivery { ns_per_delivery: median(all.iter().copied()) };
        Floors { call: of(&self.calls), send: of(&self.sends) }
    }
}
