//! The world of a simulation: the machines, the network between them, the operators, and the time.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use arc_malachitebft_core_types::LinearTimeouts;
use serde_json::json;
use vathost::host::staged::BlockInput;

use super::{
    dice::Dice,
    disk::{EngineLog, Fate, POINTS, Records},
    engine::{Body, Life, Message, Output},
    judge::Judge,
    liar::Liar,
    machine::{Kernel, Machine, Standstill, open_kernel},
    plan::{Dissent, Plan},
    replica::{BOOM, StubState},
    signing::Notary,
};
use crate::{
    driver::Halted,
    engine::context::{Members, Part},
    genesis::{Genesis, Submitters, Validator},
    keys::{Digest, SecretKey},
    submit::{Submission, WINDOW},
};

/// Milliseconds between two tellings of a node's height.
const STATUS: u64 = 1_000;

/// Milliseconds from the end of the faults by which all nodes must have gone on.
const PATIENCE: u64 = 600_000;

/// The blocks that follow the end of the faults.
const BLOCKS_AFTER: u64 = 3;

enum Event {
    Deliver {
        to: usize,
        from: usize,
        message: Box<Message>,
    },
    Timer {
        node: usize,
        life: u64,
        number: u64,
    },
    Desk {
        node: usize,
        life: u64,
    },
    Status(usize),
    Submit {
        bomb: bool,
    },
    Crash(usize),
    Start(usize),
    Cut,
    Mend,
    /// An operator looks at a node that halted.
    Operate(usize),
    /// An operator comes over to the others' line.
    ComeOver(usize),
    /// The end of all faults.
    Calm,
}

/// A simulation in progress.
pub(super) struct World {
    plan: Plan,
    dice: Dice,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    events_made: u64,
    machines: Vec<Machine>,
    has_desk_event: Vec<bool>,
    chain: Digest,
    notary: Rc<Notary>,
    liar: Liar,
    /// The part of the network that each node is in.
    sides: Vec<u64>,
    is_calm: bool,
    is_bombed: bool,
    /// The height at which all must arrive.
    goal: Option<u64>,
    judge: Judge,
    nonces: u64,
    coverage: Coverage,
}

/// The things that happened in a run, and how often each did.
pub(super) type Coverage = BTreeMap<String, u64>;

impl World {
    /// Makes the world of a plan. Real kernels have their folders in `dir`.
    pub(super) fn new(plan: Plan, dir: Option<&std::path::Path>) -> World {
        let mut dice = Dice(plan.seed);
        let keys: Vec<SecretKey> = (1..).take(plan.nodes).map(|it| SecretKey::from_bytes([it; 32])).collect();
        let state_hash = match dir {
            None => Digest::NONE,
            Some(_) => open_kernel(None, &[]).unwrap().info().unwrap().state_hash.parse().unwrap(),
        };
        let genesis = Arc::new(genesis(&keys, state_hash));
        let chain = genesis.id();
        let notary = Rc::new(Notary::new(chain, &keys));
        let machine = |(seat, key): (usize, &SecretKey)| Machine {
            body: Body {
                key: key.clone(),
                me: key.address(),
                chain,
                members: Members::of(&genesis),
                timeouts: LinearTimeouts::default(),
                log: Rc::new(RefCell::new(EngineLog::default())),
                fate: Fate::default(),
                notary: notary.clone(),
                skew: dice.below(10),
            },
            genesis: genesis.clone(),
            records: Rc::new(RefCell::new(Records::default())),
            kernel: match dir {
                None => Kernel::Stub(Rc::new(RefCell::new(StubState::new(state_hash)))),
                Some(dir) => Kernel::Real(dir.join(seat.to_string())),
            },
            lines: Vec::new(),
            life: None,
            lives: 0,
            stands: Standstill::None,
            is_forgetful: plan.is_forgetful,
        };
        let machines: Vec<Machine> = keys.iter().enumerate().map(machine).collect();
        let judge = Judge::new(plan.nodes, plan.liar);
        let (has_desk_event, sides) = (vec![false; plan.nodes], vec![0; plan.nodes]);
        let mut world = World {
            dice,
            now: 0,
            events: BTreeMap::new(),
            events_made: 0,
            machines,
            has_desk_event,
            chain,
            notary,
            liar: Liar::default(),
            sides,
            is_calm: false,
            is_bombed: false,
            goal: None,
            judge,
            nonces: 0,
            coverage: Coverage::new(),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.plan.nodes {
            // The last node may come late.
            let is_late = node + 1 == self.plan.nodes && self.plan.is_last_late;
            let soonest = if self.plan.dissent.is_some() { self.plan.calm_at } else { self.plan.calm_at / 2 };
            let late = if is_late { soonest + self.dice.below(20_000) } else { 0 };
            let at = late + self.dice.below(500);
            self.at(at, Event::Start(node));
            self.at(at + STATUS, Event::Status(node));
        }
        for _ in 0..self.plan.submissions {
            let at = self.dice.below(self.plan.calm_at);
            self.at(at, Event::Submit { bomb: false });
        }
        if self.plan.dissent.is_some() {
            let at = self.plan.calm_at / 4;
            self.at(at, Event::Submit { bomb: true });
        }
        for _ in 0..self.plan.crashes {
            let (at, node) = (self.dice.below(self.plan.calm_at), self.dice.place(self.plan.nodes));
            self.at(at, Event::Crash(node));
        }
        for _ in 0..self.plan.cuts {
            let at = self.dice.below(self.plan.calm_at);
            let mended = at + self.dice.below(8_000);
            self.at(at, Event::Cut);
            self.at(mended, Event::Mend);
        }
        self.at(self.plan.calm_at, Event::Calm);
    }

    /// Returns what happened in the run.
    pub(super) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn note(&mut self, what: impl Into<String>) {
        *self.coverage.entry(what.into()).or_default() += 1;
    }

    fn at(&mut self, time: u64, event: Event) {
        self.events_made += 1;
        self.events.insert((time.max(self.now), self.events_made), event);
    }

    /// Runs to the end.
    ///
    /// # Errors
    ///
    /// What was broken: two blocks for one height, or a node that does not go on.
    pub(super) fn run(&mut self) -> Result<u64, String> {
        while let Some(((time, _), event)) = self.events.pop_first() {
            self.now = time;
            self.happen(event)?;
            if self.is_over() {
                self.judge.at_the_end(&self.machines)?;
                return Ok(self.judge.height());
            }
            if self.is_calm && self.now > self.plan.calm_at + PATIENCE {
                let nodes: Vec<String> = self.machines.iter().map(Machine::describe).collect();
                return Err(format!("not all go on to block {:?}:\n  {}", self.goal, nodes.join("\n  ")));
            }
        }
        Err("nothing happens any more".to_owned())
    }

    /// Returns whether all nodes that have to are where they should come, and those that differ stand still.
    fn is_over(&self) -> bool {
        let Some(goal) = self.goal else { return false };
        let has_arrived = |(seat, it): (usize, &Machine)| {
            if self.plan.liar == Some(seat) {
                return true;
            }
            let stopped =
                matches!(&it.stands, Standstill::Halted(Halted::Divergence(_) | Halted::MissingDirectives { .. }));
            if self.dissents(seat) { stopped } else { it.height().is_some_and(|height| height >= goal) }
        };
        let is_bombed = self.plan.dissent.is_none() || self.judge.has_fired();
        is_bombed && self.machines.iter().enumerate().all(has_arrived)
    }

    /// Returns whether this node's operator stays with another line than all others.
    fn dissents(&self, seat: usize) -> bool {
        self.plan.dissent == Some(Dissent::One) && seat == 0
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        let now = self.now;
        match event {
            Event::Deliver { to, from, message } => self.work(to, |it| it.receive(now, from, *message))?,
            Event::Timer { node, life, number } => {
                if self.machines[node].lives == life {
                    self.work(node, |it| it.timer(now, number))?;
                }
            }
            Event::Desk { node, life } => {
                if self.machines[node].lives == life {
                    self.has_desk_event[node] = false;
                    self.work(node, |it| it.answer(now))?;
                }
            }
            Event::Status(node) => {
                self.at(now + STATUS, Event::Status(node));
                self.work(node, |it| it.tell(now))?;
            }
            Event::Submit { bomb } => self.submit(bomb)?,
            Event::Crash(node) if !self.is_calm => {
                let place = self.dice.one_of(&POINTS).unwrap_or_default();
                let passes = self.dice.below(3);
                self.machines[node].body.fate.end_at(place, passes);
            }
            Event::Start(node) => self.start(node)?,
            Event::Cut if !self.is_calm => {
                let parts = 2 + self.dice.below(2);
                self.sides = (0..self.plan.nodes).map(|_| self.dice.below(parts)).collect();
            }
            Event::Mend => self.sides = vec![0; self.plan.nodes],
            Event::Operate(node) => self.operate(node)?,
            Event::ComeOver(node) => self.come_over(node)?,
            Event::Calm => self.calm(),
            Event::Crash(_) | Event::Cut => (),
        }
        Ok(())
    }

    fn calm(&mut self) {
        self.is_calm = true;
        self.sides = vec![0; self.plan.nodes];
        self.machines.iter().for_each(|it| it.body.fate.spare());
        self.goal = Some(self.judge.height() + BLOCKS_AFTER);
    }

    // ---- nodes

    fn start(&mut self, node: usize) -> Result<(), String> {
        let machine = &mut self.machines[node];
        if machine.life.is_some() || matches!(machine.stands, Standstill::Halted(_)) {
            return Ok(());
        }
        machine.start();
        self.has_desk_event[node] = false;
        if matches!(machine.stands, Standstill::Until(_)) {
            return self.crashed(node);
        }
        if machine.life.is_none() {
            return self.look(node);
        }
        let now = self.now;
        self.work(node, |it| it.run(now))
    }

    /// Has a node do something, and brings what it gives out on its way.
    fn work(&mut self, node: usize, work: impl FnOnce(&mut Life)) -> Result<(), String> {
        let Some(life) = &mut self.machines[node].life else { return Ok(()) };
        life.notes.drain(..).for_each(|it| *self.coverage.entry(it.to_owned()).or_default() += 1);
        let (output, has_crashed) = self.machines[node].work(work);
        for it in output {
            self.bring(node, it);
        }
        if has_crashed {
            return self.crashed(node);
        }
        let life = self.machines[node].lives;
        if !self.has_desk_event[node] && self.machines[node].life.as_ref().is_some_and(Life::has_questions) {
            self.has_desk_event[node] = true;
            let at = self.now + 1 + self.dice.below(40);
            self.at(at, Event::Desk { node, life });
        }
        self.look(node)
    }

    fn crashed(&mut self, node: usize) -> Result<(), String> {
        let power = self.dice.below(2) == 0;
        self.note(format!("crash {}", self.machines[node].body.fate.place()));
        self.machines[node].crash(&mut self.dice, power);
        let at = self.now + self.dice.below(6_000);
        self.machines[node].stands = Standstill::Until(at);
        self.at(at, Event::Start(node));
        Ok(())
    }

    /// Has the judge look at a node, and calls its operator if it has halted.
    fn look(&mut self, node: usize) -> Result<(), String> {
        self.judge.look(node, &self.machines[node])?;
        let is_liar = self.plan.liar == Some(node);
        let Standstill::Halted(halted) = &self.machines[node].stands else { return Ok(()) };
        *self.coverage.entry(format!("halt {}", halted.kind())).or_default() += 1;
        match halted {
            _ if is_liar => (),
            Halted::Host(halt) if halt.position.crank.is_some() && self.is_bombed => {
                let at = self.now + 500 + self.dice.below(3_000);
                self.at(at, Event::Operate(node));
            }
            Halted::Divergence(_) | Halted::MissingDirectives { .. } if self.plan.dissent.is_some() => {
                if !self.dissents(node) {
                    let at = self.now + 500 + self.dice.below(3_000);
                    self.at(at, Event::Operate(node));
                }
            }
            other => return Err(format!("node {node} halts ({}): {other}", other.kind())),
        }
        Ok(())
    }

    // ---- operators

    /// An operator looks at a node that stands still, writes a line into its file, and starts it again.
    fn operate(&mut self, node: usize) -> Result<(), String> {
        let machine = &mut self.machines[node];
        let Standstill::Halted(halted) = &machine.stands else { return Ok(()) };
        let is_second_look = !machine.lines.is_empty();
        match halted {
            Halted::Host(halt) => {
                let crank = halt.position.crank.unwrap();
                let action = match self.plan.dissent {
                    Some(Dissent::One) if node == 0 => "pause",
                    Some(Dissent::Split) if node < self.plan.nodes / 2 => "pause",
                    // This operator forgets to save the file.
                    Some(Dissent::Late) if node == 0 && !is_second_look && machine.lives % 2 == 1 => "",
                    _ => "skip",
                };
                machine.lines = if action.is_empty() { vec![] } else { vec![format!("{crank}: {action}")] };
            }
            Halted::MissingDirectives { lines, .. } => machine.lines = lines.clone(),
            Halted::Divergence(it) => {
                let theirs = it.theirs.fired.iter().filter_map(|it| it.split_once(": ")).map(|(_, it)| it.to_owned());
                machine.lines = theirs.collect();
                machine.undo().map_err(|err| format!("node {node} cannot undo: {err}"))?;
                self.judge.undone(node);
                *self.coverage.entry("undo".to_owned()).or_default() += 1;
            }
            _ => (),
        }
        machine.stands = Standstill::None;
        self.at(self.now + 100, Event::Start(node));
        if self.plan.dissent == Some(Dissent::Split) && node < self.plan.nodes / 2 {
            // Nobody can go on. After a while these operators come over to the others.
            self.at(self.now + 30_000, Event::ComeOver(node));
        }
        Ok(())
    }

    /// An operator whose line nobody else has stops the node, takes its last block back, if it was obeyed there, and writes the others'.
    fn come_over(&mut self, node: usize) -> Result<(), String> {
        let machine = &mut self.machines[node];
        let theirs: Vec<String> = machine.lines.iter().map(|it| it.replace("pause", "skip")).collect();
        if machine.lines == theirs || matches!(machine.stands, Standstill::Halted(_)) {
            return Ok(());
        }
        machine.crash(&mut self.dice, false);
        if machine.undo_if_obeyed().map_err(|err| format!("node {node} cannot undo: {err}"))? {
            self.judge.undone(node);
            *self.coverage.entry("undo".to_owned()).or_default() += 1;
        }
        machine.lines = theirs;
        machine.stands = Standstill::None;
        self.at(self.now + 100, Event::Start(node));
        Ok(())
    }

    fn submit(&mut self, bomb: bool) -> Result<(), String> {
        let node = self.dice.place(self.plan.nodes);
        self.nonces += 1;
        let method = if bomb { BOOM } else { "report" };
        let input =
            BlockInput::Send { to: "market".to_owned(), method: method.to_owned(), args: vec![json!(self.nonces)] };
        let next = self.judge.height() + 1;
        let last = next + self.dice.below(WINDOW - 10);
        let submission = Submission::new(&self.chain, serde_json::to_vec(&input).unwrap(), self.nonces, last, None);
        let now = self.now;
        if bomb && self.plan.dissent.is_some() && !self.judge.has_fired() {
            self.is_bombed = true;
            // Whoever submitted it tries again until it is in a block.
            self.at(now + 10_000, Event::Submit { bomb });
        }
        self.work(node, |it| it.submit(now, submission))
    }

    // ---- the network

    fn bring(&mut self, from: usize, output: Output) {
        match output {
            Output::Timer(after, number) => {
                let life = self.machines[from].lives;
                // No two clocks go alike.
                let at = self.now + after + after * self.dice.below(20) / 100;
                self.at(at, Event::Timer { node: from, life, number });
            }
            Output::Send(to, message) => {
                for message in self.told(from, message)[to].clone() {
                    self.send(from, to, message);
                }
            }
            Output::Publish(message) => {
                let told = self.told(from, message);
                for (to, messages) in told.into_iter().enumerate().filter(|(to, _)| *to != from) {
                    for message in messages {
                        self.send(from, to, message);
                    }
                }
            }
        }
    }

    /// Returns what each node is told by this one.
    fn told(&mut self, from: usize, message: Message) -> Vec<Vec<Message>> {
        if self.plan.liar != Some(from) {
            return vec![vec![message]; self.plan.nodes];
        }
        let key = self.machines[from].body.key.clone();
        let told = self.liar.tell(&mut self.dice, &self.notary, &key, self.plan.nodes, message);
        if let Some(lie) = self.liar.told.take() {
            self.note(format!("lie {lie:?}"));
        }
        told
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.sides[from] != self.sides[to] {
            return;
        }
        let (loss, slow) = if self.is_calm { (0, 0) } else { (self.plan.loss, self.plan.slow) };
        let is_block = !self.is_calm && matches!(message, Message::Part(Part::Block(..)));
        if self.dice.below(100) < loss || is_block && self.dice.below(100) < self.plan.lost_blocks {
            return;
        }
        let mut delay = 1 + self.dice.below(30);
        if self.dice.below(100) < slow {
            delay += self.dice.below(2_000);
        }
        if self.dice.below(100) < slow {
            let again = self.now + delay + self.dice.below(500);
            self.at(again, Event::Deliver { to, from, message: Box::new(message.clone()) });
        }
        self.at(self.now + delay, Event::Deliver { to, from, message: Box::new(message) });
    }
}

fn genesis(keys: &[SecretKey], state_hash: Digest) -> Genesis {
    let validator =
        |(seat, key): (usize, &SecretKey)| Validator { name: format!("node{seat}"), key: key.public(), power: 1 };
    Genesis {
        chain: "simulation".to_owned(),
        validators: keys.iter().enumerate().map(validator).collect(),
        submitters: Submitters::Everybody,
        exports: BTreeMap::from([("market".to_owned(), "market".to_owned())]),
        open_references: false,
        scenario: String::new(),
        state_hash,
        cranks_per_block: 20,
        fuel_per_block: None,
    }
}
