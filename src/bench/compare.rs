//! Comparison of results with earlier ones. Only ratios are compared: each is of two things that were measured in the same run.

use serde::Serialize;

use crate::bench::{Figure, Measured, Results, Target};

/// The factor up to which a worse ratio is taken for noise.
const TOLERATED: f64 = 1.10;

/// A ratio, then and now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RatioChange {
    /// The name of the workload.
    pub workload: String,
    /// The name of the figure.
    pub figure: String,
    /// The value of the earlier run.
    pub before: f64,
    /// The value of the later run.
    pub after: f64,
    /// The factor by which the ratio is worse; below 1 it is better.
    pub worse: f64,
    /// Whether the ratio is worse by more than a tenth.
    pub regressed: bool,
}

/// Compares every ratio that both results have.
pub fn compare(before: &Results, after: &Results) -> Vec<RatioChange> {
    let mut changes = Vec::new();
    for now in &after.workloads {
        let Some(then) = before.workloads.iter().find(|it| it.name == now.name) else { continue };
        let old = ratios(then);
        for (figure, value, more_is_better) in ratios(now) {
            let Some((_, was, _)) = old.iter().find(|it| it.0 == figure) else { continue };
            let worse = if more_is_better { was / value } else { value / was };
            changes.push(RatioChange {
                workload: now.name.to_string(),
                figure,
                before: *was,
                after: value,
                worse,
                regressed: worse > TOLERATED,
            });
        }
    }
    changes
}

/// Returns the ratios of a workload: name, value, and whether more is better.
fn ratios(measured: &Measured) -> Vec<(String, f64, bool)> {
    let to_floor = measured.deliveries.as_ref().map(|it| ("ratioToFloor".to_owned(), it.ratio_to_floor, false));
    let more_is_better = |it: &Figure| matches!(it.target, Some(Target::AtLeast(_)));
    let others = measured.figures.iter().filter(|it| it.is_ratio() && it.name != "ratioToFloor");
    to_floor.into_iter().chain(others.map(|it| (it.name.to_string(), it.value, more_is_better(it)))).collect()
}
