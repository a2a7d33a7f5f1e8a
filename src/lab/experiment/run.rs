//! One experiment in this process: from a checkpoint before its first fault to its end, and back.
//!
//! ```text
//!   locate ─▶ go to checkpoint ─▶ step ─▶ … ─▶ fault ─▶ step ─▶ … ─▶ meets the golden run │ repeats │ quiescent │ limit │ halt
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    directive::{Directive, Spot, Trigger},
    kernel::{self, Halt, Ran},
    lab::Schedule,
    lab::experiment::{
        Golden, Limits, Until,
        end::Ends,
        golden::Clock,
        machine::{Machine, Stepped},
        memo::{Key, Link, Memo, Next, Tail},
        recording::Recording,
        watcher::{Answer, Looks, View, Watcher, When},
    },
    lab::probe::{DeliveryRecord, Injector, Log, Reached, lasts},
    model::id::{CrankNum, DeliveryNum, VatId},
    store::{CrankMark, Digest},
};

/// The way in which a run ended.
#[derive(Clone, Debug)]
pub(super) enum RunEnd {
    /// The state is one of the golden run's, and so is all that follows.
    Met,
    /// The state is one that the run already had, so that it repeats for ever.
    Repeats,
    /// Nothing is left to do.
    Quiescent,
    /// As far as it was to go.
    Until,
    /// Over a limit.
    Limit(&'static str),
    /// The host stopped.
    Halted(Box<Halt>),
    /// As one that was seen before.
    Known(Arc<Link>),
    /// An invariant of the campaign's does not hold: its name, and the values that it saw.
    Invariant(String, Vec<String>),
    /// An invariant could not be asked; or the run was not the golden run before its first fault.
    Broken(String),
}

impl RunEnd {
    /// Returns the name that an outcome has for it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            RunEnd::Met => "met-golden",
            RunEnd::Known(_) => "known",
            RunEnd::Repeats => "repeats",
            RunEnd::Quiescent => "quiescent",
            RunEnd::Until => "until",
            RunEnd::Limit(_) => "limit",
            RunEnd::Halted(_) | RunEnd::Broken(_) => "halted",
            RunEnd::Invariant(..) => "invariant",
        }
    }
}

/// All that was seen of a run.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// From this crank on, counted from the base.
    pub(super) from: usize,
    /// What vats were told since.
    pub(super) told: Vec<DeliveryRecord>,
    /// Vats that ended by their own fault since.
    pub(super) faults: Vec<(CrankNum, VatId, String)>,
    pub(super) reached: BTreeMap<usize, Reached>,
    pub(super) deviated: Option<CrankNum>,
    pub(super) end: RunEnd,
    /// `None` where the run met the golden one, or has no end to speak of.
    pub(super) ends: Option<Arc<Ends>>,
    /// Watchers that noted something, by their positions.
    pub(super) noted: BTreeSet<usize>,
    /// The first crank that did not run.
    pub(super) next_crank: CrankNum,
    /// The mark of each crank, if they were asked for.
    pub(super) marks: Vec<CrankMark>,
}

/// The settings and the tools of a run.
pub(super) struct RunContext<'a> {
    pub(super) golden: &'a Golden,
    pub(super) until: Until,
    pub(super) limits: Limits,
    pub(super) watchers: &'a mut [Box<dyn Watcher>],
    pub(super) memo: &'a mut Memo,
    pub(super) recording: &'a Recording,
    /// Keeps the marks of the cranks, and never ends early.
    pub(super) whole: bool,
    /// Evicts every vat after each crank: another replica.
    pub(super) evicts: bool,
}

/// The result of one more crank of the golden run.
pub(super) enum Walked {
    /// And whether a block ended there.
    On {
        closed: bool,
    },
    End,
}

/// Goes one crank further on the golden run.
pub(super) fn walk(machine: &mut Machine, golden: &Golden, until: Until) -> Result<Walked, Box<Halt>> {
    let next = machine.next_crank()?.0.saturating_sub(golden.start.0);
    let over = matches!(until, Until::Cranks(cranks) if next >= cranks);
    match over {
        true => Ok(Walked::End),
        false => Ok(match machine.step()? {
            Stepped::Ran(_, closed) => Walked::On { closed: closed.is_some() },
            Stepped::Quiescent => Walked::End,
        }),
    }
}

/// A run under way.
struct OpenRun<'a, 'b> {
    machine: &'a mut Machine,
    how: &'a mut RunContext<'b>,
    log: Log,
    told: Vec<DeliveryRecord>,
    /// Cranks from the base on.
    step: usize,
    fuel: u64,
    seed: u64,
    stirred: BTreeSet<VatId>,
    /// Cranks from the base on, before the one of the first fault.
    first_fault: Option<usize>,
    /// Where it asked whether another run had been there, in order.
    asked: Vec<AskedRun>,
    /// What watchers noted, and after how many cranks.
    noted: Vec<(usize, usize)>,
    /// Whether it is run to its end whatever is known.
    audited: bool,
    deviated: Option<CrankNum>,
    faults: Vec<(CrankNum, VatId, String)>,
    marks: Vec<CrankMark>,
    seen: BTreeSet<Digest>,
    seen_twice: BTreeSet<(Digest, [u8; 32])>,
}

/// A place where a run asked whether another had been there, and how much had been seen until then.
struct AskedRun {
    key: Key,
    step: usize,
    told: usize,
    faults: usize,
    /// How many faults were left; and those that had come.
    left: usize,
    reached: BTreeSet<usize>,
    deviated: bool,
}

/// Runs a schedule whose first fault comes in the crank `first`, counted from the base.
pub(super) fn run(
    machine: &mut Machine,
    how: &mut RunContext<'_>,
    schedule: &Schedule,
    seed: u64,
    first: usize,
) -> Result<Seen, Box<Halt>> {
    let checkpoint = machine.checkpoint_before(first);
    machine.go_to(checkpoint)?;
    let history = how.watchers.iter().any(|it| it.looks_at() == Looks::History);
    *machine.block_mut()?.slog() = how.recording.slog(history);
    let mut log = Log::default();
    machine.arm(|counts, bugs| {
        let injector = Injector::new(schedule.clone(), seed, counts, bugs);
        log = injector.log().clone();
        injector
    })?;
    let from = machine.checkpoints.get(checkpoint).map_or(0, |it| it.step);
    let mut run = OpenRun {
        machine,
        how,
        log,
        told: Vec::new(),
        step: from,
        fuel: 0,
        seed,
        stirred: BTreeSet::new(),
        first_fault: None,
        asked: Vec::new(),
        noted: Vec::new(),
        audited: schedule.id().0[0].is_multiple_of(100),
        deviated: None,
        faults: Vec::new(),
        marks: Vec::new(),
        seen: BTreeSet::new(),
        seen_twice: BTreeSet::new(),
    };
    let mut end = run.until_end();
    let ends = run.ends(&mut end)?;
    run.finish(from, end, ends)
}

impl OpenRun<'_, '_> {
    fn until_end(&mut self) -> RunEnd {
        loop {
            match self.go_on() {
                Ok(None) => (),
                Ok(Some(end)) => return end,
                Err(halt) => return RunEnd::Halted(halt),
            }
        }
    }

    fn cranks_max(&self) -> usize {
        let golden = self.how.golden.len();
        let default = golden * 2 + 1_000;
        self.how.limits.cranks.map_or(default, |it| usize::try_from(it).unwrap_or(usize::MAX))
    }

    /// Runs a crank; says how the run ends, if it does with it.
    fn go_on(&mut self) -> Result<Option<RunEnd>, Box<Halt>> {
        let until = match self.how.until {
            Until::Quiescent => usize::MAX,
            Until::EndOfGolden => self.how.golden.len(),
            Until::Cranks(cranks) => usize::try_from(cranks).unwrap_or(usize::MAX),
        };
        if self.step >= until {
            return Ok(Some(self.watched(When::End).unwrap_or(RunEnd::Until)));
        }
        if self.step >= self.cranks_max() {
            return Ok(Some(RunEnd::Limit("cranks")));
        }
        if self.how.limits.fuel.is_some_and(|max| self.fuel >= max) {
            return Ok(Some(RunEnd::Limit("fuel")));
        }
        let (ran, closed) = match self.machine.step()? {
            Stepped::Ran(ran, closed) => (ran, closed.is_some()),
            Stepped::Quiescent => return self.fell_silent().map(Some),
        };
        self.step += 1;
        self.note(&ran)?;
        if let Some(end) = self.watched(When::EveryCrank) {
            return Ok(Some(end));
        }
        if closed && let Some(end) = self.watched(When::EveryBlock) {
            return Ok(Some(end));
        }
        if self.how.evicts {
            self.machine.warehouse.evict_all();
        }
        self.compare(&ran)
    }

    fn note(&mut self, ran: &Ran) -> Result<(), Box<Halt>> {
        self.fuel += ran.fuel;
        self.told.extend(self.machine.watch().told_from(self.told.len()));
        if let (Some((vat, _)), Some(fault)) = (ran.delivery, ran.ended.as_ref().and_then(|it| it.fault.as_ref())) {
            self.faults.push((ran.crank, vat, fault.to_string()));
        }
        if self.how.whole {
            self.marks.push(self.machine.block()?.crank_mark());
        }
        Ok(())
    }

    /// Asks the campaign's invariants.
    fn watched(&mut self, when: When) -> Option<RunEnd> {
        let block = self.machine.block().ok()?;
        let RunContext { golden, watchers, recording, memo, .. } = &mut *self.how;
        let digest = self.machine.watch().digest();
        for (at, watcher) in watchers.iter_mut().enumerate().filter(|(_, it)| it.when() == when) {
            let state = (watcher.looks_at() == Looks::State && !self.audited).then_some(digest);
            let answer = match state.and_then(|it| memo.answer(it, at)) {
                Some(known) => Ok(known),
                None => recording.show(|events| watcher.ask(&View { block, golden, when, events })),
            };
            if let (Some(state), Ok(answer)) = (state, &answer) {
                memo.put_answer(state, at, *answer);
            }
            match answer {
                Ok(Answer::Holds) => (),
                Ok(Answer::Noted) => self.noted.push((self.step, at)),
                Ok(Answer::Broken) => {
                    let saw = recording.show(|events| watcher.saw(&View { block, golden, when, events }));
                    return Some(RunEnd::Invariant(watcher.name().to_owned(), saw));
                }
                Err(why) => return Some(RunEnd::Broken(format!("invariant `{}`: {why}", watcher.name()))),
            }
        }
        None
    }

    /// Compares with the golden run; says whether that ends the run.
    fn compare(&mut self, ran: &Ran) -> Result<Option<RunEnd>, Box<Halt>> {
        let digest = self.machine.watch().digest();
        let reached = !self.log.is_empty();
        let golden = self.how.golden;
        let same_rows = golden.cranks.get(self.step - 1).is_some_and(|it| it.digest == digest);
        if !reached {
            let broken = || format!("{} is not the golden run's, and no fault came before it", ran.crank);
            return Ok((!same_rows).then(|| RunEnd::Broken(broken())));
        }
        self.first_fault.get_or_insert(self.step - 1);
        self.stirred.extend(ran.delivery.map(|(vat, _)| vat));
        if self.deviated.is_none() && !(same_rows && self.heaps_are_after(self.step)?) {
            self.deviated = Some(ran.crank);
        }
        if self.how.whole || self.looks_at(Looks::History) {
            return Ok(None);
        }
        let left = self.left()?;
        if left.is_empty() && self.meets(digest)? {
            return Ok(Some(RunEnd::Met));
        }
        if let Some(link) = self.known(digest, &left)? {
            return Ok(Some(RunEnd::Known(link)));
        }
        if left.is_empty() { self.repeats(digest) } else { Ok(None) }
    }

    /// Whether a watcher looks at that much, or more.
    fn looks_at(&self, much: Looks) -> bool {
        self.how.watchers.iter().any(|it| it.looks_at() >= much)
    }

    /// Whether its state is one of the golden run's.
    fn meets(&mut self, digest: Digest) -> Result<bool, Box<Halt>> {
        let golden = self.how.golden;
        for step in golden.by_digest.get(&digest).map(Vec::as_slice).unwrap_or_default() {
            let then = golden.cranks.get(*step).map(|it| it.clock);
            if (self.clock()?.is_none() || self.clock()? == then) && self.heaps_are_after(step + 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the heaps of all vats are those that they are in the golden run after that many cranks.
    fn heaps_are_after(&mut self, cranks: usize) -> Result<bool, Box<Halt>> {
        let golden = self.how.golden;
        for vat in self.vats()? {
            if self.heap(vat)? != golden.heap_after(vat, cranks) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The place in time, where a vat could find it out.
    fn clock(&self) -> Result<Option<Clock>, Box<Halt>> {
        let block = self.machine.block()?;
        Ok(self.how.golden.is_clocked.then(|| Clock::of(block)))
    }

    fn vats(&self) -> Result<Vec<VatId>, Box<Halt>> {
        Ok(self.machine.block()?.tables().vats.iter().map(|(vat, _)| *vat).collect())
    }

    /// What tells a vat's heap from others. That of a vat which nothing was done to since the first fault is known.
    fn heap(&mut self, vat: VatId) -> Result<Option<[u8; 32]>, Box<Halt>> {
        let quiet =
            !self.stirred.contains(&vat) && self.machine.block()?.tables().is_alive(vat) && !self.is_disturbed(vat);
        match self.first_fault {
            Some(cranks) if quiet => Ok(self.how.golden.heap_after(vat, cranks)),
            _ => self.machine.fingerprint(vat),
        }
    }

    fn heaps(&mut self) -> Result<[u8; 32], Box<Halt>> {
        let mut hasher = blake3::Hasher::new();
        for vat in self.vats()? {
            hasher.update(&self.heap(vat)?.unwrap_or_default());
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Returns how the run continues, if another reached this state with the same faults left. Asked when a fault has become one of the past.
    fn known(&mut self, digest: Digest, left: &[usize]) -> Result<Option<Arc<Link>>, Box<Halt>> {
        let RunContext { until, limits, .. } = self.how;
        let is_new = self.asked.last().is_none_or(|it| left.len() < it.left);
        if !is_new || *until != Until::Quiescent || limits.fuel.is_some() || self.looks_at(Looks::Numbers) {
            return Ok(None);
        }
        let reached: BTreeSet<usize> = self.log.reached().into_keys().collect();
        let Some(rest) = self.rest(left, &reached)? else { return Ok(None) };
        let key = (digest, self.heaps()?, self.clock()?, rest);
        self.asked.push(AskedRun {
            key,
            step: self.step,
            told: self.told.len(),
            faults: self.faults.len(),
            left: left.len(),
            reached,
            deviated: self.deviated.is_some(),
        });
        if self.audited {
            return Ok(None);
        }
        let max = self.cranks_max();
        let known = self.how.memo.get(&key).filter(|it| self.step + it.len < max);
        self.how.memo.hits += u64::from(known.is_some());
        Ok(known)
    }

    /// What decides what the faults that are left will do, beside the state: they, and the numbers that they go by. `Some(None)` where
    /// none is left; `None` where one of them has begun already.
    fn rest(&self, left: &[usize], reached: &BTreeSet<usize>) -> Result<Option<Option<[u8; 32]>>, Box<Halt>> {
        if left.is_empty() {
            // One that is still on the golden run will leave it in a crank of its own.
            return Ok(self.deviated.is_some().then_some(None));
        }
        let block = self.machine.block()?;
        let Some(injector) = self.machine.injected() else { return Ok(None) };
        if left.iter().any(|it| reached.contains(it)) || injector.is_under_way() {
            return Ok(None);
        }
        let tables = block.tables();
        let mut text = format!("{} {} {:?}", self.seed, tables.globals().next_crank, self.deviated.is_some());
        for (vat, tally) in tables.tallies.iter() {
            text += &format!(" {vat} {}", tally.deliveries);
        }
        for (_, fault) in injector.schedule().faults().enumerate().filter(|(at, _)| left.contains(at)) {
            text += &format!("\n{fault}");
            if let Trigger::Spot(Spot::SyscallOfKind(vat, ..)) = fault.trigger {
                text += &format!(" after {:?}", injector.counts().get(&vat));
            }
        }
        Ok(Some(Some(*blake3::hash(text.as_bytes()).as_bytes())))
    }

    /// Whether a fault names the vat.
    fn is_disturbed(&self, vat: VatId) -> bool {
        let names = |it: &Directive| it.vat() == Some(vat) || it.action.vat() == Some(vat);
        self.machine.injected().is_some_and(|it| it.schedule().faults().any(names))
    }

    /// The faults that may still come, by their positions in the schedule.
    fn left(&self) -> Result<Vec<usize>, Box<Halt>> {
        let block = self.machine.block()?;
        let tables = block.tables();
        let next = |vat| DeliveryNum(tables.tallies.get(&vat).map_or(0, |it| it.deliveries));
        let Some(injector) = self.machine.injected() else { return Ok(Vec::new()) };
        let mut left = injector.left(tables.globals().next_crank, &next);
        // Nothing comes to the dead, to a vat that was and is not; what lasts outlives it.
        let is_gone = |vat: VatId| vat < tables.globals().next_vat && !tables.is_alive(vat);
        let is_over = |fault: &Directive| !lasts(&fault.action) && fault.trigger.vat().is_some_and(is_gone);
        left.retain(|at| !injector.schedule().faults().nth(*at).is_some_and(is_over));
        Ok(left)
    }

    /// A state that comes again comes for ever. Looked for where the run is longer than the golden one.
    fn repeats(&mut self, digest: Digest) -> Result<Option<RunEnd>, Box<Halt>> {
        // Where time is part of the state it never comes again.
        let is_late = self.step > self.how.golden.len() && !self.how.golden.is_clocked;
        if !is_late || self.seen.insert(digest) {
            return Ok(None);
        }
        let heaps = self.heaps()?;
        let new = self.seen_twice.insert((digest, heaps));
        Ok((!new).then_some(RunEnd::Repeats))
    }

    /// Nothing is left to do; and no fault can come.
    fn fell_silent(&mut self) -> Result<RunEnd, Box<Halt>> {
        if let Some(end) = self.watched(When::End) {
            return Ok(end);
        }
        let golden = self.how.golden;
        let digest = self.machine.watch().digest();
        let same_rows = golden.quiescent && golden.cranks.last().is_some_and(|it| it.digest == digest);
        if !self.how.whole && same_rows && self.heaps_are_after(golden.len())? {
            return Ok(RunEnd::Met);
        }
        Ok(RunEnd::Quiescent)
    }

    /// How all vats ended, and whether the kernel's invariants hold there; where there is an end to speak of.
    fn ends(&mut self, end: &mut RunEnd) -> Result<Option<Ends>, Box<Halt>> {
        if !matches!(end, RunEnd::Quiescent | RunEnd::Until | RunEnd::Limit(_) | RunEnd::Repeats) {
            return Ok(None);
        }
        let tables = self.machine.block()?.tables();
        if let Err(panic) = kernel::audit(tables) {
            *end = RunEnd::Halted(super::machine::halt(panic));
            return Ok(None);
        }
        let mut ends = Ends::without_heaps(tables);
        for (vat, it) in &mut ends.vats {
            match self.heap(*vat) {
                Ok(heap) => it.heap = heap,
                Err(halt) => {
                    *end = RunEnd::Halted(halt);
                    return Ok(None);
                }
            }
        }
        Ok(Some(ends))
    }

    fn finish(mut self, from: usize, end: RunEnd, ends: Option<Ends>) -> Result<Seen, Box<Halt>> {
        let start = self.how.golden.start.0;
        let crank = |step: usize| CrankNum(start + step as u64);
        let known = if let RunEnd::Known(link) = &end { Some(link.clone()) } else { None };
        let (next, mut end, mut ends) = match &known {
            Some(link) => (Next::Link(link.clone()), end, None),
            None => {
                let ends = ends.map(Arc::new);
                (Next::End(end.clone(), ends.clone()), end, ends)
            }
        };
        if let Err(why) = self.keep(next) {
            end = RunEnd::Broken(why);
        }
        let OpenRun { mut deviated, mut faults, marks, mut step, mut told, log, noted, machine, .. } = self;
        let mut reached = log.reached();
        let mut noted: BTreeSet<usize> = noted.into_iter().map(|(_, it)| it).collect();
        if let Some(link) = known {
            let (tail, last, there) = link.follow(crank(step));
            step += tail.len;
            told.extend(tail.told);
            faults.extend(tail.faults);
            noted.extend(tail.noted);
            deviated = deviated.or(tail.deviated);
            let schedule = machine.injected().map(|it| it.schedule());
            for (fault, it) in tail.reached {
                let at = schedule.and_then(|all| all.faults().position(|it| *it == fault));
                reached.extend(at.map(|at| (at, it)));
            }
            (end, ends) = (last, there);
        }
        Ok(Seen { from, told, faults, reached, deviated, end, ends, noted, next_crank: crank(step), marks })
    }

    /// Remembers how it went on from where it asked.
    fn keep(&mut self, mut next: Next) -> Result<(), String> {
        // What has no such end might have another one elsewhere.
        let lasts = match &next {
            Next::Link(_) => true,
            Next::End(end, _) => matches!(end, RunEnd::Quiescent | RunEnd::Met | RunEnd::Invariant(..)),
        };
        let asked = if lasts { self.asked.as_slice() } else { &[] };
        let reached = self.log.reached();
        let faults: Vec<Directive> = match self.machine.injected() {
            Some(injector) => injector.schedule().faults().cloned().collect(),
            None => return Ok(()),
        };
        let (mut to, mut told_to, mut faults_to) = (self.step, self.told.len(), self.faults.len());
        let mut reached_to: BTreeSet<usize> = reached.keys().copied().collect();
        // The last place asked is known already, where the run ended with what was known there.
        let skip = usize::from(matches!(next, Next::Link(_)));
        for (at, it) in asked.iter().rev().enumerate() {
            if at >= skip {
                let new = reached_to.difference(&it.reached);
                let pairs = new.filter_map(|at| Some((faults.get(*at)?.clone(), reached.get(at)?.clone())));
                let deviated = self.deviated.filter(|crank| {
                    let crank = crank.0.saturating_sub(self.how.golden.start.0);
                    !it.deviated && (it.step as u64..to as u64).contains(&crank)
                });
                let part = Tail {
                    told: self.told.get(it.told..told_to).unwrap_or_default().to_vec(),
                    faults: self.faults.get(it.faults..faults_to).unwrap_or_default().to_vec(),
                    reached: pairs.collect(),
                    noted: self.noted_between(it.step, to),
                    deviated,
                    len: to - it.step,
                };
                let from = CrankNum(self.how.golden.start.0 + it.step as u64);
                let link = Arc::new(Link::new(from, part, next));
                let known = self.how.memo.get(&it.key);
                if known.as_ref().is_some_and(|it| !it.same(&link)) {
                    return Err("two runs from one state went on in two ways".to_owned());
                }
                let kept = known.unwrap_or(link);
                self.how.memo.put(it.key, kept.clone());
                next = Next::Link(kept);
            }
            (to, told_to, faults_to, reached_to) = (it.step, it.told, it.faults, it.reached.clone());
        }
        Ok(())
    }

    /// Watchers that noted something after the first number of cranks, and at the second or before; at the end, too.
    fn noted_between(&self, from: usize, to: usize) -> BTreeSet<usize> {
        let is_last = to == self.step;
        let here = self.noted.iter().filter(|(step, _)| *step > from && (*step <= to || is_last));
        here.map(|(_, at)| *at).collect()
    }
}
