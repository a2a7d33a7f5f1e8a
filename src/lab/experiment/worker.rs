//! The inside of an experiment's process.

use std::{
    io::{BufRead, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use serde::Serialize;

use crate::{
    host::controller::{Host, HostOptions},
    kernel::Halt,
    lab::Schedule,
    lab::experiment::{
        Build, Experiments, Patience, Until,
        disk::{DiskFaults, Says},
        protocol::{Ask, Event, Hello, Reply},
    },
    lab::probe::{Injector, Life, PlantedBugs, Probes},
    model::blame::{Fault, HostFault},
    state::block::{Block, sweep_digest},
    store::StateFiles,
};

fn say(out: &mut impl Write, line: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Serves experiments on one base, in memory, until there are no more. `dress` gives it what a campaign adds.
pub fn serve(
    mut input: impl BufRead,
    mut out: impl Write,
    dress: &dyn Fn(&Hello, &mut Experiments) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let hello: Hello = serde_json::from_str(&line).context("the first line is no greeting")?;
    let prepare = || {
        // Who started this process has recorded the same run, and waits for it as long as it likes.
        let (base, build, patience) = (hello.base(), Build(hello.build), Patience::ENDLESS);
        let mut experiments =
            Experiments::prepare_within(&base, build, hello.until, hello.limits, patience, &mut |_| ())?;
        experiments.set_replicas(hello.replicas);
        experiments.set_audit(hello.audit_every);
        experiments.set_campaign(hello.named.clone());
        experiments.set_expendable();
        dress(&hello, &mut experiments)?;
        Ok::<_, anyhow::Error>(experiments)
    };
    let mut experiments = match prepare() {
        Ok(it) => it,
        Err(err) => return say(&mut out, &Reply::Refused(format!("{err:#}"))),
    };
    say(&mut out, &Reply::Ready)?;
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let ask: Ask = serde_json::from_str(&line).context("a line that is no experiment")?;
        let outcome = experiments.run(&ask.faults, ask.seed);
        say(&mut out, &Reply::Outcome(Box::new(outcome)))?;
    }
}

/// The two ways between this process and the one that started it. Shared with the disk.
struct Wire<I, O> {
    input: I,
    out: O,
}

/// A handle on it.
struct Shared<I, O>(Arc<Mutex<Wire<I, O>>>);

impl<I, O> Clone for Shared<I, O> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<I: BufRead, O: Write> Shared<I, O> {
    fn hear<T: serde::de::DeserializeOwned>(&self, what: &str) -> anyhow::Result<T> {
        let mut line = String::new();
        let mut wire = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wire.input.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("{what} is missing"))
    }

    fn say(&self, event: &Event) -> anyhow::Result<()> {
        say(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).out, event)
    }
}

impl<I: BufRead + Send, O: Write + Send> Says for Shared<I, O> {
    fn failed(&self, fault: usize) {
        // Where nobody hears it, nobody waits for how this ends.
        let _ = self.say(&Event::Failed { fault });
    }

    fn here(&self, fault: usize, crank: Option<u64>) {
        if self.say(&Event::Here { fault, crank }).is_ok() {
            let mut wire = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Nothing ever comes: the other side kills this process, or is gone.
            let _ = wire.input.read_line(&mut String::new());
        }
    }
}

/// Runs the state in this folder on, with a disk that fails as the schedule says, and tells what happens.
pub fn run_on_disk(
    dir: &Path,
    input: impl BufRead + Send + 'static,
    out: impl Write + Send + 'static,
) -> anyhow::Result<()> {
    let wire = Shared(Arc::new(Mutex::new(Wire { input, out })));
    let hello: Hello = wire.hear("the greeting")?;
    let ask: Ask = wire.hear("the experiment")?;
    let stopped = |fault: &Fault| Event::Stopped { host: matches!(fault, Fault::Host(_)), why: fault.to_string() };
    let faults = DiskFaults::of(&ask.faults, ask.seed, wire.clone());
    let mut controller = match open(dir, &hello, faults.as_ref()) {
        Ok(it) => it,
        Err(fault) => return wire.say(&stopped(&fault.into())),
    };
    wire.say(&opened(controller.block_mut()?)?)?;
    let block = controller.block_mut()?;
    block.set_experimental();
    let bugs = Arc::new(PlantedBugs::new(Vec::new(), Life::Expendable));
    Probes::inject(block, Arc::new(Injector::new(ask.faults.clone(), ask.seed, Default::default(), bugs)))?;
    let event = match run(&mut controller, &hello, faults.as_ref(), &wire) {
        Ok(()) => Event::End { state_hash: controller.block()?.committed_hash().to_string() },
        Err(halt) => match killed(&halt, &ask.faults) {
            Some((fault, crank)) => {
                wire.here(fault, Some(crank));
                return Ok(());
            }
            None => stopped(&halt.fault),
        },
    };
    wire.say(&event)
}

fn open(dir: &Path, hello: &Hello, faults: Option<&DiskFaults>) -> Result<Host, HostFault> {
    let code_cache = hello.code_cache.clone();
    let files = faults.map(|it| Arc::new(it.disk()) as Arc<dyn StateFiles>);
    Host::open(HostOptions {
        state: Some(dir.to_owned()),
        code_cache,
        snapshot_interval: Some(0),
        files,
        ..HostOptions::default()
    })
}

fn opened(block: &mut Block) -> Result<Event, HostFault> {
    let sound = sweep_digest(block)? == block.meta().digest;
    let height = block.tables().globals().height.0;
    Ok(Event::Opened { height, state_hash: block.meta().state_hash.to_string(), sound })
}

fn run(
    controller: &mut Host,
    hello: &Hello,
    faults: Option<&DiskFaults>,
    wire: &Shared<impl BufRead + Send, impl Write + Send>,
) -> Result<(), Box<Halt>> {
    let policy = hello.base().policy;
    let mut cranks = controller.block()?.tables().globals().next_crank.0.saturating_sub(hello.start);
    let max = match hello.until {
        Until::Cranks(cranks) => cranks,
        _ => u64::MAX,
    };
    while !controller.is_quiescent()? && cranks < max {
        if let Some(faults) = faults {
            faults.enter(controller.block()?);
        }
        let end = controller.run_block(&policy, &mut |_| {
            cranks += 1;
            cranks < max
        })?;
        let committed = Event::Committed { height: end.height.0 };
        wire.say(&committed).map_err(|err| HostFault::new("talk to the experiment", err))?;
        if let Some(faults) = faults {
            faults.leave(end.height, wire).map_err(|err| HostFault::new("lose what is not synced", err))?;
        }
    }
    Ok(())
}

/// The fault and the crank of a halt which is that of a process to be killed in a crank.
fn killed(halt: &Halt, schedule: &Schedule) -> Option<(usize, u64)> {
    let Fault::Halted(halted) = &halt.fault else { return None };
    let fault = schedule.faults().position(|it| it.to_string() == halted.line)?;
    Some((fault, halted.crank.0))
}
