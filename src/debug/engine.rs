//! The engine of a session: takes commands, runs the replica to places, tries directives, and answers.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    debug::{
        Answer, Breakpoint, Command, Desk, Open, Refusal, Replica, Reply,
        past::Past,
        place::{self, Before, CrankOutcome, Place},
        view::{self, Scene, vat_of},
        watch::{Mode, Watch, Watcher},
    },
    directive::{Action, Directive, DirectiveSet, Trigger},
    host::epitaph::Epitaph,
    inspect::recording::{Which, show},
    kernel::{Ahead, Fate, Halt},
    model::{
        blame::HostFault,
        id::{BlockHeight, CrankNum, DeliveryNum, KRef, VatId},
    },
    slog::{Detail, Indexing, Slog, Writer},
};

/// Runs the engine's thread: opens the session, and answers commands until the channel is closed.
pub(super) fn run(what: Open, desk: Desk) {
    let (mut engine, reply) = match Engine::open(what, desk) {
        Ok(opened) => opened,
        Err((desk, refusal)) => {
            // The session may have been dropped meanwhile.
            let _ = desk.replies.send(Err(refusal));
            return;
        }
    };
    engine.watcher.watch().answer(Ok(reply));
    loop {
        let Some(command) = engine.watcher.watch().receive() else { return };
        let answer = engine.obey(command);
        if engine.watcher.watch().over {
            return;
        }
        engine.watcher.watch().answer(answer);
    }
}

/// The kind of place that the session is at: in the open work, or in a vat's own history.
enum Scenery {
    Open(Box<Replica>),
    Past(Box<Past>),
}

pub(super) struct Engine {
    scenery: Scenery,
    pub(super) watcher: Watcher,
    slog: Slog,
    /// The directives that the session began with.
    pub(super) file: DirectiveSet,
    pub(super) tries: Vec<Directive>,
    /// The crank that ran last, or panicked.
    last: Option<CrankNum>,
    pub(super) next_breakpoint: usize,
    epitaph: Option<Box<Epitaph>>,
    interrupt: Arc<AtomicBool>,
}

/// The hint for a place that lies before the last commit.
const BEYOND: &str = "begin with an older state, an archive or a folder that was kept: `vathost debug DIR --base OLDER` runs on from there; \
                      without one, what is committed can be seen vat by vat: `--at v3/delivery-5`";

/// Outcomes of cranks that a reply lists, at most: the last ones.
const OUTCOMES_MAX: usize = 5;

/// The condition that ends a run.
#[derive(Clone, Debug)]
enum Goal {
    Cranks(u64),
    Syscall,
    Stop,
    Place(Trigger),
}

impl Goal {
    fn mode(&self) -> Mode {
        match self {
            Goal::Cranks(1) => Mode::Pass,
            Goal::Syscall => Mode::Step,
            _ => Mode::Run,
        }
    }
}

impl Engine {
    fn open(what: Open, desk: Desk) -> Result<(Engine, Reply), (Desk, Refusal)> {
        let recording = what.base.folder().join("session.slog.zst");
        let slog = match Writer::append(&recording) {
            Ok(writer) => Slog::new(Detail::Syscalls, writer),
            Err(err) => return Err((desk, HostFault::new("record the session", err).into())),
        };
        let watch = Watch {
            desk,
            mode: Mode::Pass,
            breakpoints: Vec::new(),
            recordings: [recording].into_iter().chain(what.slog.clone()).collect(),
            slog: slog.clone(),
            ahead: None,
            base: CrankNum(0),
            tried: Vec::new(),
            onward: None,
            instead: None,
            over: false,
        };
        let watcher = Watcher(Arc::new(Mutex::new(watch)));
        let opened = Engine::open_at(what, &watcher, slog);
        opened.map_err(|refusal| {
            // The desk is the watcher's: nobody else has it now.
            let (_, dead) = std::sync::mpsc::channel();
            let (replies, _) = std::sync::mpsc::channel();
            (std::mem::replace(&mut watcher.watch().desk, Desk { commands: dead, replies }), refusal)
        })
    }

    fn open_at(what: Open, watcher: &Watcher, slog: Slog) -> Result<(Engine, Reply), Refusal> {
        let file = what.how.directives.clone();
        let machine = Replica::open(what.base, what.how, slog.clone(), Some(Arc::new(watcher.clone())))?;
        watcher.watch().base = machine.base();
        let behind = match what.at {
            Some(place) => behind(&machine, place, what.slog.as_deref())?,
            None => None,
        };
        let scenery = match behind {
            Some((vat, number)) => Scenery::Past(Box::new(Past::open(machine.surrender()?, vat, number)?)),
            None => Scenery::Open(Box::new(machine)),
        };
        let mut engine = Engine {
            scenery,
            watcher: watcher.clone(),
            slog,
            file,
            tries: Vec::new(),
            last: None,
            next_breakpoint: 1,
            epitaph: what.epitaph,
            interrupt: what.interrupt,
        };
        let reply = match what.at {
            Some(place) if behind.is_none() && !engine.is_at(place)? => engine.go(Goal::Place(place))?,
            _ => Reply::default(),
        };
        // The reply to the motion matters only if it ended at another place.
        let elsewhere = reply.value["stop"].as_str().is_some_and(|it| it != "place");
        let reply = if elsewhere { reply } else { engine.obey(Command::Where)? };
        Ok((engine, reply))
    }

    pub(super) fn machine(&mut self) -> Result<&mut Replica, Refusal> {
        match &mut self.scenery {
            Scenery::Open(machine) => Ok(machine),
            Scenery::Past(_) => Err(out_of_reach()),
        }
    }

    fn obey(&mut self, command: Command) -> Answer {
        if let Scenery::Past(past) = &mut self.scenery {
            return past.obey(command);
        }
        let place = self.place()?;
        // A recording that cannot be written tells less: `why` has other sources.
        let _ = self.slog.flush();
        let answer = match self.view(&place, &command) {
            Some(answer) => answer,
            None => self.act(command),
        };
        let name = self.place()?.name();
        answer.map(|it| if it.place.is_empty() { Reply { place: name, ..it } } else { it })
    }

    fn view(&self, place: &Place, command: &Command) -> Option<Answer> {
        let Scenery::Open(machine) = &self.scenery else { return None };
        let watch = self.watcher.watch();
        let scene = Scene {
            block: match machine.block() {
                Ok(block) => block,
                Err(halt) => return Some(Err(halt.into())),
            },
            ahead: machine.ahead(),
            call: None,
            place,
            breakpoints: &watch.breakpoints,
            tried: &watch.tried,
            recordings: &watch.recordings,
            epitaph: self.epitaph.as_deref(),
        };
        view::answer(&scene, command)
    }

    fn place(&self) -> Result<Place, Refusal> {
        let Scenery::Open(machine) = &self.scenery else { return Err(out_of_reach()) };
        let tried = self.tries.iter().map(ToString::to_string).collect();
        Ok(Place::of(machine.block()?, machine.ahead(), machine.base(), tried))
    }

    fn act(&mut self, command: Command) -> Answer {
        match command {
            Command::Mem { vat, at, len } => {
                let machine = self.machine()?;
                let vat = vat_of(machine.block()?, machine.ahead(), vat.as_deref())?;
                let (bytes, size) = machine.memory(vat, at, len)?;
                view::memory(vat, at, &bytes, size)
            }
            Command::Next(count) => self.go(Goal::Cranks(count)),
            Command::Step => self.go(Goal::Syscall),
            Command::Continue => self.go(Goal::Stop),
            Command::Until(place) => self.until(place),
            Command::Back(count) => self.back(count),
            Command::Break(Some(breakpoint)) => self.add_breakpoint(breakpoint),
            Command::Unbreak(number) => self.remove_breakpoint(number),
            Command::Skip | Command::Pause { .. } | Command::Resume(_) | Command::Terminate { .. } => {
                let action = self.action(command)?;
                self.attempt(action)
            }
            Command::Upgrade { vat, file } => {
                let action = self.upgrade(vat.as_deref(), &file)?;
                self.attempt(action)
            }
            Command::Retry => {
                let none = || Refusal::new("no crank was run yet", "`next` runs one");
                let last = self.last.ok_or_else(none)?;
                self.machine()?.stand_before(last)?;
                self.run_one()
            }
            Command::Add(line) => self.add(&line),
            Command::Forget => self.forget(),
            Command::WriteDirective(file) => self.write(&file),
            Command::Quit => Ok(Reply { value: json!({}), ..Reply::default() }),
            // The rest only looks, and was answered.
            _ => Err(Refusal::new("this cannot be done here", "`help` lists what can")),
        }
    }

    // ---- moving

    pub(super) fn run_one(&mut self) -> Answer {
        self.go(Goal::Cranks(1))
    }

    /// Makes the reply to a command after which the replica may be at another place.
    pub(super) fn came(&mut self, why: &str, stop: &str) -> Answer {
        self.arrived(stop, why, Vec::new(), None)
    }

    /// Returns whether the replica is just before that place.
    fn is_at(&mut self, place: Trigger) -> Result<bool, Refusal> {
        Ok(self.machine()?.is_at(place)?)
    }

    fn until(&mut self, place: Trigger) -> Answer {
        let machine = self.machine()?;
        let tables = machine.block()?.tables();
        let past = match place {
            Trigger::Crank(crank) => crank <= tables.globals().next_crank,
            Trigger::Delivery(vat, number) => tables.tallies.get(&vat).is_some_and(|it| number.0 < it.deliveries),
            Trigger::Block(height) => has_begun(machine, height)?,
            Trigger::Spot(_) => false,
        };
        if past && !self.is_at(place)? {
            return Err(Refusal::new(format!("{place} lies behind"), "`back N` goes back by N cranks"));
        }
        if self.is_at(place)? {
            return Err(Refusal::new(format!("this is {place}"), "`next` runs it"));
        }
        self.go(Goal::Place(place))
    }

    fn back(&mut self, count: u64) -> Answer {
        let machine = self.machine()?;
        let (here, base) = (machine.next_crank()?, machine.base());
        let to = CrankNum(here.0.saturating_sub(count));
        if here.0 < count || to < base {
            let what = format!("the state is committed up to {base}: nothing before it is kept");
            return Err(Refusal::new(what, BEYOND));
        }
        machine.stand_before(to)?;
        self.came("", "back")
    }

    /// Runs on until the goal is reached, or something else is worth stopping at.
    fn go(&mut self, mut goal: Goal) -> Answer {
        self.interrupt.store(false, Ordering::Relaxed);
        let mut outcomes = Vec::new();
        loop {
            let machine = self.machine()?;
            let Some(ahead) = machine.ahead().cloned() else {
                let missed = match &goal {
                    Goal::Place(place) => format!("{place} was not reached"),
                    _ => String::new(),
                };
                return self.arrived("end", &missed, outcomes, None);
            };
            let before = Before::of(machine.block()?.tables());
            self.ready(&goal, ahead.clone());
            self.last = Some(ahead.crank);
            let went = self.machine()?.crank();
            let (onward, instead) = self.stood_down();
            if let Some(command) = instead {
                return match command {
                    // From within a delivery, one step back is just before it.
                    Command::Back(1) => self.came("", "back"),
                    Command::Back(count) => self.obey(Command::Back(count - 1)),
                    command => self.obey(command),
                };
            }
            if self.watcher.watch().over {
                return Err(out_of_reach());
            }
            let ran = match went {
                Ok(ran) => ran,
                Err(halt) => return self.arrived("", "", outcomes, Some(&halt)),
            };
            if let Some(command) = onward {
                goal = match command {
                    Command::Next(count) => Goal::Cranks(count),
                    Command::Until(place) => Goal::Place(place),
                    Command::Step => Goal::Syscall,
                    _ => Goal::Stop,
                };
                outcomes.clear();
            }
            if let Some(ran) = &ran {
                outcomes.push(CrankOutcome::of(self.machine()?.block()?, &before, &ahead, ran));
                // Only the last few matter to people who run many.
                if outcomes.len() > OUTCOMES_MAX {
                    outcomes.remove(0);
                }
            }
            if let Some((stop, why)) = self.reached(&mut goal)? {
                return self.arrived(stop, &why, outcomes, None);
            }
        }
    }

    /// Prepares the observer for the crank that is about to run.
    fn ready(&self, goal: &Goal, ahead: Ahead) {
        let mut watch = self.watcher.watch();
        watch.mode = goal.mode();
        watch.ahead = Some(ahead);
        watch.tried = self.tries.iter().map(ToString::to_string).collect();
        (watch.onward, watch.instead) = (None, None);
    }

    /// Takes the commands that were given at a stop within the crank: one to continue with, or one that abandoned it.
    fn stood_down(&self) -> (Option<Command>, Option<Command>) {
        let mut watch = self.watcher.watch();
        watch.mode = Mode::Pass;
        (watch.onward.take(), watch.instead.take())
    }

    /// Returns the kind of stop and the reason, if the run is to stop here.
    fn reached(&mut self, goal: &mut Goal) -> Result<Option<(&'static str, String)>, Refusal> {
        match goal {
            Goal::Cranks(1) | Goal::Syscall => return Ok(Some(("crank", String::new()))),
            Goal::Cranks(count) => *count -= 1,
            Goal::Place(place) => {
                let place = *place;
                if self.is_at(place)? {
                    return Ok(Some(("place", String::new())));
                }
            }
            Goal::Stop => (),
        }
        if self.interrupt.swap(false, Ordering::Relaxed) {
            return Ok(Some(("interrupt", "interrupted".to_owned())));
        }
        let Scenery::Open(machine) = &self.scenery else { return Ok(None) };
        let Some(ahead) = machine.ahead() else { return Ok(None) };
        if let Some(line) = ahead.due.iter().find(|it| it.action == Action::Break) {
            return Ok(Some(("break", format!("`{line}`"))));
        }
        let first = machine.block()?.cranks() == 0;
        let height = machine.block()?.tables().globals().height;
        let watch = self.watcher.watch();
        let hit = watch.breakpoints.iter().find(|(_, it)| match it {
            Breakpoint::Place(Trigger::Crank(crank)) => ahead.crank == *crank,
            Breakpoint::Place(Trigger::Delivery(vat, number)) => ahead.deliveries.contains(&(*vat, *number)),
            Breakpoint::Place(Trigger::Block(block)) => first && height == *block,
            Breakpoint::Vat(vat) => ahead.deliveries.iter().any(|(it, _)| it == vat),
            Breakpoint::Promise(promise) => match &ahead.fate {
                Fate::Delivered(delivery, _) => delivery.refs().contains(&KRef::from(*promise)),
                _ => false,
            },
            Breakpoint::Syscall(_) | Breakpoint::Place(Trigger::Spot(_)) => false,
        });
        Ok(hit.map(|(number, it)| ("break", format!("breakpoint {number}: {it}"))))
    }

    /// Makes the reply to a run: why it stopped, the cranks that ran, and the place.
    fn arrived(&mut self, stop: &str, why: &str, outcomes: Vec<CrankOutcome>, halt: Option<&Halt>) -> Answer {
        let place = self.place()?;
        let mut lines: Vec<String> = outcomes.iter().map(CrankOutcome::lines).collect();
        let mut value = json!({ "stop": stop, "why": why, "ran": outcomes });
        if let Some(halt) = halt {
            let (halted, text) = place::halted(halt);
            lines.push(text);
            value["stop"] = halted["stop"].clone();
            value["halt"] = halted;
        }
        if !why.is_empty() {
            lines.push(why.to_owned());
        }
        lines.push(if halt.is_some() { format!("again {}", place.line()) } else { place.line() });
        value["place"] = serde_json::to_value(&place).unwrap_or(Value::Null);
        Ok(Reply { value, text: lines.join("\n"), place: place.name() })
    }
}

/// Returns the delivery to replay, if a place lies before the last commit.
pub(super) fn behind(
    machine: &Replica,
    place: Trigger,
    slog: Option<&Path>,
) -> Result<Option<(VatId, DeliveryNum)>, Refusal> {
    let tables = machine.block()?.tables();
    Ok(match place {
        Trigger::Delivery(vat, number) => {
            let made = tables.tallies.get(&vat).map_or(0, |it| it.deliveries);
            (number.0 < made).then_some((vat, number))
        }
        Trigger::Crank(crank) if crank < machine.base() => Some(delivery_of(crank, machine.base(), slog)?),
        Trigger::Block(height) if has_begun(machine, height)? => {
            let what = format!("{height} is committed: what stood in the tables then is gone");
            return Err(Refusal::new(what, BEYOND));
        }
        _ => None,
    })
}

/// Returns whether a crank of this block has run, or the block is closed.
fn has_begun(machine: &Replica, height: BlockHeight) -> Result<bool, Refusal> {
    let block = machine.block()?;
    let open = block.tables().globals().height;
    Ok(height < open || (height == open && block.cranks() > 0))
}

/// Returns the delivery that a committed crank made. Only a recording knows it.
fn delivery_of(crank: CrankNum, base: CrankNum, slog: Option<&Path>) -> Result<(VatId, DeliveryNum), Refusal> {
    let Some(path) = slog else {
        let hint = format!("{BEYOND}; a recording of that time, --slog FILE, knows what the crank delivered");
        return Err(Refusal::new(
            format!("{crank} is committed (the state is, up to {base}): its tables are gone"),
            hint,
        ));
    };
    let found = show(path, &Which::Crank(crank.0), Indexing::default())
        .map_err(|err| Refusal::new(err, "give a recording that can be read"))?;
    let place = found.map_err(|extent| {
        let has = extent.cranks.map_or("no crank".to_owned(), |(first, last)| format!("cranks {first} to {last}"));
        Refusal::new(format!("{} has no {crank}: it has {has}", path.display()), "give a recording of that time")
    })?;
    let vat = place.place.vat.as_ref().and_then(|it| it.parse().ok());
    vat.zip(place.place.delivery.map(DeliveryNum)).ok_or_else(|| {
        Refusal::new(
            format!("{crank} was no delivery: there is no history of it to replay"),
            "`vathost slog show` shows it",
        )
    })
}

fn out_of_reach() -> Refusal {
    Refusal::new("the session is not in the open work", "")
}
