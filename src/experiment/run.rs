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
    block::Told,
    directive::{Directive, Schedule},
    experiment::{
        Golden, Limits, Until,
        end::Ends,
        golden::Clock,
        machine::{Machine, Stepped},
        memo::{Key, Memo, Tail},
        recording::Recording,
        watcher::{View, Watcher, When},
    },
    id::{CrankNum, DeliveryNum, VatId},
    injector::{Injector, Log, Reached},
    kernel::{self, Halt, Ran},
    store::{Digest, StateHash},
};

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) enum RunEnd {
    /// Its state is one of the golden run's, and so is all that follows.
    Met,
    /// Its state is one that it had: it will come again for ever.
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
    Known(Arc<Tail>),
    /// An invariant of the campaign's does not hold.
    Invariant(String),
    /// An invariant could not be asked; or the run was not the golden run before its first fault.
    Broken(String),
}

impl RunEnd {
    /// Its name in an outcome.
    pub(super) fn name(&self) -> &'static str {
        match self {
            RunEnd::Met => "met-golden",
            RunEnd::Known(tail) => tail.end.name(),
            RunEnd::Repeats => "repeats",
            RunEnd::Quiescent => "quiescent",
            RunEnd::Until => "until",
            RunEnd::Limit(_) => "limit",
            RunEnd::Halted(_) | RunEnd::Broken(_) => "halted",
            RunEnd::Invariant(_) => "invariant",
        }
    }
}

/// What was seen of a run.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// From this crank on, counted from the base.
    pub(super) from: usize,
    /// What vats were told since.
    pub(super) told: Vec<Told>,
    /// Vats that ended by their own fault since.
    pub(super) faults: Vec<(CrankNum, VatId, String)>,
    pub(super) reached: BTreeMap<usize, Reached>,
    pub(super) deviated: Option<CrankNum>,
    pub(super) end: RunEnd,
    /// `None` where the run met the golden one, or has no end to speak of.
    pub(super) ends: Option<Ends>,
    /// The first crank that did not run.
    pub(super) next_crank: CrankNum,
    /// The chained hash after each crank, where it was asked for.
    pub(super) chain: Vec<StateHash>,
}

/// How to run it.
pub(super) struct How<'a> {
    pub(super) golden: &'a Golden,
    pub(super) until: Until,
    pub(super) limits: Limits,
    pub(super) watchers: &'a mut [Box<dyn Watcher>],
    pub(super) memo: &'a mut Memo,
    pub(super) recording: &'a Recording,
    /// Keeps the chained hashes, and never ends early.
    pub(super) whole: bool,
    /// Evicts every vat after each crank: another replica.
    pub(super) evicts: bool,
}

/// Whether there is more of the golden run.
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
struct Run<'a, 'b> {
    machine: &'a mut Machine,
    how: &'a mut How<'b>,
    log: Log,
    told: Vec<Told>,
    /// Cranks from the base on.
    step: usize,
    fuel: u64,
    stirred: BTreeSet<VatId>,
    /// Cranks from the base on, before the one of the first fault.
    first_fault: Option<usize>,
    /// The state in which the last fault was spent, and how much was seen until then.
    spent: Option<(Key, usize, usize, usize)>,
    /// Whether it is run to its end whatever is known.
    audited: bool,
    deviated: Option<CrankNum>,
    faults: Vec<(CrankNum, VatId, String)>,
    chain: Vec<StateHash>,
    seen: BTreeSet<Digest>,
    seen_twice: BTreeSet<(Digest, [u8; 32])>,
}

/// Runs a schedule whose first fault comes in the crank `first`, counted from the base.
pub(super) fn run(
    machine: &mut Machine,
    how: &mut How<'_>,
    schedule: &Schedule,
    seed: u64,
    first: usize,
) -> Result<Seen, Box<Halt>> {
    let checkpoint = machine.checkpoint_before(first);
    machine.go_to(checkpoint)?;
    let history = how.watchers.iter().any(|it| it.needs_history());
    *machine.block_mut()?.slog() = how.recording.slog(history);
    let mut log = Log::default();
    machine.arm(|counts| {
        let injector = Injector::new(schedule.clone(), seed, counts);
        log = injector.log().clone();
        injector
    })?;
    let from = machine.checkpoints.get(checkpoint).map_or(0, |it| it.step);
    let mut run = Run {
        machine,
        how,
        log,
        told: Vec::new(),
        step: from,
        fuel: 0,
        stirred: BTreeSet::new(),
        first_fault: None,
        spent: None,
        audited: schedule.id().0[0].is_multiple_of(100),
        deviated: None,
        faults: Vec::new(),
        chain: Vec::new(),
        seen: BTreeSet::new(),
        seen_twice: BTreeSet::new(),
    };
    let mut end = run.until_end();
    let ends = run.ends(&mut end)?;
    run.finish(from, end, ends)
}

impl Run<'_, '_> {
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
        let noted = self.told.len();
        if let Some(watch) = self.machine.block()?.watched() {
            self.told.extend_from_slice(watch.told.get(noted..).unwrap_or_default());
        }
        if let (Some((vat, _)), Some(fault)) = (ran.delivery, ran.ended.as_ref().and_then(|it| it.fault.as_ref())) {
            self.faults.push((ran.crank, vat, fault.to_string()));
        }
        if self.how.whole {
            self.chain.push(self.machine.block()?.state_hash());
        }
        Ok(())
    }

    /// Asks the campaign's invariants.
    fn watched(&mut self, when: When) -> Option<RunEnd> {
        let block = self.machine.block().ok()?;
        let How { golden, watchers, recording, .. } = &mut *self.how;
        for watcher in watchers.iter_mut().filter(|it| it.when() == when) {
            let holds = recording.show(|events| watcher.holds(&View { block, golden, when, events }));
            match holds {
                Ok(true) => (),
                Ok(false) => return Some(RunEnd::Invariant(watcher.name().to_owned())),
                Err(why) => return Some(RunEnd::Broken(format!("invariant `{}`: {why}", watcher.name()))),
            }
        }
        None
    }

    /// Compares with the golden run; says whether that ends the run.
    fn compare(&mut self, ran: &Ran) -> Result<Option<RunEnd>, Box<Halt>> {
        let block = self.machine.block_mut()?;
        let digest = block.watched().map(|it| it.digest).unwrap_or_default();
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
        if self.how.whole || !self.is_spent()? || self.how.watchers.iter().any(|it| it.needs_history()) {
            return Ok(None);
        }
        if self.meets(digest)? {
            return Ok(Some(RunEnd::Met));
        }
        if let Some(tail) = self.known(digest)? {
            return Ok(Some(RunEnd::Known(tail)));
        }
        self.repeats(digest)
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
            !self.stirred.contains(&vat) && self.machine.block()?.tables().is_alive(vat) && !self.is_disturbed(vat)?;
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

    /// How the run goes on, if another came to this state with no fault left. Asked once a run.
    fn known(&mut self, digest: Digest) -> Result<Option<Arc<Tail>>, Box<Halt>> {
        let limits = self.how.limits;
        if self.spent.is_some() || self.how.until != Until::Quiescent || limits.fuel.is_some() {
            return Ok(None);
        }
        let key = (digest, self.heaps()?, self.clock()?);
        self.spent = Some((key, self.step, self.told.len(), self.faults.len()));
        let fits = |it: &Arc<Tail>| self.step + it.len < self.cranks_max();
        let known = self.how.memo.get(&key).filter(fits).filter(|_| !self.audited && self.how.watchers.is_empty());
        self.how.memo.hits += u64::from(known.is_some());
        Ok(known)
    }

    /// Whether a fault names the vat.
    fn is_disturbed(&self, vat: VatId) -> Result<bool, Box<Halt>> {
        let names = |it: &Directive| it.vat() == Some(vat) || it.action.vat() == Some(vat);
        Ok(self.machine.block()?.injected().is_some_and(|it| it.schedule().faults().any(names)))
    }

    fn is_spent(&self) -> Result<bool, Box<Halt>> {
        let block = self.machine.block()?;
        let tables = block.tables();
        let next = |vat| DeliveryNum(tables.tallies.get(&vat).map_or(0, |it| it.deliveries));
        Ok(block.injected().is_none_or(|it| it.is_spent(tables.globals().next_crank, &next)))
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
        let digest = self.machine.block()?.watched().map(|it| it.digest).unwrap_or_default();
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

    fn finish(self, from: usize, mut end: RunEnd, mut ends: Option<Ends>) -> Result<Seen, Box<Halt>> {
        let Run { deviated, mut faults, chain, mut step, how, mut told, log, spent, .. } = self;
        let start = how.golden.start.0;
        let reached = log.reached();
        if let RunEnd::Known(tail) = &end {
            let tail = tail.moved(CrankNum(start + step as u64));
            step += tail.len;
            told.extend(tail.told);
            faults.extend(tail.faults);
            (end, ends) = (tail.end, tail.ends);
        }
        if let (Some((key, at, told_then, faults_then)), RunEnd::Quiescent | RunEnd::Met) = (spent, &end) {
            let tail = Tail {
                from: CrankNum(start + at as u64),
                told: told.get(told_then..).unwrap_or_default().to_vec(),
                faults: faults.get(faults_then..).unwrap_or_default().to_vec(),
                end: end.clone(),
                ends: ends.clone(),
                len: step - at,
            };
            match how.memo.get(&key) {
                Some(known) if !known.same(&tail) => {
                    end = RunEnd::Broken("two runs from one state went on in two ways".to_owned());
                }
                _ => how.memo.put(key, tail),
            }
        }
        let next_crank = CrankNum(start + step as u64);
        Ok(Seen { from, told, faults, reached, deviated, end, ends, next_crank, chain })
    }
}
