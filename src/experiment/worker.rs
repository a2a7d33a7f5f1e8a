//! The inside of an experiment's process.

use std::{
    cell::Cell,
    io::{BufRead, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use serde::Serialize;

use crate::{
    block::Block,
    controller::{Controller, Open},
    directive::{Action, Disturbance, Schedule, Spot, Trigger},
    experiment::{
        Build, Experiments,
        protocol::{Ask, Event, Hello, Reply},
    },
    fault::{Fault, HostFault},
    id::BlockHeight,
    injector::Injector,
    kernel::Halt,
    store::{Gate, Op},
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
        let mut experiments = Experiments::prepare(&hello.base(), Build(hello.build), hello.until, hello.limits)?;
        experiments.set_replicas(hello.replicas);
        experiments.set_audit(hello.audit_every);
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

/// The two ways between this process and the one that started it. Shared with the gate of the store.
struct Wire<I, O> {
    input: I,
    out: O,
}

impl<I: BufRead, O: Write> Wire<I, O> {
    /// Says something, and waits for a line. Where the other side is gone there is nothing to do any more.
    fn wait(&mut self, event: &Event) -> anyhow::Result<()> {
        say(&mut self.out, event)?;
        let mut line = String::new();
        match self.input.read_line(&mut line)? {
            0 => anyhow::bail!("the process that started this one is gone"),
            _ => Ok(()),
        }
    }
}

type Shared<I, O> = Arc<Mutex<Wire<I, O>>>;

fn with<I, O, T>(wire: &Shared<I, O>, act: impl FnOnce(&mut Wire<I, O>) -> T) -> T {
    act(&mut wire.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs the state in this folder on, with a disk that fails as the schedule says, and tells what happens.
pub fn run_on_disk(
    dir: &Path,
    input: impl BufRead + Send + 'static,
    out: impl Write + Send + 'static,
) -> anyhow::Result<()> {
    let wire = Arc::new(Mutex::new(Wire { input, out }));
    let mut line = String::new();
    with(&wire, |it| it.input.read_line(&mut line))?;
    let hello: Hello = serde_json::from_str(&line).context("the first line is no greeting")?;
    line.clear();
    with(&wire, |it| it.input.read_line(&mut line))?;
    let ask: Ask = serde_json::from_str(&line).context("the second line is no experiment")?;
    let stopped = |fault: &Fault| Event::Stopped { host: matches!(fault, Fault::Host(_)), why: fault.to_string() };
    let mut controller = match open(dir, &hello) {
        Ok(it) => it,
        Err(fault) => return with(&wire, |it| say(&mut it.out, &stopped(&fault.into()))),
    };
    let opened = opened(controller.block_mut()?)?;
    with(&wire, |it| say(&mut it.out, &opened))?;
    let block = controller.block_mut()?;
    let globals = block.tables().globals();
    let height = if block.meta().open { globals.height } else { globals.height.next() };
    block.set_experimental();
    block.set_gate(gate(&ask.faults, height, wire.clone()));
    block.set_injector(Some(Box::new(Injector::new(ask.faults.clone(), ask.seed, Default::default()))));
    let event = match run(&mut controller, &hello) {
        Ok(()) => Event::End { state_hash: controller.block()?.state_hash().to_string() },
        Err(halt) => match killed(&halt, &ask.faults) {
            Some(here) => return with(&wire, |it| it.wait(&here)),
            None => stopped(&halt.fault),
        },
    };
    with(&wire, |it| say(&mut it.out, &event))
}

fn open(dir: &Path, hello: &Hello) -> Result<Controller, HostFault> {
    let code_cache = hello.code_cache.clone();
    Controller::open(Open { state: Some(dir.to_owned()), code_cache, snapshot_interval: Some(0), ..Open::default() })
}

fn opened(block: &mut Block) -> Result<Event, HostFault> {
    let sound = block.sweep_digest()? == block.meta().digest;
    let height = block.tables().globals().height.0;
    Ok(Event::Opened { height, state_hash: block.meta().state_hash.to_string(), sound })
}

fn run(controller: &mut Controller, hello: &Hello) -> Result<(), Box<Halt>> {
    let policy = hello.base().policy;
    let mut cranks = controller.block()?.tables().globals().next_crank.0.saturating_sub(hello.start);
    let max = match hello.until {
        crate::experiment::Until::Cranks(cranks) => cranks,
        _ => u64::MAX,
    };
    while !controller.is_quiescent()? && cranks < max {
        controller.run_block(&policy, &mut |_| {
            cranks += 1;
            cranks < max
        })?;
    }
    Ok(())
}

/// Whether a halt is that of a process which is to be killed in a crank.
fn killed(halt: &Halt, schedule: &Schedule) -> Option<Event> {
    let Fault::Halted(halted) = &halt.fault else { return None };
    let fault = schedule.faults().position(|it| it.to_string() == halted.line)?;
    Some(Event::Here { fault, crank: Some(halted.crank.0) })
}

/// What stands before the disk: the schedule's faults of commits and statements.
fn gate<I: BufRead + Send + 'static, O: Write + Send + 'static>(
    schedule: &Schedule,
    first: BlockHeight,
    wire: Shared<I, O>,
) -> Option<Gate> {
    let in_store = |(at, fault): (usize, &crate::directive::Directive)| match (fault.trigger, &fault.action) {
        (Trigger::Spot(spot), Action::Disturb(disturbance)) if spot.is_in_store() => {
            Some((at, spot, disturbance.clone()))
        }
        _ => None,
    };
    let faults: Vec<(usize, Spot, Disturbance)> = schedule.faults().enumerate().filter_map(in_store).collect();
    if faults.is_empty() {
        return None;
    }
    let height = Cell::new(first);
    Some(Box::new(move |op| {
        let now = height.get();
        if op == Op::Committed {
            height.set(now.next());
        }
        for (fault, spot, disturbance) in &faults {
            let power = matches!(disturbance, Disturbance::LoseUnsynced | Disturbance::Tear { .. });
            let here = match (spot, op) {
                (Spot::Commit(at), Op::Commit) => *at == now,
                (Spot::Commit(at), Op::Committed) => *at == now && power,
                (Spot::StoreOp(at, number), Op::Statement(it)) => *at == now && *number == it,
                _ => false,
            };
            if here {
                with(&wire, |wire| disturb(wire, *fault, disturbance, op))?;
            }
        }
        Ok(())
    }))
}

fn disturb<I: BufRead, O: Write>(
    wire: &mut Wire<I, O>,
    fault: usize,
    disturbance: &Disturbance,
    op: Op,
) -> Result<(), HostFault> {
    let lost = |err: anyhow::Error| HostFault::new("talk to the experiment", err);
    let fails = |wire: &mut Wire<I, O>, why: &str| {
        say(&mut wire.out, &Event::Failed { fault }).map_err(lost)?;
        Err(HostFault::new("write to the disk", why))
    };
    match disturbance {
        Disturbance::Eio => fails(wire, "Input/output error (injected)"),
        Disturbance::Enospc => fails(wire, "No space left on device (injected)"),
        Disturbance::LoseUnsynced | Disturbance::Tear { .. } if op == Op::Commit => {
            wire.wait(&Event::Before).map_err(lost)
        }
        _ => wire.wait(&Event::Here { fault, crank: None }).map_err(lost),
    }
}
