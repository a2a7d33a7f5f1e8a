//! The ways on from a kernel panic, tried over the state, which is only read, before they are offered to the operator.
//!
//! Invariants: each line that is offered was tried with this host's settings, and the run went on; the trials end in time, however large the
//! state is.

use std::{
    path::Path,
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    cli::{Output, host::host_file, output::harmless, run::code_cache},
    directive::DirectiveSet,
    host::{controller::BlockPolicy, epitaph::Epitaph},
    inspect::plan::TrialSettings,
    lab::experiment::{self, Remedy},
    lab::probe::{Life, PlantedBug, PlantedBugs},
    model::{harmless::quoted, id::BundleId},
    store::Overlay,
};

/// How long all trials together may take, except for the delivery that is under way at that time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most vats that a verdict names, of those that end, pause or are upgraded.
const VATS_SHOWN: usize = 4;

/// Most blocks that a trial runs.
const BLOCKS: u64 = 10;

/// The settings that the host was given, so that the trials get them too.
pub(super) struct Given<'a> {
    /// The folder of the state.
    pub(super) state: &'a Path,
    /// The directive file that the command line names.
    pub(super) directives: Option<&'a Path>,
    /// The directives in force: the file of the command line, parsed, or that of host.toml.
    pub(super) in_force: DirectiveSet,
    /// Modules, those of host.toml among them.
    pub(super) bundles: Vec<Vec<u8>>,
    /// Bugs planted in the host.
    pub(super) plants: &'a [PlantedBug],
    /// The policy by which the host's blocks end.
    pub(super) policy: BlockPolicy,
    /// How often the host checks every invariant.
    pub(super) audit: Option<u64>,
    /// The count of interrupts: after the first, nothing more is tried.
    pub(super) stop: &'a AtomicU8,
}

/// The remedies that were tried, and how the host is started with one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ways {
    remedies: Vec<Remedy>,
    /// Lines that there was no time to try, or whose trial failed on this machine.
    untried: Vec<String>,
    /// The file that a line goes into.
    file: String,
    /// The command that starts the host again.
    restart: String,
    #[serde(skip)]
    state: String,
    #[serde(skip)]
    why_untried: Option<String>,
    #[serde(skip)]
    has_plants: bool,
    #[serde(skip)]
    crank: Option<u64>,
}

/// Tries each way on, and ranks those that were tried.
#[expect(clippy::disallowed_methods, reason = "how long an operator waits is outside of any state")]
pub(super) fn of(epitaph: &Epitaph, given: &Given<'_>, arguments: &[String]) -> Ways {
    let begun = Instant::now();
    let goes_on = || begun.elapsed() < PATIENCE && given.stop.load(Ordering::Relaxed) == 0;
    let bundles: Vec<String> = given.bundles.iter().map(|it| format!("{:.16}", BundleId::of(it).to_string())).collect();
    let trial = TrialSettings {
        policy: given.policy,
        blocks: BLOCKS,
        probe: PlantedBugs::probe(given.plants, Life::Dear),
        directives: given.in_force.clone(),
        bundles: given.bundles.clone(),
        code_cache: code_cache(),
        audit: given.audit,
    };
    let (file, restart) = restart(given, arguments);
    let state = given.state.display().to_string();
    let has_plants = !given.plants.is_empty();
    let mut ways = Ways {
        remedies: Vec::new(),
        untried: Vec::new(),
        file,
        restart,
        state,
        why_untried: None,
        has_plants,
        crank: epitaph.crank,
    };
    let state = Overlay::over(given.state);
    for line in experiment::ways(epitaph, &bundles) {
        if !goes_on() {
            ways.why_untried.get_or_insert_with(|| "the time was up".to_owned());
            ways.untried.push(line);
            continue;
        }
        let tried = match &state {
            Ok(state) => experiment::attempt(state, &line, &trial, &goes_on),
            Err(fault) => Err(fault.clone().into()),
        };
        match tried {
            // The trial was cut short before it reached the line's place: that says nothing about the line.
            Ok(Some(it)) if it.outcome.end == "unfinished" && !it.holds => ways.untried.push(line),
            Ok(Some(it)) => ways.remedies.push(it),
            Ok(None) => (),
            Err(err) => {
                ways.why_untried = Some(format!("{err:#}"));
                ways.untried.push(line);
            }
        }
    }
    experiment::rank(&mut ways.remedies);
    ways
}

/// The file that a line goes into, and the command that obeys it.
fn restart(given: &Given<'_>, arguments: &[String]) -> (String, String) {
    let host = host_file(Some(given.state)).unwrap_or_default();
    let words = || arguments.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(" ");
    match given.directives.map(Path::to_owned).or(host.directives) {
        Some(file) => (file.display().to_string(), format!("vathost {}", words())),
        None => {
            let file = given.state.join("recover.directives").display().to_string();
            let restart = format!("vathost {} --directives {}", words(), quoted(&file));
            (file, restart)
        }
    }
}

impl Ways {
    /// Prints the remedies for the operator.
    pub(super) fn say(&self, output: &Output) {
        let (good, bad): (Vec<_>, Vec<_>) = self.remedies.iter().partition(|it| it.holds);
        let mut text = String::new();
        if !good.is_empty() {
            text += "  to go on, agree with the other operators on ONE of these lines, put it in your directive file, and start again:\n";
        }
        for it in good {
            text += &format!("      {}\n          {}\n", it.line, verdict(it));
            for other in &it.instead_of {
                text += &format!("          instead of `{}`, which it contradicts\n", harmless(other));
            }
        }
        if !bad.is_empty() {
            text += "  these were tried, too, and are no way on:\n";
        }
        for it in bad {
            // The line is printed without its place, so that nobody uses it.
            let action = it.line.split_once(": ").map_or(it.line.as_str(), |(_, action)| action);
            let why = it.outcome.why.as_deref().unwrap_or("it was not obeyed");
            let past = if it.outcome.crank > self.crank { "goes past it, and then: " } else { "" };
            text += &format!("      {action}: {past}{}\n", harmless(why));
        }
        let dir = quoted(&self.state);
        if !self.untried.is_empty() {
            let why = self.why_untried.as_deref().unwrap_or("the time was up");
            text += &format!("  not tried, since {}: {}\n", harmless(why), self.untried.len());
            text += &format!("      vathost fault remedy {dir}\n");
        }
        let has_good = self.remedies.iter().any(|it| it.holds);
        if has_good {
            let file = quoted(&self.file);
            text += &format!(
                "  each was tried on the state as it is, which did not change. The file is {file}; the command then:\n"
            );
            text += &format!("      {}\n", self.restart);
        } else if self.untried.is_empty() {
            text += "  nothing that was tried goes on: look at it first, or upgrade a vat (--bundle FILE.wasm)\n";
            if self.has_plants {
                text += "  a bug planted in a crank breaks it whatever is ordered: one that a `skip` goes past is planted as\n";
                text += "  in `--plant object.counts@method-deposit`\n";
            }
        }
        if let Some(first) = self.remedies.first().filter(|it| it.holds) {
            text += &format!("  try them first: vathost directives plan --state {dir} --add '{}'\n", first.line);
        }
        output.report(text.trim_end());
    }
}

fn verdict(remedy: &Remedy) -> String {
    let outcome = &remedy.outcome;
    let end = match outcome.end {
        "quiescent" => "nothing is left to do",
        _ => "the run goes on",
    };
    let vat = |(name, before, after): &(String, String, String)| format!("; {}: {before} → {after}", harmless(name));
    let mut vats: String = outcome.vats.iter().take(VATS_SHOWN).map(vat).collect();
    if let Some(more @ 1..) = outcome.vats.len().checked_sub(VATS_SHOWN) {
        vats += &format!(" and so on, {more} more");
    }
    let rejected = match remedy.rejected {
        0 => String::new(),
        count => format!("; rejected results: {count}"),
    };
    format!("{end} at block {}, state hash {}{vats}{rejected}", outcome.height, outcome.state_hash)
}
