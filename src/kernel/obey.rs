//! Directives: what the operators order at this very crank. Asked once a crank, by number only, after the item is
//! taken and routed, before anything of it is translated.
//!
//! ```text
//!   take ─▶ due? ─no──────────────────────────────────────────────────────────────▶ go on with the work
//!            └─yes─▶ check (expect, halt, guards) ─▶ undo the take ─▶ effects, records, seal ─▶ take it again ─▶ skip or go on
//! ```
//!
//! Invariants: a guard that does not match halts before anything ran; what directives change is sealed before the work
//! goes on, so that a fault of the vat does not undo it; each that is in consensus leaves a row, and with it the
//! crank's hash.

use crate::{
    directive::{self, Action, Applied, Directive, Effect, HexPrefix},
    kernel::{
        Ended, Ledger,
        crank::Crank,
        deliver::next_delivery,
        probe::probe_of,
        take::{SKIPPED, Work, describe, is_sound},
        upgrade::Replaced,
    },
    model::{
        blame::{Fault, Halted, HostFault},
        body, engine_version,
        id::VatId,
        kernel_version,
        value::CapData,
    },
    slog::{Detail, Event},
    state::{
        block::{Block, Step, find_bundle},
        table::{Item, Tables},
        transcript::End,
    },
};

/// A place where a native debugger can stop the kernel itself: `gdb -ex 'break vathost_breakpoint'`. Does nothing.
#[allow(unsafe_code, reason = "the name is for debuggers; nothing links against it")]
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn vathost_breakpoint(crank: u64) {
    std::hint::black_box(crank);
}

impl Crank<'_> {
    /// Obeys what is due at this crank.
    pub(super) fn obey(mut self) -> Result<Self, Fault> {
        let probe = self.ledger.probe();
        if let Some(probe) = &probe {
            probe.taken(&self);
        }
        let due = self.due();
        if !due.is_empty() {
            self.check(&due)?;
            self = self.carry_out_all(due)?;
        }
        match probe {
            Some(probe) if !self.log.interrupted => probe.obeyed(self),
            _ => Ok(self),
        }
    }

    /// Halts where a directive says so, or where something is not as it says.
    #[cold]
    pub(crate) fn check(&self, due: &[Directive]) -> Result<(), Fault> {
        check(&self.ledger, &self.log.work, due)
    }

    /// Carries out what was checked, and seals it; then the item is taken again, or skipped.
    #[cold]
    pub(crate) fn carry_out_all(mut self, due: Vec<Directive>) -> Result<Self, Fault> {
        let vat = self.log.work.vat();
        if !due.iter().any(Directive::in_consensus) {
            for directive in due {
                self = self.obey_one(&directive, vat)?;
            }
            return Ok(self);
        }
        let skips = due.iter().any(|it| matches!(it.action, Action::Skip { .. }));
        let resumes = due.iter().any(|it| matches!(it.action, Action::Resume(it) if Some(it) == vat));
        self.log.work = Work::Done;
        self.rewind();
        for directive in due {
            self = self.obey_one(&directive, vat)?;
            if self.log.interrupted {
                return Ok(self);
            }
        }
        self.ledger.settle_down()?;
        self.ledger.seal(Step::Directive)?;
        if skips {
            let work = self.take_to_skip()?;
            self.ledger.skip_by_directive(work)?;
        } else if !resumes {
            self.log.work = self.retake()?;
        }
        // What waited longer for a resumed vat comes first.
        Ok(self)
    }

    /// Returns the directives that fire at this crank, in the order of effect.
    pub(super) fn due(&self) -> Vec<Directive> {
        let set = self.ledger.block().directives();
        if set.is_quiet_at(self.ledger.number(), self.ledger.tables().globals().height) {
            return Vec::new();
        }
        let mut due: Vec<Directive> = Vec::new();
        if self.ledger.block().cranks() == 0 {
            due.extend(set.due_at_block(self.ledger.tables().globals().height).cloned());
        }
        let numbers = self.log.work.numbers(self.ledger.tables());
        due.extend(set.due(self.ledger.number(), numbers.first).cloned());
        if let Some(second) = numbers.second {
            let more: Vec<_> =
                set.due(self.ledger.number(), Some(second)).filter(|it| !due.contains(it)).cloned().collect();
            due.extend(more);
        }
        if let Some(probe) = probe_of(self.ledger.block()) {
            due.retain(|it| !probe.owns(it));
        }
        due.sort_by(|a, b| a.action.cmp(&b.action));
        due
    }

    fn obey_one(mut self, directive: &Directive, delivered: Option<VatId>) -> Result<Self, Fault> {
        let effect = effect(self.ledger.tables(), self.log.entry.as_deref(), directive, delivered);
        if matches!(effect, Effect::Done | Effect::Consumed(_)) {
            self = self.carry_out(directive, delivered)?;
            if self.log.interrupted {
                return Ok(self);
            }
        }
        self.ledger.record_directive(directive, delivered, effect);
        Ok(self)
    }

    fn carry_out(mut self, directive: &Directive, delivered: Option<VatId>) -> Result<Self, Fault> {
        match &directive.action {
            Action::Break => vathost_breakpoint(self.ledger.number().0),
            Action::ReplaceKernel(version) => self.ledger.replace_kernel(*version),
            Action::ReplaceEngine(version) => self.ledger.tables_mut().set_engine_version(*version),
            Action::Pause { vat, why } => {
                if let Some(vat) = vat.or(delivered) {
                    self.ledger.pause(vat, why.as_deref().unwrap_or("paused by directive"))?;
                }
            }
            Action::Resume(vat) => self.ledger.resume(*vat)?,
            Action::Terminate { vat, why } => {
                if let Some(vat) = vat.or(delivered) {
                    let info = body::error(why.as_deref().unwrap_or("terminated by directive"));
                    let ended = Ended { aborted: true, info, fault: None };
                    self.workers.stop(vat);
                    self.ledger.terminate(vat, &ended)?;
                    if Some(vat) == delivered {
                        self.log.ran.ended = Some(Box::new(ended));
                    }
                }
            }
            Action::Upgrade { vat, bundle, .. } => return self.upgrade_by_directive(directive, *vat, bundle),
            Action::Expect { .. } | Action::Halt | Action::Skip { .. } | Action::Disturb(_) => (),
        }
        Ok(self)
    }

    fn upgrade_by_directive(self, directive: &Directive, vat: VatId, bundle: &HexPrefix) -> Result<Self, Fault> {
        let number = self.ledger.number();
        let missing = || {
            let why = format_args!(
                "the state holds no bundle whose hash begins with {bundle}: start with --bundle FILE.wasm, \
                 or name the file in host.toml"
            );
            HostFault::new(format_args!("obey `{directive}` in {number}"), why)
        };
        let bundle = find_bundle(self.ledger.block(), bundle)?.ok_or_else(missing)?;
        let (crank, replaced) = self.replace_code(vat, bundle, CapData::plain("#{}"))?;
        if let Replaced::Failed(fault) = replaced {
            let why = Some(format!("the upgrade failed: {fault}"));
            return Err(Halted { crank: number, line: directive.to_string(), why }.into());
        }
        Ok(crank)
    }
}

impl Ledger {
    fn replace_kernel(&mut self, version: u32) {
        let before = self.tables().globals().kernel_version;
        self.tables_mut().update_globals(|it| it.kernel_version = version);
        if kernel_version::takes_turns(version) && !kernel_version::takes_turns(before) {
            self.deal_run_queue();
        }
    }

    /// Records a directive: one in consensus leaves a row; each leaves an event.
    fn record_directive(&mut self, directive: &Directive, delivered: Option<VatId>, effect: Effect) {
        let (crank, line) = (self.number(), directive.to_string());
        if directive.in_consensus() {
            let operators = self.block().directives();
            let digest = probe_of(self.block()).map_or_else(|| operators.digest(), |it| it.digest(operators));
            let index = self.tables().applied.iter().next_back().map_or(0, |(at, _)| at + 1);
            let effect = effect.clone();
            self.tables_mut().applied.insert(index, Applied { crank, text: line.clone(), digest, effect });
        }
        let vat = directive.vat().or(delivered);
        let delivery_num = vat.map(|it| next_delivery(self.tables(), it).0);
        let action = directive.action.to_string().split(' ').next().unwrap_or_default().to_owned();
        let vat = vat.map(|it| it.to_string());
        let (status, consumed) = (effect.status(), effect.consumed().map(str::to_owned));
        let event = || Event::Directive { crank_num: crank, vat, delivery_num, action, line, status, consumed };
        self.slog().record(Detail::Cranks, event);
    }

    fn skip_by_directive(&mut self, work: Work) -> Result<(), Fault> {
        for (vat, _) in work.numbers(self.tables()).iter() {
            self.leave_entry(vat, End::Skipped)?;
        }
        match work {
            Work::Entry(item) => self.consume(item),
            Work::Item(_, item) if !is_sound(self.tables(), &item) => self.consume(item),
            work => self.skip(work, body::error(SKIPPED)),
        }
    }
}

/// Halts where a directive says so, or where something is not as it says.
fn check(ledger: &Ledger, work: &Work, due: &[Directive]) -> Result<(), Fault> {
    let delivered = work.numbers(ledger.tables()).first.map(|(vat, _)| vat);
    if let Err(contradiction) = directive::refuse_contradictions(due, delivered) {
        let line = contradiction.directive.to_string();
        return Err(Halted { crank: ledger.number(), line, why: Some(contradiction.to_string()) }.into());
    }
    for directive in due {
        let halt = |why: Option<String>| -> Result<(), Fault> {
            Err(Halted { crank: ledger.number(), line: directive.to_string(), why }.into())
        };
        match &directive.action {
            Action::Expect { state } => {
                let actual = ledger.block().state_hash()?;
                // Before the first crank of a block the block has begun; people know the hash of the one before.
                let before = (ledger.block().cranks() == 0).then(|| ledger.block().committed_hash());
                if !state.matches(&actual.0) && !before.is_some_and(|it| state.matches(&it.0)) {
                    return halt(Some(format!("the state hash is {}", before.unwrap_or(actual))));
                }
            }
            Action::Halt => return halt(None),
            Action::ReplaceKernel(version) if !kernel_version::is_known(*version) => {
                return halt(Some(format!("this binary can run {}", kernel_version::known())));
            }
            Action::ReplaceEngine(version) if !engine_version::is_known(*version) => {
                return halt(Some(format!("this binary can run {}", engine_version::known())));
            }
            Action::Skip { guard, expect } => {
                if let Some(why) = skip_refused(work, *guard, expect.as_ref())? {
                    return halt(Some(why));
                }
            }
            Action::Pause { vat: None, .. } | Action::Terminate { vat: None, .. } if delivered.is_none() => {
                return halt(Some("the crank is no delivery: name the vat".to_owned()));
            }
            Action::Upgrade { vat, .. } if ledger.tables().is_session(*vat) => {
                return halt(Some(format!("{vat} is a session, which has no code")));
            }
            Action::Upgrade { vat, .. } if ledger.tables().vats.contains(vat) && !ledger.tables().is_alive(*vat) => {
                return halt(Some(format!("{vat} is dead")));
            }
            action => {
                if let Some(vat) = action.vat().filter(|it| !ledger.tables().vats.contains(it)) {
                    return halt(Some(format!("there is no {vat}")));
                }
            }
        }
    }
    Ok(())
}

/// Returns the effect of the directive in the present state.
fn effect(tables: &Tables, entry: Option<&Item>, directive: &Directive, delivered: Option<VatId>) -> Effect {
    if let (Action::Skip { .. }, None, Some(entry)) = (&directive.action, delivered, entry) {
        return Effect::Consumed(describe(entry));
    }
    let vat = directive.action.vat().or(delivered);
    let is = |holds: &dyn Fn(VatId) -> bool| vat.is_some_and(holds);
    let is_dead = is(&|it| !tables.is_alive(it));
    let is_paused = is(&|it| tables.is_paused(it));
    match &directive.action {
        Action::Pause { .. } | Action::Terminate { .. } | Action::Resume(_) if is_dead => Effect::AlreadyDead,
        Action::Pause { .. } if is_paused => Effect::AlreadyPaused,
        Action::Resume(_) if !is_paused => Effect::NotPaused,
        Action::ReplaceKernel(version) if *version <= tables.globals().kernel_version => Effect::AlreadyThere,
        Action::ReplaceEngine(version) if *version <= tables.engine_version() => Effect::AlreadyThere,
        _ => Effect::Done,
    }
}

/// Returns why a `skip` cannot be obeyed with what the crank took, if it cannot.
fn skip_refused(work: &Work, guard: Option<VatId>, expect: Option<&HexPrefix>) -> Result<Option<String>, HostFault> {
    let is_guarded = |vat: VatId| guard.is_some_and(|it| it != vat);
    let why = match work {
        Work::Done => "the crank takes nothing that could be skipped".to_owned(),
        Work::Entry(Item::Cleanup(vat)) => format!("the removal of rows of the dead {vat} cannot be skipped"),
        Work::Entry(item) if guard.is_some() => format!("the crank is no delivery, but {}", describe(item)),
        Work::Item(vat, _) | Work::Gc(vat, _) if is_guarded(*vat) => format!("the delivery is to {vat}"),
        Work::Item(_, Item::StartVat { .. }) => "startVat cannot be skipped: terminate the vat instead".to_owned(),
        work => {
            let hash = work.hash()?;
            if expect.is_none_or(|it| it.matches(&hash)) {
                return Ok(None);
            }
            format!("the message hash is {}", crate::model::id::hex(&hash))
        }
    };
    Ok(Some(why))
}

/// Obeys what is ordered before the next crank and changes nothing, where nothing is left to do: nobody knows when
/// that crank comes, and the place before it is here. Elsewhere the crank itself asks.
///
/// # Errors
///
/// A line that halts the host here.
pub fn obey_at_rest(block: &Block) -> Result<(), Box<super::Halt>> {
    if block.directives().is_empty() || !super::is_quiescent(block) {
        return Ok(());
    }
    let (set, crank) = (block.directives(), block.tables().globals().next_crank);
    let height = block.current_height();
    let of_block = set.due_at_block(height).filter(|_| block.cranks() == 0);
    for directive in of_block.chain(set.due(crank, None)) {
        let halt = |why| Err(Halted { crank, line: directive.to_string(), why }.into());
        match &directive.action {
            Action::Halt => return halt(None),
            Action::Break => vathost_breakpoint(crank.0),
            Action::Expect { state } => {
                let actual = block.state_hash()?;
                if !state.matches(&actual.0) {
                    return halt(Some(format!("the state hash is {actual}")));
                }
            }
            _ => (),
        }
    }
    Ok(())
}

/// Returns whether the next crank has a reason to run although every queue is empty: a directive of its number, or of
/// its block, changes the state and needs no delivery for it. It consumes the crank, whatever comes of it, so that it
/// is done with; one that is outside consensus must not, and stops before a crank that comes.
pub(super) fn wakes(block: &Block) -> bool {
    if probe_of(block).is_some_and(|it| it.wakes(block)) {
        return true;
    }
    if block.directives().is_empty() {
        return false;
    }
    let globals = block.tables().globals();
    let acts = |it: &Directive| acts_alone(it, block.tables());
    let of_block = || block.directives().due_at_block(block.current_height()).any(acts);
    block.directives().due(globals.next_crank, None).any(acts) || block.cranks() == 0 && of_block()
}

/// Returns whether a directive changes the state in a crank that takes nothing, under its present versions.
pub(crate) fn acts_alone(directive: &Directive, tables: &Tables) -> bool {
    match &directive.action {
        Action::Pause { vat, .. } | Action::Terminate { vat, .. } => vat.is_some(),
        Action::Resume(_) | Action::Upgrade { .. } => true,
        Action::ReplaceKernel(wanted) => *wanted > tables.globals().kernel_version,
        Action::ReplaceEngine(wanted) => *wanted > tables.engine_version(),
        Action::Skip { .. } | Action::Expect { .. } | Action::Halt | Action::Break | Action::Disturb(_) => false,
    }
}
