use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output, Usage,
        fault::{
            campaign::{dress, prepare, read},
            store_ops,
        },
        output::{grouped, harmless, table},
    },
    directive::{Directive, Spot, Trigger},
    lab::{
        campaign::{Campaign, Drawn, Experiment, Order, Space, without_numbers},
        experiment::{Build, Class, Experiments},
    },
};

/// How long the trial of the speed may take, and about how many experiments it runs in all.
const TRIAL: (Duration, usize) = (Duration::from_secs(2), 40);

/// Say what a campaign would run, and how long that would take
///
/// Reads the file, records the golden run, asks every invariant of it, and tries a few experiments for their speed. Nothing is kept.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault plan vats/bank/kill-each.toml
  vathost fault plan power.toml --json | jq .experiments")]
pub(crate) struct PlanArgs {
    /// The campaign
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The counts of the faults of one kind.
#[derive(Default)]
struct Stratum {
    singles: u64,
    unreachable: u64,
}

pub(crate) fn cmd_plan(args: &PlanArgs, output: &Output) -> anyhow::Result<Exit> {
    let campaign = read(&args.file)?;
    let mut experiments = prepare(&campaign, Build::current()?, output)?;
    dress(&campaign, &mut experiments)?;
    let drawn = campaign.space.draw();
    if drawn.numbers.is_empty() {
        return Err(Usage::new("the campaign has no experiments", "every combination contradicts itself").into());
    }
    let is_in_a_commit = |it: &Directive| matches!(it.trigger, Trigger::Spot(Spot::StoreOp(..)));
    let store_ops: BTreeMap<_, _> =
        match campaign.space.singles.iter().flat_map(|it| &it.directives).any(is_in_a_commit) {
            true => store_ops(&experiments)?.into_iter().collect(),
            false => BTreeMap::new(),
        };
    let comes = |it: &Directive| match it.trigger {
        Trigger::Spot(Spot::StoreOp(height, op)) => store_ops.get(&height).is_some_and(|ops| op <= *ops),
        _ => experiments.golden().comes(it),
    };
    let strata = strata(&campaign, &comes);
    let (speed, no_effect) = speed(&mut experiments, &campaign.space, &drawn);
    let census = campaign.space.is_exhaustive() && !campaign.space.is_random();
    let samples: Vec<(String, u64)> = campaign
        .accept
        .iter()
        .filter_map(|it| Some((it.check(&BTreeMap::new(), false).limit, it.bound.sample_size()?)))
        .collect();
    let count = drawn.numbers.len() as u64;
    if args.json {
        let rows: Vec<_> = strata
            .iter()
            .map(|((fault, action), it)| {
                json!({ "fault": fault, "action": action, "faults": it.singles, "neverComes": it.unreachable })
            })
            .collect();
        output.json(&json!({
            "name": campaign.name,
            "experiments": count,
            "space": campaign.space.len(),
            "contradictory": drawn.contradictory,
            "equal": drawn.equal,
            "cranks": experiments.golden().len(),
            "strata": rows,
            "perSecond": speed.map(|it| it.0),
            "inProcess": speed.map_or(0, |it| it.1),
            "sampleSizes": samples,
            "census": census,
            "noEffect": no_effect.iter().map(|(why, (count, example))| {
                json!({ "why": why, "count": count, "example": example })
            }).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Ok);
    }
    let order = match campaign.space.order {
        Order::Singles => "single faults",
        Order::Pairs => "pairs of faults",
        Order::Swarm => "random sets of faults",
    };
    output.line(format!(
        "{}: {} experiments ({order}) of {}, on a golden run of {} cranks",
        harmless(&campaign.name),
        grouped(count),
        grouped(campaign.space.len()),
        grouped(experiments.golden().len() as u64)
    ))?;
    if drawn.contradictory + drawn.equal > 0 {
        let (contradictory, equal) = (grouped(drawn.contradictory), grouped(drawn.equal));
        output.line(format!(
            "left out: {contradictory} that contradict themselves, {equal} that say the same as another"
        ))?;
    }
    output.line("")?;
    let rows = strata.iter().map(|((fault, action), it)| {
        vec![harmless(fault), action.clone(), grouped(it.singles), grouped(it.unreachable)]
    });
    output.line(table(&["fault", "action", "faults", "never come in the golden run"], &[0, 1], rows))?;
    output.line("")?;
    let process = campaign.space.experiments(&drawn.numbers).filter(|it| !runs_here(it)).count() as u64;
    match speed {
        Some((per_second, _)) => {
            let seconds = (count - process) as f64 / per_second;
            output
                .line(format!("time: about {}, at {per_second:.0} experiments a second on one core", said(seconds)))?;
        }
        None => output.line("time: unknown")?,
    }
    if process > 0 {
        output
            .line(format!("      and {} in processes of their own, some tenths of a second each", grouped(process)))?;
    }
    for (why, (count, example)) in &no_effect {
        let (tried, why, example) = (speed.map_or(0, |it| it.1), harmless(why), harmless(&example.replace('\n', "; ")));
        output.line(format!("no effect in {count} of {tried} that were tried: {why}, as in `{example}`"))?;
    }
    if census {
        output.line("every experiment that there is will be run: shares will be exact")?;
    }
    for (limit, needed) in samples.into_iter().filter(|_| !census) {
        let enough = if needed <= count { "enough" } else { "too few: make `sample` larger, or the limit" };
        output.line(format!("`{}` takes {} experiments without one: {enough}", limit, grouped(needed)))?;
    }
    Ok(Exit::Ok)
}

fn strata(campaign: &Campaign, comes: &dyn Fn(&Directive) -> bool) -> BTreeMap<(String, String), Stratum> {
    let mut strata: BTreeMap<(String, String), Stratum> = BTreeMap::new();
    for single in &campaign.space.singles {
        let stratum = strata.entry((single.fault.clone(), single.action.clone())).or_default();
        stratum.singles += 1;
        let comes = single.directives.first().is_some_and(comes);
        stratum.unreachable += u64::from(!comes);
    }
    strata
}

/// Returns whether an experiment can be tried in this process: its faults neither are about the process or its files, nor end it.
fn runs_here(it: &Experiment) -> bool {
    !Experiments::needs_process(&it.schedule) && !Experiments::ends_process(&it.schedule)
}

/// The reasons why experiments that were tried had no effect: how many, and the faults of the first.
type NoEffect = BTreeMap<String, (u64, String)>;

/// Tries experiments from all over the campaign. Returns how many run in a second, how many were tried, and which had no effect.
#[allow(clippy::disallowed_methods, reason = "for people who wait")]
fn speed(experiments: &mut Experiments, space: &Space, drawn: &Drawn) -> (Option<(f64, usize)>, NoEffect) {
    let mut no_effect = NoEffect::new();
    let some: Vec<u64> = drawn.numbers.iter().step_by(drawn.numbers.len().div_ceil(TRIAL.1).max(1)).copied().collect();
    let (begun, mut tried) = (Instant::now(), 0);
    for it in space.experiments(&some).filter(runs_here) {
        let outcome = experiments.run(&it.schedule, it.seed);
        if let (Class::NoEffect, Some(why)) = (outcome.class, &outcome.detail) {
            let reason = no_effect.entry(without_numbers(why)).or_insert_with(|| (0, outcome.faults.to_string()));
            reason.0 += 1;
        }
        tried += 1;
        if begun.elapsed() > TRIAL.0 {
            break;
        }
    }
    let speed = (tried > 0).then(|| (tried as f64 / begun.elapsed().as_secs_f64().max(1e-6), tried));
    (speed, no_effect)
}

/// Writes a time for people.
fn said(seconds: f64) -> String {
    match seconds {
        it if it < 1.0 => "a second".to_owned(),
        it if it < 120.0 => format!("{it:.0} seconds"),
        it if it < 7_200.0 => format!("{:.0} minutes", it / 60.0),
        it => format!("{:.0} hours", it / 3_600.0),
    }
}
