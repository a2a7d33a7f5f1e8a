//! The debugger: a session over a state that is only looked at, brought to just before a crank or a delivery, which answers commands. It
//! knows no terminal; `cli` has the prompt.
//!
//! ```text
//!   Session ──command──▶ the engine's thread ─▶ Replica (the open work)  or  Past (a vat's own history)
//!           ◀──reply───                             └─▶ Watch, at a syscall: answers from within the delivery
//! ```
//!
//! Invariants: the original state is only read; a command has one reply, which is data and a text; what the user tries is a set of
//! directives, obeyed by the same kernel at the same places as in a real run, so that the hashes are those of a real run.
//!
//! A delivery that is stopped at a syscall holds the stack of the guest: so the engine has a thread of its own, which answers from
//! there. Only one of the two threads runs at a time.

mod command;
mod engine;
pub mod gdb;
mod guest;
mod machine;
mod past;
mod place;
mod tries;
mod view;
mod watch;
mod why;

pub use command::{Breakpoint, Command, FORMS, Form};
pub use guest::{Debugged, Guest};
pub use machine::{Replica, ReplicaSettings};

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    directive::Trigger,
    host::epitaph::Epitaph,
    kernel::Halt,
    model::blame::{Fault, HostFault},
    store::{Database, Overlay},
};

/// The state that a session starts from, as of one commit, and a folder for what the session writes.
#[derive(Debug)]
pub struct Base {
    state: Overlay,
    home: TempDir,
}

impl Base {
    /// Looks at the state in this folder, where nothing is written.
    pub fn over(state: &Path) -> Result<Base, HostFault> {
        Ok(Base { state: Overlay::over(state)?, home: folder()? })
    }

    /// Makes a base from a database file, which `write` fills.
    pub fn made<E: From<HostFault>>(write: impl FnOnce(&Path) -> Result<(), E>) -> Result<Base, E> {
        let home = folder()?;
        write(&home.path().join("state.sqlite"))?;
        Ok(Base { state: Overlay::over(home.path())?, home })
    }

    /// Returns another base of the same commit.
    pub fn again(&self) -> Result<Base, HostFault> {
        Ok(Base { state: self.state.blank(), home: folder()? })
    }

    /// Opens the state as it was committed. What is written to it stays in memory.
    pub fn open(&self) -> Result<Database, HostFault> {
        self.state.blank().open()
    }

    /// Returns the path of the folder for what the session writes.
    fn folder(&self) -> &Path {
        self.home.path()
    }
}

fn folder() -> Result<TempDir, HostFault> {
    tempfile::tempdir().map_err(|err| HostFault::new("make a folder for a session", err))
}

/// The settings of a session to open.
#[derive(Debug)]
pub struct Open {
    /// The state that the session starts from.
    pub base: Base,
    /// The settings under which its host ran it.
    pub how: ReplicaSettings,
    /// The place to go to; `None` is the place at which its host would continue.
    pub at: Option<Trigger>,
    /// The kernel panic that is looked into, if there was one.
    pub epitaph: Option<Box<Epitaph>>,
    /// A recording of the state's past.
    pub slog: Option<PathBuf>,
    /// The flag that another thread sets to interrupt a run: the session stops at the next crank.
    pub interrupt: Arc<AtomicBool>,
}

/// The answer to a command.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The reply as data, for scripts.
    pub value: Value,
    /// The reply as text, for people.
    pub text: String,
    /// The name of the session's place, for a prompt.
    pub place: String,
}

/// A command that cannot be obeyed, and what to do about it. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// The reason for the refusal.
    pub what: String,
    /// The way out; empty if none is known.
    pub hint: String,
    /// The fault that caused the refusal, if one did.
    pub fault: Option<Box<Fault>>,
}

impl Refusal {
    /// Makes a refusal from what is wrong and a hint that may help.
    pub fn new(what: impl fmt::Display, hint: impl fmt::Display) -> Refusal {
        Refusal { what: what.to_string(), hint: hint.to_string(), fault: None }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal { what: fault.to_string(), hint: String::new(), fault: Some(Box::new(fault)) }
    }
}

impl From<HostFault> for Refusal {
    fn from(fault: HostFault) -> Refusal {
        Fault::from(fault).into()
    }
}

impl From<Box<Halt>> for Refusal {
    fn from(halt: Box<Halt>) -> Refusal {
        halt.fault.into()
    }
}

impl From<crate::inspect::view::Unknown> for Refusal {
    fn from(it: crate::inspect::view::Unknown) -> Refusal {
        Refusal::new(it.what, it.hint)
    }
}

/// A reply, or why there is none.
pub type Answer = Result<Reply, Refusal>;

/// The engine's ends of the two channels between it and the session.
#[derive(Debug)]
struct Desk {
    commands: Receiver<Command>,
    replies: Sender<Answer>,
}

/// An open debugging session over a state. Dropping it forgets all that ran in it.
#[derive(Debug)]
pub struct Session {
    commands: Option<Sender<Command>>,
    replies: Receiver<Answer>,
    engine: Option<JoinHandle<()>>,
}

/// Bytes of the engine's stack: room for the kernel and its guests. The system provides only the pages that are touched.
const STACK_BYTES: usize = 64 << 20;

impl Session {
    /// Opens a session over the state, and goes to the place. The reply tells where the session is: the place may never be
    /// reached, or the kernel may panic before it.
    ///
    /// # Errors
    ///
    /// There is no such place, or the state cannot be run.
    pub fn open(what: Open) -> Result<(Session, Reply), Refusal> {
        let (commands, for_engine) = channel();
        let (for_us, replies) = channel();
        let desk = Desk { commands: for_engine, replies: for_us };
        let builder = Builder::new().name("debugged".to_owned()).stack_size(STACK_BYTES);
        let engine = builder.spawn(move || engine::run(what, desk));
        let engine = engine.map_err(|err| HostFault::new("start a thread", err))?;
        let session = Session { commands: Some(commands), replies, engine: Some(engine) };
        let reply = session.receive()?;
        Ok((session, reply))
    }

    /// Obeys a command, and returns its answer.
    pub fn obey(&mut self, command: Command) -> Answer {
        let sent = self.commands.as_ref().map(|it| it.send(command));
        if !matches!(sent, Some(Ok(()))) {
            return Err(ended());
        }
        self.receive()
    }

    fn receive(&self) -> Answer {
        self.replies.recv().unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> Refusal {
    HostFault::new("debug", "the session has ended").into()
}

impl Drop for Session {
    fn drop(&mut self) {
        // Once its channel is closed the engine ends, wherever it is. If it panicked, the panic was reported already.
        self.commands = None;
        let _ = self.engine.take().map(JoinHandle::join);
    }
}
