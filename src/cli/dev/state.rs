//! The state of `dev`: begun anew, or upgraded to the code and scenario that were built.

use std::{collections::BTreeSet, sync::atomic::AtomicU8};

use crate::{
    cli::{
        Output,
        changed::Changed,
        console,
        dev::{DevArgs, kept::Before, stop::Stop, watch::SourceWatch},
        output::{counted, harmless},
        run::{self, Begun, RunArgs},
    },
    host::{
        controller::{Host, Outcome, Sent, expired},
        scenario::Scenario,
    },
    inspect::view::said::said,
    kernel::Halt,
    model::id::{PromiseId, VatId},
    state::table::Tables,
    store::Database,
};

/// The vats that run between two builds.
pub(super) struct Dev<'a> {
    args: &'a DevArgs,
    run_args: RunArgs,
    stop: &'a Stop,
    output: &'a Output,
    running: Option<Running>,
    /// The scenario as it was run last.
    scenario: Option<Scenario>,
}

/// A state that is open.
struct Running {
    begun: Begun,
    told: Told,
}

/// The results and vats of a state that were printed already.
#[derive(Default)]
struct Told {
    /// The messages from outside whose results were printed.
    results: BTreeSet<PromiseId>,
    vats: BTreeSet<String>,
}

impl<'a> Dev<'a> {
    pub(super) fn new(args: &'a DevArgs, stop: &'a Stop, output: &'a Output) -> Dev<'a> {
        let run_args = RunArgs::of_policy(args.state.as_deref(), &args.policy);
        Dev { args, run_args, stop, output, running: None, scenario: None }
    }

    /// Returns whether there is a state already.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Says where the state is, at the end of the command.
    pub(super) fn end(&self, output: &Output) {
        match &self.args.state {
            Some(dir) => output.note(format!("ended; the state stays in `{}`", dir.display())),
            None => output.note("ended; the state was in memory, and nothing is left of it"),
        }
    }

    /// Runs this scenario, in the state that exists if that can be upgraded to it.
    pub(super) fn turn(&mut self, scenario: Scenario, watch: &mut SourceWatch) -> anyhow::Result<()> {
        let paths = &scenario.mailbox;
        watch.leave_out([&paths.inbound, &paths.outbound].into_iter().flatten());
        self.turn_to(&scenario, watch)?;
        self.scenario = Some(scenario);
        Ok(())
    }

    fn turn_to(&mut self, scenario: &Scenario, watch: &mut SourceWatch) -> anyhow::Result<()> {
        if self.args.fresh && self.running.take().is_some() {
            self.output.note("a new state (--fresh)");
        }
        let Some(running) = &self.running else { return self.begin(scenario, watch) };
        let tables = running.begun.controller.block()?.tables();
        let Some(why) = obstacle(tables, self.scenario.as_ref(), scenario) else {
            return self.upgrade(scenario, watch);
        };
        match &self.args.state {
            Some(dir) => {
                let dir = dir.display();
                self.output.note(format!("the state in `{dir}` stays as it is: {why}. A new folder begins anew"));
                Ok(())
            }
            None => {
                self.running = None;
                self.output.note(format!("a new state, since no upgrade does it: {why}"));
                self.begin(scenario, watch)
            }
        }
    }

    /// Begins with a new state, or continues with the one in the folder.
    fn begin(&mut self, scenario: &Scenario, watch: &mut SourceWatch) -> anyhow::Result<()> {
        let exists = self.args.state.as_deref().is_some_and(Database::exists);
        let mut begun = run::begin(&self.run_args, Some(scenario).filter(|_| !exists), self.output)?;
        run::open_mailbox(&self.run_args, Some(scenario), &mut begun.controller, self.output)?;
        self.stop.set_run(begun.controller.interrupter());
        let is_new = begun.controller.is_new();
        let running = self.running.insert(Running { begun, told: Told::default() });
        if !is_new {
            let height = running.begun.controller.standing().height;
            self.output.note(format!("the state that exists, at height {height}"));
            running.told.learn(&running.begun.controller)?;
            let tables = running.begun.controller.block()?.tables();
            let Some(why) = obstacle(tables, None, scenario) else {
                return self.upgrade(scenario, watch);
            };
            self.output.note(format!("it stays as it is: {why}. A new folder begins anew"));
            return Ok(());
        }
        let vats: Vec<_> = scenario.vats.iter().map(|it| &*it.name).collect();
        self.output.note(format!("a new state: {}", vats.join(", ")));
        match running.begun.controller.install(scenario) {
            Ok(()) => self.run(watch, &|_| false),
            Err(halt) => Err(self.halted(*halt)),
        }
    }

    /// Brings the state to this scenario, and sends its messages again.
    fn upgrade(&mut self, scenario: &Scenario, watch: &mut SourceWatch) -> anyhow::Result<()> {
        let Some(Running { begun: Begun { controller, policy, .. }, told, .. }) = &mut self.running else {
            return Ok(());
        };
        if controller.block()?.meta().scenario == scenario.digest() {
            self.output.note("the vats and their scenario are as they were: nothing is upgraded");
            return self.run(watch, &|_| false);
        }
        let tables = controller.block()?.tables();
        let before = |(vat, _): &(VatId, _)| (*vat, Before::of(tables, *vat));
        let before: Vec<_> = Changed::of(tables, scenario).other_code.iter().map(before).collect();
        let queued = match controller.upgrade(scenario, policy) {
            Ok(queued) => queued,
            Err(halt) => return Err(self.halted(*halt)),
        };
        // They are printed by themselves, and not among the results of messages.
        told.results.extend(queued.iter().map(|(_, sent)| sent.promise()));
        let settled = |host: &Host| {
            let is_open = |it: &(VatId, Sent)| matches!(host.outcome(it.1), Ok(Outcome::Pending));
            !queued.iter().any(is_open)
        };
        self.run(watch, &settled)?;
        if !self.tell_upgrades(&queued, &before)? || self.stop.is_asked() {
            return Ok(());
        }
        if let Err(halt) = self.add_and_send(scenario)? {
            return Err(self.halted(*halt));
        }
        self.run(watch, &|_| false)
    }

    /// Prints how each upgrade went. Returns whether all succeeded.
    fn tell_upgrades(&mut self, queued: &[(VatId, Sent)], before: &[(VatId, Before)]) -> anyhow::Result<bool> {
        let Some(Running { begun: Begun { controller, .. }, .. }) = &self.running else { return Ok(false) };
        let mut all_well = true;
        for (vat, sent) in queued {
            let outcome = controller.outcome(*sent)?;
            let tables = controller.block()?.tables();
            let Some(row) = tables.vats.get(vat) else { continue };
            let (name, incarnation) = (harmless(&row.name), row.incarnation);
            let kept = before.iter().find(|(it, _)| it == vat).map(|(_, it)| it.told(tables, *vat)).unwrap_or_default();
            all_well &= matches!(outcome, Outcome::Fulfilled(_));
            self.output.note(match &outcome {
                Outcome::Fulfilled(_) => format!("{name} ({vat}) is upgraded, incarnation {incarnation}: {kept}"),
                Outcome::Rejected(data) => {
                    let why = harmless(&said(&String::from_utf8_lossy(&data.body), &data.slots));
                    format!("{name} ({vat}) is not upgraded, and goes on with the code that it had: {why}")
                }
                Outcome::Pending => format!("{name} ({vat}) is not upgraded yet: other work goes first"),
                Outcome::Expired(blocks) => {
                    format!("{name} ({vat}) has incarnation {incarnation}: {}", expired(*blocks))
                }
            });
        }
        Ok(all_well)
    }

    /// Adds the vats that are new, and sends the scenario's messages to the others again.
    fn add_and_send(&mut self, scenario: &Scenario) -> anyhow::Result<Result<(), Box<Halt>>> {
        let Some(Running { begun: Begun { controller, policy, .. }, .. }) = &mut self.running else {
            return Ok(Ok(()));
        };
        let added = match controller.add(scenario, policy) {
            Ok(added) => added,
            Err(halt) => return Ok(Err(halt)),
        };
        if !added.is_empty() {
            self.output.note(format!("added {}", added.join(", ")));
        }
        let mut sent = 0;
        for send in scenario.sends.iter().filter(|it| !added.contains(&it.to)) {
            match controller.send_of(scenario, send) {
                Ok(_) => sent += 1,
                Err(err) => self.output.note(format!("{}.{}: {err}", harmless(&send.to), harmless(&send.method))),
            }
        }
        if sent > 0 {
            self.output.note(format!("sent {} of the scenario again", counted(sent, "message", "messages")));
        }
        Ok(Ok(()))
    }

    /// Runs until nothing is left to do, `done` holds, a source changes, or ^C; prints results and vats' ends as they come.
    fn run(&mut self, watch: &mut SourceWatch, done: &dyn Fn(&Host) -> bool) -> anyhow::Result<()> {
        match self.run_blocks(watch, done)? {
            Ok(()) => Ok(()),
            Err(halt) => Err(self.halted(*halt)),
        }
    }

    fn run_blocks(
        &mut self,
        watch: &mut SourceWatch,
        done: &dyn Fn(&Host) -> bool,
    ) -> anyhow::Result<Result<(), Box<Halt>>> {
        let (stop, loud) = (self.stop, self.output.loudly());
        let Some(Running { begun: Begun { controller, policy, .. }, told }) = &mut self.running else {
            return Ok(Ok(()));
        };
        let mut block = || -> anyhow::Result<Result<bool, Box<Halt>>> {
            controller.read_mailbox()?;
            controller.mailbox_warnings().iter().for_each(|it| loud.warn(it));
            if controller.is_quiescent()? {
                return Ok(controller.obey_at_rest().map(|()| false));
            }
            if stop.is_asked() || done(controller) || watch.has_changed() {
                return Ok(Ok(false));
            }
            let end = match controller.run_block(policy, &mut |_| !stop.is_asked()) {
                Ok(end) => end,
                Err(halt) => return Ok(Err(halt)),
            };
            console::tell(&end, &loud);
            told.tell(controller, &loud)?;
            Ok(Ok(end.closed))
        };
        loop {
            match block()? {
                Ok(true) => (),
                Ok(false) => return Ok(Ok(())),
                Err(halt) => return Ok(Err(halt)),
            }
        }
    }

    /// Makes the report of a halt, and the error that the command ends with.
    fn halted(&mut self, halt: Halt) -> anyhow::Error {
        let Some(running) = &mut self.running else { return halt.into() };
        run::halted(halt, &mut running.begun, &self.run_args, &AtomicU8::new(0), self.output)
    }
}

/// Returns the reason why no upgrade can bring the state to this scenario, if there is one.
fn obstacle(tables: &Tables, last: Option<&Scenario>, scenario: &Scenario) -> Option<String> {
    let changed = Changed::of(tables, scenario);
    let dead = changed.other_code.iter().find(|(vat, _)| !tables.is_alive(*vat));
    if let Some((vat, it)) = dead {
        return Some(format!("{vat} (`{}`) is terminated", harmless(&it.name)));
    }
    let last = last?;
    for vat in &scenario.vats {
        let Some(before) = last.vats.iter().find(|it| it.name == vat.name) else { continue };
        let differs = match (before.options == vat.options, before.parameters == vat.parameters) {
            (false, _) => "options",
            (_, false) if before.wasm == vat.wasm => "parameters",
            _ => continue,
        };
        return Some(format!("`{}` has other {differs}", harmless(&vat.name)));
    }
    let differs = [
        (last.devices != scenario.devices, "other devices are wanted"),
        (last.kernel != scenario.kernel, "another kernel version is wanted"),
        (last.bootstrap != scenario.bootstrap, "another vat gets `bootstrap`"),
    ];
    differs.into_iter().find_map(|(differs, what)| differs.then(|| what.to_owned()))
}

impl Told {
    /// Counts what a host's report contains as printed.
    fn learn(&mut self, host: &Host) -> Result<(), Box<Halt>> {
        let (report, tables) = (host.report()?, host.block()?.tables());
        let settled = tables.outside.iter().zip(&report.results).filter(|(_, it)| it.status != "pending");
        self.results.extend(settled.map(|((promise, _), _)| *promise));
        let ended = report.vats.iter().filter(|(_, it)| it.status != "running");
        self.vats.extend(ended.map(|(name, _)| name.clone()));
        Ok(())
    }

    /// Prints what is new in a host's report: results on stdout, vats that ended or are paused on stderr.
    fn tell(&mut self, host: &Host, output: &Output) -> anyhow::Result<()> {
        let (report, tables) = (host.report()?, host.block()?.tables());
        for ((promise, _), it) in tables.outside.iter().zip(&report.results) {
            if it.status != "pending" && self.results.insert(*promise) {
                output.line(run::result_line(it))?;
            }
        }
        for (name, it) in &report.vats {
            if it.status != "running" && self.vats.insert(name.clone()) {
                let why = it.reason.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
                output.note(harmless(&format!("{name} ({}) is {}{why}", it.id, it.status)));
            }
        }
        Ok(())
    }
}
