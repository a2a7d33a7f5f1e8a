//! Runs experiments in the isolation that they need.
//!
//! | isolation | an experiment runs | for |
//! | --- | --- | --- |
//! | `rollback` | in this process, and is rolled back | all that happens in cranks |
//! | `fork` | in one of the children that serve many, and are replaced when they crash, hang, or run out of memory | the same, where the host itself may break |
//! | `process` | in a child of its own | the same |
//! | (disk) | in a child of its own, on a copy of the state on disk, and again in another after the fault | faults of the process and the store, whatever was asked for |
//!
//! The outcome is the same in each. (A child is started, not forked from this process: what has threads cannot be forked safely.)
//!
//! What the faults of the store are: see `disk`. Whatever they are, a block of which the process said that it is committed must be
//! there afterwards, and no more than the one after it: else the outcome is DURABILITY. `kill -9` is a real one.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    directive::plant::HALF_COMMIT,
    directive::{Action, Directive, Disturbance, Spot, Trigger},
    host::{
        controller::{Host, HostOptions},
        scenario::Scenario,
    },
    lab::Schedule,
    lab::experiment::{
        Base, Experiments,
        child::{Process, Program, Silence},
        outcome::{Class, Done, Outcome},
        protocol::{Ask, Event, Hello, Reply},
    },
    model::{blame::HostFault, id::BlockHeight},
    store::Database,
};

/// The place in which an experiment runs; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the table above says what each is")]
pub enum Isolation {
    #[default]
    Rollback,
    Fork,
    Process,
}

impl FromStr for Isolation {
    type Err = String;
    fn from_str(text: &str) -> Result<Isolation, String> {
        match text {
            "rollback" => Ok(Isolation::Rollback),
            "fork" => Ok(Isolation::Fork),
            "process" => Ok(Isolation::Process),
            other => Err(format!("`{other}` is no isolation: rollback, fork or process")),
        }
    }
}

/// A child may take this long to be ready, and so many times what the golden run took here: many start at once on a busy machine.
const READY_WALL_MIN: Duration = Duration::from_secs(60);
const READY_TIMES: u32 = 20;

/// The file that marks the folder of an experiment's state: it holds the experiment's token.
pub const MARKER: &str = "experiment";

/// Returns whether the state in this folder is an experiment's.
pub fn is_marked(dir: &Path) -> bool {
    dir.join(MARKER).exists()
}

/// Runs experiments on one base.
#[derive(Debug)]
pub struct Runner {
    experiments: Experiments,
    isolation: Isolation,
    program: Program,
    hello: Hello,
    worker: Option<Process>,
    /// The base on disk, once it was needed.
    template: Option<TempDir>,
}

impl Runner {
    /// Makes a runner of these experiments; `hello` greets the children, and must be of the same base.
    pub fn new(experiments: Experiments, isolation: Isolation, program: Program, mut hello: Hello) -> Runner {
        hello.start = experiments.golden().start.0;
        Runner { experiments, isolation, program, hello, worker: None, template: None }
    }

    /// The experiments, and their golden run.
    pub fn experiments(&self) -> &Experiments {
        &self.experiments
    }

    /// The isolation that a schedule is run in.
    pub fn isolation_of(&self, schedule: &Schedule) -> Isolation {
        match self.isolation {
            Isolation::Rollback if Experiments::ends_process(schedule) => Isolation::Fork,
            isolation => isolation,
        }
    }

    /// Runs one experiment where it can run.
    pub fn run(&mut self, schedule: &Schedule, seed: u64) -> Outcome {
        if Experiments::needs_process(schedule) {
            return self.on_disk(schedule, seed).unwrap_or_else(|failure| self.failed(schedule, seed, failure));
        }
        match self.isolation_of(schedule) {
            Isolation::Rollback => self.experiments.run(schedule, seed),
            Isolation::Fork => self.in_child(schedule, seed),
            Isolation::Process => {
                self.worker = None;
                let outcome = self.in_child(schedule, seed);
                self.worker = None;
                outcome
            }
        }
    }

    /// Runs one in the child that serves many.
    fn in_child(&mut self, schedule: &Schedule, seed: u64) -> Outcome {
        let ask = Ask { faults: schedule.clone(), seed };
        match self.ask(&ask) {
            Ok(outcome) => outcome,
            Err(silence) => {
                self.worker = None;
                self.failed(schedule, seed, silence.into())
            }
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<Outcome, Silence> {
        if self.worker.is_none() {
            let mut worker = Process::start(&self.program, &["fault", "worker"].map(OsStr::new))?;
            worker.say(&self.hello).map_err(unready)?;
            match worker.hear_within::<Reply>(self.ready_max()).map_err(unready)? {
                Reply::Ready => self.worker = Some(worker),
                Reply::Refused(why) => return Err(Silence::Broken(why)),
                Reply::Outcome(_) => return Err(Silence::Broken("an answer before the question".to_owned())),
            }
        }
        let Some(worker) = &mut self.worker else { return Err(Silence::Broken("no worker".to_owned())) };
        worker.say(ask)?;
        match worker.hear::<Reply>()? {
            Reply::Outcome(outcome) => Ok(*outcome),
            other => Err(Silence::Broken(format!("{other:?} instead of an outcome"))),
        }
    }

    /// How long a child may take to be ready: it records the golden run, and asks every invariant of it.
    fn ready_max(&self) -> Duration {
        READY_WALL_MIN.max(self.program.wall) + self.experiments.golden().took.saturating_mul(READY_TIMES)
    }

    fn failed(&self, schedule: &Schedule, seed: u64, failure: Failure) -> Outcome {
        let mut outcome = self.experiments.bare(schedule, seed, failure.class, failure.detail);
        outcome.done = failure.done.into_iter().collect();
        outcome
    }

    // ---- on disk

    /// Lays the base down in a new folder.
    fn lay_down(&mut self, token: &str) -> anyhow::Result<TempDir> {
        let base = self.experiments.base();
        if self.template.is_none() {
            let dir = tempfile::tempdir()?;
            copy_base(base, dir.path())?;
            self.template = Some(dir);
        }
        let dir = tempfile::tempdir()?;
        if let Some(template) = &self.template {
            fs::copy(database(template.path(), ""), database(dir.path(), ""))?;
        }
        fs::write(dir.path().join(MARKER), token)?;
        Ok(dir)
    }

    fn start_on(&self, dir: &Path, ask: &Ask) -> Result<(Process, Event), Silence> {
        let args = [OsStr::new("fault"), OsStr::new("worker"), OsStr::new("--disk"), dir.as_os_str()];
        let mut process = Process::start(&self.program, &args)?;
        process.say(&self.hello).map_err(unready)?;
        process.say(ask).map_err(unready)?;
        let opened = process.hear()?;
        Ok((process, opened))
    }

    /// Runs one whose faults end the process or are about its disk: up to the fault, and then on from what is left.
    fn on_disk(&mut self, schedule: &Schedule, seed: u64) -> Result<Outcome, Failure> {
        let other = |it: &&Directive| match &it.action {
            Action::Disturb(Disturbance::Plant(_)) => false,
            Action::Disturb(disturbance) => !disturbance.needs_process(),
            _ => true,
        };
        if let Some(other) = schedule.faults().find(other) {
            let why = format!("`{other}` cannot be tried together with a fault of the process or the store");
            return Err(Failure::new(Class::Harness, why));
        }
        let token = self.experiments.token(schedule, seed).to_string();
        let dir = self.lay_down(&token).map_err(|err| Failure::new(Class::Harness, format!("{err:#}")))?;
        let ask = Ask { faults: schedule.clone(), seed };
        let Some(hit) = self.first_life(dir.path(), &ask)? else {
            return Ok(self.experiments.bare(schedule, seed, Class::NotReached, None));
        };
        let blank = Ask { faults: Schedule::default(), seed };
        let height = self.second_life(dir.path(), &blank, &hit).map_err(|it| it.with(&hit))?;
        // What is committed is all there is; the rest of the block runs again.
        let kept = hit.height.is_some_and(|it| it <= height);
        let (class, how) = if kept { (Class::Masked, "with") } else { (Class::Recovered, "without") };
        let fault = schedule.faults().nth(hit.fault).map(ToString::to_string).unwrap_or_default();
        let detail = format!(
            "after `{fault}` the state was at {height}, {how} the disturbed block, and went on to the golden run's end"
        );
        let mut outcome = self.experiments.bare(schedule, seed, class, Some(detail));
        outcome.done = vec![hit.done()];
        Ok(outcome)
    }

    /// Until the fault. `None` where it never came.
    fn first_life(&self, dir: &Path, ask: &Ask) -> Result<Option<Hit>, Failure> {
        let (mut process, opened) = self.start_on(dir, ask)?;
        let mut told = match opened {
            Event::Opened { height, .. } => BlockHeight(height),
            Event::Stopped { why, .. } => return Err(Failure::new(Class::Harness, why)),
            other => return Err(Failure::new(Class::Harness, format!("{other:?} at the start"))),
        };
        let mut failed = None;
        let is_half = |it: &Directive| matches!(it.action, Action::Disturb(Disturbance::Plant(HALF_COMMIT)));
        let half = ask.faults.faults().position(is_half);
        loop {
            let event = match process.hear::<Event>() {
                // It ends by itself, where it is planted to.
                Err(Silence::Ended(..)) if half.is_some() => {
                    return Ok(half.map(|fault| Hit { told, ..Hit::of(ask, fault, None) }));
                }
                heard => heard?,
            };
            match event {
                Event::Committed { height } => told = BlockHeight(height),
                Event::Failed { fault } => failed = Some(Hit::of(ask, fault, None)),
                Event::Here { fault, crank } => {
                    process.kill();
                    return Ok(Some(Hit { told, ..Hit::of(ask, fault, crank) }));
                }
                Event::Stopped { host, why } => {
                    return match failed {
                        Some(hit) if host => Ok(Some(Hit { told, ..hit })),
                        Some(hit) => {
                            let why = format!("a failing disk was blamed on something else: {why}");
                            Err(Failure::new(Class::Durability, why).with(&hit))
                        }
                        None if host => Err(Failure::new(Class::Harness, why)),
                        None => Err(Failure::new(Class::KernelPanic, why)),
                    };
                }
                // What failed was not needed; all that was told must be there.
                Event::End { .. } => return Ok(failed.map(|hit| Hit { told, ..hit })),
                Event::Opened { .. } => (),
            }
        }
    }

    /// From what is left to the end: the height at which the state was found.
    fn second_life(&self, dir: &Path, ask: &Ask, hit: &Hit) -> Result<BlockHeight, Failure> {
        let lost = |why: String| Failure::new(Class::Durability, why);
        let golden = self.experiments.golden();
        let (mut process, opened) = self.start_on(dir, ask)?;
        let height = match opened {
            Event::Opened { height, state_hash, sound } => {
                let height = BlockHeight(height);
                if !sound {
                    return Err(lost(format!("at {height} the rows are not those of its digest")));
                }
                if golden.hash_at(height).map(|it| it.to_string()) != Some(state_hash) {
                    return Err(lost(format!("at {height} the state is no committed block's")));
                }
                height
            }
            Event::Stopped { why, .. } => return Err(lost(format!("the state does not open: {why}"))),
            other => return Err(Failure::new(Class::Harness, format!("{other:?} at the start"))),
        };
        if height != hit.told && height != hit.told.next() {
            return Err(lost(format!("the state is at {height} after a commit of {} that returned", hit.told)));
        }
        let mut event = process.hear::<Event>()?;
        while matches!(event, Event::Committed { .. }) {
            event = process.hear()?;
        }
        match event {
            Event::End { state_hash } if state_hash == golden.state_hash().to_string() => Ok(height),
            Event::End { state_hash } => Err(lost(format!("from {height} it went on to another end, {state_hash}"))),
            Event::Stopped { why, .. } => Err(lost(format!("from {height} it could not go on: {why}"))),
            other => Err(Failure::new(Class::Harness, format!("{other:?} at the end"))),
        }
    }
}

/// A fault that came.
#[derive(Clone, Debug)]
struct Hit {
    fault: usize,
    crank: Option<u64>,
    /// The block in whose commit it came, if in one.
    height: Option<BlockHeight>,
    /// The last block that the process said is committed.
    told: BlockHeight,
}

impl Hit {
    fn of(ask: &Ask, fault: usize, crank: Option<u64>) -> Hit {
        let trigger = ask.faults.faults().nth(fault).map(|it| it.trigger);
        let height = match trigger {
            Some(Trigger::Spot(Spot::Commit(height) | Spot::StoreOp(height, _))) => Some(height),
            _ => None,
        };
        Hit { fault, crank, height, told: BlockHeight(0) }
    }

    fn done(&self) -> Done {
        Done { fault: self.fault, crank: self.crank, times: 1, why_not: None }
    }
}

/// An outcome that needs no judge.
#[derive(Clone, Debug)]
struct Failure {
    class: Class,
    detail: Option<String>,
    done: Option<Done>,
}

impl Failure {
    fn new(class: Class, why: impl Into<String>) -> Failure {
        Failure { class, detail: Some(why.into()), done: None }
    }

    fn with(mut self, hit: &Hit) -> Failure {
        self.done = Some(hit.done());
        self
    }
}

impl From<Silence> for Failure {
    fn from(silence: Silence) -> Failure {
        match silence {
            Silence::Hung => Failure::new(Class::HostHang, "no answer in its time"),
            Silence::Ended(_, words) if words.contains("memory allocation of") => {
                Failure::new(Class::Harness, "the process ran out of memory")
            }
            Silence::Ended(how, _) => Failure::new(Class::HostCrash, format!("the process {how}")),
            Silence::Broken(why) => Failure::new(Class::Harness, why),
        }
    }
}

/// A process that did not even greet is the harness's failure, whatever it died of.
fn unready(silence: Silence) -> Silence {
    match silence {
        Silence::Ended(how, words) => Silence::Broken(format!(
            "the process {how} before its first experiment: {}",
            words.lines().last().unwrap_or_default()
        )),
        Silence::Hung => Silence::Broken("the process was not ready for its first experiment in time".to_owned()),
        other => other,
    }
}

/// A file of the database in a folder: itself, or `-wal`, `-shm`.
fn database(dir: &Path, suffix: &str) -> PathBuf {
    dir.join(format!("state.sqlite{suffix}"))
}

/// Lays a base down as a state in this folder.
pub fn copy_base(base: &Base, dir: &Path) -> anyhow::Result<()> {
    if Database::exists(&base.path) {
        return Ok(Database::copy(&base.path, &database(dir, ""))?);
    }
    let scenario = Scenario::read(&base.path)?;
    let state = Some(dir.to_owned());
    let mut controller = Host::open(HostOptions { state, experimental: true, ..HostOptions::default() })?;
    controller.install(&scenario).map_err(|it| *it)?;
    drop(controller);
    if database(dir, "-wal").exists() {
        return Err(HostFault::new("lay a base down", "its log is not closed").into());
    }
    Ok(())
}
