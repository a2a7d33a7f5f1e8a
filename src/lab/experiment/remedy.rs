//! At a kernel panic: each way on is tried over the state, which is only looked at, and they are ranked by what they keep and whom they touch.

use serde::Serialize;

use crate::{
    directive::DirectiveSet,
    host::{
        controller::{Host, HostOptions},
        epitaph::Epitaph,
    },
    inspect::plan::{self, TrialOutcome, TrialSettings},
    kernel::Halt,
    model::blame::HostFault,
    store::Overlay,
};

/// A way on, tried.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// The line for the directive file.
    pub line: String,
    /// Whether the run continues without another halt, with every invariant of the kernel kept.
    pub holds: bool,
    /// Vats whose status or incarnation changes.
    pub vats: usize,
    /// Results from outside that are rejected.
    pub rejected: usize,
    /// Lines in force that it takes the place of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instead_of: Vec<String>,
    /// All that it leads to.
    pub outcome: TrialOutcome,
}

/// The result of a search for remedies at a state.
#[derive(Clone, Debug)]
pub enum Remedies {
    /// The run does not panic.
    NoPanic,
    /// The run panics: the panic in one line, and the ways on, the best first.
    Panic(String, Vec<Remedy>),
}

/// Runs the state until its kernel panics, and tries the ways on; `bundles` are hashes of code to upgrade to.
pub fn remedies(state: &Overlay, trial: &TrialSettings, bundles: &[String]) -> anyhow::Result<Remedies> {
    let Some(epitaph) = panic_of(state, trial)? else { return Ok(Remedies::NoPanic) };
    let mut remedies = Vec::new();
    for line in ways(&epitaph, bundles) {
        remedies.extend(attempt(state, &line, trial, &|| true)?);
    }
    rank(&mut remedies);
    Ok(Remedies::Panic(epitaph.to_string(), remedies))
}

/// The lines that are worth a trial after this panic.
pub fn ways(epitaph: &Epitaph, bundles: &[String]) -> Vec<String> {
    let mut lines = epitaph.ways_out();
    if let (Some(crank), Some(vat)) = (epitaph.crank, &epitaph.vat) {
        lines.extend(bundles.iter().map(|it| format!("crank-{crank}: upgrade {vat} bundle {it}")));
    }
    lines.extend(epitaph.other_kernels());
    lines.retain(|it| !epitaph.directives.contains(it));
    lines
}

/// The best first: those that go on, and of these the ones that touch the least.
pub fn rank(remedies: &mut [Remedy]) {
    remedies.sort_by_key(|it| (!it.holds, it.vats, it.rejected));
}

/// Tries one line over the state, with the lines that are in force except those that it contradicts. `None` where the line
/// makes no sense.
pub fn attempt(
    state: &Overlay,
    line: &str,
    trial: &TrialSettings,
    goes_on: &dyn Fn() -> bool,
) -> anyhow::Result<Option<Remedy>> {
    let mut alone = DirectiveSet::default();
    if alone.read("remedy", line.as_bytes()).is_err() {
        return Ok(None);
    }
    let (mut set, mut instead_of) = (alone.clone(), Vec::new());
    for it in trial.directives.iter() {
        if let Err(contradiction) = set.insert(it.clone()) {
            instead_of.push(contradiction.directive.to_string());
        }
    }
    let outcome = plan::attempt_while(state, &set, trial, goes_on).map_err(|it| *it)?;
    let obeyed =
        outcome.directives.iter().any(|it| it.crank.is_some() && alone.iter().any(|line| it.line == line.to_string()));
    Ok(Some(Remedy {
        line: line.to_owned(),
        holds: matches!(outcome.end, "quiescent" | "goes-on" | "unfinished") && obeyed,
        vats: outcome.vats.len(),
        rejected: outcome.results.iter().filter(|(_, status, _)| *status == "rejected").count(),
        instead_of,
        outcome,
    }))
}

/// Where the kernel panics, if it does within the trial's blocks.
fn panic_of(state: &Overlay, trial: &TrialSettings) -> anyhow::Result<Option<Epitaph>> {
    let mut controller = Host::open(HostOptions {
        over: Some(state.blank()),
        code_cache: trial.code_cache.clone(),
        probe: trial.probe.clone(),
        audit: trial.audit.into(),
        ..HostOptions::default()
    })?;
    for wasm in &trial.bundles {
        controller.put_bundle(wasm).map_err(|it| *it)?;
    }
    let accepted = controller.set_directives(trial.directives.clone(), true);
    accepted.map_err(|missed| HostFault::new("put the directives in force", missed))?;
    for _ in 0..trial.blocks {
        if controller.is_quiescent().map_err(|it| *it)? {
            return Ok(None);
        }
        if let Err(halt) = controller.run_block(&trial.policy, &mut |_| true) {
            return epitaph(&halt, &controller);
        }
    }
    Ok(None)
}

fn epitaph(halt: &Halt, controller: &Host) -> anyhow::Result<Option<Epitaph>> {
    match Epitaph::of(halt, controller.standing(), None) {
        Some(epitaph) => Ok(Some(epitaph)),
        None => Err(halt.clone().into()),
    }
}
