//! Expressions are asked in a process of their own: one that never ends is killed, and one that goes deeper than the stack, or wants
//! more memory than there is, takes that process with it and nothing else.
//!
//! ```text
//!   this process, line by line           vathost fault ask
//!     how long an answer may take  ────▶
//!                                  ◀────   null: it is up
//!     an expression, a document    ────▶   compiles what it has not met before
//!                                  ◀────   whether it holds, or its values, or why that cannot be said
//!     …
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    io::{BufRead, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, channel},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::lab::{
    campaign::{jaq::Jaq, saw::VALUES_MAX},
    experiment::{Process, Program, Silence},
};

/// Bytes of data that the process may have: what an expression makes of a document is no larger than that of any use.
const MEMORY_MAX: u64 = 1 << 30;

/// How long the process may take to come up, on a busy machine.
const READY_WALL: Duration = Duration::from_secs(60);

/// What the process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CommandAnswer {
    Holds(bool),
    Values(Vec<String>),
    Cannot(String),
}

/// What the process is asked of a document.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    expression: String,
    /// Whether all values of the expression are wanted, and not only whether it holds.
    values: bool,
}

/// The processes that expressions are asked in: one, which is made anew when it was ended. Clones share it.
#[derive(Clone)]
pub(super) struct Askers(Arc<Mutex<Asker>>);

struct Asker {
    program: Program,
    process: Option<Process>,
}

impl fmt::Debug for Askers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Askers").finish_non_exhaustive()
    }
}

impl Askers {
    /// Returns askers that start this `vathost`; no answer takes longer than `wall`.
    pub(super) fn new(exe: &Path, wall: Duration) -> Askers {
        let program = Program { exe: exe.to_owned(), memory: Some(MEMORY_MAX), wall };
        Askers(Arc::new(Mutex::new(Asker { program, process: None })))
    }

    /// Returns whether an expression holds of a document.
    pub(super) fn holds(&self, check: &str, document: String, wall: Duration) -> Result<bool, String> {
        match self.ask(Question { expression: check.to_owned(), values: false }, &document, wall)? {
            CommandAnswer::Holds(holds) => Ok(holds),
            _ => Err("it gave another answer than it was asked for".to_owned()),
        }
    }

    /// Returns the values that an expression gives of a document, as JSON.
    pub(super) fn values(&self, expression: &str, document: &str, wall: Duration) -> Result<Vec<String>, String> {
        match self.ask(Question { expression: expression.to_owned(), values: true }, document, wall)? {
            CommandAnswer::Values(values) => Ok(values),
            _ => Err("it gave another answer than it was asked for".to_owned()),
        }
    }

    fn ask(&self, question: Question, document: &str, wall: Duration) -> Result<CommandAnswer, String> {
        let mut asker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asker.ask(&question, document, wall);
        if asked.is_err() {
            // Killed, if it is not gone already.
            asker.process = None;
        }
        match asked.map_err(why)? {
            CommandAnswer::Cannot(why) => Err(why),
            answer => Ok(answer),
        }
    }
}

impl Asker {
    fn ask(&mut self, question: &Question, document: &str, wall: Duration) -> Result<CommandAnswer, Silence> {
        let process = match &mut self.process {
            Some(process) => process,
            None => {
                let mut process = Process::start(&self.program, &["fault", "ask"].map(OsStr::new))?;
                // It ends itself soon after this process would have, should this one be gone.
                process.say(&self.program.wall)?;
                process.hear_within::<()>(READY_WALL)?;
                self.process.insert(process)
            }
        };
        process.say(question)?;
        process.say_text(&format!("{document}\n"))?;
        process.hear_within(wall)
    }
}

/// Why there is no answer.
fn why(silence: Silence) -> String {
    match silence {
        Silence::Hung => "it gave no answer in its time".to_owned(),
        Silence::Ended(_, words) if words.contains("overflowed its stack") => {
            "it goes too deep: a definition that calls itself must come to an end".to_owned()
        }
        Silence::Ended(_, words) if words.contains("memory allocation of") => {
            format!("it takes more than {} MiB of memory", MEMORY_MAX >> 20)
        }
        Silence::Ended(how, _) => format!("the process that was asked {how}"),
        Silence::Broken(why) => why,
    }
}

/// The inside of that process: answers until its input ends. `expire` ends the process, when an answer takes much too long and nobody
/// is there to do it.
///
/// # Errors
///
/// Where it cannot read or write.
pub fn answer(input: impl BufRead, mut out: impl Write, expire: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let mut lines = input.lines();
    let Some(wall) = lines.next() else { return Ok(()) };
    let wall: Duration = serde_json::from_str(&wall?)?;
    let (begun, begins) = channel();
    let (done, ends) = channel();
    std::thread::spawn(move || {
        while let Ok(()) = begins.recv() {
            if ends.recv_timeout(wall.saturating_mul(2)) == Err(RecvTimeoutError::Timeout) {
                return expire();
            }
        }
    });
    say(&mut out, &())?;
    let mut compiled: BTreeMap<String, Result<Jaq, String>> = BTreeMap::new();
    while let (Some(check), Some(document)) = (lines.next(), lines.next()) {
        let (question, document): (Question, String) = (serde_json::from_str(&check?)?, document?);
        begun.send(())?;
        let jaq = compiled.entry(question.expression).or_insert_with_key(|it| Jaq::compile(it).map_err(|(_, why)| why));
        let answer = jaq.as_ref().map_err(Clone::clone).and_then(|it| match question.values {
            true => it.values(&document, VALUES_MAX).map(CommandAnswer::Values),
            false => it.holds(&document).map(CommandAnswer::Holds),
        });
        done.send(())?;
        say(&mut out, &answer.unwrap_or_else(CommandAnswer::Cannot))?;
    }
    Ok(())
}

fn say(out: &mut impl Write, it: &impl Serialize) -> anyhow::Result<()> {
    out.write_all(format!("{}\n", serde_json::to_string(it)?).as_bytes())?;
    Ok(out.flush()?)
}
