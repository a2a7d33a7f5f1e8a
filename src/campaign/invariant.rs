//! Invariants and `sometimes`: jaq expressions, or commands, over the document of [`document`](crate::campaign::document).
//!
//! Invariant: the same state gives the same answer. An expression cannot read clock or environment; a command should not.

use std::{
    io::Write,
    ops::Range,
    path::PathBuf,
    process::{Command, Stdio},
};

use jaq_core::{
    Compiler, Ctx, Vars,
    data::JustLut,
    load::{self, Arena, File, Loader},
    native::{self, bome},
    unwrap_valr,
};
use jaq_json::{Val, read};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    campaign::document::{self, Parts},
    experiment::{Answer, Experiments, Looks, View, Watcher, When},
};

/// How it is asked.
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

/// When it is asked, as a campaign file and a worker are told.
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
    /// Its name.
    pub name: String,
    /// How it is asked.
    pub check: Check,
    /// When.
    pub when: Asked,
    /// Whether it is only to hold now and then.
    pub sometimes: bool,
}

impl Invariant {
    /// What it looks at.
    fn parts(&self) -> Parts {
        match &self.check {
            Check::Jaq(text) => Parts::of(text),
            Check::Command { slog, .. } => Parts::all(*slog),
        }
    }
}

/// Has these asked in every experiment.
///
/// # Errors
///
/// Where one cannot be compiled, or does not hold in the golden run.
pub fn dress(invariants: &[Invariant], experiments: &mut Experiments) -> anyhow::Result<()> {
    if invariants.is_empty() {
        return Ok(());
    }
    let slog = invariants.iter().any(|it| it.parts().slog);
    let golden = experiments.at_end(slog, |view| document::of(view, &Parts::all(slog)))?;
    let mut watchers: Vec<Box<dyn Watcher>> = Vec::new();
    for it in invariants {
        let asker = match &it.check {
            Check::Jaq(text) => {
                Asker::Jaq(Jaq::compile(text).map_err(|(_, why)| anyhow::anyhow!("`{}`: {why}", it.name))?)
            }
            Check::Command { argv, dir, .. } => Asker::Command(argv.clone(), dir.clone()),
        };
        let (parts, mut golden) = (it.parts(), golden.clone());
        parts.keep(&mut golden);
        watchers.push(Box::new(Asking { invariant: it.clone(), asker, parts, golden }));
    }
    experiments.set_watchers(watchers)
}

/// An invariant that is being asked.
struct Asking {
    invariant: Invariant,
    asker: Asker,
    parts: Parts,
    /// The end of the golden run, these parts of it.
    golden: Value,
}

enum Asker {
    Jaq(Jaq),
    Command(Vec<String>, PathBuf),
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
        let holds = match &self.asker {
            Asker::Jaq(jaq) => jaq.holds(&document)?,
            Asker::Command(argv, dir) => command(argv, dir, &document)?,
        };
        Ok(match (holds, self.invariant.sometimes) {
            (true, true) => Answer::Noted,
            (true, false) | (false, true) => Answer::Holds,
            (false, false) => Answer::Broken,
        })
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

fn command(argv: &[String], dir: &PathBuf, document: &Value) -> Result<bool, String> {
    let (program, args) = argv.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|err| format!("start `{program}`: {err}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want all of it may close its input.
        let _ = stdin.write_all(document.to_string().as_bytes());
    }
    let output = child.wait_with_output().map_err(|err| format!("wait for `{program}`: {err}"))?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(format!("`{program}` ended with {}: {}", output.status, words.lines().next().unwrap_or_default()))
        }
    }
}

/// A compiled expression.
pub(super) struct Jaq {
    filter: jaq_core::Filter<JustLut<Val>>,
}

/// What would make an answer depend on more than the state.
const IMPURE: [&str; 5] = ["now", "env", "halt", "localtime", "strflocaltime"];

impl Jaq {
    /// Compiles an expression; an error is its place in the text, and what is wrong.
    pub(super) fn compile(text: &str) -> Result<Jaq, (Range<usize>, String)> {
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let all = jaq_core::funs::<JustLut<Val>>().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = all.map(|(name, arity, fun)| {
            if IMPURE.contains(&name) {
                native::run((name, arity, |_| bome(Err(refusal()))))
            } else {
                (name, arity, fun)
            }
        });
        let arena = Arena::default();
        let file = File { code: text, path: () };
        let modules = Loader::new(defs).load(&arena, file).map_err(|errors| loading(text, errors))?;
        let compiled = Compiler::default().with_funs(funs).with_global_vars(["$golden"]).compile(modules);
        let filter = compiled.map_err(|errors| {
            let first = errors.into_iter().flat_map(|(_, it)| it).next();
            first.map_or((0..text.len(), "it does not compile".to_owned()), |(name, kind)| {
                (span(text, name), format!("there is no {} `{name}`", kind.as_str()))
            })
        })?;
        Ok(Jaq { filter })
    }

    /// Whether it holds of a document.
    pub(super) fn holds(&self, document: &Value) -> Result<bool, String> {
        let val = |it: &Value| read::parse_single(it.to_string().as_bytes()).map_err(|err| err.to_string());
        let golden = val(document.get("golden").unwrap_or(&Value::Null))?;
        let ctx = Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new([golden]));
        let mut any = false;
        for answer in self.filter.id.run((ctx, val(document)?)).map(unwrap_valr) {
            any = true;
            match answer {
                Ok(Val::Null | Val::Bool(false)) => return Ok(false),
                Ok(_) => (),
                Err(err) => return Err(err.to_string()),
            }
        }
        if any { Ok(true) } else { Err("the expression gives nothing: it is to give true or false".to_owned()) }
    }
}

fn refusal() -> jaq_core::Error<Val> {
    jaq_core::Error::str(
        "an invariant cannot ask for the time, the environment or an exit: the same state must give the same answer",
    )
}

fn loading(text: &str, errors: load::Errors<&str, ()>) -> (Range<usize>, String) {
    match errors.into_iter().map(|(_, it)| it).next() {
        Some(load::Error::Lex(all)) => {
            all.first().map(|(wanted, at)| (span(text, at), format!("{} is expected here", wanted.as_str())))
        }
        Some(load::Error::Parse(all)) => {
            all.first().map(|(wanted, at)| (span(text, at), format!("a {} is expected here", wanted.as_str())))
        }
        Some(load::Error::Io(_)) => Some((0..text.len(), "an invariant cannot read other files".to_owned())),
        None => None,
    }
    .unwrap_or((0..text.len(), "it cannot be read".to_owned()))
}

/// Where a part of a text stands in it; the end, where it is no part.
fn span(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if start <= text.len() && start + part.len() <= text.len() {
        start..start + part.len()
    } else {
        text.len()..text.len()
    }
}
