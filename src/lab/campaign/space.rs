//! The experiments of a campaign: every combination of its axes, single, in pairs, or in random subsets.
//!
//! Invariant: which experiments there are depends on the file alone.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    directive::{Action, Bit, Directive, Disturbance, Refused},
    lab::Schedule,
    lab::{
        campaign::{
            axis::{self, Axis},
            random::Random,
            reader::CampaignText,
            reader::Placed,
        },
        experiment::VatNames,
    },
    model::id::hex,
};

/// Single faults that a campaign may have: each is held in memory.
const SINGLES_MAX: u64 = 2_000_000;
/// Experiments that it may have after sampling.
const EXPERIMENTS_MAX: u64 = 10_000_000;

/// The way in which single faults make experiments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// Each fault is an experiment.
    #[default]
    Singles,
    /// Every two of them.
    Pairs,
    /// Each random subset is an experiment.
    Swarm,
}

/// One line of one `[[fault]]`, still with its axes.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) fault: String,
    pub(super) line: Placed<String>,
    /// Where its place stands in the file; the line's own span is its action's.
    pub(super) place: Range<usize>,
    /// Lines that go with it.
    pub(super) with: Vec<String>,
    pub(super) axes: Vec<Axis>,
}

/// A single fault, with what always goes with it.
#[derive(Clone, Debug)]
pub struct Single {
    /// The `id` of its `[[fault]]`.
    pub fault: String,
    /// What it does, as a family: `terminate`, `trap`.
    pub action: String,
    /// The fault first.
    pub directives: Vec<Directive>,
}

/// One experiment that is to be run.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// The faults of the experiment.
    pub schedule: Schedule,
    /// The seed of all that is random in it.
    pub seed: u64,
}

/// The fault space, and how much of it is to be run.
#[derive(Clone, Debug)]
pub struct Space {
    /// Each fault that there is, by itself, in order of the file.
    pub singles: Vec<Single>,
    /// How they make experiments.
    pub order: Order,
    /// Experiments to run at most.
    pub sample: Option<u64>,
    /// Seeds for each.
    pub seeds: u64,
    /// Faults of a random subset at most.
    pub size: u64,
    /// What decides all that is random.
    pub seed: u64,
}

/// The experiments of a campaign, by their numbers in its space: there may be millions.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    /// The experiments' numbers, each once.
    pub numbers: Vec<u64>,
    /// Combinations that contradict themselves.
    pub contradictory: u64,
    /// Combinations that say the same as another.
    pub equal: u64,
}

impl Template {
    /// How many faults it stands for.
    fn len(&self) -> u64 {
        self.axes.iter().fold(1, |product, it| product.saturating_mul(it.values.len()))
    }

    /// All of them; the first that is none ends it.
    fn expand(&self, source: &CampaignText<'_>, names: &VatNames, into: &mut Vec<Single>) {
        let axes: Vec<&Axis> = self.axes.iter().collect();
        for at in 0..self.len() {
            let written = axis::substitute(&self.line.value, &axes, at);
            let mut directives = Vec::new();
            let with = self.with.iter().map(|it| axis::substitute(it, &axes, at));
            for line in std::iter::once(written.clone()).chain(with) {
                let line = match names.number(&line) {
                    Ok(line) => line,
                    Err((what, hint)) => {
                        let expected = format!("expected a vat of the base: {}", names.listed());
                        return source.problem_hinted(&self.place, what, expected, hint);
                    }
                };
                match Schedule::read(&self.fault, &line) {
                    Ok(schedule) if schedule.len() == 1 => directives.extend(schedule.faults().cloned()),
                    Ok(_) => {
                        let what = format!("`{line}` is no fault");
                        return source.problem(&self.line.span, what, "expected a place and an action");
                    }
                    Err(refused) => return self.refuse(source, &line, &refused),
                }
            }
            let action = written.split_once(": ").map_or(&*written, |(_, it)| it);
            let action = action.split(' ').next().unwrap_or_default().to_owned();
            into.push(Single { fault: self.fault.clone(), action, directives });
        }
    }

    /// Says what is wrong with a line, at the text that it was made from.
    fn refuse(&self, source: &CampaignText<'_>, line: &str, refused: &Refused) {
        let Some(first) = refused.problems.first() else { return };
        let in_place = line.split_once(": ").is_some_and(|(place, _)| first.column <= place.chars().count());
        let span = if in_place { &self.place } else { &self.line.span };
        let what = format!("`{line}` is no fault: {}", first.what);
        source.problem_hinted(span, what, &*first.expected, first.hint.clone());
    }
}

/// All single faults of these templates.
pub(super) fn expand(templates: &[Template], source: &CampaignText<'_>, names: &VatNames) -> Vec<Single> {
    let mut singles = Vec::new();
    let mut left = SINGLES_MAX;
    for template in templates {
        match left.checked_sub(template.len()) {
            Some(rest) => left = rest,
            None => {
                let what = format!("more than {SINGLES_MAX} single faults");
                source.problem(&template.line.span, what, "expected fewer: make a range shorter, or give it a step");
                return singles;
            }
        }
        template.expand(source, names, &mut singles);
    }
    singles
}

impl Space {
    /// Returns a hash over all that decides which experiments there are.
    pub(super) fn id(&self) -> String {
        let Space { singles, order, sample, seeds, size, seed } = self;
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{order:?} {sample:?} {seeds} {size} {seed}").as_bytes());
        for single in singles {
            for directive in &single.directives {
                hasher.update(format!("\n{directive}").as_bytes());
            }
            hasher.update(b";");
        }
        hex(&hasher.finalize().as_bytes()[..16])
    }

    /// Returns how many experiments there are, without sampling.
    pub fn len(&self) -> u64 {
        let singles = self.singles.len() as u64;
        let subsets = match self.order {
            Order::Singles => singles,
            Order::Pairs => {
                u64::try_from(u128::from(singles) * u128::from(singles.saturating_sub(1)) / 2).unwrap_or(u64::MAX)
            }
            Order::Swarm => self.sample.unwrap_or(0),
        };
        subsets.saturating_mul(self.seeds)
    }

    /// Returns whether there is no experiment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many experiments are to be run at most.
    pub fn drawn(&self) -> u64 {
        self.sample.unwrap_or(u64::MAX).min(self.len())
    }

    /// Returns whether every experiment is run, and none is left out by drawing.
    pub fn is_exhaustive(&self) -> bool {
        self.order != Order::Swarm && self.drawn() >= self.len()
    }

    /// Returns whether a seed decides what one of the faults does.
    pub fn is_random(&self) -> bool {
        let random = |it: &Directive| {
            matches!(it.action, Action::Disturb(Disturbance::Flip { bit: Bit::Random, .. } | Disturbance::Tear { .. }))
        };
        self.singles.iter().flat_map(|it| &it.directives).any(random)
    }

    /// Returns whether there are more experiments than a campaign may have.
    pub fn is_too_large(&self) -> bool {
        self.drawn() > EXPERIMENTS_MAX
    }

    /// The experiments to run.
    pub fn draw(&self) -> Drawn {
        let mut drawn = Drawn::default();
        let mut known = BTreeSet::new();
        for at in Random::new(self.seed, 0).sample(self.drawn(), self.len()) {
            match self.experiment(at) {
                None => drawn.contradictory += 1,
                Some(it) if known.insert((it.schedule.id(), it.seed)) => drawn.numbers.push(at),
                Some(_) => drawn.equal += 1,
            }
        }
        drawn
    }

    /// The experiment of that number, unless it contradicts itself.
    pub fn experiment(&self, number: u64) -> Option<Experiment> {
        let (subset, seed) = (number / self.seeds, self.seed.wrapping_add(number % self.seeds));
        Some(Experiment { schedule: self.subset(subset)?, seed })
    }

    /// Iterates over the experiments of these numbers.
    pub fn experiments<'a>(&'a self, numbers: &'a [u64]) -> impl Iterator<Item = Experiment> + 'a {
        numbers.iter().filter_map(|it| self.experiment(*it))
    }

    /// That combination, unless it contradicts itself.
    fn subset(&self, at: u64) -> Option<Schedule> {
        let single = |at: u64| {
            let single = usize::try_from(at).ok().and_then(|it| self.singles.get(it));
            single.map(|it| it.directives.iter().cloned())
        };
        match self.order {
            Order::Singles => Schedule::of(single(at)?).ok(),
            Order::Pairs => {
                let (one, other) = pair(at);
                Schedule::of(single(one)?.chain(single(other)?)).ok()
            }
            Order::Swarm => Some(self.swarm(at)),
        }
    }

    /// A random subset: some of the `[[fault]]`s are left out of it altogether, so that those that hide others are absent now and then.
    fn swarm(&self, at: u64) -> Schedule {
        let mut random = Random::new(self.seed, at + 1);
        let ids: BTreeSet<&str> = self.singles.iter().map(|it| &*it.fault).collect();
        let mut chosen: BTreeSet<&str> = ids.iter().copied().filter(|_| random.below(2) == 0).collect();
        if chosen.is_empty() {
            let at = usize::try_from(random.below(ids.len() as u64)).unwrap_or(0);
            chosen.extend(ids.iter().nth(at));
        }
        let pool: Vec<&Single> = self.singles.iter().filter(|it| chosen.contains(&*it.fault)).collect();
        let mut faults: Vec<Directive> = Vec::new();
        for _ in 0..=random.below(self.size) {
            let at = usize::try_from(random.below(pool.len() as u64)).unwrap_or(0);
            let more = pool.get(at).map(|it| it.directives.as_slice()).unwrap_or_default();
            let with = faults.iter().chain(more).cloned();
            // A fault that contradicts those before it is left out.
            if let Ok(schedule) = Schedule::of(with) {
                faults = schedule.faults().cloned().collect();
            }
        }
        Schedule::of(faults).unwrap_or_default()
    }
}

/// The pair of that number: (0,1), (0,2), (1,2), (0,3), …
fn pair(at: u64) -> (u64, u64) {
    // The last whose pairs begin at or before it: other · (other − 1) / 2 ≤ at.
    let other = (8 * u128::from(at) + 1).isqrt().div_ceil(2);
    let one = u128::from(at) - other * (other - 1) / 2;
    let number = |it: u128| u64::try_from(it).unwrap_or(u64::MAX);
    (number(one), number(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_comes_once() {
        let pairs: Vec<(u64, u64)> = (0..15).map(pair).collect();
        let all: BTreeSet<(u64, u64)> = (0..6).flat_map(|other| (0..other).map(move |one| (one, other))).collect();
        assert_eq!(pairs.iter().copied().collect::<BTreeSet<_>>(), all);
        assert_eq!(pair(u64::from(u32::MAX) * 1_000).1, 2_930_859);
    }
}
