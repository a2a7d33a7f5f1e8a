//! The observer within a delivery: it stops the delivery at a syscall, and answers commands there.
//!
//! ```text
//!   Pass ──(the engine runs a crank for `step`, or with breakpoints)──▶ Step | Run ──(a syscall that matters)──▶ stopped
//!    ▲                                                                      ▲                                      │ views: answered
//!    └──(the crank ends)────────────────────────────────────────────────────┴───(step, next, continue, until)──────┤
//!                                                                                      (anything else: the crank is abandoned)
//! ```

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::json;

use crate::{
    debug::{
        Answer, Breakpoint, Command, Desk, Refusal, Reply,
        place::{self, Place},
        view::{self, Scene},
    },
    kernel::{Ahead, Call, Probe},
    model::{
        blame::{Fault, HostFault},
        id::{CrankNum, KRef},
    },
    slog::Slog,
    state::block::BlockProbe,
};

/// The condition on which the observer stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Mode {
    /// Never: `next` runs one crank, or the session returns to a place.
    #[default]
    Pass,
    /// At the next syscall.
    Step,
    /// At breakpoints only, at none of the other syscalls.
    Run,
}

/// The data that the engine and the observer share. Only one of them uses it at a time.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) desk: Desk,
    pub(super) mode: Mode,
    /// Breakpoints, by number.
    pub(super) breakpoints: Vec<(usize, Breakpoint)>,
    pub(super) recordings: Vec<PathBuf>,
    pub(super) slog: Slog,
    /// The crank that runs, as it was seen before.
    pub(super) ahead: Option<Ahead>,
    pub(super) base: CrankNum,
    pub(super) tried: Vec<String>,
    /// A command to continue, given at a stop: the crank runs on under it.
    pub(super) onward: Option<Command>,
    /// A command for which the crank was abandoned.
    pub(super) instead: Option<Command>,
    /// The session is over.
    pub(super) over: bool,
}

/// The error that ends a delivery which was stopped and is not continued.
const ABANDONED: &str = "the delivery was abandoned";

/// The observer of a block.
#[derive(Clone, Debug)]
pub(super) struct Watcher(pub(super) Arc<Mutex<Watch>>);

impl Watcher {
    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockProbe for Watcher {}

impl Probe for Watcher {
    fn sees_syscalls(&self) -> bool {
        true
    }

    fn syscall(&self, call: &Call<'_>) -> Result<(), Fault> {
        let mut watch = self.watch();
        let Some(reason) = watch.reason(call) else { return Ok(()) };
        watch.mode = Mode::Pass;
        let stop = watch.stop(call, &reason);
        watch.answer(Ok(stop));
        loop {
            let Some(command) = watch.receive() else { return Err(HostFault::new("debug", ABANDONED).into()) };
            let answer = match command {
                Command::Step => {
                    watch.mode = Mode::Step;
                    watch.onward = Some(Command::Step);
                    return Ok(());
                }
                Command::Next(_) | Command::Continue | Command::Until(_) => {
                    watch.mode = if command == Command::Next(1) { Mode::Pass } else { Mode::Run };
                    watch.onward = Some(command);
                    return Ok(());
                }
                Command::Where => Ok(watch.stop(call, "")),
                Command::Mem { vat, at, len } => watch.memory(call, vat.as_deref(), at, len),
                command => match watch.view(call, &command) {
                    Some(answer) => answer,
                    None => {
                        watch.instead = Some(command);
                        return Err(HostFault::new("debug", ABANDONED).into());
                    }
                },
            };
            let name = stop_name(call);
            watch.answer(answer.map(|it| Reply { place: name, ..it }));
        }
    }
}

fn stop_name(call: &Call<'_>) -> String {
    format!("{} syscall {}", call.at.crank_num, call.number)
}

impl Watch {
    /// Returns the reason to stop at this syscall, if there is one.
    fn reason(&self, call: &Call<'_>) -> Option<String> {
        // An earlier crank is only run again, on the way to a place.
        if self.ahead.as_ref().is_none_or(|it| it.crank != call.at.crank_num) {
            return None;
        }
        match self.mode {
            Mode::Pass => None,
            Mode::Step => Some(String::new()),
            Mode::Run => {
                let kernel = call.kernel.map(|it| it.refs()).unwrap_or_default();
                let hit = self.breakpoints.iter().find(|(_, it)| match it {
                    Breakpoint::Syscall(kind) => *kind == call.vat.kind(),
                    Breakpoint::Promise(promise) => kernel.contains(&KRef::from(*promise)),
                    Breakpoint::Place(_) | Breakpoint::Vat(_) => false,
                });
                hit.map(|(number, it)| format!("breakpoint {number}: {it}\n"))
            }
        }
    }

    fn stop(&self, call: &Call<'_>, reason: &str) -> Reply {
        let (mut value, text) = place::syscall(call);
        value["stop"] = json!("syscall");
        value["stateHash"] = json!(place::hash_before(call.block));
        Reply { value, text: format!("{reason}{text}"), place: stop_name(call) }
    }

    fn view(&self, call: &Call<'_>, command: &Command) -> Option<Answer> {
        // A recording that cannot be written tells less: `why` has other sources.
        let _ = self.slog.flush();
        let place = Place::of(call.block, self.ahead.as_ref(), self.base, self.tried.clone());
        let scene = Scene {
            block: call.block,
            ahead: self.ahead.as_ref(),
            call: Some(call),
            place: &place,
            breakpoints: &self.breakpoints,
            tried: &self.tried,
            recordings: &self.recordings,
            epitaph: None,
        };
        view::answer(&scene, command)
    }

    fn memory(&self, call: &Call<'_>, vat: Option<&str>, at: u64, len: u64) -> Answer {
        if let Some(word) = vat
            && crate::inspect::view::find(call.block.tables(), word)? != call.at.vat
        {
            let hint = "`next` ends the delivery, or `back` abandons it; then every vat's memory can be seen";
            return Err(Refusal::new(format!("within a delivery only {}'s own memory can be seen", call.at.vat), hint));
        }
        let size = call.memory.len() as u64;
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(call.memory.len());
        let to = usize::try_from(at.saturating_add(len)).unwrap_or(usize::MAX).min(call.memory.len());
        view::memory(call.at.vat, at, call.memory.get(from..to).unwrap_or_default(), size)
    }

    /// Waits for a command; `None` if the session is over.
    pub(super) fn receive(&mut self) -> Option<Command> {
        let command = self.desk.commands.recv().ok();
        self.over |= command.is_none();
        command
    }

    /// Answers the last command.
    pub(super) fn answer(&mut self, answer: Answer) {
        // The session may have been dropped meanwhile.
        let _ = self.desk.replies.send(answer);
    }
}
