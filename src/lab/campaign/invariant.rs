//! Invariants and `sometimes`: jaq expressions, or commands, over the document of [`document`](crate::lab::campaign::document).
//!
//! Invariants: the same state gives the same answer: an expression cannot read clock or environment; a command should not. One that
//! never answers, or goes too deep, is an error of the invariant, and of nothing else: expressions are asked in a process of their own
//! (see `asked`), commands with their process group, and both within the time of [`Budget`].

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lab::{
    campaign::{
        asked::Askers,
        command,
        document::{self, Parts},
        saw::{self, Sides},
    },
    experiment::{Answer, Experiments, Looks, View, Watcher, When},
};

/// The check of an invariant: an expression or a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// A jaq expression: it holds when all that it gives is neither false nor null, and it gives something.
    Jaq(String),
    /// A command, which gets the document on its standard input. It holds with exit code 0, and does not with 1.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Whether the document has the slog.
        slog: bool,
        /// Where it runs.
        dir: PathBuf,
    },
}

/// The times at which an invariant is asked, as a campaign file and a worker have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// When the run has ended.
    #[default]
    End,
    /// After every block.
    EveryBlock,
    /// After every crank.
    EveryCrank,
}

/// An invariant, or a `sometimes`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invariant {
    /// The invariant's name.
    pub name: String,
    /// How it is asked.
    pub check: Check,
    /// The times at which it is asked.
    pub when: Asked,
    /// Whether it is only to hold now and then.
    pub sometimes: bool,
}

impl Invariant {
    /// Returns a copy that is equal from whichever folder the campaign was named.
    pub(super) fn anywhere(&self) -> Invariant {
        let mut it = self.clone();
        if let Check::Command { dir, .. } = &mut it.check {
            *dir = PathBuf::new();
        }
        it
    }

    /// What it looks at.
    fn parts(&self) -> Parts {
        match &self.check {
            Check::Jaq(text) => Parts::of(text),
            Check::Command { slog, .. } => Parts::all(*slog),
        }
    }
}

/// The settings with which invariants are asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The `vathost` that is to run expressions.
    pub exe: PathBuf,
    /// How long all of them together may take in one experiment, and each by itself in the golden run.
    pub wall: Duration,
}

/// The time that is left for all invariants in the experiment that runs. Clones share it.
#[derive(Clone, Debug)]
struct Budget {
    wall: Duration,
    left: Arc<Mutex<Duration>>,
}

impl Budget {
    fn new(wall: Duration) -> Budget {
        Budget { wall, left: Arc::new(Mutex::new(wall)) }
    }

    fn renew(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = self.wall;
    }

    /// Asks within what is left, and takes from that what it took.
    #[allow(
        clippy::disallowed_methods,
        reason = "a bound on what may never end; within it the clock changes no answer"
    )]
    fn spend<T>(&self, ask: impl FnOnce(Duration) -> Result<T, String>) -> Result<T, String> {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.is_zero() {
            return Err(format!("the invariants took more than {} ms in this experiment", self.wall.as_millis()));
        }
        let begun = Instant::now();
        let answer = ask(left);
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left.saturating_sub(begun.elapsed());
        answer
    }
}

/// Has these asked in every experiment.
///
/// # Errors
///
/// Where one cannot be compiled, or does not hold in the golden run, or gives no answer there.
pub fn dress(invariants: &[Invariant], experiments: &mut Experiments, ask: &Ask) -> anyhow::Result<()> {
    if invariants.is_empty() {
        return Ok(());
    }
    let slog = invariants.iter().any(|it| it.parts().slog);
    let golden = experiments.at_end(slog, |view| document::of(view, &Parts::all(slog)))?;
    let (budget, askers) = (Budget::new(ask.wall), Askers::new(&ask.exe, ask.wall));
    let mut watchers: Vec<Box<dyn Watcher>> = Vec::new();
    for it in invariants {
        let parts = it.parts();
        let mut golden = golden.clone();
        parts.keep(&mut golden);
        let (budget, askers) = (budget.clone(), askers.clone());
        watchers.push(Box::new(Asking { invariant: it.clone(), parts, golden, budget, askers }));
    }
    experiments.set_watchers(watchers)
}

/// An invariant that is being asked.
struct Asking {
    invariant: Invariant,
    parts: Parts,
    /// The end of the golden run, these parts of it.
    golden: Value,
    budget: Budget,
    askers: Askers,
}

impl Watcher for Asking {
    fn name(&self) -> &str {
        &self.invariant.name
    }

    fn when(&self) -> When {
        match self.invariant.when {
            Asked::End => When::End,
            Asked::EveryBlock => When::EveryBlock,
            Asked::EveryCrank => When::EveryCrank,
        }
    }

    fn ask(&mut self, view: &View<'_>) -> Result<Answer, String> {
        let mut document = document::of(view, &self.parts);
        if let (Value::Object(members), true) = (&mut document, self.parts.golden) {
            members.insert("golden".to_owned(), self.golden.clone());
        }
        let document = document.to_string();
        let holds = self.budget.spend(|wall| match &self.invariant.check {
            Check::Jaq(text) => self.askers.holds(text, document, wall),
            Check::Command { argv, dir, .. } => command::holds(argv, dir, document, wall),
        })?;
        Ok(match (holds, self.invariant.sometimes) {
            (true, true) => Answer::Noted,
            (true, false) | (false, true) => Answer::Holds,
            (false, false) => Answer::Broken,
        })
    }

    fn saw(&mut self, view: &View<'_>) -> Vec<String> {
        let mut document = document::of(view, &self.parts);
        let text = if let Check::Jaq(text) = &self.invariant.check { &**text } else { "" };
        let mut saw = match Sides::of(text) {
            Some(sides) => {
                if let (Value::Object(members), true) = (&mut document, self.parts.golden) {
                    members.insert("golden".to_owned(), self.golden.clone());
                }
                let (askers, asked) = (&self.askers, document.to_string());
                // Its time was enough for the answer; what it saw is left out if it is not for more.
                let values = self.budget.spend(|wall| askers.values(&sides.expression, &asked, wall));
                values.map(|it| sides.written(&it)).unwrap_or_default()
            }
            None => Vec::new(),
        };
        saw.extend(saw::differences(&document, &self.golden, text));
        saw.truncate(saw::VALUES_MAX);
        saw
    }

    fn begin(&mut self) {
        self.budget.renew();
    }

    fn looks_at(&self) -> Looks {
        match (self.parts.slog, self.parts.are_of_the_state(), self.invariant.when) {
            (true, ..) => Looks::History,
            // Where blocks end is a matter of numbers.
            (_, true, Asked::End | Asked::EveryCrank) => Looks::State,
            _ => Looks::Numbers,
        }
    }
}
