//! A machine of the simulation: the disk, and the life of the process on it, if it is up.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use vathost::{
    Audit, Host, HostOptions, Scenario,
    directive::DirectiveSet,
    host::staged::StagedHost,
    lab::probe::{Life as BugLife, PlantedBugs},
    model::blame::HostFault,
};

use super::{
    dice::Dice,
    disk::{Crash, DiskStore, Records},
    engine::{Body, Life, Output},
    replica::{Replica, StubState},
};
use crate::{
    driver::{Driver, Halted},
    genesis::Genesis,
};

/// The state of a machine's kernel.
pub(super) enum Kernel {
    Stub(Rc<RefCell<StubState>>),
    /// The folder of a real one.
    Real(PathBuf),
}

/// The bug of the real kernels, which the message [`BOOM`](super::replica::BOOM) wakes.
const BUG: &str = "object.counts@method-boom";

/// The reason why a machine has no process, if it has none.
pub(super) enum Standstill {
    /// The process is up.
    None,
    /// It crashed, and is started again at this time.
    Until(u64),
    Halted(Halted),
}

/// A machine with its operator's file of directives.
pub(super) struct Machine {
    pub(super) body: Body,
    pub(super) genesis: Arc<Genesis>,
    pub(super) records: Rc<RefCell<Records>>,
    pub(super) kernel: Kernel,
    pub(super) lines: Vec<String>,
    pub(super) life: Option<Life>,
    pub(super) lives: u64,
    pub(super) stands: Standstill,
    /// Whether its driver is broken on purpose: it answers before a value is durable.
    pub(super) is_forgetful: bool,
}

pub(super) fn open_kernel(dir: Option<&Path>, lines: &[String]) -> Result<StagedHost, HostFault> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut directives = DirectiveSet::default();
    directives.read("directives", lines.join("\n").as_bytes()).map_err(|err| HostFault::new("read directives", err))?;
    let bugs = [BUG.parse().unwrap()];
    let options = HostOptions {
        state: dir.map(Path::to_owned),
        code_cache: Some(std::env::temp_dir().join("vathost-node-sim-code")),
        audit: Audit::Never,
        experimental: true,
        directives,
        probe: PlantedBugs::probe(&bugs, BugLife::Dear),
        ..HostOptions::default()
    };
    let mut host = Host::open(options)?;
    if host.is_new() {
        let scenario = Scenario::read(&root.join("vats/bank")).unwrap();
        host.install(&scenario).map_err(|halt| HostFault::new("install the bank", halt))?;
    }
    StagedHost::new(host, true).map_err(|err| HostFault::new("stage a host", err))
}

impl Machine {
    fn driver(&self) -> Result<Driver<Replica, DiskStore>, Halted> {
        let fate = self.body.fate.clone();
        let replica = match &self.kernel {
            Kernel::Stub(state) => {
                Replica::Stub { state: state.clone(), lines: self.lines.clone(), fate: fate.clone() }
            }
            Kernel::Real(dir) => {
                Replica::Kernel { host: Box::new(open_kernel(Some(dir), &self.lines)?), fate: fate.clone() }
            }
        };
        let store = DiskStore::open(self.records.clone(), fate, self.is_forgetful);
        Driver::new(replica, store, self.genesis.clone(), self.body.me)
    }

    /// Starts the process, which first executes what its records have.
    pub(super) fn start(&mut self) {
        self.lives += 1;
        self.stands = Standstill::None;
        let begun = || -> Result<Life, Halted> {
            let mut driver = self.driver()?;
            driver.catch_up()?;
            Ok(Life::new(self.body.clone(), driver))
        };
        match survive(begun) {
            Some(Ok(life)) => self.life = Some(life),
            Some(Err(halted)) => self.stands = Standstill::Halted(halted),
            None => self.stands = Standstill::Until(0),
        }
    }

    /// Has the process do something. Returns what it gave out, and whether it crashed.
    pub(super) fn work(&mut self, work: impl FnOnce(&mut Life)) -> (Vec<Output>, bool) {
        let Some(life) = &mut self.life else { return (Vec::new(), false) };
        let is_alive = survive(|| work(life)).is_some();
        let output = std::mem::take(&mut life.output);
        if is_alive && let Some(halted) = life.halted.take() {
            self.life = None;
            self.stands = Standstill::Halted(halted);
        }
        (output, !is_alive)
    }

    /// Ends the process, as `kill -9` does or as a loss of power.
    pub(super) fn crash(&mut self, dice: &mut Dice, power: bool) {
        self.body.fate.spare();
        self.life = None;
        let most = if power { dice.place(20) } else { 0 };
        self.body.log.borrow_mut().lose(most);
        if power {
            self.records.borrow_mut().lose_power();
        }
    }

    /// Takes the last block back, as the command `undo` does on a node that stands still.
    pub(super) fn undo(&mut self) -> Result<(), Halted> {
        self.life = None;
        self.body.fate.spare();
        self.driver()?.undo_last()
    }

    /// Takes the last block back if this operator's line was obeyed in it. Returns whether it was.
    pub(super) fn undo_if_obeyed(&mut self) -> Result<bool, Halted> {
        let mut driver = self.driver()?;
        let is_obeyed = !driver.standing().outcome.fired.is_empty();
        if is_obeyed {
            driver.undo_last()?;
        }
        Ok(is_obeyed)
    }

    /// Returns the height of the last committed block, where the process is up.
    pub(super) fn height(&self) -> Option<u64> {
        self.life.as_ref().map(|it| it.driver.standing().height)
    }

    pub(super) fn describe(&self) -> String {
        match (&self.stands, &self.life) {
            (Standstill::Halted(halted), _) => format!("halted ({}): {halted}", halted.kind()),
            (Standstill::Until(until), _) => format!("crashed, until {until}"),
            (Standstill::None, Some(life)) => life.describe(),
            (Standstill::None, None) => "down".to_owned(),
        }
    }
}

/// Returns what a process comes to, unless it crashes.
fn survive<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(it) => Some(it),
        Err(payload) if payload.is::<Crash>() => None,
        Err(payload) => resume_unwind(payload),
    }
}
