//! Experiments on one base, in this process: the golden run is recorded once, each experiment branches from a checkpoint of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    directive::plant::DEADLY,
    lab::Schedule,
    lab::experiment::{
        Base, Build, CampaignName, Golden, Limits, Token, Until,
        judge::{self, Verdict},
        machine::Machine,
        memo::Memo,
        outcome::{Class, Outcome},
        patience::{Patience, Watchful},
        recording::Recording,
        run::{self, RunContext, RunEnd, Seen, Walked},
        watcher::{Answer, Looks, Useless, View, Watcher, When},
    },
    lab::probe::{Injector, Life},
    model::id::{CrankNum, hex},
};

/// The experiments on one base, run in this process.
pub struct Experiments {
    base: Base,
    build: Build,
    machine: Machine,
    golden: Golden,
    until: Until,
    limits: Limits,
    replicas: u32,
    campaign: Option<CampaignName>,
    watchers: Vec<Box<dyn Watcher>>,
    memo: Memo,
    recording: Recording,
}

impl std::fmt::Debug for Experiments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Experiments").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Experiments {
    /// Opens a base and records its golden run.
    ///
    /// # Errors
    ///
    /// Where the base cannot be opened, or its own run halts, or has no end ([`Endless`](crate::lab::experiment::Endless)).
    pub fn prepare(base: &Base, build: Build, until: Until, limits: Limits) -> anyhow::Result<Experiments> {
        Experiments::prepare_within(base, build, until, limits, Patience::default(), &mut |_| ())
    }

    /// Opens a base and records its golden run within other bounds; `told` receives the number of its cranks so far.
    ///
    /// # Errors
    ///
    /// As of [`prepare`](Experiments::prepare).
    pub fn prepare_within(
        base: &Base,
        build: Build,
        until: Until,
        limits: Limits,
        patience: Patience,
        told: &mut dyn FnMut(u64),
    ) -> anyhow::Result<Experiments> {
        let mut machine = Machine::open(base)?;
        let golden = Golden::record(&mut machine, base, until, &mut Watchful::new(patience, told))?;
        let (base, replicas, watchers, memo) = (base.clone(), 1, Vec::new(), Memo::default());
        let (recording, campaign) = (Recording::default(), None);
        Ok(Experiments { base, build, machine, golden, until, limits, replicas, campaign, watchers, memo, recording })
    }

    /// Returns the golden run.
    pub fn golden(&self) -> &Golden {
        &self.golden
    }

    /// Returns how many experiments were not run to their ends, because another had reached the same state.
    pub fn memo_hits(&self) -> u64 {
        self.memo.hits
    }

    /// Forgets how runs went on: for measurements.
    pub fn forget(&mut self) {
        self.memo = Memo::default();
    }

    /// Returns the experiments' base.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Runs each experiment on that many replicas, the others with every vat evicted after each crank, and compares.
    pub fn set_replicas(&mut self, replicas: u32) {
        self.replicas = replicas.max(1);
    }

    /// Names the campaign that the experiments belong to, in their tokens.
    pub fn set_campaign(&mut self, campaign: Option<CampaignName>) {
        self.campaign = campaign;
    }

    /// Audits the kernel after each crank whose number this divides, beside the audit at the end; 0 is never.
    pub fn set_audit(&mut self, every: u64) {
        self.machine.audit_every = every;
    }

    /// Allows plants to end this process, which was made to die.
    pub fn set_expendable(&mut self) {
        self.machine.life = Life::Expendable;
    }

    /// Asks these invariants in every experiment.
    ///
    /// # Errors
    ///
    /// Where one does not hold somewhere in the golden run, or cannot be asked there: [`Useless`].
    pub fn set_watchers(&mut self, mut watchers: Vec<Box<dyn Watcher>>) -> anyhow::Result<()> {
        let history = watchers.iter().any(|it| it.looks_at() == Looks::History);
        let all = history || watchers.iter().any(|it| it.when() != When::End);
        self.walk(all, history, &mut |view| {
            for it in watchers.iter_mut().filter(|it| it.when() == view.when) {
                // However long the golden run is, each answer has its time.
                it.begin();
                let what = match it.ask(view) {
                    Ok(Answer::Holds | Answer::Noted) => continue,
                    Ok(Answer::Broken) => "does not hold in the golden run".to_owned(),
                    Err(why) => format!("cannot be asked: {why}"),
                };
                return Err(Useless { name: it.name().to_owned(), what }.into());
            }
            Ok(())
        })?;
        self.watchers = watchers;
        Ok(())
    }

    /// Shows the end of the golden run, with all its events where there is to be `history`.
    ///
    /// # Errors
    ///
    /// Where the golden run does not repeat.
    pub fn at_end<T>(&mut self, history: bool, look: impl FnOnce(&View<'_>) -> T) -> anyhow::Result<T> {
        let (mut look, mut seen) = (Some(look), None);
        self.walk(history, history, &mut |view| {
            if view.when == When::End {
                seen = look.take().map(|look| look(view));
            }
            Ok(())
        })?;
        seen.ok_or_else(|| anyhow::anyhow!("the golden run has no end"))
    }

    /// Goes along the golden run to its end, all of it or from its last checkpoint on, and shows what watchers are shown.
    fn walk(
        &mut self,
        all: bool,
        history: bool,
        show: &mut dyn FnMut(&View<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Experiments { machine, golden, recording, until, .. } = self;
        let from = if all { 0 } else { machine.checkpoint_before(golden.len()) };
        machine.go_to(from).map_err(|it| *it)?;
        machine.arm(|_, _| Injector::default()).map_err(|it| *it)?;
        *machine.block_mut().map_err(|it| *it)?.slog() = recording.slog(history);
        loop {
            let walked = run::walk(machine, golden, *until).map_err(|it| *it)?;
            let block = machine.block().map_err(|it| *it)?;
            let mut show = |when| recording.show(|events| show(&View { block, golden, when, events }));
            match walked {
                Walked::End => return show(When::End),
                Walked::On { closed } => {
                    show(When::EveryCrank)?;
                    if closed {
                        show(When::EveryBlock)?;
                    }
                }
            }
        }
    }

    /// Runs one experiment to its outcome.
    pub fn run(&mut self, schedule: &Schedule, seed: u64) -> Outcome {
        if Experiments::needs_process(schedule) {
            let why = "a fault of the store or of the process needs a process of its own".to_owned();
            return self.outcome(schedule, seed, &self.unseen(RunEnd::Broken(why)));
        }
        if Experiments::ends_process(schedule) && self.machine.life == Life::Dear {
            let why = "a plant would end this process, which was not made to die".to_owned();
            return self.outcome(schedule, seed, &self.unseen(RunEnd::Broken(why)));
        }
        let first = schedule.faults().filter_map(|it| self.golden.locate(it)).min();
        // No fault ever comes in the golden run, and nothing but a fault can lead away from it.
        let Some(first) = first else { return self.outcome(schedule, seed, &self.unseen(RunEnd::Until)) };
        let whole = self.replicas > 1;
        self.watchers.iter_mut().for_each(|it| it.begin());
        // What looks at more than the state is shown all of the run.
        let first = if self.watchers.iter().any(|it| it.looks_at() == Looks::History) { 0 } else { first };
        let seen = self.see(schedule, seed, first, whole, false);
        let noted = self.watchers.iter().enumerate().filter(|(at, _)| seen.noted.contains(at));
        let noted: Vec<String> = noted.map(|(_, it)| it.name().to_owned()).collect();
        for replica in 1..self.replicas {
            let other = self.see(schedule, seed, first, whole, true);
            if let Some(why) = differs(&seen, &other) {
                let mut outcome = self.outcome(schedule, seed, &seen);
                outcome.class = Class::Diverged;
                outcome.detail = Some(format!("replica {replica}: {why}"));
                outcome.hurt_count = None;
                return outcome;
            }
        }
        Outcome { noted, ..self.outcome(schedule, seed, &seen) }
    }

    fn see(&mut self, schedule: &Schedule, seed: u64, first: usize, whole: bool, evicts: bool) -> Seen {
        let Experiments { machine, golden, until, limits, watchers, memo, recording, .. } = self;
        let mut how = RunContext { golden, until: *until, limits: *limits, watchers, memo, recording, whole, evicts };
        match run::run(machine, &mut how, schedule, seed, first) {
            Ok(seen) => seen,
            Err(halt) => self.unseen(RunEnd::Broken(halt.to_string())),
        }
    }

    fn unseen(&self, end: RunEnd) -> Seen {
        let next_crank = CrankNum(self.golden.start.0 + self.golden.len() as u64);
        Seen {
            from: 0,
            told: Vec::new(),
            faults: Vec::new(),
            reached: BTreeMap::new(),
            deviated: None,
            end,
            ends: None,
            noted: BTreeSet::new(),
            next_crank,
            marks: Vec::new(),
        }
    }

    /// An outcome that needs no judge.
    pub(super) fn bare(&self, schedule: &Schedule, seed: u64, class: Class, detail: Option<String>) -> Outcome {
        let mut outcome = self.outcome(schedule, seed, &self.unseen(RunEnd::Until));
        (outcome.class, outcome.detail, outcome.end) = (class, detail, "process".to_owned());
        outcome
    }

    /// Returns whether a schedule cannot be run in this process, because it ends it or is about its files.
    pub fn needs_process(schedule: &Schedule) -> bool {
        use crate::directive::Action;
        schedule.faults().any(|it| matches!(&it.action, Action::Disturb(disturbance) if disturbance.needs_process()))
    }

    /// Returns whether a plant of a schedule ends the process that runs it, or never gives it back.
    pub fn ends_process(schedule: &Schedule) -> bool {
        use crate::directive::{Action, Disturbance};
        let is_deadly = |it: &Action| matches!(it, Action::Disturb(Disturbance::Plant(name)) if DEADLY.contains(name));
        schedule.faults().any(|it| is_deadly(&it.action))
    }

    /// The name of an experiment.
    pub fn id(&self, schedule: &Schedule, seed: u64) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.golden.base.0).update(&self.build.0).update(&seed.to_le_bytes());
        hasher.update(&schedule.id().0);
        hex(&hasher.finalize().as_bytes()[..8])
    }

    /// The token of an experiment.
    pub fn token(&self, schedule: &Schedule, seed: u64) -> Token {
        let token = Token::new(self.golden.base, self.build, seed, &self.base.path.display().to_string(), schedule);
        token.of_campaign(self.campaign.clone())
    }

    fn outcome(&self, schedule: &Schedule, seed: u64, seen: &Seen) -> Outcome {
        let verdict = judge::judge(&self.golden, schedule, seen);
        let Verdict { class, detail, hurt, count, path } = verdict;
        Outcome {
            id: self.id(schedule, seed),
            faults: schedule.clone(),
            seed,
            class: class.unwrap_or(Class::Harness),
            hurt_count: count,
            detail,
            done: judge::done(seen),
            deviated: seen.deviated.map(|it| it.0),
            hurt,
            path,
            noted: Vec::new(),
            saw: if let RunEnd::Invariant(_, saw) = &seen.end { saw.clone() } else { Vec::new() },
            end: seen.end.name().to_owned(),
            cranks: seen.next_crank.0,
            token: self.token(schedule, seed).to_string(),
        }
    }
}

/// Where two replicas of an experiment differ first.
fn differs(one: &Seen, other: &Seen) -> Option<String> {
    let at = one.marks.iter().zip(&other.marks).position(|(a, b)| a != b);
    let at = at.or_else(|| (one.marks.len() != other.marks.len()).then(|| one.marks.len().min(other.marks.len())));
    let differs = at.map(|at| format!("crank {} from the checkpoint on has another mark", at + 1));
    differs.or_else(|| {
        let (one, other) = (one.end.name(), other.end.name());
        (one != other).then(|| format!("one ends as {one}, the other as {other}"))
    })
}
