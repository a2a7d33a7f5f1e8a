//! The sums over a campaign's results: all that a report shows.
//!
//! Invariant: a function of header and results; their order, and how they were come by, does not matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::Serialize;

use crate::{
    directive::{Action, Directive, Disturbance, Spot, Trigger},
    lab::{
        campaign::{
            Bound, Checked, Limit,
            results::{self, Header, Results, ResultsError},
            wilson,
        },
        experiment::{Class, Outcome},
    },
};

/// A reason why nothing was done in experiments without effect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reason {
    /// The reason, with `N` for each number in it.
    pub why: String,
    /// Experiments that had it.
    pub count: u64,
    /// The faults of the first of these, by name.
    pub example: String,
}

/// One experiment, as far as a comparison with another run needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Each {
    /// A hash of its faults and its seed.
    pub(super) key: u64,
    pub(super) class: Class,
    /// The position of its finding's name.
    pub(super) finding: Option<usize>,
}

/// The count of experiments of one class, and its share.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The class that is counted.
    pub class: Class,
    /// Experiments of the class.
    pub count: u64,
    /// The 95 % interval of its share.
    pub low: f64,
    /// The upper end of that interval.
    pub high: f64,
    /// The share among the experiments whose faults came to their places; `None` for those whose faults did not.
    pub of_reached: Option<f64>,
    /// Experiments of the whole fault space, where only a part of it was drawn: at least, and at most.
    pub space: Option<(u64, u64)>,
}

/// Results that tell of the same.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What they have in common, in words: its name from run to run.
    pub name: String,
    /// How many results.
    pub count: u64,
    /// The simplest of them.
    pub outcome: Outcome,
    /// What that was shrunk to, where it was of several faults.
    pub shrunk: Option<Outcome>,
}

impl Finding {
    /// Returns whether fewer faults than were tried are enough.
    pub fn is_shrunk(&self) -> bool {
        self.shrunk.as_ref().is_some_and(|it| it.faults.len() < self.outcome.faults.len())
    }

    /// The simplest that is known.
    pub fn simplest(&self) -> &Outcome {
        self.shrunk.as_ref().unwrap_or(&self.outcome)
    }
}

/// A planted bug, and whether it was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Score {
    /// The planted bug's name.
    pub bug: String,
    /// Experiments in which it was there.
    pub tried: u64,
    /// Experiments that showed it.
    pub found: u64,
    /// As what, the first time.
    pub shown: Option<String>,
}

/// By place and action, by number: how many experiments of each class had a fault there.
pub type Heat = BTreeMap<(String, String), BTreeMap<u64, BTreeMap<Class, u64>>>;

/// The sums over all results of a campaign.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Experiments that were run.
    pub run: u64,
    /// The classes that there are.
    pub shares: Vec<Share>,
    /// The limits, each checked.
    pub limits: Vec<Checked>,
    /// How often each `sometimes` held.
    pub sometimes: Vec<(String, u64)>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// The reasons of experiments without effect, the most frequent first.
    pub no_effect: Vec<Reason>,
    /// Whether the results are all that there can be: shares are exact then.
    pub is_census: bool,
    /// The planted bugs.
    pub plants: Vec<Score>,
    /// By place and action, by number.
    pub heat: Heat,
    /// How often a fault in the one vat hurt the other.
    pub blast: BTreeMap<(String, String), u64>,
    pub(super) each: Vec<Each>,
    /// The names of findings, for `each`.
    pub(super) names: Vec<String>,
}

impl Header {
    /// Returns whether a class is reported as a finding: the host or an invariant is broken, or the campaign limits that class.
    pub fn is_finding(&self, class: Class) -> bool {
        let limited = |it: &Limit| it.class == class && !matches!(it.bound, Bound::Least(_)) && is_damage(class);
        class.is_ours()
            || matches!(class, Class::Harness | Class::KernelPanic | Class::Invariant)
            || self.accept.iter().any(limited)
    }
}

/// Counts results, one after the other.
#[derive(Debug)]
pub struct Counting {
    header: Header,
    run: u64,
    counts: BTreeMap<Class, u64>,
    sometimes: Vec<(String, u64)>,
    /// How many, and the simplest.
    findings: BTreeMap<(Class, String), (u64, Outcome)>,
    /// With the name of the experiment that it showed in first.
    plants: BTreeMap<&'static str, (Score, Option<String>)>,
    heat: Heat,
    blast: BTreeMap<(String, String), u64>,
    reasons: BTreeMap<String, (u64, (String, String))>,
    each: Vec<Each>,
    names: BTreeMap<String, usize>,
}

impl Counting {
    /// Starts to count results under this header.
    pub fn new(header: &Header) -> Counting {
        Counting {
            header: header.clone(),
            run: 0,
            counts: BTreeMap::new(),
            sometimes: header.sometimes.iter().map(|it| (it.clone(), 0)).collect(),
            findings: BTreeMap::new(),
            plants: BTreeMap::new(),
            heat: Heat::new(),
            blast: BTreeMap::new(),
            reasons: BTreeMap::new(),
            each: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Counts one more result.
    pub fn add(&mut self, outcome: &Outcome) {
        self.run += 1;
        *self.counts.entry(outcome.class).or_default() += 1;
        for (name, held) in &mut self.sometimes {
            *held += u64::from(outcome.noted.contains(name));
        }
        let is_finding = self.header.is_finding(outcome.class);
        self.note(outcome, is_finding);
        if is_finding {
            let of_kind = self.findings.entry((outcome.class, name_of(outcome)));
            let (count, simplest) = of_kind.or_insert_with(|| (0, outcome.clone()));
            *count += 1;
            if size(outcome) < size(simplest) {
                *simplest = outcome.clone();
            }
        }
        for bug in outcome.faults.faults().filter_map(bug) {
            let blank = || (Score { bug: bug.to_owned(), tried: 0, found: 0, shown: None }, None);
            let (score, first) = self.plants.entry(bug).or_insert_with(blank);
            score.tried += 1;
            if is_finding && outcome.class != Class::Harness {
                score.found += 1;
                if first.as_ref().is_none_or(|it| outcome.id < *it) {
                    let detail = outcome.detail.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
                    *first = Some(outcome.id.clone());
                    score.shown = Some(format!("{}{detail}", outcome.label()));
                }
            }
        }
        heat(outcome, &self.header, &mut self.heat);
        blast(outcome, &self.header, &mut self.blast);
    }

    /// Notes what a comparison and the list of reasons need of a result.
    fn note(&mut self, outcome: &Outcome, is_finding: bool) {
        let key = blake3::hash(format!("{} {}", outcome.seed, outcome.faults).as_bytes());
        let key = key.as_bytes().first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        let next = self.names.len();
        let finding = is_finding.then(|| *self.names.entry(name_of(outcome)).or_insert(next));
        self.each.push(Each { key, class: outcome.class, finding });
        if outcome.class == Class::NoEffect {
            let why = without_numbers(outcome.detail.as_deref().unwrap_or("no reason was given"));
            let this = (outcome.id.clone(), outcome.faults.to_string());
            let (count, first) = self.reasons.entry(why).or_insert_with(|| (0, this.clone()));
            *count += 1;
            if this < *first {
                *first = this;
            }
        }
    }

    /// Returns the sums; `shrunk` is what is known of findings.
    pub fn tally(self, shrunk: &Results) -> Tally {
        let Counting { header, run, counts, sometimes, findings, plants, heat, blast, reasons, each, names } = self;
        let is_census = header.is_census(run);
        let finding = |((_, name), (count, outcome)): (_, (u64, Outcome))| Finding {
            name,
            count,
            shrunk: shrunk.get(&outcome.id).cloned(),
            outcome,
        };
        Tally {
            run,
            shares: shares(&counts, run, &header),
            limits: header.accept.iter().map(|it| it.check(&counts, is_census)).collect(),
            sometimes,
            findings: findings.into_iter().map(finding).collect(),
            no_effect: sorted(reasons),
            is_census,
            plants: plants.into_values().map(|(score, _)| score).collect(),
            heat,
            blast,
            each,
            names: in_order(names),
        }
    }
}

/// Returns names in the order of their positions.
fn in_order(names: BTreeMap<String, usize>) -> Vec<String> {
    let mut names: Vec<(usize, String)> = names.into_iter().map(|(name, at)| (at, name)).collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}

/// Returns reasons, the most frequent first.
fn sorted(reasons: BTreeMap<String, (u64, (String, String))>) -> Vec<Reason> {
    let reason = |(why, (count, (_, example)))| Reason { why, count, example };
    let mut reasons: Vec<Reason> = reasons.into_iter().map(reason).collect();
    reasons.sort_by(|a, b| (b.count, &a.why).cmp(&(a.count, &b.why)));
    reasons
}

/// Returns a reason with `N` for each number that is a word, so that reasons that differ only in these are one.
pub fn without_numbers(text: &str) -> String {
    let is_number = |it: &str| !it.is_empty() && it.chars().all(|it| it.is_ascii_digit() || it == '_' || it == ',');
    text.split(' ').map(|it| if is_number(it) { "N" } else { it }).collect::<Vec<_>>().join(" ")
}

/// The smaller the simpler.
fn size(outcome: &Outcome) -> (usize, Option<u64>, String, &str) {
    let first = outcome.done.first().and_then(|it| it.crank);
    (outcome.faults.len(), first, outcome.faults.to_string(), &outcome.id)
}

impl Tally {
    /// Reads and sums the results in these folders.
    ///
    /// # Errors
    ///
    /// See [`load`](crate::lab::campaign::load).
    pub fn read(dirs: &[PathBuf]) -> Result<(Header, Tally), ResultsError> {
        let mut counting = None;
        let (header, shrunk) = results::load(dirs, &mut |header, outcome| {
            counting.get_or_insert_with(|| Counting::new(header)).add(&outcome);
        })?;
        let tally = counting.unwrap_or_else(|| Counting::new(&header)).tally(&shrunk);
        Ok((header, tally))
    }

    /// Returns whether every limit is kept, and every `sometimes` held.
    pub fn is_accepted(&self) -> bool {
        self.limits.iter().all(|it| it.holds) && self.sometimes.iter().all(|(_, count)| *count > 0)
    }
}

fn shares(counts: &BTreeMap<Class, u64>, run: u64, header: &Header) -> Vec<Share> {
    let reached = run - counts.get(&Class::NotReached).copied().unwrap_or(0);
    let share = |(class, count): (&Class, &u64)| {
        let exact = *count as f64 / run.max(1) as f64;
        let (low, high) = match header.is_census(run) {
            true => (exact, exact),
            false => wilson::interval(*count, run, wilson::Z95),
        };
        let of_reached = (*class != Class::NotReached).then(|| *count as f64 / reached.max(1) as f64);
        let of_space = |it: f64| {
            let count = (it * header.space as f64).round();
            #[expect(clippy::cast_possible_truncation, reason = "rounded, and a cast of floats saturates")]
            let count = count as u64;
            count
        };
        let is_drawn = header.space > header.total && header.order != "swarm" && !header.exhaustive;
        let space = is_drawn.then(|| (of_space(low), of_space(high)));
        Share { class: *class, count: *count, low, high, of_reached, space }
    };
    counts.iter().map(share).collect()
}

/// What results have in common that tell of the same.
fn name_of(outcome: &Outcome) -> String {
    let (class, named, hurt) = outcome.signature();
    let bugs: BTreeSet<&str> = outcome.faults.faults().filter_map(bug).collect();
    let mut name = class.to_string();
    if let Some(detail) = named.or(outcome.detail.as_deref().filter(|_| class == Class::Harness)) {
        name += &format!(" {detail}");
    }
    if !hurt.is_empty() {
        name += &format!(", hurts {}", hurt.join(" "));
    }
    if !bugs.is_empty() {
        name += &format!(", with {} planted", bugs.into_iter().collect::<Vec<_>>().join(" and "));
    }
    name
}

/// The planted bug that a fault is.
fn bug(fault: &Directive) -> Option<&'static str> {
    match fault.action {
        Action::Disturb(Disturbance::Plant(name) | Disturbance::KernelPanic(name)) => Some(name),
        _ => None,
    }
}

/// Where a fault is: the row of the heat map, and the column.
fn place(trigger: &Trigger) -> (String, u64) {
    match trigger {
        Trigger::Crank(it) => ("crank".to_owned(), it.0),
        Trigger::Block(it) => ("block".to_owned(), it.0),
        Trigger::Delivery(vat, it) => (vat.to_string(), it.0),
        Trigger::Spot(spot) => match spot {
            Spot::DeliveryEvery(vat, every) => (format!("{vat} every"), *every),
            Spot::DeliveryEnd(vat, it) => (format!("{vat} end"), it.0),
            Spot::Syscall(vat, it, _) => (format!("{vat} syscall"), it.0),
            Spot::SyscallOfKind(vat, kind, it) => (format!("{vat} {kind}"), *it),
            Spot::Commit(height) => ("commit".to_owned(), height.0),
            Spot::StoreOp(height, op) => (format!("commit-{} op", height.0), *op),
        },
    }
}

/// The name of a vat beside its number.
pub(super) fn named(vat: &str, header: &Header) -> String {
    let name = header.vats.iter().find(|(it, _)| it == vat).map(|(_, name)| name.as_str());
    name.map_or_else(|| vat.to_owned(), |name| format!("{name} {vat}"))
}

/// Whether somebody is worse off.
fn is_damage(class: Class) -> bool {
    severity(class) >= severity(Class::Latent)
}

/// Returns the rank of a class: the worse, the larger.
pub(super) fn severity(class: Class) -> usize {
    const ORDER: [Class; 16] = [
        Class::NotReached,
        Class::NoEffect,
        Class::Masked,
        Class::Recovered,
        Class::Latent,
        Class::Contained,
        Class::Spread,
        Class::Silent,
        Class::Stalled,
        Class::Invariant,
        Class::KernelPanic,
        Class::Harness,
        Class::HostHang,
        Class::HostCrash,
        Class::Diverged,
        Class::Durability,
    ];
    ORDER.iter().position(|it| *it == class).unwrap_or(0)
}

fn heat(outcome: &Outcome, header: &Header, heat: &mut Heat) {
    for fault in outcome.faults.faults() {
        let (place, number) = place(&fault.trigger);
        let place = match place.split_once(' ') {
            Some((vat, rest)) => format!("{} {rest}", named(vat, header)),
            None => named(&place, header),
        };
        let action = fault.action.to_string();
        let verb = action.split(' ').next().unwrap_or_default().to_owned();
        *heat.entry((place, verb)).or_default().entry(number).or_default().entry(outcome.class).or_default() += 1;
    }
}

fn blast(outcome: &Outcome, header: &Header, blast: &mut BTreeMap<(String, String), u64>) {
    if outcome.hurt.is_empty() {
        return;
    }
    let vat = |it: &Directive| it.action.vat().or_else(|| it.trigger.vat());
    let faulted: BTreeSet<String> = outcome
        .faults
        .faults()
        .map(|it| vat(it).map_or_else(|| "no vat".to_owned(), |it| named(&it.to_string(), header)))
        .collect();
    for from in faulted {
        for to in &outcome.hurt {
            *blast.entry((from.clone(), named(to, header))).or_default() += 1;
        }
    }
}
