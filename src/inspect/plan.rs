//! Plans of directives: tries them over a state that is only looked at, and reports the outcomes.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    directive::DirectiveSet,
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        epitaph::Epitaph,
        report::{DirectiveReport, Report, ResultReport},
    },
    inspect::view::said,
    kernel::{Halt, Probe},
    model::blame::HostFault,
    slog::Slog,
    state::block::Block,
    store::Overlay,
};

/// The settings of a trial run.
#[derive(Debug, Clone)]
pub struct TrialSettings {
    /// The policy for ending blocks, the same as the real host's: the hashes are of no use otherwise.
    pub policy: BlockPolicy,
    /// Blocks to run, at most.
    pub blocks: u64,
    /// The probe of the real host, with the bugs that it plants in the kernel.
    pub probe: Option<Arc<dyn Probe>>,
    /// The directives in force in the real host, too.
    pub directives: DirectiveSet,
    /// Modules that a directive's upgrade may name, in addition to those that the state holds.
    pub bundles: Vec<Vec<u8>>,
    /// The folder for compiled code, if it is kept.
    pub code_cache: Option<std::path::PathBuf>,
    /// Checks every invariant after each crank whose number this divides; `None` as the build has it.
    pub audit: Option<u64>,
}

/// The outcome of a trial over the state.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialOutcome {
    /// The directives that were in force, in canonical form.
    pub lines: Vec<String>,
    /// The digest of those directives.
    pub digest: String,
    /// `quiescent`, `goes-on`, `halted`, `panic`, or `unfinished`.
    pub end: &'static str,
    /// The reason why the run stopped, if it halted or the kernel panicked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The crank in which the run halted or the kernel panicked, if either happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crank: Option<u64>,
    /// The last committed block.
    pub height: u64,
    /// The chained hash at that block, for a comparison with the other operators'.
    pub state_hash: String,
    /// The status of the directives at the end.
    pub directives: Vec<DirectiveReport>,
    /// Vats whose status or incarnation changed: name, before, after.
    pub vats: Vec<(String, String, String)>,
    /// Results of messages from outside that were settled: message, status, body.
    pub results: Vec<(String, String, String)>,
    /// The bodies of those results, decoded for people.
    #[serde(skip)]
    pub said: Vec<String>,
}

/// Runs the state with these directives; what it commits stays in memory.
pub fn attempt(state: &Overlay, set: &DirectiveSet, trial: &TrialSettings) -> Result<TrialOutcome, Box<Halt>> {
    attempt_while(state, set, trial, &|| true)
}

/// Tries directives as [`attempt`] does, but stops once `goes_on` returns false: then the outcome is that of the last
/// block that was closed, and its end is `unfinished`.
pub fn attempt_while(
    state: &Overlay,
    set: &DirectiveSet,
    trial: &TrialSettings,
    goes_on: &dyn Fn() -> bool,
) -> Result<TrialOutcome, Box<Halt>> {
    let overlay = state.blank();
    let open = HostOptions {
        over: Some(overlay.clone()),
        code_cache: trial.code_cache.clone(),
        probe: trial.probe.clone(),
        audit: trial.audit.into(),
        ..HostOptions::default()
    };
    let mut controller = Host::open(open)?;
    for wasm in &trial.bundles {
        controller.put_bundle(wasm)?;
    }
    let before = controller.report()?;
    // Missed directives are a matter for the real start; here they have no consequence.
    let accepted = controller.set_directives(set.clone(), true);
    accepted.map_err(|missed| HostFault::new("try directives", missed))?;
    let mut closed = (before.height, before.state_hash.clone());
    let stopped = run(&mut controller, trial, goes_on, &mut closed).err();
    let (end, why) = match &stopped {
        None if !goes_on() => ("unfinished", None),
        None if controller.is_quiescent()? => ("quiescent", None),
        None => ("goes-on", None),
        Some(halt) => match Epitaph::of(halt, controller.standing(), None) {
            Some(epitaph) => ("panic", Some(epitaph.to_string())),
            None => ("halted", Some(halt.to_string())),
        },
    };
    let after = match controller.report() {
        Ok(report) => report,
        // The host has halted: what was committed is in the overlay.
        Err(_) => Report::of(&Block::over(overlay.open()?, Slog::default())?),
    };
    Ok(TrialOutcome {
        lines: set.iter().map(ToString::to_string).collect(),
        digest: set.digest().to_string(),
        end,
        why,
        crank: stopped.as_ref().and_then(|it| it.position.crank).map(|it| it.0),
        height: closed.0,
        state_hash: closed.1,
        vats: touched(&before, &after),
        results: settled(&before, &after).map(told).collect(),
        said: settled(&before, &after).map(decoded).collect(),
        directives: after.directives,
    })
}

fn run(
    controller: &mut Host,
    trial: &TrialSettings,
    goes_on: &dyn Fn() -> bool,
    closed: &mut (u64, String),
) -> Result<(), Box<Halt>> {
    for _ in 0..trial.blocks {
        if !goes_on() {
            break;
        }
        if controller.is_quiescent()? {
            controller.obey_at_rest()?;
            break;
        }
        let end = controller.run_block(&trial.policy, &mut |_| goes_on())?;
        if end.closed {
            *closed = (end.height.0, end.state_hash.to_string());
        }
    }
    Ok(())
}

fn touched(before: &Report, after: &Report) -> Vec<(String, String, String)> {
    let describe = |report: &Report, name: &String| match report.vats.get(name) {
        Some(vat) if vat.incarnation > 0 => format!("{}, incarnation {}", vat.status, vat.incarnation),
        Some(vat) => vat.status.to_owned(),
        None => "absent".to_owned(),
    };
    let rows = after.vats.keys().map(|name| (name.clone(), describe(before, name), describe(after, name)));
    rows.filter(|(_, before, after)| before != after).collect()
}

/// Iterates over the results that were settled between two reports.
fn settled<'a>(before: &'a Report, after: &'a Report) -> impl Iterator<Item = &'a ResultReport> {
    let rows = after.results.iter().enumerate();
    rows.filter(|(at, it)| before.results.get(*at).is_none_or(|was| was.status != it.status)).map(|(_, it)| it)
}

fn told(it: &ResultReport) -> (String, String, String) {
    (format!("{}.{}", it.to, it.method), it.status.to_owned(), it.body.clone().unwrap_or_default())
}

fn decoded(it: &ResultReport) -> String {
    it.body.as_deref().map(|body| said::data(body, &it.slots)).unwrap_or_default()
}
