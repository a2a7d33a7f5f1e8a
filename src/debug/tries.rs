//! Trials of directives, obeyed by the replica as a host would obey them; and breakpoints.
//!
//! Invariant: `write-directive` writes the set that is in force, so that a host that is given the file reaches the same hashes.

use std::path::Path;

use serde_json::json;

use crate::{
    debug::{Answer, Breakpoint, Command, Refusal, Reply, engine::Engine, view, view::vat_of},
    directive::{Action, Directive, DirectiveSet, Trigger},
    host::scenario::read_bundle,
    kernel::Ahead,
    model::{
        files,
        id::{BundleId, VatId, hex},
    },
};

impl Engine {
    fn ahead(&mut self) -> Result<Ahead, Refusal> {
        let ahead = self.machine()?.ahead().cloned();
        ahead.ok_or_else(|| Refusal::new("nothing is left to do: there is no crank to try it at", "`back` goes to one"))
    }

    fn vat(&mut self, word: Option<&str>) -> Result<VatId, Refusal> {
        let machine = self.machine()?;
        vat_of(machine.block()?, machine.ahead(), word)
    }

    /// Returns the action that a command asks for, with guards for the delivery ahead.
    pub(super) fn action(&mut self, command: Command) -> Result<Action, Refusal> {
        Ok(match command {
            Command::Skip => {
                let ahead = self.ahead()?;
                let expect = ahead.message_hash.and_then(|it| hex(&it)[..8].parse().ok());
                if ahead.vat().is_none() && expect.is_none() {
                    return Err(Refusal::new("the crank ahead takes nothing that could be skipped", "`next` runs it"));
                }
                Action::Skip { guard: ahead.vat(), expect }
            }
            Command::Pause { vat, why } => Action::Pause { vat: Some(self.vat(vat.as_deref())?), why },
            Command::Terminate { vat, why } => Action::Terminate { vat: Some(self.vat(vat.as_deref())?), why },
            Command::Resume(vat) => Action::Resume(self.vat(Some(&vat))?),
            _ => return Err(Refusal::new("this is nothing to try", "`help` lists what is")),
        })
    }

    /// Provides a module, and returns the action that upgrades the vat to it.
    pub(super) fn upgrade(&mut self, vat: Option<&str>, file: &Path) -> Result<Action, Refusal> {
        let vat = self.vat(vat)?;
        let wasm = read_bundle(file).map_err(|err| Refusal::new(err, "`vathost check FILE` says more"))?;
        let hash = BundleId::of(&wasm).to_string();
        let bundle = hash[..16].parse().map_err(|err| Refusal::new(err, ""))?;
        self.machine()?.bring_module(wasm);
        Ok(Action::Upgrade { vat, bundle, why: None })
    }

    /// Tries an action at the crank ahead, instead of the one that was tried there before, and runs the crank.
    pub(super) fn attempt(&mut self, action: Action) -> Answer {
        let trigger = Trigger::Crank(self.ahead()?.crank);
        let kept: Vec<_> = self.tries.iter().filter(|it| it.trigger != trigger).cloned().collect();
        self.put_in_force(kept, Directive { trigger, action })?;
        self.run_one()
    }

    /// Adds one more directive, to be obeyed when its place comes.
    pub(super) fn add(&mut self, line: &str) -> Answer {
        let mut set = DirectiveSet::default();
        let refused = |it| Refusal::new(it, "`vathost directives grammar` prints the grammar");
        let placed = set.read("add", line.as_bytes()).map_err(refused)?;
        let Some(directive) = placed.into_iter().next().map(|it| it.directive) else {
            return Err(Refusal::new("a comment orders nothing", "such as `add crank-7890: skip v56`"));
        };
        let next = self.machine()?.next_crank()?;
        if let Trigger::Crank(crank) = directive.trigger
            && crank < next
        {
            return Err(Refusal::new(format!("{crank} lies behind"), "`back` goes to before it"));
        }
        self.put_in_force(self.tries.clone(), directive.clone())?;
        let text = format!("from now on: {directive}");
        Ok(Reply { value: json!({ "line": directive.to_string() }), text, place: String::new() })
    }

    fn put_in_force(&mut self, mut tries: Vec<Directive>, directive: Directive) -> Result<(), Refusal> {
        tries.push(directive);
        let mut set = self.file.clone();
        for it in &tries {
            set.insert(it.clone()).map_err(|it| {
                Refusal::new(format!("`{}`: {it}", it.directive), "`directives` lists what is in force")
            })?;
        }
        self.tries = tries;
        Ok(self.machine()?.set_directives(set)?)
    }

    /// Forgets all tried directives, and goes to just before the first crank that they changed: later cranks may differ without them.
    pub(super) fn forget(&mut self) -> Answer {
        let (file, tries) = (self.file.clone(), std::mem::take(&mut self.tries));
        let machine = self.machine()?;
        let of_place = |it: &Directive| match it.trigger {
            Trigger::Crank(crank) => Some(crank),
            _ => machine.obeyed(&it.to_string()),
        };
        let first = tries.iter().filter_map(of_place).min();
        let here = machine.next_crank()?;
        if let Some(first) = first.filter(|it| *it < here) {
            machine.stand_before(first)?;
        }
        machine.set_directives(file)?;
        self.came("forgotten", "")
    }

    /// Writes the set in force to a file; to one that holds some of its lines already, only those that are missing.
    pub(super) fn write(&mut self, file: &Path) -> Answer {
        let set = self.machine()?.directives().clone();
        let name = file.display().to_string();
        if set.is_empty() {
            return Err(Refusal::new("there is nothing to write", "`skip`, `pause` or `terminate` tries something"));
        }
        let cannot = |err: std::io::Error| Refusal::new(format!("{name}: {err}"), "name a file that can be written");
        let old = match files::read(file, files::TEXT_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(err) => return Err(cannot(err)),
        };
        let mut held = DirectiveSet::default();
        held.read(&name, &old).map_err(|it| Refusal::new(it, "name another file"))?;
        if let Some(other) = held.iter().find(|it| !set.iter().any(|mine| mine == *it)) {
            let hint = format!("name another file, or begin the session with --directives {name}");
            return Err(Refusal::new(format!("{name} orders `{other}`, which is not in force here"), hint));
        }
        let lacking: Vec<String> =
            set.iter().filter(|it| !held.iter().any(|mine| mine == *it)).map(ToString::to_string).collect();
        let mut text = String::from_utf8_lossy(&old).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        lacking.iter().for_each(|line| text += &format!("{line}\n"));
        std::fs::write(file, text).map_err(cannot)?;
        let digest = set.digest().to_string();
        let mut said = lacking.clone();
        said.push(format!("written to {name}; digest {digest}"));
        Ok(Reply {
            value: json!({ "file": name, "lines": lacking, "digest": digest }),
            text: said.join("\n"),
            place: String::new(),
        })
    }

    /// Adds a breakpoint, and returns its number.
    pub(super) fn add_breakpoint(&mut self, breakpoint: Breakpoint) -> Answer {
        let number = self.next_breakpoint;
        self.next_breakpoint += 1;
        let text = format!("breakpoint {number}: {breakpoint}");
        let value = json!({ "number": number, "at": breakpoint.to_string() });
        self.watcher.watch().breakpoints.push((number, breakpoint));
        Ok(Reply { value, text, place: String::new() })
    }

    /// Removes the breakpoint with this number.
    pub(super) fn remove_breakpoint(&mut self, number: usize) -> Answer {
        let mut watch = self.watcher.watch();
        if !watch.breakpoints.iter().any(|(it, _)| *it == number) {
            return Err(Refusal::new(format!("there is no breakpoint {number}"), "`break` lists them"));
        }
        watch.breakpoints.retain(|(it, _)| *it != number);
        Ok(view::breakpoints(&watch.breakpoints))
    }
}
